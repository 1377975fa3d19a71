//! Property: nobody is told that a row does not exist after its insertion was acknowledged.
//!
//! "After" is strict in the lab's one clock: the request was sent later than the acknowledgement came.

use herd_history::{OperationRecord, Outcome as Ended};
use herd_scenario::Claim;

use crate::Case;
use crate::limit::Limit;
use crate::verdict::Verdict;
use crate::witness::Witness;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let inserted = case.rows.acknowledged().count();
    if inserted == 0 {
        return Verdict::unknown(case.rung, claim, "no insertion was acknowledged");
    }
    let mut late: Vec<(&OperationRecord, String)> = Vec::new();
    let mut read_later = 0_u64;
    for row in &case.history.operations {
        let Some(acknowledged_us) = case.rows.acknowledged_us(&row.key).filter(|us| *us < row.sent_us) else {
            continue;
        };
        read_later += 1;
        if row.outcome == Ended::NotFound {
            let after_ms = (row.sent_us - acknowledged_us) as f64 / 1e3;
            late.push((row, format!("{:?}: absent {after_ms:.1} ms after its insertion", row.served)));
        }
    }
    let limit = Limit::of(claim, Limit::none);
    let observed = late.len() as u64;
    let why = match late.first() {
        None => format!("none of {read_later} reads of {inserted} inserted rows was told that there is none"),
        Some((row, what)) => {
            format!("{observed} of {read_later} reads; first: request {} of {}, {what}", row.seq, row.key)
        }
    };
    let missing = (read_later == 0).then(|| "nobody read an inserted row".to_owned());
    let witness = (!late.is_empty())
        .then(|| Witness::of_operations("absent after the insertion".to_owned(), observed, &late));
    Verdict::counted(case, claim, &limit, observed, why, witness).unless(missing)
}
