//! What the plots show, from the history.

use std::collections::BTreeMap;

use herd_history::{FetchOutcome, OperationRecord, Outcome, RungHistory};
use herd_judge::percentile;

/// Points of a plot at most; wider windows get wider bins.
const BINS_MAX: u64 = 240;

/// A key with a smaller share of the reads does not stand out.
const HOT_SHARE_MIN: f64 = 0.2;

/// Narrowest bin.
const BIN_MS_MIN: u64 = 100;

/// One value a bin; none where nothing was there to be measured.
pub(crate) type Values = Vec<Option<f64>>;

/// The course of one rung in equal bins of time. Requests count where they were intended, rebuilds where they started.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) bin_ms: u64,
    pub(crate) window_ms: u64,
    /// Requests sent, per second.
    pub(crate) sent_per_s: Values,
    /// Tries, where clients came again: those of a request are spread evenly over its time, as only their number is recorded.
    pub(crate) tried_per_s: Option<Values>,
    /// Those that got a value, or the word that there is no such row.
    pub(crate) answered_per_s: Values,
    /// Those that got neither; what clients hung up is left out.
    pub(crate) failed_per_s: Values,
    /// In a hundred, those that found something to serve at their first look.
    pub(crate) hit_percent: Values,
    /// Median latency, milliseconds.
    pub(crate) latency_p50_ms: Values,
    /// 99th percentile.
    pub(crate) latency_p99_ms: Values,
    /// Rebuilds that the origin let in, per second.
    pub(crate) origin_per_s: Values,
    /// The same of the key that is read most, where it is one of several and stands out.
    pub(crate) hot: Option<Hot>,
}

/// One key's part.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hot {
    pub(crate) key: String,
    pub(crate) origin_per_s: Values,
}

/// What one bin counts.
#[derive(Default, Clone)]
struct Bin {
    sent: u64,
    tried: u64,
    answered: u64,
    failed: u64,
    hits: u64,
    started: u64,
    started_hot: u64,
    latencies_us: Vec<u64>,
}

impl Bin {
    fn request(&mut self, row: &OperationRecord) {
        self.sent += 1;
        if row.outcome == Outcome::HungUp {
            return;
        }
        let is_answered = matches!(row.outcome, Outcome::Answered | Outcome::NotFound);
        self.answered += u64::from(is_answered);
        self.failed += u64::from(!is_answered);
        self.hits += u64::from(is_answered && row.served.is_hit());
        self.latencies_us.push(row.done_us.saturating_sub(row.intended_us));
    }

    /// Share (0 to 1) of the latencies, milliseconds.
    fn latency_ms(&self, share: f64) -> Option<f64> {
        (!self.latencies_us.is_empty()).then(|| percentile(&self.latencies_us, share) as f64 / 1e3)
    }
}

impl Series {
    /// Where a herd shows best: the origin's rate for the most read key, else for all.
    pub(crate) fn herds_per_s(&self) -> &[Option<f64>] {
        self.hot.as_ref().map_or(&self.origin_per_s, |hot| &hot.origin_per_s)
    }

    pub(crate) fn of(rung: &RungHistory) -> Self {
        Self::in_bins(rung, BINS_MAX)
    }

    /// In at most so many bins.
    pub(crate) fn in_bins(rung: &RungHistory, bins_max: u64) -> Self {
        let start_us = rung.record.window_start_us;
        let window_ms = (rung.record.window_end_us.saturating_sub(start_us) / 1_000).max(1);
        let bin_ms = window_ms.div_ceil(bins_max).div_ceil(BIN_MS_MIN) * BIN_MS_MIN;
        let bins = usize::try_from(window_ms.div_ceil(bin_ms)).expect("at most the limit");
        let place = |at_us: u64| {
            let offset_us = at_us.checked_sub(start_us)?;
            usize::try_from(offset_us / 1_000 / bin_ms).ok().filter(|bin| *bin < bins)
        };
        let mut all = vec![Bin::default(); bins];
        let hot_key = hot_key(&rung.operations);
        let deployed = rung.record.deploy.as_ref().map(|deploy| deploy.prefix.as_str());
        let prefixes: Vec<&str> = [rung.record.prefix.as_str()].into_iter().chain(deployed).collect();
        let is_own = |cache_key: &str| prefixes.iter().any(|prefix| cache_key.starts_with(prefix));
        let was_let_in = |outcome: Option<FetchOutcome>| outcome != Some(FetchOutcome::Rejected);
        for row in rung.ledger.iter().filter(|row| is_own(&row.cache_key) && was_let_in(row.outcome)) {
            if let Some(bin) = place(row.start_us) {
                all[bin].started += 1;
                all[bin].started_hot += u64::from(hot_key == Some(row.key.as_str()));
            }
        }
        let came_again = rung.operations.iter().any(|row| row.attempts > 1);
        for row in &rung.operations {
            if let Some(bin) = place(row.intended_us) {
                all[bin].request(row);
            }
            for at_us in tries_us(row.sent_us, row.done_us, row.attempts) {
                if let Some(bin) = place(at_us) {
                    all[bin].tried += 1;
                }
            }
        }
        for bin in &mut all {
            bin.latencies_us.sort_unstable();
        }
        // The last bin may be cut short by the window's end.
        let length_s = |index: usize| (window_ms - index as u64 * bin_ms).min(bin_ms) as f64 / 1e3;
        let per_s = |counted: &dyn Fn(&Bin) -> u64| -> Values {
            all.iter().enumerate().map(|(index, bin)| Some(counted(bin) as f64 / length_s(index))).collect()
        };
        let hit_percent = |bin: &Bin| {
            let heard = bin.answered + bin.failed;
            (heard > 0).then(|| 100.0 * bin.hits as f64 / heard as f64)
        };
        Self {
            bin_ms,
            window_ms,
            sent_per_s: per_s(&|bin| bin.sent),
            tried_per_s: came_again.then(|| per_s(&|bin| bin.tried)),
            answered_per_s: per_s(&|bin| bin.answered),
            failed_per_s: per_s(&|bin| bin.failed),
            hit_percent: all.iter().map(hit_percent).collect(),
            latency_p50_ms: all.iter().map(|bin| bin.latency_ms(0.5)).collect(),
            latency_p99_ms: all.iter().map(|bin| bin.latency_ms(0.99)).collect(),
            origin_per_s: per_s(&|bin| bin.started),
            hot: hot_key.map(|key| Hot { key: key.to_owned(), origin_per_s: per_s(&|bin| bin.started_hot) }),
        }
    }
}

/// When a request was tried, Unix microseconds, as if its tries took equally long.
fn tries_us(sent_us: u64, done_us: u64, attempts: u32) -> impl Iterator<Item = u64> {
    let tries = u64::from(attempts.max(1));
    let each_us = done_us.saturating_sub(sent_us) / tries;
    (0..tries).map(move |number| sent_us + each_us * number)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a request counts as often as it was tried, over the time that it took, and one that was tried once where it was sent.
    #[test]
    fn tries_are_spread_over_a_requests_time() {
        assert_eq!(tries_us(1_000, 1_900, 3).collect::<Vec<_>>(), [1_000, 1_300, 1_600]);
        assert_eq!(tries_us(1_000, 1_900, 1).collect::<Vec<_>>(), [1_000]);
    }
}
