//! What clients and the laboratory write and read back: puts, warm-ups, the store's record.

use crate::fake_node::FakeNode;
use crate::testbed::{Testbed, fleet, http_with, until};
use herd_wire::error::ErrorSource;
use herd_wire::v1::{
    Gate, GetRequest, PutRequest, Routing, Served, WarmRequest, WritesRequest, WritesResponse,
};
use std::time::Duration;
use tonic::{Code, Request, Status, Streaming};

const MIB: usize = 1 << 20;

async fn put_over_http(testbed: &Testbed, path: &str, headers: &str, body: &[u8]) -> crate::testbed::Answer {
    http_with(testbed.http, "PUT", path, headers, body).await
}

/// A put reaches a node byte for byte over both protocols, and its answer says the row's version and the caches' generation.
#[tokio::test]
async fn puts_are_passed_on() {
    let node = FakeNode::start("n0");
    let mut testbed = Testbed::start(Routing::Spread, &[node.address]).await;
    let put = |value: Vec<u8>| PutRequest { key: "item-1".to_owned(), value };
    let answer = testbed.grpc.put(put(vec![0xff, 0])).await.unwrap().into_inner();
    assert_eq!((answer.version, answer.generation), (4, 7));
    let answer = put_over_http(&testbed, "/v1/items/item-1", "", b"\"plain\" text").await;
    assert_eq!(
        (answer.status, &answer.body["version"], &answer.body["generation"]),
        (200, &4.into(), &7.into())
    );
    assert_eq!(answer.header("herd-reference"), answer.body["reference"].as_str());
    let longest = vec![b'x'; MIB];
    assert_eq!(put_over_http(&testbed, "/v1/items/item-1", "", &longest).await.status, 200);
    testbed.grpc.put(put(longest.clone())).await.unwrap();
    let told = node.told.lock().unwrap().clone();
    assert!(told.iter().eq([&vec![0xff, 0], &b"\"plain\" text".to_vec(), &longest, &longest]));
    assert_eq!(testbed.metric(r#"herd_edge_requests_total{method="put",code="OK"}"#).await, 4);
}

/// What cannot be written is refused at the door, with the limit named.
#[tokio::test]
async fn bad_puts() {
    let node = FakeNode::start("n0");
    let mut testbed = Testbed::start(Routing::Spread, &[node.address]).await;
    let too_long = vec![b'x'; MIB + 1];
    let answer = put_over_http(&testbed, "/v1/items/item-1", "", &too_long).await;
    assert_eq!((answer.status, &answer.body["error"]["code"]), (413, &"INVALID_ARGUMENT".into()));
    assert!(answer.body["error"]["message"].as_str().unwrap().contains("1048576"));
    let error = testbed.grpc.put(PutRequest { key: "item-1".to_owned(), value: too_long }).await.unwrap_err();
    assert_eq!((error.code(), ErrorSource::of(&error)), (Code::InvalidArgument, Some(ErrorSource::Client)));
    for path in ["/v1/items/", "/v1/items/a%20b"] {
        assert_eq!(put_over_http(&testbed, path, "", b"x").await.status, 400, "{path}");
    }
    assert_eq!(put_over_http(&testbed, "/v1/members", "", b"x").await.status, 405);
    // The body is announced and does not come.
    let headers = "x-request-timeout-ms: 50\r\ncontent-length: 9\r\n";
    let late = crate::testbed::announced(testbed.http, "PUT", "/v1/items/item-1", headers).await;
    assert_eq!((late.status, &late.body["error"]["source"]), (408, &"client".into()));
    assert_eq!(node.times_asked(), 0);
}

/// A warm-up names its prefix to the node, and the answer says how it came about.
#[tokio::test]
async fn warm_ups_are_passed_on() {
    let node = FakeNode::start("n0");
    let mut testbed = Testbed::start(Routing::Spread, &[node.address]).await;
    let warm = |key: &str, prefix: &str| WarmRequest { key: key.to_owned(), key_prefix: prefix.to_owned() };
    let answer = testbed.grpc.warm(warm("item-1", "v2:")).await.unwrap().into_inner();
    assert_eq!((answer.served(), answer.generation), (Served::Led, 8));
    assert_eq!(*node.told.lock().unwrap(), [b"v2:"]);
    for (key, prefix) in [("", ""), ("item-1", "v 2:")] {
        assert_eq!(testbed.grpc.warm(warm(key, prefix)).await.unwrap_err().code(), Code::InvalidArgument);
    }
    assert_eq!(node.times_asked(), 1);
}

async fn tokens(stream: &mut Streaming<WritesResponse>) -> Result<Vec<u64>, (Vec<u64>, Status)> {
    let mut tokens = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(part)) => tokens.extend(part.writes.iter().map(|write| write.token)),
            Ok(None) => return Ok(tokens),
            Err(error) => return Err((tokens, error)),
        }
    }
}

/// The store's record comes through in order; an error amid it keeps its source and gets a reference.
#[tokio::test]
async fn the_record_is_passed_through() {
    let node = FakeNode::start("n0");
    let mut testbed = Testbed::start(Routing::Spread, &[node.address]).await;
    let of = |prefix: &str| WritesRequest { key_prefix: prefix.to_owned() };
    let mut stream = testbed.grpc.writes(of("r1:")).await.unwrap().into_inner();
    assert_eq!(tokens(&mut stream).await.unwrap(), [1, 2, 3]);
    let mut stream = testbed.grpc.writes(of("away")).await.unwrap().into_inner();
    let (before, error) = tokens(&mut stream).await.unwrap_err();
    assert_eq!((before, error.code()), (vec![1, 2], Code::Unavailable));
    assert_eq!(ErrorSource::of(&error), Some(ErrorSource::Cache));
    assert_eq!(error.metadata().get(herd_edge::REFERENCE_HEADER).unwrap().len(), 32);
    assert_eq!(testbed.grpc.writes(of("a b")).await.unwrap_err().code(), Code::InvalidArgument);
    for (code, times) in [("OK", 1), ("UNAVAILABLE", 1), ("INVALID_ARGUMENT", 1)] {
        let line = format!(r#"herd_edge_requests_total{{method="writes",code="{code}"}}"#);
        assert_eq!(testbed.metric(&line).await, times, "{code}");
    }
    assert!(!testbed.is_ejected(0).await);
}

/// A record that does not end is cut off at the deadline, one whose reader hangs up is given up, and neither is held against
/// the node.
#[tokio::test]
async fn a_record_without_an_end() {
    let node = FakeNode::start("n0");
    let mut testbed = Testbed::start(Routing::Spread, &[node.address]).await;
    let mut endless = Request::new(WritesRequest { key_prefix: "endless".to_owned() });
    endless.set_timeout(Duration::from_millis(200));
    let mut stream = testbed.grpc.writes(endless).await.unwrap().into_inner();
    let (before, error) = tokens(&mut stream).await.unwrap_err();
    assert_eq!((before, error.code()), (vec![1, 2], Code::DeadlineExceeded));

    let endless = WritesRequest { key_prefix: "endless".to_owned() };
    let mut stream = testbed.grpc.writes(endless).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().writes[0].token, 1);
    let at_the_node =
        async || testbed.http("GET", "/v1/members", "").await.body["members"][0]["in_flight"].clone();
    assert_eq!(at_the_node().await, 1);
    drop(stream);
    until("the node is left alone", async || at_the_node().await == 0).await;
    let given_up = r#"herd_edge_requests_total{method="writes",code="CANCELLED"}"#;
    assert_eq!(testbed.metric(given_up).await, 1);
    assert!(!testbed.is_ejected(0).await);
}

/// The record can be read while the gate refuses everything else.
#[tokio::test]
async fn the_record_passes_by_the_gate() {
    let node = FakeNode::start("n0");
    let mut testbed = Testbed::start(Routing::Spread, &[node.address]).await;
    let mut shut = fleet(2, Routing::Spread, &[node.address]);
    shut.config.as_mut().unwrap().edge_gate =
        Some(Gate { in_flight_max: 1, queue_max: 0, queue_wait_ms: 0, retry_after_ms: 1 });
    testbed.control.update(shut);
    testbed.control.report(|report| report.config_version == 2).await;
    let mut client = testbed.grpc.clone();
    let inside = tokio::spawn(async move { client.get(GetRequest { key: "slow".to_owned() }).await });
    node.slow_entered.acquire().await.unwrap().forget();
    let put = PutRequest { key: "item-1".to_owned(), value: Vec::new() };
    assert_eq!(testbed.grpc.put(put).await.unwrap_err().code(), Code::ResourceExhausted);
    let mut stream = testbed.grpc.writes(WritesRequest::default()).await.unwrap().into_inner();
    assert_eq!(tokens(&mut stream).await.unwrap(), [1, 2, 3]);
    node.slow_allowed.add_permits(1);
    assert!(inside.await.unwrap().is_ok());
}
