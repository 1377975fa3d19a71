//! The mistakes that a request can ask for: as bad as they are said to be, and inert when nobody asks.

use super::{
    RedisUnderTest, acquire, ask, grant, grant_when_healed, patient_locks_over, soon, until_waiting,
};
use crate::counters::Counters;
use crate::known_bad::VOLATILE_TOKEN_KEY;
use crate::locks::{Locks, Wanted};
use crate::redis_store::RedisStore;
use herd_lease::arbiter::{Reply, Settings};
use herd_lease::fence::{Guard, judge_write};
use herd_lease::{Epoch, Grant, HolderEnd};

async fn volatile_grant<C: Counters>(locks: &Locks<RedisStore, C>, name: &str, owner: &str) -> Grant {
    let answer = locks.acquire(Wanted { name, owner, expiry_ms: 60_000, wait_ms: 0 }).await;
    let answer = answer.expect("the request is within the limits");
    let answer = locks.with_volatile_token(name, owner, answer).await.expect("the store answers");
    match answer.reply {
        Reply::Granted(grant) => grant,
        other => panic!("{owner} should be granted {name}, but: {other:?}"),
    }
}

/// Whether a store of values that compares tokens alone lets `old` write after `new` has written.
fn old_writes_after_new(old: Grant, new: Grant) -> bool {
    let by_token = |grant: Grant| Guard::Lease { token: grant.token, epoch: Epoch(1) };
    let slot = judge_write(Some(Epoch(1)), None, 0, by_token(new)).expect("the first write is let in");
    judge_write(Some(Epoch(1)), Some(slot), slot.generation, by_token(old)).is_ok()
}

/// Volatile tokens are a lease's tokens in every other way, and the mistake: after a restart with nothing on disk old ones
/// are handed out again, so an old holder passes for the newest. Tokens that were not asked to be volatile go on growing.
///
/// # Panics
/// When the mistake does no harm, or shows where nobody asked for it.
pub async fn volatile_tokens_come_back<C: Counters>(redis: &impl RedisUnderTest, counters: C) {
    redis.restart_empty().await;
    let locks = patient_locks_over(redis, counters, Settings::default());
    let sound = grant_when_healed(&locks, "sound-1", "owner").await;
    let mut exists = redis::cmd("EXISTS");
    exists.arg(VOLATILE_TOKEN_KEY);
    assert!(!ask::<bool>(&redis.url(), exists).await, "nobody asked for a volatile token");

    let first = volatile_grant(&locks, "k", "one").await;
    let again = volatile_grant(&locks, "k", "one").await;
    assert_eq!((again.token, again.repeated), (first.token, true), "a repeated call returns its grant");
    assert_eq!(locks.renew("k", "one", first.token, 60_000).await, Ok(true), "it is the lease's token");
    let old = volatile_grant(&locks, "l", "two").await;
    assert!(old.token > first.token && old.epoch == sound.epoch, "while Redis lives all is well: {old:?}");
    let sound_later = grant(&locks, "sound-2", "owner", 60_000).await;
    assert!(sound_later.token > sound.token);

    redis.restart_empty().await;
    let sound_now = grant_when_healed(&locks, "sound-3", "owner").await;
    let new = volatile_grant(&locks, "l", "three").await;
    assert_eq!(new.token, first.token, "the first token is handed out again");
    assert!(new.epoch > old.epoch, "the rest of the grant is as ever");
    assert!(old_writes_after_new(old, new), "the old holder passes for the newest");
    assert!(sound_now.token > sound_later.token && !old_writes_after_new(sound_later, sound_now));
    locks.stop();
}

/// An unconditional release by a holder that outlived its lease frees the next one's: a third holds it while the next
/// still works. Whoever waits is told how the releasing one ended.
///
/// # Panics
/// When the mistake does no harm.
pub async fn an_unconditional_release_frees_anybodys_lease<C: Counters>(
    redis: &impl RedisUnderTest,
    counters: C,
) {
    // Nothing but a release wakes a waiter.
    let settings = Settings { recheck_ms: 600_000, ..Settings::default() };
    let locks = patient_locks_over(redis, counters, settings);
    grant_when_healed(&locks, "warm", "up").await;
    grant(&locks, "k", "slow", 50).await;
    let next = soon("the next holder", acquire(&locks, "k", "next", 60_000, 60_000)).await;
    let Reply::Granted(next) = next else { panic!("{next:?}") };
    let waiter = acquire(&locks, "k", "third", 60_000, 60_000);
    let late = async {
        until_waiting(&locks, "k", 1).await;
        assert_eq!(locks.release("k", "slow", HolderEnd::Abandoned).await, Ok(false), "as it should be");
        assert_eq!(locks.release_unconditionally("k", HolderEnd::Abandoned).await, Ok(true));
    };
    let (third, ()) = soon("a third is let in", async { tokio::join!(waiter, late) }).await;
    assert!(matches!(third, Reply::Granted(third) if third.token > next.token), "{third:?}");
    assert_eq!(locks.renew("k", "next", next.token, 60_000).await, Ok(false), "it was robbed of its lease");

    let waiter = acquire(&locks, "k", "fourth", 60_000, 60_000);
    let release = async {
        until_waiting(&locks, "k", 1).await;
        assert_eq!(locks.release_unconditionally("k", HolderEnd::ValueWritten).await, Ok(true));
    };
    let (fourth, ()) = soon("a value wakes", async { tokio::join!(waiter, release) }).await;
    assert_eq!(fourth, Reply::HolderDone);
    assert_eq!(locks.release_unconditionally("k", HolderEnd::Abandoned).await, Ok(false), "nobody holds it");
    locks.stop();
}
