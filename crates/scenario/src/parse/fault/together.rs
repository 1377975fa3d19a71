//! What a fault needs of the fleet, the rungs that it happens in, the other faults, and the window.

use super::super::claim::Facts;
use super::Read;
use crate::claim::{Claim, Property};
use crate::clash::clash;
use crate::fault::{Fault, FaultAction, FaultPart, Peer, Phase, Target, Which};
use crate::model::{Fleet, Layer, Rung, Scenario};
use crate::section::{Log, Section};

/// What must be left of the window after a fault that a claim looks back on, milliseconds.
const ROOM_AFTER_MS: u64 = 1_000;

/// What one fault needs of the fleet and of its rungs.
pub(super) fn check_alone(
    section: &mut Section<'_>,
    fault: &Fault,
    fleet: &Fleet,
    facts: &Facts<'_>,
    log: &mut Log<'_>,
) {
    let chosen_by = ["which", "some", "index", "from"].into_iter().find(|key| section.has(key));
    if let (Some(key), true) = (chosen_by, facts.is_fleet_sound)
        && section.is_sound(&[key])
        && let Some(why) = fits_fleet(&fault.action, fleet)
    {
        section.tell(log, key, why);
    }
    // Where a rung's layers are not known, nothing can be said of what they lack.
    if !facts.are_rungs_sound || !section.is_sound(&["rungs"]) {
        return;
    }
    let hit: Vec<&Rung> = facts.rungs.iter().filter(|rung| fault.hits(&rung.name)).collect();
    if let Some(Which::Holder { .. }) = fault.action.which()
        && let Some(rung) = hit.iter().find(|rung| !rung.has(Layer::Lock))
    {
        let why = format!("nobody holds a lock in rung {:?}: name in rungs those with \"lock\"", rung.name);
        section.tell(log, "which", why);
    }
    if let Some(key) = needs_lock(&fault.action)
        && !hit.iter().any(|rung| rung.has(Layer::Lock))
    {
        section.tell(log, key, "no rung that it happens in has \"lock\": nobody would notice");
    }
    if matches!(fault.action, FaultAction::ScaleOut { .. })
        && let Some(rung) = hit.iter().find(|rung| !rung.membership.is_empty())
    {
        let why = format!("the membership of rung {:?} changes by [[rung.membership]] already", rung.name);
        section.tell(log, "kind", why);
    }
}

/// The key that brings the lock into play.
fn needs_lock(action: &FaultAction) -> Option<&'static str> {
    match action {
        FaultAction::Pause(Target { part: FaultPart::LockService, .. })
        | FaultAction::Kill(Target { part: FaultPart::LockService, .. })
        | FaultAction::Stop(Target { part: FaultPart::LockService, .. }) => Some("part"),
        FaultAction::Link { to: Peer::LockService, .. } => Some("to"),
        FaultAction::LockClock { .. } => Some("kind"),
        _ => None,
    }
}

/// What is wrong with the nodes that a fault chooses, in a fleet of this size; `None` if nothing is.
pub(in super::super) fn fits_fleet(action: &FaultAction, fleet: &Fleet) -> Option<String> {
    let nodes = fleet.nodes;
    if let FaultAction::ScaleOut { from } = *action {
        let why = || format!("the fleet has {nodes} nodes in the end: it begins with fewer, not with {from}");
        return (from >= nodes).then(why);
    }
    match action.which()? {
        Which::Some(some) => (*some > nodes).then(|| format!("there are {nodes} nodes, not {some}")),
        Which::Index(index) => {
            let beyond = index.iter().find(|index| **index >= nodes)?;
            Some(format!("there is no node {beyond}: {nodes} nodes are counted from 0 to {}", nodes - 1))
        }
        Which::Minority => (nodes < 3).then(|| format!("less than half of {nodes} nodes is none")),
        Which::All | Which::Holder { .. } | Which::Leader { .. } => None,
    }
}

/// Names are unique, what happens once happens once in each rung, and no fault's repair undoes another fault.
pub(in super::super) fn check_together(faults: &[Read], fleet: &Fleet, facts: &Facts<'_>, log: &mut Log<'_>) {
    for (index, read) in faults.iter().enumerate() {
        let fault = &read.fault;
        let before = || faults[..index].iter().map(|read| &read.fault);
        if !fault.name.is_empty() && before().any(|other| other.name == fault.name) {
            log.add(&read.at, format!("there is already a fault {:?}: give each a name", fault.name));
        }
        let kind = fault.action.kind();
        if kind.happens_once() && before().any(|other| other.action.kind() == kind && other.meets(fault)) {
            log.add(&read.at, format!("there is another fault of kind = \"{kind}\" in the same rung"));
            continue;
        }
        // Of what is wrong itself nothing can be said beside others.
        let sound = faults[..index].iter().filter(|other| other.is_sound && read.is_sound);
        for other in sound.filter(|_| facts.is_fleet_sound) {
            if let Some(clash) = clash(&other.fault, fault, fleet.nodes, 0) {
                log.add(&read.at_ms, clash.told(&other.fault.name));
            }
        }
    }
}

/// Whether the window holds each fault, with room after those that a claim looks back on.
pub(in super::super) fn check_window(
    scenario: &Scenario,
    faults: &[Read],
    window_ms: u64,
    log: &mut Log<'_>,
) {
    for Read { fault, at_ms, .. } in faults.iter().filter(|read| read.is_sound) {
        let ends_ms = crate::clash::ends_ms(fault, scenario.fleet.nodes);
        let looked_back = scenario.claims.iter().find(|claim| looks_back(claim, fault, scenario));
        if ends_ms >= window_ms {
            let why = format!("it is over after {ends_ms} ms, but the window ends after {window_ms} ms");
            log.add(at_ms, why);
        } else if let Some(claim) = looked_back.filter(|_| ends_ms + ROOM_AFTER_MS > window_ms) {
            let why = format!(
                "it is over after {ends_ms} ms, and the window ends after {window_ms} ms: {} looks at what comes after it, \
                 for which {ROOM_AFTER_MS} ms must be left",
                claim.property
            );
            log.add(at_ms, why);
        }
    }
}

/// Whether a claim is about the time after this fault.
fn looks_back(claim: &Claim, fault: &Fault, scenario: &Scenario) -> bool {
    let is_after = claim.phase == Some(Phase::After) || claim.property == Property::RecoveryMs;
    is_after
        && match &claim.rung {
            Some(rung) => fault.hits(rung),
            None => scenario.rungs.iter().any(|rung| fault.hits(&rung.name)),
        }
}
