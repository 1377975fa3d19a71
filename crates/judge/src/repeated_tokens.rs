//! Property: fencing tokens under which two different rebuilds asked the origin, whatever the epoch and whatever was lost meanwhile: a
//! token that comes twice lets an old holder write as if it were the new one.
//!
//! A flight that asks once more because its first attempt vanished shares its token with itself by right: the same key, node and
//! trace. Theory: none.

use std::collections::BTreeMap;

use herd_history::LedgerRow;
use herd_scenario::Claim;

use crate::Case;
use crate::boundary::own_rows;
use crate::limit::Limit;
use crate::verdict::Verdict;
use crate::witness::Witness;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let mut tokens: BTreeMap<u64, Vec<&LedgerRow>> = BTreeMap::new();
    for row in own_rows(case.history).filter(|row| row.token > 0) {
        tokens.entry(row.token).or_default().push(row);
    }
    if tokens.is_empty() {
        return Verdict::unknown(case.rung, claim, "no rebuild was made under a lease");
    }
    let repeats = |rows: &&Vec<&LedgerRow>| rows.iter().any(|row| !is_same_flight(row, rows[0]));
    let repeated: Vec<&Vec<&LedgerRow>> = tokens.values().filter(repeats).collect();
    let observed = repeated.len() as u64;
    let limit = Limit::of(claim, Limit::none);
    let Some(first) = repeated.first() else {
        let why = format!("each of {} tokens was one flight's", tokens.len());
        return Verdict::counted(case, claim, &limit, 0, why, None);
    };
    let told = format!("token {} was used by {} rebuilds of different flights", first[0].token, first.len());
    let why = format!("{observed} of {} tokens came more than once; first: {told}", tokens.len());
    let witness = Witness::of_rebuilds(told, first);
    Verdict::counted(case, claim, &limit, observed, why, Some(witness))
}

/// Whether two rebuilds are attempts of one flight.
fn is_same_flight(one: &LedgerRow, other: &LedgerRow) -> bool {
    let same_trace = !one.trace.is_empty() && one.trace == other.trace;
    let is_same_row = one.rebuild == other.rebuild;
    is_same_row || same_trace && one.node == other.node && one.cache_key == other.cache_key
}
