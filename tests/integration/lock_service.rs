//! The lock service's promises on a Redis container that is restarted, paused and emptied.

use crate::containers::request;
use herd_cluster::images;
use herd_lease::{Block, Epoch, Token};
use herd_lock_service::conformance::{RedisUnderTest, faults, known_bad, soon, store, waiting};
use herd_lock_service::counters::{Counters, CountersError, SqlCounters};
use std::net::TcpListener;
use std::sync::Arc;
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tokio::sync::Mutex;

/// A Redis with its append-only file inside the container, always on the same port of this host. Without a container it
/// is erased.
struct RedisContainer {
    port: u16,
    container: Mutex<Option<ContainerAsync<GenericImage>>>,
}

impl RedisContainer {
    async fn begin() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let redis = Self { port: free.expect("a free port").port(), container: Mutex::new(None) };
        redis.start().await;
        redis
    }

    async fn created(&self) -> ContainerAsync<GenericImage> {
        let ready = WaitFor::message_on_stdout("Ready to accept connections");
        let command = [
            "redis-server",
            "--bind",
            "0.0.0.0",
            "--protected-mode",
            "no",
            "--save",
            "",
            "--appendonly",
            "yes",
        ];
        let request = request(images::REDIS, 6379, ready).await;
        let request = request.with_cmd(command).with_mapped_port(self.port, 6379.tcp());
        request.start().await.expect("the container starts")
    }

    async fn answers(&self) -> bool {
        let client = redis::Client::open(self.url()).expect("a valid URL");
        let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return false };
        redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()
    }
}

impl RedisUnderTest for RedisContainer {
    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn stop(&self) {
        if let Some(container) = &*self.container.lock().await {
            container.stop_with_timeout(Some(10)).await.expect("the container stops");
        }
    }

    async fn start(&self) {
        let mut container = self.container.lock().await;
        match &*container {
            Some(stopped) => stopped.start().await.expect("the container starts again"),
            None => *container = Some(self.created().await),
        }
        soon("Redis to answer", async { while !self.answers().await {} }).await;
    }

    async fn erase(&self) {
        if let Some(container) = self.container.lock().await.take() {
            container.rm().await.expect("the container is removed");
        }
    }

    async fn pause(&self) {
        let container = self.container.lock().await;
        container.as_ref().expect("it runs").pause().await.expect("the container is paused");
    }

    async fn resume(&self) {
        let container = self.container.lock().await;
        container.as_ref().expect("it is paused").unpause().await.expect("the container goes on");
    }
}

/// Tokens in SQLite, shared by restarts of the service as they share the file.
#[derive(Clone)]
struct Durable(Arc<SqlCounters>, #[expect(dead_code, reason = "keeps the folder")] Arc<tempfile::TempDir>);

fn counters() -> Durable {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("tokens.db").display());
    let counters = SqlCounters::connect_lazily(&url.parse().expect("a valid URL"));
    Durable(Arc::new(counters), Arc::new(folder))
}

impl Counters for Durable {
    async fn reserve(&self, size: u32, floor: Token) -> Result<(Block, Epoch), CountersError> {
        self.0.reserve(size, floor).await
    }
    async fn next_epoch(&self, floor: Epoch) -> Result<Epoch, CountersError> {
        self.0.next_epoch(floor).await
    }
    async fn note_published(&self, epoch: Epoch) -> Result<(), CountersError> {
        self.0.note_published(epoch).await
    }
}

/// Goal: the lease store over a container passes the suite that the in-memory store passes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lease_store_conforms_on_a_container() {
    store::redis_conforms(&RedisContainer::begin().await).await;
}

/// Goal: restarted with and without its data, paused, flushed: no token repeats or goes back, and old writers stay refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_survive_what_befalls_a_container() {
    let redis = RedisContainer::begin().await;
    faults::tokens_never_go_back(&redis, counters()).await;
    faults::an_empty_redis_refuses_old_writers(&redis, counters()).await;
}

/// Goal: a Redis that is away or frozen is said in time and found again; waiters live through an empty restart, and a dead
/// holder costs no more than its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_survive_what_befalls_a_container() {
    let redis = RedisContainer::begin().await;
    faults::a_redis_that_is_away_is_said_and_heals(&redis, counters()).await;
    faults::waiters_survive_an_empty_restart(&redis, counters()).await;
    waiting::a_dead_holder_costs_its_lease(&redis, counters()).await;
    waiting::a_failure_is_shared_with_all_who_wait(&redis, counters()).await;
    waiting::a_late_failure_is_shared_too(&redis, counters()).await;
}

/// Goal: the two known-bad locks do the damage that they are kept for, on a Redis that restarts with nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_bad_locks_are_bad_on_a_container() {
    let redis = RedisContainer::begin().await;
    known_bad::volatile_tokens_come_back(&redis, counters()).await;
    known_bad::an_unconditional_release_frees_anybodys_lease(&redis, counters()).await;
}
