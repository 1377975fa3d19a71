//! The cross-check of counting by generation: herds found by time alone.
//!
//! A value lives for a TTL after it was written, so that the starts of two herds of one key lie about a TTL apart, while starts
//! within a herd follow each other within a rebuild time. Splitting the starts at gaps longer than half a TTL
//! therefore finds the same herds, without a word about generations.

use std::collections::BTreeMap;

use herd_history::{LedgerRow, RungHistory};
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
