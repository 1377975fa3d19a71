//! Property: how long after the last repair goodput is back for good, milliseconds.
//!
//! Goodput is counted in buckets of 500 ms by intended time, from the last repair on; what does not fill one at the window's end is
//! left out. A bucket is good if it has at least nine tenths of the useful answers that a bucket had on average before the first
//! injection, or of what its own reads would have had then: arrivals are drawn, and fewer of them are no failure. Goodput is back
//! for good from the first bucket on after which no bucket falls below. Where the last one is below it never came back: that refutes
//! any bound, and the rest of the window is what was observed.
//!
//! Theory says whether an overloaded origin recovers (row 15), not how soon: the bound is the author's number.

use herd_history::{OperationRecord, Outcome as Ended};
use herd_scenario::{AtMost, Claim};

use crate::Case;
use crate::goodput::{is_useful, told};
use crate::limit::Limit;
use crate::verdict::{Outcome, Verdict};
use crate::witness::Witness;

/// Width of a bucket, microseconds.
const BUCKET_US: u64 = 500_000;

/// Share of the goodput before that has to come back.
const BACK: f64 = 0.9;

/// What happened in a stretch of time.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    asked: u64,
    useful: u64,
}

impl Bucket {
    fn count(&mut self, is_useful: bool) {
        self.asked += 1;
        self.useful += u64::from(is_useful);
    }
}

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let unknown = |why: &str| Verdict::unknown(case.rung, claim, why);
    if claim.at_most == AtMost::Theory {
        return unknown("theory does not say how soon goodput is back: claim a number");
    }
    let Some(phases) = case.phases else { return unknown("no fault was injected") };
    let Some(repaired_us) = phases.last_us() else { return unknown("a fault was never repaired") };
    let record = &case.history.record;
    let before_us = phases.first_us().saturating_sub(record.window_start_us);
    let number = record.window_end_us.saturating_sub(repaired_us) / BUCKET_US;
    if before_us < BUCKET_US || number == 0 {
        return unknown("there was no half a second before the faults, or after them");
    }
    let mut before = Bucket::default();
    let mut after = vec![Bucket::default(); number as usize];
    for row in case.history.operations.iter().filter(|row| row.outcome != Ended::HungUp) {
        if (record.window_start_us..phases.first_us()).contains(&row.intended_us) {
            before.count(is_useful(case, row));
        } else if let Some(bucket) = bucket_of(row, repaired_us).and_then(|at| after.get_mut(at)) {
            bucket.count(is_useful(case, row));
        }
    }
    if before.useful == 0 {
        return unknown("there was no goodput before the faults");
    }
    let usual = before.useful as f64 * BUCKET_US as f64 / before_us as f64;
    let share = before.useful as f64 / before.asked as f64;
    let is_below = |bucket: &Bucket| (bucket.useful as f64) < BACK * usual.min(share * bucket.asked as f64);
    let bad = after.iter().rposition(is_below);
    // A bucket without a single read shows that none was sent, which other assumptions tell.
    let never = bad == Some(after.len() - 1);
    let observed = match bad {
        None => 0,
        Some(_) if never => record.window_end_us.saturating_sub(repaired_us) / 1_000,
        Some(bad) => (bad as u64 + 1) * BUCKET_US / 1_000,
    };
    let why = match bad {
        _ if never => {
            format!("goodput did not come back within the {observed} ms of the window that were left")
        }
        _ => format!("goodput was back for good {observed} ms after the last repair"),
    };
    let why = format!("{why}; before it was {:.0} useful answers per second", usual * 1e6 / BUCKET_US as f64);
    let witness = bad.map(|bad| {
        let in_it = |row: &&OperationRecord| {
            row.outcome != Ended::HungUp && bucket_of(row, repaired_us) == Some(bad) && !is_useful(case, row)
        };
        let rows = case.history.operations.iter().filter(in_it);
        let rows: Vec<(&OperationRecord, String)> = rows.map(|row| (row, told(row))).collect();
        let what = format!(
            "the last half a second below nine tenths, from {} ms after the last repair on",
            bad as u64 * BUCKET_US / 1_000
        );
        Witness {
            at_us: repaired_us + bad as u64 * BUCKET_US,
            ..Witness::of_operations(what, rows.len() as u64, &rows)
        }
    });
    let limit = Limit::of(claim, Limit::none);
    let verdict = Verdict::counted(case, claim, &limit, observed, why, witness);
    if never { Verdict { outcome: Outcome::Invalid, ..verdict } } else { verdict }
}

/// In which bucket after the last repair it was meant to be sent.
fn bucket_of(row: &OperationRecord, repaired_us: u64) -> Option<usize> {
    row.intended_us.checked_sub(repaired_us).map(|us| (us / BUCKET_US) as usize)
}
