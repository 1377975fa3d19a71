//! The store's own record of its writes, as it is read back through a node.

use crate::harness::{Parts, single_flight};
use herd_cache_node::store::record::CHUNK_MAX;
use herd_cache_node::store::write::{Guard, NewValue};
use herd_cache_node::store::{Place, Store};
use herd_wire::v1::{StoreWrite, StoreWriteKind, StoreWriteVerdict};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tonic::Code;

const P: Place<'_> = Place { prefix: "p:", cache_key: "p:item-1" };

fn value(observed: u64, body: Option<&[u8]>) -> NewValue<'_> {
    NewValue {
        observed,
        ttl_ms: 60_000,
        grace_ms: 0,
        version: if body.is_some() { 9 } else { 0 },
        rebuild_trace: [7; 16],
        rebuild_span: [8; 8],
        rebuild_took_us: 0,
        body,
    }
}

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_micros()).unwrap()
}

fn verdicts(writes: &[StoreWrite]) -> Vec<(StoreWriteKind, u64, StoreWriteVerdict)> {
    writes.iter().map(|write| (write.kind(), write.generation, write.verdict())).collect()
}

/// Every decision stands in the record, in its order: values, absences and deletions, taken and refused, each refusal by its
/// name, with the numbers whole.
#[tokio::test]
async fn every_decision_is_recorded() {
    use StoreWriteKind::{Absence, Deletion, Value};
    use StoreWriteVerdict::{Accepted, EpochMissing, EpochOld, GenerationMoved, TokenOld};
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    let (store, before_us) = (Store::new(&parts.redis.url(), "n7").unwrap(), now_us());
    let token = |token, epoch| Guard::Token { token, epoch };
    let write = async |observed, body, guard| store.write(P, value(observed, body), guard).await.unwrap();
    let _ = write(0, Some(b"a"), token(u64::MAX - 1, 1)).await;
    let _ = write(0, Some(b"b"), Guard::Generation).await;
    let _ = write(1, Some(b"c"), token(u64::MAX - 1, 1)).await;
    let _ = write(1, Some(b"d"), token(u64::MAX, 0)).await;
    let _ = write(1, None, token(u64::MAX, 1)).await;
    store.invalidate(P).await.unwrap();
    redis::cmd("DEL").arg("herd:epoch").exec(&mut parts.redis.connect()).unwrap();
    let _ = write(3, Some(b"e"), token(u64::MAX, 1)).await;
    let _ = write(0, Some(b"f"), Guard::Unguarded).await;

    let writes = node.writes("p:").await.unwrap().concat();
    assert_eq!(
        verdicts(&writes),
        [
            (Value, 1, Accepted),
            (Value, 1, GenerationMoved),
            (Value, 2, TokenOld),
            (Value, 2, EpochOld),
            (Absence, 2, Accepted),
            (Deletion, 3, Accepted),
            (Value, 4, EpochMissing),
            (Value, 1, Accepted),
        ]
    );
    let first = &writes[0];
    assert_eq!((first.key.as_str(), first.node.as_str()), ("item-1", "n7"));
    assert_eq!((first.token, first.epoch, first.version), (u64::MAX - 1, 1, 9));
    assert_eq!(first.rebuild_trace, "07".repeat(16));
    let deletion = &writes[5];
    assert_eq!((deletion.version, deletion.token, deletion.rebuild_trace.as_str()), (0, 0, ""));
    let times: Vec<_> = writes.iter().map(|write| write.at_us).collect();
    assert!(times.is_sorted() && before_us <= times[0] && times[7] <= now_us(), "Redis's clock: {times:?}");
}

/// A node's own rebuilds, losses and deletions stand there, under the prefix of the configuration and no other, with the trace
/// that its reader was told.
#[tokio::test]
async fn a_nodes_writes_are_recorded_under_its_prefix() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    let led = node.get("item-1").await.unwrap();
    node.invalidate("item-1").await.unwrap();
    let writes = node.writes("p:").await.unwrap().concat();
    assert_eq!(
        verdicts(&writes),
        [
            (StoreWriteKind::Value, 1, StoreWriteVerdict::Accepted),
            (StoreWriteKind::Deletion, 2, StoreWriteVerdict::Accepted),
        ]
    );
    assert_eq!((writes[0].node.as_str(), &writes[0].rebuild_trace), ("n1", &led.rebuild_trace));
    for other in ["", "p", "q:"] {
        assert_eq!(node.writes(other).await.unwrap(), Vec::<Vec<StoreWrite>>::new(), "{other:?}");
    }
    let expires_ms: i64 = redis::cmd("PTTL").arg("w:p:").query(&mut parts.redis.connect()).unwrap();
    assert!((3_000_000..=3_600_000).contains(&expires_ms), "it goes by itself: {expires_ms}");
}

/// A long record comes in chunks of a bounded size, complete and in order, and ends where it ended when the reading began.
#[tokio::test]
async fn a_long_record_comes_in_chunks() {
    let parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    let count = CHUNK_MAX * 2 + 5;
    for observed in 0..count as u64 {
        parts.store.write(P, value(observed, Some(b"x")), Guard::Generation).await.unwrap().unwrap();
    }
    let chunks = node.writes("p:").await.unwrap();
    assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [CHUNK_MAX, CHUNK_MAX, 5]);
    let generations: Vec<_> = chunks.concat().iter().map(|write| write.generation).collect();
    assert!(generations.into_iter().eq(1..=count as u64), "none lost, none twice");

    let mut reading = parts.store.writes("p:").await.unwrap();
    reading.next().await.unwrap();
    parts.store.invalidate(P).await.unwrap();
    let mut read = CHUNK_MAX;
    while let Some(chunk) = reading.next().await.unwrap() {
        read += chunk.len();
    }
    assert_eq!(read, count, "what came later is not read");
}

/// A bad prefix is the client's fault; Redis away is the cache's; neither hangs.
#[tokio::test]
async fn refusals() {
    let mut parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    assert_eq!(node.writes("a b").await.unwrap_err().code(), Code::InvalidArgument);
    parts.redis.stop();
    let away = tokio::time::timeout(Duration::from_secs(5), node.writes("p:")).await.expect("in time");
    assert_eq!(away.unwrap_err().code(), Code::Unavailable);
}

/// A record says when it began and whether it was cut; one that went with the store's data begins anew, later.
#[tokio::test]
async fn what_is_missing_is_told() {
    let mut parts = Parts::up().await;
    let node = parts.node("n1", &single_flight()).await;
    assert_eq!(node.extent("p:").await, (0, false), "there is none yet");
    parts.store.begin_record("p:").await.unwrap();
    let (began_us, trimmed) = node.extent("p:").await;
    assert!(began_us > 0 && !trimmed);
    node.get("item-1").await.unwrap();
    parts.store.begin_record("p:").await.unwrap();
    assert_eq!(node.extent("p:").await, (began_us, false), "it began once");
    assert_eq!(node.writes("p:").await.unwrap().concat().len(), 1, "the mark is no write");
    redis::cmd("XTRIM").arg("w:p:").arg("MAXLEN").arg(1).exec(&mut parts.redis.connect()).unwrap();
    assert!(node.extent("p:").await.1);
    parts.redis.stop();
    parts.redis.restart_empty();
    node.invalidate("item-1").await.unwrap();
    let (again_us, trimmed) = node.extent("p:").await;
    assert!(again_us > began_us && !trimmed);
}
