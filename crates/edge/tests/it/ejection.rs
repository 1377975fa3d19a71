//! Nodes that hang, vanish and come back.

use crate::fake_node::{FakeNode, SilentNode};
use crate::testbed::{Testbed, until};
use herd_wire::v1::{GetRequest, Routing};
use std::time::Duration;
use tonic::{Code, Request};

fn get_within(millis: u64) -> Request<GetRequest> {
    let mut request = Request::new(GetRequest { key: "item-1".to_owned() });
    request.set_timeout(Duration::from_millis(millis));
    request
}

/// The code of a request that ends at its deadline, whether the edge or the client's own timer notices first.
async fn timed_out(testbed: &mut Testbed) -> Code {
    let error = testbed.grpc.get(get_within(400)).await.unwrap_err();
    herd_service::rpc::peer_status(error, herd_wire::error::ErrorSource::Peer).code()
}

/// A node that accepts connections and hangs is ejected once a request timed out on it, gets no request while it is out, and
/// is let back by a probe after it recovered.
#[tokio::test]
async fn a_hanging_node_is_ejected_and_let_back() {
    let silent = SilentNode::start();
    let healthy = FakeNode::start("n1");
    let mut testbed = Testbed::start(Routing::Random, &[silent.address, healthy.address]).await;
    until("a request times out on the silent node", async || {
        testbed.grpc.get(get_within(400)).await.is_err()
    })
    .await;
    until("the silent node is ejected", async || testbed.is_ejected(0).await).await;
    assert!(!testbed.is_ejected(1).await);
    for _ in 0..50 {
        testbed.grpc.get(get_within(5000)).await.expect("the other node has it");
    }
    assert_eq!(testbed.metric(r#"herd_edge_ejections_total{reason="silent"}"#).await, 1);
    assert_eq!(testbed.metric("herd_edge_members_ejected").await, 1);

    let at = silent.address;
    drop(silent);
    let recovered = FakeNode::start_at("n0", at);
    until("the node is let back", async || !testbed.is_ejected(0).await).await;
    until("it gets requests again", async || {
        testbed.grpc.get(get_within(5000)).await.unwrap();
        recovered.times_asked() > 0
    })
    .await;
    assert_eq!(testbed.metric("herd_edge_returns_total").await, 1);
}

/// Clients that hang up long before the deadline do not hide a hanging node, and are counted.
#[tokio::test]
async fn a_hanging_node_is_found_by_clients_that_hang_up() {
    let (silent, healthy) = (SilentNode::start(), FakeNode::start("n1"));
    let testbed = Testbed::start(Routing::Random, &[silent.address, healthy.address]).await;
    until("the silent node is ejected", async || {
        let mut client = testbed.grpc.clone();
        let hangs_up = client.get(GetRequest { key: "item-1".to_owned() });
        let _ = tokio::time::timeout(Duration::from_millis(300), hangs_up).await;
        testbed.is_ejected(0).await
    })
    .await;
    assert!(!testbed.is_ejected(1).await);
    let hung_up = r#"herd_edge_requests_total{method="get",code="CANCELLED"}"#;
    until("they are counted", async || testbed.metric(hung_up).await > 0).await;
}

/// A request that cannot have reached a node is tried on another one, so that a dead node costs no client an error.
#[tokio::test]
async fn an_unreachable_node_costs_no_request() {
    let dead = FakeNode::start("dead").address;
    let healthy = FakeNode::start("n1");
    let mut testbed = Testbed::start(Routing::Random, &[dead, healthy.address]).await;
    until("the dead node is found out", async || {
        testbed.grpc.get(get_within(5000)).await.expect("tried on the other node");
        testbed.is_ejected(0).await
    })
    .await;
    assert_eq!(testbed.metric("herd_edge_second_tries_total").await, 1);
    assert_eq!(testbed.metric(r#"herd_edge_ejections_total{reason="unreachable"}"#).await, 1);
}

/// A node that dies under a request fails it with UNAVAILABLE: it may have acted on it, so nobody repeats it in secret.
#[tokio::test]
async fn a_dying_node_fails_its_requests_at_once() {
    let dying = FakeNode::start("n0");
    let testbed = Testbed::start(Routing::Spread, &[dying.address]).await;
    let mut client = testbed.grpc.clone();
    let request = tokio::spawn(async move { client.get(GetRequest { key: "slow".to_owned() }).await });
    dying.slow_entered.acquire().await.unwrap().forget();
    drop(dying);
    assert_eq!(request.await.unwrap().unwrap_err().code(), Code::Unavailable);
    assert_eq!(testbed.metric(r#"herd_edge_ejections_total{reason="broken"}"#).await, 1);
    assert_eq!(testbed.metric("herd_edge_second_tries_total").await, 0);
}

/// With every node ejected the least recently ejected one still gets requests: it may have come back.
#[tokio::test]
async fn never_ejects_everybody() {
    let (first, second) = (SilentNode::start(), SilentNode::start());
    let mut testbed = Testbed::start(Routing::Random, &[first.address, second.address]).await;
    until("both are ejected", async || {
        assert_eq!(timed_out(&mut testbed).await, Code::DeadlineExceeded, "a node was tried");
        testbed.is_ejected(0).await && testbed.is_ejected(1).await
    })
    .await;
    assert_eq!(timed_out(&mut testbed).await, Code::DeadlineExceeded, "a node is tried still");
    let counted = async |code: &str| {
        testbed.metric(&format!("herd_edge_requests_total{{method=\"get\",code=\"{code}\"}}")).await
    };
    assert!(counted("DEADLINE_EXCEEDED").await >= 3, "as their clients were told");
    assert_eq!(counted("CANCELLED").await, 0);
}
