//! Rows written through a node: the origin first, then the caches, and what is said when only half of it was done.

use crate::harness::{Parts, eventually, single_flight, text};
use herd_cache_node::errors::put_status;
use herd_cache_node::node::PutError;
use herd_cache_node::store::Look;
use herd_cache_node::store::write::Guard;
use herd_service::rpc::Deadline;
use herd_service::trace::TraceContext;
use herd_wire::error::{ErrorSource, is_retryable};
use herd_wire::v1::Served;
use std::task::Poll;
use std::time::Duration;
use tonic::Code;

const SOON: Duration = Duration::from_secs(5);

/// Once a put is acknowledged, no node answers with what was there before; the answer names the generation it opened.
#[tokio::test]
async fn a_put_is_seen_by_everybody() {
    let parts = Parts::up().await;
    let (one, two) = (parts.node("n1", &single_flight()).await, parts.node("n2", &single_flight()).await);
    assert_eq!(text(&one.get("item-1").await.unwrap()), "item-1@1");
    let put = one.put("item-1", "mine").await.unwrap();
    assert_eq!((put.version, put.generation), (1, 2));
    for node in [&two, &one] {
        let answer = node.get("item-1").await.unwrap();
        assert_eq!((text(&answer).as_str(), answer.version, answer.generation), ("mine", 1, 3));
    }
    assert_eq!(two.put("item-1", "again").await.unwrap().version, 2);
    assert_eq!(text(&one.get("item-1").await.unwrap()), "again");
}

/// A put creates the row, and clears the remembered absence with it: the next request finds the row.
#[tokio::test]
async fn a_put_clears_a_remembered_absence() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    parts.stored("p:absent-1", (0, 0), None, Guard::Generation).await;
    assert_eq!(node.get("absent-1").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(parts.origin.asked().len(), 0, "it was the sentinel who said so");
    node.put("absent-1", "here").await.unwrap();
    assert_eq!(text(&node.get("absent-1").await.unwrap()), "here");
}

/// What cannot be a row is refused before anything is written.
#[tokio::test]
async fn bad_puts_are_refused() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    let large = "x".repeat(herd_cache_node::grpc::PUT_BYTES_MAX + 1);
    for (key, value) in [("a b", "x"), ("", "x"), ("item-1", large.as_str())] {
        let status = node.put(key, value).await.unwrap_err();
        let said = (status.code(), ErrorSource::of(&status));
        assert_eq!(said, (Code::InvalidArgument, Some(ErrorSource::Client)));
        assert!(!parts.origin.has_put(key));
    }
    node.put("item-1", &large[1..]).await.unwrap();
    let bare = parts.bare_node("n2").await;
    assert_eq!(bare.put("item-2", "x").await.unwrap_err().code(), Code::Unavailable);
    assert!(!parts.origin.has_put("item-2"), "without a prefix no cache could be cleared");
}

/// More rows than may be written at once: the next is refused as overload before the origin is asked, and taken again once
/// there is room.
#[tokio::test]
async fn puts_over_the_limit_are_refused() {
    const MORE_THAN_THE_LIMIT: usize = 5_000;
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    parts.origin.hold_puts(true);
    let within = || Deadline::after(Duration::from_secs(30));
    let mut held = Vec::new();
    let refused = loop {
        assert!(held.len() < MORE_THAN_THE_LIMIT, "there is no limit");
        let put = node.node.put("item-1", b"mine".to_vec(), within(), TraceContext::root());
        let mut put = Box::pin(put);
        match futures::poll!(put.as_mut()) {
            Poll::Pending => held.push(put),
            Poll::Ready(answer) => break answer.unwrap_err(),
        }
    };
    assert!(matches!(refused, PutError::Overloaded), "{refused:?}");
    assert!(!held.is_empty());
    let status = node.put("item-2", "x").await.unwrap_err();
    let said = (status.code(), ErrorSource::of(&status), is_retryable(&status));
    assert_eq!(said, (Code::ResourceExhausted, Some(ErrorSource::Peer), true), "{status:?}");
    assert!(!parts.origin.has_put("item-2"));
    parts.origin.hold_puts(false);
    for put in held {
        put.await.unwrap();
    }
    node.put("item-2", "x").await.unwrap();
}

/// The origin refuses the row: its status comes back and the caches stay as they are; that the row may have been written all
/// the same was not said, so they need not be cleared.
#[tokio::test]
async fn the_origin_refuses() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    let status = node.put("failing-1", "x").await.unwrap_err();
    let said = (status.code(), ErrorSource::of(&status), is_retryable(&status));
    assert_eq!(said, (Code::Unavailable, Some(ErrorSource::Origin), true));
}

/// Redis is away after the row was written: the error says that the row is written, and that the caches may hold the old value.
/// A Redis that comes back in time is no error at all: clearing is tried until the deadline.
#[tokio::test]
async fn the_caches_cannot_be_cleared() {
    let mut parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    parts.redis.stop();
    // Not through a client, whose own timer might be first.
    let within = Deadline::after(Duration::from_millis(600));
    let error = node.node.put("item-1", b"mine".to_vec(), within, TraceContext::root()).await.unwrap_err();
    assert!(matches!(error, PutError::NotCleared { version: 1, .. }), "{error:?}");
    assert!(parts.origin.has_put("item-1"));
    let status = put_status(error);
    let said = (status.code(), ErrorSource::of(&status), is_retryable(&status));
    assert_eq!(said, (Code::Unavailable, Some(ErrorSource::Cache), true), "{status:?}");
    let message = status.message();
    assert!(message.contains("written as version 1") && message.contains("before, until"), "{message}");

    let put = node.begin_put("item-2", "mine", Duration::from_secs(10));
    eventually("the row is written", || parts.origin.has_put("item-2")).await;
    parts.redis.restart_empty();
    let put = put.await.unwrap().unwrap();
    assert_eq!(put.version, 1);
    assert_eq!(parts.store.look("p:item-2").await.unwrap(), Look::Absent { generation: put.generation });
}

/// The client hangs up, or runs out of time, after the row was written: the caches are cleared all the same, so that no old
/// value stays behind the new row.
#[tokio::test]
async fn a_writer_that_goes_away_leaves_no_old_value() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    for (key, hangs_up) in [("item-1", true), ("item-2", false)] {
        assert_eq!(node.get(key).await.unwrap().served(), Served::Led);
        parts.origin.hold_puts(true);
        let limit = if hangs_up { Duration::from_secs(10) } else { Duration::from_millis(500) };
        let put = node.begin_put(key, "mine", limit);
        eventually("the row is written", || parts.origin.has_put(key)).await;
        if hangs_up {
            put.abort();
            parts.origin.hold_puts(false);
        } else {
            assert_eq!(put.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
            parts.origin.hold_puts(false);
        }
        let cleared = async {
            while text(&node.get(key).await.unwrap()) != "mine" {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, cleared).await.unwrap_or_else(|_| panic!("{key} was not cleared"));
    }
}

/// A fill of the next prefix asked the origin before the row was written: what it brings back is not kept, and whoever reads
/// the next prefix later finds the row as it was written.
#[tokio::test]
async fn a_fill_does_not_keep_what_was_there_before() {
    let parts = Parts::up().await;
    let mut fleet = single_flight();
    let node = parts.node("n1", &fleet).await;
    fleet.other_key_prefix = "q:".to_owned();
    node.configure(&fleet);
    let filler = parts.node("n2", &fleet).await;
    parts.origin.close_gate();
    let fill = async {
        let filled = filler.warm("item-1", "q:").await;
        filled.unwrap()
    };
    let put = async {
        parts.origin.asked_times(1).await;
        let put = node.put("item-1", "mine").await.unwrap();
        parts.origin.open_gate();
        put
    };
    let (_, put) = tokio::join!(fill, put);
    assert_eq!(put.generation, 1, "that of the current prefix");
    assert_eq!(parts.held("q:item-1").await, (None, 1), "the old row was refused");
    (fleet.key_prefix, fleet.other_key_prefix) = ("q:".to_owned(), "p:".to_owned());
    filler.configure(&fleet);
    assert_eq!(text(&filler.get("item-1").await.unwrap()), "mine");
}
