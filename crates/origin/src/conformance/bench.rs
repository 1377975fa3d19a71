//! What the test bodies stand on.

use crate::failures::FailureModel;
use crate::fetch::{FetchError, Fetched, Fetcher};
use crate::latency::LatencyModel;
use crate::ledger::{Ledger, LedgerOptions};
use crate::metrics::OriginMetrics;
use crate::store::{Database, Row, Store, StoreOptions};
use futures::TryStreamExt as _;
use herd_service::gate::Limits;
use herd_service::metrics::Metrics;
use herd_wire::v1::{FetchRequest, LedgerEvent, RebuildEnded, RebuildStarted, ledger_event::Kind};
use sqlx::{ConnectOptions as _, Connection as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Longer than any step of a body takes.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// An origin without its process.
pub(super) struct Bench {
    pub(super) fetcher: Fetcher,
    pub(super) shown: Metrics,
    pub(super) metrics: OriginMetrics,
}

impl Bench {
    pub(super) async fn open(
        url: &str,
        scratch: &Path,
        pool_size: u32,
        latency_ms: u32,
        max_in_flight: u32,
    ) -> Self {
        static LEDGERS: AtomicU64 = AtomicU64::new(0);
        let path = scratch.join(format!("{}.ledger", LEDGERS.fetch_add(1, Ordering::Relaxed)));
        let (ledger, _) = Ledger::open(&LedgerOptions::at(path)).expect("a new ledger opens");
        let shown = Metrics::new();
        let metrics = OriginMetrics::register(&shown);
        let model = LatencyModel::fixed(latency_ms, 1);
        let store = open(url, 1_000, pool_size).await;
        let (failures, limits) = (FailureModel::none(1), Limits::without_queue(max_in_flight));
        let fetcher = Fetcher::new(store, Arc::new(ledger), model, failures, limits, metrics.clone());
        Self { fetcher, shown, metrics }
    }

    pub(super) async fn fetch(&self, key: &str) -> Result<Fetched, FetchError> {
        self.fetcher.fetch(request(key), None, Instant::now() + 20 * LONG).await
    }

    /// How the rebuilds ended, by number, in the order of their ends.
    pub(super) async fn ends(&self) -> Vec<(u64, RebuildEnded)> {
        let ends = self.events().await.into_iter().filter_map(|event| match event.kind {
            Some(Kind::Ended(end)) => Some((event.rebuild, end)),
            _ => None,
        });
        ends.collect()
    }

    pub(super) async fn events(&self) -> Vec<LedgerEvent> {
        let extent = self.fetcher.ledger().barrier(1).await.expect("the ledger is open");
        let chunks: Vec<_> = extent.chunks().try_collect().await.expect("the ledger can be read");
        chunks.concat()
    }

    pub(super) fn queries(&self) -> u64 {
        self.metrics.db_query.get()
    }

    pub(super) async fn close(self) {
        self.fetcher.store().close().await;
        self.fetcher.ledger().close().expect("everything is written");
    }
}

pub(super) fn request(key: &str) -> FetchRequest {
    FetchRequest {
        key: key.into(),
        cache_key: format!("p:{key}"),
        node: "node-1".into(),
        ..FetchRequest::default()
    }
}

pub(super) fn started(event: &LedgerEvent) -> &RebuildStarted {
    match &event.kind {
        Some(Kind::Started(started)) => started,
        _ => panic!("a start is expected: {event:?}"),
    }
}

pub(super) fn ended(event: &LedgerEvent) -> &RebuildEnded {
    match &event.kind {
        Some(Kind::Ended(ended)) => ended,
        _ => panic!("an end is expected: {event:?}"),
    }
}

pub(super) async fn open(url: &str, rows: u64, pool_size: u32) -> Store {
    let database = url.parse().expect("the URL is good");
    let options = StoreOptions { database, rows, pool_size, start_wait_max: LONG };
    Store::open(&options).await.expect("the database is there")
}

pub(super) async fn row(store: &Store, key: &str) -> Option<Row> {
    let deadline = Instant::now() + LONG;
    let mut connection = store.acquire(deadline).await.expect("the database is there");
    connection.select(key, deadline).await.expect("the database answers")
}

/// One statement on a connection of its own.
pub(super) async fn run(url: &str, statement: &'static str) {
    match url.parse().expect("the URL is good") {
        Database::Sqlite(to) => {
            let mut connection = to.connect().await.expect("the database is there");
            sqlx::query(statement).execute(&mut connection).await.expect("the statement runs");
            connection.close().await.expect("the connection closes");
        }
        Database::Postgres(to) => {
            let mut connection = to.connect().await.expect("the database is there");
            sqlx::query(statement).execute(&mut connection).await.expect("the statement runs");
            connection.close().await.expect("the connection closes");
        }
    }
}
