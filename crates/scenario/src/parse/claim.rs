//! One claim.

use crate::claim::{AtMost, Claim, Property, Scope};
use crate::model::{Expect, Layer, Origin, Rung};
use crate::section::{Log, Section, nearest, quoted, shown};
use crate::workload::{AbsentIds, Workload};

/// What claims can be about.
pub(super) struct Facts<'a> {
    pub(super) rungs: &'a [Rung],
    pub(super) workload: &'a Workload,
    pub(super) origin: &'a Origin,
}

pub(super) fn claim(mut section: Section<'_>, facts: &Facts<'_>, log: &mut Log<'_>) -> Claim {
    let rung = section.has("rung").then(|| section.text(log, "rung", 40));
    let named = |name: &str| facts.rungs.iter().find(|rung| rung.name == name);
    if let Some(name) = rung.as_deref().filter(|name| !name.is_empty() && named(name).is_none()) {
        let hint = nearest(name, facts.rungs.iter().map(|rung| rung.name.as_str()));
        log.add(&section.at_key("rung"), format!("there is no rung {name:?}{hint}"));
    }
    let property = section.required_choice::<Property>(log, "property");
    let scopes = property.map_or(&[][..], Property::scopes);
    let scope = section.choice(log, "scope", Some(scopes.first().copied().unwrap_or(Scope::Fleet)));
    if let Some(property) = property {
        if !scopes.contains(&scope) {
            let message = format!("{property} is counted per {}, not {scope}", quoted(scopes));
            log.add(&section.at_key("scope"), message);
        }
        if let Some(lacks) = lacks(property, rung.as_deref().and_then(named), facts) {
            log.add(&section.at_key("property"), format!("{property} counts nothing here: {lacks}"));
        }
    }
    let at_most = at_most(&mut section, log);
    section.finish(log);
    Claim {
        rung,
        property: property.unwrap_or(Property::RebuildsPerBoundary),
        scope,
        phase: None,
        expect: Expect::Valid,
        at_most,
    }
}

fn at_most(section: &mut Section<'_>, log: &mut Log<'_>) -> AtMost {
    let Some(item) = section.raw("at_most") else { return AtMost::Theory };
    if item.as_str() == Some("theory") {
        return AtMost::Theory;
    }
    if let Some(number) = item.as_integer().and_then(|n| u64::try_from(n).ok()) {
        return AtMost::Number(number);
    }
    let message = format!("must be \"theory\" or a whole number from 0, not {}", shown(item));
    log.add(&section.at_key("at_most"), message);
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
