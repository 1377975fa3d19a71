//! The bounds that theory gives for a rung, computed from the scenario's parameters. Measured rebuild times of the ledger enter
//! only where the bound is a function of the real rebuild time, the clients' records where it is one of the readers.

use std::collections::BTreeMap;

use herd_history::{LedgerRow, OperationRecord, Outcome as Ended, RungHistory, Served};
use herd_scenario::{Layer, OnWaitTimeout, Routing, Scope};

use crate::Case;
use crate::boundary::Boundary;

/// How far the clock of the clients' records may lie from the ledger's: one machine's clock, read by two processes.
const CLOCK_SLACK_US: u64 = 5_000;

/// Below this share of r*D a herd never formed.
pub(crate) const ABOUT_AT_LEAST: f64 = 0.5;

/// A bound for one boundary.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Limit {
    pub(crate) at_most: u64,
    /// Below it, on average over complete boundaries, the herd never formed and nothing is shown.
    pub(crate) at_least: f64,
    pub(crate) text: String,
    /// A premise of the bound that did not hold in this boundary: exceeding the bound then shows nothing.
    pub(crate) broken_premise: Option<String>,
}

impl Limit {
    fn exactly(at_most: u64, text: String) -> Self {
        Self { at_most, at_least: 0.0, text, broken_premise: None }
    }
}

/// Starts that these rebuilds, all of one boundary, may have. In scope `process` they are those of one node.
pub(crate) fn rebuilds(case: &Case<'_>, boundary: &Boundary<'_>, rows: &[&LedgerRow], scope: Scope) -> Limit {
    match scope {
        Scope::Process if case.rung.has(Layer::SingleFlight) => Limit::exactly(1, "1 per process".to_owned()),
        _ if case.rung.has(Layer::Lock) => fleet_lock(case, boundary),
        _ if case.rung.has(Layer::SingleFlight) => single_flight(case),
        _ => uncoordinated(case, boundary.key, rows, scope),
    }
}

/// Rebuilds of one key that may be under way at once: never more than may start, since the bounds on starts come from bounds
/// on what runs at once.
pub(crate) fn concurrent(
    case: &Case<'_>,
    boundary: &Boundary<'_>,
    rows: &[&LedgerRow],
    scope: Scope,
) -> Limit {
    Limit { at_least: 0.0, ..rebuilds(case, boundary, rows, scope) }
}

/// The requests of a rung that may have started a rebuild, by key: all but plain hits. An error may have started one.
pub(crate) fn readers(history: &RungHistory) -> BTreeMap<&str, Vec<&OperationRecord>> {
    let mut readers: BTreeMap<&str, Vec<&OperationRecord>> = BTreeMap::new();
    let not_hit = |row: &&OperationRecord| row.outcome != Ended::Answered || row.served != Served::Hit;
    for row in history.operations.iter().filter(not_hit) {
        readers.entry(&row.key).or_default().push(row);
    }
    readers
}

/// Reads per second and rebuild time of a key: r*D, the readers that a boundary meets.
pub(crate) fn crowd(case: &Case<'_>, key: &str) -> f64 {
    let rate = f64::from(case.scenario.workload.rate_per_s) * case.shares.of(key);
    rate * f64::from(case.scenario.origin.model.typical_ms()) / 1e3
}

/// Row 1: every reader that arrives before the first write starts a rebuild, and none starts two. r*D says how many readers
/// come on average; how many came this time is what the clients recorded, whatever the origin's ledger says.
fn uncoordinated(case: &Case<'_>, key: &str, rows: &[&LedgerRow], scope: Scope) -> Limit {
    let node = rows.first().filter(|_| scope == Scope::Process).map(|row| row.node.as_str());
    let first_us = rows.iter().map(|row| row.start_us).min().unwrap_or(0);
    let last_us = rows.iter().map(|row| row.start_us).max().unwrap_or(0);
    let was_there = |row: &&&OperationRecord| {
        row.sent_us <= last_us.saturating_add(CLOCK_SLACK_US)
            && row.done_us.saturating_add(CLOCK_SLACK_US) >= first_us
            // Who did not answer is not known where a request failed.
            && node.is_none_or(|node| row.node == node || row.outcome != Ended::Answered)
    };
    let readers = case.readers.get(key).map_or(0, |all| all.iter().filter(was_there).count() as u64);
    let expected = crowd(case, key) / node.map_or(1.0, |_| senders(case));
    let least = ABOUT_AT_LEAST * expected - 6.0 * expected.sqrt();
    let at_least = if node.is_none() { least.max(0.0) } else { 0.0 };
    let missing = case.history.record.load.sent.saturating_sub(case.history.operations.len() as u64);
    let broken_premise = (missing > 0).then(|| format!("{missing} requests have no record"));
    let text = format!("about r*D = {expected:.0} (readers then: {readers})");
    Limit { at_most: readers, at_least, text, broken_premise }
}

/// Row 2: one per process; row 16: with owner routing one process sees the key.
fn single_flight(case: &Case<'_>) -> Limit {
    match case.scenario.fleet.routing {
        Routing::Owner => Limit::exactly(1, "1 (owner routing)".to_owned()),
        Routing::Spread | Routing::Random => {
            let nodes = u64::from(case.scenario.fleet.nodes);
            Limit::exactly(nodes, format!("N = {nodes}"))
        }
    }
}

/// Rows 3, 4, 5 and 8.
fn fleet_lock(case: &Case<'_>, boundary: &Boundary<'_>) -> Limit {
    let lock = case.rung.lock.as_ref().expect("a rung with the lock layer has a lock");
    let rebuild_ms = u64::from(case.scenario.origin.model.longest_ms());
    let measured_ms = boundary.longest_us().div_ceil(1_000).max(rebuild_ms);
    let expiry_ms = u64::from(lock.expiry_ms);
    let wait_ms = u64::from(lock.wait_ms);
    if lock.on_wait_timeout == OnWaitTimeout::Origin && wait_ms < rebuild_ms {
        let limit = single_flight(case);
        return Limit { text: format!("{}: waiters give up before D", limit.text), ..limit };
    }
    if !lock.renew && expiry_ms < rebuild_ms {
        let rounds = measured_ms.div_ceil(expiry_ms);
        return Limit::exactly(rounds, format!("ceil(D/E) = {rounds}"));
    }
    let gave_up = lock.on_wait_timeout == OnWaitTimeout::Origin && measured_ms > wait_ms;
    let broken_premise = if !lock.renew && measured_ms > expiry_ms {
        Some(format!("a rebuild took {measured_ms} ms, longer than the lease's {expiry_ms} ms"))
    } else if gave_up {
        Some(format!("a rebuild took {measured_ms} ms, longer than waiters wait ({wait_ms} ms)"))
    } else {
        None
    };
    Limit { broken_premise, ..Limit::exactly(1, "1 for the fleet".to_owned()) }
}

fn senders(case: &Case<'_>) -> f64 {
    match case.scenario.fleet.routing {
        Routing::Owner => 1.0,
        Routing::Spread | Routing::Random => f64::from(case.scenario.fleet.nodes),
    }
}
