//! Property: the 99th percentile of the latency of all reads, milliseconds, rounded up: from the intended time to the answer or error.
//! What failed counts with its time; what a client hung up tells nothing.
//!
//! Theory bounds waits, not a fleet's latency: the bound is the author's number.

use herd_history::{OperationRecord, Outcome as Ended};
use herd_scenario::{AtMost, Claim};

use crate::Case;
use crate::goodput::told;
use crate::limit::Limit;
use crate::measures::percentile;
use crate::verdict::Verdict;
use crate::witness::Witness;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    if claim.at_most == AtMost::Theory {
        return Verdict::unknown(case.rung, claim, "theory bounds no latency of all reads: claim a number");
    }
    let limit = Limit::of(claim, Limit::none);
    let mut rows: Vec<&OperationRecord> =
        case.operations_of(claim).filter(|row| row.outcome != Ended::HungUp).collect();
    if rows.is_empty() {
        return Verdict::unknown(case.rung, claim, "nothing was read");
    }
    let took_us = |row: &OperationRecord| row.done_us.saturating_sub(row.intended_us);
    rows.sort_by_key(|row| (took_us(row), row.seq));
    let sorted: Vec<u64> = rows.iter().map(|row| took_us(row)).collect();
    let at_us = percentile(&sorted, 0.99);
    let slowest: Vec<(&OperationRecord, String)> =
        rows.iter().skip(sorted.partition_point(|us| *us < at_us)).map(|row| (*row, told(row))).collect();
    let observed = at_us.div_ceil(1_000);
    let why = format!("99 % of {} reads took {observed} ms or less", rows.len());
    let what = "reads at the 99th percentile and beyond".to_owned();
    let witness = Witness::of_operations(what, slowest.len() as u64, &slowest);
    Verdict::counted(case, claim, &limit, observed, why, Some(witness))
}
