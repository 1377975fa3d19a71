use futures::{FutureExt, future::BoxFuture};
use herd_experiment::{
    control::ControlPlane,
    run::{self, Plan, RunError},
    testbed::{
        Backend, Endpoints, FleetSpec, Part, PartFailure, Progress, Signal, Silent, Testbed, TestbedError,
    },
};
use herd_history::{Outcome, Reader, Writer};
use herd_scenario::Scenario;
use herd_wire::v1::{
    ControlUpdate, FetchRequest, GetLatencyRequest, GetRequest, GetResponse, InvalidateRequest,
    InvalidateResponse, Latency, LedgerEvent, LedgerEvents, MemberReport, PutRowRequest, PutRowResponse,
    ReadLedgerRequest, RebuildEnded, RebuildStarted, Role,
    control_client::ControlClient,
    edge_server::{Edge, EdgeServer},
    ledger_event::Kind,
    origin_admin_server::{OriginAdmin, OriginAdminServer},
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, transport::Endpoint};

const SCENARIO: &str = r#"
name = "fake"
hypothesis = "The run loop records what a fleet did."
seed = 3
[fleet]
nodes = 3
[origin]
model = "fixed"
latency_ms = 5
[workload]
keys = 1
popularity = "one"
rate_per_s = 200
boundaries = 1
[policy]
ttl_ms = 50
[[rung]]
name = "first"
layers = []
[[rung]]
name = "second"
layers = ["single-flight"]
[[claim]]
property = "every_request_answered"
"#;

/// What the fakes share: the configuration that the edge obeyed last, the ledger, the latency.
#[derive(Default)]
struct Truth {
    config_version: u64,
    prefix: String,
    ledger: Vec<LedgerEvent>,
    latency: Latency,
}

#[derive(Clone, Default)]
struct Fakes(Arc<Mutex<Truth>>);

#[tonic::async_trait]
impl Edge for Fakes {
    /// Every request is a rebuild.
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let mut truth = self.0.lock().unwrap();
        let key = request.into_inner().key;
        let seq = truth.ledger.len() as u64 + 1;
        let fetch =
            FetchRequest { cache_key: format!("{}{key}", truth.prefix), key, ..FetchRequest::default() };
        let started = Kind::Started(RebuildStarted { request: Some(fetch), trace: String::new() });
        truth.ledger.push(LedgerEvent { seq, rebuild: seq, at_us: 1, kind: Some(started) });
        let ended = Kind::Ended(RebuildEnded::default());
        truth.ledger.push(LedgerEvent { seq: seq + 1, rebuild: seq, at_us: 2, kind: Some(ended) });
        let config_version = truth.config_version;
        Ok(Response::new(GetResponse { config_version, generation: 1, ..GetResponse::default() }))
    }

    async fn invalidate(
        &self,
        _: Request<InvalidateRequest>,
    ) -> Result<Response<InvalidateResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

#[tonic::async_trait]
impl OriginAdmin for Fakes {
    type ReadLedgerStream = ReceiverStream<Result<LedgerEvents, Status>>;

    async fn set_latency(&self, request: Request<Latency>) -> Result<Response<Latency>, Status> {
        let latency = request.into_inner();
        self.0.lock().unwrap().latency = latency;
        Ok(Response::new(latency))
    }

    async fn get_latency(&self, _: Request<GetLatencyRequest>) -> Result<Response<Latency>, Status> {
        Ok(Response::new(self.0.lock().unwrap().latency))
    }

    async fn put_row(&self, _: Request<PutRowRequest>) -> Result<Response<PutRowResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn read_ledger(
        &self,
        request: Request<ReadLedgerRequest>,
    ) -> Result<Response<Self::ReadLedgerStream>, Status> {
        let from = request.into_inner().from_seq;
        let truth = self.0.lock().unwrap();
        let events: Vec<LedgerEvent> =
            truth.ledger.iter().filter(|event| event.seq >= from).cloned().collect();
        let (batches, stream) = mpsc::channel(1);
        batches.try_send(Ok(LedgerEvents { events })).map_err(|_| Status::internal("no room"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// A fleet of `members` nodes and one edge that live in this process.
struct FakeTestbed {
    members: u32,
    fakes: Fakes,
    tasks: JoinSet<()>,
    downs: u32,
}

impl FakeTestbed {
    fn new(members: u32) -> Self {
        Self { members, fakes: Fakes::default(), tasks: JoinSet::new(), downs: 0 }
    }
}

impl Testbed for FakeTestbed {
    fn backend(&self) -> Backend {
        Backend::Processes
    }

    fn control_listen(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }

    fn up<'a>(
        &'a mut self,
        _spec: &'a FleetSpec,
        control_port: u16,
        _progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<Endpoints, TestbedError>> {
        async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = format!("http://{}", listener.local_addr().unwrap());
            let server = tonic::transport::Server::builder()
                .add_service(EdgeServer::new(self.fakes.clone()))
                .add_service(OriginAdminServer::new(self.fakes.clone()));
            self.tasks.spawn(async move {
                server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
            });
            self.tasks.spawn(member(control_port, Role::Edge, "edge-0".to_owned(), self.fakes.clone()));
            for node in 0..self.members {
                self.tasks.spawn(member(
                    control_port,
                    Role::CacheNode,
                    format!("node-{node}"),
                    Fakes::default(),
                ));
            }
            Ok(Endpoints {
                edge_grpc: at.clone(),
                edge_http: String::new(),
                origin_grpc: at,
                lock_grpc: String::new(),
                redis_url: None,
                consoles: Vec::new(),
            })
        }
        .boxed()
    }

    fn endpoints(&self) -> Option<Endpoints> {
        None
    }

    fn signal(&mut self, _: Part, _: u32, _: Signal) -> BoxFuture<'_, Result<(), TestbedError>> {
        async { Ok(()) }.boxed()
    }

    fn resident_memory(&mut self, _: Part) -> BoxFuture<'_, Result<Vec<u64>, TestbedError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    /// Once nodes are missing, the missing ones have ended.
    fn failures(&mut self) -> BoxFuture<'_, Vec<PartFailure>> {
        let how = "exit status 64".to_owned();
        let failure =
            PartFailure { part: Part::CacheNode, index: 2, how, log_tail: "bad settings".to_owned() };
        async move { vec![failure] }.boxed()
    }

    fn down(&mut self) -> BoxFuture<'_, Result<(), TestbedError>> {
        self.tasks.abort_all();
        self.downs += 1;
        async { Ok(()) }.boxed()
    }
}

/// Joins and acknowledges whatever it hears.
async fn member(control_port: u16, role: Role, instance: String, fakes: Fakes) {
    let control = Endpoint::from_shared(format!("http://127.0.0.1:{control_port}")).unwrap();
    let mut client = ControlClient::new(control.connect().await.unwrap());
    let (reports, stream) = mpsc::channel(4);
    let mut report =
        MemberReport { role: role.into(), instance, address: "-:1".to_owned(), ..MemberReport::default() };
    reports.send(report.clone()).await.unwrap();
    let mut updates = client.session(ReceiverStream::new(stream)).await.unwrap().into_inner();
    while let Ok(Some(ControlUpdate { config, members })) = updates.message().await {
        if let Some(config) = config {
            report.config_version = config.version;
            let mut truth = fakes.0.lock().unwrap();
            (truth.config_version, truth.prefix) = (config.version, config.key_prefix);
        }
        if let Some(members) = members {
            report.members_version = members.version;
        }
        if reports.send(report.clone()).await.is_err() {
            return;
        }
    }
}

fn spec(nodes: u32) -> FleetSpec {
    let nowhere = PathBuf::from("/nowhere");
    FleetSpec {
        nodes,
        origin_rows: 1,
        origin_pool: 1,
        state_dir: nowhere.clone(),
        log_dir: nowhere,
        env: Vec::new(),
    }
}

fn plan() -> Plan {
    let scenario = Scenario::parse("fake.toml", SCENARIO).expect("the scenario is right");
    Plan::new(scenario, "fake.toml", SCENARIO, "processes")
}

async fn control() -> ControlPlane {
    ControlPlane::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap()
}

/// Each rung is driven under its own configuration and prefix, and the folder holds all that happened: every operation, and
/// every rebuild of the ledger in exactly one rung.
#[tokio::test]
async fn rungs_are_driven_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, control, mut testbed) = (plan(), control().await, FakeTestbed::new(3));
    let writer = Writer::create(&folder.path().join("run"), &plan.manifest()).unwrap();
    let fleet = run::bring_up(&mut testbed, &spec(3), &control, &Silent).await.unwrap();
    assert_eq!(fleet.nodes_joined, 3);
    let writer = run::drive(&plan, &fleet.endpoints, &control, writer, &Silent).await.unwrap();
    let dir = writer.finish().unwrap();
    assert_eq!(testbed.fakes.0.lock().unwrap().latency.median_ms, 5);
    testbed.down().await.unwrap();
    assert_eq!(testbed.downs, 1);

    let history = Reader::open(&dir).unwrap().load().unwrap();
    assert_eq!(history.rungs.len(), 2);
    let mut next_seq = 1;
    for (rung, version) in history.rungs.iter().zip(1..) {
        let record = &rung.record;
        assert_eq!((record.nodes_joined, record.nodes_acknowledged, record.config_version), (3, 3, version));
        assert_eq!(record.notes, Vec::<String>::new());
        assert_eq!(rung.operations.len() as u64, record.load.sent);
        let as_told = |row: &herd_history::OperationRecord| {
            row.outcome == Outcome::Answered && row.config_version == version
        };
        assert!(rung.operations.iter().all(as_told));
        // The fake rebuilds at each request, and once more when the key is warmed.
        assert_eq!(rung.ledger.len(), rung.operations.len() + 1);
        assert!(
            rung.ledger.iter().all(|row| row.cache_key.starts_with(&record.prefix) && row.end_seq.is_some())
        );
        assert_eq!(record.ledger.first_seq, next_seq);
        next_seq = record.ledger.last_seq + 1;
    }
    assert_ne!(history.rungs[0].record.prefix, history.rungs[1].record.prefix);
    let seqs = |rung: usize| {
        let mut drawn: Vec<u64> = history.rungs[rung].operations.iter().map(|row| row.intended_us).collect();
        drawn.sort_unstable();
        let start = history.rungs[rung].record.window_start_us;
        drawn.into_iter().map(|at| at - start).collect::<Vec<u64>>()
    };
    assert_eq!(seqs(0), seqs(1), "the load is the same for every rung");
}

/// Fewer nodes than asked for: the run goes on after a bounded wait and says so, it does not pass for whole.
#[tokio::test]
async fn a_fleet_that_is_too_small_is_told() {
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);
    impl Progress for Told {
        fn note(&self, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }
        fn step(&self, _: &str, _: u64, _: u64) {}
    }
    let (control, mut testbed, told) = (control().await, FakeTestbed::new(2), Told::default());
    let fleet = run::bring_up(&mut testbed, &spec(3), &control, &told).await.unwrap();
    assert_eq!(fleet.nodes_joined, 2);
    let told = told.0.lock().unwrap().join("\n");
    assert!(told.contains("2 nodes") && told.contains("of 3 nodes asked for"), "{told}");
    assert!(told.contains("exit status 64") && told.contains("bad settings"), "{told}");
}

/// Nobody at all is an error, with the reason why.
#[tokio::test]
async fn nobody_is_an_error() {
    let (control, mut testbed) = (control().await, FakeTestbed::new(0));
    let error = run::bring_up(&mut testbed, &spec(1), &control, &Silent).await.unwrap_err();
    assert!(matches!(&error, RunError::NobodyJoined { nodes: 0, edges: 1, .. }), "{error}");
    assert!(error.to_string().contains("bad settings"));
}
