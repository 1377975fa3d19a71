//! Property: how many rebuilds of one key were under way at the same instant.
//!
//! Counted per key over the whole rung, cold fills aside, so that the rebuilds of two generations that overlap are seen.

use std::collections::BTreeMap;

use herd_history::LedgerRow;
use herd_scenario::{Claim, Scope};

use crate::Case;
use crate::boundary::Boundary;
use crate::overlap::{peak_overlap, under_way_at};
use crate::rebuilds_per_boundary::{Count, limit, worst_of};
use crate::theory;
use crate::verdict::Verdict;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let mut groups: BTreeMap<(&str, &str), Vec<&LedgerRow>> = BTreeMap::new();
    for row in case.boundaries.iter().flat_map(|boundary| &boundary.rebuilds) {
        let node = if claim.scope == Scope::Process { row.node.as_str() } else { "" };
        groups.entry((&row.key, node)).or_default().push(row);
    }
    let counts: Vec<Count<'_>> = groups
        .values()
        .map(|rows| {
            let (count, at_us) = peak_overlap(rows.iter().copied());
            let rows = under_way_at(rows, at_us);
            let boundary = boundary_of(case, rows[0]);
            let limit = limit(claim, || theory::concurrent(case, boundary, &rows, claim.scope));
            Count { boundary, rows, count, limit }
        })
        .collect();
    let unit = if claim.scope == Scope::Process { "keys and processes" } else { "keys" };
    worst_of(case, claim, &counts, unit, |worst| {
        let whose = match claim.scope {
            Scope::Process => worst.rows.first().map_or("nobody", |row| row.node.as_str()),
            _ => "the fleet",
        };
        format!("{whose} had {} rebuilding {} at once", worst.count, worst.boundary.key)
    })
}

fn boundary_of<'a>(case: &'a Case<'_>, row: &LedgerRow) -> &'a Boundary<'a> {
    let found = case.boundaries.iter().find(|b| b.key == row.key && b.generation == row.generation);
    found.expect("the row came from a boundary")
}
