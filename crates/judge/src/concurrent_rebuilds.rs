//! Property: how many rebuilds of one key were under way at the same instant.
//!
//! Counted per key over the whole rung, so that the rebuilds of two generations that overlap are seen: those of boundaries, and from
//! the window's start on those that name no generation too, of cold keys and of rows that do not exist. A cold herd is bounded as any
//! other is. What filled keys before the window is no herd: no reader asked for it. Each set that was under way at once has a bound of its
//! own: the one furthest beyond it speaks for its key.

use std::collections::BTreeMap;

use herd_history::LedgerRow;
use herd_scenario::{Claim, Scope};

use crate::Case;
use crate::boundary::rows_in_lives;
use crate::limit::Limit;
use crate::overlap::overlaps;
use crate::theory;
use crate::verdict::Verdict;
use crate::worst::{Count, worst_of};

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let mut groups: BTreeMap<(&str, &str), Vec<&LedgerRow>> = BTreeMap::new();
    let window_us = case.history.record.window_start_us;
    for (life, row) in rows_in_lives(case.history, &case.stores).into_values().flatten() {
        let is_boundary = (life, row.generation) > (0, 0);
        if is_boundary || row.start_us >= window_us {
            let node = if claim.scope == Scope::Process { row.node.as_str() } else { "" };
            groups.entry((&row.cache_key, node)).or_default().push(row);
        }
    }
    let counts: Vec<Count<'_>> = groups
        .values()
        .filter_map(|rows| {
            let counts = overlaps(rows).into_iter().map(|rows| {
                let (key, generation) = (rows[0].key.as_str(), rows[0].generation);
                let limit = Limit::of(claim, || theory::concurrent(case, key, &rows, claim.scope));
                Count { key, generation, complete: true, count: rows.len() as u64, rows, limit }
            });
            Count::worst(counts)
        })
        .collect();
    let unit = if claim.scope == Scope::Process { "keys and processes" } else { "keys" };
    worst_of(case, claim, &counts, unit, "no rebuild was seen", |worst| {
        format!("{} had {} rebuilding {} at once", worst.whose(claim.scope), worst.count, worst.key)
    })
}
