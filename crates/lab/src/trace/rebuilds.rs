//! The rebuilds of a run, boundary by boundary: as the spans have them, beside the ledger's count.

use super::find;
use super::picture::millis;
use crate::{
    cli::TraceArgs,
    exit::{Exit, UsageError},
    out,
};
use herd_spans::json::Value;
use herd_spans::{Found, Spans};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Boundaries shown of a rung: one with thousands of keys has thousands.
const BOUNDARIES_MAX: usize = 40;

/// The rebuilds of one expiry of one value. Field names are an interface.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Boundary {
    rung: String,
    key: String,
    generation: i64,
    /// Rebuilds that the ledger counts, fills on command left out.
    in_ledger: u64,
    /// Requests of which a span was kept that led one of them or waited for it.
    requests: usize,
    began_unix_nanos: u64,
    longest_ms: f64,
    rebuilds: Vec<One>,
}

/// A rebuild: what the origin saw of it.
#[derive(Clone, Debug, Serialize)]
struct One {
    trace: String,
    node: String,
    reason: String,
    token: i64,
    /// After the first one of its boundary.
    offset_ms: f64,
    took_ms: f64,
    requests: usize,
    #[serde(skip)]
    began_unix_nanos: u64,
}

/// Lists them.
///
/// # Errors
/// There is no such rung.
pub(super) fn show(dir: &Path, spans: &Spans, args: &TraceArgs) -> anyhow::Result<Exit> {
    let rungs: BTreeSet<&str> = spans.all().iter().map(|found| found.rung.as_str()).collect();
    if let Some(rung) = args.rung.as_deref().filter(|rung| !rungs.contains(rung)) {
        let there: Vec<&str> = rungs.into_iter().collect();
        let why = format!("--rung {rung}: {} has spans of {}", dir.display(), there.join(", "));
        return Err(UsageError(why).into());
    }
    let boundaries: Vec<Boundary> = of(dir, spans)
        .into_iter()
        .filter(|boundary| args.rung.as_ref().is_none_or(|rung| *rung == boundary.rung))
        .filter(|boundary| args.key.as_ref().is_none_or(|key| *key == boundary.key))
        .filter(|boundary| args.generation.is_none_or(|generation| generation == boundary.generation))
        .collect();
    if args.json {
        out::say(serde_json::to_string_pretty(&boundaries)?);
    } else {
        out::say(format_args!("{}\n", dir.display()));
        lines(&boundaries, args.generation.is_some()).into_iter().all(out::say);
    }
    Ok(if boundaries.is_empty() { Exit::Unknown } else { Exit::Expected })
}

/// Rungs in the order in which they were driven, boundaries in order of time.
pub(super) fn of(dir: &Path, spans: &Spans) -> Vec<Boundary> {
    let mut by_boundary: BTreeMap<(&str, String, i64), Vec<One>> = BTreeMap::new();
    for found in spans.all().iter().filter(|found| is_fetch(found)) {
        let key = found.span.text("herd.key").unwrap_or_default().to_owned();
        let of = (found.rung.as_str(), key, whole(found, "herd.generation"));
        by_boundary.entry(of).or_default().push(one(found, spans));
    }
    let rungs: BTreeSet<&str> = by_boundary.keys().map(|(rung, ..)| *rung).collect();
    let ledgers: BTreeMap<&str, _> = rungs.into_iter().map(|rung| (rung, find::ledger(dir, rung))).collect();
    let mut boundaries = Vec::new();
    for ((rung, key, generation), mut rebuilds) in by_boundary {
        rebuilds.sort_by_key(|one| one.began_unix_nanos);
        let began_unix_nanos = rebuilds.first().map_or(0, |one| one.began_unix_nanos);
        for one in &mut rebuilds {
            one.offset_ms = millis(began_unix_nanos, one.began_unix_nanos);
        }
        let of = (key, generation);
        let in_ledger = ledgers.get(rung).and_then(|ledger| ledger.get(&of)).copied().unwrap_or(0);
        boundaries.push(Boundary {
            rung: rung.to_owned(),
            in_ledger,
            requests: rebuilds.iter().map(|one| one.requests).sum(),
            began_unix_nanos,
            longest_ms: rebuilds.iter().map(|one| one.took_ms).fold(0.0, f64::max),
            rebuilds,
            key: of.0,
            generation,
        });
    }
    let mut first: BTreeMap<String, u64> = BTreeMap::new();
    for boundary in &boundaries {
        let at = first.entry(boundary.rung.clone()).or_insert(u64::MAX);
        *at = boundary.began_unix_nanos.min(*at);
    }
    boundaries.sort_by_key(|boundary| (first[&boundary.rung], boundary.began_unix_nanos));
    boundaries
}

/// The origin's own span of a fetch that was made for readers; fills on command are no herd.
fn is_fetch(found: &Found) -> bool {
    found.service == "herd-origin"
        && found.span.name == "herd.v1.Origin/Fetch"
        && found.span.text("herd.rebuild.reason") != Some("warm")
}

fn one(found: &Found, spans: &Spans) -> One {
    let span = &found.span;
    let text = |key: &str| span.text(key).unwrap_or_default().to_owned();
    One {
        trace: span.trace_id.clone(),
        node: text("herd.node"),
        reason: text("herd.rebuild.reason"),
        token: whole(found, "herd.fencing_token"),
        offset_ms: 0.0,
        took_ms: millis(span.start_time_unix_nano, span.end_time_unix_nano),
        requests: spans.linking_to(&span.trace_id).count(),
        began_unix_nanos: span.start_time_unix_nano,
    }
}

fn whole(found: &Found, key: &str) -> i64 {
    match found.span.get(key) {
        Some(Value::IntValue(number)) => *number,
        _ => 0,
    }
}

fn lines(boundaries: &[Boundary], each: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rung = None;
    let mut shown = 0;
    let key_wide = boundaries.iter().map(|boundary| boundary.key.len()).max().unwrap_or(0).max(4);
    for boundary in boundaries {
        let Boundary { key, generation, in_ledger, requests, longest_ms, rebuilds, .. } = boundary;
        if rung != Some(&boundary.rung) {
            if rung.is_some() {
                lines.push(String::new());
            }
            rung = Some(&boundary.rung);
            shown = 0;
            lines.push(boundary.rung.clone());
            lines.push(format!(
                "  {:<key_wide$}  {:>10}  {:>8}  {:>6}  {:>8}  {:>10}  first rebuild",
                "key", "generation", "rebuilds", "ledger", "requests", "longest ms"
            ));
        }
        shown += 1;
        if shown > BOUNDARIES_MAX {
            if shown == BOUNDARIES_MAX + 1 {
                lines.push("  and more (--json lists all)".to_owned());
            }
            continue;
        }
        let first = rebuilds.first().map_or("", |one| one.trace.as_str());
        lines.push(format!(
            "  {key:<key_wide$}  {generation:>10}  {:>8}  {in_ledger:>6}  {requests:>8}  {longest_ms:>10.1}  {first}",
            rebuilds.len()
        ));
        if each {
            lines.push(String::new());
            lines.extend(one_by_one(rebuilds));
            lines.push(String::new());
        }
    }
    if lines.is_empty() {
        lines.push("no rebuild".to_owned());
    }
    lines
}

fn one_by_one(rebuilds: &[One]) -> Vec<String> {
    let node_wide = rebuilds.iter().map(|one| one.node.len()).max().unwrap_or(0).max(4);
    let head = format!(
        "    {:>9}  {:>8}  {:<node_wide$}  {:<14}  {:>6}  {:>8}  trace",
        "offset ms", "took ms", "node", "reason", "token", "requests"
    );
    let row = |one: &One| {
        let One { trace, node, reason, token, offset_ms, took_ms, requests, .. } = one;
        format!(
            "    {offset_ms:>9.2}  {took_ms:>8.2}  {node:<node_wide$}  {reason:<14}  {token:>6}  {requests:>8}  {trace}"
        )
    };
    std::iter::once(head).chain(rebuilds.iter().map(row)).collect()
}
