//! A fleet for a test: a testbed of local processes or of containers, its control plane, and clients of its parts.

use herd_cluster::processes::ProcessTestbed;
use herd_experiment::control::ControlPlane;
use herd_experiment::ledger::OriginLab;
use herd_experiment::run;
use herd_experiment::testbed::{FleetSpec, Part, Signal, Silent, Testbed};
use herd_history::LedgerRow;
use herd_wire::v1::edge_client::EdgeClient;
use herd_wire::v1::{self, GetRequest, GetResponse};
use std::net::SocketAddr;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// How long anything that a test waits for may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A fleet that is up, with the last configuration applied by all of it.
pub(crate) struct TestFleet {
    pub(crate) testbed: Box<dyn Testbed>,
    pub(crate) edge: EdgeClient<Channel>,
    pub(crate) origin: OriginLab,
    nodes: u32,
    control: ControlPlane,
    _folder: tempfile::TempDir,
}

/// The policy that most tests want: single-flight, a fleet lock, fenced writes.
pub(crate) fn locked(ttl_ms: u32) -> v1::PolicyConfig {
    v1::PolicyConfig {
        lock: Some(v1::LockConfig {
            expiry_ms: 5_000,
            wait_ms: 5_000,
            renew: false,
            second_look: true,
            on_wait_timeout: v1::OnWaitTimeout::WaitError.into(),
            on_unavailable: v1::OnLockUnavailable::FailClosed.into(),
            ..v1::LockConfig::default()
        }),
        ..coalesced(ttl_ms)
    }
}

/// Single-flight without a lock.
pub(crate) fn coalesced(ttl_ms: u32) -> v1::PolicyConfig {
    v1::PolicyConfig {
        ttl_ms,
        rebuild_deadline_ms: 5_000,
        coalescing: v1::Coalescing::SingleFlight.into(),
        flight_second_look: true,
        write_guard: v1::WriteGuard::Fenced.into(),
        ..v1::PolicyConfig::default()
    }
}

/// What a test's faults need beside the fleet.
#[derive(Clone, Copy, Default)]
pub(crate) struct Beside {
    /// A second Redis that follows the first.
    pub(crate) redis_replica: bool,
    /// A database that is a process on local processes, too.
    pub(crate) postgres: bool,
}

impl TestFleet {
    /// Local processes.
    pub(crate) async fn processes(nodes: u32, policy: v1::PolicyConfig, env: &[(&str, &str)]) -> Self {
        Self::up(Box::new(ProcessTestbed::new()), nodes, policy, env).await
    }

    /// Brings a fleet up and waits until every node serves under `policy`.
    pub(crate) async fn up(
        testbed: Box<dyn Testbed>,
        nodes: u32,
        policy: v1::PolicyConfig,
        env: &[(&str, &str)],
    ) -> Self {
        Self::bring_up(testbed, nodes, policy, env, Beside::default()).await
    }

    /// The same with what a test's faults need.
    pub(crate) async fn up_beside(
        testbed: Box<dyn Testbed>,
        nodes: u32,
        policy: v1::PolicyConfig,
        beside: Beside,
    ) -> Self {
        Self::bring_up(testbed, nodes, policy, &[], beside).await
    }

    async fn bring_up(
        mut testbed: Box<dyn Testbed>,
        nodes: u32,
        policy: v1::PolicyConfig,
        env: &[(&str, &str)],
        beside: Beside,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder for logs");
        let spec = FleetSpec {
            nodes,
            origin_rows: 1_000,
            origin_pool: 16,
            state_dir: folder.path().join("state"),
            log_dir: folder.path().join("logs"),
            redis_replica: beside.redis_replica,
            postgres: beside.postgres,
            observe: false,
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            discovery: None,
        };
        let listen = SocketAddr::new(testbed.control_listen(), 0);
        let control = ControlPlane::start(listen).await.expect("the control plane listens");
        let fleet =
            run::bring_up(testbed.as_mut(), &spec, &control, &Silent).await.expect("the fleet comes up");
        assert_eq!(fleet.nodes_joined, nodes, "all nodes join");
        let at = fleet.endpoints;
        let mut fleet = Self {
            edge: EdgeClient::new(channel(&at.edge_grpc)),
            origin: OriginLab::new(&at.origin_grpc).expect("an address"),
            testbed,
            nodes,
            control,
            _folder: folder,
        };
        fleet.configure(policy).await;
        fleet
    }

    /// Publishes a policy and waits until every node has applied it.
    pub(crate) async fn configure(&mut self, policy: v1::PolicyConfig) -> u64 {
        let config = v1::FleetConfig {
            version: 0,
            key_prefix: "test:".into(),
            routing: v1::Routing::Spread.into(),
            policy: Some(policy),
            edge_gate: None,
            other_key_prefix: String::new(),
        };
        let version = self.control.publish(config);
        self.control
            .wait_applied(version, self.nodes, LIMIT)
            .await
            .expect("all nodes apply the configuration");
        version
    }

    /// Sets a fixed origin latency.
    pub(crate) async fn origin_takes(&mut self, latency_ms: u32) {
        let latency = v1::Latency {
            model: v1::latency::Model::Fixed.into(),
            median_ms: latency_ms,
            ..v1::Latency::default()
        };
        self.origin.set_latency(latency).await.expect("the origin takes a latency");
    }

    /// One read, with a deadline of ten seconds.
    pub(crate) async fn get(&self, key: &str) -> Result<GetResponse, Status> {
        let mut request = Request::new(GetRequest { key: key.to_owned() });
        request.set_timeout(Duration::from_secs(10));
        self.edge.clone().get(request).await.map(tonic::Response::into_inner)
    }

    /// Reads until it works again: a part that came back is found without anybody's help.
    pub(crate) async fn healed(&self, key: &str) -> GetResponse {
        let waiting = async {
            loop {
                match self.get(key).await {
                    Ok(answer) => return answer,
                    Err(status) if status.code() == Code::Internal => {
                        panic!("not a clear status: {status:?}")
                    }
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.expect("the fleet heals by itself")
    }

    /// All rebuilds of keys with this ending that the origin has recorded so far.
    pub(crate) async fn ledger(&mut self, key: &str) -> Vec<LedgerRow> {
        let (rows, _) =
            self.origin.read_span(1, Duration::from_secs(10)).await.expect("the ledger is readable");
        rows.into_iter().filter(|row| row.key.ends_with(key)).collect()
    }

    /// Does something to a part.
    pub(crate) async fn signal(&mut self, part: Part, index: u32, signal: Signal) {
        self.testbed.signal(part, index, signal).await.expect("the part takes the signal");
    }

    /// Looks again where the parts are: one that was started again may have moved.
    pub(crate) fn find_parts(&mut self) {
        let at = self.testbed.endpoints().expect("the fleet is up");
        self.edge = EdgeClient::new(channel(&at.edge_grpc));
        self.origin = OriginLab::new(&at.origin_grpc).expect("an address");
    }

    /// Takes everything down and finds nothing amiss.
    pub(crate) async fn down(mut self) {
        self.testbed.down().await.expect("the fleet goes down cleanly");
        self.control.stop().await;
    }
}

fn channel(to: &str) -> Channel {
    Endpoint::from_shared(to.to_owned()).expect("an address").connect_lazy()
}
