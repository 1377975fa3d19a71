//! Property: how often the origin was asked in all: every fetch of the rung that its gate let in, from the window's start on.
//!
//! Theory: each generation of each key in each life of the store, absences and cold keys included, may cost what its layers allow for one herd.

use std::collections::{BTreeMap, BTreeSet};

use herd_history::LedgerRow;
use herd_scenario::{Claim, Scope};

use crate::Case;
use crate::boundary::{own_rows, rows_in_lives, was_admitted};
use crate::limit::Limit;
use crate::theory;
use crate::verdict::Verdict;
use crate::witness::Witness;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let mut time = case.time_of(claim).unwrap_or(0..0);
    time.start = time.start.max(case.history.record.window_start_us);
    let rows: Vec<&LedgerRow> =
        own_rows(case.history).filter(|row| was_admitted(row) && time.contains(&row.start_us)).collect();
    let reads = case.operations_of(claim).count();
    if reads == 0 {
        return Verdict::unknown(case.rung, claim, "nothing was read");
    }
    let limit = Limit::of(claim, || bound(case, &rows));
    let told = format!("{} origin queries for {} reads", rows.len(), reads);
    let witness = (!rows.is_empty()).then(|| Witness::of_rebuilds(told.clone(), &rows));
    Verdict::counted(case, claim, &limit, rows.len() as u64, told, witness)
}

fn bound(case: &Case<'_>, rows: &[&LedgerRow]) -> Limit {
    let counted: BTreeSet<u64> = rows.iter().map(|row| row.rebuild).collect();
    let mut herds: BTreeMap<(&str, u64, u64), Vec<&LedgerRow>> = BTreeMap::new();
    for (key, rows) in rows_in_lives(case.history, &case.stores) {
        for (life, row) in rows.into_iter().filter(|(_, row)| counted.contains(&row.rebuild)) {
            herds.entry((key, life, row.generation)).or_default().push(row);
        }
    }
    let mut sum = Limit::none();
    for herd in herds.values() {
        let limit = theory::rebuilds(case, &herd[0].key, herd, Scope::Fleet);
        sum.at_most = sum.at_most.saturating_add(limit.at_most);
        sum.broken_premise = sum.broken_premise.or(limit.broken_premise);
    }
    Limit { text: format!("{} over {} herds", sum.at_most, herds.len()), ..sum }
}
