//! Each layer at work in a node: what the core decides, with a real store behind it.

use crate::harness::{Parts, TestNode, eventually, single_flight, text};
use herd_cache_node::store::write::{Guard, NewValue};
use herd_cache_node::store::{Look, Place};
use herd_wire::absent;
use herd_wire::v1::{self, FleetConfig, Reason, Served, StoreWriteKind, StoreWriteVerdict};
use std::collections::BTreeSet;
use std::time::Duration;
use tonic::Code;

/// Single-flight, and what the test adds.
fn with(layer: impl FnOnce(&mut v1::PolicyConfig)) -> FleetConfig {
    let mut fleet = single_flight();
    layer(fleet.policy.as_mut().expect("set above"));
    fleet
}

fn negative() -> FleetConfig {
    with(|policy| policy.negative = Some(v1::NegativeConfig { ttl_ms: 30_000 }))
}

fn stale(while_revalidate: bool, if_error: bool) -> FleetConfig {
    let safe_keys = vec!["safe-*".to_owned(), "failing-1".to_owned()];
    with(|policy| {
        policy.stale = Some(v1::StaleConfig { grace_ms: 30_000, while_revalidate, if_error, safe_keys });
    })
}

fn value<'a>(ttl_ms: u32, body: &'a [u8], rebuild_took_us: u32) -> NewValue<'a> {
    NewValue {
        observed: 0,
        ttl_ms,
        grace_ms: 30_000,
        version: 1,
        rebuild_trace: [0; 16],
        rebuild_span: [0; 8],
        rebuild_took_us,
        body: Some(body),
    }
}

impl Parts {
    /// Ends the logical life of a value or an absence that Redis keeps for a minute beyond it.
    fn expire(&self, cache_key: &str) {
        let key = format!("v:{cache_key}");
        redis::cmd("PEXPIRE").arg(key).arg(60_000).exec(&mut self.redis.connect()).unwrap();
    }

    async fn write(&self, key: &str, value: NewValue<'_>) {
        let cache_key = format!("p:{key}");
        let place = Place { prefix: "p:", cache_key: &cache_key };
        self.store.write(place, value, Guard::Generation).await.unwrap().unwrap();
    }

    fn reasons(&self) -> Vec<Reason> {
        self.origin.asked().iter().map(v1::FetchRequest::reason).collect()
    }
}

async fn served_absent(node: &TestNode, key: &str) -> Served {
    let status = node.get(key).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    absent::read(&status).expect("it says how it is known").served
}

/// One question for a missing row and sentinel, for all nodes; the next when its time is up. The absence stands in the record as
/// what it is.
#[tokio::test]
async fn an_absence_is_asked_for_once() {
    let parts = Parts::up().await;
    let (one, two) = (parts.node("n1", &negative()).await, parts.node("n2", &negative()).await);
    assert_eq!(served_absent(&one, "missing-1").await, Served::Led);
    one.busy(0, 0).await;
    for node in [&one, &two, &one] {
        assert_eq!(served_absent(node, "missing-1").await, Served::Negative);
    }
    assert_eq!(parts.origin.asked().len(), 1);
    parts.expire("p:missing-1");
    assert_eq!(served_absent(&two, "missing-1").await, Served::Led);
    two.busy(0, 0).await;
    assert_eq!((parts.origin.asked().len(), parts.origin.asked()[1].generation), (2, 1));
    let writes = one.writes("p:").await.unwrap().concat();
    let told: Vec<_> = writes.iter().map(|write| (write.kind(), write.generation, write.version)).collect();
    assert_eq!(told, [(StoreWriteKind::Absence, 1, 0), (StoreWriteKind::Absence, 2, 0)]);
    assert!(!writes[0].rebuild_trace.is_empty(), "it names the rebuild that was told so");
}

/// A row is inserted while a node is being told that it does not exist: neither the sentinel nor anybody who asks after the
/// insert's acknowledgement sees the old absence. With the layer and without it.
#[tokio::test]
async fn an_insert_leaves_no_old_absence() {
    for fleet in [negative(), single_flight()] {
        let parts = Parts::up().await;
        let (one, two) = (parts.node("n1", &fleet).await, parts.node("n2", &fleet).await);
        parts.origin.close_gate();
        let before = one.begin("absent-1");
        parts.origin.asked_times(1).await;
        two.put("absent-1", "here").await.unwrap();
        let after = one.begin("absent-1");
        one.busy(2, 1).await;
        parts.origin.open_gate();
        assert_eq!(text(&after.await.unwrap().unwrap()), "here");
        let _ = before.await.unwrap();
        one.busy(0, 0).await;
        for node in [&one, &two] {
            assert_eq!(text(&node.get("absent-1").await.unwrap()), "here");
        }
        let writes = one.writes("p:").await.unwrap().concat();
        let taken = writes.iter().filter(|write| write.verdict() == StoreWriteVerdict::Accepted);
        assert!(taken.clone().all(|write| write.kind() != StoreWriteKind::Absence), "{writes:?}");
    }
}

/// A flood of distinct ids that do not exist: the filter answers nearly all of them, where a sentinel each would have let
/// every one through. Keys that exist pass, and so do rows that came after the filter was loaded.
#[tokio::test]
async fn a_flood_of_ids_is_filtered() {
    let parts = Parts::up().await;
    parts.origin.set_keys(&["item-1", "item-2"]);
    let fleet = with(|policy| policy.key_filter = true);
    let (node, plain) = (parts.node("n1", &fleet).await, parts.node("n2", &single_flight()).await);
    eventually("the filter is loaded", || node.counted("cache_filter_keys 2")).await;
    let mut filtered = 0;
    for id in 0..200 {
        filtered += u32::from(served_absent(&node, &format!("missing-{id}")).await == Served::Filtered);
    }
    // 198 or more on average; by chance never under 180.
    assert!(filtered >= 180, "{filtered} of 200");
    assert_eq!(parts.origin.asked().len(), 200 - filtered as usize);
    assert!(node.counted(&format!("cache_absent_total{{by=\"filter\"}} {filtered}")));
    assert_eq!(text(&node.get("item-1").await.unwrap()), "item-1@1");

    plain.put("absent-1", "by another").await.unwrap();
    assert_eq!(text(&node.get("absent-1").await.unwrap()), "by another");
    node.put("absent-2", "by itself").await.unwrap();
    assert_eq!(text(&node.get("absent-2").await.unwrap()), "by itself");
}

/// An expired value of a key that is marked safe is served at once while one refresh runs, which each of its readers names; other
/// keys wait. Counted among the six metrics.
#[tokio::test]
async fn stale_values_are_served_while_one_refresh_runs() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &stale(true, false)).await;
    for key in ["safe-1", "item-1"] {
        node.get(key).await.unwrap();
        parts.expire(&format!("p:{key}"));
    }
    parts.origin.new_version();
    parts.origin.close_gate();
    let mut named = BTreeSet::new();
    for _ in 0..5 {
        let answer = node.get("safe-1").await.unwrap();
        assert_eq!((text(&answer).as_str(), answer.served()), ("safe-1@1", Served::Stale));
        assert!(answer.age_ms >= 60_000, "{}", answer.age_ms);
        named.insert(answer.rebuild_trace);
    }
    parts.origin.asked_times(3).await;
    let refresh = parts.origin.traces()[2][3..35].to_owned();
    assert_eq!(named, BTreeSet::from([refresh]), "the refresh, not what made the old value");
    let waits = node.begin("item-1");
    parts.origin.asked_times(4).await;
    assert_eq!(parts.reasons()[2..], [Reason::Refresh, Reason::FlightLeader]);
    parts.origin.open_gate();
    assert_eq!(waits.await.unwrap().unwrap().served(), Served::Led);
    node.busy(0, 0).await;
    let answer = node.get("safe-1").await.unwrap();
    assert_eq!((text(&answer).as_str(), answer.served()), ("safe-1@2", Served::Hit));
    assert!(node.counted("cache_swr_stale_serve_total 5"));
}

/// The origin fails: whoever may be served stale is, and whoever may not hears of it.
#[tokio::test]
async fn stale_values_stand_in_for_errors() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &stale(false, true)).await;
    for key in ["failing-1", "failing-2"] {
        parts.write(key, value(60_000, b"old", 0)).await;
        parts.expire(&format!("p:{key}"));
    }
    let answer = node.get("failing-1").await.unwrap();
    assert_eq!((text(&answer).as_str(), answer.served()), ("old", Served::Stale));
    assert_eq!(answer.rebuild_trace, parts.origin.traces()[0][3..35], "the rebuild that failed");
    assert_eq!(node.get("failing-2").await.unwrap_err().code(), Code::Unavailable);
}

/// The rebuild's time lies with the value, and brings on an early recomputation while readers have hits.
#[tokio::test]
async fn rebuild_times_bring_on_early_recomputation() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &with(|policy| policy.early_beta = 10.0)).await;
    parts.origin.close_gate();
    let led = node.begin("item-1");
    parts.origin.asked_times(1).await;
    // The time that is to be measured; nothing is waited for.
    tokio::time::sleep(Duration::from_millis(20)).await;
    parts.origin.open_gate();
    led.await.unwrap().unwrap();
    let Look::Fresh { stored, .. } = parts.store.look("p:item-1").await.unwrap() else { panic!("fresh") };
    assert!(stored.header.rebuild_took_us >= 20_000, "{}", stored.header.rebuild_took_us);

    // A rebuild as slow as can be said makes nearly every reader set one off.
    parts.write("item-2", value(60_000, b"old", u32::MAX)).await;
    let refreshed = async {
        loop {
            let answer = node.get("item-2").await.unwrap();
            assert_eq!(answer.served(), Served::Hit);
            if answer.generation == 2 {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refreshed).await.expect("refreshed within 5 s");
    let early = &parts.origin.asked()[1];
    assert_eq!((early.reason(), early.generation), (Reason::Early, 1), "names the value that is still fresh");
}

/// Values that are written at one moment do not expire at one moment.
#[tokio::test]
async fn lives_are_spread() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &with(|policy| policy.jitter = 0.25)).await;
    let mut lives = BTreeSet::new();
    for id in 0..20 {
        node.get(&format!("item-{id}")).await.unwrap();
        let look = parts.store.look(&format!("p:item-{id}")).await.unwrap();
        let Look::Fresh { stored, .. } = look else { panic!("fresh: {look:?}") };
        lives.insert(stored.header.ttl_ms);
    }
    assert!(lives.len() > 10, "{lives:?}");
    assert!(lives.iter().all(|life| (45_000..=75_000).contains(life)), "{lives:?}");
}

/// A reader whose patience runs out goes its own way, as the configuration says; the flight goes on.
#[tokio::test]
async fn patience_runs_out() {
    let parts = Parts::up().await;
    let waiter = |then: v1::OnWaitTimeout| {
        with(|policy| policy.waiter = Some(v1::WaiterConfig { wait_ms: 50, then: then.into() }))
    };
    let node = parts.node("n1", &single_flight()).await;
    parts.origin.close_gate();
    let patient = node.begin("item-1");
    parts.origin.asked_times(1).await;
    node.configure(&waiter(v1::OnWaitTimeout::WaitError));
    assert_eq!(node.get("item-1").await.unwrap_err().code(), Code::Unavailable);
    node.configure(&waiter(v1::OnWaitTimeout::WaitOrigin));
    let goes = node.begin("item-1");
    parts.origin.asked_times(2).await;
    parts.origin.open_gate();
    for request in [patient, goes] {
        assert_eq!(text(&request.await.unwrap().unwrap()), "item-1@1");
    }
    assert_eq!(parts.reasons(), [Reason::FlightLeader, Reason::WaitTimeout]);
}

/// A prefix that is not in use yet is filled beside the one that is: under its own keys, and for its own reason.
#[tokio::test]
async fn another_prefix_is_filled() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    node.get("item-1").await.unwrap();
    let warmed = node.warm("item-1", "q:").await.unwrap();
    assert_eq!((warmed.served(), warmed.generation), (Served::Led, 1));
    assert_eq!(node.warm("item-1", "q:").await.unwrap().served(), Served::Hit);
    let asked = parts.origin.asked();
    assert_eq!(
        (asked[1].reason(), asked[1].cache_key.as_str(), asked[1].key.as_str()),
        (Reason::Warm, "q:item-1", "item-1")
    );
    assert_eq!(asked.len(), 2);
    assert_eq!(node.writes("q:").await.unwrap().concat()[0].key, "item-1");
    let mut moved = single_flight();
    (moved.version, moved.key_prefix) = (2, "q:".to_owned());
    node.configure(&moved);
    assert_eq!(node.get("item-1").await.unwrap().served(), Served::Hit);
}
