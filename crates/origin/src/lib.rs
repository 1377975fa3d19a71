//! The slow SQL origin and its ledger: the ground truth of every experiment.
//!
//! A fetch is recorded at arrival, passes a gate, spends the latency that a model draws for it, queues for a connection
//! of a bounded pool, runs a real query, and is recorded again when it ends, however it ends. What stands in the ledger,
//! not what any node says, decides how large a herd was.
//!
//! It never caches, coalesces or limits rebuilds by key: whoever asks, works it, and its gate looks at load alone. It never
//! does work that it cannot record.
//!
//! - [`fetch`]: one fetch from arrival to answer.
//! - [`ledger`]: the append-only file and the thread that writes it.
//! - [`store`]: rows in Postgres or SQLite, migrations, seeding, the pool.
//! - [`latency`]: fixed and log-normal latency, slow windows; pure.
//! - [`failures`]: failures on command; pure.
//! - [`stuck`]: queries that hang on command.
//! - [`grpc`]: the services `Origin` and `OriginAdmin`.
//! - [`metrics`]: what it counts.
//! - [`settings`]: flags and environment.
//! - `conformance` (a feature): what the origin promises on any database, as test bodies.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod failures;
pub mod fetch;
pub mod grpc;
pub mod latency;
pub mod ledger;
pub mod metrics;
pub mod settings;
pub mod store;
pub mod stuck;

use anyhow::Context as _;
use failures::FailureModel;
use fetch::Fetcher;
use grpc::OriginService;
use herd_service::gate::Limits;
use herd_service::kit::{self, Service};
use latency::LatencyModel;
use ledger::{Ledger, LedgerOptions};
use metrics::OriginMetrics;
use settings::{OriginArgs, ROLE};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use store::{Store, StoreOptions};

/// Runs the process, from its settings to its exit status.
#[must_use]
pub fn run() -> ExitCode {
    let opened = OnceLock::new();
    let status = kit::run(ROLE, |args, service| story(args, service, &opened));
    // The runtime is gone, and with it every fetch that the drain cut off: each has recorded its end by now.
    let closed = opened.get().map_or(Ok(()), |ledger: &Arc<Ledger>| ledger.close());
    match closed {
        Ok(()) => status,
        Err(error) => {
            eprintln!("herd-origin: {:#}", anyhow::Error::new(error));
            ExitCode::FAILURE
        }
    }
}

async fn story(args: OriginArgs, mut service: Service, opened: &OnceLock<Arc<Ledger>>) -> anyhow::Result<()> {
    let ledger = open_ledger(&args)?;
    let ledger = Arc::clone(opened.get_or_init(|| Arc::new(ledger)));
    let shutdown = service.shutdown();
    let options = store_options(&args);
    let store = tokio::select! {
        store = Store::open(&options) => store.context("the origin has no rows")?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let latency = LatencyModel::fixed(args.latency_ms, args.seed);
    let metrics = OriginMetrics::register(service.metrics());
    // Numbers of their own: whether a fetch fails shall not depend on how slow it is.
    let failures = FailureModel::none(args.seed.rotate_left(32));
    let limits = Limits::without_queue(args.max_in_flight);
    let fetcher = Arc::new(Fetcher::new(store, ledger, latency, failures, limits, metrics));
    let services = OriginService::new(Arc::clone(&fetcher));
    service.add(services.origin()).add(services.admin());
    service.serve().await?;
    // With fetches cut off by the drain the pool would wait for them in vain.
    if fetcher.gate().in_flight() == 0 {
        fetcher.store().close().await;
    }
    Ok(())
}

fn open_ledger(args: &OriginArgs) -> anyhow::Result<Ledger> {
    let mut options = LedgerOptions::at(&args.ledger);
    options.file_bytes_max = args.ledger_max_mib << 20;
    let (ledger, recovery) = Ledger::open(&options)?;
    if recovery.cut_bytes > 0 {
        tracing::warn!(
            bytes = recovery.cut_bytes,
            events = recovery.events,
            "the ledger ended in a torn record, which is cut off"
        );
    }
    Ok(ledger)
}

fn store_options(args: &OriginArgs) -> StoreOptions {
    StoreOptions {
        database: args.database_url.clone(),
        rows: args.rows,
        pool_size: args.pool_size,
        start_wait_max: Duration::from_millis(args.database_wait_ms),
    }
}
