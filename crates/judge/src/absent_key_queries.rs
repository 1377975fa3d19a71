//! Property: how often the origin was asked for rows that do not exist, all of the rung.
//!
//! Remembering absence does not bound it: every new id is a new question. A filter of existing keys does. Each node has its own, and of
//! the distinct absent ids that clients asked it for at most one in a hundred passes, so that their number is binomial; one that passes
//! does so each time. An id of which the node itself said that its filter does not know it passes there by no right.

use std::collections::{BTreeMap, BTreeSet};

use herd_history::{FetchOutcome, LedgerRow, OperationRecord, Served};
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
    let is_absent = |row: &&OperationRecord| {
        !case.rows.is_row(&row.key) && case.rows.may_be_absent(&row.key, row.sent_us)
    };
    let asked: BTreeSet<&str> =
        case.history.operations.iter().filter(is_absent).map(|row| row.key.as_str()).collect();
    if asked.is_empty() {
        return Verdict::unknown(case.rung, claim, "nobody asked for a row that does not exist");
    }
    let queries: Vec<&LedgerRow> = own_rows(case.history).filter(|row| is_of_absent(case, row)).collect();
    let limit = Limit::of_some(claim, || case.rung.has(Layer::KeyFilter).then(|| filtered(case, &queries)));
    let Some(limit) = limit else {
        let why = "no layer of the rung bounds queries for distinct absent ids: a filter would";
        return Verdict::unknown(case.rung, claim, why);
    };
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

/// Which id by which node, and how often clients asked for it there, or that node the origin.
type Pairs<'a> = BTreeMap<(&'a str, &'a str), u64>;

/// Each node has a filter of its own: of the pairs of a node and an id one in a hundred passes, again and again. A node that said of an
/// id that its filter does not know it has no business with it at the origin: it gets no second query.
fn filtered(case: &Case<'_>, queries: &[&LedgerRow]) -> Limit {
    let (mut asked, mut known_absent) = (BTreeSet::new(), BTreeSet::new());
    for row in case.history.operations.iter().filter(|row| !case.rows.is_row(&row.key)) {
        if row.node.is_empty() || !case.rows.may_be_absent(&row.key, row.sent_us) {
            continue;
        }
        let pair = (row.node.as_str(), row.key.as_str());
        asked.insert(pair);
        if row.served == Served::Filtered {
            known_absent.insert(pair);
        }
    }
    let mut passed: Pairs<'_> = BTreeMap::new();
    for row in queries {
        *passed.entry((&row.node, &row.key)).or_default() += 1;
    }
    let pass = binomial_at_most(asked.len() as u64, FALSE_POSITIVES, LUCK);
    let unknown = passed.iter().filter(|(pair, _)| !known_absent.contains(*pair));
    let mut counts: Vec<u64> = unknown.map(|(_, count)| *count).collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    counts.truncate(pass as usize);
    let again = counts.iter().map(|count| count - 1).sum::<u64>();
    let each = if again > 0 { format!(", {again} times again") } else { String::new() };
    let text = format!("1 % of {} ids at nodes: {pass} at {CONFIDENCE}{each}", asked.len());
    Limit::exactly(pass + again, text)
}
