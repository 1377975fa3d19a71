//! The bounds that count processes: rows 2 and 16, and how many processes there were.

use herd_history::{LedgerRow, MembershipRecord};

use super::{Of, by_owner, span_us, starts_us, toll};
use crate::Case;
use crate::limit::Limit;

/// How long after the control plane's word an edge may still route by the old membership.
const ROUTING_SLACK_US: u64 = 500_000;

/// Row 2: one per process; row 16: with owner routing one process sees the key, and another one after each change.
pub(super) fn single_flight(case: &Case<'_>, rows: &[&LedgerRow], of: Of) -> Limit {
    if !by_owner(case) {
        return each(case, rows, of);
    }
    let (first_us, last_us) = span_us(rows);
    let during = changes(case).filter(|change| {
        change.at_us.saturating_add(ROUTING_SLACK_US) >= first_us && change.at_us <= last_us
    });
    let limit = match during.count() as u64 {
        0 => Limit::exactly(1, "1 (owner routing)"),
        changes => {
            Limit::exactly(1 + changes, format!("1 + {changes} changes of the membership (owner routing)"))
        }
    };
    rounds(case, rows, limit, of)
}

/// Row 2, whoever the key is sent to.
pub(super) fn each(case: &Case<'_>, rows: &[&LedgerRow], of: Of) -> Limit {
    let (first_us, last_us) = starts_us(rows);
    let nodes = members(case, first_us, last_us);
    rounds(case, rows, Limit::exactly(nodes, format!("N = {nodes}")), of)
}

/// Row 2 for one process.
pub(super) fn process(case: &Case<'_>, rows: &[&LedgerRow], of: Of) -> Limit {
    rounds(case, rows, Limit::exactly(1, "1 per process"), of)
}

/// While a process cannot store what it fetched, or not in time, it fetches again, one rebuild after the other: it has one flight.
fn rounds(case: &Case<'_>, rows: &[&LedgerRow], limit: Limit, of: Of) -> Limit {
    if of == Of::AtOnce {
        return limit;
    }
    let limit = Limit { broken_premise: toll::may_store_late(case, rows), ..limit };
    match toll::blind(case, rows) {
        Some(toll::Blind { everyone: true, rounds, .. }) if rounds > 1 => {
            let text =
                format!("{} times ceil(away/D) + 1 = {rounds} while nothing could be stored", limit.text);
            Limit { at_most: limit.at_most.saturating_mul(rounds), text, ..limit }
        }
        Some(blind) => {
            limit.and(blind.nodes * (blind.rounds - 1), "by nodes that could not store a value for so many D")
        }
        None => limit,
    }
}

/// Processes that were in the fleet at some time from `first_us` to `last_us`. One that ended and was started again is two.
fn members(case: &Case<'_>, first_us: u64, last_us: u64) -> u64 {
    let before = u64::from(case.history.record.nodes_joined);
    // Until the edges know that a node left it may still be asked, and one may be asked before it was noted to have come.
    let is_gone =
        |change: &&MembershipRecord| change.left && change.at_us.saturating_add(ROUTING_SLACK_US) < first_us;
    let has_come =
        |change: &&MembershipRecord| !change.left && change.at_us <= last_us.saturating_add(ROUTING_SLACK_US);
    // Who only left the edges' membership goes on running.
    let moved = &case.history.record.moved;
    let come = moved.iter().filter(has_come).count() as u64;
    let gone = moved.iter().filter(is_gone).count() as u64;
    (before + come).saturating_sub(gone).max(1)
}

fn changes<'c>(case: &'c Case<'_>) -> impl Iterator<Item = &'c MembershipRecord> {
    case.history.record.membership.iter().chain(&case.history.record.moved)
}
