//! What was done to a rung, and how the fleet did before, meanwhile and after: as sentences and as a table.

use herd_history::{FaultPhase, FaultRecord, History};
use herd_judge::{FaultFigures, FaultTurn, PhaseFigures};
use herd_scenario::FaultKind;

use crate::words::{count, duration, mean, ms, percent};

/// Turns that are told one by one; a fault of many nodes or many turns is told by its summary.
const TURNS_TOLD_MAX: usize = 24;

/// One turn of a fault at one target, put together from its steps.
pub(crate) struct Turn<'a> {
    pub(crate) fault: &'a str,
    pub(crate) turn: u64,
    pub(crate) target: &'a str,
    steps: Vec<&'a FaultRecord>,
}

impl Turn<'_> {
    /// When the step came, Unix microseconds.
    pub(crate) fn at_us(&self, phase: FaultPhase) -> Option<u64> {
        self.step(phase).map(|step| step.at_us)
    }

    /// Whether its kind is repaired: what was repaired is, and else all but the kinds that have no repair.
    pub(crate) fn has_repair(&self) -> bool {
        let kind = self.steps.first().map_or("", |step| step.kind.as_str());
        self.step(FaultPhase::Repaired).is_some() || FaultKind::name_has_repair(kind)
    }

    fn step(&self, phase: FaultPhase) -> Option<&FaultRecord> {
        self.steps.iter().find(|step| step.phase == phase).copied()
    }

    /// Its steps in one sentence, with what was seen of each; `start_us` is the window's start.
    fn told(&self, start_us: u64) -> String {
        let mut parts: Vec<String> = Vec::new();
        let mut earlier: Option<&FaultRecord> = None;
        for step in &self.steps {
            let after = earlier.map_or(0.0, |earlier| step.at_us.saturating_sub(earlier.at_us) as f64 / 1e3);
            let after = duration(after);
            let mut part = match step.phase {
                FaultPhase::Injected => {
                    let at = (step.at_us as f64 - start_us as f64) / 1e6;
                    format!("injected at {at:.2} s")
                }
                FaultPhase::Confirmed => format!("seen to take effect after {after}"),
                FaultPhase::Unconfirmed => format!("NOT seen to take effect within {after}"),
                FaultPhase::Repaired => format!("repaired after another {after}"),
                FaultPhase::Recovered => format!("the fleet seen to work again after {after}"),
                FaultPhase::Unrecovered => format!("the fleet NOT seen to work again within {after}"),
            };
            if step.hit > 0 {
                part.push_str(&format!(", {} hit", count(step.hit)));
            }
            if !step.note.is_empty() {
                part.push_str(&format!(" ({})", step.note));
            }
            parts.push(part);
            earlier = Some(step);
        }
        let turn = if self.turn > 0 { format!(", turn {}", self.turn + 1) } else { String::new() };
        format!("Fault {} on {}{turn}: {}.", self.fault, self.target, parts.join("; "))
    }
}

/// Every turn in a rung, in order of time.
pub(crate) fn turns<'a>(history: &'a History, rung: &str) -> Vec<Turn<'a>> {
    let mut all: Vec<Turn<'a>> = Vec::new();
    for step in history.faults.iter().filter(|step| step.rung == rung) {
        let same = |turn: &&mut Turn<'_>| {
            turn.fault == step.fault && turn.turn == step.turn && turn.target == step.target
        };
        match all.iter_mut().find(same) {
            Some(turn) => turn.steps.push(step),
            None => all.push(Turn {
                fault: &step.fault,
                turn: step.turn,
                target: &step.target,
                steps: vec![step],
            }),
        }
    }
    all
}

/// One sentence a turn.
pub(crate) fn sentences(history: &History, rung: &str, start_us: u64) -> Vec<String> {
    let all = turns(history, rung);
    let mut told: Vec<String> = all.iter().take(TURNS_TOLD_MAX).map(|turn| turn.told(start_us)).collect();
    if all.len() > TURNS_TOLD_MAX {
        let more = count((all.len() - TURNS_TOLD_MAX) as u64);
        told.push(format!("And {more} more turns of faults, in faults.jsonl and results.json."));
    }
    told
}

/// `holder-paused (pause) on cache-node-07`: what was done to what.
pub(crate) fn name(fault: &FaultFigures) -> String {
    let kind = match fault.kind.as_str() {
        "" => String::new(),
        kind if kind == fault.name => String::new(),
        kind => format!(" ({kind})"),
    };
    let targets = match fault.targets.as_slice() {
        [] => "nothing".to_owned(),
        few @ ([_] | [_, _] | [_, _, _]) => few.join(", "),
        [first, .., last] => format!("{} targets, {first} to {last}", count(fault.targets.len() as u64)),
    };
    format!("{}{kind} on {targets}", fault.name)
}

/// All its turns in one sentence.
pub(crate) fn summary(fault: &FaultFigures) -> String {
    let all = fault.turns.len();
    let seen =
        |at: fn(&FaultTurn) -> Option<f64>| fault.turns.iter().filter(|turn| at(turn).is_some()).count();
    let confirmed = seen(|turn| turn.confirmed_ms);
    let times = match all {
        1 => String::new(),
        more => format!("{} times, first ", count(more as u64)),
    };
    let first = fault.turns.iter().find_map(|turn| turn.injected_ms);
    let mut text = match first {
        Some(first) => format!("{times}injected at {:.2} s", first / 1e3),
        None => return "was NOT injected".to_owned(),
    };
    text.push_str(&match (confirmed, all) {
        (0, _) => ", NOT seen to take effect".to_owned(),
        (some, all) if some < all => format!(", seen to take effect only {some} of {all} times"),
        (_, 1) => {
            let after = longest(fault, |turn| turn.injected_ms, |turn| turn.confirmed_ms);
            format!(", seen to take effect after {}", duration(after.unwrap_or(0.0)))
        }
        _ => ", each time seen to take effect".to_owned(),
    });
    let hit: u64 = fault.turns.iter().map(|turn| turn.hit).sum();
    if hit > 0 {
        text.push_str(&format!(", {} hit", count(hit)));
    }
    if let Some(held) = longest(fault, |turn| turn.injected_ms, |turn| turn.repaired_ms) {
        text.push_str(&format!(", held for {}", duration(held)));
        match longest(fault, |turn| turn.repaired_ms, |turn| turn.recovered_ms) {
            Some(after) if seen(|turn| turn.recovered_ms) == all => {
                let most = if all > 1 { "at most " } else { "" };
                text.push_str(&format!(", recovered {most}{} after the repair", duration(after)));
            }
            _ => text.push_str(", NOT seen to recover each time"),
        }
    }
    text
}

/// The longest time from one step to another over its turns, milliseconds.
fn longest(
    fault: &FaultFigures,
    from: fn(&FaultTurn) -> Option<f64>,
    to: fn(&FaultTurn) -> Option<f64>,
) -> Option<f64> {
    fault.turns.iter().filter_map(|turn| Some((to(turn)? - from(turn)?).max(0.0))).reduce(f64::max)
}

/// Titles of the table of before, during and after.
pub(crate) const COLUMNS: [&str; 8] = [
    "",
    "time s",
    "good answers/s",
    "errors",
    "p50/p99 ms",
    "miss rate",
    "origin queries/s",
    "most rebuilds at one boundary",
];

/// Its rows; parts of the rung that never came have none.
pub(crate) fn rows(fault: &FaultFigures) -> Vec<[String; COLUMNS.len()]> {
    let parts = [("before", fault.before), ("during", fault.during), ("after", fault.after)];
    parts.into_iter().filter_map(|(name, part)| Some(cells(name, &part?))).collect()
}

fn cells(name: &str, part: &PhaseFigures) -> [String; COLUMNS.len()] {
    [
        name.to_owned(),
        format!("{:.2} to {:.2}", part.from_ms / 1e3, part.to_ms / 1e3),
        mean(part.goodput_per_s),
        match part.errors {
            0 => "0".to_owned(),
            some => format!("{} ({})", count(some), percent(some as f64 / part.requests.max(1) as f64)),
        },
        format!("{} / {}", ms(part.latency_ms.p50), ms(part.latency_ms.p99)),
        percent(part.miss_rate),
        mean(part.origin_queries_per_s),
        count(part.rebuilds_per_boundary_max),
    ]
}
