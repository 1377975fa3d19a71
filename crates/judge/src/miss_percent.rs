//! Property: how many reads in a hundred found nothing to serve at their first look, rounded up.
//!
//! Theory bounds it only after a pre-warm whose gate opened: what the gate asked for, as long as no filled value has expired. The reads
//! that count are then those sent within the shortest TTL after the window's start; else all of the rung.

use herd_history::{OperationRecord, Outcome as Ended};
use herd_scenario::{AtMost, Claim, Start};

use crate::Case;
use crate::limit::Limit;
use crate::readers::is_miss;
use crate::verdict::Verdict;
use crate::witness::Witness;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let limit = Limit::of_some(claim, || match case.rung.start {
        Start::Prewarmed { hit_rate, .. } => {
            // A rate like 0.7 is not exact in binary: a billionth of a percent is none.
            let most = (100.0 * (1.0 - hit_rate) - 1e-9).ceil() as u64;
            Some(Limit::exactly(most, format!("1 - h = {most} % for a gate at {:.0} %", 100.0 * hit_rate)))
        }
        Start::Warm | Start::Cold => None,
    });
    let Some(limit) = limit else {
        return Verdict::unknown(
            case.rung,
            claim,
            "theory bounds misses only after a pre-warm: claim a number",
        );
    };
    let until_us = match claim.at_most {
        AtMost::Number(_) => u64::MAX,
        AtMost::Theory => {
            let shortest_ms =
                f64::from(case.scenario.policy.ttl_ms) * (1.0 - case.rung.jitter.unwrap_or(0.0));
            case.history.record.window_start_us + (shortest_ms * 1e3) as u64
        }
    };
    let heard = |row: &&OperationRecord| row.outcome != Ended::HungUp && row.sent_us < until_us;
    let reads = case.operations_of(claim).filter(heard);
    let (mut total, mut missed): (u64, Vec<(&OperationRecord, String)>) = (0, Vec::new());
    for row in reads {
        total += 1;
        if is_miss(row) {
            missed.push((row, format!("{:?}", row.served)));
        }
    }
    if total == 0 {
        return Verdict::unknown(case.rung, claim, "nothing was read");
    }
    let misses = missed.len() as u64;
    let observed = (misses * 100).div_ceil(total);
    let why = format!("{misses} of {total} reads missed");
    let witness =
        (misses > 0).then(|| Witness::of_operations("reads that missed".to_owned(), misses, &missed));
    Verdict::counted(case, claim, &limit, observed, why, witness)
}
