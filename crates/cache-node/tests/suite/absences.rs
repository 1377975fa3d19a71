//! What clients hear beside a value: how an absence is known, and when a refused request may come back.

use crate::harness::{Parts, eventually, fleet_lock, single_flight, text};
use herd_cache_node::store::write::Guard;
use herd_wire::absent::{self, Absent};
use herd_wire::error::{ErrorSource, pushback};
use herd_wire::v1::Served;
use std::time::Duration;
use tonic::Code;

/// Each NOT_FOUND says who knew, under which configuration, and how new that knowledge is; each is counted by who knew.
#[tokio::test]
async fn an_absence_says_how_it_is_known() {
    let parts = Parts::up().await;
    let mut fleet = single_flight();
    fleet.version = 7;
    let node = parts.node("n1", &fleet).await;
    let absent =
        |served, generation| Some(Absent { served, node: "n1".to_owned(), config_version: 7, generation });
    let status = node.get("missing-1").await.unwrap_err();
    assert_eq!(absent::read(&status), absent(Served::Led, 0));
    node.invalidate("missing-1").await.unwrap();
    let status = node.get("missing-1").await.unwrap_err();
    assert_eq!(absent::read(&status), absent(Served::Led, 1), "the generation that its look saw");
    assert_eq!(ErrorSource::of(&status), Some(ErrorSource::Origin), "as ever");

    parts.stored("p:missing-1", (1, 0), None, Guard::Generation).await;
    let status = node.get("missing-1").await.unwrap_err();
    assert_eq!(absent::read(&status), absent(Served::Negative, 2));
    for (by, times) in [("origin", 2), ("sentinel", 1)] {
        let line = format!("cache_absent_total{{by=\"{by}\"}} {times}");
        assert!(node.counted(&line), "{line}: {}", node.metrics.encode());
    }
    assert_eq!(absent::read(&node.get("failing-1").await.unwrap_err()), None);
}

/// The origin refuses for load: everybody who waited for that flight hears from it when to come back. Other failures, and
/// the next flight that goes well, say nothing of the kind.
#[tokio::test]
async fn a_refused_request_hears_when_to_come_back() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    parts.origin.close_gate();
    let requests = [node.begin("refused-1"), node.begin("refused-1")];
    node.busy(2, 1).await;
    parts.origin.open_gate();
    for request in requests {
        let status = request.await.unwrap().unwrap_err();
        let said = (status.code(), ErrorSource::of(&status), pushback(&status));
        let expect = (Code::ResourceExhausted, Some(ErrorSource::Origin), Some(Duration::from_millis(1_234)));
        assert_eq!(said, expect, "{status:?}");
    }
    assert_eq!(pushback(&node.get("failing-1").await.unwrap_err()), None);
    node.put("refused-1", "here").await.unwrap();
    node.get("refused-1").await.unwrap();
}

/// The filter of existing keys is loaded by the nodes that are told to keep one, chunk by chunk, and by no other.
#[tokio::test]
async fn the_filter_is_loaded_where_it_is_wanted() {
    let parts = Parts::up().await;
    parts.origin.set_keys(&["item-1", "item-2", "item-3", "item-4", "item-5"]);
    let mut fleet = single_flight();
    let plain = parts.node("n1", &fleet).await;
    fleet.policy.as_mut().unwrap().key_filter = true;
    let node = parts.node("n2", &fleet).await;
    eventually("loaded", || node.counted("cache_filter_keys 5")).await;
    assert_eq!(text(&node.get("item-5").await.unwrap()), "item-5@1");
    assert_eq!(parts.origin.loads(), 1);
    assert!(plain.counted("cache_filter_keys 0"));
}

/// The known-bad ways to use the lock reach the lock service as the configuration names them, and only then.
#[tokio::test]
async fn known_bad_lock_flags_reach_the_lock_service() {
    let parts = Parts::up().await;
    for (key, bad) in [("item-1", false), ("item-2", true)] {
        let mut fleet = fleet_lock();
        let lock = fleet.policy.as_mut().unwrap().lock.as_mut().unwrap();
        (lock.volatile_tokens, lock.unconditional_release) = (bad, bad);
        let node = parts.node("n1", &fleet).await;
        node.get(key).await.unwrap();
        eventually("released", || parts.lock.holder(&format!("p:{key}")).is_none()).await;
        let (asked, released) = parts.lock.calls();
        let flags = (asked.last().unwrap().volatile_token, released.last().unwrap().unconditional);
        assert_eq!(flags, (bad, bad));
    }
}
