//! Property: the longest that a read waited for a rebuild, milliseconds from when it was sent to its answer or error. Reads that
//! found something at their first look (by their node's word, and by the time that it took), that were refused for load, or that were sent more than once are no waits.
//!
//! | layers | bound |
//! | --- | --- |
//! | none, single-flight | D: a reader comes during the rebuild at the earliest |
//! | lock | W of the lock and D: the grant may come when the wait is nearly over |
//! | waiter time-out to an error or a stale value | its W |
//! | waiter time-out to the origin | its W and D, and not less than the rest for who leads |
//!
//! A queue at the edge's gate comes before all these, and its longest wait on top. An error is told once to all who wait for it, so that a failing origin makes nobody wait longer. D is the longest rebuild that
//! the model draws or the ledger saw. A request's own deadline ends every wait. To each bound comes what busy machines need, a
//! tenth of a second; where an answer that no rebuild can have held up took longer than that, the machine is slow, and what lies within that time
//! above the bound is unknown. The generator's lag is no part of it: a wait is counted from when the request was sent.

use herd_history::{LedgerRow, OperationRecord};
use herd_scenario::{Claim, Layer, OnWaitTimeout};

use crate::Case;
use crate::boundary::{own_rows, was_admitted};
use crate::limit::Limit;
use crate::readers::is_miss;
use crate::readers_waited::SlowHits;
use crate::theory::longest_ms;
use crate::verdict::Verdict;
use crate::witness::Witness;

/// What scheduling, the store and the network may add to a wait, milliseconds: some fifty processes share a few cores, and a crowd is
/// woken all at once.
const WAIT_SLACK_MS: u64 = 100;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let rebuilds = SlowHits::of(case);
    let waits_for = |row: &&OperationRecord| is_wait(row) || rebuilds.has_waited(row);
    let mut waits: Vec<&OperationRecord> = case.operations_of(claim).filter(waits_for).collect();
    // The longest first, in order of sending among equals.
    waits.sort_by_key(|row| (std::cmp::Reverse(wait_us(row)), row.seq));
    let Some(longest) = waits.first() else {
        return Verdict::unknown(case.rung, claim, "nobody waited");
    };
    let mut limit = Limit::of(claim, || bound(case));
    let surely_us = waits.iter().filter(|row| is_wait(row)).map(|row| wait_us(row)).max().unwrap_or(0);
    if surely_us.div_ceil(1_000) <= limit.at_most {
        limit.broken_premise = rebuilds.broken_premise();
    }
    let observed = wait_us(longest).div_ceil(1_000);
    // A machine on which plain hits take longer than the slack adds as much to waits.
    let slowest = rebuilds.slowest_beside_ms();
    if slowest > WAIT_SLACK_MS && observed <= limit.at_most.saturating_add(slowest) {
        let slow =
            format!("an answer that no rebuild can have held up took {slowest} ms: the machine is slow");
        limit.broken_premise = limit.broken_premise.or(Some(slow));
    }
    let why = format!(
        "of {} reads that waited, number {} waited longest: {observed} ms for {}",
        waits.len(),
        longest.seq,
        longest.key
    );
    let told = |row: &OperationRecord| format!("{:?} after {} ms", row.served, wait_us(row).div_ceil(1_000));
    let listed: Vec<(&OperationRecord, String)> =
        waits.iter().take(12).map(|row| (*row, told(row))).collect();
    let witness = Witness::of_operations("the longest waits".to_owned(), waits.len() as u64, &listed);
    Verdict::counted(case, claim, &limit, observed, why, Some(witness))
}

fn bound(case: &Case<'_>) -> Limit {
    let rows: Vec<&LedgerRow> = own_rows(case.history).filter(|row| was_admitted(row)).collect();
    let rebuild_ms = longest_ms(case, &rows);
    let lock_ms = case.rung.lock.as_ref().map_or(0, |lock| u64::from(lock.wait_ms));
    let edge = case.rung.shed.and_then(|shed| shed.edge).filter(|gate| gate.queue_max > 0);
    let edge_ms = edge.map_or(0, |gate| u64::from(gate.queue_wait_ms));
    let led_ms = lock_ms + rebuild_ms;
    let led = if case.rung.has(Layer::Lock) { "W + D" } else { "D" };
    let (wait_ms, text) = match case.rung.waiter {
        Some(waiter) if waiter.then != OnWaitTimeout::Origin => (u64::from(waiter.wait_ms), "W of a waiter"),
        Some(waiter) => (led_ms.max(u64::from(waiter.wait_ms) + rebuild_ms), "W of a waiter + D"),
        None => (led_ms, led),
    };
    let wait_ms = wait_ms + edge_ms;
    let deadline_ms = u64::from(case.scenario.workload.request_deadline_ms);
    let (wait_ms, text) = if deadline_ms < wait_ms { (deadline_ms, "the deadline") } else { (wait_ms, text) };
    let text = format!("{text} = {wait_ms} ms, and {WAIT_SLACK_MS} ms of slack");
    Limit::exactly(wait_ms + WAIT_SLACK_MS, text)
}

fn is_wait(row: &OperationRecord) -> bool {
    let refused = row.outcome == herd_history::Outcome::ResourceExhausted;
    row.attempts <= 1 && !refused && is_miss(row)
}

fn wait_us(row: &OperationRecord) -> u64 {
    row.done_us.saturating_sub(row.sent_us)
}
