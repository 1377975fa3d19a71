//! The binary and its spans: what is exported, and that a collector that is away breaks nothing.

use crate::fake_control::{FakeControl, PATIENCE, crash, own_runtime};
use crate::fake_node::FakeNode;
use crate::testbed::{fleet, http, until};
use herd_wire::v1::Routing;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use tonic::{Request, Response, Status};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

type Exported = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

struct Collector(Exported);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

struct EdgeProcess {
    child: Child,
    http: SocketAddr,
}

impl EdgeProcess {
    fn start(control: &FakeControl, collector: &str, sample_hits: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd-edge"));
        command
            .args([
                "--listen",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
                "--http",
                "127.0.0.1:0",
                "--instance",
                "e-1",
            ])
            .args(["--control-url", &control.url(), "--log", "error"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
            .env("HERD_SAMPLE_HITS", sample_hits)
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&ready["ready"], &ready["role"], &ready["instance"]),
            (&true.into(), &"edge".into(), &"e-1".into())
        );
        assert_eq!(ready["pid"], child.id());
        Self { child, http: ready["http"].as_str().unwrap().parse().unwrap() }
    }

    /// Sends SIGTERM and waits for the exit status.
    async fn stop(&mut self) -> Option<i32> {
        let sent =
            Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status().unwrap();
        assert!(sent.success());
        let mut status = None;
        until("the process ends", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.and_then(|status| status.code())
    }
}

impl Drop for EdgeProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request's span continues the caller's trace, is the parent of what the node gets, says what was asked of whom, and is
/// exported before the process ends; nothing of the transport is exported with it.
#[tokio::test]
async fn spans_reach_the_collector() {
    let node = FakeNode::start("n0");
    let mut control = FakeControl::start(None, fleet(1, Routing::Spread, &[node.address]));
    let (runtime, exported, endpoint) = collector();
    let mut edge = EdgeProcess::start(&control, &endpoint, "1");
    control.report(|report| report.members_version == 1).await;
    let answer = http(edge.http, "GET", "/v1/items/item-1", &format!("traceparent: {CALLER}\r\n")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let root = http(edge.http, "GET", "/v1/items/item-2", "").await;
    assert_eq!(http(edge.http, "PUT", "/v1/items/item-3", "").await.status, 200);
    assert_eq!(http(edge.http, "GET", "/v1/items/negative", "").await.status, 404);
    assert_eq!(edge.stop().await, Some(0));

    let spans = spans(&exported);
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    let get = "GET /v1/items/{key}";
    assert_eq!(names, [get, get, "PUT /v1/items/{key}", get]);
    assert_eq!(
        (hex(&spans[0].trace_id).as_str(), hex(&spans[0].parent_span_id).as_str()),
        (&CALLER[3..35], &CALLER[36..52])
    );
    let passed_on = node.asked.lock().unwrap()[0].1.get("traceparent").unwrap().to_str().unwrap().to_owned();
    assert_eq!(passed_on[36..52], hex(&spans[0].span_id));
    for (said, what) in [
        ("herd.key", "item-1"),
        ("herd.served", "hit"),
        ("herd.node", "n0"),
        ("http.request.method", "GET"),
        ("http.route", "/v1/items/{key}"),
        ("http.response.status_code", "200"),
        ("url.path", "/v1/items/item-1"),
        ("url.scheme", "http"),
    ] {
        assert_eq!(text(&spans[0], said).as_deref(), Some(what), "{said}");
    }
    assert_eq!(text(&spans[3], "herd.served").as_deref(), Some("negative"), "how an absence was known");
    assert!(spans[1].parent_span_id.is_empty(), "a request without a caller begins a trace");
    assert_eq!(root.body["reference"], hex(&spans[1].trace_id));
    crash(runtime);
}

/// Of plain hits only those are kept that somebody asked for; whoever waited, failed or wrote is kept whatever the ratio, also
/// against its caller's word. What is decided at once is passed on.
#[tokio::test]
async fn all_but_plain_hits_are_kept() {
    let node = FakeNode::start("n0");
    let mut control = FakeControl::start(None, fleet(1, Routing::Spread, &[node.address]));
    let (runtime, exported, endpoint) = collector();
    let mut edge = EdgeProcess::start(&control, &endpoint, "0");
    control.report(|report| report.members_version == 1).await;
    let unsampled = format!("{}00", &CALLER[..53]);
    let requests = [
        ("GET", "item-1", CALLER, true),
        ("GET", "item-2", unsampled.as_str(), false),
        ("GET", "item-3", "", false),
        ("GET", "local", "", false),
        ("GET", "negative", "", false),
        ("GET", "waited", unsampled.as_str(), true),
        ("GET", "away", "", true),
        ("GET", "busy", "", true),
        ("PUT", "item-4", "", true),
    ];
    for (method, key, caller, _) in requests {
        let caller = if caller.is_empty() { String::new() } else { format!("traceparent: {caller}\r\n") };
        http(edge.http, method, &format!("/v1/items/{key}"), &caller).await;
    }
    assert_eq!(edge.stop().await, Some(0));

    let spans = spans(&exported);
    let kept: Vec<String> = spans.iter().filter_map(|span| text(span, "herd.key")).collect();
    let wanted: Vec<&str> = requests.iter().filter(|(.., kept)| *kept).map(|(_, key, ..)| *key).collect();
    assert_eq!(kept, wanted);
    let of = |key: &str| spans.iter().find(|span| text(span, "herd.key").as_deref() == Some(key)).unwrap();
    assert_eq!(text(of("waited"), "herd.rebuild.trace_id"), Some("9c".repeat(16)));
    assert_eq!(of("away").status.as_ref().unwrap().code, 2, "an error is one");
    assert_eq!(text(of("busy"), "herd.served").as_deref(), Some("shed"));
    let flags: Vec<String> = node
        .asked
        .lock()
        .unwrap()
        .iter()
        .map(|(_, metadata)| metadata.get("traceparent").unwrap().to_str().unwrap()[53..].to_owned())
        .collect();
    assert_eq!(flags, ["01", "00", "00", "00", "00", "00", "00", "00", "01"]);
    crash(runtime);
}

/// With a collector that is away, requests are served and the process ends in time, with status 0.
#[tokio::test]
async fn an_absent_collector_breaks_nothing() {
    let node = FakeNode::start("n0");
    let mut control = FakeControl::start(None, fleet(1, Routing::Spread, &[node.address]));
    let gone = nonblocking_listener().local_addr().unwrap();
    let mut edge = EdgeProcess::start(&control, &format!("http://{gone}"), "1");
    control.report(|report| report.members_version == 1).await;
    for _ in 0..20 {
        assert_eq!(http(edge.http, "GET", "/v1/items/item-1", "").await.status, 200);
    }
    let stopped = tokio::time::timeout(PATIENCE, edge.stop()).await;
    assert_eq!(stopped.unwrap(), Some(0));
}

/// A collector on a runtime of its own, and where it is.
fn collector() -> (tokio::runtime::Runtime, Exported, String) {
    let (runtime, exported) = (own_runtime(), Exported::default());
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(nonblocking_listener()).unwrap()
    };
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(
        tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(Collector(exported.clone())))
            .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)),
    );
    (runtime, exported, endpoint)
}

fn spans(exported: &Exported) -> Vec<Span> {
    let exported = exported.lock().unwrap();
    let resources = exported.iter().flat_map(|export| &export.resource_spans);
    resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans).cloned().collect()
}

fn text(span: &Span, key: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn nonblocking_listener() -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}
