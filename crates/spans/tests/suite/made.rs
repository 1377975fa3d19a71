//! Made spans.

use herd_spans::json::{Attribute, Link, Resource, Span, Value};

/// A process of the fleet.
pub(crate) fn process(service: &str, instance: &str) -> Resource {
    let said = |key: &str, text: &str| Attribute::new(key, Value::StringValue(text.to_owned()));
    Resource { attributes: vec![said("service.name", service), said("service.instance.id", instance)] }
}

/// A span of a trace that begins with these digits, one millisecond long.
pub(crate) fn span(trace: &str, id: u64, parent: u64, name: &str, start: u64) -> Span {
    Span {
        trace_id: format!("{trace:0<32}"),
        span_id: format!("{id:016x}"),
        parent_span_id: if parent == 0 { String::new() } else { format!("{parent:016x}") },
        name: name.to_owned(),
        kind: 2,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1_000_000,
        ..Span::default()
    }
}

/// The same span, which waited for a rebuild.
pub(crate) fn waited(mut span: Span, rebuild: &str) -> Span {
    span.links.push(Link { trace_id: format!("{rebuild:0<32}"), span_id: format!("{:016x}", 1) });
    span
}
