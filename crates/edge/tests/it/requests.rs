//! Requests that end well: both protocols, routing, trace, deadline, drain.

use crate::fake_control::{FakeControl, PATIENCE};
use crate::fake_node::FakeNode;
use crate::testbed::{Testbed, fleet, until};
use herd_service::rpc::parse_grpc_timeout;
use herd_wire::v1::{GetRequest, InvalidateRequest, Routing, Served};
use std::time::Duration;
use tonic::Request;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn get(key: &str) -> GetRequest {
    GetRequest { key: key.to_owned() }
}

/// Both protocols give the node's answer, whole.
#[tokio::test]
async fn both_protocols_answer() {
    let node = FakeNode::start("n0");
    let mut testbed = Testbed::start(Routing::Spread, &[node.address]).await;

    let answer = testbed.grpc.get(get("item-1")).await.unwrap().into_inner();
    assert_eq!(&answer.value[..], br#"{"price":7}"#);
    assert_eq!((answer.version, answer.age_ms, answer.generation), (3, 12, 5));
    assert_eq!((answer.served(), answer.node.as_str()), (Served::Hit, "n0"));
    assert_eq!(answer.reference.len(), 32);
    let deleted = testbed.grpc.invalidate(InvalidateRequest { key: "item-1".to_owned() }).await.unwrap();
    assert_eq!(deleted.get_ref().generation, 6);

    let answer = testbed.http("GET", "/v1/items/item-1", "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["value"]["price"], 7);
    assert_eq!((&answer.body["served"], &answer.body["node"]), (&"hit".into(), &"n0".into()));
    assert_eq!(answer.header("herd-reference"), answer.body["reference"].as_str());
    let answer = testbed.http("DELETE", "/v1/items/item-1", "").await;
    assert_eq!((answer.status, answer.body["generation"].as_u64()), (200, Some(6)));

    assert_eq!(testbed.http("GET", "/v1/items/local", "").await.body["served"], "hit-local");
    assert_eq!(testbed.http("GET", "/v1/items/text", "").await.body["value_text"], "plain text");
    assert_eq!(testbed.http("GET", "/v1/items/bytes", "").await.body["value_hex"], "ff00");
}

/// The caller's trace goes on to the node, one span further down, and is the reference id.
#[tokio::test]
async fn trace_continues_over_both_protocols() {
    let node = FakeNode::start("n0");
    let mut testbed = Testbed::start(Routing::Spread, &[node.address]).await;
    let mut request = Request::new(get("item-1"));
    request.metadata_mut().insert("traceparent", CALLER.parse().unwrap());
    let answer = testbed.grpc.get(request).await.unwrap().into_inner();
    assert_eq!(answer.reference, TRACE);
    let answer = testbed.http("GET", "/v1/items/item-1", &format!("traceparent: {CALLER}\r\n")).await;
    assert_eq!(answer.body["reference"], TRACE);
    let asked = node.asked.lock().unwrap();
    for (_, metadata) in asked.iter() {
        let passed_on = metadata.get("traceparent").unwrap().to_str().unwrap();
        assert!(passed_on.starts_with(&CALLER[..36]) && passed_on.ends_with("-01"), "{passed_on}");
        assert_ne!(passed_on, CALLER, "the edge is a span of its own");
    }
}

/// The node gets what is left of the caller's time; without one, of the edge's own limit.
#[tokio::test]
async fn deadlines_are_passed_on() {
    let node = FakeNode::start("n0");
    let mut testbed = Testbed::start(Routing::Spread, &[node.address]).await;
    let mut request = Request::new(get("item-1"));
    request.set_timeout(Duration::from_secs(3));
    testbed.grpc.get(request).await.unwrap();
    testbed.http("GET", "/v1/items/item-1", "x-request-timeout-ms: 2000\r\n").await;
    testbed.grpc.get(get("item-1")).await.unwrap();
    let asked = node.asked.lock().unwrap();
    let left: Vec<Duration> = asked
        .iter()
        .map(|(_, metadata)| {
            parse_grpc_timeout(metadata.get("grpc-timeout").unwrap().to_str().unwrap()).unwrap()
        })
        .collect();
    for (left, limit_s) in left.iter().zip([3, 2, 10]) {
        let limit = Duration::from_secs(limit_s);
        assert!(*left < limit && *left > limit / 2, "{left:?} of {limit:?}");
    }
}

/// Under owner routing a key stays with its node; a change of routing and membership is applied while requests go on.
#[tokio::test]
async fn routing_follows_the_configuration() {
    let nodes: Vec<FakeNode> = (0..4).map(|n| FakeNode::start(&format!("n{n}"))).collect();
    let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
    let mut testbed = Testbed::start(Routing::Owner, &addresses).await;
    for _ in 0..40 {
        testbed.grpc.get(get("item-1")).await.unwrap();
    }
    let mut asked: Vec<usize> = nodes.iter().map(FakeNode::times_asked).collect();
    asked.sort_unstable();
    assert_eq!(asked, [0, 0, 0, 40]);

    testbed.control.update(fleet(2, Routing::Random, &addresses[..3]));
    testbed.control.report(|report| report.config_version == 2 && report.members_version == 2).await;
    let left_out_before = nodes[3].times_asked();
    for _ in 0..200 {
        testbed.grpc.get(get("item-1")).await.unwrap();
    }
    assert_eq!(nodes[3].times_asked(), left_out_before);
    assert!(nodes[..3].iter().all(|node| node.times_asked() > 20), "200 draws over three nodes reach each");
    let shown = testbed.http("GET", "/v1/members", "").await.body;
    assert_eq!((&shown["version"], &shown["routing"]), (&2.into(), &"RANDOM".into()));
    assert_eq!(shown["members"].as_array().unwrap().len(), 3);
}

/// A control plane that was started anew counts from 1 again: what it says is heeded though the number was used before.
#[tokio::test]
async fn a_number_used_again_is_no_old_configuration() {
    let node = FakeNode::start("n0");
    let mut testbed = Testbed::start(Routing::Spread, &[node.address]).await;
    let (at, now) = (testbed.control.address, fleet(1, Routing::Owner, &[]));
    let elsewhere = FakeControl::start(None, now.clone());
    drop(std::mem::replace(&mut testbed.control, elsewhere));
    testbed.control = FakeControl::start(Some(at), now);
    until("the new configuration and membership are applied", async || {
        let shown = testbed.http("GET", "/v1/members", "").await.body;
        shown["routing"] == "OWNER" && shown["members"].as_array().unwrap().is_empty()
    })
    .await;
}

/// With spread, the requests that are in flight are even over the nodes.
#[tokio::test]
async fn spread_evens_out_requests_in_flight() {
    let nodes: Vec<FakeNode> = (0..4).map(|n| FakeNode::start(&format!("n{n}"))).collect();
    let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
    let testbed = Testbed::start(Routing::Spread, &addresses).await;
    let requests: Vec<_> = (0..200)
        .map(|_| {
            let mut client = testbed.grpc.clone();
            tokio::spawn(async move { client.get(get("slow")).await })
        })
        .collect();
    let entered = || nodes.iter().map(|node| node.slow_entered.available_permits());
    until("all requests are in flight", async || entered().sum::<usize>() == 200).await;
    assert!(entered().all(|at_node| (45..=55).contains(&at_node)), "{:?}", entered().collect::<Vec<_>>());
    for node in &nodes {
        node.slow_allowed.add_permits(200);
    }
    for request in requests {
        assert!(request.await.unwrap().is_ok());
    }
    until("nothing is in flight", async || testbed.metric("herd_edge_in_flight").await == 0).await;
}

/// A drain lets requests under way finish on both protocols.
#[tokio::test]
async fn drain_finishes_requests_under_way() {
    let node = FakeNode::start("n0");
    let testbed = Testbed::start(Routing::Spread, &[node.address]).await;
    let (mut client, http) = (testbed.grpc.clone(), testbed.http);
    let over_grpc = tokio::spawn(async move { client.get(get("slow")).await });
    let over_http =
        tokio::spawn(async move { crate::testbed::http(http, "GET", "/v1/items/slow", "").await });
    let entered = tokio::time::timeout(PATIENCE, node.slow_entered.acquire_many(2)).await;
    entered.unwrap().unwrap().forget();
    testbed.shutdown.cancel();
    tokio::task::yield_now().await;
    node.slow_allowed.add_permits(2);
    assert!(over_grpc.await.unwrap().is_ok());
    assert_eq!(over_http.await.unwrap().status, 200);
    tokio::time::timeout(PATIENCE, testbed.served).await.unwrap().unwrap().unwrap();
}
