//! The tier in the process, kept coherent by a real Redis.

use crate::harness::{Parts, TestNode, eventually, single_flight, text};
use herd_wire::v1::{self, FleetConfig, GetResponse, Served};
use std::time::{Duration, Instant};

/// Entries that outlive every test, unless something takes them out.
fn with_local(ttl_ms: u32, incoherent: bool) -> FleetConfig {
    let mut fleet = single_flight();
    fleet.policy.as_mut().expect("set above").local =
        Some(v1::LocalConfig { ttl_ms, entries_max: 1_000, incoherent });
    fleet
}

/// Asks until an answer is as it is wanted, for 5 s at most.
async fn answer(
    node: &TestNode,
    key: &str,
    what: &str,
    wanted: impl Fn(&GetResponse) -> bool,
) -> GetResponse {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match node.get(key).await {
            Ok(answer) if wanted(&answer) => return answer,
            other => assert!(Instant::now() < end, "not within 5 s: {what}; now {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until the process itself answers.
async fn held(node: &TestNode, key: &str) -> GetResponse {
    answer(node, key, "held", |answer| answer.served() == Served::HitLocal).await
}

/// A node with the tier, open, that holds the value of `item-1`.
async fn holding(parts: &Parts, instance: &str, fleet: &FleetConfig) -> TestNode {
    let node = parts.node(instance, fleet).await;
    held(&node, "item-1").await;
    node
}

/// How often Redis was asked for a value.
fn asked(redis: &mut redis::Connection) -> String {
    let stats: String = redis::cmd("INFO").arg("commandstats").query(redis).unwrap();
    stats.lines().find(|line| line.starts_with("cmdstat_get:")).expect("it was asked").to_owned()
}

/// A value that the node read once is served by the node itself: as the same value of the same generation, ageing, and
/// without a word to Redis. It is counted as what it is. Without the layer nothing of the kind happens.
#[tokio::test]
async fn the_process_serves_what_it_read() {
    let parts = Parts::up().await;
    let plain = parts.node("n1", &single_flight()).await;
    for expect in [Served::Led, Served::Hit, Served::Hit] {
        assert_eq!(plain.get("item-1").await.unwrap().served(), expect);
    }
    let node = holding(&parts, "n2", &with_local(60_000, false)).await;
    let mut redis = parts.redis.connect();
    let before = asked(&mut redis);
    let first = held(&node, "item-1").await;
    assert_eq!((text(&first).as_str(), first.generation, first.config_version), ("item-1@1", 1, 1));
    answer(&node, "item-1", "it ages", |answer| answer.age_ms > first.age_ms).await;
    assert_eq!(asked(&mut redis), before);
    plain.get("item-1").await.unwrap();
    assert_ne!(asked(&mut redis), before, "the other asks every time");
    let hits = "cache_requests_total{served=\"hit_local\"} ";
    assert!(node.metrics.encode().lines().any(|line| line.starts_with(hits) && !line.ends_with(" 0")));
    assert!(plain.counted(&format!("{hits}0")));
}

/// Whoever changes the value: another node's put, a deletion, a program beside the fleet, an eviction. The word of it takes
/// the entry out, and the node reads what is there now.
#[tokio::test]
async fn changes_by_others_take_entries_out() {
    let parts = Parts::up().await;
    let node = holding(&parts, "n1", &with_local(60_000, false)).await;
    let other = parts.node("n2", &single_flight()).await;

    other.put("item-1", "mine").await.unwrap();
    answer(&node, "item-1", "the put", |answer| text(answer) == "mine").await;
    held(&node, "item-1").await;
    other.invalidate("item-1").await.unwrap();
    answer(&node, "item-1", "the deletion", |answer| answer.generation == 5).await;
    held(&node, "item-1").await;
    let mut redis = parts.redis.connect();
    redis::cmd("DEL").arg("v:p:item-1").exec(&mut redis).unwrap();
    answer(&node, "item-1", "the loss", |answer| answer.generation == 6).await;
    held(&node, "item-1").await;
    redis::cmd("PEXPIRE").arg("v:p:item-1").arg(60_000).exec(&mut redis).unwrap();
    answer(&node, "item-1", "the end of its time", |answer| answer.generation == 7).await;
    held(&node, "item-1").await;
    redis::cmd("FLUSHALL").exec(&mut redis).unwrap();
    answer(&node, "item-1", "an empty Redis", |answer| answer.generation == 1).await;
    assert!(node.counted("cache_local_flushes_total 1"), "{}", node.metrics.encode());
}

/// A node's own writes need no word from Redis: the very next answer is new.
#[tokio::test]
async fn own_changes_are_seen_at_once() {
    let parts = Parts::up().await;
    let node = holding(&parts, "n1", &with_local(60_000, false)).await;
    for round in 0..20 {
        let value = format!("mine-{round}");
        node.put("item-1", &value).await.unwrap();
        assert_eq!(text(&node.get("item-1").await.unwrap()), value);
        held(&node, "item-1").await;
    }
}

/// Writers and readers at once, so that answers are overtaken by the word of changes: when the last write is done, the node
/// comes to serve the last value, and nothing older ever again.
#[tokio::test]
async fn no_old_value_survives_a_race() {
    let parts = Parts::up().await;
    let node = holding(&parts, "n1", &with_local(60_000, false)).await;
    let other = parts.node("n2", &single_flight()).await;
    for round in 0..30 {
        let last = format!("{round}");
        let (_, put) = tokio::join!(
            async {
                for _ in 0..40 {
                    node.get("item-1").await.unwrap();
                }
            },
            other.put("item-1", &last),
        );
        put.unwrap();
        answer(&node, "item-1", "the last value", |answer| text(answer) == last).await;
        held(&node, "item-1").await;
        for _ in 0..5 {
            assert_eq!(text(&node.get("item-1").await.unwrap()), last);
        }
    }
}

/// The connection that tells of changes is cut: everything held is dropped, the node asks Redis, and holds values again
/// when it is told of changes again.
#[tokio::test]
async fn a_lost_connection_empties_the_tier() {
    let parts = Parts::up().await;
    let node = holding(&parts, "n1", &with_local(60_000, false)).await;
    let mut redis = parts.redis.connect();
    for cuts in 1..=3 {
        redis::cmd("CLIENT").arg("KILL").arg("SKIPME").arg("yes").exec(&mut redis).unwrap();
        let line = format!("cache_local_flushes_total {cuts}");
        eventually("the loss is noticed", || node.counted(&line)).await;
        held(&node, "item-1").await;
    }
    let other = parts.node("n2", &single_flight()).await;
    other.put("item-1", "mine").await.unwrap();
    answer(&node, "item-1", "told of changes again", |answer| text(answer) == "mine").await;
}

/// Redis hangs: it cannot tell of changes, so before long the node no longer answers for it, and says that the cache is away.
#[tokio::test]
async fn silence_closes_the_tier() {
    let parts = Parts::up().await;
    let node = holding(&parts, "n1", &with_local(60_000, false)).await;
    parts.redis.pause();
    eventually("the silence is noticed", || node.counted("cache_local_flushes_total 1")).await;
    assert!(node.get("item-1").await.is_err());
    parts.redis.resume();
    held(&node, "item-1").await;
}

/// A Redis that came back empty: the values of before are gone here, too.
#[tokio::test]
async fn an_empty_redis_empties_the_tier() {
    let mut parts = Parts::up().await;
    let node = holding(&parts, "n1", &with_local(60_000, false)).await;
    parts.redis.restart_empty();
    parts.origin.new_version();
    answer(&node, "item-1", "the new value", |answer| text(answer) == "item-1@2").await;
    held(&node, "item-1").await;
}

/// The control: a tier that listens to nobody serves the old value for its whole time, and then no longer.
#[tokio::test]
async fn an_incoherent_tier_is_stale_until_its_time_is_up() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &with_local(3_000, true)).await;
    assert_eq!(node.get("item-1").await.unwrap().served(), Served::Led);
    let kept_from = Instant::now();
    assert_eq!(node.get("item-1").await.unwrap().served(), Served::Hit);
    let other = parts.node("n2", &single_flight()).await;
    other.put("item-1", "mine").await.unwrap();
    assert_eq!(text(&other.get("item-1").await.unwrap()), "mine");
    let old = node.get("item-1").await.unwrap();
    assert_eq!((text(&old).as_str(), old.served()), ("item-1@1", Served::HitLocal));
    answer(&node, "item-1", "its time is up", |answer| text(answer) == "mine").await;
    let kept = kept_from.elapsed();
    assert!(kept >= Duration::from_secs(3), "{kept:?}");
}

/// Another configuration, another tier: a new prefix begins empty, and without the layer nothing is held any more.
#[tokio::test]
async fn the_tier_follows_the_configuration() {
    let parts = Parts::up().await;
    let node = holding(&parts, "n1", &with_local(60_000, false)).await;
    let mut moved = with_local(60_000, false);
    moved.key_prefix = "q:".to_owned();
    node.configure(&moved);
    assert_eq!(node.get("item-1").await.unwrap().served(), Served::Led);
    held(&node, "item-1").await;
    node.configure(&single_flight());
    for _ in 0..3 {
        assert_eq!(node.get("item-1").await.unwrap().served(), Served::Hit);
    }
    node.configure(&with_local(60_000, false));
    held(&node, "item-1").await;
}
