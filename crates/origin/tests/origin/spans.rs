//! The spans that the origin exports, as a collector receives them.

use crate::process::{Origin, request};
use herd_wire::v1::origin_client::OriginClient;
use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes =
            request.into_inner().resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        self.0.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// Goal: the fetch's span continues the caller's trace, and the query is a span below it with the conventions' attributes.
#[tokio::test]
async fn a_fetch_continues_the_callers_trace() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let collector = Collector::default();
    let service = TraceServiceServer::new(collector.clone());
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)));

    let directory = TempDir::new().unwrap();
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let mut origin = Origin::start_with(directory.path(), &[], &environment);
    let mut traced = request("item-1");
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    traced.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    OriginClient::new(origin.channel().await).fetch(traced).await.unwrap();
    origin.signal(Signal::SIGTERM);
    // Waiting elsewhere: the collector runs on this thread, and the origin waits for it.
    let stopped = tokio::task::spawn_blocking(move || origin.child.wait()).await.unwrap();
    assert!(stopped.unwrap().success());

    let spans = collector.0.lock().unwrap().clone();
    let named = |name: &str| {
        spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {spans:#?}"))
    };
    let (fetch, query) = (named("herd.v1.Origin/Fetch"), named("SELECT items"));
    assert_eq!(fetch.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes());
    assert_eq!(fetch.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!(text(fetch, "herd.origin.outcome"), Some("fetched"));
    assert_eq!(text(fetch, "rpc.system.name"), Some("grpc"));
    assert_eq!(text(fetch, "rpc.response.status_code"), Some("OK"));
    assert_eq!((&query.trace_id, &query.parent_span_id), (&fetch.trace_id, &fetch.span_id));
    assert_eq!(text(query, "db.system.name"), Some("sqlite"));
    assert_eq!(text(query, "db.operation.name"), Some("SELECT"));
    assert_eq!(text(query, "db.query.text"), Some("SELECT version, value FROM items WHERE key = $1"));
}
