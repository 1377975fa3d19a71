//! Assumption: who hung up was told to. A request that failed and is recorded as hung up would count nowhere: as no error, as no
//! wait, as no lost goodput. So there are no more of them than the confirmed hang-ups say that they hit, and each was under way at one.

use herd_history::{OperationRecord, Outcome as Ended};
use herd_scenario::FaultAction;

use crate::Case;
use crate::assumptions::{Assumption, found};
use crate::turns::Turn;

/// How far the record of a request and that of a hang-up may lie apart, microseconds: both are noted by the lab, one after the other.
const SLACK_US: u64 = 100_000;

/// `None` for a rung that plans no hang-up and in which nobody hung up.
pub(crate) fn as_planned(case: &Case<'_>) -> Option<Assumption> {
    let turns: Vec<&Turn<'_>> = case.turns.iter().filter(|turn| is_hang_up(turn)).collect();
    let hung_up = || case.history.operations.iter().filter(|row| row.outcome == Ended::HungUp);
    let count = hung_up().count() as u64;
    if turns.is_empty() && count == 0 {
        return None;
    }
    let told = turns.iter().map(|turn| turn.hit).fold(0, u64::saturating_add);
    let stray = hung_up().find(|row| !turns.iter().any(|turn| was_under_way(row, turn)));
    let why = match stray {
        Some(row) => {
            format!(
                "request {} of {} is recorded as hung up, and no client was told to then",
                row.seq, row.key
            )
        }
        None => format!("{count} requests were hung up, {told} were told to be"),
    };
    Some(found("hung up as planned", count <= told && stray.is_none(), why))
}

/// Whether clients were seen to hang up.
fn is_hang_up(turn: &Turn<'_>) -> bool {
    matches!(turn.planned, Some(FaultAction::HangUp { .. }))
        && turn.injected_us.is_some()
        && turn.confirmed_us.is_some()
}

/// Whether the request was sent by then, and not over before.
fn was_under_way(row: &OperationRecord, turn: &Turn<'_>) -> bool {
    turn.injected_us.is_some_and(|at_us| {
        row.sent_us <= at_us.saturating_add(SLACK_US) && row.done_us.saturating_add(SLACK_US) >= at_us
    })
}
