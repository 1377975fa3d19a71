//! Property: how long after a fault killed a lock holder, or cut it off, the next rebuild of its key started, milliseconds: the longest.
//!
//! A takeover is due where the holder's rebuild was under way when the fault took effect and its value was never made: at some time from
//! its injection until it was seen to have. Its lease ends by itself, E after the grant or the last renewal, which was no later than that;
//! who waits for it is told then. So theory says E; where nobody asked for the key by then, it counts from who asked next. To that
//! comes what busy machines need, a fifth of a second, and the generator's lag.

use herd_history::{LedgerRow, OperationRecord};
use herd_scenario::{Claim, FaultAction, FaultPart, Peer};

use crate::Case;
use crate::boundary::rows_in_lives;
use crate::limit::Limit;
use crate::readers::CLOCK_SLACK_US;
use crate::turns::Turn;
use crate::verdict::Verdict;
use crate::witness::Witness;

/// What the end of a lease, its notice, the grant and the start may take on busy machines, milliseconds.
const TAKEOVER_SLACK_MS: u64 = 200;

/// One takeover that was due.
struct Due<'a> {
    holder: &'a LedgerRow,
    /// Nobody, as long as the window lasted.
    next: Option<&'a LedgerRow>,
    took_ms: u64,
    limit: Limit,
}

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let mut all: Vec<Due<'_>> = Vec::new();
    for turn in case.turns.iter().filter(|turn| ends_holders(turn) && turn.confirmed_us.is_some()) {
        all.extend(due(case, claim, turn));
    }
    // The worst: first of those beyond their bound, then the longest.
    let Some(worst) = all.iter().rev().max_by_key(|due| (due.took_ms > due.limit.at_most, due.took_ms))
    else {
        let why = "no fault ended a lock holder while it rebuilt, or its value was made all the same";
        return Verdict::unknown(case.rung, claim, why);
    };
    if case.rung.lock.is_none() {
        return Verdict::unknown(case.rung, claim, "the rung has no lock that could be taken over");
    }
    let next = worst.next.map_or_else(
        || "nobody until the window's end".to_owned(),
        |next| format!("{} with rebuild {}", next.node, next.rebuild),
    );
    let why = format!(
        "of {} takeovers the longest took {} ms: {} held {} with rebuild {}, and next came {next}",
        all.len(),
        worst.took_ms,
        worst.holder.node,
        worst.holder.key,
        worst.holder.rebuild
    );
    let rows: Vec<&LedgerRow> = [Some(worst.holder), worst.next].into_iter().flatten().collect();
    let witness = Witness::of_rebuilds("the holder, and who came next".to_owned(), &rows);
    let verdict = Verdict::counted(case, claim, &worst.limit, worst.took_ms, why, Some(witness));
    let cut_off = worst.next.is_none().then(|| "the window ended before anybody took over".to_owned());
    verdict.unless(cut_off)
}

/// Whether it ends a holder, or keeps it from renewing.
fn ends_holders(turn: &Turn<'_>) -> bool {
    let of_node = turn.is_of(FaultPart::CacheNode)
        && !matches!(turn.planned, Some(FaultAction::ScaleOut { .. }) | None);
    of_node || turn.is_link_to(Peer::LockService)
}

/// The takeovers that were due after this turn.
fn due<'a>(case: &Case<'a>, claim: &Claim, turn: &Turn<'_>) -> Vec<Due<'a>> {
    let (Some(from_us), Some(seen_us)) = (turn.injected_us, turn.confirmed_us) else { return Vec::new() };
    let mut all = Vec::new();
    for rows in rows_in_lives(case.history, &case.stores).into_values() {
        let held = |(_, row): &&(u64, &LedgerRow)| {
            row.token > 0
                && turn.hits_node(&row.node)
                && row.start_us <= seen_us.max(from_us.saturating_add(CLOCK_SLACK_US))
                && row.end_us.is_none_or(|end_us| end_us >= from_us)
        };
        for (life, holder) in rows.iter().filter(held).copied() {
            let after = |(_, row): &&(u64, &LedgerRow)| {
                row.rebuild != holder.rebuild && row.start_us > from_us.max(holder.start_us)
            };
            let next = rows.iter().find(after).copied();
            let was_made = match next {
                Some((of, next)) => of == life && next.generation > holder.generation,
                None => was_given(case, holder),
            };
            if was_made {
                continue;
            }
            let next = next.map(|(_, next)| next);
            let until_us = next.map_or(case.history.record.window_end_us, |next| next.start_us);
            let took_ms = until_us.saturating_sub(from_us).div_ceil(1_000);
            all.push(Due {
                holder,
                next,
                took_ms,
                limit: Limit::of(claim, || bound(case, holder, from_us, seen_us)),
            });
        }
    }
    all
}

/// Whether a client was given what the holder was to make.
fn was_given(case: &Case<'_>, holder: &LedgerRow) -> bool {
    let made = |row: &&OperationRecord| {
        row.key == holder.key && row.generation > holder.generation && row.done_us > holder.start_us
    };
    case.history.operations.iter().any(|row| made(&row))
}

fn bound(case: &Case<'_>, holder: &LedgerRow, from_us: u64, seen_us: u64) -> Limit {
    let lock = case.rung.lock.as_ref();
    let expiry_ms = lock.map_or(0, |lock| u64::from(lock.expiry_ms));
    // Until it was gone, who renews may have renewed; who does not had its lease by the time its rebuild began.
    let last_us = if lock.is_some_and(|lock| lock.renew) { seen_us } else { holder.start_us };
    let last_ms = last_us.saturating_sub(from_us).div_ceil(1_000);
    let ended_us = from_us.saturating_add((last_ms + expiry_ms) * 1_000);
    let asked = case.readers.between(&holder.key, ended_us, u64::MAX).next();
    let asked_us = asked.map_or(ended_us, |row| row.sent_us.max(ended_us));
    let idle_ms = (asked_us - ended_us).div_ceil(1_000);
    let slack_ms = TAKEOVER_SLACK_MS + case.history.record.load.lag_p99_us.div_ceil(1_000);
    let idle = if idle_ms > 0 { format!(", {idle_ms} ms in which nobody asked") } else { String::new() };
    let late = if last_ms > 0 { format!(", {last_ms} ms until the holder was gone") } else { String::new() };
    Limit::exactly(
        last_ms + expiry_ms + idle_ms + slack_ms,
        format!("E = {expiry_ms} ms{late}{idle}, and {slack_ms} ms of slack"),
    )
}
