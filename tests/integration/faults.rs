//! What a client sees while a part is away, and that the fleet heals by itself.

use crate::fleet::{TestFleet, coalesced, locked};
use herd_experiment::testbed::{Part, Signal};
use herd_wire::error::ErrorSource;
use herd_wire::v1;
use tonic::{Code, Status};

/// Goal: each part that goes away gives a status that names it, and is used again once it is back, without a restart of
/// anything else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_go_away_and_come_back() {
    let mut fleet = TestFleet::processes(2, locked(600_000), &[]).await;
    fleet.origin_takes(1).await;
    fleet.get("item-1").await.expect("all parts are there");

    fleet.signal(Part::Redis, 0, Signal::Kill).await;
    says(fleet.get("item-1").await, &[Code::Unavailable, Code::DeadlineExceeded], ErrorSource::Cache);
    fleet.signal(Part::Redis, 0, Signal::Start).await;
    fleet.healed("item-1").await;

    fleet.signal(Part::LockService, 0, Signal::Kill).await;
    says(fleet.get("item-2").await, &[Code::Unavailable, Code::DeadlineExceeded], ErrorSource::Lock);
    fleet.get("item-1").await.expect("a hit needs no lock");
    fleet.signal(Part::LockService, 0, Signal::Start).await;
    fleet.healed("item-2").await;

    fleet.signal(Part::Origin, 0, Signal::Kill).await;
    says(fleet.get("item-3").await, &[Code::Unavailable, Code::DeadlineExceeded], ErrorSource::Origin);
    fleet.get("item-1").await.expect("a hit needs no origin");
    fleet.signal(Part::Origin, 0, Signal::Start).await;
    fleet.healed("item-3").await;
    fleet.down().await;
}

/// Goal: a part that is frozen, which still accepts connections, costs a caller no more than its deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_parts_keep_to_deadlines() {
    let mut fleet = TestFleet::processes(2, locked(600_000), &[]).await;
    fleet.origin_takes(1).await;
    fleet.get("item-1").await.expect("all parts are there");
    for (part, source, key) in [
        (Part::Redis, ErrorSource::Cache, "item-1"),
        (Part::LockService, ErrorSource::Lock, "item-2"),
        (Part::Origin, ErrorSource::Origin, "item-3"),
    ] {
        fleet.signal(part, 0, Signal::Pause).await;
        says(fleet.get(key).await, &[Code::Unavailable, Code::DeadlineExceeded], source);
        fleet.signal(part, 0, Signal::Resume).await;
        fleet.healed(key).await;
    }
    fleet.down().await;
}

/// Goal: bad keys and absent rows are the caller's to mend, and are told so over both protocols.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_told_clearly() {
    let fleet = TestFleet::processes(1, coalesced(600_000), &[]).await;
    let absent = fleet.get("no-such-item").await.expect_err("there is no such row");
    assert_eq!(absent.code(), Code::NotFound);
    let long = fleet.get(&"k".repeat(129)).await.expect_err("the key is too long");
    assert_eq!(long.code(), Code::InvalidArgument);
    assert!(long.message().contains("128"), "the limit is named: {}", long.message());
    let odd = fleet.get("a/b c").await.expect_err("the key has odd bytes");
    assert_eq!(odd.code(), Code::InvalidArgument);
    fleet.down().await;
}

/// Goal: a policy is switched on a running fleet, and each answer says under which configuration it was served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_are_switched_without_a_restart() {
    let mut fleet = TestFleet::processes(2, coalesced(600_000), &[]).await;
    let before = fleet.get("item-1").await.expect("the fleet answers").config_version;
    let version = fleet.configure(locked(600_000)).await;
    let after = fleet.get("item-1").await.expect("the fleet answers").config_version;
    assert!(before < version && after == version, "{before}, then {after} of {version}");
    fleet.down().await;
}

fn says<T: std::fmt::Debug>(result: Result<T, Status>, codes: &[Code], source: ErrorSource) {
    let status = result.expect_err("a part is away");
    assert!(codes.contains(&status.code()), "{status:?}");
    assert_eq!(ErrorSource::of(&status), Some(source), "{status:?}");
}

/// Goal: a row that is inserted through the edge is there for whoever asks after the acknowledgement, on every node, however
/// well its absence was remembered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insertion_ends_a_remembered_absence() {
    let policy =
        v1::PolicyConfig { negative: Some(v1::NegativeConfig { ttl_ms: 600_000 }), ..locked(600_000) };
    let fleet = TestFleet::processes(3, policy, &[]).await;
    fleet.get("new-item").await.expect_err("there is no such row");
    let remembered = fleet.get("new-item").await.expect_err("there is none yet");
    let absent = herd_wire::absent::read(&remembered).expect("it says how it is known");
    assert_eq!(absent.served, v1::Served::Negative);
    let put = v1::PutRequest { key: "new-item".to_owned(), value: b"1".to_vec() };
    fleet.edge.clone().put(put).await.expect("the row is written");
    for _ in 0..12 {
        assert_eq!(fleet.get("new-item").await.expect("it is there now").value, b"1".to_vec());
    }
    fleet.down().await;
}
