//! What only the inside of the driver can show: tasks that panic.

#[allow(dead_code)]
#[path = "../../tests/suite/fakes.rs"]
mod fakes;
#[allow(dead_code)]
#[path = "../../tests/suite/redis_server.rs"]
mod redis_server;

use super::{Answered, Node};
use crate::config::NodeConfig;
use crate::metrics::NodeMetrics;
use crate::peers::{Locks, Origin};
use crate::store::Store;
use fakes::{FakeLock, FakeOrigin};
use herd_policy::{Config, Error};
use herd_service::metrics::Metrics;
use herd_service::rpc::{Deadline, channel};
use redis_server::RedisServer;
use std::sync::Arc;
use std::time::Duration;

/// Three readers wait for a rebuild whose task panics so many times.
async fn three_readers(node: &Arc<Node>, panics: u32) -> Vec<Answered> {
    node.panic_next(panics);
    let read = || {
        let node = node.clone();
        async move { node.lookup("item-1", Deadline::after(Duration::from_secs(5))).await.expect("configured") }
    };
    let (one, two, three) = tokio::join!(read(), read(), read());
    vec![one, two, three]
}

/// A rebuild's task panics: it is tried once more for everybody who waits; panics it again, they share the error, which
/// is not kept: the next reader starts anew. Without the report of a lost task they would wait until their deadlines.
#[tokio::test]
async fn a_rebuild_that_panics_is_retried_once() {
    let redis = RedisServer::start();
    let (lock, origin) = (FakeLock::default(), FakeOrigin::new());
    let (lock_serving, origin_serving) = (lock.serve(), origin.serve());
    let instance: Arc<str> = "n1".into();
    let locks = Locks::new(channel(&lock_serving.url()).unwrap(), &instance);
    let peer = Origin::new(channel(&origin_serving.url()).unwrap(), &instance);
    let metrics = NodeMetrics::register(&Metrics::new());
    let node = Node::new(Store::new(&redis.url(), &instance).unwrap(), locks, peer, metrics);
    let policy = Arc::new(Config { version: 1, ..Config::default() });
    node.configure(NodeConfig { policy, local: None });

    for answered in three_readers(&node, 2).await {
        assert_eq!(answered.serve.result, Err(Error::RebuildLost));
        assert!(answered.flight.is_some(), "the error names its flight");
    }
    assert_eq!(origin.asked().len(), 0);
    for answered in three_readers(&node, 1).await {
        assert_eq!(&answered.serve.result.unwrap().value.body[..], b"item-1@1");
    }
    let reasons: Vec<_> = origin.asked().iter().map(herd_wire::v1::FetchRequest::reason).collect();
    assert_eq!(reasons, [herd_wire::v1::Reason::Retry]);
    assert_eq!(node.busy(), (0, 0));
}
