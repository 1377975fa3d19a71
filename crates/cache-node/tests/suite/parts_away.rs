//! Bad requests and parts that are away: a clear status in time, counted, healed by itself.

use crate::harness::{Parts, TestNode, eventually, fleet_lock, single_flight};
use herd_wire::error::ErrorSource;
use herd_wire::v1;
use std::time::{Duration, Instant};
use tonic::Code;

async fn refusal(node: &TestNode, key: &str, within: Duration) -> (Code, Option<ErrorSource>) {
    let started = Instant::now();
    let status = node.get(key).await.unwrap_err();
    assert!(started.elapsed() < within, "{key}: {:?} after {:?}", status, started.elapsed());
    (status.code(), ErrorSource::of(&status))
}

async fn heals(node: &TestNode, key: &str) {
    let end = Instant::now() + Duration::from_secs(5);
    while let Err(status) = node.get(key).await {
        assert!(Instant::now() < end, "did not heal within 5 s: {status:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Keys outside the rules are refused with the limit named; rows that do not exist are NOT_FOUND, and nothing is cached.
#[tokio::test]
async fn bad_and_unknown_keys() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    for bad in ["", "a b", &"k".repeat(129)] {
        let status = node.get(bad).await.unwrap_err();
        assert_eq!(
            (status.code(), ErrorSource::of(&status)),
            (Code::InvalidArgument, Some(ErrorSource::Client))
        );
        assert_eq!(node.invalidate(bad).await.unwrap_err().code(), Code::InvalidArgument);
    }
    assert!(node.get(&"k".repeat(129)).await.unwrap_err().message().contains("at most 128"));
    let missing = refusal(&node, "missing-1", Duration::from_secs(5)).await;
    assert_eq!(missing, (Code::NotFound, Some(ErrorSource::Origin)));
    assert_eq!(parts.held("p:missing-1").await, (None, 0));
    let metrics = node.metrics.encode();
    assert!(metrics.contains("cache_errors_total{source=\"origin\",code=\"not_found\"} 1"), "{metrics}");
}

/// Redis down or hanging: UNAVAILABLE from the cache in bounded time, counted; and it heals.
#[tokio::test]
async fn redis_away() {
    let mut parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    node.get("item-1").await.unwrap();
    let soon = Duration::from_secs(5);
    parts.redis.stop();
    assert_eq!(refusal(&node, "item-1", soon).await, (Code::Unavailable, Some(ErrorSource::Cache)));
    parts.redis.restart_empty();
    heals(&node, "item-1").await;
    parts.redis.pause();
    assert_eq!(refusal(&node, "item-1", soon).await, (Code::Unavailable, Some(ErrorSource::Cache)));
    parts.redis.resume();
    heals(&node, "item-1").await;
    let counted = "cache_errors_total{source=\"cache\",code=\"unavailable\"}";
    assert!(node.metrics.encode().contains(counted));
    node.busy(0, 0).await;
}

/// The lock service down: fail-closed is UNAVAILABLE from the lock, fail-open asks the origin without a lease.
#[tokio::test]
async fn lock_service_away() {
    let mut parts = Parts::up().await;
    let mut closed = fleet_lock();
    let lock = closed.policy.as_mut().unwrap().lock.as_mut().unwrap();
    lock.set_on_unavailable(v1::OnLockUnavailable::FailClosed);
    let node = parts.node("n1", &closed).await;
    let address = parts.lock_serving.as_ref().unwrap().address;
    parts.lock_serving = None;
    let soon = Duration::from_secs(2);
    assert_eq!(refusal(&node, "item-a", soon).await, (Code::Unavailable, Some(ErrorSource::Lock)));
    node.configure(&fleet_lock());
    node.get("item-b").await.unwrap();
    assert_eq!(parts.origin.asked().last().unwrap().reason(), v1::Reason::FailOpen);
    node.configure(&closed);
    let lock = herd_wire::v1::lock_service_server::LockServiceServer::new(parts.lock.clone());
    parts.lock_serving = Some(crate::fakes::serve(address.port(), lock));
    heals(&node, "item-c").await;
    assert_eq!(parts.origin.asked().last().unwrap().reason(), v1::Reason::LeaseHolder);
}

/// The origin down: UNAVAILABLE from the origin, shared once and never cached; it heals by itself.
#[tokio::test]
async fn origin_away() {
    let mut parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    let address = parts.origin_serving.as_ref().unwrap().address;
    parts.origin_serving = None;
    let soon = Duration::from_secs(2);
    assert_eq!(refusal(&node, "item-a", soon).await, (Code::Unavailable, Some(ErrorSource::Origin)));
    assert_eq!(parts.held("p:item-a").await, (None, 0));
    let origin = herd_wire::v1::origin_server::OriginServer::new(parts.origin.clone());
    parts.origin_serving = Some(crate::fakes::serve(address.port(), origin));
    heals(&node, "item-a").await;
    eventually("nothing is left behind", || node.node.busy() == (0, 0)).await;
}

/// The lock service takes connections and says nothing, ever: leaders fail open, or closed, long before the wait for the lease
/// is over.
#[tokio::test]
async fn a_silent_lock_service() {
    let mut parts = Parts::up().await;
    let mut fleet = fleet_lock();
    fleet.policy.as_mut().unwrap().lock.as_mut().unwrap().wait_ms = 60_000;
    let node = parts.node("n1", &fleet).await;
    let address = parts.lock_serving.as_ref().unwrap().address;
    parts.lock_serving = None;
    let _hole = std::net::TcpListener::bind(address).unwrap();
    node.get("item-a").await.unwrap();
    assert_eq!(parts.origin.asked().last().unwrap().reason(), v1::Reason::FailOpen);
    let lock = fleet.policy.as_mut().unwrap().lock.as_mut().unwrap();
    lock.set_on_unavailable(v1::OnLockUnavailable::FailClosed);
    node.configure(&fleet);
    let status = node.get("item-b").await.unwrap_err();
    assert_eq!((status.code(), ErrorSource::of(&status)), (Code::Unavailable, Some(ErrorSource::Lock)));
    assert!(status.message().contains("the lock service is away"), "{status:?}");
    node.busy(0, 0).await;
}
