//! Property: how often the origin was asked in all: every fetch of the rung that its gate let in, from the window's start on.
//!
//! Theory: each generation of each key, absences and cold keys included, may cost what its layers allow for one herd.

use std::collections::BTreeMap;

use herd_history::LedgerRow;
use herd_scenario::{Claim, Scope};

use crate::Case;
use crate::boundary::{own_rows, was_admitted};
use crate::limit::Limit;
use crate::theory;
use crate::verdict::Verdict;
use crate::witness::Witness;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let from_us = case.history.record.window_start_us;
    let rows: Vec<&LedgerRow> =
        own_rows(case.history).filter(|row| was_admitted(row) && row.start_us >= from_us).collect();
    if case.history.operations.is_empty() {
        return Verdict::unknown(case.rung, claim, "nothing was read");
    }
    let limit = Limit::of(claim, || bound(case, &rows));
    let told = format!("{} origin queries for {} reads", rows.len(), case.history.operations.len());
    let witness = (!rows.is_empty()).then(|| Witness::of_rebuilds(told.clone(), &rows));
    Verdict::counted(case, claim, &limit, rows.len() as u64, told, witness)
}

fn bound(case: &Case<'_>, rows: &[&LedgerRow]) -> Limit {
    let mut herds: BTreeMap<(&str, u64), Vec<&LedgerRow>> = BTreeMap::new();
    for row in rows {
        herds.entry((&row.cache_key, row.generation)).or_default().push(row);
    }
    let mut sum = Limit::none();
    for herd in herds.values() {
        let limit = theory::rebuilds(case, &herd[0].key, herd, Scope::Fleet);
        sum.at_most = sum.at_most.saturating_add(limit.at_most);
        sum.broken_premise = sum.broken_premise.or(limit.broken_premise);
    }
    Limit { text: format!("{} over {} herds", sum.at_most, herds.len()), ..sum }
}
