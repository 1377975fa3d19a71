//! Property: how many fetches the origin works on at once, over all keys. A fetch is at work from when its gate let it in to its end;
//! one that the gate refused never is.
//!
//! An overlap shorter than a millisecond is none: the place of a fetch is free a moment before the ledger stamps its end.

use herd_history::{FetchOutcome, LedgerRow};
use herd_scenario::{AtMost, Claim};

use crate::Case;
use crate::boundary::was_admitted;
use crate::limit::Limit;
use crate::overlap::{peak_overlap, under_way_at};
use crate::verdict::Verdict;
use crate::witness::Witness;

/// How long before its recorded end a fetch's place may be free, microseconds.
const STAMP_SLACK_US: u64 = 1_000;

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
    Verdict::counted(case, claim, &limit, peak, told, Some(witness)).unless(missing)
}

/// The same fetch without its wait at the gate.
fn at_work(row: &LedgerRow) -> LedgerRow {
    let start_us = row.start_us.saturating_add(row.gate_us);
    let end_us = row.end_us.map(|end_us| end_us.saturating_sub(STAMP_SLACK_US).max(start_us));
    LedgerRow { start_us, end_us, ..row.clone() }
}
