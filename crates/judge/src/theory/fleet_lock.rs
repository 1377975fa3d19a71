//! The bounds of a fleet lock: rows 3 to 7.

use herd_history::{FetchOutcome, LedgerRow, Reason, StoreWriteKind, StoreWriteRecord, StoreWriteVerdict};
use herd_scenario::{Layer, Lock, OnUnavailable, OnWaitTimeout, Scope};

use super::{Of, crowd, longest_ms, readers, starts_us, toll, unlocked};
use crate::Case;
use crate::assumptions::CROWD_MIN;
use crate::boundary::prefix_of;
use crate::limit::Limit;
use crate::lives::WRITE_SLACK_US;
use crate::readers::CLOCK_SLACK_US;

pub(super) fn fleet_lock(case: &Case<'_>, key: &str, rows: &[&LedgerRow], scope: Scope, of: Of) -> Limit {
    let lock = case.rung.lock.as_ref().expect("a rung with the lock layer has a lock");
    let rebuild_ms = u64::from(case.scenario.origin.model.longest_ms());
    // Allowed, and not promised: who comes late enough waits long enough.
    let all = Limit { at_least: 0.0, ..unlocked(case, key, rows, scope, of) };
    if lock.on_wait_timeout == OnWaitTimeout::Origin && u64::from(lock.wait_ms) < rebuild_ms {
        return Limit { text: format!("{}: waiters give up before D", all.text), ..all };
    }
    // Who could not store a value gives its lease back: the next rebuild comes after, not beside.
    let blind = toll::blind(case, rows).filter(|blind| of == Of::Starts && !blind.everyone);
    let blind = blind.map_or(0, |blind| blind.nodes * blind.rounds);
    away(case, key, rows, scope, all)
        .unwrap_or_else(|| held(case, lock, rows))
        .and(blind, "by nodes that could not store a value, one for each D and one more")
        .and(toll::store_losses(case, rows), "times that the lock's store lost its leases")
}

/// Row 7: where the rung fails closed nobody may begin because the lock was away, and no other fault excuses it.
pub(super) fn forbidden(case: &Case<'_>, rows: &[&LedgerRow]) -> Option<Limit> {
    let lock = case.rung.lock.as_ref().filter(|lock| lock.on_unavailable == OnUnavailable::FailClosed)?;
    let is_forbidden =
        |row: &&LedgerRow| row.reason == Reason::FailOpen && toll::could_not_reach_lock(case, row);
    let gives_up = lock.on_wait_timeout == OnWaitTimeout::Origin;
    (!gives_up && rows.iter().any(is_forbidden))
        .then(|| Limit::exactly(0, "0: the lock was away, and it fails closed"))
}

/// Row 7: the lock was out of reach for some of the herd; `all` are those that the layers under it leave.
fn away(case: &Case<'_>, key: &str, rows: &[&LedgerRow], scope: Scope, all: Limit) -> Option<Limit> {
    let lock = case.rung.lock.as_ref()?;
    let cut_off = toll::cut_off(case, rows);
    let nodes = cut_off.nodes.len() as u64;
    if !cut_off.everyone && nodes == 0 {
        return None;
    }
    match lock.on_unavailable {
        OnUnavailable::FailOpen => {
            let has_flights = case.rung.has(Layer::SingleFlight);
            // Who recomputes early is no reader who missed, and is counted with all.
            if !cut_off.everyone && !has_flights && case.rung.early_beta.is_none() {
                return Some(readers::cut_off(case, key, rows, scope, &cut_off.nodes));
            }
            let some = 1 + nodes;
            if cut_off.everyone || !has_flights || some >= all.at_most {
                return Some(Limit {
                    text: format!("{}: the lock was away, and it fails open", all.text),
                    ..all
                });
            }
            Some(Limit::exactly(
                some,
                format!("1 + {nodes} nodes that could not reach the lock, and fail open"),
            ))
        }
        // Who holds a lease may go on; nobody who surely could not get one may begin.
        OnUnavailable::FailClosed if rows.iter().all(|row| cut_off.surely(row)) => {
            Some(Limit::exactly(0, "0: the lock was away, and it fails closed"))
        }
        OnUnavailable::FailClosed => None,
    }
}

/// Rows 3, 4 and 5: the lock was there.
fn held(case: &Case<'_>, lock: &Lock, rows: &[&LedgerRow]) -> Limit {
    let rebuild_ms = u64::from(case.scenario.origin.model.longest_ms());
    let measured_ms = longest_ms(case, rows) + toll::link_delay_ms(case, rows);
    let rate = toll::lock_clock_rate(case, rows);
    let expiry_ms = ((f64::from(lock.expiry_ms) / rate) as u64).max(1);
    let wait_ms = u64::from(lock.wait_ms);
    if (!lock.renew || rate > 1.0) && expiry_ms < rebuild_ms {
        let rounds = rounds_until_taken(case, rows, expiry_ms, measured_ms);
        // Exactly so many where readers wait; a crowd that leaves fewer never waited.
        let expected = rows.first().map_or(0.0, |row| crowd(case, &row.key));
        let waited = expected >= CROWD_MIN && rate <= 1.0;
        // What a slow link adds may come; what the rebuild alone takes must.
        let at_least = if waited { 0.75 * rebuild_ms.div_ceil(expiry_ms) as f64 } else { 0.0 };
        let clock = if rate > 1.0 { format!(" by a clock {rate} times as fast") } else { String::new() };
        let text = format!("ceil(D/E) = {rounds}{clock}");
        let limit = match apart(case, rows, expiry_ms) {
            Some(apart) if apart < rounds => {
                Limit::exactly(apart, format!("{text}, of which {apart} began E apart"))
            }
            _ => Limit::exactly(rounds, text),
        };
        return Limit { at_least, ..limit };
    }
    let gave_up = lock.on_wait_timeout == OnWaitTimeout::Origin && measured_ms > wait_ms;
    let broken_premise = if !lock.renew && measured_ms > expiry_ms {
        Some(format!("a rebuild took {measured_ms} ms, longer than the lease's {expiry_ms} ms"))
    } else if gave_up {
        Some(format!("a rebuild took {measured_ms} ms, longer than waiters wait ({wait_ms} ms)"))
    } else if toll::near_lease(case, rows) {
        Some("a holder was stalled for more than half of its lease: it may have ended".to_owned())
    } else if let Some(late) = toll::may_store_late(case, rows) {
        Some(late)
    } else if rows.iter().any(|row| row.reason == Reason::FailOpen) {
        Some("a node says that the lock service was away, which no fault explains".to_owned())
    } else {
        None
    };
    Limit { broken_premise, ..Limit::exactly(1, "1 for the fleet") }
}

/// Row 4: leases that follow each other until the first value is taken. After that nobody begins: a later rebuild of the herd lengthens
/// nothing, however long it takes.
fn rounds_until_taken(case: &Case<'_>, rows: &[&LedgerRow], expiry_ms: u64, longest_ms: u64) -> u64 {
    let (first_us, _) = starts_us(rows);
    let fetched = rows.iter().filter(|row| row.outcome == Some(FetchOutcome::Fetched));
    let fetched_us = fetched.filter_map(|row| row.end_us).min();
    let taken_us = taken_us(case, rows, first_us);
    // A write that its node holds back gives no more time than a write may take.
    let slack_us = WRITE_SLACK_US + toll::link_delay_ms(case, rows) * 1_000;
    let until_us = match (taken_us, fetched_us) {
        (Some(taken_us), Some(fetched_us)) => taken_us.min(fetched_us.saturating_add(slack_us)),
        (Some(taken_us), None) => taken_us,
        (None, Some(fetched_us)) => fetched_us.saturating_add(toll::link_delay_ms(case, rows) * 1_000),
        (None, None) => return longest_ms.div_ceil(expiry_ms),
    };
    until_us.saturating_sub(first_us).div_ceil(expiry_ms * 1_000).max(1)
}

/// When the store's record says that it took the first value, or absence, newer than the one that expired; `None` where it does not.
fn taken_us(case: &Case<'_>, rows: &[&LedgerRow], first_us: u64) -> Option<u64> {
    let row = rows.first()?;
    let is_newer = |write: &&StoreWriteRecord| {
        write.verdict == StoreWriteVerdict::Accepted
            && write.kind != StoreWriteKind::Deletion
            && write.generation > row.generation
            && write.at_us.saturating_add(CLOCK_SLACK_US) >= first_us
            && write.key == row.key
            && write.prefix == prefix_of(row)
    };
    case.history.writes.iter().filter(is_newer).map(|write| write.at_us).min()
}

/// How many of these rebuilds can have begun each with a lease of its own. Leases begin E apart, and a holder may reach the origin at
/// any time of its lease: the first at its very end, the last at its beginning, so that any k starts take (k - 2)*E. `None` where all
/// can, or where a fault may have held some of them up on their way to the origin.
fn apart(case: &Case<'_>, rows: &[&LedgerRow], expiry_ms: u64) -> Option<u64> {
    if toll::holds_up_starts(case, rows) {
        return None;
    }
    let expiry_us = expiry_ms * 1_000;
    let mut starts: Vec<u64> = rows.iter().map(|row| row.start_us).collect();
    starts.sort_unstable();
    // Start j belongs to a lease that began (j - i)*E or more after that of start i: the most that any two of them lack.
    let (mut earliest, mut lacking_us) = (i128::MAX, 0);
    for (number, start_us) in (0_i128..).zip(&starts) {
        let ahead_us = number * i128::from(expiry_us) - i128::from(*start_us);
        earliest = earliest.min(ahead_us);
        lacking_us = lacking_us.max(ahead_us - earliest - i128::from(expiry_us));
    }
    let too_many = u64::try_from(lacking_us).map_or(u64::MAX, |us| us.div_ceil(expiry_us));
    (too_many > 0).then(|| (starts.len() as u64).saturating_sub(too_many))
}
