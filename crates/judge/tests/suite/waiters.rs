//! Waiters whose patience ends, readers who may have started a rebuild, and herds that need not form.

use herd_history::{History, Outcome as Ended, Reason, Served};
use herd_judge::Outcome::{Invalid, Valid};
use herd_scenario::{Layer, OnUnavailable, OnWaitTimeout, Scenario, Waiter};

use crate::layers::{FLEET, PROCESS, with};
use crate::made::{
    FLIGHT, LOCK, NONE, Start, changed, crowd, expect, expect_unknown, history, scenario, verdict,
};

fn patience(then: OnWaitTimeout) -> impl Fn(&mut Scenario) {
    move |scenario| {
        scenario.rungs[0].layers.push(Layer::WaiterTimeout);
        scenario.rungs[0].waiter = Some(Waiter { wait_ms: 50, then });
    }
}

/// Goal: waiters that go to the origin add those whose wait ran out, r*(D-W), and no more; other ends of a wait add none.
#[test]
fn impatient_waiters() {
    let origin = changed(LOCK, FLEET, patience(OnWaitTimeout::Origin));
    // Readers every 5 ms wait 100.5, 95.5 .. 5.5 ms; eleven of them wait 45 ms (5 ms for the clocks) or more.
    let herd = |impatient: u64| -> History {
        let starts = (0..impatient).map(|n| (1 + n as usize % 3, 50 + n * 4));
        let mut run = history(&[(0, 0)].into_iter().chain(starts).collect::<Vec<Start>>());
        for row in run.rungs[0].ledger.iter_mut().filter(|row| row.node != "node-0") {
            (row.reason, row.token, row.epoch) = (Reason::WaitTimeout, 0, 0);
        }
        run
    };
    let found = expect(&origin, &herd(10), Valid, 11);
    assert_eq!(found.bound, Some(13));
    assert!(found.bound_text.contains("plus about r*(D-W) = 10"), "{}", found.bound_text);
    expect(&origin, &herd(12), Valid, 13);
    expect(&origin, &herd(13), Invalid, 14);
    let patient = changed(LOCK, FLEET, |scenario| {
        patience(OnWaitTimeout::Origin)(scenario);
        scenario.rungs[0].waiter.as_mut().unwrap().wait_ms = 100;
    });
    // Whose wait is as long as D does not go.
    assert_eq!(expect(&patient, &herd(10), Invalid, 11).bound, Some(1));
    for then in [OnWaitTimeout::Error, OnWaitTimeout::Stale] {
        expect(&changed(LOCK, FLEET, patience(then)), &herd(10), Invalid, 11);
    }
    // As a known-bad strategy it is caught by the number that the lock promises.
    expect(
        &changed(LOCK, &format!("{FLEET}\nat_most = 1"), patience(OnWaitTimeout::Origin)),
        &herd(10),
        Invalid,
        11,
    );
    let by_process = changed(FLIGHT, PROCESS, patience(OnWaitTimeout::Origin));
    // Of the readers of one process those who waited, every fourth.
    assert_eq!(verdict(&by_process, &herd(10)).bound, Some(4));
}

/// Goal: where theory says that a herd comes and none did, nothing is shown; where a layer keeps it from coming, none is missed.
#[test]
fn herds_that_need_not_form() {
    let busy = |rung: &str, layer: Option<Layer>| {
        changed(rung, FLEET, |scenario| {
            if let Some(layer) = layer {
                *scenario = with(rung, FLEET, layer);
            }
            patience(OnWaitTimeout::Origin)(scenario);
            // r*(D-W) = 400 readers, of whom none came.
            scenario.workload.rate_per_s = 8_000;
        })
    };
    let formed = |scenario: &Scenario| !verdict(scenario, &history(&[(0, 0)])).why.contains("never formed");
    assert!(!formed(&busy(LOCK, None)));
    assert!(formed(&busy(LOCK, Some(Layer::StaleWhileRevalidate))));
    assert!(formed(&busy(LOCK, Some(Layer::Early))));
    assert!(formed(&busy(LOCK, Some(Layer::Shed))));
    assert!(!formed(&busy(NONE, None)));
    assert!(formed(&busy(NONE, Some(Layer::Shed))));
}

/// Goal: who was done before the herd began started none of it, give or take 5 ms between two clocks.
#[test]
fn readers_who_were_done_before() {
    let more: Vec<Start> = crowd().into_iter().chain([(0, 95)]).collect();
    for (done_us, bound) in [(1_094_999, 20), (1_095_000, 21)] {
        let mut run = history(&more);
        let sent_us = crate::made::START_US + 1_050_000;
        let row = run.rungs[0].operations.iter_mut().find(|row| row.sent_us == sent_us).unwrap();
        (row.served, row.done_us) = (Served::SecondLook, crate::made::START_US + done_us);
        run.rungs[0].ledger.retain(|row| row.generation <= 1);
        crate::made::renumber(&mut run.rungs[0]);
        assert_eq!(verdict(&scenario(NONE, FLEET), &run).bound, Some(bound));
    }
}

/// Goal: who sent twice, or failed, may have been anywhere; who was told that there is no row says by whom.
#[test]
fn readers_of_one_process() {
    let bound = |spoil: &dyn Fn(&mut herd_history::OperationRecord)| {
        let mut run = history(&crowd());
        for row in run.rungs[0].operations.iter_mut().filter(|row| row.served == Served::Waited) {
            row.node = "node-3".to_owned();
            spoil(row);
        }
        verdict(&scenario(NONE, PROCESS), &run).bound
    };
    // Of node-0, whose last of five rebuilds began 80 ms into the herd: eighteen readers came until then.
    assert_eq!(bound(&|_| {}), Some(0));
    assert_eq!(bound(&|row| row.outcome = Ended::NotFound), Some(0));
    assert_eq!(bound(&|row| row.outcome = Ended::Unavailable), Some(18));
    assert_eq!(bound(&|row| row.attempts = 2), Some(36));
    assert_eq!(bound(&|row| row.node.clear()), Some(18));
}

/// Goal: readers who get the error that their rung gives them are no failure of the run.
#[test]
fn a_rungs_own_errors() {
    let mut run = history(&[(0, 0)]);
    for row in run.rungs[0].operations.iter_mut().filter(|row| row.served == Served::Waited) {
        (row.outcome, row.served, row.generation) = (Ended::Unavailable, Served::Unknown, 0);
    }
    for row in run.rungs[0].operations.iter_mut().take(200) {
        (row.outcome, row.served, row.generation) = (Ended::DeadlineExceeded, Served::Unknown, 0);
    }
    expect(&changed(LOCK, FLEET, patience(OnWaitTimeout::Error)), &run, Valid, 1);
    expect_unknown(&changed(LOCK, FLEET, patience(OnWaitTimeout::Origin)), &run, "requests were answered");
    let closed = changed(LOCK, FLEET, |scenario| {
        scenario.rungs[0].lock.as_mut().unwrap().on_unavailable = OnUnavailable::FailClosed;
    });
    expect(&closed, &run, Valid, 1);
}
