//! Faults that hit who holds a lock or leads a rebuild, and those that wait for a rebuild.

use crate::{
    fake_testbed::{FakeHolder, FakeTestbed},
    fakes::FakeLead,
    faults::{HELD, fault, happens, hits, lock, nodes, phases, plan, step},
    run_loop::hurt,
};
use FaultPhase::{Confirmed, Injected, Recovered, Repaired, Unconfirmed};
use herd_history::FaultPhase;
use herd_scenario::{FaultAction, LinkRule, Lock, OnUnavailable, OnWaitTimeout, Once, Peer, Scenario, Which};
use herd_wire::v1;

const LEASE_OF_100_MS: Lock = Lock {
    expiry_ms: 100,
    wait_ms: 1_000,
    renew: true,
    second_look: true,
    on_wait_timeout: OnWaitTimeout::Error,
    on_unavailable: OnUnavailable::FailOpen,
    unconditional_release: false,
    volatile_tokens: false,
};

fn holder(new_after: u32, gone_after: Option<u32>) -> FakeHolder {
    FakeHolder { node: "node-1".to_owned(), new_after, gone_after, looks: 0, expires_in_ms: 10 }
}

/// The holder of a new lease is paused, not that of one which was under way already; and its lease is seen to end.
#[tokio::test]
async fn the_holder_is_found_and_its_lease_is_watched() {
    let key = || "item-1".to_owned();
    let mut fault = fault(FaultAction::Pause(nodes(Which::Holder { key: key() })));
    fault.once = Once::Rebuild { key: key(), after_ms: 0 };
    let (history, testbed) = hurt(&plan(fault, lock), |testbed| {
        testbed.fakes.truth().holder = Some(holder(3, Some(8)));
    })
    .await;
    assert_eq!(phases(&history, "node-1"), HELD, "{:#?}", history.faults);
    assert!(step(&history, Confirmed).note.contains("its lease ended after"), "{:#?}", history.faults);
    assert_eq!(testbed.told[0], "Pause cache-node 1");
}

/// A lease that ended while it still had time left was let go of: its holder was none any more when it was hit.
#[tokio::test]
async fn a_lease_that_was_released_did_not_expire() {
    for (expires_in_ms, last) in [(10, Confirmed), (450, Unconfirmed)] {
        for kind in [FaultAction::Pause, FaultAction::Kill] {
            let hit = kind(nodes(Which::Holder { key: "item-1".to_owned() }));
            let (history, _) = hurt(&plan(fault(hit), lock), |testbed| {
                testbed.fakes.truth().holder = Some(FakeHolder { expires_in_ms, ..holder(9_999, Some(4)) });
            })
            .await;
            let note = &step(&history, last).note;
            assert_eq!(note.starts_with("let go of its lease after"), last == Unconfirmed, "{note}");
        }
    }
}

/// A clock that runs at another rate is seen in a lease that is granted meanwhile, and only in one.
#[tokio::test]
async fn a_clock_is_told_by_the_lease_that_it_gives() {
    let clock = fault(FaultAction::LockClock { rate: 4.0 });
    let short = |scenario: &mut Scenario| {
        lock(scenario);
        scenario.rungs[0].lock = Some(LEASE_OF_100_MS);
    };
    for (given, expires_in_ms, last, says) in [
        (true, 24, Confirmed, "gave a lease 24 ms for the 100 ms that were asked for"),
        (true, 99, Unconfirmed, "where its clock makes 25 ms of them"),
        (false, 24, Unconfirmed, "was not seen to grant a lease of item-1 meanwhile"),
    ] {
        let (history, _) = hurt(&plan(clock.clone(), short), |testbed| {
            let new_after = if given { 3 } else { 9_999 };
            testbed.fakes.truth().holder = Some(FakeHolder { expires_in_ms, ..holder(new_after, None) });
        })
        .await;
        assert_eq!(phases(&history, "lock-service"), [Injected, last, Repaired, Recovered]);
        assert!(step(&history, last).note.contains(says), "{:#?}", history.faults);
    }
}

/// Who was chosen for holding the lock and held it no more when it was hit is no holder that was hit: whatever else it was.
#[tokio::test]
async fn a_holder_that_let_go_is_not_confirmed() {
    let which = || Which::Holder { key: "item-1".to_owned() };
    let link = FaultAction::Link { nodes: which(), to: Peer::Origin, rule: LinkRule::BlackHole };
    for action in [
        FaultAction::Pause(nodes(which())),
        FaultAction::Kill(nodes(which())),
        FaultAction::Stop(nodes(which())),
        link,
    ] {
        for (gone_after, last) in [(Some(1), Unconfirmed), (None, Confirmed)] {
            let (history, _) = hurt(&plan(fault(action.clone()), lock), |testbed| {
                let mut truth = testbed.fakes.truth();
                (truth.links_hit, truth.holder) =
                    (hits(v1::Peer::Origin, 4), Some(holder(9_999, gone_after)));
            })
            .await;
            assert_eq!(phases(&history, "node-1"), [Injected, last, Repaired, Recovered], "{action:?}");
            let why = "did not hold the lock of item-1 when it was hit";
            assert_eq!(step(&history, last).note == why, gone_after.is_some(), "{:#?}", history.faults);
        }
    }
}

/// A pause that outlasts the lease by far has to be seen to end it, and a shorter one does not.
#[tokio::test]
async fn a_pause_past_the_expiry_ends_the_lease() {
    for (for_ms, gone_after, last) in
        [(700, None, Unconfirmed), (700, Some(4), Confirmed), (500, None, Confirmed)]
    {
        let mut pause = fault(FaultAction::Pause(nodes(Which::Holder { key: "item-1".to_owned() })));
        pause.for_ms = for_ms;
        let expires = |scenario: &mut Scenario| {
            lock(scenario);
            scenario.rungs[0].lock = Some(LEASE_OF_100_MS);
        };
        let (history, _) = hurt(&plan(pause, expires), |testbed| {
            testbed.fakes.truth().holder = Some(holder(9_999, gone_after));
        })
        .await;
        assert_eq!(
            phases(&history, "node-1"),
            [Injected, last, Repaired, Recovered],
            "{:#?}",
            history.faults
        );
        assert_eq!(
            step(&history, last).note.contains("its lease was not seen to end"),
            gone_after.is_none(),
            "{:#?}",
            history.faults
        );
    }
}

fn lead(node: &'static str, from: u32) -> FakeLead {
    FakeLead { node, from, until: 10, rebuild: None }
}

/// By the ledger: whoever rebuilds is hit at once, and where a rebuild is waited for, the one that begins then and not the one
/// that was under way already.
#[tokio::test]
async fn the_leader_is_found_in_the_ledger() {
    let key = || "item-1".to_owned();
    let mut fault = fault(FaultAction::Pause(nodes(Which::Leader { key: key() })));
    let (history, testbed) = hurt(&plan(fault.clone(), |_| {}), |testbed| {
        let mut truth = testbed.fakes.truth();
        (truth.caches, truth.leads) = (true, vec![lead("node-2", 1)]);
    })
    .await;
    assert_eq!(phases(&history, "node-2"), HELD, "{:#?}", history.faults);
    assert_eq!(testbed.told, ["Pause cache-node 2", "Resume cache-node 2"]);

    fault.once = Once::Rebuild { key: key(), after_ms: 0 };
    let (history, testbed) = hurt(&plan(fault, |_| {}), |testbed| {
        let mut truth = testbed.fakes.truth();
        (truth.caches, truth.leads) = (true, vec![lead("node-2", 1), lead("node-1", 4)]);
    })
    .await;
    assert_eq!(phases(&history, "node-1"), HELD, "{:#?}", history.faults);
    assert_eq!(testbed.told, ["Pause cache-node 1", "Resume cache-node 1"]);
}

/// A fault in the midst of a rebuild comes so long after the rebuild was seen to begin, and not at all if the window ends before.
#[tokio::test]
async fn a_rebuild_goes_on_for_a_while_first() {
    let into = |after_ms| {
        let mut fault = fault(FaultAction::Pause(nodes(Which::Index(vec![0]))));
        fault.once = Once::Rebuild { key: "item-1".to_owned(), after_ms };
        plan(fault, |_| {})
    };
    let rebuilds = |testbed: &mut FakeTestbed| {
        let mut truth = testbed.fakes.truth();
        (truth.caches, truth.leads) = (true, vec![lead("node-1", 4)]);
    };
    let (history, _) = hurt(&into(400), rebuilds).await;
    assert_eq!(phases(&history, "node-0"), HELD, "{:#?}", history.faults);
    let window = history.rungs[0].record.window_start_us;
    assert!(step(&history, Injected).at_us >= window + 700_000, "400 ms after it began, at 300 ms or later");
    let (history, testbed) = hurt(&into(1_200), rebuilds).await;
    assert_eq!(step(&history, Unconfirmed).note, "the window ended less than 1200 ms into the rebuild");
    assert!(testbed.told.is_empty());
}

/// Where nobody rebuilds there is no leader, and nothing is done.
#[tokio::test]
async fn without_a_rebuild_nobody_leads() {
    let pause = FaultAction::Pause(nodes(Which::Leader { key: "item-1".to_owned() }));
    let (history, testbed) = happens(pause, |testbed| testbed.fakes.truth().caches = true).await;
    let expected = "no rebuild of item-1 was under way before the window ended";
    assert_eq!(step(&history, Unconfirmed).note, expected);
    assert!(testbed.told.is_empty());
}

/// A rung without a lock has no holder.
#[tokio::test]
async fn without_a_lock_nobody_holds_one() {
    let pause = FaultAction::Pause(nodes(Which::Holder { key: "item-1".to_owned() }));
    let (history, _) = happens(pause, |_| {}).await;
    assert!(step(&history, Unconfirmed).note.contains("this rung has none"));
}
