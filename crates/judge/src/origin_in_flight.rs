//! Property: how many fetches the origin works on at once, over all keys. A fetch is at work from when its gate let it in to its end;
//! one that the gate refused never is.
//!
//! Theory's bound is that of the whole gate: its queue is held to its length and its longest wait as well, by what the ledger says that each
//! fetch waited, refused ones too. Where the generator lagged, nothing is said of how long a wait was.
//!
//! An overlap shorter than a millisecond is none: the place of a fetch is free a moment before the ledger stamps its end.

use herd_history::{FetchOutcome, LedgerRow};
use herd_scenario::{AtMost, Claim, Gate};

use crate::Case;
use crate::assumptions::lagged;
use crate::boundary::was_admitted;
use crate::limit::Limit;
use crate::overlap::{at_work, peak_overlap, under_way_at};
use crate::verdict::Verdict;
use crate::witness::Witness;

/// How much sooner than its record says a fetch may have left the queue, microseconds: who is let in still has to be woken, and is counted
/// as waiting until then. Shorter waits are none.
const WOKEN_SLACK_US: u64 = 20_000;

/// By how much a wait may be longer than the gate's longest, microseconds: a timer on a busy machine.
const TIMER_SLACK_US: u64 = 100_000;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let gate = case.rung.shed.and_then(|shed| shed.origin);
    let limit = Limit::of_some(claim, || {
        let gate = gate?;
        Some(Limit::exactly(u64::from(gate.in_flight_max), format!("the gate's {}", gate.in_flight_max)))
    });
    let Some(limit) = limit else {
        return Verdict::unknown(case.rung, claim, "the rung has no gate at the origin");
    };
    let admitted: Vec<LedgerRow> =
        case.history.ledger.iter().filter(|row| was_admitted(row)).map(at_work).collect();
    if admitted.is_empty() {
        return Verdict::unknown(case.rung, claim, "the origin was never asked");
    }
    let refused =
        case.history.ledger.iter().filter(|row| row.outcome == Some(FetchOutcome::Rejected)).count();
    let rows: Vec<&LedgerRow> = admitted.iter().collect();
    let (peak, at_us) = peak_overlap(rows.iter().copied());
    let told = format!("{peak} fetches at work at once, {refused} refused at the gate");
    // A gate that was never full has bounded nothing.
    let untried = claim.at_most == AtMost::Theory && refused == 0 && peak < limit.at_most;
    let missing = untried.then(|| "the gate was never full".to_owned());
    let witness = Witness::of_rebuilds(told.clone(), &under_way_at(&rows, at_us));
    let queue = gate.filter(|_| claim.at_most == AtMost::Theory && peak <= limit.at_most);
    if let Some(beyond) = queue.and_then(|gate| queue_beyond(case, claim, gate)) {
        return beyond;
    }
    Verdict::counted(case, claim, &limit, peak, told, Some(witness)).unless(missing)
}

/// The refutation by the gate's queue: more waited in it at once, or for longer, than it allows. `None` where it kept both.
fn queue_beyond(case: &Case<'_>, claim: &Claim, gate: Gate) -> Option<Verdict> {
    let waits: Vec<LedgerRow> = case.history.ledger.iter().filter_map(in_queue).collect();
    let waits: Vec<&LedgerRow> = waits.iter().collect();
    let refuted = |limit: &Limit, observed: u64, told: String, rows: &[&LedgerRow]| {
        let witness = Witness::of_rebuilds(told.clone(), rows);
        let verdict = Verdict::counted(case, claim, limit, observed, told, Some(witness));
        (observed > limit.at_most).then_some(verdict)
    };
    let (peak, at_us) = peak_overlap(waits.iter().copied());
    let limit = Limit::exactly(u64::from(gate.queue_max), format!("{} in the gate's queue", gate.queue_max));
    let told = format!("{peak} fetches waited at the gate at once");
    let too_many = refuted(&limit, peak, told, &under_way_at(&waits, at_us));
    too_many.or_else(|| {
        let longest = waits.iter().max_by_key(|row| row.gate_us).filter(|_| lagged(case).is_none())?;
        let most_ms = u64::from(gate.queue_wait_ms) + TIMER_SLACK_US / 1_000;
        let text = format!(
            "{} ms in the gate's queue, and {} ms of slack",
            gate.queue_wait_ms,
            TIMER_SLACK_US / 1_000
        );
        let waited_ms = longest.gate_us.div_ceil(1_000);
        let told = format!("rebuild {} waited {waited_ms} ms at the gate", longest.rebuild);
        refuted(&Limit::exactly(most_ms, text), waited_ms, told, &[longest])
    })
}

/// A fetch's wait at the gate alone; `None` where there was none to speak of.
fn in_queue(row: &LedgerRow) -> Option<LedgerRow> {
    let waited_us = row.gate_us.checked_sub(WOKEN_SLACK_US).filter(|us| *us > 0)?;
    Some(LedgerRow { end_us: Some(row.start_us.saturating_add(waited_us)), ..row.clone() })
}
