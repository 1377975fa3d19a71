//! What the origin promises on any database: test bodies that take its URL. They panic where a promise is broken.
//!
//! The bodies of one database must not run at the same time: [`away_and_back`] takes its table away.
//!
//! - `load`: the gate, failures and hanging queries on command, slow reads.

mod bench;
mod load;

pub use load::{
    failures_on_command, gate, gate_changed_at_run_time, gate_with_a_queue, reads_first, stuck_queries,
};

use crate::fetch::FetchError;
use crate::store::KEYS_MAX;
use bench::{Bench, LONG, ended, open, request, row, run, started};
use futures::{future, poll};
use herd_service::trace::TraceContext;
use herd_wire::v1::{FetchOutcome, FetchRequest, Latency, Reason, RebuildStarted, ledger_event::Kind};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, timeout};

const ROWS: u64 = 100_000;

/// Runs every body, one after the other. `scratch` is an empty directory for ledgers.
pub async fn all(url: &str, scratch: &Path) {
    seeded_once(url).await;
    recorded(url, scratch).await;
    missing_row(url, scratch).await;
    pool_of_one_serialises(url, scratch).await;
    gate(url, scratch).await;
    gate_with_a_queue(url, scratch).await;
    gate_changed_at_run_time(url, scratch).await;
    failures_on_command(url, scratch).await;
    stuck_queries(url, scratch).await;
    reads_first(url, scratch).await;
    hung_up(url, scratch).await;
    deadline_passed(url, scratch).await;
    away_and_back(url, scratch).await;
    written_rows(url, scratch).await;
    keys_in_order(url, scratch).await;
}

/// Goal: the rows are there after the first start, and neither a restart nor a larger number touches a row that exists.
pub async fn seeded_once(url: &str) {
    let changed = "item-77";
    let store = open(url, ROWS, 2).await;
    let before = row(&store, "item-100000").await.expect("the last row was made");
    assert_eq!(before.version, 1);
    assert!((150..=250).contains(&before.value.len()), "{} bytes", before.value.len());
    let body: serde_json::Value = serde_json::from_slice(&before.value).expect("a row holds JSON");
    assert_eq!(body["id"], 100_000);
    assert_eq!(row(&store, "item-0").await, None);
    assert_eq!(row(&store, "item-100008").await, None);
    let mut connection = store.acquire(Instant::now() + LONG).await.expect("the database is there");
    let version =
        connection.put(changed, b"changed", Instant::now() + LONG).await.expect("the row is written");
    drop(connection);
    store.close().await;

    let store = open(url, ROWS + 7, 2).await;
    let kept = row(&store, changed).await.expect("the row is still there");
    assert_eq!((kept.version, kept.value.as_slice()), (version, b"changed".as_slice()));
    assert_eq!(row(&store, "item-100000").await, Some(before));
    assert!(row(&store, "item-100007").await.is_some());
    assert_eq!(row(&store, "item-100008").await, None);
    store.close().await;
}

/// Goal: a fetch leaves a start with all that the caller said and its trace, and an end with what came of it.
pub async fn recorded(url: &str, scratch: &Path) {
    let bench = Bench::open(url, scratch, 2, 0, 10).await;
    let caller = TraceContext::root();
    let said = FetchRequest {
        generation: 41,
        token: 7,
        epoch: 3,
        config_version: 9,
        reason: Reason::LeaseHolder.into(),
        ..request("item-5")
    };
    let fetched =
        bench.fetcher.fetch(said.clone(), Some(caller), Instant::now() + LONG).await.expect("the row exists");
    assert!(bench.fetch("item-6").await.is_ok());
    let malformed = bench.fetch("no such alphabet").await;
    assert!(matches!(malformed, Err(FetchError::Key(_))), "{malformed:?}");
    let events = bench.events().await;
    assert_eq!(events.len(), 4, "a malformed key is nobody's rebuild: {events:#?}");
    assert_eq!(*started(&events[0]), RebuildStarted { request: Some(said), trace: caller.trace_id() });
    assert_eq!(started(&events[2]).trace, "");
    let end = ended(&events[1]);
    assert_eq!((end.outcome(), end.version), (FetchOutcome::Fetched, fetched.row.version));
    assert!(end.queued_us <= end.worked_us);
    assert!(events.iter().map(|event| (event.seq, event.rebuild)).eq([(1, 1), (2, 1), (3, 3), (4, 3)]));
    assert_eq!(bench.queries(), 2);
    bench.close().await;
}

/// Goal: a key without a row is an answer, not a failure, and cost a query.
pub async fn missing_row(url: &str, scratch: &Path) {
    let bench = Bench::open(url, scratch, 2, 0, 10).await;
    assert!(matches!(bench.fetch("item-0").await, Err(FetchError::NoSuchRow)));
    assert_eq!(ended(&bench.events().await[1]).outcome(), FetchOutcome::NoSuchRow);
    assert_eq!(bench.queries(), 1);
    bench.close().await;
}

/// Goal: with one connection that is held during the delay, fetches really queue: each waits for all before it, in order.
pub async fn pool_of_one_serialises(url: &str, scratch: &Path) {
    const DELAY_MS: u32 = 20;
    let bench = Bench::open(url, scratch, 1, DELAY_MS, 10).await;
    let held = Latency { holds_connection: true, ..bench.fetcher.latency() };
    bench.fetcher.set_latency(held).expect("a good model");
    let keys = ["item-1", "item-2", "item-3", "item-4", "item-5"];
    let all = future::join_all(keys.map(|key| bench.fetch(key))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");

    let events = bench.events().await;
    let (starts, ends): (Vec<_>, Vec<_>) =
        events.iter().partition(|event| matches!(event.kind, Some(Kind::Started(_))));
    assert!(starts.iter().map(|event| event.seq).eq(1..=5), "all arrive before the first ends");
    assert!(ends.iter().map(|event| event.rebuild).eq(1..=5), "first come, first served: {ends:#?}");
    let delay_us = u64::from(DELAY_MS) * 1_000;
    for (before, end) in ends.iter().enumerate() {
        let end = ended(end);
        let waited_at_least = delay_us * before as u64;
        assert!(end.queued_us >= waited_at_least, "{before} delays were spent before it: {end:?}");
        assert!(
            end.worked_us - end.queued_us >= delay_us,
            "its own delay is spent behind the queue: {end:?}"
        );
    }
    bench.close().await;
}

/// Goal: a caller that hangs up, wherever its fetch stands, leaves an end in the ledger and its connection in the pool.
pub async fn hung_up(url: &str, scratch: &Path) {
    let bench = Bench::open(url, scratch, 1, 600_000, 10).await;
    let held = Latency { holds_connection: true, ..bench.fetcher.latency() };
    bench.fetcher.set_latency(held).expect("a good model");
    let mut holder = Box::pin(bench.fetch("item-1"));
    let holds = async {
        while !bench.shown.encode().contains("origin_pool_wait_seconds_count 1\n") {
            assert!(poll!(&mut holder).is_pending());
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, holds).await.expect("the first fetch gets the connection");
    let mut in_queue = Box::pin(bench.fetch("item-2"));
    assert!(poll!(&mut in_queue).is_pending());
    drop(in_queue);
    drop(holder);
    bench.fetcher.set_latency(Latency { median_ms: 0, ..held }).expect("a good model");
    assert!(bench.fetch("item-3").await.is_ok(), "the connection is back");
    let events = bench.events().await;
    let cancelled = events.iter().filter(|event| match &event.kind {
        Some(Kind::Ended(end)) => end.outcome() == FetchOutcome::Cancelled,
        _ => false,
    });
    assert!(cancelled.map(|event| event.rebuild).eq([2, 1]), "{events:#?}");
    bench.close().await;
}

/// Goal: a deadline that passes during the delay ends the fetch, and the ledger says that it was the caller's.
pub async fn deadline_passed(url: &str, scratch: &Path) {
    let bench = Bench::open(url, scratch, 2, 600_000, 10).await;
    let soon = Instant::now() + Duration::from_millis(5);
    let fetched = bench.fetcher.fetch(request("item-1"), None, soon).await;
    assert!(matches!(fetched, Err(FetchError::DeadlinePassed)), "{fetched:?}");
    assert_eq!(ended(&bench.events().await[1]).outcome(), FetchOutcome::Cancelled);
    bench.close().await;
}

/// Goal: a database that fails is the origin's fault, is recorded, and heals by itself.
pub async fn away_and_back(url: &str, scratch: &Path) {
    let bench = Bench::open(url, scratch, 2, 0, 10).await;
    assert!(bench.fetch("item-1").await.is_ok());
    run(url, "ALTER TABLE items RENAME TO items_away").await;
    let failed = bench.fetch("item-1").await;
    run(url, "ALTER TABLE items_away RENAME TO items").await;
    assert!(matches!(failed, Err(FetchError::Database(_))), "{failed:?}");
    assert!(bench.fetch("item-1").await.is_ok());
    assert_eq!(ended(&bench.events().await[3]).outcome(), FetchOutcome::Failed);
    bench.close().await;
}

/// Goal: a written row has the next version and the new value, and a row that was absent begins at version 1; deleted by
/// how its key begins it is absent again, and its neighbours are not.
pub async fn written_rows(url: &str, scratch: &Path) {
    let bench = Bench::open(url, scratch, 2, 0, 10).await;
    let deadline = Instant::now() + LONG;
    let before = bench.fetch("item-9").await.expect("the row exists").row.version;
    assert_eq!(bench.fetcher.put("item-9", b"new", deadline).await.expect("it is written"), before + 1);
    let row = bench.fetch("item-9").await.expect("the row exists").row;
    assert_eq!((row.version, row.value.as_slice()), (before + 1, b"new".as_slice()));
    let fresh = format!("fresh-{}", TraceContext::root().trace_id());
    assert_eq!(bench.fetcher.put(&fresh, b"", deadline).await.expect("it is made"), 1);
    let (beside, behind) = (format!("{fresh}.z"), format!("{}zz", &fresh[..fresh.len() - 1]));
    for key in [&beside, &behind] {
        assert_eq!(bench.fetcher.put(key, b"x", deadline).await.expect("it is made"), 1);
    }
    assert_eq!(bench.fetcher.delete_rows(&fresh, deadline).await.expect("they are deleted"), 2);
    assert!(matches!(bench.fetch(&fresh).await, Err(FetchError::NoSuchRow)));
    assert!(bench.fetch("item-9").await.is_ok() && bench.fetch(&behind).await.is_ok());
    assert_eq!(bench.fetcher.delete_rows(&fresh, deadline).await.expect("there is none"), 0);
    assert!(matches!(bench.fetcher.delete_rows("", deadline).await, Err(FetchError::Key(_))));
    let too_long = vec![0; crate::store::VALUE_BYTES_MAX + 1];
    assert!(matches!(
        bench.fetcher.put("item-9", &too_long, deadline).await,
        Err(FetchError::ValueTooLong { .. })
    ));
    bench.close().await;
}

/// Goal: every row's key is given out once, in the order of bytes, in parts that have a limit.
pub async fn keys_in_order(url: &str, scratch: &Path) {
    const SOME: u64 = 25_000;
    open(url, SOME, 1).await.close().await;
    let bench = Bench::open(url, scratch, 2, 0, 10).await;
    let deadline = Instant::now() + LONG;
    // Capitals stand before small letters in the order of bytes, and in that of no language.
    for key in ["Z", "a", "absent-1"] {
        bench.fetcher.put(key, b"x", deadline).await.expect("it is written");
    }
    let (mut all, mut parts) = (Vec::<String>::new(), 0);
    loop {
        let after = all.last().cloned().unwrap_or_default();
        let part = bench.fetcher.keys_after(&after, deadline).await.expect("the database is there");
        assert!(part.len() <= KEYS_MAX as usize);
        parts += 1;
        let last = part.len() < KEYS_MAX as usize;
        all.extend(part);
        if last {
            break;
        }
    }
    assert!(parts >= 3 && all.is_sorted_by(|a, b| a.as_bytes() < b.as_bytes()), "{parts} parts");
    let expected = (1..=SOME).map(|n| format!("item-{n}")).chain(["Z", "a", "absent-1"].map(str::to_owned));
    for key in expected {
        assert!(all.binary_search(&key).is_ok(), "{key} is missing");
    }
    let late = bench.fetcher.keys_after("", Instant::now()).await;
    assert!(matches!(late, Err(FetchError::DeadlinePassed)), "{late:?}");
    bench.close().await;
}

/// On SQLite; a suite with containers repeats them on Postgres.
#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::path::Path;

    /// Runs `body` on a new database file. A name is reached by reference, so that bodies can borrow it.
    async fn on_sqlite<F: Future<Output = ()>>(body: impl FnOnce(&'static str, &'static Path) -> F) {
        let scratch = tempfile::tempdir().expect("a directory for the test");
        // Test processes are short-lived; leaking two names spares every body a lifetime.
        let directory: &'static Path = Box::leak(scratch.path().to_owned().into_boxed_path());
        let url = format!("sqlite:{}", directory.join("rows.db").display()).leak();
        body(url, directory).await;
    }

    macro_rules! on_sqlite {
        ($($name:ident),* $(,)?) => {
            $(
                #[tokio::test]
                async fn $name() {
                    on_sqlite(super::$name).await;
                }
            )*
        };
    }

    on_sqlite!(
        recorded,
        missing_row,
        pool_of_one_serialises,
        gate,
        gate_with_a_queue,
        gate_changed_at_run_time,
        failures_on_command,
        stuck_queries,
        reads_first,
        hung_up,
        deadline_passed,
        away_and_back,
        written_rows,
        keys_in_order,
        all,
    );
}
