//! Property: how often clients send for each hundred requests, retries included.
//!
//! A client that tries a times sends up to a * 100: one layer of a^L. A budget bounds the retries of all together by its share of the
//! requests, 110 at a tenth. A single request beyond its number of attempts refutes the claim, whatever the sum.

use herd_history::OperationRecord;
use herd_scenario::{AtMost, Claim, Retry};

use crate::Case;
use crate::limit::Limit;
use crate::verdict::{Outcome, Verdict};
use crate::witness::Witness;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let operations = &case.history.operations;
    if operations.is_empty() {
        return Verdict::unknown(case.rung, claim, "nothing was sent");
    }
    let retry = case.rung.retry.unwrap_or(case.scenario.workload.retry);
    let limit = Limit::of(claim, || bound(retry));
    let observed = per_hundred(operations);
    let attempts = attempts(retry);
    let again: Vec<&OperationRecord> = operations.iter().filter(|row| row.attempts > 1).collect();
    let why = format!(
        "{} requests, {} of them sent more than once: {observed} for each hundred",
        operations.len(),
        again.len()
    );
    let mut listed: Vec<(&OperationRecord, String)> =
        again.iter().map(|row| (*row, format!("sent {} times", row.attempts))).collect();
    listed.sort_by_key(|(row, _)| (std::cmp::Reverse(row.attempts), row.seq));
    let witness = (!listed.is_empty())
        .then(|| Witness::of_operations("requests sent again".to_owned(), listed.len() as u64, &listed));
    let beyond = listed.first().filter(|(row, _)| row.attempts > attempts && claim.at_most == AtMost::Theory);
    let too_often = beyond.map(|(row, _)| {
        format!("request {} was sent {} times, at most {attempts} allowed", row.seq, row.attempts)
    });
    // Where nothing fails nobody has a reason to come again.
    let untried = retry != Retry::Never && again.is_empty() && claim.at_most == AtMost::Theory;
    let missing = untried.then(|| "no request was sent again".to_owned());
    let verdict = Verdict::counted(case, claim, &limit, observed, why, witness).unless(missing);
    match too_often {
        Some(why) => Verdict { outcome: Outcome::Invalid, why, ..verdict },
        None => verdict,
    }
}

/// Times sent for each hundred requests, rounded up; 0 for no requests.
pub(crate) fn per_hundred(operations: &[OperationRecord]) -> u64 {
    let sends: u64 = operations.iter().map(|row| u64::from(row.attempts.max(1))).sum();
    (sends * 100).div_ceil((operations.len() as u64).max(1))
}

/// How often one request may be sent.
fn attempts(retry: Retry) -> u32 {
    match retry {
        Retry::Never => 1,
        Retry::Fixed { attempts, .. }
        | Retry::Exponential { attempts, .. }
        | Retry::Budget { attempts, .. } => attempts,
    }
}

fn bound(retry: Retry) -> Limit {
    match retry {
        Retry::Never => Limit::exactly(100, "100: nobody sends again"),
        Retry::Fixed { attempts, .. } | Retry::Exponential { attempts, .. } => {
            let most = u64::from(attempts) * 100;
            Limit::exactly(most, format!("a^L = {attempts}, {most} for a hundred"))
        }
        Retry::Budget { share, .. } => {
            let most = (100.0 * (1.0 + share)).round() as u64;
            Limit::exactly(most, format!("a budget of {:.0} %: {most}", 100.0 * share))
        }
    }
}
