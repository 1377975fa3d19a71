//! Having rows in the cache before anybody reads them.

use crate::harness::{Parts, fleet_lock, single_flight};
use herd_wire::error::ErrorSource;
use herd_wire::v1::{Reason, Served};
use tonic::Code;

/// A cold key is rebuilt, a warm one is found; both under the node's own prefix, and the next reader has a hit.
#[tokio::test]
async fn warms_the_current_prefix() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    let warmed = node.warm("item-1", "").await.unwrap();
    assert_eq!((warmed.served(), warmed.generation), (Served::Led, 1));
    let again = node.warm("item-1", "p:").await.unwrap();
    assert_eq!((again.served(), again.generation), (Served::Hit, 1));
    assert_eq!(node.get("item-1").await.unwrap().served(), Served::Hit);
    assert_eq!(parts.origin.asked().len(), 1);
}

/// There is no such row: to whoever replays a log of keys that is an answer, not a failure.
#[tokio::test]
async fn an_absent_row_is_an_answer() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    assert_eq!(node.warm("missing-1", "").await.unwrap().served(), Served::Negative);
    assert!(node.counted("cache_absent_total{by=\"origin\"} 1"));
    let failed = node.warm("failing-1", "").await.unwrap_err();
    assert_eq!((failed.code(), ErrorSource::of(&failed)), (Code::Unavailable, Some(ErrorSource::Origin)));
}

/// What no key or prefix can be is the client's fault; before the first configuration nothing can be warmed.
#[tokio::test]
async fn bad_requests() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &fleet_lock()).await;
    for (key, prefix) in [("a b", ""), ("item-1", "a b"), ("", ""), ("item-1", &"p".repeat(65))] {
        assert_eq!(node.warm(key, prefix).await.unwrap_err().code(), Code::InvalidArgument, "{key} {prefix}");
    }
    assert_eq!(parts.bare_node("n2").await.warm("item-1", "").await.unwrap_err().code(), Code::Unavailable);
    assert!(parts.origin.asked().iter().all(|asked| asked.reason() != Reason::Unspecified));
}
