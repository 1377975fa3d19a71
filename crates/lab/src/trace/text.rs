//! A picture for people.

use super::picture::{Kind, Picture, Rebuild, Shown, Waiter};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Waiters that are listed.
const WAITERS_MAX: usize = 60;
/// Characters of a value that are shown.
const VALUE_CHARS_MAX: usize = 72;

/// What every span of its kind says, or what its name says already.
const SILENT: [&str; 12] = [
    "rpc.system.name",
    "rpc.method",
    "db.operation.name",
    "db.collection.name",
    "db.query.text",
    "db.stored_procedure.name",
    "http.request.method",
    "http.route",
    "error.type",
    "herd.cache_key",
    "herd.lease.name",
    "herd.lease.owner",
];

pub(super) fn of(picture: &Picture) -> String {
    let mut page = String::new();
    let what = match picture.kind {
        Kind::Request => "request",
        Kind::Rebuild => "rebuild",
        Kind::Flight => "a flight that waited for another process",
        Kind::Fault => "fault",
        Kind::Other => "trace",
    };
    line(&mut page, &format!("{what} {} · rung {}", picture.trace, picture.rung));
    line(&mut page, "");
    tree(&mut page, &picture.spans);
    for rebuild in &picture.rebuilds {
        line(&mut page, "");
        line(&mut page, &heading(picture, rebuild));
        line(&mut page, "");
        if rebuild.spans.is_empty() {
            line(&mut page, "  (none of its spans was kept)");
        } else {
            tree(&mut page, &rebuild.spans);
        }
    }
    if !picture.waiters.is_empty() || picture.kind == Kind::Rebuild {
        line(&mut page, "");
        waiters(&mut page, &picture.waiters);
    }
    page
}

fn heading(picture: &Picture, rebuild: &Rebuild) -> String {
    let says = |key: &str, text: &str| picture.spans.iter().any(|span| said(span, key) == Some(text));
    match rebuild.kind {
        Kind::Flight => format!("its process's own flight {}, which waited for another's", rebuild.trace),
        // Its own was in vain: what it was served another one made.
        _ if !says("herd.rebuild.trace_id", &rebuild.trace) => {
            format!("its process's own rebuild {}", rebuild.trace)
        }
        _ if says("herd.served", "led") => format!("led rebuild {}", rebuild.trace),
        _ => format!("waited on rebuild {}", rebuild.trace),
    }
}

/// What a span, or else one below it, says about something.
fn said<'a>(span: &'a Shown, key: &str) -> Option<&'a str> {
    let own = span.attributes.get(key).and_then(serde_json::Value::as_str);
    own.or_else(|| span.children.iter().find_map(|child| said(child, key)))
}

fn tree(page: &mut String, spans: &[Shown]) {
    let mut rows = Vec::new();
    let mut stack: Vec<(usize, &Shown)> = spans.iter().rev().map(|span| (0, span)).collect();
    while let Some((depth, span)) = stack.pop() {
        rows.push((depth, span));
        stack.extend(span.children.iter().rev().map(|child| (depth + 1, child)));
    }
    let who = |depth: usize, span: &Shown| format!("{}{}", "  ".repeat(depth), span.instance);
    let wide = |of: &dyn Fn(usize, &Shown) -> usize| rows.iter().map(|(depth, span)| of(*depth, span)).max();
    let who_wide = wide(&|depth, span| who(depth, span).chars().count()).unwrap_or(0);
    let name_wide = wide(&|_, span| span.name.chars().count()).unwrap_or(0);
    line(page, &format!("  {:>9}  {:>9}  {:<who_wide$}  span", "offset ms", "took ms", "process"));
    for (depth, span) in rows {
        let (offset, took) = (span.offset_ms, span.took_ms);
        let said = attributes(&span.attributes);
        let row = format!(
            "  {offset:>9.2}  {took:>9.2}  {:<who_wide$}  {:<name_wide$}  {said}",
            who(depth, span),
            span.name
        );
        line(page, row.trim_end());
        let indent = " ".repeat(who_wide + 2);
        if let Some(error) = &span.error {
            line(page, &format!("  {:>9}  {:>9}  {indent}! error: {}", "", "", cut(error)));
        }
        for event in &span.events {
            let said = attributes(&event.attributes);
            let row = format!("  {:>9.2}  {:>9}  {indent}* {}  {said}", event.offset_ms, "", event.name);
            line(page, row.trim_end());
        }
    }
}

fn waiters(page: &mut String, waiters: &[Waiter]) {
    let requests = waiters.iter().filter(|waiter| waiter.kind == Kind::Request).count();
    let flights = waiters.len() - requests;
    let of_flights = if flights > 0 { format!(", {flights} others") } else { String::new() };
    line(page, &format!("led or waited for by {requests} requests{of_flights} of those kept"));
    if waiters.is_empty() {
        return;
    }
    line(page, "");
    let node_wide = waiters.iter().map(|waiter| waiter.node.len()).max().unwrap_or(0).max(4);
    line(
        page,
        &format!("  {:>9}  {:>9}  {:<node_wide$}  {:<14}  trace", "offset ms", "took ms", "node", "served"),
    );
    for waiter in waiters.iter().take(WAITERS_MAX) {
        let Waiter { trace, node, served, offset_ms, took_ms, .. } = waiter;
        line(page, &format!("  {offset_ms:>9.2}  {took_ms:>9.2}  {node:<node_wide$}  {served:<14}  {trace}"));
    }
    if waiters.len() > WAITERS_MAX {
        line(page, &format!("  and {} more (--json lists all)", waiters.len() - WAITERS_MAX));
    }
}

fn attributes(said: &BTreeMap<String, serde_json::Value>) -> String {
    let shown = said.iter().filter(|(key, value)| {
        let fine = key.as_str() == "rpc.response.status_code" && value.as_str() == Some("OK");
        !SILENT.contains(&key.as_str()) && !fine
    });
    let one = |(key, value): (&String, &serde_json::Value)| {
        let text = value.as_str().map_or_else(|| rounded(value), ToOwned::to_owned);
        let text = cut(&text);
        let quoted = if text.contains(' ') { format!("{text:?}") } else { text };
        format!("{}={quoted}", key.strip_prefix("herd.").unwrap_or(key))
    };
    shown.map(one).collect::<Vec<_>>().join(" ")
}

fn rounded(value: &serde_json::Value) -> String {
    match value.as_f64() {
        Some(number) if value.is_f64() => format!("{number:.2}"),
        _ => value.to_string(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn line(page: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{text}");
}
