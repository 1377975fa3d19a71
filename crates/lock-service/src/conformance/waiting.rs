//! Queues, wake-ups, hang-ups, repeated calls.

use super::{
    RedisUnderTest, acquire, ask, grant, grant_when_healed, locks_over, patient_locks_over, soon,
    until_waiting,
};
use crate::counters::Counters;
use crate::locks::{Inspected, Locks, Wanted};
use crate::redis_store::RedisStore;
use futures::future::join_all;
use herd_lease::arbiter::{Reply, Settings};
use herd_lease::{HolderEnd, HolderFailure};
use std::time::{Duration, Instant};

/// Nothing but the lease's own end, or a release, wakes a waiter.
fn no_recheck() -> Settings {
    Settings { recheck_ms: 600_000, ..Settings::default() }
}

async fn holder<C: Counters>(locks: &Locks<RedisStore, C>, name: &str) -> Option<String> {
    let Inspected { lease, .. } = locks.inspect(name).await.expect("the store answers");
    lease.map(|lease| lease.owner)
}

/// Failure mode 6: the holder dies; the next waiter is granted when the lease ends by Redis's clock, although it would
/// wait far longer.
///
/// # Panics
/// When it is granted early, or late.
pub async fn a_dead_holder_costs_its_lease<C: Counters>(redis: &impl RedisUnderTest, counters: C) {
    let locks = patient_locks_over(redis, counters, no_recheck());
    let began = Instant::now();
    let dead = grant(&locks, "mode-6", "dead", 400).await;
    let reply = soon("a grant at the lease's end", acquire(&locks, "mode-6", "next", 1_000, 60_000)).await;
    let waited = began.elapsed();
    let Reply::Granted(next) = reply else { panic!("{reply:?}") };
    assert!(next.token > dead.token);
    assert!(waited >= Duration::from_millis(399), "two held it at once: after {waited:?}");
    assert!(waited < Duration::from_millis(5_000), "it waited for something else: {waited:?}");
    locks.stop();
}

/// Failure mode 8: who holds the lease no longer frees nothing, and is told no error. If it wrote a value all the same,
/// whoever waits is told to read; the failure of one whom nobody that waits saw leading wakes nobody.
///
/// # Panics
/// When the other's lease is freed, or the waiter is told something else.
pub async fn a_late_release_frees_nothing<C: Counters>(redis: &impl RedisUnderTest, counters: C) {
    let locks = patient_locks_over(redis, counters, no_recheck());
    grant(&locks, "mode-8", "slow", 50).await;
    let next = soon("the next holder", acquire(&locks, "mode-8", "next", 60_000, 60_000)).await;
    assert!(matches!(next, Reply::Granted(_)), "{next:?}");
    let waiter = acquire(&locks, "mode-8", "waiter", 1_000, 60_000);
    let late = async {
        until_waiting(&locks, "mode-8", 1).await;
        let failed = HolderEnd::Failed(HolderFailure::NoSuchRow { generation: 7 });
        assert_eq!(locks.release("mode-8", "slow", failed).await, Ok(false), "no error, nothing freed");
        assert_eq!(locks.release("mode-8", "stranger", HolderEnd::Abandoned).await, Ok(false));
        assert_eq!(holder(&locks, "mode-8").await.as_deref(), Some("next"));
        assert_eq!(locks.inspect("mode-8").await.map(|seen| seen.waiters), Ok(1), "nobody is woken by it");
        assert_eq!(locks.release("mode-8", "slow", HolderEnd::ValueWritten).await, Ok(false));
    };
    let (woken, ()) = soon("a value wakes", async { tokio::join!(waiter, late) }).await;
    assert_eq!(woken, Reply::HolderDone);
    assert_eq!(holder(&locks, "mode-8").await.as_deref(), Some("next"));
    assert_eq!(locks.release("mode-8", "next", HolderEnd::ValueWritten).await, Ok(true));
    let repeated = locks.release("mode-8", "next", HolderEnd::ValueWritten).await;
    assert_eq!(repeated, Ok(false), "a repeated release is no error");
    locks.stop();
}

/// Failure mode 9: an acquire repeated by its owner returns the same grant, also to another instance of the service.
///
/// # Panics
/// When it does not.
pub async fn a_repeated_acquire_returns_the_grant<C: Counters + Clone>(
    redis: &impl RedisUnderTest,
    counters: C,
) {
    let locks = patient_locks_over(redis, counters.clone(), no_recheck());
    let first = grant(&locks, "mode-9", "owner", 60_000).await;
    let again = grant(&locks, "mode-9", "owner", 60_000).await;
    assert_eq!((again.token, again.epoch, again.repeated), (first.token, first.epoch, true));
    // Also while others wait, and it does not jump their queue for anything else.
    let waiter = acquire(&locks, "mode-9", "waiter", 1_000, 60_000);
    let repeat = async {
        until_waiting(&locks, "mode-9", 1).await;
        let again = grant(&locks, "mode-9", "owner", 60_000).await;
        assert_eq!((again.token, again.repeated), (first.token, true));
        let after_restart = patient_locks_over(redis, counters, no_recheck());
        let again = grant(&after_restart, "mode-9", "owner", 60_000).await;
        assert_eq!((again.token, again.repeated), (first.token, true));
        after_restart.stop();
        assert_eq!(locks.release("mode-9", "owner", HolderEnd::Abandoned).await, Ok(true));
    };
    let (woken, ()) = soon("the waiter is granted", async { tokio::join!(waiter, repeat) }).await;
    assert!(matches!(woken, Reply::Granted(grant) if grant.token > first.token), "{woken:?}");
    locks.stop();
}

/// Failure mode 9: callers hang up while they wait, and while the store works on their acquire. No orphan lease stays.
///
/// # Panics
/// When one stays.
pub async fn hanging_up_leaves_no_orphan<C: Counters>(redis: &impl RedisUnderTest, counters: C) {
    let locks = patient_locks_over(redis, counters, no_recheck());
    grant(&locks, "hang-up", "leader", 60_000).await;
    {
        let mut waiter = std::pin::pin!(acquire(&locks, "hang-up", "gone", 60_000, 60_000));
        assert!(futures::poll!(waiter.as_mut()).is_pending());
        until_waiting(&locks, "hang-up", 1).await;
    }
    assert_eq!(locks.release("hang-up", "leader", HolderEnd::Abandoned).await, Ok(true));
    soon("the service is idle", locks.idle()).await;
    assert_eq!(holder(&locks, "hang-up").await, None);
    // A try is on its way to the store when its caller is gone.
    {
        let mut sent = std::pin::pin!(acquire(&locks, "hang-up", "gone", 60_000, 0));
        assert!(futures::poll!(sent.as_mut()).is_pending());
    }
    soon("the service is idle", locks.idle()).await;
    assert_eq!(holder(&locks, "hang-up").await, None, "an orphan lease");
    grant(&locks, "hang-up", "next", 60_000).await;
    locks.stop();
}

/// Failure mode 9: Redis is paused, so an acquire fails for its caller and is applied when Redis goes on. It is taken
/// back, whichever comes first.
///
/// # Panics
/// When an orphan lease stays.
pub async fn an_acquire_in_doubt_is_taken_back<C: Counters>(redis: &impl RedisUnderTest, counters: C) {
    let locks = locks_over(redis, counters, no_recheck());
    grant_when_healed(&locks, "warm", "up").await;
    redis.pause().await;
    let reply = acquire(&locks, "in-doubt", "owner", 600_000, 0).await;
    assert!(matches!(reply, Reply::Failed(_)), "{reply:?}");
    redis.resume().await;
    soon("the service is idle", locks.idle()).await;
    let view = soon("the store answers", async {
        loop {
            if let Ok(seen) = locks.inspect("in-doubt").await {
                break seen.lease;
            }
        }
    });
    assert_eq!(view.await, None, "an orphan lease of ten minutes");
    grant_when_healed(&locks, "in-doubt", "next").await;
    locks.stop();
}

/// Failure mode 12: a release with a value written sends every waiter to the value at once, and not one of them to the
/// lease store.
///
/// # Panics
/// When a waiter is left, or asks the store.
pub async fn a_written_value_wakes_all_to_read<C: Counters>(redis: &impl RedisUnderTest, counters: C) {
    let locks = patient_locks_over(redis, counters, no_recheck());
    // The first release loads its script.
    locks.release("mode-12", "nobody", HolderEnd::ValueWritten).await.expect("the store answers");
    grant(&locks, "mode-12", "leader", 60_000).await;
    let owners: Vec<String> = (0..49).map(|n| format!("node-{n}")).collect();
    let waiters = join_all(owners.iter().map(|owner| acquire(&locks, "mode-12", owner, 60_000, 60_000)));
    let release = async {
        until_waiting(&locks, "mode-12", 49).await;
        let before = scripts_run(redis).await;
        assert_eq!(locks.release("mode-12", "leader", HolderEnd::ValueWritten).await, Ok(true));
        before
    };
    let (replies, before) = soon("everybody is woken", async { tokio::join!(waiters, release) }).await;
    assert!(replies.iter().all(|reply| *reply == Reply::HolderDone), "{replies:?}");
    soon("the service is idle", locks.idle()).await;
    assert_eq!(scripts_run(redis).await - before, 1, "the release itself, and nothing else");
    assert_eq!(holder(&locks, "mode-12").await, None);
    locks.stop();
}

/// A holder that failed fails every waiter at once, and sends not one of them to the lease store: an error does not turn
/// the queue into a serial herd. Who comes later is granted the lease.
///
/// # Panics
/// When a waiter is left, or asks the store.
pub async fn a_failure_is_shared_with_all_who_wait<C: Counters>(redis: &impl RedisUnderTest, counters: C) {
    let locks = patient_locks_over(redis, counters, no_recheck());
    // The first release loads its script.
    locks.release("failed", "nobody", HolderEnd::Abandoned).await.expect("the store answers");
    for failure in
        [HolderFailure::NoSuchRow { generation: 7 }, HolderFailure::failed(true, "away".to_owned())]
    {
        grant(&locks, "failed", "leader", 60_000).await;
        let owners: Vec<String> = (0..39).map(|n| format!("node-{n}")).collect();
        let waiters = join_all(owners.iter().map(|owner| acquire(&locks, "failed", owner, 60_000, 60_000)));
        let release = async {
            until_waiting(&locks, "failed", 39).await;
            let before = scripts_run(redis).await;
            let end = HolderEnd::Failed(failure.clone());
            assert_eq!(locks.release("failed", "leader", end).await, Ok(true));
            before
        };
        let (replies, before) = soon("everybody is told", async { tokio::join!(waiters, release) }).await;
        let told = Reply::HolderFailed(failure);
        assert!(replies.iter().all(|reply| *reply == told), "{replies:?}");
        soon("the service is idle", locks.idle()).await;
        assert_eq!(scripts_run(redis).await - before, 1, "the release itself, and nothing else");
        assert_eq!(holder(&locks, "failed").await, None);
    }
    grant(&locks, "failed", "later", 60_000).await;
    locks.stop();
}

/// A holder that failed after its lease had ended fails those who wait, as it told: they do not ask in their turn, one lease
/// after the other. The next holder keeps the lease, and a repeated release tells nobody anything.
///
/// # Panics
/// When a waiter is left, is told something else, or the next holder loses the lease.
pub async fn a_late_failure_is_shared_too<C: Counters>(redis: &impl RedisUnderTest, counters: C) {
    let locks = patient_locks_over(redis, counters, no_recheck());
    for failure in
        [HolderFailure::NoSuchRow { generation: 7 }, HolderFailure::failed(true, "away".to_owned())]
    {
        grant(&locks, "late", "slow", 400).await;
        let next = acquire(&locks, "late", "next", 60_000, 60_000);
        let owners: Vec<String> = (0..9).map(|n| format!("node-{n}")).collect();
        let waiters = join_all(owners.iter().map(|owner| acquire(&locks, "late", owner, 60_000, 60_000)));
        let late = async {
            let led = async {
                while holder(&locks, "late").await.is_none_or(|owner| owner == "slow") {
                    tokio::task::yield_now().await;
                }
            };
            soon("the next holder", led).await;
            until_waiting(&locks, "late", 9).await;
            let end = HolderEnd::Failed(failure.clone());
            assert_eq!(locks.release("late", "slow", end.clone()).await, Ok(false), "nothing is freed");
            let led = holder(&locks, "late").await;
            assert_eq!(locks.release("late", "slow", end).await, Ok(false), "no error");
            led
        };
        let all = async { tokio::join!(next, waiters, late) };
        let (next, replies, led) = soon("everybody is told", all).await;
        assert!(matches!(next, Reply::Granted(_)), "{next:?}");
        let told = Reply::HolderFailed(failure);
        assert!(replies.iter().all(|reply| *reply == told), "{replies:?}");
        assert_eq!(led.as_deref(), Some("next"));
        assert_eq!(locks.release("late", "next", HolderEnd::ValueWritten).await, Ok(true));
    }
    locks.stop();
}

/// A release without a value grants the oldest waiter; the others keep their places.
///
/// # Panics
/// When another one is granted.
pub async fn the_oldest_waiter_is_next<C: Counters>(redis: &impl RedisUnderTest, counters: C) {
    let locks = patient_locks_over(redis, counters, no_recheck());
    grant(&locks, "fifo", "leader", 60_000).await;
    let owners = ["first", "second", "third"];
    let mut waiting = Vec::new();
    for (before, owner) in (1..).zip(owners) {
        let locks = locks.clone();
        let waiter = locks.clone();
        waiting.push(tokio::spawn(async move { acquire(&waiter, "fifo", owner, 60_000, 60_000).await }));
        until_waiting(&locks, "fifo", before).await;
    }
    let mut last = "leader";
    for (owner, waiter) in owners.into_iter().zip(waiting) {
        assert_eq!(locks.release("fifo", last, HolderEnd::Abandoned).await, Ok(true));
        let reply = soon("the oldest is granted", waiter).await.expect("no panic");
        assert!(matches!(reply, Reply::Granted(_)), "{owner}: {reply:?}");
        assert_eq!(holder(&locks, "fifo").await.as_deref(), Some(owner));
        last = owner;
    }
    locks.stop();
}

async fn scripts_run(redis: &impl RedisUnderTest) -> u64 {
    let mut info = redis::cmd("INFO");
    info.arg("commandstats");
    let text: String = ask(&redis.url(), info).await;
    let line = text.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap_or("0");
    line.split(',').next().and_then(|calls| calls.parse().ok()).expect("a number of calls")
}

/// A waiter whose wait runs out is told who holds the lease, and for how long.
///
/// # Panics
/// When it is told something else.
pub async fn a_wait_that_runs_out_names_the_holder<C: Counters>(redis: &impl RedisUnderTest, counters: C) {
    let locks = patient_locks_over(redis, counters, no_recheck());
    grant(&locks, "run-out", "leader", 60_000).await;
    for wait_ms in [0, 120] {
        let wanted = Wanted { name: "run-out", owner: "waiter", expiry_ms: 1_000, wait_ms };
        let answer = soon("the wait runs out", locks.acquire(wanted)).await.expect("an answer");
        let Reply::WaitTimeout { ref holder, expires_in_ms } = answer.reply else { panic!("{answer:?}") };
        assert_eq!(holder, "leader");
        assert!((1..=60_000).contains(&expires_in_ms), "{expires_in_ms}");
        assert!(answer.waited_ms >= wait_ms, "{answer:?}");
    }
    locks.stop();
}
