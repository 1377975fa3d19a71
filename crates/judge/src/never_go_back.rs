//! Property: answers never go back. A request sent after another was answered never gets an older value of the same key.
//!
//! "After" is strict in the lab's one clock: answered before the other was sent. Requests that overlap may be answered in
//! either order. Values without a generation (served without having been cached) are left out. A deploy that changes the
//! key prefix counts generations anew: they are compared under one prefix, versions of the row under both.

use std::collections::BTreeMap;

use herd_history::{OperationRecord, Outcome as Ended, RungHistory};
use herd_scenario::Claim;

use crate::Case;
use crate::boundary::prefix_of_answer;
use crate::limit::Limit;
use crate::verdict::{Outcome, Verdict};
use crate::witness::Witness;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<&OperationRecord>> = BTreeMap::new();
    for row in
        case.history.operations.iter().filter(|row| row.outcome == Ended::Answered && row.generation > 0)
    {
        keys.entry(&row.key).or_default().push(row);
    }
    let compared: usize = keys.values().map(Vec::len).sum();
    if compared == 0 {
        return Verdict::unknown(case.rung, claim, "no answer carries a generation");
    }
    let mut back: Vec<(&OperationRecord, &OperationRecord)> = Vec::new();
    for rows in keys.values() {
        back.extend(gone_back(case.history, rows));
    }
    let limit = Limit::of(claim, Limit::none);
    let observed = back.len() as u64;
    let outcome = if observed > limit.at_most { Outcome::Invalid } else { Outcome::Valid };
    let why = match back.first() {
        None => format!("none of {compared} answers is older than one given before its request was sent"),
        Some((older, newer)) => format!(
            "{observed} of {compared} answers went back; first: {} after request {} had been answered with {}",
            told(older),
            newer.seq,
            told(newer)
        ),
    };
    let witness = back.first().map(|(older, newer)| {
        let pair = [(*newer, told(newer)), (*older, told(older))];
        Witness::of_operations("an older answer after a newer one".to_owned(), 2 * observed, &pair)
    });
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

/// Pairs of an answer and an earlier, newer one, in order of sending.
fn gone_back<'a>(
    history: &RungHistory,
    rows: &[&'a OperationRecord],
) -> Vec<(&'a OperationRecord, &'a OperationRecord)> {
    let mut by_sent = rows.to_vec();
    by_sent.sort_by_key(|row| (row.sent_us, row.seq));
    let mut by_done = rows.to_vec();
    by_done.sort_by_key(|row| (row.done_us, row.seq));
    let mut done = by_done.into_iter().peekable();
    // Generation and version may move apart: an invalidation moves only the first, a new row only the second.
    let mut newest: BTreeMap<&str, &OperationRecord> = BTreeMap::new();
    let mut newest_version: Option<&OperationRecord> = None;
    let mut back = Vec::new();
    for row in by_sent {
        while let Some(earlier) = done.next_if(|earlier| earlier.done_us < row.sent_us) {
            let known = newest.entry(prefix_of_answer(history, earlier)).or_insert(earlier);
            if earlier.generation > known.generation {
                *known = earlier;
            }
            if newest_version.is_none_or(|n| earlier.version > n.version) {
                newest_version = Some(earlier);
            }
        }
        let newest = newest.get(prefix_of_answer(history, row)).copied();
        let by_generation = newest.filter(|n| row.generation < n.generation);
        let by_version = newest_version.filter(|n| row.version < n.version);
        if let Some(newer) = by_generation.or(by_version) {
            back.push((row, newer));
        }
    }
    back
}

fn told(row: &OperationRecord) -> String {
    format!("generation {} version {}", row.generation, row.version)
}
