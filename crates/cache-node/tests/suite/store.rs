//! The guarded store on a real Redis.

use crate::redis_server::RedisServer;
use herd_cache_node::store::write::{Guard, NewValue, Refusal};
use herd_cache_node::store::{Look, Place, Store, StoreError};
use std::time::{Duration, Instant};

const LEASE: Guard = Guard::Token { token: 41, epoch: 1 };

/// No prefix: the cache key is the row's.
const K: Place<'_> = Place { prefix: "", cache_key: "k" };

fn value(observed: u64, body: &[u8]) -> NewValue<'_> {
    NewValue {
        observed,
        ttl_ms: 60_000,
        grace_ms: 0,
        version: 1,
        rebuild_trace: [7; 16],
        rebuild_span: [8; 8],
        rebuild_took_us: 250,
        body: Some(body),
    }
}

fn body(look: &Look) -> Option<&[u8]> {
    match look {
        Look::Fresh { stored, .. } => Some(&stored.body),
        Look::Expired { .. } | Look::Negative { .. } | Look::Absent { .. } => None,
    }
}

fn up() -> (RedisServer, Store) {
    let redis = RedisServer::start();
    redis.set_epoch(1);
    let store = Store::new(&redis.url(), "n1").expect("a valid address");
    (redis, store)
}

/// A value is read back with its header; a key that was never written is absent at generation 0.
#[tokio::test]
async fn writes_and_reads() {
    let (_redis, store) = up();
    assert_eq!(store.look("k").await.unwrap(), Look::Absent { generation: 0 });
    assert_eq!(store.write(K, value(0, b"one"), LEASE).await.unwrap(), Ok(1));
    let Look::Fresh { stored, age_ms } = store.look("k").await.unwrap() else { panic!("fresh") };
    assert_eq!(&stored.body[..], b"one");
    assert_eq!((stored.header.generation, stored.header.token, stored.header.epoch), (1, 41, 1));
    assert_eq!((stored.header.rebuild_trace, stored.header.rebuild_took_us), ([7; 16], 250));
    assert!(age_ms < 60_000);
}

/// Logical expiry: the value is no longer fresh, yet a reader still sees which generation expired; and when the value
/// is gone altogether, the fence slot still says so.
#[tokio::test]
async fn expired_values_name_their_generation() {
    let (redis, store) = up();
    store.write(K, value(0, b"one"), LEASE).await.unwrap().unwrap();
    // 60 s of life and 60 s of retention: with 60 s left it has just expired.
    redis::cmd("PEXPIRE").arg("v:k").arg(60_000).exec(&mut redis.connect()).unwrap();
    let Look::Expired { stored, .. } = store.look("k").await.unwrap() else { panic!("expired") };
    assert_eq!(stored.header.generation, 1);
    redis::cmd("DEL").arg("v:k").exec(&mut redis.connect()).unwrap();
    assert_eq!(store.look("k").await.unwrap(), Look::Absent { generation: 1 });
}

/// Of two writers who saw the same generation expire, the store accepts the first that finishes, whichever lease is
/// younger; a plain overwrite (the control) lets both in.
#[tokio::test]
async fn one_write_for_a_generation() {
    let (_redis, store) = up();
    let (older, younger) = (Guard::Token { token: 41, epoch: 1 }, Guard::Token { token: 42, epoch: 1 });
    assert_eq!(store.write(K, value(0, b"older"), older).await.unwrap(), Ok(1));
    assert_eq!(store.write(K, value(0, b"younger"), younger).await.unwrap(), Err(Refusal::GenerationMoved));
    assert_eq!(
        store.write(K, value(0, b"no lease"), Guard::Generation).await.unwrap(),
        Err(Refusal::GenerationMoved)
    );
    assert_eq!(body(&store.look("k").await.unwrap()), Some(&b"older"[..]));
    assert_eq!(store.write(K, value(0, b"anyone"), Guard::Unguarded).await.unwrap(), Ok(1));
    assert_eq!(body(&store.look("k").await.unwrap()), Some(&b"anyone"[..]));
}

/// A holder that was paused past its lease is refused by its token even where the generation would let it in, and tokens
/// are compared as whole 64-bit numbers.
#[tokio::test]
async fn tokens_never_go_back() {
    let (_redis, store) = up();
    let token = |token| Guard::Token { token, epoch: 1 };
    assert_eq!(store.write(K, value(0, b"a"), token(9_007_199_254_740_993)).await.unwrap(), Ok(1));
    // The same number to a double, a smaller one to us.
    assert_eq!(
        store.write(K, value(1, b"b"), token(9_007_199_254_740_992)).await.unwrap(),
        Err(Refusal::TokenOld)
    );
    assert_eq!(
        store.write(K, value(1, b"b"), token(9_007_199_254_740_993)).await.unwrap(),
        Err(Refusal::TokenOld)
    );
    assert_eq!(store.write(K, value(1, b"b"), token(9_007_199_254_740_994)).await.unwrap(), Ok(2));
    assert_eq!(store.write(K, value(2, b"c"), token(99)).await.unwrap(), Err(Refusal::TokenOld));
}

/// A writer whose lease is from before Redis came back empty is refused: neither the empty slot nor a new epoch lets it
/// in. Without the epoch (the control: a fence by generation only) the empty slot does.
#[tokio::test]
async fn a_late_writer_is_refused_after_redis_came_back_empty() {
    let (mut redis, store) = up();
    assert_eq!(store.look("k").await.unwrap(), Look::Absent { generation: 0 });
    redis.restart_empty();
    assert_eq!(store.write(K, value(0, b"late"), LEASE).await.unwrap(), Err(Refusal::EpochMissing));
    redis.set_epoch(2);
    assert_eq!(store.write(K, value(0, b"late"), LEASE).await.unwrap(), Err(Refusal::EpochOld));
    assert_eq!(store.look("k").await.unwrap(), Look::Absent { generation: 0 });
    assert_eq!(store.write(K, value(0, b"late"), Guard::Generation).await.unwrap(), Ok(1));
}

/// A deletion during a rebuild stands: the rebuild's write is refused, guarded by token or by generation. A plain
/// overwrite (the control) brings the old value back.
#[tokio::test]
async fn a_rebuild_does_not_overwrite_a_deletion() {
    let (_redis, store) = up();
    store.write(K, value(0, b"old"), LEASE).await.unwrap().unwrap();
    let observed = store.look("k").await.unwrap().generation();
    assert_eq!(store.invalidate(K).await.unwrap(), 2);
    assert_eq!(store.look("k").await.unwrap(), Look::Absent { generation: 2 });
    let late = Guard::Token { token: 42, epoch: 1 };
    assert_eq!(store.write(K, value(observed, b"old"), late).await.unwrap(), Err(Refusal::GenerationMoved));
    assert_eq!(
        store.write(K, value(observed, b"old"), Guard::Generation).await.unwrap(),
        Err(Refusal::GenerationMoved)
    );
    assert_eq!(store.look("k").await.unwrap(), Look::Absent { generation: 2 });
    assert_eq!(store.write(K, value(2, b"new"), late).await.unwrap(), Ok(3));
    store.invalidate(K).await.unwrap();
    store.write(K, value(3, b"old"), Guard::Unguarded).await.unwrap().unwrap();
    assert_eq!(body(&store.look("k").await.unwrap()), Some(&b"old"[..]));
}

/// The generation is still guarded where Redis evicted the slot and kept the value.
#[tokio::test]
async fn an_evicted_slot_is_replaced_by_the_value() {
    let (redis, store) = up();
    for observed in 0..2 {
        store.write(K, value(observed, b"x"), Guard::Generation).await.unwrap().unwrap();
    }
    redis::cmd("DEL").arg("f:k").exec(&mut redis.connect()).unwrap();
    assert_eq!(
        store.write(K, value(1, b"y"), Guard::Generation).await.unwrap(),
        Err(Refusal::GenerationMoved)
    );
    assert_eq!(store.write(K, value(2, b"y"), Guard::Generation).await.unwrap(), Ok(3));
}

fn absence(observed: u64) -> NewValue<'static> {
    NewValue { ttl_ms: 5_000, version: 0, body: None, ..value(observed, b"") }
}

/// That a row does not exist is remembered as a generation of its own, until its time is up; then the key reads as absent, its
/// generation still known.
#[tokio::test]
async fn absences_are_remembered_for_their_time() {
    let (redis, store) = up();
    store.write(K, value(0, b"one"), Guard::Generation).await.unwrap().unwrap();
    assert_eq!(store.write(K, absence(1), LEASE).await.unwrap(), Ok(2));
    assert_eq!(store.look("k").await.unwrap(), Look::Negative { generation: 2 });
    // 5 s of life and 60 s of retention: with 60 s left its time has just run out.
    redis::cmd("PEXPIRE").arg("v:k").arg(64_000).exec(&mut redis.connect()).unwrap();
    assert_eq!(store.look("k").await.unwrap(), Look::Negative { generation: 2 });
    redis::cmd("PEXPIRE").arg("v:k").arg(60_000).exec(&mut redis.connect()).unwrap();
    assert_eq!(store.look("k").await.unwrap(), Look::Absent { generation: 2 });
    assert_eq!(store.write(K, value(2, b"back"), Guard::Generation).await.unwrap(), Ok(3));
    assert_eq!(body(&store.look("k").await.unwrap()), Some(&b"back"[..]));
}

/// An absence goes through the same guard as a value: it does not overwrite a row that was inserted meanwhile, nor a younger
/// lease's word, nor gets into a Redis that lost its data. A deletion takes it away at once.
#[tokio::test]
async fn absences_are_guarded() {
    let (mut redis, store) = up();
    // The row was inserted while somebody was told that it is not there.
    assert_eq!(store.invalidate(K).await.unwrap(), 1);
    for guard in [Guard::Generation, LEASE] {
        assert_eq!(store.write(K, absence(0), guard).await.unwrap(), Err(Refusal::GenerationMoved));
    }
    assert_eq!(store.write(K, absence(1), LEASE).await.unwrap(), Ok(2));
    assert_eq!(store.write(K, absence(2), LEASE).await.unwrap(), Err(Refusal::TokenOld));
    assert_eq!(store.look("k").await.unwrap(), Look::Negative { generation: 2 });
    assert_eq!(store.invalidate(K).await.unwrap(), 3);
    assert_eq!(store.look("k").await.unwrap(), Look::Absent { generation: 3 });
    redis.restart_empty();
    assert_eq!(store.write(K, absence(0), LEASE).await.unwrap(), Err(Refusal::EpochMissing));
}

/// Makes `version` of the row the value that stands, as generation `generation`, as somebody wrote it whom the writer under test
/// could not know of: Redis had lost the newest writes, and the numbers are handed out again.
async fn stands(store: &Store, generation: u64, version: u64) {
    let standing = NewValue { version, ..value(generation - 1, b"standing") };
    assert_eq!(store.write(K, standing, Guard::Unguarded).await.unwrap(), Ok(generation));
}

/// Where generation and token fit, a lower version of the row is refused all the same, and takes no token with it; an equal or a
/// higher one passes. Versions are compared whole, each byte as a number without a sign. A plain overwrite (the control) brings
/// the old version back.
#[tokio::test]
async fn versions_never_go_back() {
    let pairs = [
        (86, 88),
        (1, 2),
        (127, 128),
        (255, 256),
        (9_007_199_254_740_992, 9_007_199_254_740_993),
        (1, u64::MAX),
    ];
    for (lower, higher) in pairs {
        for guard in [LEASE, Guard::Generation] {
            let (_redis, store) = up();
            let of = |version| NewValue { version, ..value(5, b"written") };
            stands(&store, 5, higher).await;
            let refused = store.write(K, of(lower), guard).await.unwrap();
            assert_eq!(refused, Err(Refusal::GenerationMoved), "{lower} over {higher}, {guard:?}");
            assert_eq!(body(&store.look("k").await.unwrap()), Some(&b"standing"[..]));
            assert_eq!(store.write(K, of(higher), guard).await.unwrap(), Ok(6), "{higher} over itself");
            assert_eq!(store.write(K, of(lower), Guard::Unguarded).await.unwrap(), Ok(6));
            let next = Guard::Token { token: 42, epoch: 1 };
            let above = NewValue { version: higher, ..value(6, b"above") };
            assert_eq!(store.write(K, above, next).await.unwrap(), Ok(7), "{higher} over {lower}");
        }
    }
}

/// A value that has expired still says which version its readers saw.
#[tokio::test]
async fn an_expired_version_is_not_overwritten_by_an_older_one() {
    let (redis, store) = up();
    stands(&store, 1, 2).await;
    redis::cmd("PEXPIRE").arg("v:k").arg(60_000).exec(&mut redis.connect()).unwrap();
    let Look::Expired { .. } = store.look("k").await.unwrap() else { panic!("expired") };
    assert_eq!(store.write(K, value(1, b"old"), LEASE).await.unwrap(), Err(Refusal::GenerationMoved));
    let newest = NewValue { version: 2, ..value(1, b"newest") };
    assert_eq!(store.write(K, newest, LEASE).await.unwrap(), Ok(2));
}

/// Absences and deletions have no version: they overwrite any, and any overwrites them. Neither do bytes of another format.
#[tokio::test]
async fn what_has_no_version_is_not_compared() {
    let (redis, store) = up();
    stands(&store, 1, 88).await;
    assert_eq!(store.write(K, absence(1), Guard::Generation).await.unwrap(), Ok(2));
    assert_eq!(store.write(K, value(2, b"after an absence"), LEASE).await.unwrap(), Ok(3));
    stands(&store, 3, 88).await;
    assert_eq!(store.invalidate(K).await.unwrap(), 4);
    assert_eq!(store.write(K, value(4, b"after a deletion"), Guard::Generation).await.unwrap(), Ok(5));
    stands(&store, 5, 88).await;
    redis::cmd("SETRANGE").arg("v:k").arg(1).arg(&[1_u8][..]).exec(&mut redis.connect()).unwrap();
    assert_eq!(store.write(K, value(5, b"after foreign bytes"), Guard::Generation).await.unwrap(), Ok(6));
}

/// A value that may be served long after its expiry is kept so long; its age is told as ever.
#[tokio::test]
async fn a_grace_keeps_the_value() {
    let (redis, store) = up();
    let long = NewValue { ttl_ms: 1_000, grace_ms: 500_000, ..value(0, b"one") };
    store.write(K, long, Guard::Generation).await.unwrap().unwrap();
    let mut redis = redis.connect();
    let left_ms: i64 = redis::cmd("PTTL").arg("v:k").query(&mut redis).unwrap();
    assert!((400_000..=501_000).contains(&left_ms), "{left_ms}");
    redis::cmd("PEXPIRE").arg("v:k").arg(101_000).exec(&mut redis).unwrap();
    let Look::Expired { age_ms, .. } = store.look("k").await.unwrap() else { panic!("expired") };
    assert!((400_000..=401_000).contains(&age_ms), "{age_ms}");
}

/// Bytes of another program, or of an earlier format, read as nothing there, and the next write replaces them.
#[tokio::test]
async fn foreign_bytes_are_nothing() {
    let (redis, store) = up();
    store.write(K, value(0, b"one"), Guard::Generation).await.unwrap().unwrap();
    let mut redis = redis.connect();
    redis::cmd("SETRANGE").arg("v:k").arg(1).arg(&[1_u8][..]).exec(&mut redis).unwrap();
    assert_eq!(store.look("k").await.unwrap(), Look::Absent { generation: 1 });
    assert_eq!(store.write(K, value(1, b"two"), Guard::Generation).await.unwrap(), Ok(2));
    assert_eq!(body(&store.look("k").await.unwrap()), Some(&b"two"[..]));
}

/// Redis away or hanging is an error in bounded time, and the same store works again by itself.
#[tokio::test]
async fn redis_away_is_a_quick_error_and_heals() {
    let (mut redis, store) = up();
    store.look("k").await.unwrap();
    let quick = Duration::from_secs(5);

    redis.stop();
    let started = Instant::now();
    assert!(matches!(store.look("k").await, Err(StoreError::Away(_))));
    assert!(started.elapsed() < quick, "{:?}", started.elapsed());
    redis.restart_empty();
    eventually(&store).await;

    redis.pause();
    let started = Instant::now();
    assert!(matches!(store.look("k").await, Err(StoreError::TimedOut)));
    assert!(started.elapsed() < quick, "{:?}", started.elapsed());
    redis.resume();
    eventually(&store).await;
}

async fn eventually(store: &Store) {
    let end = Instant::now() + Duration::from_secs(3);
    while store.look("k").await.is_err() {
        assert!(Instant::now() < end, "the store did not heal within 3 s");
        tokio::task::yield_now().await;
    }
}
