//! Property: how many keys expired within one bucket of time: what a mass of keys filled together does to the origin.
//!
//! A bucket is one second wide, or a tenth of the TTL where that is less, counted from the window's start. A key's herd counts
//! once, at its first start: how large it is, is another property; the rebuilds of the worst bucket are told beside it.
//!
//! With jitter a value that began to live at t expires uniformly over a spread of 2jT around t + T. Let M be the most values that
//! began to live within one spread of each other: the keys that were filled together, as the ledger shows it. Then no
//! bucket expects more than L = M * width / 2jT of them, and the lag of a key's next reader only smears that. The number in a
//! bucket is a sum of independent choices, so that its tail is below the exact Poisson tail; the bound is the count that the
//! highest of all m buckets exceeds in one run in a thousand, near L + sqrt(2 L ln m). Without jitter all M may come at once.

use std::collections::BTreeMap;

use herd_history::{LedgerRow, RungHistory};
use herd_scenario::{Claim, Scenario};

use crate::Case;
use crate::boundary::{own_rows, was_admitted};
use crate::chance::{CONFIDENCE, LUCK, poisson_at_most};
use crate::limit::Limit;
use crate::lives::Lives;
use crate::verdict::Verdict;
use crate::witness::Witness;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let width_us = width_us(case.scenario);
    let mut buckets: BTreeMap<u64, Vec<&LedgerRow>> = BTreeMap::new();
    let record = &case.history.record;
    for boundary in &case.boundaries {
        let at_us = boundary.first_start_us();
        if (record.window_start_us..record.window_end_us).contains(&at_us) {
            let bucket = (at_us - record.window_start_us) / width_us;
            buckets.entry(bucket).or_default().push(boundary.rebuilds[0]);
        }
    }
    // The first of equals.
    let Some((bucket, worst)) = buckets.iter().rev().max_by_key(|(_, rows)| rows.len()) else {
        return Verdict::unknown(case.rung, claim, "no boundary was seen");
    };
    let together = filled_together(case);
    let limit = Limit::of(claim, || bound(case, together, width_us));
    let from_us = record.window_start_us + bucket * width_us;
    let rebuilds = own_rows(case.history)
        .filter(|row| was_admitted(row) && (from_us..from_us + width_us).contains(&row.start_us))
        .count();
    let told = format!(
        "{} keys expired within the {} ms from {:.1} s on ({rebuilds} rebuilds)",
        worst.len(),
        width_us / 1_000,
        (bucket * width_us) as f64 / 1e6
    );
    let keys = u64::from(case.scenario.workload.keys);
    let missing = (2 * together < keys)
        .then(|| format!("only {together} of {keys} keys were filled together, within one spread"));
    let witness = Witness::of_rebuilds(told.clone(), worst);
    Verdict::counted(case, claim, &limit, worst.len() as u64, told, Some(witness)).unless(missing)
}

/// The width of a bucket, microseconds.
pub(crate) fn width_us(scenario: &Scenario) -> u64 {
    (u64::from(scenario.policy.ttl_ms) * 100).clamp(1_000, 1_000_000)
}

/// The most rebuilds that the origin started within one bucket of the window, over all keys: what a plot shows.
pub(crate) fn highest(scenario: &Scenario, history: &RungHistory) -> u64 {
    let (width_us, record) = (width_us(scenario), &history.record);
    let mut buckets: BTreeMap<u64, u64> = BTreeMap::new();
    for row in own_rows(history).filter(|row| was_admitted(row)) {
        if (record.window_start_us..record.window_end_us).contains(&row.start_us) {
            *buckets.entry((row.start_us - record.window_start_us) / width_us).or_default() += 1;
        }
    }
    buckets.into_values().max().unwrap_or(0)
}

fn bound(case: &Case<'_>, together: u64, width_us: u64) -> Limit {
    let spread_us = spread_us(case);
    if spread_us <= width_us as f64 {
        return Limit::exactly(together, format!("M = {together}: nothing spreads them"));
    }
    let record = &case.history.record;
    let buckets = record.window_end_us.saturating_sub(record.window_start_us).div_ceil(width_us).max(1);
    let mean = together as f64 * width_us as f64 / spread_us;
    let most = poisson_at_most(mean, LUCK / buckets as f64).min(together);
    let text = format!(
        "L = {together} * {} ms / 2jT = {mean:.1}; the highest of {buckets} buckets at {CONFIDENCE}: {most}",
        width_us / 1_000
    );
    Limit::exactly(most, text)
}

/// From the earliest to the latest expiry of values that began to live at once, microseconds.
fn spread_us(case: &Case<'_>) -> f64 {
    2.0 * case.rung.jitter.unwrap_or(0.0) * f64::from(case.scenario.policy.ttl_ms) * 1e3
}

/// The most values of any keys that began to live within one spread (or one bucket, if that is more) of each other.
fn filled_together(case: &Case<'_>) -> u64 {
    let within_us = spread_us(case).max(width_us(case.scenario) as f64) as u64;
    let mut began_us: Vec<u64> = Lives::of(case.history).all().map(|life| life.first_us).collect();
    began_us.sort_unstable();
    let (mut first, mut most) = (0, 0);
    for (index, at_us) in began_us.iter().enumerate() {
        while at_us - began_us[first] > within_us {
            first += 1;
        }
        most = most.max(index + 1 - first);
    }
    most as u64
}
