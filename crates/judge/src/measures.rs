//! The figures of a rung, for tables and plots. Nothing here decides a verdict.

use herd_history::{LedgerRow, OperationRecord, Outcome as Ended, Served};
use serde::Serialize;

use crate::absent_key_queries::is_of_absent;
use crate::assumptions::Assumption;
use crate::boundary::{Boundary, own_rows, was_admitted};
use crate::early_rebuilds::hot_key;
use crate::fault_figures::{self, FaultFigures};
use crate::overlap::{at_work, peak_overlap};
use crate::readers::is_miss;
use crate::readers_waited::has_waited;
use crate::{Case, highest_bucket, sends};

/// Herds that the figures list one by one; further ones only enter the sums.
const HERDS_MAX: usize = 1_000;

/// The figures of one rung, named as in `results.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RungFigures {
    /// The rung.
    pub name: String,
    /// Its layers, from the inside out.
    pub layers: Vec<String>,
    /// Complete boundaries of the key that is read most; of all keys where each is read alike.
    pub boundaries: u64,
    /// Requests recorded.
    pub requests: u64,
    /// Requests without a good answer. That a row does not exist is one to who asks for such a row; who hung up wanted none.
    pub errors: u64,
    /// Requests that clients hung up, as the scenario asked them to.
    pub hung_up: u64,
    /// Rebuilds that the origin started, for the same keys as `boundaries`: rarely read ones would dilute the mean.
    pub origin_queries_per_boundary: PerBoundary,
    /// Rebuilds at work at the origin at once, over all keys, those of rows that do not exist among them. What waits at its gate is not
    /// at work; what filled keys before the window is none.
    pub peak_concurrent_rebuilds: u64,
    /// From the intended send time to the answer or error.
    pub latency_ms: LatencyFigures,
    /// Share of requests, 0 to 1, that found nothing to serve at their first look.
    pub miss_rate: f64,
    /// Answers that were stale.
    pub stale_served: u64,
    /// Requests that waited for a rebuild, their own or another's.
    pub waited: u64,
    /// Requests that were refused for load.
    pub refused: u64,
    /// Requests with a good answer, per second of the window.
    pub goodput_per_s: f64,
    /// Answers from the process's own tier.
    pub local_hits: u64,
    /// Times sent for each hundred requests, retries included, rounded up.
    pub sends_per_hundred: u64,
    /// Origin queries in all, those for rows that do not exist among them; the origin's refusals are not.
    pub origin_queries: u64,
    /// Origin queries for rows that do not exist.
    pub absent_queries: u64,
    /// Most rebuilds over all keys that the origin started within one bucket of the window: a second, or a tenth of the TTL if that
    /// is less.
    pub highest_bucket: u64,
    /// The generator.
    pub load: LoadFigures,
    /// Length of the window, seconds.
    pub window_s: f64,
    /// Each herd in order of time; the first 1,000.
    pub herds: Vec<HerdFigures>,
    /// What was done to the fleet, and how it did before, meanwhile and after; in order of first injection.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultFigures>,
    /// What was checked before the claims.
    pub assumptions: Vec<Assumption>,
    /// What the lab noted.
    pub notes: Vec<String>,
}

/// Rebuilds per boundary. `max` is over all boundaries; `mean` and `min` are over complete ones.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct PerBoundary {
    /// Largest.
    pub max: u64,
    /// Average.
    pub mean: f64,
    /// Smallest.
    pub min: u64,
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct LatencyFigures {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

/// What the generator did.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct LoadFigures {
    /// Reads drawn per second.
    pub offered_per_s: f64,
    /// Reads sent per second.
    pub sent_per_s: f64,
    /// Send time minus intended time, 99th percentile.
    pub lag_p99_ms: f64,
    /// The same, largest.
    pub lag_max_ms: f64,
}

/// One herd.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HerdFigures {
    /// The row's key.
    pub key: String,
    /// The generation that expired.
    pub generation: u64,
    /// First start, milliseconds after the window's start; negative before it.
    pub at_ms: f64,
    /// Rebuilds.
    pub rebuilds: u64,
    /// Processes that rebuilt.
    pub processes: u64,
    /// Largest number of rebuilds by one process.
    pub process_max: u64,
    /// Rebuilds under way at once.
    pub peak: u64,
    /// Whether it formed fully under load.
    pub complete: bool,
}

pub(crate) fn figures(case: &Case<'_>) -> RungFigures {
    let record = &case.history.record;
    let operations = &case.history.operations;
    let requests = operations.len() as u64;
    let many = |counts: &dyn Fn(&OperationRecord) -> bool| {
        operations.iter().filter(|row| counts(row)).count() as u64
    };
    let good = many(&|row| case.rows.is_good(row));
    let hung_up = many(&|row| row.outcome == Ended::HungUp);
    let heard = (requests - hung_up).max(1) as f64;
    let misses = many(&is_miss) as f64;
    let window_s = record.window_end_us.saturating_sub(record.window_start_us) as f64 / 1e6;
    let admitted = || own_rows(case.history).filter(|row| was_admitted(row));
    let working: Vec<LedgerRow> =
        admitted().filter(|row| row.start_us >= record.window_start_us).map(at_work).collect();
    let (boundaries, origin_queries_per_boundary) = per_boundary(case);
    RungFigures {
        name: record.name.clone(),
        layers: record.layers.clone(),
        boundaries,
        requests,
        errors: requests - good - hung_up,
        hung_up,
        origin_queries_per_boundary,
        peak_concurrent_rebuilds: peak_overlap(&working).0,
        latency_ms: latencies(operations),
        miss_rate: misses / heard,
        stale_served: many(&|row| row.served == Served::Stale),
        waited: many(&has_waited),
        refused: many(&|row| row.outcome == Ended::ResourceExhausted),
        goodput_per_s: if window_s > 0.0 { good as f64 / window_s } else { 0.0 },
        local_hits: many(&|row| row.served == Served::HitLocal),
        sends_per_hundred: sends::per_hundred(operations),
        origin_queries: admitted().count() as u64,
        absent_queries: own_rows(case.history).filter(|row| is_of_absent(case, row)).count() as u64,
        highest_bucket: highest_bucket::highest(case.scenario, case.history),
        load: LoadFigures {
            offered_per_s: record.load.offered_per_s,
            sent_per_s: record.load.sent_per_s,
            lag_p99_ms: record.load.lag_p99_us as f64 / 1e3,
            lag_max_ms: record.load.lag_max_us as f64 / 1e3,
        },
        window_s,
        herds: herds(case),
        faults: fault_figures::all(case),
        assumptions: case.assumptions.clone(),
        notes: record.notes.clone(),
    }
}

/// Complete boundaries and what they cost, of the key that is read most if one is.
fn per_boundary(case: &Case<'_>) -> (u64, PerBoundary) {
    let hot = hot_key(case);
    let counts = |boundary: &&Boundary<'_>| hot.is_none_or(|key| boundary.key == key);
    let all: Vec<&Boundary<'_>> = case.boundaries.iter().filter(counts).collect();
    let complete: Vec<u64> = all.iter().filter(|b| b.complete).map(|boundary| boundary.count()).collect();
    let figures = PerBoundary {
        max: all.iter().map(|boundary| boundary.count()).max().unwrap_or(0),
        mean: complete.iter().sum::<u64>() as f64 / (complete.len().max(1)) as f64,
        min: complete.iter().copied().min().unwrap_or(0),
    };
    (complete.len() as u64, figures)
}

/// Of requests whose clients did not hang up.
pub(crate) fn latencies<'a>(operations: impl IntoIterator<Item = &'a OperationRecord>) -> LatencyFigures {
    let heard = operations.into_iter().filter(|row| row.outcome != Ended::HungUp);
    let mut latencies: Vec<u64> = heard.map(|row| row.done_us.saturating_sub(row.intended_us)).collect();
    latencies.sort_unstable();
    let at_ms = |share: f64| percentile(&latencies, share) as f64 / 1e3;
    LatencyFigures { p50: at_ms(0.5), p99: at_ms(0.99), max: at_ms(1.0) }
}

fn herds(case: &Case<'_>) -> Vec<HerdFigures> {
    let start_us = case.history.record.window_start_us as f64;
    let listed = case.boundaries.iter().take(HERDS_MAX);
    listed
        .map(|boundary| {
            let nodes = boundary.by_node();
            HerdFigures {
                key: boundary.key.to_owned(),
                generation: boundary.generation,
                at_ms: (boundary.first_start_us() as f64 - start_us) / 1e3,
                rebuilds: boundary.count(),
                processes: nodes.len() as u64,
                process_max: nodes.values().map(Vec::len).max().unwrap_or(0) as u64,
                peak: peak_overlap(boundary.rebuilds.iter().copied()).0,
                complete: boundary.complete,
            }
        })
        .collect()
}

/// The value at this share (0 to 1) of sorted values, by nearest rank; 0 for none.
#[must_use]
pub fn percentile(sorted: &[u64], share: f64) -> u64 {
    let rank = (share.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}
