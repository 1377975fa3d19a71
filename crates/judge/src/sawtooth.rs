//! Property: whether the origin's query rate repeats with the TTL, in hundredths.
//!
//! The starts within the window are counted in buckets of a twentieth of the TTL. The figure is the largest autocorrelation of that
//! series at the lags at which a herd would come again (from the shortest life to the longest and two rebuild times, since
//! without a layer a herd's last write comes that late), times the share of the series' variance that single, unrelated queries
//! do not explain (1 - mean/variance: 0 for a Poisson series and for lone queries however regular, near 1 for herds). So one
//! query a TTL is no sawtooth, and a herd a TTL is.
//!
//! What it cannot tell: a lock and a full stack of layers cost the origin one query a TTL both, and neither has a sawtooth here. That the
//! lock's readers wait at each boundary, and those of the stack do not, is what `readers_waited`, `miss_percent` and `latency_p99_ms`
//! are for: claim one of them beside it.
//!
//! Theory: a rate without a sawtooth has none of it. The bound is 50: half of what a pure sawtooth shows. White noise of n buckets
//! stays below z / sqrt(n) with z for 99.9 % over all lags tried; where that does not lie below the bound, too few periods were seen.

use std::ops::RangeInclusive;

use herd_history::LedgerRow;
use herd_scenario::{AtMost, Claim, Layer};

use crate::Case;
use crate::boundary::{own_rows, was_admitted};
use crate::chance::{CONFIDENCE, LUCK, normal_at_most};
use crate::limit::Limit;
use crate::verdict::Verdict;
use crate::witness::Witness;

/// Buckets for each TTL.
const PER_TTL: u64 = 20;

/// Hundredths beyond which the rate repeats.
const BOUND: u64 = 50;

/// TTLs that the window must hold.
const PERIODS_MIN: u64 = 4;

/// The narrowest bucket, microseconds.
const WIDTH_US_MIN: u64 = 1_000;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let record = &case.history.record;
    let window_us = record.window_end_us.saturating_sub(record.window_start_us);
    let ttl_us = u64::from(case.scenario.policy.ttl_ms) * 1_000;
    let width_us = (ttl_us / PER_TTL).max(WIDTH_US_MIN);
    let periods = window_us / ttl_us;
    if periods < PERIODS_MIN {
        let why = format!("the window holds {periods} TTLs, {PERIODS_MIN} are needed");
        return Verdict::unknown(case.rung, claim, &why);
    }
    let buckets = buckets(case, width_us);
    let queries: usize = buckets.iter().map(Vec::len).sum();
    if (queries as u64) < periods / 2 {
        let why = format!("{queries} queries in {periods} TTLs show no rate");
        return Verdict::unknown(case.rung, claim, &why);
    }
    let series: Vec<f64> = buckets.iter().map(|rows| rows.len() as f64).collect();
    let lags = lags(case, width_us);
    let (worst, lag) = lags
        .clone()
        .map(|lag| (repeats(&series, lag), lag))
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
        .unwrap_or((0.0, 0));
    let limit =
        Limit::of(claim, || Limit::exactly(BOUND, format!("{BOUND} in hundredths: half of a pure sawtooth")));
    let tried = lags.clone().count().max(1);
    let left = series.len().saturating_sub(*lags.end()).max(1);
    let noise = normal_at_most(LUCK / tried as f64) / (left as f64).sqrt();
    let observed = (100.0 * worst.max(0.0)).round() as u64;
    let why = format!(
        "{queries} queries in {periods} TTLs repeat at {observed} hundredths after {} ms; noise stays below {:.0} at {CONFIDENCE}",
        lag as u64 * width_us / 1_000,
        100.0 * noise
    );
    let noisy = claim.at_most == AtMost::Theory && 100.0 * noise >= BOUND as f64;
    let missing = noisy.then(|| "too few TTLs to tell a sawtooth from noise".to_owned());
    // The first of the fullest: a tooth.
    let tooth = buckets.iter().rev().max_by_key(|rows| rows.len());
    let witness =
        tooth.map(|rows| Witness::of_rebuilds(format!("{} queries in one bucket", rows.len()), rows));
    Verdict::counted(case, claim, &limit, observed, why, witness).unless(missing)
}

/// The window's queries in buckets of this width; what does not fill one at its end is left out.
fn buckets<'a>(case: &Case<'a>, width_us: u64) -> Vec<Vec<&'a LedgerRow>> {
    let history = case.history;
    let start_us = history.record.window_start_us;
    let number = history.record.window_end_us.saturating_sub(start_us) / width_us;
    let mut buckets = vec![Vec::new(); number as usize];
    for row in own_rows(history).filter(|row| was_admitted(row) && row.start_us >= start_us) {
        if let Some(bucket) = buckets.get_mut(((row.start_us - start_us) / width_us) as usize) {
            bucket.push(row);
        }
    }
    buckets
}

/// After how many buckets a herd would come again.
fn lags(case: &Case<'_>, width_us: u64) -> RangeInclusive<usize> {
    // Beyond half a TTL lives say nothing of a period any more.
    let jitter = case.rung.jitter.unwrap_or(0.0).min(0.5);
    let ttl_us = f64::from(case.scenario.policy.ttl_ms) * 1e3;
    let rebuild_us = f64::from(case.scenario.origin.model.typical_ms()) * 1e3;
    // Values that are recomputed early live about half a TTL at least.
    let shortest = if case.rung.has(Layer::Early) { 0.5 } else { 1.0 - jitter };
    let first = (shortest * ttl_us / width_us as f64).floor() as usize;
    let last = (((1.0 + jitter) * ttl_us + 2.0 * rebuild_us) / width_us as f64).ceil() as usize;
    first.max(1)..=last.max(1)
}

/// Autocorrelation at this lag, times the share of the variance that unrelated queries do not explain.
fn repeats(series: &[f64], lag: usize) -> f64 {
    let number = series.len() as f64;
    let mean = series.iter().sum::<f64>() / number;
    let variance = series.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / number;
    if lag >= series.len() || variance <= mean {
        return 0.0;
    }
    let pairs = series.iter().zip(&series[lag..]);
    let together = pairs.map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / (series.len() - lag) as f64;
    together / variance * (1.0 - mean / variance)
}
