//! Requests that end badly: every one says whose fault it was, whether to try again, and its reference.

use crate::fake_control::PATIENCE;
use crate::fake_node::FakeNode;
use crate::testbed::{Answer, Testbed};
use herd_wire::error::{ErrorSource, is_retryable};
use herd_wire::v1::{GetRequest, Routing};
use tonic::Code;

fn get(key: &str) -> GetRequest {
    GetRequest { key: key.to_owned() }
}

fn check(answer: &Answer, status: u16, code: &str, source: &str, retryable: bool) {
    let error = &answer.body["error"];
    assert_eq!(answer.status, status, "{error}");
    assert_eq!((&error["code"], &error["source"]), (&code.into(), &source.into()), "{error}");
    assert_eq!(error["retryable"], retryable, "{error}");
    assert_eq!(error["reference"].as_str().map(str::len), Some(32), "{error}");
    assert_eq!(error["reference"].as_str(), answer.header("herd-reference"));
    assert!(!error["message"].as_str().unwrap().is_empty());
    assert_eq!(answer.header("retry-after").is_some(), matches!(status, 429 | 503));
}

/// A node's errors keep their meaning over HTTP and gRPC.
#[tokio::test]
async fn errors_of_nodes() {
    let node = FakeNode::start("n0");
    let mut testbed = Testbed::start(Routing::Spread, &[node.address]).await;
    for (key, http, name, code, source, retryable) in [
        ("missing", 404, "NOT_FOUND", Code::NotFound, ErrorSource::Origin, false),
        ("away", 503, "UNAVAILABLE", Code::Unavailable, ErrorSource::Cache, true),
        ("late", 504, "DEADLINE_EXCEEDED", Code::DeadlineExceeded, ErrorSource::Origin, true),
        ("busy", 503, "RESOURCE_EXHAUSTED", Code::ResourceExhausted, ErrorSource::Origin, true),
        ("broken", 500, "INTERNAL", Code::Internal, ErrorSource::Peer, false),
    ] {
        let answer = testbed.http("GET", &format!("/v1/items/{key}"), "").await;
        check(&answer, http, name, source.as_str(), retryable);
        let error = testbed.grpc.get(get(key)).await.unwrap_err();
        assert_eq!(
            (error.code(), ErrorSource::of(&error), is_retryable(&error)),
            (code, Some(source), retryable)
        );
        assert_eq!(error.metadata().get(herd_edge::REFERENCE_HEADER).unwrap().len(), 32);
    }
    assert!(!testbed.is_ejected(0).await, "a node that answers is alive");
}

/// A row that does not exist: how the node knew comes through whole, and shows over HTTP.
#[tokio::test]
async fn absences_say_how_they_are_known() {
    let node = FakeNode::start("n0");
    let mut testbed = Testbed::start(Routing::Spread, &[node.address]).await;
    for served in ["negative", "filtered"] {
        let error = testbed.grpc.get(get(served)).await.unwrap_err();
        let said = |name| error.metadata().get(name).unwrap().to_str().unwrap();
        assert_eq!(error.code(), Code::NotFound);
        assert_eq!(
            ["herd-served", "herd-node", "herd-config-version", "herd-generation"].map(said),
            [served, "n0", "1", "9"]
        );
        let answer = testbed.http("GET", &format!("/v1/items/{served}"), "").await;
        check(&answer, 404, "NOT_FOUND", "origin", false);
        assert_eq!(answer.body["error"]["served"], served);
    }
    let answer = testbed.http("GET", "/v1/items/missing", "").await;
    assert_eq!(answer.body["error"].get("served"), None, "the node did not say");
}

/// Whoever is refused for load further in is told when to come back: as the node said it, over HTTP in whole seconds.
#[tokio::test]
async fn a_pushback_comes_through() {
    let node = FakeNode::start("n0");
    let mut testbed = Testbed::start(Routing::Spread, &[node.address]).await;
    let error = testbed.grpc.get(get("busy-for-a-while")).await.unwrap_err();
    assert_eq!(error.metadata().get("grpc-retry-pushback-ms").unwrap(), "2001");
    let answer = testbed.http("GET", "/v1/items/busy-for-a-while", "").await;
    check(&answer, 503, "RESOURCE_EXHAUSTED", "origin", true);
    assert_eq!(answer.header("retry-after"), Some("3"), "rounded up");
    assert_eq!(testbed.http("GET", "/v1/items/busy", "").await.header("retry-after"), Some("1"));
}

/// A bad request is refused at the door with the limit named, and no node hears of it.
#[tokio::test]
async fn bad_requests() {
    let node = FakeNode::start("n0");
    let mut testbed = Testbed::start(Routing::Spread, &[node.address]).await;
    let too_long = "k".repeat(129);
    for (path, headers, words) in [
        ("/v1/items/", "", "1 to 128"),
        (&*format!("/v1/items/{too_long}"), "", "at most 128"),
        ("/v1/items/a%20b", "", "alphabet"),
        ("/v1/items/%ff", "", "128"),
        ("/v1/items/a", "x-request-timeout-ms: 0\r\n", "1 to 600000"),
        ("/v1/items/a", "x-request-timeout-ms: soon\r\n", "1 to 600000"),
    ] {
        let answer = testbed.http("GET", path, headers).await;
        check(&answer, 400, "INVALID_ARGUMENT", "client", false);
        assert!(answer.body["error"]["message"].as_str().unwrap().contains(words), "{}", answer.body);
    }
    check(&testbed.http("GET", "/nowhere", "").await, 404, "NOT_FOUND", "client", false);
    check(&testbed.http("POST", "/v1/items/a", "").await, 405, "UNIMPLEMENTED", "client", false);
    let error = testbed.grpc.get(get(&too_long)).await.unwrap_err();
    assert_eq!((error.code(), ErrorSource::of(&error)), (Code::InvalidArgument, Some(ErrorSource::Client)));
    assert_eq!(node.times_asked(), 0);
}

/// A fleet without nodes is a clear answer, not a wait.
#[tokio::test]
async fn no_nodes() {
    let testbed = Testbed::start(Routing::Owner, &[]).await;
    check(&testbed.http("GET", "/v1/items/a", "").await, 503, "UNAVAILABLE", "peer", true);
}

/// Requests over the limit are refused at once and told when to come back; the one in flight is not disturbed.
#[tokio::test]
async fn overload() {
    let node = FakeNode::start("n0");
    let mut testbed =
        Testbed::start_with(Routing::Spread, &[node.address], |args| args.max_in_flight = 1).await;
    let mut client = testbed.grpc.clone();
    let first = tokio::spawn(async move { client.get(get("slow")).await });
    tokio::time::timeout(PATIENCE, node.slow_entered.acquire()).await.unwrap().unwrap().forget();
    check(&testbed.http("GET", "/v1/items/a", "").await, 503, "RESOURCE_EXHAUSTED", "peer", true);
    assert_eq!(testbed.grpc.get(get("a")).await.unwrap_err().code(), Code::ResourceExhausted);
    node.slow_allowed.add_permits(1);
    assert!(first.await.unwrap().is_ok());
    assert_eq!(testbed.http("GET", "/v1/items/a", "").await.status, 200);
    assert_eq!(
        testbed.metric(r#"herd_edge_requests_total{method="get",code="RESOURCE_EXHAUSTED"}"#).await,
        2
    );
}

/// A request that a node does not answer ends at its deadline; a node that answers other requests meanwhile is not ejected
/// for it.
#[tokio::test]
async fn deadline_passes() {
    let node = FakeNode::start("n0");
    let mut testbed = Testbed::start(Routing::Spread, &[node.address]).await;
    let (http, mut client) = (testbed.http, testbed.grpc.clone());
    let slow = tokio::spawn(async move {
        crate::testbed::http(http, "GET", "/v1/items/slow", "x-request-timeout-ms: 300\r\n").await
    });
    tokio::time::timeout(PATIENCE, node.slow_entered.acquire()).await.unwrap().unwrap().forget();
    client.get(get("item-1")).await.unwrap();
    check(&slow.await.unwrap(), 504, "DEADLINE_EXCEEDED", "peer", true);
    assert_eq!(testbed.metric(r#"herd_edge_ejections_total{reason="silent"}"#).await, 0);

    let mut request = tonic::Request::new(get("slow"));
    request.set_timeout(std::time::Duration::from_millis(100));
    // Whether the edge's answer or the client's own timer comes first.
    let error =
        herd_service::rpc::peer_status(testbed.grpc.get(request).await.unwrap_err(), ErrorSource::Peer);
    assert_eq!(error.code(), Code::DeadlineExceeded);
}
