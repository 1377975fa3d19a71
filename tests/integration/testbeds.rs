//! What a testbed does to its parts, on local processes and on containers alike: each signal takes, can be seen to have
//! taken, and can be undone; Redis is emptied, filled, and replaced by its replica while the fleet goes on.

use crate::fleet::{Beside, LIMIT, TestFleet, locked};
use herd_cluster::{compose::ComposeTestbed, processes::ProcessTestbed};
use herd_experiment::testbed::{Part, PartState, RedisFault, RedisInfo, Signal, Testbed};
use redis::Commands;
use std::time::Duration;

/// Longest time from a promotion to the first answer through connections that the old primary had.
const FOUND_AGAIN_MAX: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_to_processes() {
    signals_take(Box::new(ProcessTestbed::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_to_containers() {
    signals_take(Box::new(ComposeTestbed::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_among_processes() {
    redis_is_hurt(Box::new(ProcessTestbed::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_among_containers() {
    redis_is_hurt(Box::new(ComposeTestbed::new())).await;
}

/// Goal: every part takes every signal, the system's own word follows, no end that was asked for counts as a failure, and
/// the fleet works again afterwards.
async fn signals_take(testbed: Box<dyn Testbed>) {
    let mut fleet =
        TestFleet::up_beside(testbed, 3, locked(600_000), Beside { postgres: true, ..Beside::default() })
            .await;
    fleet.origin_takes(1).await;
    let answer = fleet.get("item-1").await.expect("the fleet answers");
    let names: Vec<_> = (0..3).filter_map(|index| fleet.testbed.instance(Part::CacheNode, index)).collect();
    assert!(names.contains(&answer.node), "{names:?} hold {}", answer.node);
    assert_eq!(fleet.testbed.instance(Part::CacheNode, 3), None);
    for part in [Part::Redis, Part::LockService, Part::Origin, Part::Edge, Part::CacheNode, Part::Database] {
        takes_all_signals(fleet.testbed.as_mut(), part).await;
        fleet.find_parts();
        fleet.healed(if part == Part::Redis { "item-1" } else { "item-2" }).await;
    }
    let indices = [0, 1, 2];
    for (signal, state) in [
        (Signal::Pause, PartState::Paused),
        (Signal::Resume, PartState::Running { pid: 0 }),
        (Signal::Kill, PartState::Ended),
        (Signal::Start, PartState::Running { pid: 0 }),
    ] {
        fleet.testbed.signal_all(Part::CacheNode, &indices, signal).await.expect("all take it");
        for index in indices {
            becomes(fleet.testbed.as_mut(), Part::CacheNode, index, state).await;
        }
    }
    fleet.testbed.signal_all(Part::CacheNode, &[0, 3], Signal::Pause).await.expect_err("there is no fourth");
    assert_eq!(fleet.testbed.failures().await, vec![]);
    fleet.healed("item-3").await;
    fleet.testbed.signal(Part::CacheNode, 0, Signal::Pause).await.expect("paused");
    fleet.down().await;
}

async fn takes_all_signals(testbed: &mut dyn Testbed, part: Part) {
    let PartState::Running { pid } = testbed.state(part, 0).await.expect("there is such a part") else {
        panic!("{part} does not run");
    };
    let running = PartState::Running { pid };
    // Each of these twice: it does no harm.
    for (signal, state) in [(Signal::Pause, PartState::Paused), (Signal::Resume, running)] {
        for _ in 0..2 {
            testbed.signal(part, 0, signal).await.expect("it takes the signal");
            becomes(testbed, part, 0, state).await;
        }
    }
    // An end of a part that is frozen, by force and gently.
    for signal in [Signal::Kill, Signal::Stop] {
        testbed.signal(part, 0, Signal::Pause).await.expect("it is there");
        testbed.signal(part, 0, signal).await.expect("it takes the signal");
        becomes(testbed, part, 0, PartState::Ended).await;
        testbed.signal(part, 0, Signal::Kill).await.expect_err("it has ended");
        testbed.signal(part, 0, Signal::Start).await.expect("it starts again");
        let PartState::Running { pid: now } = testbed.state(part, 0).await.expect("there is such a part")
        else {
            panic!("{part} does not run again");
        };
        assert_ne!(now, pid, "another process");
    }
    assert_eq!(testbed.failures().await, vec![]);
}

/// Waits for a state, as a signal may take a moment to be seen; a process number of 0 stands for any.
async fn becomes(testbed: &mut dyn Testbed, part: Part, index: u32, wanted: PartState) {
    let waiting = async {
        loop {
            let seen = testbed.state(part, index).await.expect("there is such a part");
            let any = wanted == PartState::Running { pid: 0 } && matches!(seen, PartState::Running { .. });
            if any || seen == wanted {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("{part} {index} is not {wanted:?}"));
}

/// Goal: Redis keeps its data over a kill and loses it when told to, evicts under a limit, and is replaced by a replica
/// that had not heard the last writes, twice in a row, with the fleet finding the promoted one by itself.
async fn redis_is_hurt(testbed: Box<dyn Testbed>) {
    let mut fleet = TestFleet::up_beside(
        testbed,
        2,
        locked(600_000),
        Beside { redis_replica: true, ..Beside::default() },
    )
    .await;
    fleet.origin_takes(1).await;
    fleet.get("item-1").await.expect("the fleet answers");
    let testbed = fleet.testbed.as_mut();
    write(testbed, 100);
    let full = info(testbed).await;
    assert!(full.keys >= 100, "{full:?}");

    restart(testbed, &[]).await;
    let after = info(testbed).await;
    assert!(after.keys >= 100 && after.pid != full.pid, "kept, by another process: {after:?}");
    testbed.redis(RedisFault::Wipe).await.expect_err("it runs");
    restart(testbed, &[RedisFault::Wipe]).await;
    assert!(info(testbed).await.keys < 100, "it came back empty");
    write(testbed, 100);
    testbed.redis(RedisFault::Flush).await.expect("flushed");
    assert!(info(testbed).await.keys < 100);

    // Less than is written, and more than the megabyte that a primary keeps of it for a replica that is back: where that alone
    // fills the room, nothing is left to evict and writes are refused.
    testbed.redis(RedisFault::Limit { room: 2 << 20 }).await.expect("limited");
    write(testbed, 4_000);
    let evicted = info(testbed).await.evicted;
    assert!(evicted > 0, "no room for all");
    testbed.redis(RedisFault::Unlimit).await.expect("as it was");
    write(testbed, 4_000);
    let info_after = info(testbed).await;
    assert!(info_after.keys >= 4_000, "{info_after:?}");

    testbed.redis(RedisFault::Promote).await.expect_err("the primary runs");
    testbed.redis(RedisFault::Flush).await.expect("flushed");
    for turn in 0..2 {
        promoted(&mut fleet, turn).await;
    }
    // The promoted one is the fleet's Redis, also when it is started again.
    let testbed = fleet.testbed.as_mut();
    restart(testbed, &[]).await;
    assert!(info(testbed).await.keys >= 50);
    assert_eq!(testbed.failures().await, vec![]);
    testbed.signal(Part::Redis, 0, Signal::Pause).await.expect("paused");
    becomes(testbed, Part::Redis, 0, PartState::Paused).await;
    testbed.redis_info().await.expect_err("it is frozen");
    testbed.signal(Part::Redis, 0, Signal::Resume).await.expect("resumed");
    fleet.healed("item-9").await;
    fleet.down().await;
}

async fn promoted(fleet: &mut TestFleet, turn: u32) {
    let testbed = fleet.testbed.as_mut();
    write(testbed, 50);
    testbed.redis(RedisFault::Detach).await.expect("detached");
    write(testbed, 90);
    let before = info(testbed).await;
    assert!(before.keys >= 90, "{before:?}");
    testbed.signal(Part::Redis, 0, Signal::Kill).await.expect("killed");
    testbed.redis(RedisFault::Promote).await.expect("promoted");
    let after = info(testbed).await;
    assert!((50..90).contains(&after.keys), "what was written behind its back is lost: {after:?}");
    assert_ne!(after.pid, before.pid, "another process");
    // A key that no node has yet: needs the lock service's and a node's connection to Redis.
    let key = format!("item-{}", 100 + turn);
    tokio::time::timeout(FOUND_AGAIN_MAX, fleet.healed(&key)).await.expect("found by itself, and soon");
    let testbed = fleet.testbed.as_mut();
    assert!(matches!(testbed.state(Part::Redis, 0).await, Ok(PartState::Running { .. })));
    testbed.redis(RedisFault::Flush).await.expect("flushed");
    write(testbed, 50);
}

async fn info(testbed: &mut dyn Testbed) -> RedisInfo {
    testbed.redis_info().await.expect("Redis answers")
}

async fn restart(testbed: &mut dyn Testbed, between: &[RedisFault]) {
    testbed.signal(Part::Redis, 0, Signal::Kill).await.expect("killed");
    for what in between {
        testbed.redis(*what).await.expect("done");
    }
    testbed.signal(Part::Redis, 0, Signal::Start).await.expect("started");
    let waiting = async { while testbed.redis_info().await.is_err() {} };
    tokio::time::timeout(LIMIT, waiting).await.expect("it answers again");
}

/// Writes `keys` values of a kilobyte where the lab is told that Redis is.
fn write(testbed: &mut dyn Testbed, keys: u32) {
    let url = testbed.endpoints().and_then(|at| at.redis_url).expect("Redis has an address");
    let mut connection =
        redis::Client::open(url).and_then(|client| client.get_connection()).expect("it is there");
    let value = "x".repeat(1024);
    for key in 0..keys {
        connection.set::<_, _, ()>(format!("written:{key}"), &value).expect("written");
    }
}
