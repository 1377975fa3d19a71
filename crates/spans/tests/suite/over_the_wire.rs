//! Spans as they come over OTLP.

use herd_spans::{Keeper, Receiver, Spans};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use std::net::Ipv4Addr;

fn export(trace: u8) -> ExportTraceServiceRequest {
    let span = Span {
        trace_id: vec![trace; 16],
        span_id: vec![1; 8],
        name: "rebuild".to_owned(),
        start_time_unix_nano: 5,
        end_time_unix_nano: 6,
        ..Span::default()
    };
    let scope = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() }],
    }
}

/// Goal: what a process was answered for is in the file, and a process that keeps its connection does not hold up the end.
#[tokio::test]
async fn what_is_answered_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut keeper = Keeper::new(dir.path(), vec!["none".to_owned()], 1.0);
    keeper.begins("none");
    let receiver = Receiver::start((Ipv4Addr::LOCALHOST, 0).into(), keeper).unwrap();
    let mut client = TraceServiceClient::connect(format!("http://{}", receiver.address())).await.unwrap();
    client.export(export(0xab)).await.unwrap();
    client.export(export(0xcd)).await.unwrap();
    assert_eq!(Spans::read(dir.path()).unwrap().all().len(), 2, "before the end, too");
    let ended = tokio::task::spawn_blocking(move || receiver.finish());
    let kept = tokio::time::timeout(std::time::Duration::from_secs(5), ended).await.unwrap().unwrap();
    assert_eq!((kept.files[0].spans, kept.error), (2, None));
    assert!(client.export(export(0xef)).await.is_err(), "the run is over");
    let read = Spans::read(dir.path()).unwrap();
    assert!(read.tree(&"ab".repeat(16)).is_some() && read.tree(&"cd".repeat(16)).is_some());
}
