//! Property: how often the origin was asked for one row that does not exist within one negative TTL.
//!
//! Counted are the fetches that found no row, per key (in scope `process` per key and process), in the worst window of a negative
//! TTL, wherever it begins: the one furthest beyond what its herd may cost. A remembered absence lives for that long after the first of its herd, so that two herds never
//! meet in one window and the bound is that of one herd: the same as for a value. The window is a tenth shorter than the TTL:
//! starts are read from the origin's clock, the TTL runs by the store's.

use std::collections::BTreeMap;

use herd_history::{FetchOutcome, LedgerRow};
use herd_scenario::{AtMost, Claim, Scope};

use crate::Case;
use crate::boundary::own_rows;
use crate::limit::Limit;
use crate::theory;
use crate::verdict::Verdict;
use crate::worst::{Count, counted, worst_of};

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let Some(ttl_ms) = case.rung.negative_ttl_ms else {
        let why = match claim.at_most {
            AtMost::Theory => "no layer of the rung remembers absence",
            AtMost::Number(_) => "the rung has no negative TTL over which to count",
        };
        return Verdict::unknown(case.rung, claim, why);
    };
    let window_us = u64::from(ttl_ms) * 900;
    let mut groups: BTreeMap<(&str, &str), Vec<&LedgerRow>> = BTreeMap::new();
    for row in own_rows(case.history).filter(|row| row.outcome == Some(FetchOutcome::NoSuchRow)) {
        let node = if claim.scope == Scope::Process { row.node.as_str() } else { "" };
        groups.entry((&row.cache_key, node)).or_default().push(row);
    }
    let counts: Vec<Count<'_>> = groups
        .into_values()
        .filter_map(|mut rows| {
            rows.sort_by_key(|row| (row.start_us, row.rebuild));
            let counts = windows(&rows, window_us).into_iter().map(|rows| {
                let (key, generation) = (rows[0].key.as_str(), rows[0].generation);
                let limit = Limit::of(claim, || theory::rebuilds(case, key, &rows, claim.scope));
                Count { key, generation, complete: true, count: rows.len() as u64, rows, limit }
            });
            Count::worst(counts)
        })
        .collect();
    let unit = if claim.scope == Scope::Process { "absent keys and processes" } else { "absent keys" };
    let nothing = "the origin was never asked for a row that does not exist";
    worst_of(case, claim, &counts, unit, nothing, |worst| {
        let queries = counted(worst.count, "query", "queries");
        format!("{} made {queries} for {} within one negative TTL", worst.whose(claim.scope), worst.key)
    })
}

/// All sets of rows whose starts lie within a window of this length and to which none can be added. `rows` are in order of their starts.
fn windows<'a>(rows: &[&'a LedgerRow], window_us: u64) -> Vec<Vec<&'a LedgerRow>> {
    let (mut first, mut windows) = (0, Vec::new());
    for (index, row) in rows.iter().enumerate() {
        while row.start_us - rows[first].start_us >= window_us {
            first += 1;
        }
        if rows.get(index + 1).is_none_or(|next| next.start_us - rows[first].start_us >= window_us) {
            windows.push(rows[first..=index].to_vec());
        }
    }
    windows
}
