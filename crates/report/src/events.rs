//! What happened to a rung besides its load: how its keys began, a deploy, changes of the membership, faults. As sentences, as
//! stretches of time that plots shade, and as moments that they mark.

use herd_history::{DeployRecord, FaultPhase, History, MembershipRecord, RungHistory, StartRecord};

use crate::faults;
use crate::words::{count, ms};

/// A stretch of a rung's window in which a fault was in force.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shade {
    /// The fault's name; the same for all its turns.
    pub(crate) label: String,
    /// What, for a person.
    pub(crate) what: String,
    /// Its look.
    pub(crate) class: &'static str,
    /// From the window's start; may lie before it.
    pub(crate) from_ms: f64,
    /// When it was repaired, or over; not before `from_ms`.
    pub(crate) to_ms: f64,
    /// When the fleet was seen to work again; not before `to_ms`.
    pub(crate) over_ms: f64,
}

/// A moment of a rung's window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mark {
    /// What stands above the plots; may be empty.
    pub(crate) label: String,
    /// What, for a person.
    pub(crate) what: String,
    /// Its look: `deploy` or `members`.
    pub(crate) class: &'static str,
    /// From the window's start.
    pub(crate) at_ms: f64,
}

/// One sentence each, in the order: start, deploy, membership, faults.
pub(crate) fn sentences(history: &History, rung: &RungHistory) -> Vec<String> {
    let clock = Clock::of(rung);
    let mut all: Vec<String> = start(&rung.record.start).into_iter().collect();
    all.extend(rung.record.deploy.iter().map(|record| deploy(record, &clock)));
    for change in &rung.record.membership {
        let what = if change.left { "left" } else { "came back to" };
        all.push(format!("At {} {} {what} the membership.", clock.told(change.at_us), change.node));
    }
    all.extend(moved(&rung.record.moved, &clock));
    all.extend(faults::sentences(history, &rung.record.name, clock.start_us));
    all
}

/// Nodes that came and went by themselves that are told one by one.
const MOVED_TOLD_MAX: usize = 12;

fn moved(changes: &[MembershipRecord], clock: &Clock) -> Vec<String> {
    let told = |change: &MembershipRecord| {
        let what = if change.left { "was gone" } else { "joined" };
        format!("At {} {} {what}.", clock.told(change.at_us), change.node)
    };
    let mut all: Vec<String> = changes.iter().take(MOVED_TOLD_MAX).map(told).collect();
    if changes.len() > MOVED_TOLD_MAX {
        let more = count((changes.len() - MOVED_TOLD_MAX) as u64);
        all.push(format!("And {more} more times a node was gone or joined."));
    }
    all
}

/// What a plot of the rung shades: for each fault and turn, from the first target's injection to the last one's repair. Without a repair,
/// until it was confirmed; if that did not come, to the window's end.
pub(crate) fn shades(history: &History, rung: &RungHistory) -> Vec<Shade> {
    let clock = Clock::of(rung);
    let mut all: Vec<(u64, Shade)> = Vec::new();
    for turn in faults::turns(history, &rung.record.name) {
        let Some(from_us) = turn.at_us(FaultPhase::Injected) else { continue };
        let recovered_us = turn.at_us(FaultPhase::Recovered);
        let repaired_us = turn.at_us(FaultPhase::Repaired).or(recovered_us);
        let instant_us = turn.at_us(FaultPhase::Confirmed).filter(|_| !turn.has_repair());
        let to_us = repaired_us.or(instant_us).unwrap_or(clock.end_us).max(from_us);
        let over_us = recovered_us.unwrap_or(to_us).max(to_us);
        let (from_ms, to_ms, over_ms) = (clock.at_ms(from_us), clock.at_ms(to_us), clock.at_ms(over_us));
        match all.iter_mut().find(|(n, shade)| *n == turn.turn && shade.label == turn.fault) {
            Some((_, shade)) => {
                shade.what.push_str(&format!(", {}", turn.target));
                shade.from_ms = shade.from_ms.min(from_ms);
                shade.to_ms = shade.to_ms.max(to_ms);
                shade.over_ms = shade.over_ms.max(over_ms);
            }
            None => all.push((
                turn.turn,
                Shade {
                    label: turn.fault.to_owned(),
                    what: format!("fault {} on {}", turn.fault, turn.target),
                    class: "fault",
                    from_ms,
                    to_ms,
                    over_ms,
                },
            )),
        }
    }
    all.into_iter().map(|(_, shade)| shade).collect()
}

/// What a plot of the rung marks, in order: the steps of a deploy, every change of the membership.
pub(crate) fn marks(rung: &RungHistory) -> Vec<Mark> {
    let clock = Clock::of(rung);
    let mut all = Vec::new();
    if let Some(deploy) = &rung.record.deploy {
        let steps = [
            ("fill begins", deploy.fill_began_us),
            ("deploy", deploy.switched_us),
            ("old keys retired", deploy.retired_us),
        ];
        for (name, at_us) in steps {
            all.extend(at_us.map(|at_us| Mark {
                label: name.to_owned(),
                what: format!("{} deploy: {name}", deploy.strategy),
                class: "deploy",
                at_ms: clock.at_ms(at_us),
            }));
        }
    }
    let asked = rung.record.membership.iter().map(|change| (change, ["left the membership", "came back"]));
    let moved = rung.record.moved.iter().map(|change| (change, ["was gone", "joined"]));
    for (change, [left, came]) in asked.chain(moved) {
        all.push(Mark {
            label: String::new(),
            what: format!("{} {}", change.node, if change.left { left } else { came }),
            class: "members",
            at_ms: clock.at_ms(change.at_us),
        });
    }
    all
}

/// Times of a rung, counted from its window's start.
struct Clock {
    start_us: u64,
    end_us: u64,
}

impl Clock {
    fn of(rung: &RungHistory) -> Self {
        Self { start_us: rung.record.window_start_us, end_us: rung.record.window_end_us }
    }

    fn at_ms(&self, at_us: u64) -> f64 {
        (at_us as f64 - self.start_us as f64) / 1e3
    }

    /// `1.50 s`
    fn told(&self, at_us: u64) -> String {
        format!("{:.2} s", self.at_ms(at_us) / 1e3)
    }
}

fn start(record: &StartRecord) -> Option<String> {
    match record {
        StartRecord::Warm => None,
        StartRecord::Cold => Some("Nothing was cached when the load came.".to_owned()),
        StartRecord::Prewarmed { keys, filled, hit_rate, wanted, opened, why, took_ms } => Some(format!(
            "The pre-warm gate {}: {:.1} % of the log's reads would hit, {:.0} % are asked for; {} of {} keys were filled, in {} ms. {why}",
            if *opened { "opened" } else { "stayed SHUT" },
            100.0 * hit_rate,
            100.0 * wanted,
            count(*filled),
            count(*keys),
            ms(*took_ms as f64),
        )),
    }
}

fn deploy(record: &DeployRecord, clock: &Clock) -> String {
    let mut text = format!("A {} deploy of a new key prefix", record.strategy);
    if let Some(began) = record.fill_began_us {
        text.push_str(&format!(
            ": the fill began at {}, brought {} of {} keys and paused {}",
            clock.told(began),
            count(record.filled),
            count(record.fill_keys),
            match record.pauses {
                0 => "never".to_owned(),
                1 => "once".to_owned(),
                more => format!("{} times", count(more)),
            }
        ));
    }
    match record.switched_us {
        Some(switched) => text.push_str(&format!("; switched at {}", clock.told(switched))),
        None => text.push_str("; it was stopped before the switch"),
    }
    if let Some(retired) = record.retired_us {
        text.push_str(&format!("; the old keys were retired at {}", clock.told(retired)));
    }
    format!("{text}. {}", record.why).trim_end().to_owned()
}
