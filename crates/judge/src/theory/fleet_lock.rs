//! The bounds of a fleet lock: rows 3 to 7.

use herd_history::{LedgerRow, Reason};
use herd_scenario::{Lock, OnUnavailable, OnWaitTimeout};

use super::{crowd, longest_ms, single_flight, toll};
use crate::Case;
use crate::assumptions::CROWD_MIN;
use crate::limit::Limit;

pub(super) fn fleet_lock(case: &Case<'_>, rows: &[&LedgerRow]) -> Limit {
    let lock = case.rung.lock.as_ref().expect("a rung with the lock layer has a lock");
    let rebuild_ms = u64::from(case.scenario.origin.model.longest_ms());
    if lock.on_wait_timeout == OnWaitTimeout::Origin && u64::from(lock.wait_ms) < rebuild_ms {
        let limit = single_flight(case, rows);
        return Limit { text: format!("{}: waiters give up before D", limit.text), ..limit };
    }
    let blind = toll::blind(case, rows).filter(|blind| !blind.everyone);
    let blind = blind.map_or(0, |blind| blind.nodes * blind.rounds);
    away(case, lock, rows)
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

/// Row 7: the lock was out of reach for some of the herd.
fn away(case: &Case<'_>, lock: &Lock, rows: &[&LedgerRow]) -> Option<Limit> {
    let cut_off = toll::cut_off(case, rows);
    let nodes = cut_off.nodes.len() as u64;
    if !cut_off.everyone && nodes == 0 {
        return None;
    }
    match lock.on_unavailable {
        OnUnavailable::FailOpen => {
            let all = single_flight(case, rows);
            let some = 1 + nodes;
            if cut_off.everyone || some >= all.at_most {
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
        let rounds = measured_ms.div_ceil(expiry_ms);
        // Exactly so many where readers wait; a crowd that leaves fewer never waited.
        let expected = rows.first().map_or(0.0, |row| crowd(case, &row.key));
        let waited = expected >= CROWD_MIN && rate <= 1.0;
        // What a slow link adds may come; what the rebuild alone takes must.
        let at_least = if waited { 0.75 * rebuild_ms.div_ceil(expiry_ms) as f64 } else { 0.0 };
        let clock = if rate > 1.0 { format!(" by a clock {rate} times as fast") } else { String::new() };
        return Limit { at_least, ..Limit::exactly(rounds, format!("ceil(D/E) = {rounds}{clock}")) };
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
