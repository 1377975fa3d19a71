//! Property: how often one process (or the fleet) rebuilds a key while the origin fails.
//!
//! An error is told once, to all who wait for it, and takes a rebuild time to come: ceil(window/D) of them begin within the window, and
//! one more at its edge; per process where processes are coalesced, for the fleet where the lock is on.
//!
//! Who retries for each waiter in its turn asks no more often than who shares the error with ever new readers: the rate is one
//! a rebuild time in both. What tells them apart is the waiter who sits through another's failures: a request of a key that lasted
//! through two failed rebuilds of its own process, from their starts to their ends, was kept in a queue that the error should have
//! ended. One such request refutes the claim.

use std::collections::BTreeMap;

use herd_history::{FetchOutcome, LedgerRow, OperationRecord};
use herd_scenario::{Claim, Failing, Layer, OriginModel, Scope};

use crate::Case;
use crate::boundary::{own_rows, was_admitted};
use crate::limit::Limit;
use crate::readers::CLOCK_SLACK_US;
use crate::theory;
use crate::verdict::{Outcome, Verdict};
use crate::witness::Witness;
use crate::worst::{Count, counted, worst_of};

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let Some(failing) = case.scenario.origin.failing else {
        return Verdict::unknown(case.rung, claim, "the origin was not to fail");
    };
    let from_us = case.history.record.window_start_us + u64::from(failing.at_ms) * 1_000;
    let until_us = from_us + u64::from(failing.for_ms) * 1_000;
    let mut groups: BTreeMap<(&str, &str), Vec<&LedgerRow>> = BTreeMap::new();
    for row in
        own_rows(case.history).filter(|row| was_admitted(row) && (from_us..until_us).contains(&row.start_us))
    {
        let node = if claim.scope == Scope::Process { row.node.as_str() } else { "" };
        groups.entry((&row.cache_key, node)).or_default().push(row);
    }
    let failed = groups.values().flatten().filter(|row| row.outcome == Some(FetchOutcome::Failed)).count();
    if failed == 0 {
        return Verdict::unknown(case.rung, claim, "no rebuild failed while the origin was to fail");
    }
    let counts: Vec<Count<'_>> = groups
        .into_values()
        .map(|mut rows| {
            rows.sort_by_key(|row| (row.start_us, row.rebuild));
            let (key, generation) = (rows[0].key.as_str(), rows[0].generation);
            let limit = Limit::of(claim, || bound(case, failing, key, &rows, claim.scope));
            Count { key, generation, complete: true, count: rows.len() as u64, rows, limit }
        })
        .collect();
    let unit = if claim.scope == Scope::Process { "keys and processes" } else { "keys" };
    let verdict = worst_of(case, claim, &counts, unit, "no rebuild while the origin failed", |worst| {
        let rebuilds = counted(worst.count, "rebuild", "rebuilds");
        format!("{} started {rebuilds} of {} while the origin failed", worst.whose(claim.scope), worst.key)
    });
    match sat_through(case) {
        Some((row, failures)) if case.rung.has(Layer::SingleFlight) => {
            let what = format!(
                "request {} of {} was kept waiting by {} through {} rebuilds that failed, one after the other",
                row.seq,
                row.key,
                row.node,
                failures.len()
            );
            let mut witness = Witness::of_rebuilds(what.clone(), &failures);
            witness.operations_total = 1;
            witness.operations =
                Witness::of_operations(String::new(), 1, &[(row, "waited".to_owned())]).operations;
            let why = format!("{what}: an error is told once, to all who wait ({})", verdict.why);
            Verdict { outcome: Outcome::Invalid, why, witness: Some(witness), ..verdict }
        }
        _ => verdict,
    }
}

fn bound(case: &Case<'_>, failing: Failing, key: &str, rows: &[&LedgerRow], scope: Scope) -> Limit {
    let took = |row: &&LedgerRow| row.end_us.map(|end_us| (end_us - row.start_us).div_ceil(1_000));
    let rebuild_ms = match case.scenario.origin.model {
        OriginModel::Fixed { latency_ms } => u64::from(latency_ms),
        // The quickest failure sets the pace.
        OriginModel::LogNormal { median_ms, .. } => {
            rows.iter().filter_map(took).min().unwrap_or(u64::from(median_ms)).max(1)
        }
    };
    let one = theory::concurrent(case, key, rows, scope);
    let rounds = u64::from(failing.for_ms).div_ceil(rebuild_ms) + 1;
    let text = format!("ceil(window/D) + 1 = {rounds} times {}", one.text);
    Limit { at_most: one.at_most.saturating_mul(rounds), at_least: 0.0, text, ..one }
}

/// The first request that lasted through two or more failed rebuilds of its key by the process that answered it, and these.
fn sat_through<'a>(case: &Case<'a>) -> Option<(&'a OperationRecord, Vec<&'a LedgerRow>)> {
    let mut failed: BTreeMap<(&str, &str), Vec<&'a LedgerRow>> = BTreeMap::new();
    let history = case.history;
    for row in own_rows(history).filter(|row| row.outcome == Some(FetchOutcome::Failed)) {
        failed.entry((&row.key, &row.node)).or_default().push(row);
    }
    for rows in failed.values_mut() {
        rows.sort_by_key(|row| (row.start_us, row.rebuild));
    }
    history.operations.iter().filter(|row| row.attempts <= 1 && !row.node.is_empty()).find_map(|row| {
        let rows = failed.get(&(row.key.as_str(), row.node.as_str()))?;
        let first = rows.partition_point(|failure| failure.start_us < row.sent_us + CLOCK_SLACK_US);
        let done_us = row.done_us.saturating_sub(CLOCK_SLACK_US);
        let through: Vec<&LedgerRow> = rows[first..]
            .iter()
            .take_while(|failure| failure.start_us <= done_us)
            .filter(|failure| failure.end_us.is_some_and(|end_us| end_us <= done_us))
            .copied()
            .collect();
        (through.len() >= 2).then_some((row, through))
    })
}
