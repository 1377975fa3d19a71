//! What is shown of a trace, as data: its tree, the rebuilds that it waited for, or who waited for it.

use herd_spans::json::{Attribute, STATUS_ERROR, Value};
use herd_spans::{Node, Spans, Tree};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Rebuilds shown below a request.
const REBUILDS_MAX: usize = 8;

/// A trace and what hangs together with it. Field names are an interface.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Picture {
    /// 32 hexadecimal digits.
    pub(super) trace: String,
    /// What it is of.
    pub(super) kind: Kind,
    /// In whose file it stands.
    pub(super) rung: String,
    /// Its spans.
    pub(super) spans: Vec<Shown>,
    /// What it links to: the rebuilds that it waited for, or led.
    pub(super) rebuilds: Vec<Rebuild>,
    /// Who links to it.
    pub(super) waiters: Vec<Waiter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// A client's, from the edge on.
    Request,
    /// Of a value.
    Rebuild,
    /// A wait for another process's rebuild.
    Flight,
    /// What the lab did to the fleet.
    Fault,
    /// Anything else.
    Other,
}

/// A span. Times are milliseconds after the beginning of the trace that was asked for.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Shown {
    pub(super) service: String,
    pub(super) instance: String,
    pub(super) name: String,
    pub(super) offset_ms: f64,
    pub(super) took_ms: f64,
    pub(super) error: Option<String>,
    pub(super) attributes: BTreeMap<String, serde_json::Value>,
    pub(super) events: Vec<ShownEvent>,
    pub(super) children: Vec<Shown>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ShownEvent {
    pub(super) name: String,
    pub(super) offset_ms: f64,
    pub(super) attributes: BTreeMap<String, serde_json::Value>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Rebuild {
    pub(super) trace: String,
    pub(super) kind: Kind,
    /// Empty where none of its spans was kept.
    pub(super) spans: Vec<Shown>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Waiter {
    pub(super) trace: String,
    pub(super) kind: Kind,
    pub(super) node: String,
    pub(super) served: String,
    pub(super) offset_ms: f64,
    pub(super) took_ms: f64,
}

impl Picture {
    /// The picture of a trace that is there.
    pub(super) fn of(spans: &Spans, trace: &str) -> Self {
        let tree = spans.tree(trace);
        let zero = tree.as_ref().map_or(0, Tree::began);
        let mut rebuilds: Vec<Rebuild> = linked(tree.as_ref())
            .into_iter()
            .take(REBUILDS_MAX)
            .map(|trace| {
                let tree = spans.tree(&trace);
                Rebuild { kind: kind_of(tree.as_ref()), spans: shown(tree.as_ref(), zero), trace }
            })
            .collect();
        // Who led a rebuild in its own process first, as it reads: the wait, then what was waited for.
        rebuilds.sort_by_key(|rebuild| rebuild.kind == Kind::Rebuild);
        let mut waiters: Vec<Waiter> = spans
            .linking_to(trace)
            .filter_map(|waiter| spans.tree(waiter))
            .map(|tree| waiter(&tree, zero))
            .collect();
        waiters.sort_by(|a, b| a.offset_ms.total_cmp(&b.offset_ms));
        let rung =
            tree.as_ref().and_then(Tree::root).map_or_else(String::new, |root| root.found.rung.clone());
        let kind = kind_of(tree.as_ref());
        Self { trace: trace.to_owned(), kind, rung, spans: shown(tree.as_ref(), zero), rebuilds, waiters }
    }
}

/// Other traces that a tree links to or names, in the order in which they are met.
fn linked(tree: Option<&Tree<'_>>) -> Vec<String> {
    let Some(tree) = tree else { return Vec::new() };
    let mut seen = BTreeSet::from([tree.trace.clone()]);
    let mut traces = Vec::new();
    for (_, found) in tree.walk() {
        let named = found.span.text("herd.rebuild.trace_id").into_iter();
        for to in found.span.links.iter().map(|link| link.trace_id.as_str()).chain(named) {
            if seen.insert(to.to_owned()) {
                traces.push(to.to_owned());
            }
        }
    }
    traces
}

pub(super) fn kind_of(tree: Option<&Tree<'_>>) -> Kind {
    let Some(root) = tree.and_then(Tree::root) else { return Kind::Other };
    let (service, name) = (root.found.service.as_str(), root.found.span.name.as_str());
    match (service, name) {
        ("herd-edge", _) => Kind::Request,
        (_, "rebuild") => Kind::Rebuild,
        (_, "flight") => Kind::Flight,
        ("herd-lab", _) => Kind::Fault,
        // The edge's span was not kept.
        (_, name) if name.starts_with("herd.v1.CacheNode/") => Kind::Request,
        _ => Kind::Other,
    }
}

fn shown(tree: Option<&Tree<'_>>, zero: u64) -> Vec<Shown> {
    tree.map_or_else(Vec::new, |tree| tree.roots.iter().map(|node| show(node, zero)).collect())
}

fn show(node: &Node<'_>, zero: u64) -> Shown {
    let span = &node.found.span;
    let failed = (span.status.code == STATUS_ERROR).then(|| span.status.message.clone());
    Shown {
        service: node.found.service.clone(),
        instance: node.found.instance.clone(),
        name: span.name.clone(),
        offset_ms: millis(zero, span.start_time_unix_nano),
        took_ms: millis(span.start_time_unix_nano, span.end_time_unix_nano),
        error: failed,
        attributes: said(&span.attributes),
        events: span
            .events
            .iter()
            .map(|event| ShownEvent {
                name: event.name.clone(),
                offset_ms: millis(zero, event.time_unix_nano),
                attributes: said(&event.attributes),
            })
            .collect(),
        children: node.children.iter().map(|child| show(child, zero)).collect(),
    }
}

fn waiter(tree: &Tree<'_>, zero: u64) -> Waiter {
    let spans = tree.walk();
    let text =
        |key: &str| spans.iter().find_map(|(_, found)| found.span.text(key)).unwrap_or_default().to_owned();
    let node = spans.iter().find(|(_, found)| found.service == "herd-cache-node");
    let root = tree.root().map(|root| &root.found.span);
    Waiter {
        trace: tree.trace.clone(),
        kind: kind_of(Some(tree)),
        node: node.map_or_else(|| text("herd.node"), |(_, found)| found.instance.clone()),
        served: text("herd.served"),
        offset_ms: root.map_or(0.0, |span| millis(zero, span.start_time_unix_nano)),
        took_ms: root.map_or(0.0, |span| millis(span.start_time_unix_nano, span.end_time_unix_nano)),
    }
}

fn said(attributes: &[Attribute]) -> BTreeMap<String, serde_json::Value> {
    let plain = |value: &Value| match value {
        Value::StringValue(text) => text.as_str().into(),
        Value::BoolValue(yes) => (*yes).into(),
        Value::IntValue(number) => (*number).into(),
        Value::DoubleValue(number) => (*number).into(),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), plain(&attribute.value))).collect()
}

/// From one time to another, milliseconds.
#[expect(clippy::cast_precision_loss, reason = "differences within a run")]
pub(super) fn millis(from: u64, to: u64) -> f64 {
    if to >= from { (to - from) as f64 / 1e6 } else { -((from - to) as f64 / 1e6) }
}
