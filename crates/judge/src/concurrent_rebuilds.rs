//! Property: how many rebuilds of one key were under way at the same instant.
//!
//! Counted per key over the whole rung, cold fills aside, so that the rebuilds of two generations that overlap are seen.

use std::collections::BTreeMap;

use herd_history::LedgerRow;
use herd_scenario::{Claim, Scope};

use crate::Case;
use crate::limit::Limit;
use crate::overlap::{peak_overlap, under_way_at};
use crate::theory;
use crate::verdict::Verdict;
use crate::worst::{Count, worst_of};

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let mut groups: BTreeMap<(&str, &str), Vec<&LedgerRow>> = BTreeMap::new();
    for row in case.boundaries.iter().flat_map(|boundary| &boundary.rebuilds) {
        let node = if claim.scope == Scope::Process { row.node.as_str() } else { "" };
        groups.entry((&row.cache_key, node)).or_default().push(row);
    }
    let counts: Vec<Count<'_>> = groups
        .values()
        .map(|rows| {
            let (count, at_us) = peak_overlap(rows.iter().copied());
            let (key, generation) = (rows[0].key.as_str(), rows[0].generation);
            let rows = under_way_at(rows, at_us);
            let limit = Limit::of(claim, || theory::concurrent(case, key, &rows, claim.scope));
            Count { key, generation, complete: true, rows, count, limit }
        })
        .collect();
    let unit = if claim.scope == Scope::Process { "keys and processes" } else { "keys" };
    worst_of(case, claim, &counts, unit, "no boundary was seen", |worst| {
        format!("{} had {} rebuilding {} at once", worst.whose(claim.scope), worst.count, worst.key)
    })
}
