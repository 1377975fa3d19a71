//! Property: how often the origin was asked for rows that do not exist, all of the rung.
//!
//! Remembering absence does not bound it: every new id is a new question. A filter of existing keys does: of the distinct absent ids
//! it lets at most one in a hundred pass, so that their number is binomial; each that passes may be asked for as often as
//! clients asked for the id that they asked for most.

use std::collections::BTreeMap;

use herd_history::{FetchOutcome, LedgerRow};
use herd_scenario::{Claim, Layer};

use crate::Case;
use crate::boundary::{own_rows, was_admitted};
use crate::chance::{CONFIDENCE, LUCK, binomial_at_most};
use crate::limit::Limit;
use crate::verdict::Verdict;
use crate::witness::Witness;

/// Share of absent ids that the filter takes for existing ones, at most.
pub(crate) const FALSE_POSITIVES: f64 = 0.01;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let mut asked: BTreeMap<&str, u64> = BTreeMap::new();
    for row in &case.history.operations {
        if !case.rows.is_row(&row.key) && case.rows.may_be_absent(&row.key, row.sent_us) {
            *asked.entry(&row.key).or_default() += u64::from(row.attempts.max(1));
        }
    }
    if asked.is_empty() {
        return Verdict::unknown(case.rung, claim, "nobody asked for a row that does not exist");
    }
    let limit = Limit::of_some(claim, || case.rung.has(Layer::KeyFilter).then(|| filtered(&asked)));
    let Some(limit) = limit else {
        let why = "no layer of the rung bounds queries for distinct absent ids: a filter would";
        return Verdict::unknown(case.rung, claim, why);
    };
    let queries: Vec<&LedgerRow> = own_rows(case.history).filter(|row| is_of_absent(case, row)).collect();
    let mut distinct: Vec<&str> = queries.iter().map(|row| row.key.as_str()).collect();
    distinct.sort_unstable();
    distinct.dedup();
    let told = format!(
        "{} queries for {} of {} absent ids that were asked for",
        queries.len(),
        distinct.len(),
        asked.len()
    );
    let witness = Witness::of_rebuilds(told.clone(), &queries);
    Verdict::counted(case, claim, &limit, queries.len() as u64, told, Some(witness))
}

/// Whether the origin was asked for a row that was not there. Its gate's refusals are no queries.
pub(crate) fn is_of_absent(case: &Case<'_>, row: &LedgerRow) -> bool {
    let found = row.outcome == Some(FetchOutcome::Fetched);
    was_admitted(row) && !found && !case.rows.is_row(&row.key)
}

fn filtered(asked: &BTreeMap<&str, u64>) -> Limit {
    let ids = asked.len() as u64;
    let most = asked.values().copied().max().unwrap_or(0);
    let pass = binomial_at_most(ids, FALSE_POSITIVES, LUCK);
    let each = if most > 1 { format!(", each asked for up to {most} times") } else { String::new() };
    let text = format!("1 % of {ids} ids: {pass} at {CONFIDENCE}{each}");
    Limit::exactly(pass.saturating_mul(most), text)
}
