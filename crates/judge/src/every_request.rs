//! Property: every request gets exactly one good answer; what is none is counted by kind.
//!
//! That a row does not exist is a good answer to who asked for one that does not, or whose insertion was not acknowledged when the
//! request was sent. A value of a row that nobody inserted yet is none.

use std::collections::{BTreeMap, BTreeSet};

use herd_history::{OperationRecord, Outcome as Ended};
use herd_scenario::Claim;

use crate::Case;
use crate::assumptions::lagged;
use crate::limit::Limit;
use crate::verdict::{Outcome, Verdict};
use crate::witness::Witness;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let within = case.within(claim);
    let mut asked = 0_u64;
    let mut seen = BTreeSet::new();
    let mut bad: Vec<(&OperationRecord, String)> = Vec::new();
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for row in &case.history.operations {
        let is_new = seen.insert(row.seq);
        // Who hung up wanted no answer.
        if !within(row.intended_us, Some(row.done_us)) || row.outcome == Ended::HungUp {
            continue;
        }
        asked += u64::from(is_new);
        let what = if !is_new {
            "answered twice".to_owned()
        } else if !case.rows.is_good(row) {
            kind(row.outcome).to_owned()
        } else {
            continue;
        };
        *kinds.entry(what.clone()).or_default() += 1;
        bad.push((row, if row.error.is_empty() { what } else { format!("{what}: {}", row.error) }));
    }
    let limit = Limit::of(claim, Limit::none);
    let observed = bad.len() as u64;
    let sent = case.history.record.load.sent;
    let missing = sent.saturating_sub(seen.len() as u64);
    let listed: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    // A machine that is too busy lets deadlines pass; it does not find rows missing, nor answers twice.
    let by_time = bad.iter().filter(|(row, _)| row.outcome == Ended::DeadlineExceeded).count() as u64;
    let lagged = lagged(case).filter(|_| observed > limit.at_most && observed - by_time <= limit.at_most);
    let (outcome, why) = if let Some(lag) = lagged {
        let why = format!("{observed} of {asked} requests: {}", listed.join(", "));
        (Outcome::Unknown, format!("neither confirmed nor refuted: {lag} ({why})"))
    } else if observed > limit.at_most {
        (Outcome::Invalid, format!("{observed} of {asked} requests: {}", listed.join(", ")))
    } else if missing > 0 {
        (Outcome::Unknown, format!("{missing} of {sent} requests have no record"))
    } else if asked == 0 {
        (Outcome::Unknown, "nobody asked".to_owned())
    } else {
        (Outcome::Valid, format!("{} of {asked} requests were answered", asked.saturating_sub(observed)))
    };
    let witness = (!bad.is_empty())
        .then(|| Witness::of_operations("requests without a good answer".to_owned(), observed, &bad));
    Verdict {
        bound: Some(limit.at_most),
        bound_text: limit.text,
        observed: Some(observed),
        outcome,
        why,
        witness,
        ..Verdict::new(case.rung, claim)
    }
}

fn kind(outcome: Ended) -> &'static str {
    match outcome {
        Ended::Answered => "a value of a row that does not exist",
        Ended::NotFound => "not found",
        Ended::InvalidArgument => "invalid argument",
        Ended::Unavailable => "unavailable",
        Ended::DeadlineExceeded => "deadline exceeded",
        Ended::ResourceExhausted => "resource exhausted",
        Ended::Cancelled => "cancelled",
        Ended::Failed => "failed",
        Ended::HungUp => "hung up by the client",
    }
}
