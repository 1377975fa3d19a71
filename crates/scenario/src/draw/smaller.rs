//! A failing plan reduced: what is one step smaller than it.

use toml_edit::{DocumentMut, Item, TableLike, Value};

use crate::edit::tables_of;
use crate::fault::{Fault, FaultAction, FaultPart, Target, Which};
use crate::model::Scenario;

/// Holds are not halved below this, milliseconds: nothing can be seen of them any more.
const HOLD_LEAST_MS: u32 = 20;

/// The texts that are one step smaller than this plan, the most promising first: without one of its faults (the last first); one turn of
/// a fault instead of many; its hold halved, down to 20 ms; one node instead of several. Each is a scenario that parses; where none is
/// left, the plan is as small as it gets. Nothing of a text that is no scenario.
///
/// A caller who goes on from a candidate that still fails, and asks again, comes to an end: each has fewer faults, turns, milliseconds
/// or nodes.
#[must_use]
pub fn smaller(text: &str) -> Vec<String> {
    let (Ok(scenario), Ok(document)) = (Scenario::parse("plan", text), text.parse::<DocumentMut>()) else {
        return Vec::new();
    };
    let mut all: Vec<String> = Vec::new();
    for index in (0..scenario.faults.len()).rev() {
        all.push(without(&document, index));
    }
    let each = |change: fn(&mut dyn TableLike, &Fault) -> bool| {
        let numbered = scenario.faults.iter().enumerate();
        let document = &document;
        numbered.filter_map(move |(index, fault)| changed(document, index, |table| change(table, fault)))
    };
    all.extend(each(one_turn));
    all.extend(each(half_the_hold));
    all.extend(each(one_node));
    all.retain(|text| Scenario::parse("plan", text).is_ok());
    all
}

fn without(document: &DocumentMut, index: usize) -> String {
    let mut document = document.clone();
    let is_last = match document.get_mut("fault") {
        Some(Item::ArrayOfTables(tables)) if index < tables.len() => {
            tables.remove(index);
            tables.is_empty()
        }
        Some(Item::Value(Value::Array(tables))) if index < tables.len() => {
            tables.remove(index);
            tables.is_empty()
        }
        _ => false,
    };
    if is_last {
        document.remove("fault");
    }
    document.to_string()
}

/// The text with one fault's table changed; `None` if there was nothing to change.
fn changed(
    document: &DocumentMut,
    index: usize,
    change: impl FnOnce(&mut dyn TableLike) -> bool,
) -> Option<String> {
    let mut document = document.clone();
    let table = tables_of(document.get_mut("fault")?).into_iter().nth(index)?;
    change(table).then(|| document.to_string())
}

fn one_turn(table: &mut dyn TableLike, fault: &Fault) -> bool {
    table.remove("times");
    table.remove("every_ms");
    fault.times > 1
}

fn half_the_hold(table: &mut dyn TableLike, fault: &Fault) -> bool {
    let half_ms = fault.for_ms / 2;
    put(table, "for_ms", half_ms);
    fault.action.has_repair() && half_ms >= HOLD_LEAST_MS
}

fn one_node(table: &mut dyn TableLike, fault: &Fault) -> bool {
    let nodes = match &fault.action {
        FaultAction::Pause(Target { part, which })
        | FaultAction::Kill(Target { part, which })
        | FaultAction::Stop(Target { part, which })
            if *part == FaultPart::CacheNode =>
        {
            which
        }
        FaultAction::Link { nodes, .. } => nodes,
        _ => return false,
    };
    match nodes {
        Which::Index(index) if index.len() > 1 => {
            table.insert("index", Item::Value(Value::from_iter([i64::from(index[0])])));
            true
        }
        Which::All | Which::Minority => {
            table.remove("which");
            put(table, "some", 1);
            true
        }
        Which::Some(some) => {
            put(table, "some", 1);
            *some > 1
        }
        Which::Index(_) | Which::Holder { .. } | Which::Leader { .. } => false,
    }
}

fn put(table: &mut dyn TableLike, key: &str, number: u32) {
    table.insert(key, Item::Value(Value::from(i64::from(number))));
}
