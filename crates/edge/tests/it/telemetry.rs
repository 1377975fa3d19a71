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
    fn start(control: &FakeControl, collector: Option<&str>) -> Self {
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
            .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
            .stdout(Stdio::piped());
        if let Some(endpoint) = collector {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        }
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
    let mut edge = EdgeProcess::start(&control, Some(&endpoint));
    control.report(|report| report.members_version == 1).await;
    let answer = http(edge.http, "GET", "/v1/items/item-1", &format!("traceparent: {CALLER}\r\n")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let root = http(edge.http, "GET", "/v1/items/item-2", "").await;
    assert_eq!(http(edge.http, "PUT", "/v1/items/item-3", "").await.status, 200);
    assert_eq!(http(edge.http, "GET", "/v1/items/negative", "").await.status, 404);
    assert_eq!(edge.stop().await, Some(0));

    let exported = exported.lock().unwrap();
    let spans: Vec<_> = exported
        .iter()
        .flat_map(|e| &e.resource_spans)
        .flat_map(|r| &r.scope_spans)
        .flat_map(|s| &s.spans)
        .collect();
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["edge.get", "edge.get", "edge.put", "edge.get"]);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        (hex(&spans[0].trace_id).as_str(), hex(&spans[0].parent_span_id).as_str()),
        (&CALLER[3..35], &CALLER[36..52])
    );
    let passed_on = node.asked.lock().unwrap()[0].1.get("traceparent").unwrap().to_str().unwrap().to_owned();
    assert_eq!(passed_on[36..52], hex(&spans[0].span_id));
    let attributes = format!("{:?}", spans[0].attributes);
    assert!(
        attributes.contains("herd.key")
            && attributes.contains("item-1")
            && attributes.contains("herd.served")
    );
    assert!(format!("{:?}", spans[3].attributes).contains("negative"), "how an absence was known");
    assert!(spans[1].parent_span_id.is_empty(), "a request without a caller begins a trace");
    assert_eq!(root.body["reference"], hex(&spans[1].trace_id));
    drop(exported);
    crash(runtime);
}

/// With a collector that is away, requests are served and the process ends in time, with status 0.
#[tokio::test]
async fn an_absent_collector_breaks_nothing() {
    let node = FakeNode::start("n0");
    let mut control = FakeControl::start(None, fleet(1, Routing::Spread, &[node.address]));
    let gone = nonblocking_listener().local_addr().unwrap();
    let mut edge = EdgeProcess::start(&control, Some(&format!("http://{gone}")));
    control.report(|report| report.members_version == 1).await;
    for _ in 0..20 {
        assert_eq!(http(edge.http, "GET", "/v1/items/item-1", "").await.status, 200);
    }
    let stopped = tokio::time::timeout(PATIENCE, edge.stop()).await;
    assert_eq!(stopped.unwrap(), Some(0));
}

fn nonblocking_listener() -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}
