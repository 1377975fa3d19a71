//! Sentences and numbers that several forms share.

use std::time::Duration;

use herd_judge::{Judgement, Outcome, Verdict};

use crate::expected::{is_as_expected, name, told};

/// How the summary of a known-bad scenario begins.
const KNOWN_BAD: &str = "Known bad: ";

/// What a scenario is about, in one line: the comment at the top of its TOML, without a full stop and without saying that it is known
/// bad; nothing if it has none.
///
/// ```
/// let toml = "# Known bad: nothing coalesces.\nname = \"herd\"\n";
/// assert_eq!(herd_report::summary_of(toml), "nothing coalesces");
/// ```
#[must_use]
pub fn summary_of(toml: &str) -> &str {
    let first = toml.lines().next().unwrap_or_default();
    let summary = first.strip_prefix('#').unwrap_or_default().trim().trim_end_matches('.');
    summary.strip_prefix(KNOWN_BAD).unwrap_or(summary)
}

/// The verdicts of one rung.
pub(crate) fn verdicts_of<'a>(judgement: &'a Judgement, rung: &str) -> Vec<&'a Verdict> {
    judgement.verdicts.iter().filter(|verdict| verdict.rung == rung).collect()
}

/// The verdict on the fleet's rebuilds per boundary, whose bound stands in the plot of herds.
pub(crate) fn fleet_verdict<'a>(judgement: &'a Judgement, rung: &str) -> Option<&'a Verdict> {
    let of_fleet = |verdict: &&Verdict| verdict.claim == "rebuilds_per_boundary" && verdict.scope == "fleet";
    verdicts_of(judgement, rung).into_iter().filter(of_fleet).min_by_key(|verdict| verdict.phase.is_some())
}

/// `1 node`, `50 nodes`.
pub(crate) fn nodes(number: u32) -> String {
    format!("{} {}", count(number.into()), if number == 1 { "node" } else { "nodes" })
}

/// `never`, `once`, `up to 50 times`.
pub(crate) fn times(most: u64) -> String {
    match most {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        more => format!("up to {} times", count(more)),
    }
}

/// The outcome of the run in one sentence.
pub(crate) fn outcome_line(judgement: &Judgement) -> String {
    let expected = match judgement.as_expected {
        Some(true) => format!("as expected ({})", judgement.expect),
        Some(false) => format!("NOT as expected ({})", judgement.expect),
        None => format!("neither confirmed nor refuted (expected {})", judgement.expect),
    };
    format!("outcome: {}, {expected}", judgement.outcome.name())
}

/// What needs explaining.
pub(crate) struct Trouble<'a> {
    /// In a sentence.
    pub(crate) what: String,
    /// The verdict whose witness belongs to it: one that is invalid, and was not to be.
    pub(crate) refuted: Option<&'a Verdict>,
}

/// Verdicts that need explaining: everything that is not as expected, and contrasts that were refuted. What all unconfirmed claims
/// of a rung have in common, an assumption that does not hold, is told once.
pub(crate) fn troubles(judgement: &Judgement) -> Vec<Trouble<'_>> {
    let mut lines = Vec::new();
    let mut told: Vec<&str> = Vec::new();
    for verdict in judgement.verdicts.iter().filter(needs_words) {
        let failed = failed_assumptions(judgement, &verdict.rung);
        let alike = |other: &&Verdict| is_unconfirmed(other) && other.rung == verdict.rung;
        let unconfirmed: Vec<&Verdict> = judgement.verdicts.iter().filter(alike).collect();
        if failed.is_empty() || !is_unconfirmed(verdict) || unconfirmed.len() == 1 {
            let unexpected = verdict.outcome == Outcome::Invalid && is_as_expected(verdict) != Some(true);
            lines.push(Trouble { what: trouble(verdict), refuted: unexpected.then_some(verdict) });
        } else if !told.contains(&verdict.rung.as_str()) {
            told.push(&verdict.rung);
            let claims: Vec<String> = unconfirmed.iter().map(|verdict| name(verdict)).collect();
            let (rung, many) = (&verdict.rung, claims.len());
            let claims = claims.join(", ");
            let what =
                format!("{rung}: {many} claims are unknown, not confirmed: {failed}; they are {claims}");
            lines.push(Trouble { what, refuted: None });
        }
    }
    lines
}

fn needs_words(verdict: &&Verdict) -> bool {
    verdict.outcome != Outcome::Valid || is_as_expected(verdict) != Some(true)
}

fn trouble(verdict: &Verdict) -> String {
    format!("{}: {} is {}: {}", verdict.rung, name(verdict), told(verdict), verdict.why)
}

/// Whether it held as far as it goes, and is unknown only for an assumption.
fn is_unconfirmed(verdict: &Verdict) -> bool {
    verdict.outcome == Outcome::Unknown && verdict.why.starts_with("not confirmed: ")
}

fn failed_assumptions(judgement: &Judgement, rung: &str) -> String {
    let figures = judgement.rungs.iter().filter(|figures| figures.name == rung);
    let failed = figures.flat_map(|figures| &figures.assumptions).filter(|assumption| !assumption.holds);
    failed.map(|assumption| assumption.why.as_str()).collect::<Vec<_>>().join("; ")
}

/// The first sentence of a text, on one line.
pub(crate) fn first_sentence(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = line.match_indices(['.', '!', '?']).map(|(at, mark)| at + mark.len());
    let end = end.into_iter().find(|end| line[*end..].starts_with(' ')).unwrap_or(line.len());
    line[..end].to_owned()
}

/// How long something took: `9 s`, `52 s`, `4 min 02 s`.
pub(crate) fn seconds(took: Duration) -> String {
    match took.as_secs() {
        short @ 0..120 => format!("{short} s"),
        long => format!("{} min {:02} s", count(long / 60), long % 60),
    }
}

/// `4,000`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds: whole from 10 on, one digit below.
pub(crate) fn ms(value: f64) -> String {
    if value >= 10.0 { count(value.round() as u64) } else { format!("{value:.1}") }
}

/// A length of time from milliseconds, in the unit that suits it: `3.2 ms`, `120 ms`, `1.50 s`, `90 s`.
pub(crate) fn duration(value_ms: f64) -> String {
    match value_ms {
        short if short < 1_000.0 => format!("{} ms", ms(short)),
        some if some < 60_000.0 => format!("{:.2} s", some / 1e3),
        long => format!("{} s", count((long / 1e3).round() as u64)),
    }
}

/// A share, 0 to 1: `0 %`, `0.04 %`, `12.5 %`.
pub(crate) fn percent(share: f64) -> String {
    match 100.0 * share {
        0.0 => "0 %".to_owned(),
        tiny if tiny < 0.1 => format!("{tiny:.2} %"),
        some => format!("{some:.1} %"),
    }
}

/// An average: whole from 100 on, one digit below.
pub(crate) fn mean(value: f64) -> String {
    if value >= 100.0 { count(value.round() as u64) } else { format!("{value:.1}") }
}

#[cfg(test)]
mod tests {
    use super::{nodes, times};

    /// Goal: one thing is not told as several.
    #[test]
    fn one_is_singular() {
        assert_eq!([nodes(1), nodes(50), nodes(1_000)], ["1 node", "50 nodes", "1,000 nodes"]);
        assert_eq!([times(0), times(1), times(4_000)], ["never", "once", "up to 4,000 times"]);
    }
}
