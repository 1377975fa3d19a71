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
//! | and lock | 3, 5: 1; 4: ceil(D/E) if the lease ends before the rebuild; 7: N while the lock is away and it fails open | 1 |
//! | and waiters that go to the origin | 8: on top of all these the readers whose wait ran out, about r*(D-W) | the same |
//!
//! While the origin fails as planned, each failed rebuild allows for one more.

use herd_history::{FaultPhase, FetchOutcome, LedgerRow, OperationRecord, Outcome as Ended, Reason};
use herd_scenario::{AbsentIds, AbsentReads, Layer, OnUnavailable, OnWaitTimeout, Routing, Scope};

use crate::Case;
use crate::chance::{CONFIDENCE, LUCK, geometric_at_most};
use crate::limit::Limit;
use crate::readers::CLOCK_SLACK_US;

/// Below this share of r*D a herd never formed.
pub(crate) const ABOUT_AT_LEAST: f64 = 0.5;

/// XFetch's e^(1/beta) holds where r*beta*D is large; from here on it is.
pub(crate) const EARLY_CROWD_MIN: f64 = 10.0;

/// How long after the control plane's word an edge may still route by the old membership.
const ROUTING_SLACK_US: u64 = 500_000;

/// Starts that these rebuilds, all of one key and generation, may have. In scope `process` they are those of one node.
pub(crate) fn rebuilds(case: &Case<'_>, key: &str, rows: &[&LedgerRow], scope: Scope) -> Limit {
    let limit = concurrent(case, key, rows, scope);
    let failed = match case.scenario.origin.failing {
        Some(_) => rows.iter().filter(|row| row.outcome == Some(FetchOutcome::Failed)).count() as u64,
        None => 0,
    };
    if failed == 0 {
        return limit;
    }
    let text = format!("{}, plus {failed} that the origin failed", limit.text);
    Limit { at_most: limit.at_most.saturating_add(failed), text, ..limit }
}

/// Rebuilds of one key that may be under way at once: never more than may start, since the bounds on starts come from bounds
/// on what runs at once. A failed rebuild is over before the next begins.
pub(crate) fn concurrent(case: &Case<'_>, key: &str, rows: &[&LedgerRow], scope: Scope) -> Limit {
    impatient(case, key, rows, scope, coalesced(case, key, rows, scope))
}

/// Reads per second of a key, of one that exists or of one of the few absent ones.
fn reads_per_s(case: &Case<'_>, key: &str) -> f64 {
    let workload = &case.scenario.workload;
    let share = match workload.absent {
        None => case.shares.of(key),
        Some(AbsentReads { share, ids: AbsentIds::Fixed { count } }) if key.starts_with("absent-") => {
            share / f64::from(count)
        }
        Some(AbsentReads { share, .. }) => (1.0 - share) * case.shares.of(key),
    };
    f64::from(workload.rate_per_s) * share
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
fn coalesced(case: &Case<'_>, key: &str, rows: &[&LedgerRow], scope: Scope) -> Limit {
    match scope {
        Scope::Process if case.rung.has(Layer::SingleFlight) => Limit::exactly(1, "1 per process"),
        _ if case.rung.has(Layer::Lock) => fleet_lock(case, rows),
        _ if case.rung.has(Layer::SingleFlight) => single_flight(case, rows),
        _ if case.rung.early_beta.is_some() => early(case, key, rows, scope),
        _ => uncoordinated(case, key, rows, scope),
    }
}

/// Row 1: every reader that arrives before the first write starts a rebuild, and none starts two. r*D says how many readers
/// come on average; how many came this time is what the clients recorded, whatever the origin's ledger says. With stale values
/// served meanwhile it is each reader of one who starts a refresh.
fn uncoordinated(case: &Case<'_>, key: &str, rows: &[&LedgerRow], scope: Scope) -> Limit {
    let node = node_of(rows, scope);
    let readers = times_sent(readers_then(case, key, rows, node));
    let expected = crowd(case, key) / node.map_or(1.0, |_| senders(case));
    let at_least = if node.is_none() { about_at_least(case, expected) } else { 0.0 };
    let text = format!("about r*D = {expected:.0} (readers then: {readers})");
    Limit { at_most: readers, at_least, text, broken_premise: unrecorded(case) }
}

/// Row 10: the first reader who recomputes early comes when one such reader is expected, and until the rebuild is done their rate
/// grows by e^(1/beta), or e^(D/(beta*Delta)) if it takes D and not the usual Delta: the count is geometric with that mean. Who
/// missed all the same rebuilds as in row 1.
fn early(case: &Case<'_>, key: &str, rows: &[&LedgerRow], scope: Scope) -> Limit {
    let beta = case.rung.early_beta.unwrap_or(1.0);
    let typical_ms = f64::from(case.scenario.origin.model.typical_ms());
    let mean = (longest_ms(case, rows) as f64 / typical_ms / beta).exp();
    let most = geometric_at_most(mean, LUCK / case.boundaries.len().max(1) as f64);
    let missed = uncoordinated(case, key, rows, scope);
    let text = format!(
        "e^(D/(beta*Delta)) = {mean:.2} on average, {most} at {CONFIDENCE} of {} lives, and who missed: {}",
        case.boundaries.len(),
        missed.at_most
    );
    let at_most = most.saturating_add(missed.at_most);
    Limit { at_most, at_least: 0.0, text, broken_premise: missed.broken_premise.or_else(|| slow(case, rows)) }
}

/// Row 10's premise: the origin takes as long as it took when the value was made.
fn slow(case: &Case<'_>, rows: &[&LedgerRow]) -> Option<String> {
    let typical_ms = u64::from(case.scenario.origin.model.typical_ms());
    let measured_ms = longest_ms(case, rows);
    (2 * measured_ms > 3 * typical_ms)
        .then(|| format!("a rebuild took up to {measured_ms} ms, not {typical_ms} ms: early recomputation knows only the last one"))
}

/// Row 2: one per process; row 16: with owner routing one process sees the key, and another one after each change.
fn single_flight(case: &Case<'_>, rows: &[&LedgerRow]) -> Limit {
    if !by_owner(case) {
        let nodes = u64::from(case.scenario.fleet.nodes);
        return Limit::exactly(nodes, format!("N = {nodes}"));
    }
    let (first_us, last_us) = span_us(rows);
    let changes = case.history.record.membership.iter();
    let during = changes.filter(|change| {
        change.at_us.saturating_add(ROUTING_SLACK_US) >= first_us && change.at_us <= last_us
    });
    match during.count() as u64 {
        0 => Limit::exactly(1, "1 (owner routing)"),
        changes => {
            Limit::exactly(1 + changes, format!("1 + {changes} changes of the membership (owner routing)"))
        }
    }
}

/// Rows 3, 4, 5 and 7.
fn fleet_lock(case: &Case<'_>, rows: &[&LedgerRow]) -> Limit {
    let lock = case.rung.lock.as_ref().expect("a rung with the lock layer has a lock");
    let rebuild_ms = u64::from(case.scenario.origin.model.longest_ms());
    let measured_ms = longest_ms(case, rows);
    let expiry_ms = u64::from(lock.expiry_ms);
    let wait_ms = u64::from(lock.wait_ms);
    if lock.on_wait_timeout == OnWaitTimeout::Origin && wait_ms < rebuild_ms {
        let limit = single_flight(case, rows);
        return Limit { text: format!("{}: waiters give up before D", limit.text), ..limit };
    }
    if lock.on_unavailable == OnUnavailable::FailOpen && lock_was_away(case) {
        let limit = single_flight(case, rows);
        return Limit { text: format!("{}: the lock was away, and it fails open", limit.text), ..limit };
    }
    if !lock.renew && expiry_ms < rebuild_ms {
        let rounds = measured_ms.div_ceil(expiry_ms);
        // Exactly so many where readers wait; a crowd that leaves fewer never waited.
        let expected = rows.first().map_or(0.0, |row| crowd(case, &row.key));
        let waited = expected >= crate::assumptions::CROWD_MIN;
        let at_least = if waited { 0.75 * rounds as f64 } else { 0.0 };
        return Limit { at_least, ..Limit::exactly(rounds, format!("ceil(D/E) = {rounds}")) };
    }
    let gave_up = lock.on_wait_timeout == OnWaitTimeout::Origin && measured_ms > wait_ms;
    let broken_premise = if !lock.renew && measured_ms > expiry_ms {
        Some(format!("a rebuild took {measured_ms} ms, longer than the lease's {expiry_ms} ms"))
    } else if gave_up {
        Some(format!("a rebuild took {measured_ms} ms, longer than waiters wait ({wait_ms} ms)"))
    } else if rows.iter().any(|row| row.reason == Reason::FailOpen) {
        Some("a node says that the lock service was away, which no fault explains".to_owned())
    } else {
        None
    };
    Limit { broken_premise, ..Limit::exactly(1, "1 for the fleet") }
}

/// Row 8: on top of the rest a reader whose patience with a flight ends before it does asks the origin itself, once for each time
/// it was sent. r*(D-W) says how many on average; how many waited that long is what the clients recorded.
fn impatient(case: &Case<'_>, key: &str, rows: &[&LedgerRow], scope: Scope, limit: Limit) -> Limit {
    let Some(waiter) = case.rung.waiter.filter(|waiter| waiter.then == OnWaitTimeout::Origin) else {
        return limit;
    };
    if longest_ms(case, rows) <= u64::from(waiter.wait_ms) {
        return limit;
    }
    let node = node_of(rows, scope);
    let patience_us = (u64::from(waiter.wait_ms) * 1_000).saturating_sub(CLOCK_SLACK_US);
    let waited = |row: &&OperationRecord| row.done_us.saturating_sub(row.sent_us) >= patience_us;
    let readers = times_sent(readers_then(case, key, rows, node).filter(waited));
    let typical_ms = f64::from(case.scenario.origin.model.typical_ms());
    let rate = reads_per_s(case, key) / node.map_or(1.0, |_| senders(case));
    let waits = if readers_wait(case, key) { 1.0 } else { 0.0 };
    let expected = waits * rate * (typical_ms - f64::from(waiter.wait_ms)).max(0.0) / 1e3;
    let least = if node.is_none() { about_at_least(case, expected) } else { 0.0 };
    Limit {
        at_most: limit.at_most.saturating_add(readers),
        at_least: limit.at_least.max(least),
        text: format!("{}, plus about r*(D-W) = {expected:.0} (such readers then: {readers})", limit.text),
        broken_premise: limit.broken_premise.or_else(|| unrecorded(case)),
    }
}

/// Whether a fault that was seen to take effect took the lock service or its store away during the rung.
fn lock_was_away(case: &Case<'_>) -> bool {
    let of_lock = |text: &str| text.starts_with("lock");
    let confirmed = case.faults.iter().filter(|fault| fault.phase == FaultPhase::Confirmed);
    confirmed.into_iter().any(|fault| of_lock(&fault.fault) || of_lock(&fault.target))
}

fn readers_then<'c>(
    case: &'c Case<'c>,
    key: &str,
    rows: &[&LedgerRow],
    node: Option<&'c str>,
) -> impl Iterator<Item = &'c OperationRecord> {
    let first_us = rows.iter().map(|row| row.start_us).min().unwrap_or(0);
    let last_us = rows.iter().map(|row| row.start_us).max().unwrap_or(0);
    case.readers
        .between(key, first_us, last_us)
        .filter(move |row| node.is_none_or(|node| row.node == node || !tells_its_node(row)))
}

/// Where a request failed, or was sent more than once, who worked on it is not known.
fn tells_its_node(row: &OperationRecord) -> bool {
    matches!(row.outcome, Ended::Answered | Ended::NotFound) && !row.node.is_empty() && row.attempts <= 1
}

/// How many rebuilds must come on average where so many are expected, if anything is to be shown: about half, and six standard
/// deviations less. Nothing where a gate refuses readers and fetches.
fn about_at_least(case: &Case<'_>, expected: f64) -> f64 {
    if case.rung.has(Layer::Shed) {
        return 0.0;
    }
    (ABOUT_AT_LEAST * expected - 6.0 * expected.sqrt()).max(0.0)
}

/// Whether readers of this key wait for its rebuild: not where they get a stale value, or one that is recomputed early.
fn readers_wait(case: &Case<'_>, key: &str) -> bool {
    let is_safe = case.rung.stale.as_ref().is_some_and(|stale| stale.is_safe(key));
    !(case.rung.has(Layer::Early) || case.rung.has(Layer::StaleWhileRevalidate) && is_safe)
}

/// A request that was sent again may have started a rebuild each time.
fn times_sent<'c>(readers: impl Iterator<Item = &'c OperationRecord>) -> u64 {
    readers.map(|row| u64::from(row.attempts.max(1))).sum()
}

fn unrecorded(case: &Case<'_>) -> Option<String> {
    let missing = case.history.record.load.sent.saturating_sub(case.history.operations.len() as u64);
    (missing > 0).then(|| format!("{missing} requests have no record"))
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
