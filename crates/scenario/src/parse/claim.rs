//! One claim.

use toml_edit::Item;

use crate::claim::{AtMost, Claim, Property, Scope};
use crate::fault::{Fault, FaultAction, LinkRule, Phase, Which};
use crate::model::{Expect, Layer, Origin, Rung};
use crate::section::{Log, Section};
use crate::words::{nearest, quoted, shown};
use crate::workload::{AbsentIds, Workload};

/// What claims can be about.
pub(super) struct Facts<'a> {
    pub(super) rungs: &'a [Rung],
    pub(super) faults: &'a [Fault],
    pub(super) workload: &'a Workload,
    pub(super) origin: &'a Origin,
    /// Whether nothing was wrong with the fleet, the load, the rungs and the faults: of what is, no more can be said.
    pub(super) is_fleet_sound: bool,
    pub(super) is_load_sound: bool,
    pub(super) are_rungs_sound: bool,
    pub(super) are_faults_sound: bool,
}

impl Facts<'_> {
    /// Whether it is sure that no rung has this name: not while one has no name that could be read.
    pub(super) fn has_no_rung(&self, name: &str) -> bool {
        !name.is_empty() && self.rungs.iter().all(|rung| !rung.name.is_empty() && rung.name != name)
    }
}

pub(super) fn claim(mut section: Section<'_>, facts: &Facts<'_>, log: &mut Log<'_>) -> Claim {
    let rung = section.has("rung").then(|| section.text(log, "rung", 40));
    let named = |name: &str| facts.rungs.iter().find(|rung| rung.name == name);
    if let Some(name) = rung.as_deref().filter(|name| facts.has_no_rung(name)) {
        let hint = nearest(name, facts.rungs.iter().map(|rung| rung.name.as_str()));
        section.tell(log, "rung", format!("there is no rung {name:?}{hint}"));
    }
    let property = section.required_choice::<Property>(log, "property");
    let scopes = property.map_or(&[][..], Property::scopes);
    let scope = section.choice(log, "scope", Some(scopes.first().copied().unwrap_or(Scope::Fleet)));
    if let Some(property) = property {
        if section.is_sound(&["scope"]) && !scopes.contains(&scope) {
            let message = format!("{property} is counted per {}, not {scope}", quoted(scopes));
            section.tell(log, "scope", message);
        }
        if let Some(lacks) = lacks(property, rung.as_deref().and_then(named), facts) {
            section.tell(log, "property", format!("{property} counts nothing here: {lacks}"));
        }
    }
    let phase = section.optional_choice::<Phase>(log, "phase");
    if let Some(property) = property {
        check_faults(&mut section, property, phase, rung.as_deref(), facts, log);
    }
    let expect = section.choice(log, "expect", Some(Expect::Valid));
    let at_most = at_most(&mut section, property, log);
    section.finish(log);
    Claim { rung, property: property.unwrap_or(Property::RebuildsPerBoundary), scope, phase, expect, at_most }
}

/// Whether there are the faults that the claim is about.
fn check_faults(
    section: &mut Section<'_>,
    property: Property,
    phase: Option<Phase>,
    rung: Option<&str>,
    facts: &Facts<'_>,
    log: &mut Log<'_>,
) {
    let key = if phase.is_some() { "phase" } else { "property" };
    if phase.is_some() && !property.has_phases() {
        section.tell(log, "phase", format!("{property} is counted over the whole rung"));
        return;
    }
    // A fault that could not be read may be the one that is missed here.
    if !facts.are_faults_sound || !facts.are_rungs_sound || !section.is_sound(&["rung", "phase"]) {
        return;
    }
    let mut of_claim = facts.faults.iter().filter(|fault| match rung {
        Some(rung) => fault.hits(rung),
        None => facts.rungs.iter().any(|rung| fault.hits(&rung.name)),
    });
    if property == Property::TakeoverMs {
        if !of_claim.any(|fault| ends_holder(&fault.action)) {
            let lacks = "no [[fault]] pauses, kills, stops or cuts off which = \"holder\" in these rungs";
            section.tell(log, "property", format!("{property} counts nothing here: {lacks}"));
        }
    } else if (phase.is_some() || property == Property::RecoveryMs) && of_claim.next().is_none() {
        section.tell(log, key, "no [[fault]] happens in these rungs");
    }
}

/// Whether a fault ends the work of who holds a lock.
fn ends_holder(action: &FaultAction) -> bool {
    let cuts_off = match action {
        FaultAction::Link { rule, .. } => matches!(rule, LinkRule::BlackHole | LinkRule::Reset),
        _ => true,
    };
    cuts_off && matches!(action.which(), Some(Which::Holder { .. }))
}

fn at_most(section: &mut Section<'_>, property: Option<Property>, log: &mut Log<'_>) -> AtMost {
    let item = section.raw("at_most");
    if item.is_none_or(|item| item.as_str() == Some("theory")) {
        if let Some(property) = property.filter(|property| !property.has_theory()) {
            let why = format!("must be a whole number from 0: theory gives no bound of {property}");
            section.tell(log, "at_most", why);
        }
        return AtMost::Theory;
    }
    if let Some(number) = item.and_then(Item::as_integer).and_then(|n| u64::try_from(n).ok()) {
        return AtMost::Number(number);
    }
    let message =
        format!("must be \"theory\" or a whole number from 0, not {}", item.map_or_else(String::new, shown));
    section.tell(log, "at_most", message);
    AtMost::Theory
}

/// What the load, the origin or the rung lacks for the property to count anything.
fn lacks(property: Property, rung: Option<&Rung>, facts: &Facts<'_>) -> Option<&'static str> {
    let absent = facts.workload.absent;
    match property {
        Property::NegativeQueries if !absent.is_some_and(|a| matches!(a.ids, AbsentIds::Fixed { .. })) => {
            Some("no [workload.absent] with ids = \"fixed\"")
        }
        Property::AbsentKeyQueries if absent.is_none() => Some("no [workload.absent]"),
        Property::AbsenceOutlivesInsert if facts.workload.insert_every_ms.is_none() => {
            Some("no insert_every_ms in [workload]")
        }
        Property::RebuildsWhileFailing if facts.origin.failing.is_none() => Some("no [origin.failing]"),
        Property::EarlyRebuildsPerWindow if rung.is_some_and(|rung| !rung.has(Layer::Early)) => {
            Some("the rung's layers do not name \"xfetch\"")
        }
        _ => None,
    }
}
