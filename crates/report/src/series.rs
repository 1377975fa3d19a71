//! What the plots show, from the history.

use herd_history::RungHistory;
use herd_judge::percentile;

/// Points of a plot at most; wider windows get wider bins.
const BINS_MAX: u64 = 400;

/// Narrowest bin.
const BIN_MS_MIN: u64 = 100;

/// The course of one rung in equal bins of time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) bin_ms: u64,
    pub(crate) window_ms: u64,
    /// Rebuilds that the origin started, per second.
    pub(crate) origin_per_s: Vec<f64>,
    /// Median latency of the requests intended in the bin, milliseconds.
    pub(crate) latency_p50_ms: Vec<f64>,
    /// Largest latency.
    pub(crate) latency_max_ms: Vec<f64>,
}

impl Series {
    pub(crate) fn of(rung: &RungHistory) -> Self {
        let start_us = rung.record.window_start_us;
        let window_ms = (rung.record.window_end_us.saturating_sub(start_us) / 1_000).max(1);
        let bin_ms = window_ms.div_ceil(BINS_MAX).max(BIN_MS_MIN);
        let bins = usize::try_from(window_ms.div_ceil(bin_ms)).expect("at most the limit");
        let bin = |at_us: u64| {
            let offset_us = at_us.checked_sub(start_us)?;
            usize::try_from(offset_us / 1_000 / bin_ms).ok().filter(|bin| *bin < bins)
        };
        let mut started = vec![0_u64; bins];
        let deployed = rung.record.deploy.as_ref().map(|deploy| deploy.prefix.as_str());
        let prefixes: Vec<&str> = [rung.record.prefix.as_str()].into_iter().chain(deployed).collect();
        let is_own = |cache_key: &str| prefixes.iter().any(|prefix| cache_key.starts_with(prefix));
        for row in rung.ledger.iter().filter(|row| is_own(&row.cache_key)) {
            if let Some(bin) = bin(row.start_us) {
                started[bin] += 1;
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
        let at = |share: f64| latencies.iter().map(|bin| percentile(bin, share) as f64 / 1e3).collect();
        Self {
            bin_ms,
            window_ms,
            origin_per_s: started.iter().map(|n| *n as f64 * 1e3 / bin_ms as f64).collect(),
            latency_p50_ms: at(0.5),
            latency_max_ms: at(1.0),
        }
    }
}
