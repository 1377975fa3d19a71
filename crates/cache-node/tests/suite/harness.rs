//! Nodes inside the test, with a real Redis and fakes around them.

use crate::fakes::{FakeLock, FakeOrigin, Serving};
use crate::redis_server::RedisServer;
use herd_cache_node::grpc::CacheNodeService;
use herd_cache_node::metrics::NodeMetrics;
use herd_cache_node::node::Node;
use herd_cache_node::peers::{Locks, Origin};
use herd_cache_node::store::write::{Guard, NewValue};
use herd_cache_node::store::{Look, Place, Store};
use herd_service::metrics::Metrics;
use herd_service::rpc::{channel, peer_status};
use herd_wire::error::ErrorSource;
use herd_wire::v1::cache_node_client::CacheNodeClient;
use herd_wire::v1::cache_node_server::CacheNodeServer;
use herd_wire::v1::{
    self, GetRequest, GetResponse, InvalidateRequest, PutRequest, PutResponse, StoreWrite, WarmRequest,
    WarmResponse, WritesRequest,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// Parts that are served once for all nodes of a test.
pub(crate) struct Parts {
    pub(crate) redis: RedisServer,
    pub(crate) lock: FakeLock,
    pub(crate) origin: FakeOrigin,
    pub(crate) lock_serving: Option<Serving>,
    pub(crate) origin_serving: Option<Serving>,
    /// A second look at Redis, not through any node.
    pub(crate) store: Store,
    lock_url: String,
    origin_url: String,
}

/// One node, behind gRPC as in life.
pub(crate) struct TestNode {
    pub(crate) node: Arc<Node>,
    pub(crate) client: CacheNodeClient<Channel>,
    pub(crate) metrics: Metrics,
    _serving: Serving,
    time: JoinHandle<()>,
}

impl Parts {
    pub(crate) async fn up() -> Self {
        let redis = RedisServer::start();
        redis.set_epoch(1);
        let (lock, origin) = (FakeLock::default(), FakeOrigin::new());
        let (lock_serving, origin_serving) = (lock.serve(), origin.serve());
        let store = Store::new(&redis.url(), "test").expect("a valid address");
        Self {
            lock_url: lock_serving.url(),
            origin_url: origin_serving.url(),
            lock_serving: Some(lock_serving),
            origin_serving: Some(origin_serving),
            redis,
            lock,
            origin,
            store,
        }
    }

    /// A node that has not heard of a configuration.
    pub(crate) async fn bare_node(&self, instance: &str) -> TestNode {
        let metrics = Metrics::new();
        let counted = NodeMetrics::register(&metrics);
        let instance: Arc<str> = instance.into();
        let store = Store::new(&self.redis.url(), &instance).expect("a valid address");
        let locks = Locks::new(channel(&self.lock_url).expect("a URL"), &instance);
        let origin = Origin::new(channel(&self.origin_url).expect("a URL"), &instance);
        let node = Node::new(store, locks, origin, counted.clone());
        let service = CacheNodeService::new(node.clone(), counted, instance, Duration::from_secs(10));
        let serving = crate::fakes::serve(0, CacheNodeServer::new(service));
        let client = CacheNodeClient::new(channel(&serving.url()).expect("a URL"));
        let time = tokio::spawn(node.clone().keep_time());
        TestNode { node, client, metrics, _serving: serving, time }
    }

    pub(crate) async fn node(&self, instance: &str, fleet: &v1::FleetConfig) -> TestNode {
        let node = self.bare_node(instance).await;
        node.configure(fleet);
        node
    }

    /// Stores a value of a version, or an absence, for a minute: as another node would.
    pub(crate) async fn stored(
        &self,
        cache_key: &str,
        (observed, version): (u64, u64),
        body: Option<&[u8]>,
        guard: Guard,
    ) {
        let new = NewValue {
            observed,
            ttl_ms: 60_000,
            grace_ms: 0,
            version,
            rebuild_trace: [1; 16],
            rebuild_span: [2; 8],
            rebuild_took_us: 0,
            body,
        };
        let place = Place { prefix: "p:", cache_key };
        self.store.write(place, new, guard).await.expect("a running Redis").expect("nothing newer");
    }

    /// What the store holds, body or absence, with the generation.
    pub(crate) async fn held(&self, cache_key: &str) -> (Option<String>, u64) {
        let look = self.store.look(cache_key).await.expect("a running Redis");
        let body = match &look {
            Look::Fresh { stored, .. } | Look::Expired { stored, .. } => {
                Some(String::from_utf8_lossy(&stored.body).into_owned())
            }
            Look::Negative { .. } | Look::Absent { .. } => None,
        };
        (body, look.generation())
    }
}

impl TestNode {
    pub(crate) fn configure(&self, fleet: &v1::FleetConfig) {
        self.node.configure(herd_cache_node::config::compile(fleet).expect("a good configuration"));
    }

    /// Begins a request; abort the handle and the client has hung up.
    pub(crate) fn begin(&self, key: &str) -> JoinHandle<Result<GetResponse, Status>> {
        self.begin_within(key, Duration::from_secs(10))
    }

    pub(crate) fn begin_within(
        &self,
        key: &str,
        deadline: Duration,
    ) -> JoinHandle<Result<GetResponse, Status>> {
        let mut client = self.client.clone();
        let mut request = Request::new(GetRequest { key: key.to_owned() });
        request.set_timeout(deadline);
        tokio::spawn(async move { as_the_edge_sees_it(client.get(request).await) })
    }

    pub(crate) async fn get(&self, key: &str) -> Result<GetResponse, Status> {
        self.begin(key).await.expect("no panic")
    }

    pub(crate) async fn invalidate(&self, key: &str) -> Result<u64, Status> {
        let answer = self.client.clone().invalidate(InvalidateRequest { key: key.to_owned() }).await?;
        Ok(answer.into_inner().generation)
    }

    pub(crate) async fn put(&self, key: &str, value: &str) -> Result<PutResponse, Status> {
        self.begin_put(key, value, Duration::from_secs(10)).await.expect("no panic")
    }

    /// Begins a put; abort the handle and the client has hung up.
    pub(crate) fn begin_put(
        &self,
        key: &str,
        value: &str,
        deadline: Duration,
    ) -> JoinHandle<Result<PutResponse, Status>> {
        let mut client = self.client.clone();
        let mut request = Request::new(PutRequest { key: key.to_owned(), value: value.into() });
        request.set_timeout(deadline);
        tokio::spawn(async move { as_the_edge_sees_it(client.put(request).await) })
    }

    pub(crate) async fn warm(&self, key: &str, key_prefix: &str) -> Result<WarmResponse, Status> {
        let request = WarmRequest { key: key.to_owned(), key_prefix: key_prefix.to_owned() };
        self.client.clone().warm(request).await.map(tonic::Response::into_inner)
    }

    /// The store's record under a prefix, in the chunks in which it came.
    pub(crate) async fn writes(&self, key_prefix: &str) -> Result<Vec<Vec<StoreWrite>>, Status> {
        let request = WritesRequest { key_prefix: key_prefix.to_owned() };
        let mut stream = self.client.clone().writes(request).await?.into_inner();
        let mut chunks = Vec::new();
        stream.message().await?.expect("the first message always comes");
        while let Some(chunk) = stream.message().await? {
            chunks.push(chunk.writes);
        }
        Ok(chunks)
    }

    /// When the store's record under a prefix began, and whether it was cut.
    pub(crate) async fn extent(&self, key_prefix: &str) -> (u64, bool) {
        let request = WritesRequest { key_prefix: key_prefix.to_owned() };
        let mut stream = self.client.clone().writes(request).await.expect("a node").into_inner();
        let first = stream.message().await.expect("a record").expect("the first message always comes");
        (first.began_us, first.trimmed)
    }

    /// Whether a line stands in the metrics.
    pub(crate) fn counted(&self, line: &str) -> bool {
        self.metrics.encode().lines().any(|there| there == line)
    }

    /// Waits until so many lookups and flights are live.
    pub(crate) async fn busy(&self, lookups: usize, flights: usize) {
        eventually(&format!("{lookups} lookups and {flights} flights"), || {
            self.node.busy() == (lookups, flights)
        })
        .await;
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.time.abort();
    }
}

/// At a deadline the client's own timer may be first, and calls it cancelled.
fn as_the_edge_sees_it<T>(answer: Result<Response<T>, Status>) -> Result<T, Status> {
    answer.map(Response::into_inner).map_err(|status| peer_status(status, ErrorSource::Peer))
}

/// Waits for something to be true, for 5 s at most.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(tokio::time::Instant::now() < end, "not within 5 s: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn text(answer: &GetResponse) -> String {
    String::from_utf8_lossy(&answer.value).into_owned()
}

/// Single-flight, values fresh for a minute, prefix `p:`.
pub(crate) fn single_flight() -> v1::FleetConfig {
    v1::FleetConfig {
        version: 1,
        key_prefix: "p:".to_owned(),
        routing: v1::Routing::Spread.into(),
        policy: Some(v1::PolicyConfig {
            ttl_ms: 60_000,
            rebuild_deadline_ms: 5_000,
            coalescing: v1::Coalescing::SingleFlight.into(),
            flight_second_look: true,
            lock: None,
            write_guard: v1::WriteGuard::Fenced.into(),
            ..v1::PolicyConfig::default()
        }),
        ..v1::FleetConfig::default()
    }
}

/// The same under the fleet's lock, failing open.
pub(crate) fn fleet_lock() -> v1::FleetConfig {
    let mut fleet = single_flight();
    fleet.policy.as_mut().expect("set above").lock = Some(v1::LockConfig {
        expiry_ms: 5_000,
        wait_ms: 5_000,
        renew: false,
        second_look: true,
        on_wait_timeout: v1::OnWaitTimeout::WaitError.into(),
        on_unavailable: v1::OnLockUnavailable::FailOpen.into(),
        ..v1::LockConfig::default()
    });
    fleet
}
