//! How the lives of many values spread, and what that does to the moment at which they expire.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use herd_policy::{Action, Config, Core, FetchOutcome, Limits, ReadOutcome, Time, WriteOutcome};

/// As many keys as were cached at one moment in the incident that jitter is known for.
const KEYS: u32 = 5_000;
const TTL: Duration = Duration::from_secs(300);

/// The TTLs, in seconds, with which one process fills so many keys.
fn lives(jitter: f64, seed: u64) -> Vec<f64> {
    let config = Config { ttl: TTL, jitter, flight_second_look: false, ..Config::default() };
    let mut core: Core<u64> = Core::new(Arc::new(config), Limits::default(), seed);
    let (now, deadline) = (Time::ZERO, Time::from_millis(1_000));
    let mut lives = Vec::new();
    for key in 0..KEYS {
        core.handle_lookup(now, format!("item-{key}").into(), deadline);
        while let Some(action) = core.poll_action() {
            match action {
                Action::Read { op, .. } => {
                    core.handle_read(now, op, ReadOutcome::Absent { generation: 0, may_exist: true });
                }
                Action::Fetch { op, .. } => core.handle_fetched(now, op, FetchOutcome::Fetched(1)),
                Action::Write { op, ttl, .. } => {
                    lives.push(ttl.as_secs_f64());
                    core.handle_written(now, op, WriteOutcome::Written { generation: 1 });
                }
                _ => {}
            }
        }
    }
    lives
}

/// The most values that expire within one second.
fn highest_bucket(lives: &[f64]) -> u32 {
    let mut buckets: BTreeMap<u64, u32> = BTreeMap::new();
    for life in lives {
        *buckets.entry(life.floor() as u64).or_default() += 1;
    }
    buckets.into_values().max().expect("some value expires")
}

/// Goal: base 300 s, jitter 0.25: every life within 225 to 375 s, uniformly: the mean and each tenth of the range within
/// 4 standard errors (a correct draw fails less than once in a thousand seeds; this seed is fixed).
#[test]
fn lives_are_uniform_within_their_bounds() {
    let lives = lives(0.25, 11);
    assert!(lives.iter().all(|life| (225.0..=375.0).contains(life)));
    let count = f64::from(KEYS);
    let mean = lives.iter().sum::<f64>() / count;
    let error = 150.0 / (12.0 * count).sqrt();
    assert!((mean - 300.0).abs() <= 4.0 * error, "mean {mean}, standard error {error}");
    let expected = count / 10.0;
    let error = (count * 0.1 * 0.9).sqrt();
    for tenth in 0..10 {
        let from = 225.0 + 15.0 * f64::from(tenth);
        let inside = lives.iter().filter(|life| (from..from + 15.0).contains(*life)).count() as f64;
        assert!((inside - expected).abs() <= 4.0 * error, "tenth {tenth} holds {inside} of {expected}");
    }
}

/// Goal: 5,000 values filled at one moment expire in one second without jitter; with it the highest of m one-second
/// buckets is about L + sqrt(2 L ln m), L their mean.
#[test]
fn jitter_lowers_the_highest_bucket() {
    assert_eq!(highest_bucket(&lives(0.0, 11)), KEYS, "all at once");
    let buckets: f64 = 150.0;
    let mean = f64::from(KEYS) / buckets;
    let about = mean + (2.0 * mean * buckets.ln()).sqrt();
    for seed in 0..10 {
        let highest = f64::from(highest_bucket(&lives(0.25, seed)));
        assert!(
            highest > mean && highest <= about * 1.2,
            "seed {seed}: {highest}, expected about {about:.0}"
        );
    }
}

/// Goal: the seed decides, and nothing else: the same one draws the same lives, another one others.
#[test]
fn the_seed_fixes_every_life() {
    assert_eq!(lives(0.25, 1), lives(0.25, 1));
    assert_ne!(lives(0.25, 1), lives(0.25, 2));
}
