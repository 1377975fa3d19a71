//! Whether a verdict is the expected one. A claim may be a contrast: that it is refuted is what its author wants to show.

use herd_judge::{Outcome, Verdict};

/// The outcome that the claim's author expects.
fn expected(_verdict: &Verdict) -> Outcome {
    Outcome::Valid
}

/// Whether it came out as its author expects; `None` if it is unknown.
pub(crate) fn is_as_expected(verdict: &Verdict) -> Option<bool> {
    (verdict.outcome != Outcome::Unknown).then(|| verdict.outcome == expected(verdict))
}

/// The outcome in words: `valid`, `unknown`, `invalid`, or, of a claim that was to be refuted, `refuted, as expected` and
/// `NOT refuted, as it should be`.
pub(crate) fn told(verdict: &Verdict) -> &'static str {
    match (expected(verdict), verdict.outcome) {
        (Outcome::Invalid, Outcome::Invalid) => "refuted, as expected",
        (Outcome::Invalid, Outcome::Valid) => "NOT refuted, as it should be",
        (_, outcome) => outcome.name(),
    }
}
