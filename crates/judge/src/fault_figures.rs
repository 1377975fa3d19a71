//! The figures of a fault: what was done when, and how the fleet did before, meanwhile and after. Nothing here decides a verdict.

use std::ops::Range;

use herd_history::{LedgerRow, OperationRecord, Outcome as Ended};
use herd_scenario::Phase;
use serde::Serialize;

use crate::Case;
use crate::boundary::{own_rows, was_admitted};
use crate::measures::{LatencyFigures, latencies};
use crate::phases::Phases;
use crate::readers::is_miss;
use crate::turns::Turn;

/// Turns that the figures of a fault list one by one.
const TURNS_MAX: usize = 1_000;

/// One fault of a rung, over all its turns and targets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultFigures {
    /// Its name in the scenario; `origin.slow` and `origin.failing` for those two.
    pub name: String,
    /// Its kind, such as `pause`.
    pub kind: String,
    /// What it was done to, each once, in order of names.
    pub targets: Vec<String>,
    /// Its turns in order of injection, each target by itself; the first 1,000.
    pub turns: Vec<FaultTurn>,
    /// From the window's start to its first injection; absent if it was injected at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<PhaseFigures>,
    /// From its first injection until its last turn was repaired (confirmed, where there is no repair), pauses between turns included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub during: Option<PhaseFigures>,
    /// From then to the window's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<PhaseFigures>,
}

/// One turn of a fault at one target. Times are milliseconds after the window's start; absent steps did not come.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultTurn {
    /// Counts the repetitions, from 0.
    pub turn: u64,
    /// What it was done to.
    pub target: String,
    /// When it was set off.
    pub injected_ms: Option<f64>,
    /// When it was seen to have taken effect.
    pub confirmed_ms: Option<f64>,
    /// When it was undone.
    pub repaired_ms: Option<f64>,
    /// When the fleet was seen to work again.
    pub recovered_ms: Option<f64>,
    /// How many it hit (requests hung up, queries that hang, connections); 0 where that does not count.
    pub hit: u64,
}

/// How the fleet did in one part of a rung. Requests count by their intended time, rebuilds by their start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PhaseFigures {
    /// Begin, milliseconds after the window's start.
    pub from_ms: f64,
    /// End, the same.
    pub to_ms: f64,
    /// Requests whose clients did not hang up.
    pub requests: u64,
    /// Of these, those with a good answer.
    pub good: u64,
    /// The same, per second.
    pub goodput_per_s: f64,
    /// Requests without a good answer.
    pub errors: u64,
    /// From the intended send time to the answer or error.
    pub latency_ms: LatencyFigures,
    /// Share of requests, 0 to 1, that found nothing to serve at their first look.
    pub miss_rate: f64,
    /// Origin queries per second; its refusals are none.
    pub origin_queries_per_s: f64,
    /// Most rebuilds of one boundary that began in this part; 0 for none.
    pub rebuilds_per_boundary_max: u64,
}

/// One for each fault, in order of first injection.
pub(crate) fn all(case: &Case<'_>) -> Vec<FaultFigures> {
    let mut names: Vec<&str> = Vec::new();
    for turn in &case.turns {
        if !names.contains(&turn.name) {
            names.push(turn.name);
        }
    }
    names.into_iter().map(|name| of_fault(case, name)).collect()
}

fn of_fault(case: &Case<'_>, name: &str) -> FaultFigures {
    let turns: Vec<&Turn<'_>> = case.turns.iter().filter(|turn| turn.name == name).collect();
    let mut targets: Vec<String> = turns.iter().map(|turn| turn.target.to_owned()).collect();
    targets.sort_unstable();
    targets.dedup();
    let phases = Phases::of(&case.history.record, turns.iter().copied());
    let of = |phase| phases.and_then(|phases| phases.range_us(phase)).and_then(|time| of_phase(case, &time));
    let start_us = case.history.record.window_start_us;
    let ms = |at_us: Option<u64>| at_us.map(|at_us| (at_us as f64 - start_us as f64) / 1e3);
    let told = |turn: &&Turn<'_>| FaultTurn {
        turn: turn.turn,
        target: turn.target.to_owned(),
        injected_ms: ms(turn.injected_us),
        confirmed_ms: ms(turn.confirmed_us),
        repaired_ms: ms(turn.repaired_us),
        recovered_ms: ms(turn.recovered_us),
        hit: turn.hit,
    };
    FaultFigures {
        name: name.to_owned(),
        kind: turns.first().map_or_else(String::new, |turn| turn.kind.to_owned()),
        targets,
        turns: turns.iter().take(TURNS_MAX).map(told).collect(),
        before: of(Phase::Before),
        during: of(Phase::During),
        after: of(Phase::After),
    }
}

/// The part of the window that lies in this time; `None` if none does.
fn of_phase(case: &Case<'_>, time: &Range<u64>) -> Option<PhaseFigures> {
    let record = &case.history.record;
    // The window's last arrival lies at its end.
    let until_us = record.window_end_us.saturating_add(1);
    let time = time.start.max(record.window_start_us)..time.end.min(until_us);
    if time.is_empty() {
        return None;
    }
    let rows: Vec<&OperationRecord> = case
        .history
        .operations
        .iter()
        .filter(|row| row.outcome != Ended::HungUp && time.contains(&row.intended_us))
        .collect();
    let requests = rows.len() as u64;
    let good = rows.iter().filter(|row| case.rows.is_good(row)).count() as u64;
    let misses = rows.iter().filter(|row| is_miss(row)).count() as f64;
    let started = |row: &&LedgerRow| was_admitted(row) && time.contains(&row.start_us);
    let queries = own_rows(case.history).filter(started).count() as f64;
    let herds = case.boundaries.iter().filter(|boundary| time.contains(&boundary.first_start_us()));
    let to_us = time.end.min(record.window_end_us);
    let seconds = (to_us.saturating_sub(time.start).max(1)) as f64 / 1e6;
    let ms = |at_us: u64| (at_us - record.window_start_us) as f64 / 1e3;
    Some(PhaseFigures {
        from_ms: ms(time.start),
        to_ms: ms(to_us.max(time.start)),
        requests,
        good,
        goodput_per_s: good as f64 / seconds,
        errors: requests - good,
        latency_ms: latencies(rows),
        miss_rate: misses / requests.max(1) as f64,
        origin_queries_per_s: queries / seconds,
        rebuilds_per_boundary_max: herds.map(|boundary| boundary.count()).max().unwrap_or(0),
    })
}
