//! A fleet that lives in this process: an edge that is its own cache and its own nodes, and an origin that is a ledger.

use crate::fake_testbed::FakeHolder;
use herd_experiment::testbed::FleetSpec;
use herd_wire::absent;
use herd_wire::v1::{
    self, ControlUpdate, DeleteRowsRequest, DeleteRowsResponse, Failures, FetchOutcome, FetchRequest,
    GetLatencyRequest, GetRequest, GetResponse, InvalidateRequest, InvalidateResponse, Latency, LedgerEvent,
    LedgerEvents, MemberReport, OriginGate, PutRequest, PutResponse, PutRowRequest, PutRowResponse,
    ReadLedgerRequest, RebuildEnded, RebuildStarted, Role, Served, StoreWrite, StoreWriteKind,
    StoreWriteVerdict, WarmRequest, WarmResponse, WritesRequest, WritesResponse,
    control_client::ControlClient,
    edge_server::{Edge, EdgeServer},
    ledger_event::Kind,
    lock_admin_server::LockAdminServer,
    lock_service_server::LockServiceServer,
    origin_admin_server::{OriginAdmin, OriginAdminServer},
    origin_server::OriginServer,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, transport::Endpoint};

/// Everything that the fakes know.
#[derive(Default)]
pub(crate) struct Truth {
    /// The configuration that the edge obeyed last.
    pub(crate) config_version: u64,
    pub(crate) prefix: String,
    /// The membership that the edge heard last, in its order: the first answers.
    pub(crate) members: Vec<String>,
    pub(crate) ledger: Vec<LedgerEvent>,
    pub(crate) latency: Latency,
    pub(crate) gates: Vec<OriginGate>,
    pub(crate) failures: Vec<Failures>,
    /// Whether rebuilt values are kept; else every read is a rebuild.
    pub(crate) caches: bool,
    pub(crate) cached: BTreeSet<String>,
    /// Rows that were inserted.
    pub(crate) rows: BTreeSet<String>,
    /// Keys that cannot be warmed.
    pub(crate) unwarmable: BTreeSet<String>,
    pub(crate) writes: BTreeMap<String, Vec<StoreWrite>>,
    /// The store's record breaks off instead of ending.
    pub(crate) writes_break: bool,
    /// When this many keys were warmed, others begin as many rebuilds at the origin as [`CROWD`]; at the second look at the
    /// ledger after that, they end.
    pub(crate) crowd_after: Option<u64>,
    /// Who holds every lease of the lock service.
    pub(crate) holder: Option<FakeHolder>,
    /// The rates that the lock service's clock was set to.
    pub(crate) clocks: Vec<f64>,
    /// Queries that the origin was asked to let hang.
    pub(crate) stuck: Vec<u32>,
    /// Queries of which it says that they hang.
    pub(crate) hang: u32,
    /// How long each read takes.
    pub(crate) answers_after_ms: u64,
    /// Writes of rows behind the caches' back.
    pub(crate) puts: u64,
    /// Refuses them.
    pub(crate) refuses_puts: bool,
    /// Rebuilds of `item-1` that others than the edge have under way.
    pub(crate) leads: Vec<FakeLead>,
    /// Connections that each bad link says it touched.
    pub(crate) links_hit: Vec<v1::LinkHits>,
    warmed: u64,
    crowd: Vec<u64>,
    looks_at_crowd: u32,
    /// Whether a client has read.
    is_read: bool,
    /// Looks at the ledger after the first read.
    looks: u32,
}

/// A rebuild that is under way from one look at the ledger until a later one; looks count from 1 after the first read.
pub(crate) struct FakeLead {
    pub(crate) node: &'static str,
    pub(crate) from: u32,
    pub(crate) until: u32,
    /// While it is under way.
    pub(crate) rebuild: Option<u64>,
}

/// How many come, where a crowd comes.
pub(crate) const CROWD: u64 = 5;

#[derive(Clone, Default)]
pub(crate) struct Fakes(Arc<Mutex<Truth>>);

impl Fakes {
    pub(crate) fn truth(&self) -> MutexGuard<'_, Truth> {
        self.0.lock().expect("nothing panics while it holds the truth")
    }
}

impl Truth {
    fn is_failing(&self) -> bool {
        self.failures.last().is_some_and(|failures| failures.share > 0.0)
    }

    fn start(&mut self, prefix: &str, key: &str, node: &str) -> u64 {
        let seq = self.ledger.len() as u64 + 1;
        let (key, cache_key) = (key.to_owned(), format!("{prefix}{key}"));
        let fetch = FetchRequest { cache_key, key, node: node.to_owned(), ..FetchRequest::default() };
        let kind = Kind::Started(RebuildStarted { request: Some(fetch), trace: String::new() });
        self.ledger.push(LedgerEvent { seq, rebuild: seq, at_us: now_us(), kind: Some(kind) });
        seq
    }

    fn end(&mut self, rebuild: u64, outcome: FetchOutcome) {
        let seq = self.ledger.len() as u64 + 1;
        let kind = Kind::Ended(RebuildEnded { outcome: outcome.into(), ..RebuildEnded::default() });
        self.ledger.push(LedgerEvent { seq, rebuild, at_us: now_us(), kind: Some(kind) });
    }

    /// A hit, or a rebuild with its write.
    fn look_up(&mut self, prefix: &str, key: &str) -> Result<Served, Status> {
        let cache_key = format!("{prefix}{key}");
        if self.caches && self.cached.contains(&cache_key) {
            return Ok(Served::Hit);
        }
        let rebuild = self.start(prefix, key, "");
        if self.is_failing() {
            self.end(rebuild, FetchOutcome::Failed);
            return Err(Status::unavailable("the origin fails"));
        }
        self.end(rebuild, FetchOutcome::Fetched);
        self.cached.insert(cache_key);
        let mut write = StoreWrite { at_us: now_us(), key: key.to_owned(), ..StoreWrite::default() };
        write.set_kind(StoreWriteKind::Value);
        write.set_verdict(StoreWriteVerdict::Accepted);
        self.writes.entry(prefix.to_owned()).or_default().push(write);
        Ok(Served::Led)
    }

    fn crowd_comes(&mut self) {
        if self.crowd_after == Some(self.warmed) {
            self.crowd = (0..CROWD).map(|_| self.start("elsewhere:", "item-1", "")).collect();
        }
    }

    fn crowd_goes(&mut self) {
        self.looks_at_crowd += u32::from(!self.crowd.is_empty());
        if self.looks_at_crowd == 2 {
            for rebuild in std::mem::take(&mut self.crowd) {
                self.end(rebuild, FetchOutcome::Fetched);
            }
        }
    }

    fn leads_come_and_go(&mut self) {
        self.looks += u32::from(self.is_read);
        let mut leads = std::mem::take(&mut self.leads);
        for lead in &mut leads {
            if self.looks == lead.from {
                let prefix = self.prefix.clone();
                lead.rebuild = Some(self.start(&prefix, "item-1", lead.node));
            } else if self.looks >= lead.until
                && let Some(rebuild) = lead.rebuild.take()
            {
                self.end(rebuild, FetchOutcome::Fetched);
            }
        }
        self.leads = leads;
    }
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

fn is_absent(key: &str) -> bool {
    key.starts_with("absent-") || key.starts_with("random-")
}

#[tonic::async_trait]
impl Edge for Fakes {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let key = request.into_inner().key;
        let takes = std::time::Duration::from_millis(self.truth().answers_after_ms);
        tokio::time::sleep(takes).await;
        let mut truth = self.truth();
        truth.is_read = true;
        let (node, config_version) =
            (truth.members.first().cloned().unwrap_or_default(), truth.config_version);
        if is_absent(&key) && !truth.rows.contains(&key) {
            let mut absent = Status::not_found("no such row");
            absent::describe(&mut absent, Served::Negative, &node, config_version, 0);
            return Err(absent);
        }
        let prefix = truth.prefix.clone();
        let served = truth.look_up(&prefix, &key)?.into();
        Ok(Response::new(GetResponse {
            config_version,
            served,
            node,
            generation: 1,
            ..GetResponse::default()
        }))
    }

    async fn invalidate(
        &self,
        _: Request<InvalidateRequest>,
    ) -> Result<Response<InvalidateResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let key = request.into_inner().key;
        let is_new = self.truth().rows.insert(key);
        Ok(Response::new(PutResponse { version: if is_new { 1 } else { 2 }, generation: 1 }))
    }

    async fn warm(&self, request: Request<WarmRequest>) -> Result<Response<WarmResponse>, Status> {
        let WarmRequest { key, key_prefix } = request.into_inner();
        let mut truth = self.truth();
        if truth.unwarmable.contains(&key) {
            return Err(Status::unavailable("it does not want to"));
        }
        let prefix = if key_prefix.is_empty() { truth.prefix.clone() } else { key_prefix };
        let served = truth.look_up(&prefix, &key)?.into();
        truth.warmed += 1;
        truth.crowd_comes();
        Ok(Response::new(WarmResponse { served, generation: 1 }))
    }

    type WritesStream = ReceiverStream<Result<WritesResponse, Status>>;

    async fn writes(&self, request: Request<WritesRequest>) -> Result<Response<Self::WritesStream>, Status> {
        let truth = self.truth();
        let writes = truth.writes.get(&request.into_inner().key_prefix).cloned().unwrap_or_default();
        let (batches, stream) = mpsc::channel(2);
        batches
            .try_send(Ok(WritesResponse { writes, began_us: 1, trimmed: false }))
            .map_err(|_| Status::internal("no room"))?;
        if truth.writes_break {
            batches.try_send(Err(Status::data_loss("trimmed"))).map_err(|_| Status::internal("no room"))?;
        }
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

#[tonic::async_trait]
impl OriginAdmin for Fakes {
    async fn set_latency(&self, request: Request<Latency>) -> Result<Response<Latency>, Status> {
        let latency = request.into_inner();
        self.truth().latency = latency;
        Ok(Response::new(latency))
    }

    async fn get_latency(&self, _: Request<GetLatencyRequest>) -> Result<Response<Latency>, Status> {
        Ok(Response::new(self.truth().latency))
    }

    async fn set_stuck(
        &self,
        request: Request<herd_wire::v1::Stuck>,
    ) -> Result<Response<herd_wire::v1::Stuck>, Status> {
        let mut stuck = request.into_inner();
        let mut truth = self.truth();
        // The word that lets them go says how many it lets go.
        let lets_go = stuck.queries == 0 && truth.stuck.last().is_some_and(|queries| *queries > 0);
        truth.stuck.push(stuck.queries);
        stuck.hang_now = if lets_go { truth.hang } else { 0 };
        Ok(Response::new(stuck))
    }

    async fn set_gate(&self, request: Request<OriginGate>) -> Result<Response<OriginGate>, Status> {
        let gate = request.into_inner();
        self.truth().gates.push(gate);
        Ok(Response::new(gate))
    }

    async fn set_failures(&self, request: Request<Failures>) -> Result<Response<Failures>, Status> {
        let failures = request.into_inner();
        self.truth().failures.push(failures);
        Ok(Response::new(failures))
    }

    async fn put_row(&self, _: Request<PutRowRequest>) -> Result<Response<PutRowResponse>, Status> {
        let mut truth = self.truth();
        if truth.refuses_puts {
            return Err(Status::unavailable("it does not want to"));
        }
        truth.puts += 1;
        Ok(Response::new(PutRowResponse { version: truth.puts }))
    }

    async fn delete_rows(
        &self,
        request: Request<DeleteRowsRequest>,
    ) -> Result<Response<DeleteRowsResponse>, Status> {
        let beginning = request.into_inner().beginning;
        let mut truth = self.truth();
        let before = truth.rows.len();
        truth.rows.retain(|row| !row.starts_with(&beginning));
        Ok(Response::new(DeleteRowsResponse { rows: (before - truth.rows.len()) as u64 }))
    }

    type ReadLedgerStream = ReceiverStream<Result<LedgerEvents, Status>>;

    async fn read_ledger(
        &self,
        request: Request<ReadLedgerRequest>,
    ) -> Result<Response<Self::ReadLedgerStream>, Status> {
        let from = request.into_inner().from_seq;
        let mut truth = self.truth();
        truth.crowd_goes();
        truth.leads_come_and_go();
        let events: Vec<LedgerEvent> =
            truth.ledger.iter().filter(|event| event.seq >= from).cloned().collect();
        let (batches, stream) = mpsc::channel(1);
        batches.try_send(Ok(LedgerEvents { events })).map_err(|_| Status::internal("no room"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Serves edge, origin and lock service; where.
pub(crate) async fn serve(fakes: &Fakes, tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .add_service(EdgeServer::new(fakes.clone()))
        .add_service(OriginAdminServer::new(fakes.clone()))
        .add_service(LockServiceServer::new(fakes.clone()))
        .add_service(LockAdminServer::new(fakes.clone()))
        .add_service(OriginServer::new(fakes.clone()));
    tasks.spawn(async move {
        server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
    });
    at
}

/// Joins and acknowledges whatever it hears.
pub(crate) async fn member(control_port: u16, role: Role, instance: String, fakes: Fakes) {
    let control = Endpoint::from_shared(format!("http://127.0.0.1:{control_port}")).unwrap();
    let mut client = ControlClient::new(control.connect().await.unwrap());
    let (reports, stream) = mpsc::channel(4);
    let mut report =
        MemberReport { role: role.into(), instance, address: "-:1".to_owned(), ..MemberReport::default() };
    reports.send(report.clone()).await.unwrap();
    let mut updates = client.session(ReceiverStream::new(stream)).await.unwrap().into_inner();
    while let Ok(Some(ControlUpdate { config, members, links })) = updates.message().await {
        if let Some(config) = config {
            report.config_version = config.version;
            let mut truth = fakes.truth();
            (truth.config_version, truth.prefix) = (config.version, config.key_prefix);
        }
        if let Some(v1::Membership { version, nodes }) = members {
            report.members_version = version;
            fakes.truth().members = nodes.into_iter().map(|node| node.instance).collect();
        }
        if let Some(links) = links {
            report.links_version = links.version;
            let bad = links.bad.iter().any(|link| link.instance == report.instance);
            report.links_hit = if bad { fakes.truth().links_hit.clone() } else { Vec::new() };
        }
        if reports.send(report.clone()).await.is_err() {
            return;
        }
    }
}

pub(crate) fn fleet_spec(nodes: u32) -> FleetSpec {
    let nowhere = PathBuf::from("/nowhere");
    FleetSpec {
        nodes,
        origin_rows: 1,
        origin_pool: 1,
        state_dir: nowhere.clone(),
        log_dir: nowhere,
        redis_replica: false,
        postgres: false,
        observe: false,
        env: Vec::new(),
        discovery: None,
    }
}
