//! The cross-check of counting by generation: herds found by time alone.
//!
//! A value lives for a TTL after it was written, so that the starts of two herds of one key lie about a TTL apart, while starts
//! within a herd follow each other within a rebuild time. Splitting the starts at gaps longer than half a TTL
//! therefore finds the same herds, without a word about generations.

use std::collections::BTreeMap;

use herd_history::{LedgerRow, OperationRecord, Outcome as Ended, RungHistory};
use herd_scenario::Scenario;

use crate::boundary::own_rows;

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
    },
    /// The TTL is too short beside the rebuild time for time to tell herds apart.
    Indistinct,
}

/// Compares the two ways of counting for one rung.
#[must_use]
pub fn clusters(scenario: &Scenario, history: &RungHistory) -> Clusters {
    let gap_us = u64::from(scenario.policy.ttl_ms) * 1_000 / 2;
    let rebuild_us = u64::from(scenario.origin.model.longest_ms()) * 1_000;
    if gap_us <= rebuild_us {
        return Clusters::Indistinct;
    }
    let mut keys: BTreeMap<&str, Vec<&LedgerRow>> = BTreeMap::new();
    for row in own_rows(history) {
        keys.entry(&row.key).or_default().push(row);
    }
    let mut herds = 0;
    for (key, mut rows) in keys {
        rows.sort_by_key(|row| (row.start_us, row.rebuild));
        let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
        for herd in rows.chunk_by(|a, b| b.start_us - a.start_us <= gap_us) {
            herds += 1;
            let generation = herd[0].generation;
            if let Some(other) = herd.iter().find(|row| row.generation != generation) {
                let why = format!(
                    "time clustering finds one herd of {key} with generations {generation} and {} (rebuild {})",
                    other.generation, other.rebuild
                );
                return Clusters::Differ { why };
            }
            if let Some(earlier) = seen.insert(generation, herds) {
                let why = format!(
                    "time clustering finds two herds of {key} (number {earlier} and {herds}) that both name generation {generation}"
                );
                return Clusters::Differ { why };
            }
        }
    }
    Clusters::Agree { herds }
}

/// The cross-check where time cannot tell herds apart: whether the clients saw the generations that the ledger's rows name. Every
/// boundary must have been seen by a request that tells the trace of one of its rebuilds and was given the generation
/// after the one that the rebuild named, and must begin a TTL after the rebuild that made the expired value.
///
/// Returns the number of such requests, or what contradicts or lacks.
pub(crate) fn confirmed_by_clients(scenario: &Scenario, history: &RungHistory) -> Result<usize, String> {
    let told = |row: &&OperationRecord| {
        row.outcome == Ended::Answered && row.generation > 0 && !row.rebuild_trace.is_empty()
    };
    let given: BTreeMap<&str, &OperationRecord> =
        history.operations.iter().filter(told).map(|row| (row.rebuild_trace.as_str(), row)).collect();
    let mut confirmed = 0;
    let mut herds: BTreeMap<(&str, u64), (bool, u64, u64)> = BTreeMap::new();
    for row in own_rows(history) {
        let ended_us = row.end_us.unwrap_or(u64::MAX);
        let herd = herds.entry((&row.key, row.generation)).or_insert((false, u64::MAX, u64::MAX));
        (herd.1, herd.2) = (herd.1.min(row.start_us), herd.2.min(ended_us));
        let Some(answer) = given.get(row.trace.as_str()) else { continue };
        if answer.key != row.key || answer.generation != row.generation.saturating_add(1) {
            return Err(format!(
                "request {} got generation {} from rebuild {}, which names generation {}",
                answer.seq, answer.generation, row.rebuild, row.generation
            ));
        }
        herd.0 = true;
        confirmed += 1;
    }
    // Starts and ends are read from the origin's clock, the TTL runs by the store's.
    let least_us = u64::from(scenario.policy.ttl_ms) * 900;
    for ((key, generation), (seen, start_us, _)) in herds.iter().filter(|((_, g), _)| *g > 0) {
        if !seen {
            return Err(format!("no client tells who rebuilt generation {generation} of {key}"));
        }
        let made = herds.get(&(*key, generation - 1));
        if made.is_none_or(|(_, _, made_us)| made_us.saturating_add(least_us) > *start_us) {
            return Err(format!(
                "generation {generation} of {key} expired sooner than a TTL after it was made"
            ));
        }
    }
    Ok(confirmed)
}
