//! What the plots show, from the history.

use std::collections::BTreeMap;

use herd_history::{OperationRecord, RungHistory};
use herd_judge::percentile;

/// Points of a plot at most; wider windows get wider bins.
const BINS_MAX: u64 = 400;

/// A key with a smaller share of the reads does not stand out.
const HOT_SHARE_MIN: f64 = 0.2;

/// Narrowest bin.
const BIN_MS_MIN: u64 = 100;

/// The course of one rung in equal bins of time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) bin_ms: u64,
    pub(crate) window_ms: u64,
    /// Rebuilds that the origin started, per second.
    pub(crate) origin_per_s: Vec<f64>,
    /// The same of the key that is read most, where it is one of several and stands out.
    pub(crate) hot: Option<Hot>,
    /// Median latency of the requests intended in the bin, milliseconds.
    pub(crate) latency_p50_ms: Vec<f64>,
    /// Largest latency.
    pub(crate) latency_max_ms: Vec<f64>,
}

/// One key's part.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hot {
    pub(crate) key: String,
    pub(crate) origin_per_s: Vec<f64>,
}

impl Series {
    /// Where a herd shows best: the origin's rate for the most read key, else for all.
    pub(crate) fn herds_per_s(&self) -> &[f64] {
        self.hot.as_ref().map_or(&self.origin_per_s, |hot| &hot.origin_per_s)
    }

    pub(crate) fn of(rung: &RungHistory) -> Self {
        let start_us = rung.record.window_start_us;
        let window_ms = (rung.record.window_end_us.saturating_sub(start_us) / 1_000).max(1);
        let bin_ms = window_ms.div_ceil(BINS_MAX).max(BIN_MS_MIN);
        let bins = usize::try_from(window_ms.div_ceil(bin_ms)).expect("at most the limit");
        let bin = |at_us: u64| {
            let offset_us = at_us.checked_sub(start_us)?;
            usize::try_from(offset_us / 1_000 / bin_ms).ok().filter(|bin| *bin < bins)
        };
        let (mut started, mut started_hot) = (vec![0_u64; bins], vec![0_u64; bins]);
        let hot_key = hot_key(&rung.operations);
        let deployed = rung.record.deploy.as_ref().map(|deploy| deploy.prefix.as_str());
        let prefixes: Vec<&str> = [rung.record.prefix.as_str()].into_iter().chain(deployed).collect();
        let is_own = |cache_key: &str| prefixes.iter().any(|prefix| cache_key.starts_with(prefix));
        for row in rung.ledger.iter().filter(|row| is_own(&row.cache_key)) {
            if let Some(bin) = bin(row.start_us) {
                started[bin] += 1;
                started_hot[bin] += u64::from(hot_key == Some(row.key.as_str()));
            }
        }
        let mut latencies: Vec<Vec<u64>> = vec![Vec::new(); bins];
        for row in &rung.operations {
            if let Some(bin) = bin(row.intended_us) {
                latencies[bin].push(row.done_us.saturating_sub(row.intended_us));
            }
        }
        for bin in &mut latencies {
            bin.sort_unstable();
        }
        let per_s = |counts: &[u64]| counts.iter().map(|n| *n as f64 * 1e3 / bin_ms as f64).collect();
        let at = |share: f64| latencies.iter().map(|bin| percentile(bin, share) as f64 / 1e3).collect();
        Self {
            bin_ms,
            window_ms,
            origin_per_s: per_s(&started),
            hot: hot_key.map(|key| Hot { key: key.to_owned(), origin_per_s: per_s(&started_hot) }),
            latency_p50_ms: at(0.5),
            latency_max_ms: at(1.0),
        }
    }
}

/// The key that is read most, where it is one of several and stands out.
fn hot_key(operations: &[OperationRecord]) -> Option<&str> {
    let mut reads: BTreeMap<&str, usize> = BTreeMap::new();
    for row in operations {
        *reads.entry(&row.key).or_default() += 1;
    }
    let (key, most) = reads.iter().max_by_key(|(_, reads)| **reads)?;
    (reads.len() > 1 && *most as f64 >= HOT_SHARE_MIN * operations.len() as f64).then_some(*key)
}
