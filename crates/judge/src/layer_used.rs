//! Assumptions about layers other than the lock: a bound that holds while its layer did nothing says nothing about the layer.

use std::collections::{BTreeMap, BTreeSet};

use herd_history::{Reason, Served};
use herd_scenario::Layer;

use crate::Case;
use crate::assumptions::{Assumption, found};
use crate::boundary::own_rows;

/// One for each layer of the rung that leaves a mark where it works.
pub(crate) fn all(case: &Case<'_>) -> Vec<Assumption> {
    let served = |wanted: Served| case.history.operations.iter().filter(|row| row.served == wanted).count();
    let mut all = Vec::new();
    if case.rung.has(Layer::Early) {
        let early = own_rows(case.history).filter(|row| row.reason == Reason::Early).count();
        all.push(found("early recomputation used", early > 0, format!("{early} rebuilds were early")));
    }
    if case.rung.has(Layer::Local) {
        let local = served(Served::HitLocal);
        all.push(found("l1 used", local > 0, format!("{local} answers came from the process's own tier")));
    }
    if case.rung.has(Layer::KeyFilter) && case.scenario.workload.absent.is_some() {
        let filtered = served(Served::Filtered);
        all.push(found("key filter used", filtered > 0, format!("{filtered} reads ended at the filter")));
    }
    if case.rung.has(Layer::OwnerRouting)
        && case.rung.membership.is_empty()
        && case.history.record.moved.is_empty()
    {
        all.push(one_owner(case));
    }
    all
}

/// While the membership stands still each key is rebuilt by one node: anything else was not routed by owner.
fn one_owner(case: &Case<'_>) -> Assumption {
    let mut nodes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in own_rows(case.history) {
        nodes.entry(&row.key).or_default().insert(&row.node);
    }
    let shared = nodes.iter().find(|(_, nodes)| nodes.len() > 1);
    let why = match shared {
        Some((key, nodes)) => format!("{key} was rebuilt by {} nodes", nodes.len()),
        None => format!("each of {} keys was rebuilt by one node", nodes.len()),
    };
    found("owner routing used", shared.is_none(), why)
}
