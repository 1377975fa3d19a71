//! Property: rebuilds within the window of a key of which nothing was cached, per key and prefix, in scope `process` per process.
//!
//! A row that does not exist is never cached where nothing remembers absence: it has a cold herd again and again. Of such a key the
//! rebuilds under way at once count as one herd; the one furthest beyond its bound speaks for the key.
//!
//! Fills before the window, and those that a deploy makes beside the old prefix before it switches, are what spares readers the
//! cold start: they are not counted. Theory: a cold key's herd is bounded as any herd is; a key that was filled before, by the
//! pre-warm or by a deploy with versioned keys, has none. After a fault that emptied the store every key is cold once more. Whether it was is what the ledger says, not the record of the fill.

use std::collections::BTreeMap;

use herd_history::{FetchOutcome, LedgerRow};
use herd_scenario::{AtMost, Claim, DeployStrategy, Scope, Start};

use crate::Case;
use crate::boundary::{own_rows, prefix_of, rows_in_lives, was_admitted};
use crate::limit::Limit;
use crate::lives::WRITE_SLACK_US;
use crate::overlap::overlaps;
use crate::theory;
use crate::verdict::Verdict;
use crate::worst::{Count, counted, worst_of};

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let mut groups: BTreeMap<(&str, u64, &str), Vec<&LedgerRow>> = BTreeMap::new();
    for (key, rows) in rows_in_lives(case.history, &case.stores) {
        for (life, row) in rows.into_iter().filter(|(_, row)| is_cold(case, row)) {
            let node = if claim.scope == Scope::Process { row.node.as_str() } else { "" };
            groups.entry((key, life, node)).or_default().push(row);
        }
    }
    let filled = filled(case);
    let counts: Vec<Count<'_>> = groups
        .into_iter()
        .filter_map(|((_, life, _), rows)| {
            let key = rows[0].key.as_str();
            let herds = if case.rows.is_row(key) { vec![rows] } else { overlaps(&rows) };
            let counts = herds.into_iter().map(|rows| {
                let limit = Limit::of(claim, || {
                    let is_filled = |us: &u64| us.saturating_add(WRITE_SLACK_US) <= rows[0].start_us;
                    if life == 0
                        && is_prefilled(case)
                        && filled.get(rows[0].cache_key.as_str()).is_some_and(is_filled)
                    {
                        return Limit::exactly(0, "0: it was filled before");
                    }
                    theory::rebuilds(case, key, &rows, claim.scope)
                });
                Count { key, generation: 0, complete: true, count: rows.len() as u64, rows, limit }
            });
            Count::worst(counts)
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
    let tried = is_prefilled(case) || matches!(claim.at_most, AtMost::Number(_));
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
    row.generation == 0 && was_admitted(row) && in_window && !before_switch && case.rows.is_known(&row.key)
}

/// When each cache key was first filled, by the ledger: the end of the first fetch that named no generation.
fn filled<'a>(case: &Case<'a>) -> BTreeMap<&'a str, u64> {
    let mut filled: BTreeMap<&str, u64> = BTreeMap::new();
    let history = case.history;
    let fills = own_rows(history)
        .filter(|row| row.generation == 0 && row.outcome == Some(FetchOutcome::Fetched))
        .filter_map(|row| Some((row.cache_key.as_str(), row.end_us?)));
    for (cache_key, end_us) in fills {
        filled.entry(cache_key).and_modify(|us| *us = (*us).min(end_us)).or_insert(end_us);
    }
    filled
}

/// Whether the rung means keys to be in the cache before their first reader comes.
fn is_prefilled(case: &Case<'_>) -> bool {
    matches!(case.rung.start, Start::Prewarmed { .. }) || is_versioned(case)
}

fn is_versioned(case: &Case<'_>) -> bool {
    case.rung.deploy.as_ref().is_some_and(|deploy| deploy.strategy == DeployStrategy::Versioned)
}
