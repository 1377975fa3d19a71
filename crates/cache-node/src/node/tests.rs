//! What only the inside of the driver can show: tasks that panic, what the core is told, what is kept beside it.

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
use crate::store::header::Header;
use crate::store::{Look, Store, Stored};
use fakes::{FakeLock, FakeOrigin, Serving};
use herd_policy::{Config, Error, Life, ReadOutcome};
use herd_service::metrics::Metrics;
use herd_service::rpc::{Deadline, channel};
use herd_service::trace::TraceContext;
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

/// A node between a Redis and an origin, without a configuration.
struct Up {
    node: Arc<Node>,
    origin: FakeOrigin,
    metrics: Metrics,
    _redis: RedisServer,
    _serving: [Serving; 2],
}

fn up() -> Up {
    let redis = RedisServer::start();
    let (lock, origin) = (FakeLock::default(), FakeOrigin::new());
    let serving = [lock.serve(), origin.serve()];
    let instance: Arc<str> = "n1".into();
    let locks = Locks::new(channel(&serving[0].url()).unwrap(), &instance);
    let peer = Origin::new(channel(&serving[1].url()).unwrap(), &instance);
    let metrics = Metrics::new();
    let store = Store::new(&redis.url(), &instance).unwrap();
    let node = Node::new(store, locks, peer, NodeMetrics::register(&metrics));
    Up { node, origin, metrics, _redis: redis, _serving: serving }
}

fn configure(node: &Arc<Node>, policy: Config) {
    node.configure(NodeConfig { policy: Arc::new(policy), local: None, other_prefix: None });
}

/// A rebuild's task panics: it is tried once more for everybody who waits; panics it again, they share the error, which
/// is not kept: the next reader starts anew. Without the report of a lost task they would wait until their deadlines.
#[tokio::test]
async fn a_rebuild_that_panics_is_retried_once() {
    let Up { node, origin, .. } = &up();
    configure(node, Config { version: 1, ..Config::default() });

    for answered in three_readers(node, 2).await {
        assert_eq!(answered.serve.result, Err(Error::RebuildLost));
        assert!(answered.flight.is_some(), "the error names its flight");
    }
    assert_eq!(origin.asked().len(), 0);
    for answered in three_readers(node, 1).await {
        assert_eq!(&answered.serve.result.unwrap().value.body[..], b"item-1@1");
    }
    let reasons: Vec<_> = origin.asked().iter().map(herd_wire::v1::FetchRequest::reason).collect();
    assert_eq!(reasons, [herd_wire::v1::Reason::Retry]);
    assert_eq!(node.busy(), (0, 0));
}

/// The filter of existing keys is loaded when a configuration asks for it and goes with it. Until it is loaded every key may
/// exist; a row that the node itself writes exists at once.
#[tokio::test]
async fn the_filter_follows_the_configuration() {
    let Up { node, origin, metrics, .. } = &up();
    origin.set_keys(&["item-1", "item-2", "item-3"]);
    let with_filter = || Config { version: 1, key_filter: true, ..Config::default() };
    let filter = || node.lock().tiers.for_lookups().1;
    configure(node, Config { version: 1, ..Config::default() });
    assert!(filter().is_none());
    assert_eq!(origin.loads(), 0);

    configure(node, with_filter());
    let filter_on = filter().expect("switched on");
    let loaded = async {
        while !metrics.encode().contains("cache_filter_keys 3") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), loaded).await.expect("loaded within 5 s");
    assert!(["item-1", "item-2", "item-3"].iter().all(|key| filter_on.may_exist(key)));
    let unknown = ["absent-1", "absent-2", "absent-3"];
    assert!(unknown.iter().any(|key| !filter_on.may_exist(key)));
    for key in unknown {
        let within = Deadline::after(Duration::from_secs(5));
        node.put(key, b"here".to_vec(), within, TraceContext::root()).await.unwrap();
        assert!(filter_on.may_exist(key));
    }
    configure(node, Config { version: 2, ..with_filter() });
    assert!(Arc::ptr_eq(&filter_on, &filter().expect("still on")), "what stays on keeps what it knows");
    configure(node, Config { version: 3, ..Config::default() });
    assert!(filter().is_none());
}

/// The core is told how far a value is into its life as the store knows it, and of the filter only where there is nothing.
#[test]
fn what_the_core_is_told() {
    let header = Header { generation: 3, ttl_ms: 2_000, rebuild_took_us: 40_500, ..Header::default() };
    let stored = || Stored { header, body: "x".into() };
    let asked = std::cell::Cell::new(0);
    let told = |look| {
        super::lookups::read_outcome(Ok(look), || {
            asked.set(asked.get() + 1);
            false
        })
    };
    let life = |age_ms| Life {
        age: Duration::from_millis(age_ms),
        ttl: Duration::from_secs(2),
        rebuild_took: Duration::from_micros(40_500),
    };
    assert!(matches!(
        told(Look::Fresh { stored: stored(), age_ms: 5 }),
        ReadOutcome::Fresh { generation: 3, life: told, .. } if told == life(5)
    ));
    assert!(matches!(
        told(Look::Expired { stored: stored(), age_ms: 2_001 }),
        ReadOutcome::Expired { generation: 3, life: told, .. } if told == life(2_001)
    ));
    assert_eq!(told(Look::Negative { generation: 4 }), ReadOutcome::Negative { generation: 4 });
    assert_eq!(asked.get(), 0);
    let absent = ReadOutcome::Absent { generation: 0, may_exist: false };
    assert_eq!((told(Look::Absent { generation: 0 }), asked.get()), (absent, 1));
}
