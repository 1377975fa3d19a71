//! Assumptions about the nodes: all were there, answered, and stayed, but for what a confirmed fault did to them.

use std::collections::BTreeSet;

use herd_history::{MembershipRecord, RungRecord};
use herd_scenario::{FaultAction, FaultPart};

use crate::Case;
use crate::assumptions::{Assumption, found};
use crate::theory::by_owner;
use crate::turns::Turn;

/// How long after a fault was over its nodes may still leave and come back: until the control plane notices, microseconds.
const SETTLE_US: u64 = 10_000_000;

/// The first format in which the membership is always recorded.
const FORMAT_WITH_MEMBERS: u32 = 2;

pub(crate) fn joined(case: &Case<'_>) -> Assumption {
    let record = &case.history.record;
    let all = u64::from(case.scenario.fleet.nodes);
    let first = scaled_from(case).map_or(all, u64::from);
    let mut holds =
        u64::from(record.nodes_joined) >= first && record.nodes_acknowledged >= record.nodes_joined;
    let mut why = format!(
        "{} of {first} nodes joined, {} acknowledged the configuration",
        record.nodes_joined, record.nodes_acknowledged
    );
    if first < all {
        let end = record.nodes_joined_end.map_or(0, u64::from);
        // More than were asked for before the fault would leave it less to do.
        holds &= u64::from(record.nodes_joined) == first && end >= all;
        why = format!("{why}, {end} of {all} at the end");
    }
    found("nodes joined", holds, why)
}

/// With how many nodes a rung begins that is scaled out.
fn scaled_from(case: &Case<'_>) -> Option<u32> {
    case.scenario.faults_of(&case.rung.name).find_map(|fault| match fault.action {
        FaultAction::ScaleOut { from } => Some(from),
        _ => None,
    })
}

/// A node that leaves takes its flights with it, and one that comes was not counted in the bound. What the scenario planned,
/// as a change of the membership or as a fault, is counted: it is no change in this sense.
pub(crate) fn stood_still(case: &Case<'_>) -> Assumption {
    let name = "membership stood still during the rung";
    let record = &case.history.record;
    let recorded = record.membership_changed.is_some() && record.nodes_joined_end.is_some();
    if case.format >= FORMAT_WITH_MEMBERS && !recorded {
        return found(name, false, "the membership at the end of the rung was not recorded".to_owned());
    }
    let (planned, net) = (record.membership.len(), net(&record.membership));
    let stray = record.moved.iter().find(|change| !is_planned(case, change));
    if let Some(stray) = stray {
        let what = if stray.left { "left" } else { "came" };
        let at_ms = (stray.at_us as f64 - record.window_start_us as f64) / 1e3;
        let why =
            format!("{} {what} {at_ms:.0} ms into the rung, which no confirmed fault explains", stray.node);
        return found(name, false, why);
    }
    let by_fault = record.moved.len();
    let before = i64::from(record.nodes_joined);
    let moved = self::net(&record.moved);
    let most = before + moved;
    let least = most + net.min(0);
    let counted = record.nodes_joined_end.is_none_or(|end| (least..=most).contains(&i64::from(end)));
    let noted = planned + by_fault == 0
        && record.notes.iter().any(|note| note.starts_with(RungRecord::MEMBERSHIP_NOTE));
    let changed = (record.membership_changed == Some(true) && by_fault == 0) || !counted || noted;
    let mut beside = String::new();
    for (count, what) in [(planned, "planned changes"), (by_fault, "that faults made")] {
        if count > 0 {
            beside = format!("{beside} beside {count} {what}");
        }
    }
    let why = match (changed, record.nodes_joined_end) {
        (true, Some(end)) => {
            format!("the membership changed during the rung{beside}: {before} nodes before, {end} after")
        }
        (true, None) => format!("the membership changed during the rung{beside}"),
        (false, Some(end)) => format!("{before} nodes before, {end} after, nobody came or went{beside}"),
        (false, None) => "an older record, which notes no change of the membership".to_owned(),
    };
    found(name, !changed, why)
}

/// How many more came than left.
fn net(changes: &[MembershipRecord]) -> i64 {
    changes.iter().map(|change| if change.left { -1 } else { 1 }).sum()
}

/// Whether a confirmed fault explains that this node left or came.
fn is_planned(case: &Case<'_>, change: &MembershipRecord) -> bool {
    let explains = |turn: &&Turn<'_>| {
        let of_nodes = turn.is_of(FaultPart::CacheNode) && turn.confirmed_us.is_some();
        let scales = matches!(turn.planned, Some(FaultAction::ScaleOut { .. }));
        let is_hit = if scales { !change.left } else { turn.hits_node(&change.node) };
        let until_us = turn.recovered_us.max(turn.over_us()).unwrap_or(u64::MAX).saturating_add(SETTLE_US);
        of_nodes && is_hit && turn.injected_us.is_some_and(|us| (us..=until_us).contains(&change.at_us))
    };
    case.turns.iter().any(|turn| explains(&turn))
}

pub(crate) fn took_part(case: &Case<'_>) -> Assumption {
    let wanted = case.scenario.fleet.nodes as usize;
    let nodes: BTreeSet<&str> = case.history.operations.iter().map(|row| row.node.as_str()).collect();
    let seen = nodes.iter().filter(|node| !node.is_empty()).count();
    if by_owner(case) {
        return found("nodes took part", seen >= 1, format!("{seen} nodes answered under owner routing"));
    }
    // Who is started again may go by another name.
    let restarted = case.turns.iter().any(|turn| turn.is_of(FaultPart::CacheNode));
    let all = seen == wanted || restarted && seen > wanted;
    found("nodes took part", all, format!("{seen} of {wanted} nodes answered requests"))
}
