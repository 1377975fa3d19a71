//! The bounds on herds that theory gives for a rung, computed from the scenario's parameters. Measured rebuild times of the
//! ledger enter only where the bound is a function of the real rebuild time, the clients' records where it is one of the readers.
//!
//! A layer is held to what it promises, however it is configured: a flight that is left before its write, a lock without second
//! look or a counter of tokens that forgets gets no allowance. Row numbers are those of the table of bounds:
//!
//! | layers | for the fleet | per process |
//! | --- | --- | --- |
//! | none, or stale-while-revalidate alone | 1: the readers then, about r*D | the same |
//! | xfetch alone | 10: geometric with mean e^(1/beta), plus 1 for readers who missed | the same |
//! | single-flight | 2: N | 1 |
//! | and owner routing | 16: 1, plus changes of the membership during the herd | 1 |
//! | lock, on any of these | 3: 1; 4: ceil(D/E) if the lease ends before the rebuild, until the first value is taken, of starts E apart; 6: plus losses of the lock store during the herd; 7: what the layers under it leave while the lock is away and it fails open, at most 1 + k with single-flight while k nodes cannot reach it, none where it fails closed | 1 with single-flight, else the same |
//! | and waiters that go to the origin | 8: on top of all these the readers whose wait ran out, about r*(D-W) | the same |
//!
//! What a confirmed fault adds, where it overlaps a herd and nowhere else: one for each rebuild that it took away (5: its holder was
//! paused or cut off for longer than E, or ended; or the fetch failed, was cut off or never ended), one for each request of the key that
//! hung up (with the lock one for each time that clients did, with single-flight one for each time and process), and while nothing can be stored one for each rebuild time of that, none of them at once. N is the number of nodes that were there during the
//! herd; who is started again counts again. A lock on top of single-flight never allows for more than that alone would.
//!
//! Map: `readers` rows 1, 8, 10 · `members` rows 2, 16 and N · `fleet_lock` rows 3 to 7 · `toll` what faults take.

mod fleet_lock;
mod members;
mod readers;
mod toll;

use herd_history::LedgerRow;
use herd_scenario::{Layer, Routing, Scope};

use crate::Case;
use crate::limit::Limit;
use fleet_lock::fleet_lock;
use members::single_flight;
use readers::{early, impatient, uncoordinated};

pub(crate) use toll::{could_not_reach_lock, explains_loss};

/// Below this share of r*D a herd never formed.
pub(crate) const ABOUT_AT_LEAST: f64 = 0.5;

/// XFetch's e^(1/beta) holds where r*beta*D is large; from here on it is.
pub(crate) const EARLY_CROWD_MIN: f64 = 10.0;

/// What is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// Rebuilds that start, be it one after the other.
    Starts,
    /// Rebuilds that are under way at once: what lets them follow each other allows for none of these.
    AtOnce,
}

/// Starts that these rebuilds, all of one key and generation, may have. In scope `process` they are those of one node.
pub(crate) fn rebuilds(case: &Case<'_>, key: &str, rows: &[&LedgerRow], scope: Scope) -> Limit {
    allowed(case, key, rows, scope, Of::Starts)
}

/// Rebuilds of one key that may be under way at once: never more than may start, since the bounds on starts come from bounds
/// on what runs at once. A failed rebuild is over before the next begins, and so is one whose value could not be stored.
pub(crate) fn concurrent(case: &Case<'_>, key: &str, rows: &[&LedgerRow], scope: Scope) -> Limit {
    allowed(case, key, rows, scope, Of::AtOnce)
}

/// The bound of the layers, and what faults add to it: one for each rebuild that they took away.
fn allowed(case: &Case<'_>, key: &str, rows: &[&LedgerRow], scope: Scope, of: Of) -> Limit {
    let counts = |row: &LedgerRow| of == Of::Starts || !toll::has_failed(row) || row.end_us.is_none();
    if let Some(limit) = fleet_lock::forbidden(case, rows) {
        return limit;
    }
    let (of_faults, of_clients) = ("that faults took away", "that clients hung up");
    let lost = toll::lost(case, rows, counts, toll::By::Anything);
    let limit = herd(case, key, rows, scope, of).and(lost, of_faults);
    let is_shared = case.rung.has(Layer::SingleFlight);
    if scope == Scope::Process && is_shared || !case.rung.has(Layer::Lock) {
        return limit.and(toll::hung_up(case, key, rows), of_clients);
    }
    let limit = limit.and(toll::hung_up_holders(case, key, rows), of_clients);
    if !is_shared {
        return limit;
    }
    // With single-flight under the lock a process has one flight, whatever becomes of leases.
    let flights = impatient(case, key, rows, scope, members::each(case, rows, of));
    let ended = toll::lost(case, rows, counts, toll::By::ItsEnd);
    let flights = flights.and(ended, of_faults).and(toll::hung_up(case, key, rows), of_clients);
    limit.no_more_than(flights)
}

/// The bound of the layers, and of what was away meanwhile.
fn herd(case: &Case<'_>, key: &str, rows: &[&LedgerRow], scope: Scope, of: Of) -> Limit {
    impatient(case, key, rows, scope, coalesced(case, key, rows, scope, of))
}

/// Reads per second of a key, of one that exists or of one of the few absent ones. Shares are of all reads.
fn reads_per_s(case: &Case<'_>, key: &str) -> f64 {
    f64::from(case.scenario.workload.rate_per_s) * case.shares.of(key)
}

/// Reads per second and rebuild time of a key: r*D, the readers that a boundary meets.
pub(crate) fn crowd(case: &Case<'_>, key: &str) -> f64 {
    reads_per_s(case, key) * f64::from(case.scenario.origin.model.typical_ms()) / 1e3
}

/// Whether the rung sends a key to its owner.
pub(crate) fn by_owner(case: &Case<'_>) -> bool {
    case.rung.has(Layer::OwnerRouting) || case.scenario.fleet.routing == Routing::Owner
}

/// The longest rebuild that the model draws or the ledger saw among these, milliseconds.
pub(crate) fn longest_ms(case: &Case<'_>, rows: &[&LedgerRow]) -> u64 {
    let took = |row: &&LedgerRow| row.end_us.map(|end_us| end_us.saturating_sub(row.start_us));
    let measured_us = rows.iter().filter_map(took).max().unwrap_or(0);
    measured_us.div_ceil(1_000).max(u64::from(case.scenario.origin.model.longest_ms()))
}

/// What the layers that coalesce leave of a herd.
fn coalesced(case: &Case<'_>, key: &str, rows: &[&LedgerRow], scope: Scope, of: Of) -> Limit {
    match scope {
        Scope::Process if case.rung.has(Layer::SingleFlight) => members::process(case, rows, of),
        _ if case.rung.has(Layer::Lock) => fleet_lock(case, key, rows, scope, of),
        _ => unlocked(case, key, rows, scope, of),
    }
}

/// What is left of a herd without the lock, or where it is away.
fn unlocked(case: &Case<'_>, key: &str, rows: &[&LedgerRow], scope: Scope, of: Of) -> Limit {
    if case.rung.has(Layer::SingleFlight) {
        single_flight(case, rows, of)
    } else if case.rung.early_beta.is_some() {
        early(case, key, rows, scope)
    } else {
        uncoordinated(case, key, rows, scope)
    }
}

/// From the first start to the last end.
fn span_us(rows: &[&LedgerRow]) -> (u64, u64) {
    let first_us = rows.iter().map(|row| row.start_us).min().unwrap_or(0);
    let last_us = rows.iter().map(|row| row.end_us.unwrap_or(u64::MAX)).max().unwrap_or(0);
    (first_us, last_us)
}

fn node_of<'r>(rows: &[&'r LedgerRow], scope: Scope) -> Option<&'r str> {
    rows.first().filter(|_| scope == Scope::Process).map(|row| row.node.as_str())
}

fn senders(case: &Case<'_>) -> f64 {
    if by_owner(case) { 1.0 } else { f64::from(case.scenario.fleet.nodes) }
}

/// From the first start to the last.
pub(crate) fn starts_us(rows: &[&LedgerRow]) -> (u64, u64) {
    let first_us = rows.iter().map(|row| row.start_us).min().unwrap_or(0);
    let last_us = rows.iter().map(|row| row.start_us).max().unwrap_or(0);
    (first_us, last_us)
}
