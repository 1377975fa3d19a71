//! What the lock service promises over any Redis, as test bodies: they assert, and take a Redis and what can be done
//! to it.
//!
//! - [`store`]: the lease store's own suite over Redis.
//! - [`waiting`]: queues, wake-ups, hang-ups, repeated calls.
//! - [`known_bad`]: the mistakes that a request can ask for.
//! - [`counters`]: the durable counters over any database.
//! - [`faults`]: Redis restarted, emptied, paused, away; the database away; several instances.

pub mod counters;
pub mod faults;
pub mod known_bad;
pub mod store;
pub mod waiting;

use crate::counters::Counters;
use crate::locks::{Locks, Options, Wanted};
use crate::metrics::LockMetrics;
use crate::redis_store::{RedisStore, TimeOuts};
use herd_lease::Grant;
use herd_lease::arbiter::{Reply, Settings};
use std::future::Future;
use std::time::Duration;

/// A Redis that a test may hurt. Every change is done, and Redis answers again where it should, when the future ends.
/// The URL stays the same.
pub trait RedisUnderTest: Send + Sync {
    /// Where it is.
    fn url(&self) -> String;
    /// Ends it, so that connections are refused. Its data stays on disk.
    fn stop(&self) -> impl Future<Output = ()> + Send;
    /// Starts it with what is on disk.
    fn start(&self) -> impl Future<Output = ()> + Send;
    /// Removes what is on disk. Called while it is stopped.
    fn erase(&self) -> impl Future<Output = ()> + Send;
    /// Stops it in its tracks: connections stay open and nothing answers.
    fn pause(&self) -> impl Future<Output = ()> + Send;
    /// Ends the pause.
    fn resume(&self) -> impl Future<Output = ()> + Send;

    /// Restarts it with its data.
    fn restart_with_data(&self) -> impl Future<Output = ()> + Send {
        async {
            self.stop().await;
            self.start().await;
        }
    }

    /// Restarts it with nothing on disk.
    fn restart_empty(&self) -> impl Future<Output = ()> + Send {
        async {
            self.stop().await;
            self.erase().await;
            self.start().await;
        }
    }

    /// Empties it while it runs.
    fn flush(&self) -> impl Future<Output = ()> + Send {
        async { drop(ask::<redis::Value>(&self.url(), redis::cmd("FLUSHALL")).await) }
    }
}

/// Waits for something that must happen soon, and says what did not.
///
/// # Panics
/// After 20 s.
pub async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    let happened = tokio::time::timeout(Duration::from_secs(20), happens).await;
    happened.unwrap_or_else(|_| panic!("this did not happen: {what}"))
}

/// Sends one command over a connection of its own.
///
/// # Panics
/// When Redis does not answer.
pub async fn ask<T: redis::FromRedisValue>(url: &str, command: redis::Cmd) -> T {
    let client = redis::Client::open(url).expect("the URL is good");
    let mut connection = client.get_multiplexed_async_connection().await.expect("Redis accepts");
    command.query_async(&mut connection).await.expect("Redis answers")
}

/// Time-outs for tests in which nothing is away: a slow machine shall not look like a fault.
pub const PATIENT: TimeOuts = TimeOuts { command: Duration::from_secs(8), call: Duration::from_secs(9) };

/// The service over this Redis as it really runs, but with blocks of 10 tokens.
///
/// # Panics
/// When the URL is bad.
pub fn locks_over<C: Counters>(
    redis: &impl RedisUnderTest,
    counters: C,
    settings: Settings,
) -> Locks<RedisStore, C> {
    let store = RedisStore::of_url(&redis.url(), TimeOuts::default()).expect("the URL is good");
    let options = Options { token_block: 10, settings, ..Options::default() };
    Locks::start(store, counters, options, LockMetrics::default())
}

/// The same with [`PATIENT`] time-outs.
///
/// # Panics
/// When the URL is bad.
pub fn patient_locks_over<C: Counters>(
    redis: &impl RedisUnderTest,
    counters: C,
    settings: Settings,
) -> Locks<RedisStore, C> {
    let store = RedisStore::of_url(&redis.url(), PATIENT).expect("the URL is good");
    let options = Options { token_block: 10, settings, try_max: Duration::from_secs(10) };
    Locks::start(store, counters, options, LockMetrics::default())
}

async fn acquire<C: Counters>(
    locks: &Locks<RedisStore, C>,
    name: &str,
    owner: &str,
    expiry_ms: u32,
    wait_ms: u32,
) -> Reply {
    let wanted = Wanted { name, owner, expiry_ms, wait_ms };
    locks.acquire(wanted).await.expect("the request is within the limits").reply
}

async fn grant<C: Counters>(locks: &Locks<RedisStore, C>, name: &str, owner: &str, expiry_ms: u32) -> Grant {
    match acquire(locks, name, owner, expiry_ms, 0).await {
        Reply::Granted(grant) => grant,
        other => panic!("{owner} should be granted {name}, but: {other:?}"),
    }
}

/// Asks until the service grants: it heals by itself.
async fn grant_when_healed<C: Counters>(locks: &Locks<RedisStore, C>, name: &str, owner: &str) -> Grant {
    let healed = async {
        loop {
            match acquire(locks, name, owner, 60_000, 0).await {
                Reply::Granted(grant) => break grant,
                Reply::Failed(_) => {}
                other => panic!("{owner} should be granted {name}, but: {other:?}"),
            }
        }
    };
    soon("the service heals", healed).await
}

/// Waits until this many calls wait for the name, and what their arrival asked of the store is answered: the first of them
/// tries for the lease, the others look who holds it, and a try may wait for its token meanwhile.
async fn until_waiting<C: Counters>(locks: &Locks<RedisStore, C>, name: &str, waiters: u32) {
    let waiting = async {
        while locks.inspect(name).await.map(|seen| seen.waiters) != Ok(waiters) || locks.operations() > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the calls wait", waiting).await;
}
