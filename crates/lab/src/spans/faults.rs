//! A trace for each turn of a fault: what was done to whom, and what was seen of it, as events of one span.

use herd_history::{FaultPhase, FaultRecord};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Event, span::SpanKind, status::StatusCode},
};
use std::{collections::BTreeMap, path::Path, time::Duration};
use tonic::transport::Endpoint;

/// How long the export may take.
const EXPORT_MAX: Duration = Duration::from_secs(2);
/// Steps that are read; a run has far fewer.
const STEPS_MAX: usize = 100_000;

/// The spans of the faults that a run's folder records; `None` where there were none.
pub(super) fn spans(dir: &Path) -> Option<ResourceSpans> {
    let text = std::fs::read_to_string(dir.join("faults.jsonl")).ok()?;
    // A line that was cut off is told by whoever reads the history.
    let steps = text.lines().take(STEPS_MAX).filter_map(|line| serde_json::from_str(line).ok());
    let spans = of_steps(steps);
    (!spans.is_empty()).then(|| {
        let attributes = vec![said("service.name", "herd-lab"), said("service.instance.id", "lab")];
        let scope = InstrumentationScope { name: "herdproof".to_owned(), ..InstrumentationScope::default() };
        ResourceSpans {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }
    })
}

/// Sends them to a collector.
///
/// # Errors
/// Why not, in words.
pub(super) async fn export(spans: ResourceSpans, endpoint: String) -> Result<(), String> {
    let channel = Endpoint::from_shared(endpoint).map_err(|error| error.to_string())?.connect_lazy();
    let request = ExportTraceServiceRequest { resource_spans: vec![spans] };
    let mut client = TraceServiceClient::new(channel);
    match tokio::time::timeout(EXPORT_MAX, client.export(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err(format!("no answer within {} s", EXPORT_MAX.as_secs())),
    }
}

fn of_steps(steps: impl Iterator<Item = FaultRecord>) -> Vec<Span> {
    let mut turns: BTreeMap<(String, String, u64), Vec<FaultRecord>> = BTreeMap::new();
    for step in steps {
        turns.entry((step.rung.clone(), step.fault.clone(), step.turn)).or_default().push(step);
    }
    turns.into_values().filter_map(|steps| of_turn(&steps)).collect()
}

fn of_turn(steps: &[FaultRecord]) -> Option<Span> {
    let first = steps.iter().min_by_key(|step| step.at_us)?;
    let last_us = steps.iter().map(|step| step.at_us).max()?;
    let failed = steps.iter().find(|s| matches!(s.phase, FaultPhase::Unconfirmed | FaultPhase::Unrecovered));
    let mut targets: Vec<&str> = steps.iter().map(|step| step.target.as_str()).collect();
    targets.sort_unstable();
    targets.dedup();
    let turn = i64::try_from(first.turn).unwrap_or(i64::MAX);
    let attributes = vec![
        said("herd.fault.name", &first.fault),
        said("herd.fault.kind", &first.kind),
        said("herd.fault.targets", &targets.join(" ")),
        said("herd.rung", &first.rung),
        KeyValue {
            value: Some(AnyValue { value: Some(Value::IntValue(turn)) }),
            ..said("herd.fault.turn", "")
        },
    ];
    Some(Span {
        trace_id: rand::random::<u128>().max(1).to_be_bytes().to_vec(),
        span_id: rand::random::<u64>().max(1).to_be_bytes().to_vec(),
        name: format!("fault {}", first.fault),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: first.at_us.saturating_mul(1_000),
        end_time_unix_nano: last_us.saturating_mul(1_000),
        attributes,
        events: steps.iter().map(event).collect(),
        status: failed.map(|step| Status { message: step.note.clone(), code: StatusCode::Error.into() }),
        // Sampled.
        flags: 1,
        ..Span::default()
    })
}

fn event(step: &FaultRecord) -> Event {
    let name = match step.phase {
        FaultPhase::Injected => "herd.fault.injected",
        FaultPhase::Confirmed => "herd.fault.confirmed",
        FaultPhase::Unconfirmed => "herd.fault.unconfirmed",
        FaultPhase::Repaired => "herd.fault.repaired",
        FaultPhase::Recovered => "herd.fault.recovered",
        FaultPhase::Unrecovered => "herd.fault.unrecovered",
    };
    Event {
        time_unix_nano: step.at_us.saturating_mul(1_000),
        name: name.to_owned(),
        attributes: vec![said("herd.fault.target", &step.target), said("herd.note", &step.note)],
        ..Event::default()
    }
}

fn said(key: &str, text: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each turn of a fault is a trace with its steps as events; one that did not bite is an error.
    #[test]
    fn a_turn_is_a_trace() {
        let step = |turn, at_us, phase| FaultRecord {
            at_us,
            rung: "lock".to_owned(),
            fault: "pause-holder".to_owned(),
            kind: "pause".to_owned(),
            turn,
            target: "cache-node-03".to_owned(),
            phase,
            hit: 0,
            note: "it stands still".to_owned(),
        };
        let steps = [
            step(0, 100, FaultPhase::Injected),
            step(0, 140, FaultPhase::Confirmed),
            step(0, 900, FaultPhase::Repaired),
            step(0, 950, FaultPhase::Recovered),
            step(1, 2_000, FaultPhase::Injected),
            step(1, 2_000, FaultPhase::Unconfirmed),
        ];
        let dir = tempfile::tempdir().unwrap();
        let lines: Vec<String> = steps.iter().map(|step| serde_json::to_string(step).unwrap()).collect();
        assert_eq!(spans(dir.path()), None);
        std::fs::write(dir.path().join("faults.jsonl"), lines.join("\n") + "\n{\"torn\"").unwrap();
        let spans = spans(dir.path()).unwrap().scope_spans.remove(0).spans;
        assert_eq!(spans.len(), 2);
        let names: Vec<&str> = spans[0].events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(
            names,
            ["herd.fault.injected", "herd.fault.confirmed", "herd.fault.repaired", "herd.fault.recovered"]
        );
        assert_eq!((spans[0].start_time_unix_nano, spans[0].end_time_unix_nano), (100_000, 950_000));
        assert_eq!((spans[0].status.is_some(), spans[1].status.is_some()), (false, true));
        assert_ne!(spans[0].trace_id, spans[1].trace_id);
    }
}
