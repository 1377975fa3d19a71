//! The cross-check of counting by generation: herds found by time alone.
//!
//! A value lives for a TTL after it was written, so that the starts of two herds of one key lie about a TTL apart, while starts
//! within a herd follow each other within a rebuild time. Splitting the starts at gaps longer than half a TTL
//! therefore finds the same herds, without a word about generations. With jitter the shortest TTL counts.

use std::collections::BTreeMap;

use herd_history::{FetchOutcome, LedgerRow, OperationRecord, Outcome as Ended, RungHistory, Served};
use herd_scenario::Scenario;

use crate::Case;
use crate::boundary::{own_rows, prefix_of_answer, rows_in_lives, was_admitted};
use crate::lives::WRITE_SLACK_US;
use crate::readers::CLOCK_SLACK_US;
use crate::stores::Stores;

/// How long after a fault a node may still act on that it could not read the store.
const BLIND_SLACK_US: u64 = 1_000_000;

/// Whether time tells the same herds apart as generations do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clusters {
    /// Every herd found by time has one generation, and every generation one herd.
    Agree {
        /// Herds found, cold fills included.
        herds: usize,
    },
    /// They differ: who names which generation cannot be trusted.
    Differ {
        /// The first difference in words.
        why: String,
        /// Whether it makes one herd out of two: the store did not count an expiry.
        merged: bool,
    },
    /// The TTL is too short beside the rebuild time for time to tell herds apart.
    Indistinct,
}

/// Compares the two ways of counting for one rung whose values all live for the scenario's TTL.
#[must_use]
pub fn clusters(scenario: &Scenario, history: &RungHistory) -> Clusters {
    let life_us = u64::from(scenario.policy.ttl_ms) * 1_000;
    clusters_of(scenario, history, life_us, &Stores::default(), |_| true, |_, _| false)
}

/// The same where values live at least this long, for the keys of which `counts` is true: an absence has a TTL of its own. Each life
/// of the store is looked at by itself. A herd that a fault stretched, or cut in two, is none that time can tell: `stretched`
/// says whether one took effect between two times.
pub(crate) fn clusters_of(
    scenario: &Scenario,
    history: &RungHistory,
    life_us: u64,
    stores: &Stores,
    counts: impl Fn(&str) -> bool,
    stretched: impl Fn(u64, u64) -> bool,
) -> Clusters {
    let gap_us = life_us / 2;
    let rebuild_us = u64::from(scenario.origin.model.longest_ms()) * 1_000;
    if gap_us <= rebuild_us {
        return Clusters::Indistinct;
    }
    let mut herds = 0;
    for rows in rows_in_lives(history, stores).into_values() {
        let key = rows[0].1.key.as_str();
        if !counts(key) {
            continue;
        }
        // By life and generation: the number of the herd, and its last start.
        let mut seen: BTreeMap<(u64, u64), (usize, u64)> = BTreeMap::new();
        for herd in rows.chunk_by(|a, b| a.0 == b.0 && b.1.start_us - a.1.start_us <= gap_us) {
            herds += 1;
            let (life, generation) = (herd[0].0, herd[0].1.generation);
            let (first_us, last_us) = (herd[0].1.start_us, herd[herd.len() - 1].1.start_us);
            let other = herd.iter().map(|(_, row)| row).find(|row| row.generation != generation);
            if let Some(other) = other.filter(|_| !stretched(first_us, last_us)) {
                let why = format!(
                    "time clustering finds one herd of {key} with generations {generation} and {} (rebuild {})",
                    other.generation, other.rebuild
                );
                return Clusters::Differ { why, merged: false };
            }
            let earlier = seen.insert((life, generation), (herds, last_us));
            if let Some((earlier, _)) = earlier.filter(|(_, before_us)| !stretched(*before_us, first_us)) {
                let why = format!(
                    "time clustering finds two herds of {key} (number {earlier} and {herds}) that both name generation {generation}"
                );
                // Fills from nothing belong to no boundary, however many name no generation.
                return Clusters::Differ { why, merged: generation > 0 };
            }
        }
    }
    Clusters::Agree { herds }
}

/// What is known of one herd: whether a client tells of it, its first start and the end of its first fetch.
struct Told {
    seen: bool,
    start_us: u64,
    made_us: u64,
}

/// The cross-check where time cannot tell herds apart: whether the clients saw the generations that the ledger's rows name. Every
/// boundary must have been seen by a request that tells the trace of one of its rebuilds and was given the generation
/// after the one that the rebuild named (or the expired one itself, if it was served stale meanwhile), and must begin a life
/// after the rebuild that made the expired value; nobody names no generation once there was one.
///
/// Returns the number of such requests, or what contradicts or lacks.
pub(crate) fn confirmed_by_clients(case: &Case<'_>, life_us: u64) -> Result<usize, String> {
    cold_again(case)?;
    let history = case.history;
    let told = |row: &&OperationRecord| {
        row.outcome == Ended::Answered && row.generation > 0 && !row.rebuild_trace.is_empty()
    };
    // Of those who name the same rebuild, one who was given what it made tells more than one who was not.
    let mut given: BTreeMap<&str, &OperationRecord> = BTreeMap::new();
    for row in history.operations.iter().filter(told) {
        let known = given.entry(row.rebuild_trace.as_str()).or_insert(row);
        if known.served == Served::Stale {
            *known = row;
        }
    }
    let mut confirmed = 0;
    let mut herds: BTreeMap<(&str, u64), Told> = BTreeMap::new();
    for row in own_rows(history).filter(|row| was_admitted(row) && case.rows.is_row(&row.key)) {
        let new = Told { seen: false, start_us: u64::MAX, made_us: u64::MAX };
        let herd = herds.entry((&row.cache_key, row.generation)).or_insert(new);
        herd.start_us = herd.start_us.min(row.start_us);
        herd.made_us = herd.made_us.min(row.end_us.unwrap_or(u64::MAX));
        let Some(answer) = given.get(row.trace.as_str()) else { continue };
        let made = u64::from(answer.served != Served::Stale);
        let place_differs =
            row.cache_key.strip_prefix(prefix_of_answer(history, answer)) != Some(&answer.key);
        if place_differs || answer.generation != row.generation.saturating_add(made) {
            return Err(format!(
                "request {} got generation {} from rebuild {}, which names generation {}",
                answer.seq, answer.generation, row.rebuild, row.generation
            ));
        }
        herd.seen = true;
        confirmed += 1;
    }
    // Starts and ends are read from the origin's clock, the TTL runs by the store's.
    let least_us = life_us / 10 * 9;
    for ((key, generation), herd) in herds.iter().filter(|((_, generation), _)| *generation > 0) {
        if !herd.seen {
            return Err(format!("no client tells who rebuilt generation {generation} of {key}"));
        }
        let made = herds.get(&(*key, generation - 1));
        if made.is_none_or(|made| made.made_us.saturating_add(least_us) > herd.start_us) {
            return Err(format!(
                "generation {generation} of {key} expired sooner than a TTL after it was made"
            ));
        }
    }
    Ok(confirmed)
}

/// Who names no generation long after the first value was there hides a herd among cold fills: nothing takes a value's generation
/// from the store but a loss, which begins another life of it, and a fault that keeps nodes from the store.
fn cold_again(case: &Case<'_>) -> Result<(), String> {
    for rows in rows_in_lives(case.history, &case.stores).into_values() {
        let mut made_us: BTreeMap<u64, u64> = BTreeMap::new();
        let is_cold = |(_, row): &&(u64, &LedgerRow)| row.generation == 0 && case.rows.is_row(&row.key);
        for (life, row) in rows.iter().filter(is_cold) {
            if let (Some(FetchOutcome::Fetched), Some(end_us)) = (row.outcome, row.end_us) {
                made_us.entry(*life).and_modify(|us| *us = end_us.min(*us)).or_insert(end_us);
            }
        }
        for (life, row) in rows.iter().filter(is_cold) {
            let Some(made_us) = made_us.get(life) else { continue };
            // It may have looked before the value was written, and started after.
            let until_us = made_us.saturating_add(WRITE_SLACK_US);
            let blind = || {
                case.turns
                    .iter()
                    .any(|turn| turn.overlaps(row.start_us.saturating_sub(BLIND_SLACK_US), row.start_us))
            };
            if row.start_us > until_us && !blind() {
                return Err(format!(
                    "rebuild {} by {} names no generation of {}, {} ms after its first one was made",
                    row.rebuild,
                    row.node,
                    row.key,
                    (row.start_us - made_us) / 1_000
                ));
            }
        }
    }
    Ok(())
}

/// The cross-check where values may be replaced at any age: nobody can name a generation before the rebuild that made it ended, nor
/// none at all once there was one.
///
/// Returns the number of herds, or what contradicts.
pub(crate) fn in_order(case: &Case<'_>) -> Result<usize, String> {
    cold_again(case)?;
    let mut made: BTreeMap<(&str, u64), u64> = BTreeMap::new();
    let mut starts: BTreeMap<(&str, u64), &LedgerRow> = BTreeMap::new();
    for row in own_rows(case.history).filter(|row| was_admitted(row) && case.rows.is_row(&row.key)) {
        let first = starts.entry((&row.cache_key, row.generation)).or_insert(row);
        if row.start_us < first.start_us {
            *first = row;
        }
        if let (Some(FetchOutcome::Fetched), Some(end_us)) = (row.outcome, row.end_us) {
            let made_us = made.entry((&row.cache_key, row.generation.saturating_add(1))).or_insert(end_us);
            *made_us = (*made_us).min(end_us);
        }
    }
    for ((key, generation), row) in starts.iter().filter(|((_, generation), _)| *generation > 0) {
        let made_us = made.get(&(*key, *generation));
        if made_us.is_none_or(|made_us| *made_us > row.start_us.saturating_add(CLOCK_SLACK_US)) {
            return Err(format!(
                "rebuild {} by {} names generation {generation} of {key}, which no rebuild had made yet",
                row.rebuild, row.node
            ));
        }
    }
    Ok(starts.len())
}
