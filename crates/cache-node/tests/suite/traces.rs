//! The spans that the real process exports: a request continues its caller's trace, a rebuild is a trace of its own, and
//! whoever waited for it, in this process or another, links to its very span. What went wrong is an error or an event of a span.

use crate::fakes::{Serving, serve};
use crate::harness::{Parts, eventually, fleet_lock, single_flight};
use crate::life::FakeControl;
use herd_cache_node::store::write::Guard;
use herd_service::rpc::channel;
use herd_wire::v1::cache_node_client::CacheNodeClient;
use herd_wire::v1::{FleetConfig, GetRequest, Served, WarmRequest, WarmResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tonic::{Request, Response, Status};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[derive(Clone, Default)]
struct FakeCollector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for FakeCollector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans;
        let spans =
            resources.into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
        self.0.lock().unwrap().extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl FakeCollector {
    fn named(&self, name: &str) -> Vec<Span> {
        self.0.lock().unwrap().iter().filter(|span| span.name == name).cloned().collect()
    }
}

/// A node process; killed if the test ends early.
struct NodeProcess {
    process: Child,
    grpc: String,
}

impl NodeProcess {
    fn start(instance: &str, parts: &Parts, control: &Serving, collector: &Serving) -> Self {
        let (lock, origin) =
            (parts.lock_serving.as_ref().unwrap().url(), parts.origin_serving.as_ref().unwrap().url());
        let mut process = Command::new(env!("CARGO_BIN_EXE_herd-cache-node"))
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--instance", instance])
            .args(["--redis-url", &parts.redis.url(), "--lock-url", &lock, "--origin-url", &origin])
            .args(["--control-url", &control.url(), "--log", "warn"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
            .env("HERD_SAMPLE_HITS", "0")
            .env("OTEL_BSP_SCHEDULE_DELAY", "50")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary was built for this test");
        let mut ready = String::new();
        let out = process.stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut ready).expect("a ready line");
        let after = ready.split("\"grpc\":\"").nth(1).expect("a ready line names its port");
        let grpc = format!("http://{}", after.split('"').next().expect("split gives one"));
        Self { process, grpc }
    }

    async fn get(&self, key: &str) -> herd_wire::v1::GetResponse {
        let mut client = CacheNodeClient::new(channel(&self.grpc).expect("a URL"));
        let mut request = Request::new(GetRequest { key: key.to_owned() });
        request.metadata_mut().insert("traceparent", CALLER.parse().expect("ASCII"));
        client.get(request).await.expect("an answer").into_inner()
    }

    async fn warm(&self, key: &str) -> Result<WarmResponse, Status> {
        let mut client = CacheNodeClient::new(channel(&self.grpc).expect("a URL"));
        let asked = client.warm(WarmRequest { key: key.to_owned(), key_prefix: String::new() }).await;
        asked.map(Response::into_inner)
    }

    fn stop(&mut self) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill").success());
        assert_eq!(self.process.wait().expect("our child").code(), Some(0), "a drain ends well");
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

fn error_of(span: &Span) -> Option<&str> {
    span.status.as_ref().filter(|status| status.code == 2).map(|status| status.message.as_str())
}

/// How often Redis was asked for a value.
fn looks(parts: &Parts) -> u64 {
    let told: String =
        redis::cmd("INFO").arg("commandstats").query(&mut parts.redis.connect()).expect("it answers");
    let calls = told.split("cmdstat_get:calls=").nth(1).and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().expect("a number"))
}

fn unix_ns() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("later than 1970");
    u64::try_from(since.as_nanos()).expect("before 2554")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What node processes need around them, and where their spans go.
struct Stage {
    parts: Parts,
    collector: FakeCollector,
    collecting: Serving,
    control: FakeControl,
    plane: Serving,
}

impl Stage {
    async fn up(fleet: FleetConfig) -> Self {
        let collector = FakeCollector::default();
        let collecting = serve(0, TraceServiceServer::new(collector.clone()));
        let control = FakeControl::new();
        control.say(fleet);
        let plane = control.serve(0);
        Self { parts: Parts::up().await, collector, collecting, control, plane }
    }

    /// A node that has its configuration.
    async fn node(&self, instance: &str) -> NodeProcess {
        let node = NodeProcess::start(instance, &self.parts, &self.plane, &self.collecting);
        self.control.acknowledged_by(instance).await;
        node
    }
}

/// Two nodes miss together under the fleet's lock: one rebuild, and both requests link to it.
#[tokio::test]
async fn waiters_link_to_the_rebuild() {
    let stage = Stage::up(fleet_lock()).await;
    let Stage { parts, collector, .. } = &stage;
    parts.origin.close_gate();
    let mut nodes = [stage.node("n1").await, stage.node("n2").await];
    let opening = async {
        parts.origin.asked_times(1).await;
        eventually("the other waits for the lease", || parts.lock.waiting("p:item-1") == 1).await;
        parts.origin.open_gate();
    };
    let (one, two, ()) = tokio::join!(nodes[0].get("item-1"), nodes[1].get("item-1"), opening);
    for node in &mut nodes {
        node.stop();
    }

    let rebuilds = collector.named("rebuild");
    assert_eq!(rebuilds.len(), 1, "{:?}", collector.named("flight"));
    let rebuild = &rebuilds[0];
    let trace = hex(&rebuild.trace_id);
    assert!(rebuild.parent_span_id.is_empty(), "a trace of its own");
    assert_eq!([one.rebuild_trace, two.rebuild_trace], [trace.clone(), trace.clone()]);
    assert!(parts.origin.traces()[0].contains(&trace), "the origin continues it");
    for step in ["herd.v1.LockService/Acquire", "herd.v1.Origin/Fetch", "EVALSHA guarded_write"] {
        let steps = collector.named(step);
        let inside =
            |span: &&Span| span.trace_id == rebuild.trace_id && span.parent_span_id == rebuild.span_id;
        assert_eq!(steps.iter().filter(inside).count(), 1, "{step}: {steps:?}");
    }
    let requests = collector.named("herd.v1.CacheNode/Get");
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert!(CALLER.contains(&hex(&request.trace_id)) && CALLER.contains(&hex(&request.parent_span_id)));
        assert_eq!(attribute(&request, "herd.rebuild.trace_id"), Some(trace.clone()));
        assert_eq!(attribute(&request, "herd.cache_key").as_deref(), Some("p:item-1"));
        let first = &request.links[0];
        assert_eq!((&first.trace_id, &first.span_id), (&rebuild.trace_id, &rebuild.span_id));
        // Who waited through the lock did so in a flight of its own process, which it links to as well.
        let waited_fleet = attribute(&request, "herd.served").as_deref() == Some("waited_fleet");
        assert_eq!(request.links.len(), 1 + usize::from(waited_fleet));
    }
}

/// Goal: fills on command leave nothing where they are not sampled, unless there is something to tell of: one that failed, in the
/// rebuild and in the call that it failed by, and one that a reader came along for. That there is no such row is nothing.
#[tokio::test]
async fn a_fill_is_kept_if_it_is_worth_it() {
    let stage = Stage::up(single_flight()).await;
    let Stage { parts, collector, .. } = &stage;
    let mut node = stage.node("n1").await;
    node.warm("item-1").await.expect("filled");
    node.warm("missing-1").await.expect("there is no such row");
    node.warm("failing-1").await.expect_err("the origin fails");
    parts.origin.close_gate();
    let coming = async {
        parts.origin.asked_times(4).await;
        let before = looks(parts);
        let reads = node.get("item-2");
        let opens = async {
            // Redis answers in order: who looked before the value was written hears before it is.
            eventually("the reader has looked", || looks(parts) > before).await;
            parts.origin.open_gate();
        };
        tokio::join!(reads, opens).0
    };
    let (filled, read) = tokio::join!(node.warm("item-2"), coming);
    filled.expect("filled");
    assert_eq!(read.served(), Served::Waited);
    node.stop();

    let rebuilds = collector.named("rebuild");
    let keys: Vec<_> = rebuilds.iter().filter_map(|span| attribute(span, "herd.key")).collect();
    assert_eq!(keys, ["failing-1", "item-2"]);
    assert_eq!((error_of(&rebuilds[0]), error_of(&rebuilds[1])), (Some("the database is away"), None));
    assert_eq!(read.rebuild_trace, hex(&rebuilds[1].trace_id));
    let fetches = collector.named("herd.v1.Origin/Fetch");
    let parents: Vec<_> = fetches.iter().map(|span| span.parent_span_id.clone()).collect();
    assert_eq!(parents, [rebuilds[0].span_id.clone(), rebuilds[1].span_id.clone()], "with all their parts");
    assert_eq!(error_of(&fetches[0]), Some("the database is away"));
    let codes = fetches.iter().map(|span| attribute(span, "rpc.response.status_code").expect("required"));
    assert_eq!(codes.collect::<Vec<_>>(), ["UNAVAILABLE", "OK"]);
    assert_eq!(attribute(&fetches[0], "server.address").as_deref(), Some("127.0.0.1"));
}

/// Goal: a lease that was lost and a write that the store refused are events of the rebuild's own span.
#[tokio::test]
async fn what_went_wrong_is_told() {
    let mut fleet = fleet_lock();
    let lock = fleet.policy.as_mut().and_then(|policy| policy.lock.as_mut()).expect("set");
    (lock.expiry_ms, lock.renew) = (300, true);
    let stage = Stage::up(fleet).await;
    let Stage { parts, collector, .. } = &stage;
    let mut node = stage.node("n1").await;
    parts.origin.close_gate();
    let meanwhile = async {
        parts.origin.asked_times(1).await;
        parts.lock.hold("p:item-1", Duration::from_secs(60));
        let taken_ns = unix_ns();
        parts.stored("p:item-1", (0, 2), Some(b"item-1@2"), Guard::Generation).await;
        let refused = |renewal: &Span| renewal.start_time_unix_nano > taken_ns;
        eventually("a renewal has come too late", || {
            collector.named("herd.v1.LockService/Renew").iter().any(refused)
        })
        .await;
        parts.origin.open_gate();
    };
    let (answer, ()) = tokio::join!(node.get("item-1"), meanwhile);
    assert_eq!(answer.version, 2, "what stands");
    node.stop();

    let rebuilds = collector.named("rebuild");
    let events: Vec<&str> = rebuilds[0].events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["herd.lease.expired", "herd.write.rejected"]);
    assert_eq!(attribute(&rebuilds[0], "herd.write.outcome").as_deref(), Some("refused_generation_moved"));
    let renewals = collector.named("herd.v1.LockService/Renew");
    assert!(renewals.iter().any(|renewal| renewal.parent_span_id == rebuilds[0].span_id), "{renewals:?}");
}
