//! The process's story, from joining the fleet to the drain, with a fake control plane.

use crate::fakes::{Serving, serve};
use crate::harness::{Parts, eventually, fleet_lock, single_flight};
use clap::Parser as _;
use herd_cache_node::{run::run, settings};
use herd_service::kit::{Service, ServiceArgs};
use herd_service::rpc::channel;
use herd_wire::v1::bad_link::Rule;
use herd_wire::v1::cache_node_client::CacheNodeClient;
use herd_wire::v1::control_server::{Control, ControlServer};
use herd_wire::v1::{
    self, BadLink, ControlUpdate, FleetConfig, GetRequest, GetResponse, Links, MemberReport, Role,
};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

/// Sends every session the newest configuration and notes what members report.
#[derive(Clone)]
pub(crate) struct FakeControl {
    update: Arc<watch::Sender<ControlUpdate>>,
    reported: Arc<watch::Sender<MemberReport>>,
    members: Arc<watch::Sender<BTreeMap<String, u64>>>,
}

#[tonic::async_trait]
impl Control for FakeControl {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<ControlUpdate, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<MemberReport>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (mut reports, noted) = (request.into_inner(), self.clone());
        tokio::spawn(async move {
            while let Ok(Some(report)) = reports.message().await {
                noted.members.send_modify(|members| {
                    members.insert(report.instance.clone(), report.config_version);
                });
                noted.reported.send_replace(report);
            }
        });
        Ok(Response::new(Box::pin(WatchStream::new(self.update.subscribe()).map(Ok))))
    }
}

impl FakeControl {
    pub(crate) fn new() -> Self {
        Self { update: Arc::default(), reported: Arc::default(), members: Arc::default() }
    }

    pub(crate) fn serve(&self, port: u16) -> Serving {
        serve(port, ControlServer::new(self.clone()))
    }

    pub(crate) fn say(&self, config: FleetConfig) {
        self.update.send_replace(ControlUpdate { config: Some(config), members: None, links: None });
    }

    /// Brings the links into a state, and waits until the member reports that they are.
    async fn links(&self, links: Links) {
        let version = links.version;
        self.update.send_modify(|update| update.links = Some(links));
        self.reports(|report| report.links_version == version).await;
    }

    /// Waits until the member reports that its bad link to this peer hit a call.
    async fn hit(&self, peer: v1::Peer) {
        self.reports(|report| report.links_hit.iter().any(|hits| hits.peer() == peer && hits.hit > 0)).await;
    }

    async fn reports(&self, fits: impl FnMut(&MemberReport) -> bool) {
        let mut reported = self.reported.subscribe();
        let reported = tokio::time::timeout(REPORTED_WITHIN, reported.wait_for(fits)).await;
        reported.expect("reported within 5 s").expect("the sender lives");
    }

    /// Waits until this member applied some configuration.
    pub(crate) async fn acknowledged_by(&self, instance: &str) {
        let mut members = self.members.subscribe();
        let wait = members.wait_for(|members| members.get(instance).is_some_and(|version| *version > 0));
        tokio::time::timeout(REPORTED_WITHIN, wait)
            .await
            .expect("acknowledged within 5 s")
            .expect("the sender lives");
    }

    /// The member's report that it applied this version.
    async fn acknowledged(&self, version: u64) -> MemberReport {
        let mut reported = self.reported.subscribe();
        let wait =
            reported.wait_for(|report| !report.instance.is_empty() && report.config_version == version);
        tokio::time::timeout(REPORTED_WITHIN, wait)
            .await
            .expect("acknowledged within 5 s")
            .expect("the sender lives")
            .clone()
    }
}

/// How long a test waits for a report.
const REPORTED_WITHIN: Duration = Duration::from_secs(5);

async fn get(client: &CacheNodeClient<Channel>, key: &str) -> Result<GetResponse, Status> {
    client.clone().get(GetRequest { key: key.to_owned() }).await.map(Response::into_inner)
}

/// A node joins, serves nothing before its first configuration, takes each new one while it runs, refuses a bad one, keeps
/// the last while the control plane is away, and drains when it is told to.
#[tokio::test]
async fn from_joining_to_the_drain() {
    let parts = Parts::up().await;
    let control = FakeControl::new();
    let serving = control.serve(0);
    let port = serving.address.port();
    let words = ["herd-cache-node", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--instance", "n1"];
    let (redis, lock) = (parts.redis.url(), parts.lock_serving.as_ref().unwrap().url());
    let (origin, plane) = (parts.origin_serving.as_ref().unwrap().url(), serving.url());
    let peers =
        ["--redis-url", &redis, "--lock-url", &lock, "--origin-url", &origin, "--control-url", &plane];
    let args = settings::NodeArgs::try_parse_from(words.into_iter().chain(peers)).unwrap();
    let service = Service::start(settings::ROLE, &ServiceArgs::ephemeral("n1")).await.unwrap();
    let client = CacheNodeClient::new(channel(&format!("http://{}", service.grpc_address())).unwrap());
    let (address, stop) = (service.grpc_address(), service.shutdown());
    let running = tokio::spawn(run(args, service));

    let introduced = control.acknowledged(0).await;
    assert_eq!((introduced.role(), introduced.instance.as_str()), (Role::CacheNode, "n1"));
    assert_eq!(introduced.address, address.to_string());
    assert_eq!(get(&client, "item-1").await.unwrap_err().code(), Code::Unavailable);

    control.say(single_flight());
    control.acknowledged(1).await;
    assert_eq!(get(&client, "item-1").await.unwrap().config_version, 1);

    let bad = FleetConfig { version: 2, key_prefix: "not a prefix".to_owned(), ..single_flight() };
    control.say(bad);
    let locked = FleetConfig { version: 3, key_prefix: "q:".to_owned(), ..fleet_lock() };
    control.say(locked);
    control.acknowledged(3).await;
    assert_eq!(get(&client, "item-1").await.unwrap().config_version, 3);

    drop(serving);
    assert_eq!(get(&client, "item-1").await.unwrap().config_version, 3, "kept without a control plane");
    let again = FakeControl::new();
    again.say(single_flight());
    let _serving = again.serve(port);
    again.acknowledged(1).await;
    assert_eq!(get(&client, "item-1").await.unwrap().config_version, 1, "a new control plane counts anew");

    stop.cancel();
    eventually("the node has drained", || running.is_finished()).await;
    running.await.unwrap().unwrap();
}

/// A node that is started for link faults works through its relays. Each of its links can be made bad, which ends requests by
/// their deadline, and is good again when it is mended; the tier in the process serves again afterwards.
#[tokio::test]
async fn bad_links() {
    let parts = Parts::up().await;
    let control = FakeControl::new();
    let serving = control.serve(0);
    let words = ["herd-cache-node", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--link-faults"];
    let (redis, lock) = (parts.redis.url(), parts.lock_serving.as_ref().unwrap().url());
    let (origin, plane) = (parts.origin_serving.as_ref().unwrap().url(), serving.url());
    let peers =
        ["--redis-url", &redis, "--lock-url", &lock, "--origin-url", &origin, "--control-url", &plane];
    let args = settings::NodeArgs::try_parse_from(words.into_iter().chain(peers)).unwrap();
    let service = Service::start(settings::ROLE, &ServiceArgs::ephemeral("n1")).await.unwrap();
    let client = CacheNodeClient::new(channel(&format!("http://{}", service.grpc_address())).unwrap());
    let (metrics, stop) = (service.metrics().clone(), service.shutdown());
    let running = tokio::spawn(run(args, service));
    let mut fleet = fleet_lock();
    let policy = fleet.policy.as_mut().unwrap();
    policy.rebuild_deadline_ms = 300;
    policy.local = Some(v1::LocalConfig { ttl_ms: 60_000, entries_max: 100, incoherent: false });
    let lock = policy.lock.as_mut().unwrap();
    (lock.expiry_ms, lock.wait_ms) = (300, 300);
    lock.set_on_unavailable(v1::OnLockUnavailable::FailClosed);
    control.say(fleet);
    control.acknowledged(1).await;
    let local_hits =
        || metrics.encode().lines().find(|line| line.contains("\"hit_local\"")).map(str::to_owned);
    let hit = async |key: &str| get_within(&client, key, Duration::from_secs(1)).await;
    hit("item-0").await.unwrap();

    let mut version = 0;
    for peer in [v1::Peer::Origin, v1::Peer::LockService, v1::Peer::Redis] {
        let bad = BadLink { instance: "n1".to_owned(), peer: peer.into(), rule: Some(Rule::BlackHole(true)) };
        version += 1;
        control.links(Links { version, bad: vec![bad] }).await;
        let key = format!("item-{version}");
        let refused = tokio::time::timeout(REPORTED_WITHIN, hit(&key)).await;
        refused.expect("it has a deadline").expect_err("nothing passes");
        control.hit(peer).await;
        version += 1;
        control.links(Links { version, bad: vec![] }).await;
        let healed = async {
            while hit(&key).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(REPORTED_WITHIN, healed).await.expect("it heals");
    }
    let before = local_hits();
    let end = tokio::time::Instant::now() + REPORTED_WITHIN;
    while local_hits() == before {
        hit("item-1").await.unwrap();
        assert!(tokio::time::Instant::now() < end, "the tier in the process did not open again");
    }
    stop.cancel();
    running.await.unwrap().unwrap();
}

async fn get_within(
    client: &CacheNodeClient<Channel>,
    key: &str,
    deadline: Duration,
) -> Result<GetResponse, Status> {
    let mut request = Request::new(GetRequest { key: key.to_owned() });
    request.set_timeout(deadline);
    client.clone().get(request).await.map(Response::into_inner)
}
