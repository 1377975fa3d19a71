//! Redis restarted, emptied, paused, away; the database away; several instances.

use super::{
    RedisUnderTest, acquire, ask, grant, grant_when_healed, locks_over, patient_locks_over, soon,
    until_waiting,
};
use crate::counters::{Counters, MemoryCounters};
use crate::redis_store::EPOCH_KEY;
use herd_lease::arbiter::{Failure, Reply, Settings};
use herd_lease::fence::{Guard, Refusal, judge_write};
use herd_lease::{Epoch, Grant, HolderEnd, Token};
use std::time::{Duration, Instant};

/// Longer than a call may take when a part is away, with room for a slow machine.
const AWAY_ANSWER_MAX: Duration = Duration::from_secs(10);

/// Through restarts of Redis with and without data, an emptied and a paused Redis, and restarts of the service itself,
/// every token is larger than all before, and the epoch grows exactly when data was lost.
///
/// # Panics
/// When a token or an epoch goes back.
pub async fn tokens_never_go_back<C: Counters + Clone>(redis: &impl RedisUnderTest, counters: C) {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fault {
        None,
        RestartWithData,
        RestartEmpty,
        Flush,
        Pause,
        ServiceRestart,
        BothRestart,
    }
    redis.restart_empty().await;
    let mut locks = locks_over(redis, counters.clone(), Settings::default());
    let mut last = Grant { token: Token::ZERO, epoch: Epoch::ZERO, expires_in_ms: 0, repeated: false };
    let faults = [
        Fault::None,
        Fault::RestartWithData,
        Fault::RestartEmpty,
        Fault::Flush,
        Fault::ServiceRestart,
        Fault::Pause,
        Fault::Flush,
        Fault::BothRestart,
        Fault::RestartWithData,
    ];
    for (round, fault) in faults.into_iter().enumerate() {
        match fault {
            Fault::None => {}
            Fault::RestartWithData => redis.restart_with_data().await,
            Fault::RestartEmpty => redis.restart_empty().await,
            Fault::Flush => redis.flush().await,
            Fault::Pause => {
                redis.pause().await;
                let reply = acquire(&locks, &format!("{round}-paused"), "owner", 60_000, 0).await;
                assert!(matches!(reply, Reply::Failed(_)), "{reply:?}");
                redis.resume().await;
            }
            Fault::ServiceRestart | Fault::BothRestart => {
                // A crash: nothing is handed back.
                locks.stop();
                if fault == Fault::BothRestart {
                    redis.restart_empty().await;
                }
                locks = locks_over(redis, counters.clone(), Settings::default());
            }
        }
        let lost = matches!(fault, Fault::RestartEmpty | Fault::Flush | Fault::BothRestart) || round == 0;
        for n in 0..25 {
            let grant = grant_when_healed(&locks, &format!("{round}-{n}"), "owner").await;
            assert!(!grant.repeated && grant.token > last.token, "{grant:?} after {last:?}: {fault:?}");
            if n == 0 && lost {
                assert!(grant.epoch > last.epoch, "{grant:?} after {last:?}: {fault:?}");
            } else {
                assert_eq!(grant.epoch, last.epoch, "{grant:?} after {last:?}: {fault:?}");
            }
            last = grant;
        }
    }
    locks.stop();
}

/// Failure mode 10: Redis comes back empty between grant and write. The writer is refused by its epoch, before and
/// after the service noticed, though the slot of its key is empty and its generation fits.
///
/// # Panics
/// When the writer would be let in.
pub async fn an_empty_redis_refuses_old_writers<C: Counters>(redis: &impl RedisUnderTest, counters: C) {
    let locks = locks_over(redis, counters, Settings::default());
    let old = grant_when_healed(&locks, "mode-10", "old").await;
    let judge = |epoch: Option<u64>, grant: Grant| {
        let guard = Guard::Lease { token: grant.token, epoch: grant.epoch };
        judge_write(epoch.map(Epoch), None, 0, guard).map(|slot| slot.generation)
    };
    assert_eq!(judge(epoch_in(redis).await, old), Ok(1), "its lease is good");
    redis.restart_empty().await;
    assert_eq!(judge(epoch_in(redis).await, old), Err(Refusal::EpochMissing));
    let new = grant_when_healed(&locks, "mode-10", "new").await;
    assert!(new.token > old.token && new.epoch > old.epoch, "{new:?} after {old:?}");
    assert_eq!(judge(epoch_in(redis).await, old), Err(Refusal::EpochOld));
    assert_eq!(judge(epoch_in(redis).await, new), Ok(1));
    assert_eq!(locks.release("mode-10", "old", HolderEnd::ValueWritten).await, Ok(false));
    locks.stop();
}

async fn epoch_in(redis: &impl RedisUnderTest) -> Option<u64> {
    let mut get = redis::cmd("GET");
    get.arg(EPOCH_KEY);
    ask(&redis.url(), get).await
}

/// Redis away, or paused: a caller is told within about half a second, and the service heals when Redis is back.
///
/// # Panics
/// When a call hangs, or the service does not heal.
pub async fn a_redis_that_is_away_is_said_and_heals<C: Counters>(redis: &impl RedisUnderTest, counters: C) {
    let locks = locks_over(redis, counters, Settings::default());
    grant_when_healed(&locks, "away", "before").await;
    for paused in [false, true] {
        if paused {
            redis.pause().await;
        } else {
            redis.stop().await;
        }
        for round in 0..3 {
            let began = Instant::now();
            let reply = acquire(&locks, &format!("away-{round}"), "owner", 1_000, 10_000).await;
            assert!(matches!(reply, Reply::Failed(Failure::StoreAway(_))), "{reply:?}");
            assert!(locks.release("away", "before", HolderEnd::Abandoned).await.is_err());
            assert!(locks.inspect("away").await.is_err());
            assert!(began.elapsed() < AWAY_ANSWER_MAX, "three answers took {:?}", began.elapsed());
        }
        if paused {
            redis.resume().await;
        } else {
            redis.start().await;
        }
        grant_when_healed(&locks, &format!("healed-{paused}"), "after").await;
    }
    soon("the service is idle", locks.idle()).await;
    locks.stop();
}

/// The lease store restarts with nothing on disk while one leads and others wait: one more leads, under a new epoch,
/// and the rest go on waiting for it.
///
/// # Panics
/// When nobody leads, or a crowd does.
pub async fn waiters_survive_an_empty_restart<C: Counters>(redis: &impl RedisUnderTest, counters: C) {
    // As long as the waiters' own wait: a container on a busy machine takes what it takes to be there again.
    let settings = Settings { patience_ms: 60_000, ..Settings::default() };
    let locks = patient_locks_over(redis, counters, settings);
    let old = grant_when_healed(&locks, "restart", "leader").await;
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..10 {
        let locks = locks.clone();
        waiting.spawn(async move { acquire(&locks, "restart", &format!("w{n}"), 60_000, 60_000).await });
    }
    until_waiting(&locks, "restart", 10).await;
    redis.restart_empty().await;
    let first = soon("one waiter leads", waiting.join_next()).await.expect("ten wait").expect("no panic");
    assert!(
        matches!(first, Reply::Granted(new) if new.epoch > old.epoch && new.token > old.token),
        "{first:?}"
    );
    until_waiting(&locks, "restart", 9).await;
    let view = locks.inspect("restart").await.expect("the store answers").lease.expect("it is held");
    assert_eq!(
        locks.release("restart", "leader", HolderEnd::ValueWritten).await,
        Ok(false),
        "the old leader holds nothing"
    );
    assert_eq!(locks.release("restart", &view.owner, HolderEnd::ValueWritten).await, Ok(true));
    while let Some(reply) = soon("the others read", waiting.join_next()).await {
        assert_eq!(reply.expect("no panic"), Reply::HolderDone);
    }
    locks.stop();
}

/// Two instances of the service over one Redis and one database: tokens stay in order across them, a lease is one for
/// both, a release through the other is noticed, and lost data opens one new epoch.
///
/// # Panics
/// When they get in each other's way.
pub async fn two_instances_agree<C: Counters + Clone>(redis: &impl RedisUnderTest, counters: C) {
    let one = patient_locks_over(redis, counters.clone(), Settings::default());
    let two = patient_locks_over(redis, counters, Settings::default());
    let mut last = grant_when_healed(&one, "two", "owner").await;
    for n in 0..30 {
        let locks = if n % 3 == 0 { &two } else { &one };
        let next = grant(locks, &format!("two-{n}"), "owner", 60_000).await;
        assert!(next.token > last.token && next.epoch == last.epoch, "{next:?} after {last:?}");
        last = next;
    }
    let waiter = acquire(&two, "two", "waiter", 1_000, 60_000);
    let release = async {
        until_waiting(&two, "two", 1).await;
        assert_eq!(one.release("two", "owner", HolderEnd::ValueWritten).await, Ok(true));
    };
    let (reply, ()) = soon("the release is noticed", async { tokio::join!(waiter, release) }).await;
    assert!(matches!(reply, Reply::Granted(_)), "{reply:?}");
    redis.flush().await;
    let (a, b) =
        tokio::join!(grant_when_healed(&one, "flushed-1", "a"), grant_when_healed(&two, "flushed-2", "b"));
    let newest = epoch_in(redis).await.map(Epoch);
    assert!(a.token != b.token && a.epoch > last.epoch && b.epoch > last.epoch, "{a:?} {b:?}");
    assert_eq!((Some(a.epoch), Some(b.epoch)), (newest, newest), "they opened one epoch, not one each");
    one.stop();
    two.stop();
}

/// The database of tokens away: no matter while a block lasts; used up, callers are told; back, it goes on.
///
/// # Panics
/// When it is not so.
pub async fn a_database_away_is_felt_when_the_block_is_used_up(redis: &impl RedisUnderTest) {
    redis.restart_empty().await;
    let counters = MemoryCounters::default();
    let locks = locks_over(redis, counters.clone(), Settings::default());
    grant_when_healed(&locks, "sql", "owner").await;
    counters.set_away(true);
    let mut granted = 0;
    let reply = loop {
        let began = Instant::now();
        match acquire(&locks, &format!("sql-{granted}"), "owner", 60_000, 10_000).await {
            Reply::Granted(_) => granted += 1,
            other => {
                assert!(began.elapsed() < AWAY_ANSWER_MAX, "{:?}", began.elapsed());
                break other;
            }
        }
    };
    assert!((1..=20).contains(&granted), "a block has 10 tokens: {granted}");
    assert!(matches!(reply, Reply::Failed(Failure::TokensAway(_))), "{reply:?}");
    counters.set_away(false);
    grant_when_healed(&locks, "sql-back", "owner").await;
    locks.stop();
}
