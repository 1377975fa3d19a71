//! Assumptions about a rung with the fleet lock: without the lock's work in it, a small herd says nothing about the lock.

use std::collections::{BTreeMap, BTreeSet};

use herd_history::{LedgerRow, Reason};
use herd_scenario::{Layer, OnWaitTimeout};

use crate::Case;
use crate::assumptions::{Assumption, found};
use crate::boundary::rows_in_lives;
use crate::theory::could_not_reach_lock;

/// Both assumptions; none for a rung without the lock.
pub(crate) fn all(case: &Case<'_>) -> Vec<Assumption> {
    if case.rung.has(Layer::Lock) { vec![leased(case), tokens_grow(case)] } else { Vec::new() }
}

/// Every rebuild of every boundary was made under a lease, whatever moved the flight: its readers, a stale or an ageing value.
/// Fail-open and flights that give up are configured ways around the lock: they are not wrong, but a rung in which they
/// were taken does not show what the lock does. Only where a wait is meant to end at the origin, and ends before a rebuild does,
/// is that what the rung shows; and where a confirmed fault kept the node from the lock.
fn leased(case: &Case<'_>) -> Assumption {
    let rows = || case.boundaries.iter().flat_map(|boundary| boundary.rebuilds.iter().copied());
    let mut others: BTreeMap<&str, (u64, &LedgerRow)> = BTreeMap::new();
    for row in rows() {
        let what = match row.reason {
            Reason::WaitTimeout if goes_to_origin(case) => continue,
            Reason::FailOpen if could_not_reach_lock(case, row) => continue,
            Reason::LeaseHolder | Reason::Refresh | Reason::Early | Reason::Warm | Reason::Retry
                if row.token > 0 =>
            {
                continue;
            }
            Reason::LeaseHolder => "lease_holder without a token",
            Reason::Refresh => "refresh without a token",
            Reason::Early => "early without a token",
            Reason::Warm => "warm without a token",
            Reason::Retry => "retry without a token",
            other => other.name(),
        };
        others.entry(what).or_insert((0, row)).0 += 1;
    }
    let total = rows().count();
    let why = if others.is_empty() {
        format!("all {total} rebuilds were made by holders of a lease, or by who was to go around it")
    } else {
        let listed = others.iter().map(|(what, (count, row))| {
            format!("{count} of {total} rebuilds by {what} (first: rebuild {} by {})", row.rebuild, row.node)
        });
        format!("rebuilds without a lease: {}", listed.collect::<Vec<_>>().join(", "))
    };
    found("lock used", others.is_empty(), why)
}

/// Whether the rung means those whose wait ran out to ask the origin, before a rebuild can be done.
fn goes_to_origin(case: &Case<'_>) -> bool {
    let rebuild_ms = case.scenario.origin.model.longest_ms();
    let ends = |then: OnWaitTimeout, wait_ms: u32| then == OnWaitTimeout::Origin && wait_ms < rebuild_ms;
    case.rung.waiter.is_some_and(|waiter| ends(waiter.then, waiter.wait_ms))
        || case.rung.lock.as_ref().is_some_and(|lock| ends(lock.on_wait_timeout, lock.wait_ms))
}

/// Of two rebuilds of a key that saw different generations, the later has the larger epoch and token; no token comes twice.
fn tokens_grow(case: &Case<'_>) -> Assumption {
    let name = "tokens grow";
    let fence = |row: &LedgerRow| (row.epoch, row.token);
    for (key, mut rows) in rows_in_lives(case.history, &case.stores) {
        // A flight that asks twice does so under one token.
        let mut seen = BTreeSet::new();
        rows.retain(|(_, row)| {
            row.token > 0 && (row.trace.is_empty() || seen.insert((&row.trace, &row.node, fence(row))))
        });
        rows.sort_by_key(|(life, row)| (*life, row.generation, fence(row), row.rebuild));
        let rows: Vec<&LedgerRow> = rows.into_iter().map(|(_, row)| row).collect();
        if let Some(pair) = rows.windows(2).find(|pair| fence(pair[0]) >= fence(pair[1])) {
            let told = |row: &LedgerRow| {
                let LedgerRow { token, epoch, rebuild, generation, .. } = row;
                format!("token {token} of epoch {epoch} (rebuild {rebuild}, generation {generation})")
            };
            return found(name, false, format!("{key}: {} came after {}", told(pair[1]), told(pair[0])));
        }
    }
    found(name, true, "the tokens of each key grow with its generations".to_owned())
}
