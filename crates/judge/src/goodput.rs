//! Property: how many reads in a hundred, by intended time, got no good answer within the request's deadline, rounded up.
//!
//! The deadline counts from the intended time, all attempts together: what comes later is of no use to who asked. A request that its
//! client hung up counts neither way. Theory bounds none of it: how much a fault may cost is the author's number.

use herd_history::{OperationRecord, Outcome as Ended};
use herd_scenario::{AtMost, Claim};

use crate::Case;
use crate::limit::Limit;
use crate::verdict::Verdict;
use crate::witness::Witness;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    if claim.at_most == AtMost::Theory {
        return Verdict::unknown(case.rung, claim, "theory bounds no goodput: claim a number");
    }
    let limit = Limit::of(claim, Limit::none);
    let (mut asked, mut lost): (u64, Vec<(&OperationRecord, String)>) = (0, Vec::new());
    for row in case.operations_of(claim).filter(|row| row.outcome != Ended::HungUp) {
        asked += 1;
        if !is_useful(case, row) {
            lost.push((row, told(row)));
        }
    }
    if asked == 0 {
        return Verdict::unknown(case.rung, claim, "nothing was read");
    }
    let number = lost.len() as u64;
    let why = format!("{number} of {asked} reads got no good answer within the deadline");
    let witness =
        (number > 0).then(|| Witness::of_operations("reads without a good answer".to_owned(), number, &lost));
    Verdict::counted(case, claim, &limit, (number * 100).div_ceil(asked), why, witness)
}

/// Whether it got a good answer in time.
pub(crate) fn is_useful(case: &Case<'_>, row: &OperationRecord) -> bool {
    let deadline_us = u64::from(case.scenario.workload.request_deadline_ms) * 1_000;
    case.rows.is_good(row) && row.done_us.saturating_sub(row.intended_us) <= deadline_us
}

pub(crate) fn told(row: &OperationRecord) -> String {
    let after_ms = row.done_us.saturating_sub(row.intended_us) as f64 / 1e3;
    format!("{:?} {after_ms:.1} ms after it was meant to be sent", row.outcome)
}
