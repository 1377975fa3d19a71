//! A fault's records against its plan. What a fault allows for grows with the time that it lasts and with the number of those that it
//! hits: records that say more of either than was planned are not believed.

use std::collections::BTreeSet;

use herd_scenario::{Fault, FaultAction, FaultKind, FaultPart, Which};

use crate::Case;
use crate::turns::Turn;

/// What injecting and undoing may take on top of the hold, or of the witness where that took longer, microseconds: killing a container
/// and starting it again took up to 2.2 s on two busy cores. Bounds follow from how long it lasted, not from the plan.
const DEED_US: u64 = 3_000_000;

/// The most by which a hold may be longer than planned, microseconds: a witness has three seconds.
const LONGER_US: u64 = 3_500_000;

/// The most by which a hold may be shorter than planned, microseconds: two looks at a clock.
const SHORTER_US: u64 = 20_000;

/// How the steps of a turn that has all of them depart from the plan, in words that follow its target.
pub(crate) fn departs(fault: &Fault, turn: &Turn<'_>) -> Option<String> {
    let (injected_us, confirmed_us) = (turn.injected_us?, turn.confirmed_us?);
    let repaired_us = turn.repaired_us.unwrap_or(injected_us);
    let in_order = injected_us <= confirmed_us
        && injected_us <= repaired_us
        && turn.recovered_us.is_none_or(|us| us >= repaired_us);
    if !in_order {
        return Some("has its steps out of order".to_owned());
    }
    let held_us = repaired_us - injected_us;
    let planned_us = u64::from(fault.for_ms) * 1_000;
    let most_us = (planned_us.max(confirmed_us - injected_us) + DEED_US).min(planned_us + LONGER_US);
    // A window that ends meanwhile cuts a hold short: it did not do what was planned.
    let is_short = held_us.saturating_add(SHORTER_US) < planned_us;
    (FaultKind::name_has_repair(turn.kind) && (is_short || held_us > most_us))
        .then(|| format!("lasted {} ms, {} ms were planned", held_us / 1_000, fault.for_ms))
}

/// How the targets of one turn depart from the plan, in words that follow its name.
pub(crate) fn wrong_targets(case: &Case<'_>, fault: &Fault, turns: &[&Turn<'_>]) -> Option<String> {
    let targets: BTreeSet<&str> = turns.iter().map(|turn| turn.target).collect();
    let all = nodes(case, turns);
    let which = match &fault.action {
        FaultAction::Pause(target) | FaultAction::Kill(target) | FaultAction::Stop(target)
            if target.part == FaultPart::CacheNode =>
        {
            &target.which
        }
        FaultAction::Link { nodes, .. } => nodes,
        FaultAction::RollingRestart => &Which::All,
        FaultAction::ScaleOut { from } => {
            return unless_in(&targets, case.scenario.fleet.nodes.saturating_sub(*from), 0);
        }
        _ => return unless_in(&targets, 1, 0),
    };
    // Nodes that another fault has taken down are none to choose from.
    let down = down(case, fault, turns);
    match which {
        Which::All => unless_in(&targets, all, down),
        Which::Some(count) => unless_in(&targets, (*count).min(all), down),
        Which::Minority => unless_in(&targets, all.saturating_sub(1) / 2, down),
        Which::Holder { .. } | Which::Leader { .. } => unless_in(&targets, 1, 0),
        Which::Index(indices) => {
            let named = |index: &&u32| targets.contains(format!("cache-node-{index:02}").as_str());
            let missing = indices.iter().find(|index| !named(index));
            match missing {
                Some(index) if targets.iter().all(|target| is_numbered(target)) => {
                    Some(format!("was not done to cache node {index}"))
                }
                _ => unless_in(&targets, indices.len() as u32, 0),
            }
        }
    }
}

/// The nodes of the fleet when these turns began: those that are to come later are none to choose from.
fn nodes(case: &Case<'_>, turns: &[&Turn<'_>]) -> u32 {
    let all = case.scenario.fleet.nodes;
    let at_us = turns.iter().filter_map(|turn| turn.injected_us).min();
    let to_come = |turn: &Turn<'_>| match turn.planned {
        Some(FaultAction::ScaleOut { from }) => (turn.injected_us > at_us).then_some(*from),
        _ => None,
    };
    case.turns.iter().find_map(to_come).map_or(all, |from| from.min(all))
}

/// Whether a cache node bears its index, from 0, in its name: `cache-node-07`.
fn is_numbered(target: &str) -> bool {
    target
        .strip_prefix("cache-node-")
        .is_some_and(|number| number.len() >= 2 && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether there are other than so many targets, or up to so many fewer. Records may speak of all of them at once.
fn unless_in(targets: &BTreeSet<&str>, planned: u32, fewer: u32) -> Option<String> {
    let of_all = targets.len() == 1 && targets.iter().any(|target| matches!(*target, "all" | "cache-node"));
    let count = targets.len() as u32;
    (!of_all && !(planned.saturating_sub(fewer)..=planned).contains(&count))
        .then(|| format!("was done to {count} targets, {planned} were planned"))
}

/// Cache nodes that other faults had taken down when these turns began.
fn down(case: &Case<'_>, fault: &Fault, turns: &[&Turn<'_>]) -> u32 {
    let Some(at_us) = turns.iter().filter_map(|turn| turn.injected_us).min() else { return 0 };
    let takes_down = |turn: &&Turn<'_>| {
        turn.name != fault.name && turn.is_of(FaultPart::CacheNode) && turn.overlaps(at_us, at_us)
    };
    let nodes: BTreeSet<&str> = case.turns.iter().filter(takes_down).map(|turn| turn.target).collect();
    nodes.len() as u32
}
