//! The lock service: leases with expiry and fencing tokens, one a name, for the whole fleet.
//!
//! Leases live in Redis and end by its clock. Tokens grow for ever, across restarts of Redis and of this service: they
//! come from blocks that are reserved in SQL before any token of them is granted, and the store refuses to grant one
//! that is not above the last. A Redis that comes back without its data gets a new epoch before it grants anything.
//!
//! It never decides whether to rebuild, never reads or writes cached values, and never grants while it is not sure: with
//! Redis away, or no token left, a caller is told UNAVAILABLE within half a second and decides for itself.
//!
//! Several instances may share one Redis and one database: leases, tokens and epochs stay right. They only work less
//! well together: a waiter hears of a release through another instance at its next look (every 500 ms, and when the
//! lease ends), and instances that take turns at granting use up a block of tokens each time.
//!
//! - [`locks`]: the driver of `herd_lease`'s arbiter: queues, wake-ups, timers, hang-ups, repairs.
//! - [`redis_store`]: leases in Redis by atomic scripts.
//! - [`counters`]: the durable counters in Postgres or SQLite.
//! - [`tokens`]: blocks of tokens reserved ahead.
//! - [`known_bad`]: mistakes that a request can ask for, isolated.
//! - [`grpc`]: the services `LockService` and `LockAdmin`.
//! - [`metrics`]: what it counts.
//! - [`settings`]: flags and environment.
//! - `conformance` (a feature): what the service promises over any Redis, as test bodies.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod counters;
pub mod grpc;
pub mod known_bad;
pub mod locks;
pub mod metrics;
pub mod redis_store;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod tokens;

use anyhow::Context as _;
use counters::SqlCounters;
use grpc::LockGrpc;
use herd_service::kit::{self, Service};
use locks::{Locks, Options};
use metrics::LockMetrics;
use redis_store::{RedisStore, TimeOuts};
use settings::{LockArgs, ROLE};
use std::process::ExitCode;
use std::time::Duration;

/// Runs the process, from its settings to its exit status.
#[must_use]
pub fn run() -> ExitCode {
    kit::run(ROLE, story)
}

/// How long leases that nobody took may take to be taken back after the drain.
const UNDO_MAX: Duration = Duration::from_secs(1);

/// Why a service that just started is not ready.
const UNPREPARED: &str = "the lease store or the database of tokens has not answered yet";

async fn story(args: LockArgs, mut service: Service) -> anyhow::Result<()> {
    let store = RedisStore::connect_lazily(args.redis_url.0, TimeOuts::default())
        .context("the Redis URL cannot be used")?;
    let options = Options { token_block: args.token_block, ..Options::default() };
    let counters = SqlCounters::connect_lazily(&args.database_url);
    let metrics = LockMetrics::register(service.metrics());
    let locks = Locks::start(store, counters, options, metrics.clone());

    let readiness = service.readiness().clone();
    readiness.hold(UNPREPARED);
    let preparing = locks.clone();
    tokio::spawn(async move {
        preparing.prepare().await;
        readiness.allow(UNPREPARED);
    });
    let (shutdown, draining) = (service.shutdown(), locks.clone());
    let drained = tokio::spawn(async move {
        shutdown.cancelled().await;
        draining.drain().await;
    });

    let grpc = LockGrpc::new(locks.clone(), metrics);
    service.add(grpc.admin()).add(grpc.into_service());
    service.serve().await?;
    if tokio::time::timeout(UNDO_MAX, drained).await.is_err() {
        tracing::warn!("leases that nobody took could not be taken back: they end by their expiry");
    }
    locks.stop();
    locks.counters().close().await;
    Ok(())
}
