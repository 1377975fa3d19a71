//! The gate that a configuration sets: places, queue, refusals.

use crate::fake_control::PATIENCE;
use crate::fake_node::FakeNode;
use crate::testbed::{Testbed, fleet, until};
use herd_wire::error::{ErrorSource, is_retryable};
use herd_wire::v1::edge_client::EdgeClient;
use herd_wire::v1::{ControlUpdate, Gate, GetRequest, GetResponse, Routing};
use std::time::Duration;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

const ONE_AND_TWO: Gate =
    Gate { in_flight_max: 1, queue_max: 2, queue_wait_ms: 60_000, retry_after_ms: 1_500 };

fn with_gate(version: u64, node: &FakeNode, gate: Option<Gate>) -> ControlUpdate {
    let mut update = fleet(version, Routing::Spread, &[node.address]);
    update.config.as_mut().unwrap().edge_gate = gate;
    update
}

async fn configure(testbed: &mut Testbed, version: u64, node: &FakeNode, gate: Option<Gate>) {
    testbed.control.update(with_gate(version, node, gate));
    testbed.control.report(|report| report.config_version == version).await;
}

fn get(client: &EdgeClient<Channel>, key: &str) -> JoinHandle<Result<Response<GetResponse>, Status>> {
    let (mut client, key) = (client.clone(), key.to_owned());
    tokio::spawn(async move { client.get(GetRequest { key }).await })
}

/// A request is inside the gate and stays there until the node may answer.
async fn one_inside(testbed: &Testbed, node: &FakeNode) -> JoinHandle<Result<Response<GetResponse>, Status>> {
    let inside = get(&testbed.grpc, "slow");
    tokio::time::timeout(PATIENCE, node.slow_entered.acquire()).await.unwrap().unwrap().forget();
    inside
}

/// A configuration's gate is applied before it is acknowledged: one is inside, two wait, the rest is refused over both
/// protocols with the time to come back. Who waited is served when its turn comes.
#[tokio::test]
async fn a_configuration_sets_the_gate() {
    let node = FakeNode::start("n0");
    let mut testbed = Testbed::start(Routing::Spread, &[node.address]).await;
    configure(&mut testbed, 2, &node, Some(ONE_AND_TWO)).await;
    let inside = one_inside(&testbed, &node).await;
    let waiting = [get(&testbed.grpc, "a"), get(&testbed.grpc, "b")];
    until("two wait", async || testbed.metric("herd_edge_queued").await == 2).await;
    assert_eq!(testbed.metric("herd_edge_in_flight").await, 1);

    let refused = get(&testbed.grpc, "c").await.unwrap().unwrap_err();
    assert_eq!(
        (refused.code(), ErrorSource::of(&refused)),
        (Code::ResourceExhausted, Some(ErrorSource::Peer))
    );
    assert_eq!(refused.metadata().get("grpc-retry-pushback-ms").unwrap(), "1500");
    assert!(is_retryable(&refused));
    let refused = testbed.http("GET", "/v1/items/c", "").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("2")));
    assert_eq!(refused.body["error"]["code"], "RESOURCE_EXHAUSTED");
    assert_eq!(testbed.metric("herd_edge_rejected_total").await, 2);
    assert_eq!(node.times_asked(), 1, "nothing passes the gate");

    node.slow_allowed.add_permits(1);
    assert!(inside.await.unwrap().is_ok());
    for waited in waiting {
        assert!(waited.await.unwrap().is_ok());
    }
    assert_eq!(node.times_asked(), 3);
}

/// A wait in the queue ends with a refusal when the gate's patience ends, and with DEADLINE_EXCEEDED when the caller's time
/// does. A bad request does not stand in the queue.
#[tokio::test]
async fn waits_end() {
    let node = FakeNode::start("n0");
    let mut testbed = Testbed::start(Routing::Spread, &[node.address]).await;
    configure(&mut testbed, 2, &node, Some(ONE_AND_TWO)).await;
    let inside = one_inside(&testbed, &node).await;
    let late = testbed.http("GET", "/v1/items/a", "x-request-timeout-ms: 50\r\n").await;
    assert_eq!((late.status, &late.body["error"]["source"]), (504, &"peer".into()));
    assert_eq!(testbed.http("GET", "/v1/items/a%20b", "").await.status, 400);

    configure(&mut testbed, 3, &node, Some(Gate { queue_wait_ms: 20, ..ONE_AND_TWO })).await;
    let refused = testbed.http("GET", "/v1/items/a", "").await;
    assert_eq!(refused.status, 503);
    let why = refused.body["error"]["message"].as_str().unwrap();
    assert_eq!(why, "no place came free within 20 ms");
    assert!(!testbed.is_ejected(0).await, "the node was not asked, so it was not silent");
    node.slow_allowed.add_permits(1);
    assert!(inside.await.unwrap().is_ok());
}

/// Who hangs up in the queue leaves it, and the place goes to the next.
#[tokio::test]
async fn hanging_up_in_the_queue_loses_no_place() {
    let node = FakeNode::start("n0");
    let mut testbed = Testbed::start(Routing::Spread, &[node.address]).await;
    configure(&mut testbed, 2, &node, Some(ONE_AND_TWO)).await;
    let inside = one_inside(&testbed, &node).await;
    let gone = get(&testbed.grpc, "gone");
    until("one waits", async || testbed.metric("herd_edge_queued").await == 1).await;
    let next = get(&testbed.grpc, "next");
    until("two wait", async || testbed.metric("herd_edge_queued").await == 2).await;
    gone.abort();
    until("one waits", async || testbed.metric("herd_edge_queued").await == 1).await;
    node.slow_allowed.add_permits(1);
    assert!(inside.await.unwrap().is_ok());
    assert!(next.await.unwrap().is_ok());
    assert!(node.asked.lock().unwrap().iter().all(|(key, _)| key != "gone"));
    until("nobody is inside", async || testbed.metric("herd_edge_in_flight").await == 0).await;
}

/// A wider gate lets in who waits; without a gate in the configuration the edge's own limit is back; a configuration whose
/// gate makes no sense is not acknowledged, and the last one stays in force.
#[tokio::test]
async fn gates_change_and_go() {
    let node = FakeNode::start("n0");
    let mut testbed =
        Testbed::start_with(Routing::Spread, &[node.address], |args| args.max_in_flight = 3).await;
    configure(&mut testbed, 2, &node, Some(ONE_AND_TWO)).await;
    let first = one_inside(&testbed, &node).await;
    let second = get(&testbed.grpc, "slow");
    until("one waits", async || testbed.metric("herd_edge_queued").await == 1).await;
    configure(&mut testbed, 3, &node, None).await;
    tokio::time::timeout(PATIENCE, node.slow_entered.acquire()).await.unwrap().unwrap().forget();
    assert_eq!(testbed.metric("herd_edge_in_flight").await, 2);
    let third = one_inside(&testbed, &node).await;
    let refused = testbed.http("GET", "/v1/items/a", "").await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, Some("1")),
        "the edge's own limit is 3"
    );

    configure(&mut testbed, 4, &node, Some(Gate { in_flight_max: 4, queue_max: 0, ..ONE_AND_TWO })).await;
    assert_eq!(testbed.http("GET", "/v1/items/a", "").await.status, 200);
    node.slow_allowed.add_permits(3);
    for request in [first, second, third] {
        assert!(request.await.unwrap().is_ok());
    }
    testbed.control.update(with_gate(5, &node, Some(Gate { queue_wait_ms: 60_001, ..ONE_AND_TWO })));
    let report = testbed.control.report(|report| report.members_version == 5).await;
    assert_eq!(report.config_version, 4, "not acknowledged");
    assert_eq!(testbed.http("GET", "/v1/members", "").await.body["config_version"], 4);
    let mut request = Request::new(GetRequest { key: "a".to_owned() });
    request.set_timeout(Duration::from_secs(5));
    assert!(testbed.grpc.get(request).await.is_ok());
}
