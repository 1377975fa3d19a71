//! Traces as a collector receives them: one tree a request, a rebuild of its own, a link from everyone who waited.

use crate::fleet::{TestFleet, coalesced, locked};
use crate::otlp::{Collector, Received};
use futures::future::join_all;
use herd_spans::{Keeper, Receiver, Spans};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Requests for one cold key at once, over all nodes.
const REQUESTS: usize = 24;

/// Goal: someone with nothing but the traces can tell which rebuild a slow request waited for, in its own process or in
/// another, and counts as many rebuilds as the origin's ledger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_link_to_the_rebuild_they_waited_for() {
    let (collector, address) = Collector::start().await;
    let endpoint = format!("http://{address}");
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "200")];
    let mut fleet = TestFleet::processes(3, locked(600_000), &env).await;
    fleet.origin_takes(300).await;
    let answers = join_all((0..REQUESTS).map(|_| fleet.get("item-1"))).await;
    let references: BTreeSet<String> =
        answers.into_iter().map(|answer| answer.expect("the fleet answers").reference).collect();
    assert_eq!(references.len(), REQUESTS, "every request has a reference id of its own");
    let ledger = fleet.ledger("item-1").await;
    assert_eq!(ledger.len(), 1, "one rebuild for the fleet");
    let rebuild = ledger[0].trace.clone();

    let complete = |spans: &[Received]| {
        let roots = spans
            .iter()
            .filter(|r| r.span.name == "herd.v1.Edge/Get" && references.contains(&trace(r)))
            .count();
        let nodes =
            spans.iter().filter(|r| r.span.name == "herd.v1.CacheNode/Get" && references.contains(&trace(r)));
        let fetches = spans.iter().filter(|r| fetched(r)).count();
        roots == REQUESTS && nodes.count() == REQUESTS && fetches == 1
    };
    let spans = collector.wait_for("every request at edge and node, and the fetch", complete).await;
    for reference in &references {
        let of_request: Vec<_> = spans.iter().filter(|r| trace(r) == *reference).collect();
        let edge = of_request.iter().find(|r| r.span.name == "herd.v1.Edge/Get").expect("counted above");
        let node = of_request.iter().find(|r| r.span.name == "herd.v1.CacheNode/Get").expect("counted above");
        assert!(edge.span.parent_span_id.is_empty(), "the edge begins the tree");
        let ids: BTreeSet<_> = of_request.iter().map(|r| r.span.span_id.clone()).collect();
        assert!(ids.contains(&node.span.parent_span_id), "the node's span hangs in the same tree");
        assert_eq!(node.text("herd.rebuild.trace_id"), Some(rebuild.as_str()), "found by attribute");
        let linked = node.span.links.iter().any(|link| hex(&link.trace_id) == rebuild);
        assert!(linked, "found by link");
    }
    let fetch = spans.iter().find(|r| fetched(r)).expect("counted above");
    assert_eq!(trace(fetch), rebuild, "the ledger's trace is the fetch's");
    let services: BTreeSet<_> = spans.iter().map(|r| r.service.as_str()).collect();
    let all = BTreeSet::from(["herd-cache-node", "herd-edge", "herd-lock-service", "herd-origin"]);
    assert_eq!(services, all, "all processes export");
    fleet.down().await;
}

/// Goal: where hits are sampled away, a run's files still hold every rebuild that the ledger counts, and for everybody who led or
/// waited one whole tree; of hits they hold none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_files_of_a_run_hold_every_rebuild() {
    let folder = tempfile::tempdir().expect("a folder for spans");
    let mut keeper = Keeper::new(folder.path(), vec!["run".to_owned()], 0.0);
    keeper.begins("run");
    let receiver = Receiver::start((Ipv4Addr::LOCALHOST, 0).into(), keeper).expect("a free port");
    let url = format!("http://{}", receiver.address());
    let env = [("HERD_SPANS_URL", url.as_str()), ("HERD_SAMPLE_HITS", "0")];
    let mut fleet = TestFleet::processes(3, coalesced(600_000), &env).await;
    fleet.origin_takes(300).await;
    let waited = join_all((0..REQUESTS).map(|_| fleet.get("item-1"))).await;
    let hits = join_all((0..REQUESTS).map(|_| fleet.get("item-1"))).await;
    let ledger: BTreeSet<String> = fleet.ledger("item-1").await.into_iter().map(|row| row.trace).collect();
    // The processes send what is left when they end.
    fleet.down().await;
    let kept = tokio::task::spawn_blocking(|| receiver.finish()).await.expect("it ends");
    assert_eq!((kept.lost, kept.error), (0, None));

    let spans = Spans::read(folder.path()).expect("the files are readable");
    let of = |service: &str, name: &str| {
        let found = spans.all().iter().filter(|f| f.service == service && f.span.name == name);
        found.map(|found| found.span.trace_id.clone()).collect::<Vec<_>>()
    };
    let rebuilds = of("herd-cache-node", "rebuild");
    assert_eq!(rebuilds.iter().cloned().collect::<BTreeSet<_>>(), ledger, "every rebuild of the ledger");
    assert_eq!(
        (rebuilds.len(), of("herd-origin", "herd.v1.Origin/Fetch").len()),
        (ledger.len(), ledger.len())
    );
    assert!(ledger.len() > 1, "without a lock each process rebuilds");
    for answer in waited {
        let answer = answer.expect("the fleet answers");
        let tree = spans.tree(&answer.reference).expect("whoever led or waited is kept");
        let rows: Vec<(usize, &str)> =
            tree.walk().into_iter().map(|(depth, found)| (depth, found.span.name.as_str())).collect();
        assert_eq!(rows, [(0, "herd.v1.Edge/Get"), (1, "herd.v1.CacheNode/Get"), (2, "GET")]);
        assert!(ledger.contains(&answer.rebuild_trace), "{answer:?}");
        assert!(spans.linking_to(&answer.rebuild_trace).any(|waiter| waiter == answer.reference));
    }
    for answer in hits {
        assert!(spans.tree(&answer.expect("the fleet answers").reference).is_none(), "hits are sampled away");
    }
}

/// Goal: an exporter that nobody answers breaks nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_collector_breaks_nothing() {
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")];
    let fleet = TestFleet::processes(1, locked(600_000), &env).await;
    fleet.get("item-1").await.expect("the fleet answers");
    fleet.down().await;
}

/// The origin's own span; the node's, around its call, bears the same name.
fn fetched(received: &Received) -> bool {
    received.service == "herd-origin" && received.span.name == "herd.v1.Origin/Fetch"
}

fn trace(received: &Received) -> String {
    hex(&received.span.trace_id)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
