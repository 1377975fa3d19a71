//! Property: how stale an answer may be. T (with jitter T * (1 + j)) for a fresh value, T and the grace G for a stale one, and a
//! stale one only of a key that the rung marks safe.
//!
//! Each answer is judged in two ways: by the age that the node tells, and by what the origin's ledger and the store's record know:
//! the value of this generation began to live at t, so that no request sent later than its bound after t can be given it. A tier in
//! the process gets no time of its own.

use std::collections::BTreeMap;

use herd_history::{OperationRecord, Outcome as Ended, Served};
use herd_scenario::Claim;

use crate::Case;
use crate::boundary::prefix_of_answer;
use crate::limit::Limit;
use crate::lives::Lives;
use crate::verdict::Verdict;
use crate::witness::Witness;

/// How much older a value may be when the node tells its age than when it looked at it, milliseconds.
pub(crate) const AGE_SLACK_MS: u64 = 20;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let lives = Lives::of(case.history);
    let mut bad: Vec<(&OperationRecord, String)> = Vec::new();
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let mut judged = 0_u64;
    for row in case.history.operations.iter().filter(|row| row.outcome == Ended::Answered) {
        judged += u64::from(row.generation > 0);
        if let Some((kind, told)) = beyond(case, &lives, row) {
            *kinds.entry(kind).or_default() += 1;
            bad.push((row, told));
        }
    }
    if judged == 0 {
        return Verdict::unknown(case.rung, claim, "no answer carries a generation");
    }
    let limit = Limit::of(claim, Limit::none);
    let observed = bad.len() as u64;
    let bound = format!("T {}", told_ms(fresh_ms(case)));
    let bound = case.rung.stale.as_ref().map_or(bound.clone(), |stale| {
        format!("{bound}, and G {} for stale answers of safe keys", told_ms(u64::from(stale.grace_ms)))
    });
    let why = if bad.is_empty() {
        format!("none of {judged} answers is older than its bound: {bound}")
    } else {
        let listed: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        format!("{observed} of {judged} answers are beyond their bound ({bound}): {}", listed.join(", "))
    };
    let witness = (!bad.is_empty())
        .then(|| Witness::of_operations("answers older than their bound".to_owned(), observed, &bad));
    Verdict::counted(case, claim, &limit, observed, why, witness)
}

/// What is wrong with an answer, if anything: its kind, and in words.
fn beyond(case: &Case<'_>, lives: &Lives<'_>, row: &OperationRecord) -> Option<(&'static str, String)> {
    let is_stale = row.served == Served::Stale;
    let mut most_ms = fresh_ms(case);
    if is_stale {
        let stale = case.rung.stale.as_ref();
        let Some(stale) = stale.filter(|stale| stale.is_safe(&row.key)) else {
            let told = format!("a stale answer of {}, which is not safe to serve stale", row.key);
            return Some(("stale of an unsafe key", told));
        };
        most_ms += u64::from(stale.grace_ms);
    }
    if row.age_ms > most_ms + AGE_SLACK_MS {
        let told =
            format!("generation {} at an age of {} ms, at most {most_ms} ms", row.generation, row.age_ms);
        return Some(("too old by the node's own word", told));
    }
    let place = (prefix_of_answer(case.history, row), row.key.as_str());
    let life = lives.of_value(place, row.generation)?;
    let late_us = row.sent_us.saturating_sub(life.last_us.saturating_add(most_ms * 1_000));
    (late_us > 0).then(|| {
        let told = format!(
            "generation {} asked for {:.1} ms after the {most_ms} ms of its life",
            row.generation,
            late_us as f64 / 1e3
        );
        ("too old by the ledger", told)
    })
}

/// The longest life of a fresh value, milliseconds.
fn fresh_ms(case: &Case<'_>) -> u64 {
    let ttl_ms = f64::from(case.scenario.policy.ttl_ms);
    (ttl_ms * (1.0 + case.rung.jitter.unwrap_or(0.0))).ceil() as u64
}

fn told_ms(ms: u64) -> String {
    format!("{ms} ms")
}
