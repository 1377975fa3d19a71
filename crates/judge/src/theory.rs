//! The bounds that theory gives for a rung, computed from the scenario's parameters; measured rebuild times of the ledger enter
//! only where the bound is a function of the real rebuild time.

use herd_scenario::{Layer, OnWaitTimeout, Routing, Scope};

use crate::Case;
use crate::boundary::Boundary;

/// How far from r*D a herd without any layer may be: readers keep coming until the first value is *written*, so
/// scheduling and the write itself add to D. Above it the claim is refuted.
const ABOUT_AT_MOST: f64 = 2.0;

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

/// Rebuild starts that one boundary may have.
pub(crate) fn rebuilds(case: &Case<'_>, boundary: &Boundary<'_>, scope: Scope) -> Limit {
    match scope {
        Scope::Process if case.rung.has(Layer::SingleFlight) => Limit::exactly(1, "1 per process".to_owned()),
        Scope::Process => uncoordinated(case, boundary, senders(case)),
        _ if case.rung.has(Layer::Lock) => fleet_lock(case, boundary),
        _ if case.rung.has(Layer::SingleFlight) => single_flight(case),
        _ => uncoordinated(case, boundary, 1.0),
    }
}

/// Rebuilds of one key that may be under way at once: never more than may start, since the bounds on starts come from bounds
/// on what runs at once.
pub(crate) fn concurrent(case: &Case<'_>, boundary: &Boundary<'_>, scope: Scope) -> Limit {
    Limit { at_least: 0.0, ..rebuilds(case, boundary, scope) }
}

/// Reads per second and rebuild time of a key: r*D, the readers that a boundary meets.
pub(crate) fn crowd(case: &Case<'_>, key: &str) -> f64 {
    let rate = f64::from(case.scenario.workload.rate_per_s) * case.shares.of(key);
    rate * f64::from(case.scenario.origin.model.typical_ms()) / 1e3
}

/// Row 1: every reader that arrives before the first write starts a rebuild. `senders`: over how many processes they spread.
fn uncoordinated(case: &Case<'_>, boundary: &Boundary<'_>, senders: f64) -> Limit {
    let expected = crowd(case, boundary.key) / senders;
    let typical_us = f64::from(case.scenario.origin.model.typical_ms()) * 1e3;
    let stretch = (boundary.longest_us() as f64 / typical_us).max(1.0);
    let most = ABOUT_AT_MOST * expected * stretch;
    // Six standard deviations of a Poisson count.
    let at_most = (most + 6.0 * most.sqrt()).ceil() as u64;
    let least = ABOUT_AT_LEAST * expected - 6.0 * expected.sqrt();
    let at_least = if senders == 1.0 { least.max(0.0) } else { 0.0 };
    let text = format!("about r*D = {expected:.0} (at most {at_most})");
    Limit { at_most, at_least, text, broken_premise: None }
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
