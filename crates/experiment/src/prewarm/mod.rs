//! The pre-warm gate: fills the most read keys of an access log, then says whether traffic may come.
//!
//! A node set that starts cold is worse than any boundary: every key is missed, by everybody. So the keys that the log shows
//! to be worth it are filled first (background rebuilds, `Edge.Warm`), and the gate then measures the hit rate of a sample of
//! the log's own reads. It opens at the rate that is asked for; where it stays shut it says what missed and why.
//!
//! The gate looks at each sampled key once and counts it as often as the log reads it: its own look fills what was missing, so
//! a second one would hit. What it saw is therefore a lower bound of what traffic will find.

mod log;

pub use log::{AccessLog, DRAWN_READS, LINE_BYTES_MAX, LOG_BYTES_MAX, READS_MAX};

use crate::{
    edge::EdgeLab,
    load::{LoadError, ending::Ending},
    testbed::Progress,
};
use futures::{StreamExt, stream};
use herd_history::StartRecord;
use herd_policy::prewarm::Gate;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use tonic::Status;

/// Reads that the gate looks at, at most.
pub const SAMPLE_MAX: usize = 2_000;
/// Missing keys that are told by name.
const MISSING_TOLD: usize = 5;

/// What is warmed, and when the gate opens.
#[derive(Clone, Debug)]
pub struct PrewarmSpec {
    /// `http://host:port` of the edge's gRPC.
    pub edge: String,
    /// What was read.
    pub log: AccessLog,
    /// Keys replayed at most, the most read first.
    pub top: u32,
    /// The hit rate over the log's reads at which the gate opens, 0 to 1.
    pub hit_rate: f64,
    /// Deadline of each call.
    pub deadline: Duration,
    /// Calls under way at once, 1 or more.
    pub at_once: usize,
}

/// What the gate saw.
#[derive(Clone, Debug, PartialEq)]
pub struct PrewarmReport {
    /// Keys replayed.
    pub keys: u64,
    /// Of them, those that were filled and that the gate did not miss.
    pub filled: u64,
    /// The hit rate over the sampled reads, 0 to 1.
    pub hit_rate: f64,
    /// The hit rate asked for.
    pub wanted: f64,
    /// Whether traffic may come.
    pub opened: bool,
    /// Why, in words.
    pub why: String,
    /// From the first key to the gate's word.
    pub took: Duration,
    /// Sampled keys that missed, the most read first.
    pub missing: Vec<String>,
}

/// Warms, measures and says whether the gate opens. A call that fails is a key that is missing, not an error.
///
/// # Errors
/// The edge's address is not one.
pub async fn run(spec: &PrewarmSpec, progress: &dyn Progress) -> Result<PrewarmReport, LoadError> {
    let started = Instant::now();
    let edge = EdgeLab::new(&spec.edge, spec.deadline)?;
    let replay = spec.log.top(spec.top as usize);
    let filled = fill(&edge, &replay, spec.at_once, progress).await;
    let look = look(&edge, spec, progress).await;
    let gate = look.gate;
    let replayed: BTreeSet<&str> = replay.iter().copied().collect();
    let mut missing = look.missing;
    missing.sort_by(|a, b| b.reads.cmp(&a.reads).then(a.key.cmp(b.key)));
    let lost = missing.iter().filter(|miss| filled.keys.contains(miss.key)).count();
    Ok(PrewarmReport {
        keys: replay.len() as u64,
        filled: (filled.keys.len() - lost) as u64,
        hit_rate: gate.hit_rate(),
        wanted: spec.hit_rate,
        opened: gate.is_open(),
        why: why(&spec.log, gate, spec.hit_rate, &missing, &replayed, &filled),
        took: started.elapsed(),
        missing: missing.iter().map(|miss| miss.key.to_owned()).collect(),
    })
}

impl PrewarmReport {
    /// As the history records it.
    #[must_use]
    pub fn record(&self) -> StartRecord {
        StartRecord::Prewarmed {
            keys: self.keys,
            filled: self.filled,
            hit_rate: self.hit_rate,
            wanted: self.wanted,
            opened: self.opened,
            why: self.why.clone(),
            took_ms: u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// What replaying the log brought.
struct Filled<'a> {
    keys: BTreeSet<&'a str>,
    failed: u64,
    first_error: Option<String>,
}

async fn fill<'a>(edge: &EdgeLab, replay: &[&'a str], at_once: usize, progress: &dyn Progress) -> Filled<'a> {
    let mut calls = stream::iter(replay.iter().copied())
        .map(|key| async move { (key, edge.warm(key.to_owned(), String::new()).await) })
        .buffer_unordered(at_once.max(1));
    let mut filled = Filled { keys: BTreeSet::new(), failed: 0, first_error: None };
    let mut done = 0;
    while let Some((key, warmed)) = calls.next().await {
        match warmed {
            Ok(_) => {
                filled.keys.insert(key);
            }
            Err(status) => {
                filled.failed += 1;
                filled.first_error.get_or_insert_with(|| format!("{key}: {}", told(&status)));
            }
        }
        done += 1;
        progress.step("pre-warming", done, replay.len() as u64);
    }
    filled
}

/// What the gate's look at the sample found.
struct Look<'a> {
    gate: Gate,
    missing: Vec<Miss<'a>>,
}

struct Miss<'a> {
    key: &'a str,
    reads: u64,
    error: Option<String>,
}

async fn look<'a>(edge: &EdgeLab, spec: &'a PrewarmSpec, progress: &dyn Progress) -> Look<'a> {
    let sample = spec.log.sample(SAMPLE_MAX);
    let total = sample.len() as u64;
    let mut calls = stream::iter(sample)
        .map(|(key, reads)| async move { (key, reads, edge.get(key.to_owned()).await) })
        .buffer_unordered(spec.at_once.max(1));
    let mut look = Look { gate: Gate::new(spec.hit_rate), missing: Vec::new() };
    let mut done = 0;
    while let Some((key, reads, answer)) = calls.next().await {
        let error = answer.as_ref().err().map(told);
        let hit = Ending::of(answer).served().is_hit();
        look.gate.looked(reads, hit);
        if !hit {
            look.missing.push(Miss { key, reads, error });
        }
        done += 1;
        progress.step("measuring the hit rate", done, total);
    }
    look
}

fn why(
    log: &AccessLog,
    gate: Gate,
    wanted: f64,
    missing: &[Miss<'_>],
    replayed: &BTreeSet<&str>,
    filled: &Filled<'_>,
) -> String {
    let (reads, hit_rate) = (gate.reads(), gate.hit_rate());
    if reads == 0 {
        return format!("the log holds no read of a key ({} lines are none)", log.bad_lines());
    }
    let percent = |part: f64| format!("{:.1} %", part * 100.0);
    let mut why =
        format!("{} of {reads} sampled reads hit, {} are asked for", percent(hit_rate), percent(wanted));
    if !gate.is_open() {
        let of = |in_replay: bool| {
            let chosen = missing.iter().filter(|miss| replayed.contains(miss.key) == in_replay);
            percent(chosen.map(|miss| miss.reads).sum::<u64>() as f64 / reads as f64)
        };
        let first: Vec<&str> = missing.iter().take(MISSING_TOLD).map(|miss| miss.key).collect();
        why.push_str(&format!(
            "; {} missed on keys that were not replayed, {} on keys that were; the most read of them: {}",
            of(false),
            of(true),
            first.join(", ")
        ));
        if let Some(error) = missing.iter().find_map(|miss| miss.error.as_ref()) {
            why.push_str(&format!("; a read failed: {error}"));
        }
    }
    if let Some(first) = &filled.first_error {
        why.push_str(&format!("; {} keys could not be filled, the first {first}", filled.failed));
    }
    if log.bad_lines() > 0 {
        why.push_str(&format!("; {} lines of the log are no read of a key", log.bad_lines()));
    }
    if log.is_cut() {
        why.push_str("; the log is longer than what was taken of it");
    }
    why
}

fn told(status: &Status) -> String {
    let message: String = status.message().chars().take(200).collect();
    format!("{message} ({:?})", status.code())
}
