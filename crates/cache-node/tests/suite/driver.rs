//! What becomes of a rebuild and of those who wait for it, whatever happens in between.

use crate::fakes::Mood;
use crate::harness::{Parts, eventually, fleet_lock, single_flight, text};
use herd_cache_node::store::Look;
use herd_cache_node::store::write::Guard;
use herd_wire::error::ErrorSource;
use herd_wire::v1::{self, Reason, Served};
use std::time::Duration;
use tonic::Code;

/// A miss is rebuilt, written and then a hit; the answer says how, under which configuration, and by which rebuild.
#[tokio::test]
async fn miss_then_hit() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    let led = node.get("item-1").await.unwrap();
    assert_eq!((text(&led).as_str(), led.served()), ("item-1@1", Served::Led));
    assert_eq!((led.generation, led.config_version, led.node.as_str()), (1, 1, "n1"));
    let hit = node.get("item-1").await.unwrap();
    assert_eq!((text(&hit).as_str(), hit.served(), hit.generation), ("item-1@1", Served::Hit, 1));
    assert_eq!((led.reference.len(), led.rebuild_trace.len(), hit.rebuild_trace.len()), (32, 32, 0));
    assert_ne!(led.reference, led.rebuild_trace, "a rebuild is a trace of its own");
    let asked = parts.origin.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (asked[0].key.as_str(), asked[0].cache_key.as_str(), asked[0].generation),
        ("item-1", "p:item-1", 0)
    );
    assert_eq!(asked[0].reason(), Reason::FlightLeader);
    let Look::Fresh { stored, .. } = parts.store.look("p:item-1").await.unwrap() else { panic!("fresh") };
    let maker = u128::from_be_bytes(stored.header.rebuild_trace);
    assert_eq!(format!("{maker:032x}"), led.rebuild_trace, "the value names its maker");
    let metrics = node.metrics.encode();
    for line in [
        "cache_miss_total 1",
        "cache_rebuild_duration_seconds_count 1",
        "cache_requests_total{served=\"hit\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is missing in:\n{metrics}");
    }
}

/// The leader's client hangs up in the middle of a rebuild: nobody is stranded, nobody starts over, the value is written.
#[tokio::test]
async fn a_client_that_hangs_up_strands_nobody() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    parts.origin.close_gate();
    let leader = node.begin("item-1");
    parts.origin.asked_times(1).await;
    let waiters: Vec<_> = (0..5).map(|_| node.begin("item-1")).collect();
    node.busy(6, 1).await;
    leader.abort();
    node.busy(5, 1).await;
    parts.origin.open_gate();
    for waiter in waiters {
        assert_eq!(text(&waiter.await.unwrap().unwrap()), "item-1@1");
    }
    assert_eq!(parts.origin.asked().len(), 1);
    node.busy(0, 0).await;
    assert_eq!(parts.held("p:item-1").await, (Some("item-1@1".to_owned()), 1));
}

/// Everybody hangs up: the rebuild runs on, so that the next reader finds its value.
#[tokio::test]
async fn a_rebuild_outlives_all_who_wait_for_it() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    parts.origin.close_gate();
    let alone = node.begin("item-1");
    parts.origin.asked_times(1).await;
    alone.abort();
    node.busy(0, 1).await;
    parts.origin.open_gate();
    node.busy(0, 0).await;
    let hit = node.get("item-1").await.unwrap();
    assert_eq!((hit.served(), parts.origin.asked().len()), (Served::Hit, 1));
}

/// A joiner that cancels does not take the live flight with it: who comes after it joins the same one.
#[tokio::test]
async fn a_joiner_that_cancels_leaves_the_flight() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    parts.origin.close_gate();
    let leader = node.begin("item-1");
    parts.origin.asked_times(1).await;
    let joiner = node.begin("item-1");
    node.busy(2, 1).await;
    joiner.abort();
    node.busy(1, 1).await;
    let later = node.begin("item-1");
    node.busy(2, 1).await;
    parts.origin.open_gate();
    assert_eq!(leader.await.unwrap().unwrap().served(), Served::Led);
    assert_eq!(later.await.unwrap().unwrap().served(), Served::Waited);
    assert_eq!(parts.origin.asked().len(), 1);
}

/// Callers keep coming while the flight completes and is written: one rebuild, no lost wake-up, nothing left behind.
#[tokio::test]
async fn a_flight_that_completes_while_callers_join() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    for round in 0..20 {
        let key = format!("item-{round}");
        parts.origin.close_gate();
        let mut requests = vec![node.begin(&key)];
        parts.origin.asked_times(round + 1).await;
        parts.origin.open_gate();
        for _ in 0..50 {
            requests.push(node.begin(&key));
            tokio::task::yield_now().await;
        }
        for request in requests {
            request.await.unwrap().unwrap();
        }
        assert_eq!(parts.origin.asked().len(), round + 1);
        node.busy(0, 0).await;
    }
}

/// A waiter's deadline is its own: it hears of it in time, and the rebuild and the others go on.
#[tokio::test]
async fn a_waiters_deadline_is_its_own() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    parts.origin.close_gate();
    let hasty = node.begin_within("item-1", Duration::from_millis(150));
    parts.origin.asked_times(1).await;
    let patient = node.begin("item-1");
    node.busy(2, 1).await;
    assert_eq!(hasty.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    parts.origin.open_gate();
    assert_eq!(text(&patient.await.unwrap().unwrap()), "item-1@1");
    assert_eq!(parts.origin.asked().len(), 1);
}

/// Several processes miss at once under the lock: one rebuild for all; the others wake when it is done, and read.
#[tokio::test]
async fn the_fleet_rebuilds_once() {
    let parts = Parts::up().await;
    let mut nodes = Vec::new();
    for number in 0..5 {
        nodes.push(parts.node(&format!("n{number}"), &fleet_lock()).await);
    }
    parts.origin.close_gate();
    let requests: Vec<_> =
        nodes.iter().flat_map(|node| [node.begin("item-1"), node.begin("item-1")]).collect();
    for node in &nodes {
        node.busy(2, 1).await;
    }
    parts.origin.asked_times(1).await;
    parts.origin.open_gate();
    let mut traces = std::collections::BTreeSet::new();
    for request in requests {
        let answer = request.await.unwrap().unwrap();
        assert_eq!(text(&answer), "item-1@1");
        traces.insert(answer.rebuild_trace);
    }
    assert_eq!(traces.len(), 1, "all of them name the one rebuild: {traces:?}");
    let asked = parts.origin.asked();
    assert_eq!((asked.len(), asked[0].reason(), asked[0].epoch), (1, Reason::LeaseHolder, 1));
    eventually("the lease is free", || parts.lock.holder("p:item-1").is_none()).await;
}

/// Several processes ask at once under the lock for a row that is not there, or of an origin that fails: one asks the origin
/// and everybody is told what it was told, as the origin's own word; the next request asks anew.
#[tokio::test]
async fn the_fleet_shares_an_error_once() {
    let parts = Parts::up().await;
    let mut nodes = Vec::new();
    for number in 0..5 {
        nodes.push(parts.node(&format!("n{number}"), &fleet_lock()).await);
    }
    for (key, code) in [("missing-1", Code::NotFound), ("failing-1", Code::Unavailable)] {
        let before = parts.origin.asked().len();
        parts.origin.close_gate();
        let requests: Vec<_> = nodes.iter().flat_map(|node| [node.begin(key), node.begin(key)]).collect();
        let name = format!("p:{key}");
        eventually("four nodes wait for the fifth", || parts.lock.waiting(&name) == 4).await;
        for node in &nodes {
            node.busy(2, 1).await;
        }
        parts.origin.asked_times(before + 1).await;
        parts.origin.open_gate();
        for request in requests {
            let status = request.await.unwrap().unwrap_err();
            let told = (status.code(), ErrorSource::of(&status));
            assert_eq!(told, (code, Some(ErrorSource::Origin)), "{status:?}");
            assert_eq!(herd_wire::error::is_retryable(&status), code == Code::Unavailable);
        }
        assert_eq!(parts.origin.asked().len(), before + 1);
        eventually("the lease is free", || parts.lock.holder(&name).is_none()).await;
        assert_eq!(nodes[0].get(key).await.unwrap_err().code(), code);
        assert_eq!(parts.origin.asked().len(), before + 2, "an error is not cached");
        eventually("the lease is free", || parts.lock.holder(&name).is_none()).await;
    }
}

/// The holder died: the next one starts when its lease ends, not after some longer time-out.
#[tokio::test]
async fn a_dead_holders_lease_ends() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &fleet_lock()).await;
    parts.lock.hold("p:item-1", Duration::from_millis(300));
    let started = std::time::Instant::now();
    assert_eq!(node.get("item-1").await.unwrap().served(), Served::Led);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(290) && took < Duration::from_secs(15), "{took:?}");
}

/// A release that fails, or is late, is counted and fails no request.
#[tokio::test]
async fn a_failed_release_fails_no_request() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &fleet_lock()).await;
    parts.lock.mood(Mood::RefusesRelease, true);
    assert_eq!(text(&node.get("item-1").await.unwrap()), "item-1@1");
    eventually("counted", || node.metrics.encode().contains("cache_release_failed_total 1")).await;
    assert_eq!(node.get("item-1").await.unwrap().served(), Served::Hit);
}

/// An acquire without an answer may have been applied: the node gives the lease back, and no orphan blocks the others.
#[tokio::test]
async fn an_acquire_without_an_answer_leaves_no_orphan() {
    let parts = Parts::up().await;
    let mut fleet = fleet_lock();
    fleet.policy.as_mut().unwrap().lock.as_mut().unwrap().wait_ms = 100;
    let node = parts.node("n1", &fleet).await;
    parts.lock.mood(Mood::GrantsSilently, true);
    let answer = node.get("item-1").await.unwrap();
    assert_eq!(text(&answer), "item-1@1", "fails open");
    assert_eq!(parts.origin.asked()[0].reason(), Reason::FailOpen);
    eventually("the lease is free", || parts.lock.holder("p:item-1").is_none()).await;
    let released = parts.lock.released();
    assert_eq!(released.len(), 1);
    assert!(released[0].0.starts_with("n1/"), "{released:?}");
}

/// Redis comes back empty between grant and write: the writer's epoch is gone, so its value is served and not cached.
#[tokio::test]
async fn a_holder_from_before_an_empty_redis_is_refused() {
    let mut parts = Parts::up().await;
    let node = parts.node("n1", &fleet_lock()).await;
    parts.origin.close_gate();
    let request = node.begin("item-1");
    parts.origin.asked_times(1).await;
    parts.redis.restart_empty();
    parts.redis.set_epoch(2);
    parts.origin.open_gate();
    assert_eq!(text(&request.await.unwrap().unwrap()), "item-1@1");
    node.busy(0, 0).await;
    assert_eq!(parts.held("p:item-1").await, (None, 0), "the late value is not in the store");
    let metrics = node.metrics.encode();
    assert!(metrics.contains("cache_writes_total{outcome=\"refused_epoch_old\"} 1"), "{metrics}");
}

/// The write fails: the lease is released all the same, and the request has its value.
#[tokio::test]
async fn a_failed_write_leaks_no_lease() {
    let mut parts = Parts::up().await;
    let node = parts.node("n1", &fleet_lock()).await;
    parts.origin.close_gate();
    let request = node.begin("item-1");
    parts.origin.asked_times(1).await;
    parts.redis.stop();
    parts.origin.open_gate();
    assert_eq!(text(&request.await.unwrap().unwrap()), "item-1@1");
    eventually("the lease is free", || parts.lock.holder("p:item-1").is_none()).await;
    assert_eq!(parts.lock.released().len(), 1);
    assert_eq!(
        parts.lock.released()[0].1,
        v1::HolderEnd::Abandoned,
        "it does not claim that a value was written"
    );
    node.busy(0, 0).await;
}

/// Somebody else wrote while this node rebuilt: its write is refused and its readers get what the store holds, so that no
/// reader sees the old value after the new.
#[tokio::test]
async fn a_write_is_refused_when_the_generation_moved() {
    let parts = Parts::up().await;
    let paused = parts.node("n1", &single_flight()).await;
    let other = parts.node("n2", &single_flight()).await;
    parts.origin.close_gate();
    let late = paused.begin("item-1");
    parts.origin.asked_times(1).await;
    parts.origin.new_version();
    let newer = other.begin("item-1");
    parts.origin.asked_times(2).await;
    // The other's write lands first: as if this node had been paused.
    parts.stored("p:item-1", (0, 2), Some(b"item-1@2"), Guard::Generation).await;
    parts.origin.open_gate();
    assert_eq!(text(&late.await.unwrap().unwrap()), "item-1@2");
    assert_eq!(text(&newer.await.unwrap().unwrap()), "item-1@2");
    assert_eq!(parts.held("p:item-1").await, (Some("item-1@2".to_owned()), 1));
}

/// Redis lost its newest writes while this node rebuilt, and another wrote a newer version of the row as the very generation that
/// this one saw: its write is refused, its reader gets what stands, and nobody the older version.
#[tokio::test]
async fn a_write_is_refused_when_a_newer_version_stands() {
    let parts = Parts::up().await;
    let late = parts.node("n1", &single_flight()).await;
    late.get("item-1").await.unwrap();
    // 60 s of life and 60 s of retention: with 60 s left it has just expired.
    let mut redis = parts.redis.connect();
    redis::cmd("PEXPIRE").arg("v:p:item-1").arg(60_000).exec(&mut redis).unwrap();
    parts.origin.close_gate();
    let request = late.begin("item-1");
    parts.origin.asked_times(2).await;
    // A Redis that lost track of its generations begins with the first again.
    parts.stored("p:item-1", (0, 2), Some(b"item-1@2"), Guard::Unguarded).await;
    parts.origin.open_gate();
    let answer = request.await.unwrap().unwrap();
    assert_eq!((text(&answer).as_str(), answer.generation), ("item-1@2", 1));
    assert_eq!(parts.held("p:item-1").await, (Some("item-1@2".to_owned()), 1));
}

/// Invalidation during a rebuild: the old value does not overwrite the deletion. Unguarded writes, the control, do it.
#[tokio::test]
async fn an_invalidation_during_a_rebuild_stands() {
    let parts = Parts::up().await;
    for (guard, key, left) in [
        (v1::WriteGuard::Fenced, "item-1", None),
        (v1::WriteGuard::Unguarded, "item-2", Some("item-2@1".to_owned())),
    ] {
        let mut fleet = single_flight();
        fleet.policy.as_mut().unwrap().set_write_guard(guard);
        let node = parts.node("n1", &fleet).await;
        let asked = parts.origin.asked().len();
        parts.origin.close_gate();
        let request = node.begin(key);
        parts.origin.asked_times(asked + 1).await;
        assert_eq!(node.invalidate(key).await.unwrap(), 1);
        parts.origin.open_gate();
        request.await.unwrap().unwrap();
        node.busy(0, 0).await;
        assert_eq!(parts.held(&format!("p:{key}")).await, (left, 1), "{guard:?}");
    }
}

/// Layers are switched under the running node: requests say which configuration served them, and another prefix is another
/// key.
#[tokio::test]
async fn configurations_switch_without_a_restart() {
    let parts = Parts::up().await;
    let node = parts.bare_node("n1").await;
    let refused = node.get("item-1").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "before the first configuration");
    node.configure(&single_flight());
    assert_eq!(node.get("item-1").await.unwrap().config_version, 1);
    let mut fleet = fleet_lock();
    (fleet.version, fleet.key_prefix) = (2, "q:".to_owned());
    node.configure(&fleet);
    let answer = node.get("item-1").await.unwrap();
    assert_eq!((answer.config_version, answer.served()), (2, Served::Led));
    let asked = parts.origin.asked();
    assert_eq!((asked[1].cache_key.as_str(), asked[1].reason()), ("q:item-1", Reason::LeaseHolder));
    let mut fleet = single_flight();
    (fleet.version, fleet.key_prefix) = (3, "r:".to_owned());
    fleet.policy.as_mut().unwrap().set_coalescing(v1::Coalescing::Uncoordinated);
    node.configure(&fleet);
    assert_eq!(node.get("item-1").await.unwrap().served(), Served::Uncoordinated);
    assert_eq!(parts.origin.asked()[2].reason(), Reason::Uncoordinated);
}
