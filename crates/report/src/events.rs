//! What happened to a rung besides its load: how its keys began, a deploy, changes of the membership, faults. As sentences, and as
//! stretches of time that plots shade.

use herd_history::{DeployRecord, FaultPhase, FaultRecord, History, RungHistory, StartRecord};

use crate::words::{count, ms};

/// A stretch of a rung's window in which something was different.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shade {
    /// What, for a person.
    pub(crate) what: String,
    /// Its look: `fault`, `deploy` or `members`.
    pub(crate) class: &'static str,
    /// From the window's start; may lie before it.
    pub(crate) from_ms: f64,
    /// Not before `from_ms`.
    pub(crate) to_ms: f64,
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
    all.extend(faults_of(history, rung).map(|step| fault(step, &clock)));
    all
}

/// What a plot of the rung shades.
pub(crate) fn shades(history: &History, rung: &RungHistory) -> Vec<Shade> {
    let clock = Clock::of(rung);
    let mut all = faults(history, rung, &clock);
    all.extend(rung.record.deploy.iter().filter_map(|record| deploy_shade(record, &clock)));
    all.extend(members(rung, &clock));
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

fn deploy_shade(record: &DeployRecord, clock: &Clock) -> Option<Shade> {
    let from_us = record.fill_began_us.or(record.switched_us)?;
    let to_us = record.retired_us.or(record.switched_us).unwrap_or(clock.end_us).max(from_us);
    Some(Shade {
        what: format!("{} deploy", record.strategy),
        class: "deploy",
        from_ms: clock.at_ms(from_us),
        to_ms: clock.at_ms(to_us),
    })
}

/// From each departure to the return of the same node, or to the window's end.
fn members(rung: &RungHistory, clock: &Clock) -> Vec<Shade> {
    let changes = &rung.record.membership;
    let departures = changes.iter().enumerate().filter(|(_, change)| change.left);
    departures
        .map(|(index, left)| {
            let back = changes[index..].iter().find(|change| !change.left && change.node == left.node);
            Shade {
                what: format!("{} out of the membership", left.node),
                class: "members",
                from_ms: clock.at_ms(left.at_us),
                to_ms: clock.at_ms(back.map_or(clock.end_us, |back| back.at_us)),
            }
        })
        .collect()
}

fn faults_of<'a>(history: &'a History, rung: &'a RungHistory) -> impl Iterator<Item = &'a FaultRecord> {
    history.faults.iter().filter(|step| step.rung == rung.record.name)
}

fn fault(step: &FaultRecord, clock: &Clock) -> String {
    let phase = match step.phase {
        FaultPhase::Injected => "was injected",
        FaultPhase::Confirmed => "was seen to take effect",
        FaultPhase::Unconfirmed => "was NOT seen to take effect",
        FaultPhase::Repaired => "was repaired",
        FaultPhase::Recovered => "was over: the fleet was seen to work again",
        FaultPhase::Unrecovered => "was NOT seen to be over",
    };
    let note = if step.note.is_empty() { String::new() } else { format!(" ({})", step.note) };
    format!("At {} fault {} on {} {phase}{note}.", clock.told(step.at_us), step.fault, step.target)
}

/// From each injection to the repair of the same fault and target, or to the window's end.
fn faults(history: &History, rung: &RungHistory, clock: &Clock) -> Vec<Shade> {
    let steps: Vec<&FaultRecord> = faults_of(history, rung).collect();
    let injected = steps.iter().enumerate().filter(|(_, step)| step.phase == FaultPhase::Injected);
    injected
        .map(|(index, from)| {
            let same = |step: &&&FaultRecord| step.fault == from.fault && step.target == from.target;
            let repaired = steps[index..].iter().filter(same).find(|step| step.phase == FaultPhase::Repaired);
            Shade {
                what: format!("fault {} on {}", from.fault, from.target),
                class: "fault",
                from_ms: clock.at_ms(from.at_us),
                to_ms: clock.at_ms(repaired.map_or(clock.end_us, |step| step.at_us)),
            }
        })
        .collect()
}
