//! What becomes of fetches when there are too many of them, and when they fail on command.

use super::bench::{Bench, LONG, request};
use crate::fetch::FetchError;
use futures::poll;
use herd_wire::v1::{Failures, FetchOutcome, Latency, OriginGate, Stuck};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

const ONE_AND_ONE: OriginGate =
    OriginGate { in_flight_max: 1, queue_max: 1, queue_wait_ms: 60_000, retry_after_ms: 250 };

/// A latency that lasts for as long as the test lets it.
const NEVER_MS: u32 = 600_000;

async fn outcomes(bench: &Bench) -> Vec<(u64, FetchOutcome)> {
    bench.ends().await.into_iter().map(|(rebuild, end)| (rebuild, end.outcome())).collect()
}

fn no_latency(bench: &Bench) {
    bench.fetcher.set_latency(Latency { median_ms: 0, ..bench.fetcher.latency() }).expect("a good model");
}

/// Goal: beyond its limit the origin refuses at once, says so, records it, and takes fetches again as soon as one ends.
pub async fn gate(url: &str, scratch: &Path) {
    let bench = Bench::open(url, scratch, 2, NEVER_MS, 1).await;
    let mut slow = Box::pin(bench.fetch("item-1"));
    assert!(poll!(&mut slow).is_pending());
    assert_eq!(bench.fetcher.gate().in_flight(), 1);
    assert!(matches!(bench.fetch("item-2").await, Err(FetchError::Overloaded(_))));
    drop(slow);
    assert_eq!(bench.fetcher.gate().in_flight(), 0);
    no_latency(&bench);
    assert!(bench.fetch("item-3").await.is_ok());
    let expected = [(2, FetchOutcome::Rejected), (1, FetchOutcome::Cancelled), (5, FetchOutcome::Fetched)];
    assert_eq!(outcomes(&bench).await, expected);
    assert_eq!(bench.queries(), 1, "refused and cancelled fetches did not reach the database");
    assert!(bench.shown.encode().contains("origin_rejected_total 1\n"));
    bench.close().await;
}

/// Goal: the queue is served in order, what waited there says for how long, and who hangs up or whose deadline passes in it
/// leaves an end in the ledger and no gap in the queue.
pub async fn gate_with_a_queue(url: &str, scratch: &Path) {
    let bench = Bench::open(url, scratch, 2, NEVER_MS, 1).await;
    bench.fetcher.set_gate(OriginGate { queue_max: 3, ..ONE_AND_ONE }).expect("good limits");
    let mut inside = Box::pin(bench.fetch("item-1"));
    assert!(poll!(&mut inside).is_pending());
    let mut gone = Box::pin(bench.fetch("item-2"));
    assert!(poll!(&mut gone).is_pending());
    let mut next = Box::pin(bench.fetch("item-3"));
    assert!(poll!(&mut next).is_pending());
    let late = bench.fetcher.fetch(request("item-4"), None, Instant::now() + Duration::from_millis(5)).await;
    assert!(matches!(late, Err(FetchError::DeadlinePassed)), "{late:?}");
    assert_eq!((bench.fetcher.gate().in_flight(), bench.fetcher.gate().queued()), (1, 2));
    assert!(bench.shown.encode().contains("origin_fetches_queued 2\n"));
    drop(gone);
    no_latency(&bench);
    drop(inside);
    assert!(next.await.is_ok());
    let ends = bench.ends().await;
    let expected = [
        (4, FetchOutcome::Cancelled),
        (2, FetchOutcome::Cancelled),
        (1, FetchOutcome::Cancelled),
        (3, FetchOutcome::Fetched),
    ];
    assert!(ends.iter().map(|(rebuild, end)| (*rebuild, end.outcome())).eq(expected), "{ends:#?}");
    let waited = |at: usize| (ends[at].1.gate_us, ends[at].1.worked_us);
    assert!(waited(0).0 >= 5_000 && waited(0).0 <= waited(0).1, "it waited for its deadline: {ends:#?}");
    assert!(waited(3).0 >= 5_000 && waited(3).0 < waited(3).1, "it waited for longer than that: {ends:#?}");
    assert_eq!(bench.queries(), 1);
    bench.close().await;
}

/// Goal: a queue that nobody comes out of ends in refusals; a wider gate lets in who waits; a narrower one lets who is
/// inside finish. No place is lost on the way.
pub async fn gate_changed_at_run_time(url: &str, scratch: &Path) {
    let bench = Bench::open(url, scratch, 2, NEVER_MS, 1).await;
    bench.fetcher.set_gate(OriginGate { queue_wait_ms: 5, ..ONE_AND_ONE }).expect("good limits");
    let mut first = Box::pin(bench.fetch("item-1"));
    assert!(poll!(&mut first).is_pending());
    let refused = bench.fetch("item-2").await;
    assert!(matches!(refused, Err(FetchError::Overloaded(refused)) if refused.after_wait), "{refused:?}");
    assert!(bench.ends().await[0].1.gate_us >= 5_000);

    bench.fetcher.set_gate(ONE_AND_ONE).expect("good limits");
    let mut second = Box::pin(bench.fetch("item-3"));
    assert!(poll!(&mut second).is_pending());
    bench.fetcher.set_gate(OriginGate { in_flight_max: 2, ..ONE_AND_ONE }).expect("good limits");
    assert!(poll!(&mut second).is_pending(), "it works now, as long as its latency lasts");
    assert_eq!((bench.fetcher.gate().in_flight(), bench.fetcher.gate().queued()), (2, 0));

    let narrow = OriginGate { queue_max: 0, ..ONE_AND_ONE };
    bench.fetcher.set_gate(narrow).expect("good limits");
    assert!(bench.fetcher.set_gate(OriginGate { in_flight_max: 0, ..narrow }).is_err());
    assert_eq!(bench.fetcher.gate().in_flight(), 2, "nobody is thrown out");
    drop(first);
    assert!(
        matches!(bench.fetch("item-4").await, Err(FetchError::Overloaded(_))),
        "one is inside, as allowed"
    );
    drop(second);
    no_latency(&bench);
    assert!(bench.fetch("item-5").await.is_ok());
    assert_eq!(bench.fetcher.gate().in_flight(), 0);
    bench.close().await;
}

/// Goal: on command fetches fail after their latency and in place of their query, are recorded as failed, and succeed again
/// when the time is over.
pub async fn failures_on_command(url: &str, scratch: &Path) {
    const LATENCY_MS: u32 = 20;
    let bench = Bench::open(url, scratch, 2, LATENCY_MS, 10).await;
    bench.fetcher.set_failures(Failures { share: 1.0, for_ms: 600_000 }).expect("a share");
    for _ in 0..3 {
        assert!(matches!(bench.fetch("item-1").await, Err(FetchError::OnCommand)));
    }
    bench.fetcher.set_failures(Failures::default()).expect("a share");
    assert!(bench.fetch("item-1").await.is_ok());
    assert!(bench.fetcher.set_failures(Failures { share: 2.0, for_ms: 1 }).is_err());
    let (failed, fetched) = (FetchOutcome::Failed, FetchOutcome::Fetched);
    assert_eq!(outcomes(&bench).await, [(1, failed), (3, failed), (5, failed), (7, fetched)]);
    let latency_us = u64::from(LATENCY_MS) * 1_000;
    assert!(bench.ends().await.iter().all(|(_, end)| end.worked_us >= latency_us));
    assert_eq!(bench.queries(), 1);
    let deadline = Instant::now() + LONG;
    assert!(bench.fetcher.put("item-1", b"x", deadline).await.is_ok(), "only fetches fail");
    bench.close().await;
}

/// Goal: a query that hangs keeps its connection, also when its caller has left, until it is let go; the next is none of them.
/// What a fetch answers is what it read at its beginning.
pub async fn stuck_queries(url: &str, scratch: &Path) {
    let bench = Bench::open(url, scratch, 1, 0, 10).await;
    let before = bench.fetch("item-8").await.expect("the row exists").row;
    let stuck = Stuck { queries: 1, for_ms: 600_000, hang_now: 0 };
    assert_eq!(bench.fetcher.set_stuck(stuck), Ok(stuck));
    let soon = Instant::now() + Duration::from_secs(1);
    let left = bench.fetcher.fetch(request("item-8"), None, soon).await;
    assert!(matches!(left, Err(FetchError::DeadlinePassed)), "{left:?}");
    let mut waits = Box::pin(bench.fetch("item-8"));
    assert!(poll!(&mut waits).is_pending(), "the only connection hangs");
    let over = Stuck::default();
    assert_eq!(bench.fetcher.set_stuck(over).expect("good limits").hang_now, 1);
    assert_eq!(waits.await.expect("the connection is back").row, before);
    assert_eq!(bench.fetcher.set_stuck(over).expect("good limits").hang_now, 0);
    for bad in [Stuck { for_ms: 0, ..stuck }, Stuck { queries: 1_001, ..stuck }] {
        assert!(bench.fetcher.set_stuck(bad).is_err(), "{bad:?}");
    }
    bench.close().await;
}

/// Goal: a slow fetch answers what it read when it began, whatever was written since.
pub async fn reads_first(url: &str, scratch: &Path) {
    let bench = Bench::open(url, scratch, 2, 500, 10).await;
    let deadline = Instant::now() + LONG;
    let old = bench.fetcher.put("item-3", b"old", deadline).await.expect("it is written");
    let mut slow = Box::pin(bench.fetch("item-3"));
    while bench.queries() == 0 {
        assert!(poll!(&mut slow).is_pending());
        tokio::task::yield_now().await;
    }
    let write = async {
        // Behind the query on the same database: it is answered after it.
        let _ = bench.fetcher.keys_after("item-3", deadline).await;
        bench.fetcher.put("item-3", b"new", deadline).await
    };
    let (slow, new) = tokio::join!(slow, write);
    assert_eq!(new.expect("it is written"), old + 1);
    assert_eq!(slow.expect("the row exists").row.version, old);
    bench.close().await;
}
