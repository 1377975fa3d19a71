//! Property: answers never go back. A request sent after another was answered never gets an older value of the same key.
//!
//! "After" is strict in the lab's one clock: answered before the other was sent. Requests that overlap may be answered in
//! either order. The row's version comes first: a value of an older version is older, whatever else it carries, one without a
//! generation (inserted, or served without having been cached) among them. Values of one version are compared by generation, under one
//! prefix and within one life of the store: a deploy that changes the prefix and a fault that empties Redis count generations anew.
//!
//! What was served without being cached while a fault kept the store from its node promises nothing of what the store holds: another
//! node may have fetched the row a moment before, and stored it a moment later.

use std::collections::BTreeMap;

use herd_history::{OperationRecord, Outcome as Ended};
use herd_scenario::{Claim, FaultPart, Peer};

use crate::Case;
use crate::boundary::prefix_of_answer;
use crate::limit::Limit;
use crate::lives::WRITE_SLACK_US;
use crate::turns::Turn;
use crate::verdict::{Outcome, Verdict};
use crate::witness::Witness;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<&OperationRecord>> = BTreeMap::new();
    let carries = |row: &&OperationRecord| row.generation > 0 || row.version > 0;
    for row in case.history.operations.iter().filter(|row| row.outcome == Ended::Answered).filter(carries) {
        keys.entry(&row.key).or_default().push(row);
    }
    let compared: usize = keys.values().map(Vec::len).sum();
    if compared == 0 {
        return Verdict::unknown(case.rung, claim, "no answer carries a version or a generation");
    }
    let mut back: Vec<(&OperationRecord, &OperationRecord)> = Vec::new();
    for rows in keys.values() {
        back.extend(gone_back(case, rows));
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
    case: &Case<'_>,
    rows: &[&'a OperationRecord],
) -> Vec<(&'a OperationRecord, &'a OperationRecord)> {
    let after_us = after_loss_us(case);
    let mut by_sent = rows.to_vec();
    by_sent.sort_by_key(|row| (row.sent_us, row.seq));
    let mut by_done = rows.to_vec();
    by_done.sort_by_key(|row| (row.done_us, row.seq));
    let mut done = by_done.into_iter().peekable();
    let mut newest_version: Option<&OperationRecord> = None;
    // By prefix, version and life of the store.
    let mut newest: BTreeMap<(&str, u64, usize), &OperationRecord> = BTreeMap::new();
    let mut back = Vec::new();
    for row in by_sent {
        while let Some(earlier) = done.next_if(|earlier| earlier.done_us < row.sent_us) {
            if let Some(place) = place(case, earlier, after_us) {
                let known = newest.entry(place).or_insert(earlier);
                if earlier.generation > known.generation {
                    *known = earlier;
                }
            }
            if newest_version.is_none_or(|n| earlier.version > n.version) && !was_uncached(case, earlier) {
                newest_version = Some(earlier);
            }
        }
        let by_version = newest_version.filter(|n| row.version < n.version);
        let newest = place(case, row, after_us).and_then(|place| newest.get(&place).copied());
        let by_generation = newest.filter(|n| row.generation < n.generation);
        if let Some(newer) = by_version.or(by_generation) {
            back.push((row, newer));
        }
    }
    back
}

/// What an answer's generation can be compared within: nothing for a value without one, or one of which it is not sure which life
/// of the store it is of.
fn place<'a>(case: &Case<'a>, row: &OperationRecord, after_us: u64) -> Option<(&'a str, u64, usize)> {
    let life = case.stores.sure_life(row.sent_us, row.done_us, after_us).filter(|_| row.generation > 0)?;
    Some((prefix_of_answer(case.history, row), row.version, life))
}

/// How long after a loss of the store a value from before may still be given: by a flight that had fetched it, or a process's own
/// tier.
fn after_loss_us(case: &Case<'_>) -> u64 {
    let local_ms = case.rung.local.map_or(0, |local| u64::from(local.ttl_ms));
    (u64::from(case.scenario.origin.model.longest_ms()) + local_ms) * 1_000 + WRITE_SLACK_US
}

/// Whether an answer without a generation was given while a fault was seen to keep Redis, or what it held, from its node.
fn was_uncached(case: &Case<'_>, row: &OperationRecord) -> bool {
    let without_store = |turn: &Turn<'_>| {
        let away = turn.takes_away(FaultPart::Redis) || turn.loses_store();
        (away || turn.is_link_to(Peer::Redis) && turn.hits_node(&row.node))
            && turn.overlaps(row.sent_us, row.done_us)
    };
    row.generation == 0 && case.turns.iter().any(without_store)
}

fn told(row: &OperationRecord) -> String {
    format!("generation {} version {}", row.generation, row.version)
}
