//! Property: rebuilds within the window of a key of which nothing was cached, per key and prefix, in scope `process` per process.
//!
//! Fills before the window, and those that a deploy makes beside the old prefix before it switches, are what spares readers the
//! cold start: they are not counted. Theory: a cold key's herd is bounded as any herd is; keys that were filled before, by the
//! pre-warm or by a deploy with versioned keys, have none.

use std::collections::BTreeMap;

use herd_history::{LedgerRow, StartRecord};
use herd_scenario::{AtMost, Claim, DeployStrategy, Scope, Start};

use crate::Case;
use crate::boundary::{own_rows, prefix_of, was_admitted};
use crate::limit::Limit;
use crate::theory;
use crate::verdict::Verdict;
use crate::worst::{Count, counted, worst_of};

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let mut groups: BTreeMap<(&str, &str), Vec<&LedgerRow>> = BTreeMap::new();
    for row in own_rows(case.history).filter(|row| is_cold(case, row)) {
        let node = if claim.scope == Scope::Process { row.node.as_str() } else { "" };
        groups.entry((&row.cache_key, node)).or_default().push(row);
    }
    let counts: Vec<Count<'_>> = groups
        .into_values()
        .map(|mut rows| {
            rows.sort_by_key(|row| (row.start_us, row.rebuild));
            let key = rows[0].key.as_str();
            let limit = Limit::of(claim, || {
                if was_filled(case, rows[0]) {
                    return Limit::exactly(0, "0: it was filled before");
                }
                theory::rebuilds(case, key, &rows, claim.scope)
            });
            Count { key, generation: 0, complete: true, count: rows.len() as u64, rows, limit }
        })
        .collect();
    if counts.is_empty() {
        return none_seen(case, claim);
    }
    let unit = if claim.scope == Scope::Process { "cold keys and processes" } else { "cold keys" };
    worst_of(case, claim, &counts, unit, "no cold key was seen", |worst| {
        let rebuilds = counted(worst.count, "rebuild", "rebuilds");
        format!("{} made {rebuilds} of {}, of which nothing was cached", worst.whose(claim.scope), worst.key)
    })
}

/// Without a cold fill the claim holds where keys were to be filled before; elsewhere nothing was tried.
fn none_seen(case: &Case<'_>, claim: &Claim) -> Verdict {
    let prefilled = matches!(case.rung.start, Start::Prewarmed { .. }) || is_versioned(case);
    let tried = prefilled || matches!(claim.at_most, AtMost::Number(_));
    let missing = (!tried).then(|| "no key began cold".to_owned());
    let missing =
        missing.or_else(|| case.history.operations.is_empty().then(|| "nothing was read".to_owned()));
    let limit = Limit::of(claim, || Limit::exactly(0, "0: all were filled before"));
    Verdict::counted(case, claim, &limit, 0, "no rebuild of a key of which nothing was cached", None)
        .unless(missing)
}

fn is_cold(case: &Case<'_>, row: &LedgerRow) -> bool {
    let record = &case.history.record;
    let in_window = (record.window_start_us..=record.window_end_us).contains(&row.start_us);
    let before_switch = record.deploy.as_ref().is_some_and(|deploy| {
        prefix_of(row) == deploy.prefix && deploy.switched_us.is_none_or(|us| row.start_us < us)
    });
    row.generation == 0 && was_admitted(row) && in_window && !before_switch && case.rows.is_row(&row.key)
}

/// Whether the key was in the cache before its first reader came, as the record of the fill says.
fn was_filled(case: &Case<'_>, row: &LedgerRow) -> bool {
    let record = &case.history.record;
    if let Some(deploy) = record.deploy.as_ref().filter(|deploy| prefix_of(row) == deploy.prefix) {
        let all = u64::from(case.scenario.workload.keys);
        return is_versioned(case) && deploy.filled >= deploy.fill_keys && deploy.fill_keys >= all;
    }
    match (&case.rung.start, &record.start) {
        (Start::Prewarmed { .. }, StartRecord::Prewarmed { keys, filled, .. }) => {
            let number = row.key.strip_prefix("item-").and_then(|number| number.parse::<u64>().ok());
            filled >= keys && number.is_some_and(|number| number <= *keys)
        }
        _ => false,
    }
}

fn is_versioned(case: &Case<'_>) -> bool {
    case.rung.deploy.as_ref().is_some_and(|deploy| deploy.strategy == DeployStrategy::Versioned)
}
