//! Whether a verdict is the expected one. A claim may be a contrast: that it is refuted is what its author wants to show.

use herd_judge::{Judgement, Outcome, Verdict};

use crate::words::verdicts_of;

/// What the word `as expected` means, under every table that has it.
pub(crate) const FOOTNOTE: &str = "as expected: the rung is a contrast. A claim about it is refuted, as its author expects, to show what \
                                   happens without the cure; every other claim about it held.";

/// Whether it came out as its author expects; `None` if it is unknown.
pub(crate) fn is_as_expected(verdict: &Verdict) -> Option<bool> {
    match verdict.against_expectation() {
        Outcome::Valid => Some(true),
        Outcome::Invalid => Some(false),
        Outcome::Unknown => None,
    }
}

/// The outcome in words: `valid`, `unknown`, `invalid`, or, of a claim that was to be refuted, `refuted, as expected` and
/// `NOT refuted, as it should be`.
pub(crate) fn told(verdict: &Verdict) -> &'static str {
    match (verdict.expected, verdict.outcome) {
        ("invalid", Outcome::Invalid) => "refuted, as expected",
        ("invalid", Outcome::Valid) => "NOT refuted, as it should be",
        (_, outcome) => outcome.name(),
    }
}

/// Why, with the word in front where the outcome alone would mislead: `refuted, as expected: 40 seen, the bound is 4`.
pub(crate) fn why(verdict: &Verdict) -> String {
    if verdict.expected == "invalid" && verdict.outcome != Outcome::Unknown {
        return format!("{}: {}", told(verdict), verdict.why);
    }
    verdict.why.clone()
}

/// Over what it was counted, and in which part of the rung: `wait`, `wait, during the faults`.
pub(crate) fn scope(verdict: &Verdict) -> String {
    match &verdict.phase {
        Some(phase) => format!("{}, {phase} the faults", verdict.scope),
        None => verdict.scope.clone(),
    }
}

/// What was claimed: `latency_p99_ms (wait, during the faults)`.
pub(crate) fn name(verdict: &Verdict) -> String {
    format!("{} ({})", verdict.claim, scope(verdict))
}

/// The word for a rung: its worst verdict beside what was expected, or `as expected` where a contrast was shown; `-` if nothing is claimed
/// about it.
pub(crate) fn rung_word(judgement: &Judgement, rung: &str) -> &'static str {
    let verdicts = verdicts_of(judgement, rung);
    if verdicts.is_empty() {
        return "-";
    }
    let outcome = Outcome::of_all(verdicts.iter().map(|verdict| verdict.against_expectation()));
    let is_contrast = verdicts.iter().any(|verdict| verdict.outcome == Outcome::Invalid);
    if outcome == Outcome::Valid && is_contrast { "as expected" } else { outcome.name() }
}

/// Whether a rung's word needs [`FOOTNOTE`].
pub(crate) fn has_contrast(judgement: &Judgement) -> bool {
    judgement.rungs.iter().any(|rung| rung_word(judgement, &rung.name) == "as expected")
}
