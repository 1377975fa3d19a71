//! What happens while the load of a rung runs.

use crate::{
    fakes::CROWD,
    run_loop::{drive, plan_with},
};
use herd_experiment::run::Plan;
use herd_history::{FaultPhase, Outcome, RungHistory, Served, StoreWriteKind, StoreWriteVerdict};
use herd_scenario::{
    AbsentIds, AbsentReads, Deploy, DeployStrategy, Failing, Gate, Layer, MembershipChange, Popularity,
    Scenario, Shed,
};

/// One rung.
fn plan(change: impl FnOnce(&mut Scenario)) -> Plan {
    plan_with(|scenario| {
        scenario.rungs.truncate(1);
        // Room for what happens in the window on a busy machine.
        scenario.workload.window_ms = Some(2_500);
        change(scenario);
    })
}

fn deploy(strategy: DeployStrategy) -> Deploy {
    Deploy { at_ms: 300, strategy, fill_per_s: 200, stop_in_flight: 2 }
}

/// Sixty keys take at least 300 ms to fill, however late a tick comes: time enough for looks at the origin.
fn versioned(scenario: &mut Scenario) {
    scenario.workload.keys = 60;
    scenario.workload.popularity = Popularity::Uniform;
    scenario.rungs[0].deploy = Some(deploy(DeployStrategy::Versioned));
}

/// Reads by the configuration that served them: those before a change and those after.
fn by_version(rung: &RungHistory) -> (usize, usize) {
    let first = rung.record.config_version;
    let before = rung.operations.iter().filter(|row| row.config_version == first).count();
    (before, rung.operations.len() - before)
}

/// A failing origin is seen in the ledger from its injection on, and repaired.
#[tokio::test]
async fn the_origin_fails_for_a_while() {
    let failing = Failing { at_ms: 300, for_ms: 500, share: 1.0 };
    let plan = plan(|scenario| scenario.origin.failing = Some(failing));
    assert_eq!(plan.options()["origin_failing"], "100 % for 500 ms at 300 ms");
    let (history, fakes) = drive(&plan, |_| {}).await;
    let phases: Vec<FaultPhase> = history.faults.iter().map(|step| step.phase).collect();
    assert_eq!(
        phases,
        [FaultPhase::Injected, FaultPhase::Confirmed, FaultPhase::Repaired, FaultPhase::Recovered],
        "{:?}",
        history.faults
    );
    let asked: Vec<(f64, u32)> =
        fakes.truth().failures.iter().map(|failures| (failures.share, failures.for_ms)).collect();
    assert_eq!(asked, [(0.0, 0), (1.0, 500), (0.0, 0)], "none at first, then the fault, then its repair");
    let operations = &history.rungs[0].operations;
    let failed: Vec<_> = operations.iter().filter(|row| row.outcome == Outcome::Unavailable).collect();
    assert!(!failed.is_empty());
    assert!(failed.iter().all(|row| row.done_us >= history.faults[0].at_us - 1_000));
}

/// A fault that nobody could see is not confirmed: here no fetch comes while the origin would fail.
#[tokio::test]
async fn a_fault_that_does_not_bite_is_not_confirmed() {
    let failing = Failing { at_ms: 300, for_ms: 100, share: 1.0 };
    let plan = plan(|scenario| scenario.origin.failing = Some(failing));
    let (history, _) = drive(&plan, |truth| truth.caches = true).await;
    assert!(history.faults.iter().any(|step| step.phase == FaultPhase::Unconfirmed), "{:?}", history.faults);
    assert!(history.faults.iter().all(|step| step.phase != FaultPhase::Confirmed), "{:?}", history.faults);
}

/// A rung's gate at the origin is set before it, and does not outlive it.
#[tokio::test]
async fn gates_do_not_outlive_their_rung() {
    let gate = Gate { in_flight_max: 7, queue_max: 3, queue_wait_ms: 50, retry_after_ms: 90 };
    let plan = plan_with(|scenario| {
        scenario.rungs[0].layers.push(Layer::Shed);
        scenario.rungs[0].shed = Some(Shed { edge: None, origin: Some(gate) });
    });
    let (_, fakes) = drive(&plan, |_| {}).await;
    let set: Vec<u32> = fakes.truth().gates.iter().map(|gate| gate.in_flight_max).collect();
    assert_eq!(set, [7, 100_000]);
}

/// Absent rows are inserted one after the other, each recorded; the next rung begins with them absent again.
#[tokio::test]
async fn rows_are_inserted() {
    let plan = plan_with(|scenario| {
        let ids = AbsentIds::Fixed { count: 3 };
        scenario.workload.absent = Some(AbsentReads { share: 0.5, ids });
        scenario.workload.insert_every_ms = Some(100);
    });
    assert_eq!(plan.options()["insert_every_ms"], "100");
    let (history, fakes) = drive(&plan, |_| {}).await;
    let rung = &history.rungs[0];
    let keys: Vec<&str> = rung.inserts.iter().map(|insert| insert.key.as_str()).collect();
    assert_eq!(keys, ["absent-1", "absent-2", "absent-3"]);
    for (insert, n) in rung.inserts.iter().zip(0..) {
        assert_eq!((insert.seq, insert.outcome, insert.version), (n, Outcome::Answered, 1));
        assert!(insert.sent_us >= rung.record.window_start_us + (n + 1) * 100_000);
        assert!(insert.sent_us <= insert.done_us);
    }
    assert_eq!(rung.record.notes, Vec::<String>::new());
    let next = &history.rungs[1];
    assert_eq!((next.inserts.len(), next.inserts[0].version), (3, 1), "they were absent again");
    assert_eq!(fakes.truth().rows.len(), 3);
}

/// A bump switches to empty keys at its time: what is read afterwards is under the new prefix, and missed once.
#[tokio::test]
async fn a_bump_switches_at_once() {
    let plan = plan(|scenario| scenario.rungs[0].deploy = Some(deploy(DeployStrategy::Bump)));
    let (history, _) = drive(&plan, |truth| truth.caches = true).await;
    let rung = &history.rungs[0];
    let record = rung.record.deploy.as_ref().expect("it is recorded");
    assert_eq!((record.strategy.as_str(), record.config_version), ("bump", 2));
    let switched_us = record.switched_us.expect("it was switched");
    assert!(switched_us >= rung.record.window_start_us + 300_000 && switched_us < rung.record.window_end_us);
    assert_eq!((record.fill_began_us, record.retired_us, record.fill_keys), (None, None, 0));
    assert!(by_version(rung).0 > 0 && by_version(rung).1 > 0, "{:?}", by_version(rung));
    let missed: Vec<_> = rung.operations.iter().filter(|row| row.served == Served::Led).collect();
    assert_eq!(missed.iter().map(|row| row.config_version).collect::<Vec<_>>(), [2]);
    let rebuilt = |prefix: &str| rung.ledger.iter().filter(|row| row.cache_key.starts_with(prefix)).count();
    assert_eq!((rebuilt(&rung.record.prefix), rebuilt(&record.prefix)), (1, 1));
    // The store's record covers both prefixes.
    let under = |prefix: &str| rung.writes.iter().filter(|write| write.prefix == prefix).count();
    assert_eq!((under(&rung.record.prefix), under(&record.prefix)), (1, 1));
    assert!(rung.record.writes_complete);
}

/// The safe way fills beside the traffic, stops while the origin is busy with a crowd, then switches without a miss, and
/// retires the old keys.
#[tokio::test]
async fn a_versioned_deploy_fills_first() {
    let (history, _) = drive(&plan(versioned), |truth| {
        truth.caches = true;
        truth.crowd_after = Some(4);
    })
    .await;
    let rung = &history.rungs[0];
    let record = rung.record.deploy.as_ref().expect("it is recorded");
    assert_eq!((record.fill_keys, record.filled, record.pauses), (60, 60, 1), "{}", record.why);
    assert!(record.why.contains(&format!("at most {CROWD} fetches under way")), "{}", record.why);
    let (began, switched, retired) =
        (record.fill_began_us.unwrap(), record.switched_us.unwrap(), record.retired_us.expect(&record.why));
    assert!(began < switched && retired >= switched + 50_000, "{record:?}");
    assert!(rung.operations.iter().all(|row| row.served == Served::Hit), "nobody missed");
    assert!(by_version(rung).0 > 0 && by_version(rung).1 > 0, "{:?}", by_version(rung));
}

/// Without its fill a versioned deploy does not happen: the old keys stay.
#[tokio::test]
async fn a_fill_that_fails_stops_the_deploy() {
    let (history, _) = drive(&plan(versioned), |truth| {
        truth.caches = true;
        truth.unwarmable = (1..=60).map(|row| format!("item-{row}")).collect();
    })
    .await;
    let record = history.rungs[0].record.deploy.as_ref().expect("it is recorded");
    assert_eq!((record.filled, record.config_version, record.switched_us), (0, 0, None));
    assert!(record.why.contains("it does not want to; too few for a switch"), "{}", record.why);
    // Announced, which is a configuration of its own, and no more.
    let (rung, announced) = (&history.rungs[0], record.announced_version);
    let told = [rung.record.config_version, announced];
    assert!(
        announced > 0 && rung.operations.iter().all(|row| told.contains(&row.config_version)),
        "{told:?}"
    );
}

/// A fill that is too slow for the window ends with it, and is not switched to.
#[tokio::test]
async fn a_fill_that_is_too_slow_ends_with_the_window() {
    let plan = plan(|scenario| {
        versioned(scenario);
        scenario.workload.window_ms = Some(1_000);
        scenario.rungs[0].deploy.as_mut().unwrap().fill_per_s = 2;
    });
    let (history, _) = drive(&plan, |truth| truth.caches = true).await;
    let record = history.rungs[0].record.deploy.as_ref().expect("it is recorded");
    assert!(record.filled < 60 && record.switched_us.is_none(), "{record:?}");
    assert!(record.why.contains("the window ended before the switch"), "{}", record.why);
}

/// The owner of a key leaves, then its heir; both are back afterwards, and none of it counts as a membership that moved by
/// itself.
#[tokio::test]
async fn owner_and_heir_leave() {
    let change = |at_ms, for_ms| MembershipChange { at_ms, for_ms, owner_of: "item-1".to_owned() };
    let plan = plan(|scenario| {
        scenario.rungs[0].layers.push(Layer::OwnerRouting);
        scenario.rungs[0].membership = vec![change(300, 900), change(600, 0)];
    });
    let (history, _) = drive(&plan, |truth| truth.caches = true).await;
    let rung = &history.rungs[0];
    let told: Vec<(&str, bool)> =
        rung.record.membership.iter().map(|change| (change.node.as_str(), change.left)).collect();
    assert_eq!(told, [("node-0", true), ("node-1", true), ("node-0", false)]);
    assert_eq!(rung.record.membership_changed, Some(false));
    assert!(!rung.record.has_changed_membership(), "{:?}", rung.record.notes);
    assert_eq!((rung.record.nodes_joined, rung.record.nodes_joined_end), (3, Some(3)));
    let mut answered: Vec<(u64, &str)> =
        rung.operations.iter().map(|row| (row.intended_us, row.node.as_str())).collect();
    answered.sort_unstable();
    // Requests may overtake each other around a change: what counts is who comes up first, and who answers at the end.
    let mut owners: Vec<&str> = Vec::new();
    for (_, node) in &answered {
        if !owners.contains(node) {
            owners.push(node);
        }
    }
    assert_eq!(owners, ["node-0", "node-1", "node-2"]);
    assert_eq!(answered.last().map(|(_, node)| *node), Some("node-0"));
}

/// What the store decided is recorded as it says; a record that breaks off is not taken for whole.
#[tokio::test]
async fn the_stores_record() {
    for breaks in [false, true] {
        let (history, _) = drive(&plan(|_| {}), |truth| truth.writes_break = breaks).await;
        let rung = &history.rungs[0];
        assert_eq!(rung.record.writes_complete, !breaks);
        assert_eq!(rung.writes.len(), rung.ledger.len());
        let write = &rung.writes[0];
        assert_eq!((write.key.as_str(), &write.prefix), ("item-1", &rung.record.prefix));
        assert_eq!((write.kind, write.verdict), (StoreWriteKind::Value, StoreWriteVerdict::Accepted));
        let noted = rung.record.notes.iter().any(|note| note.contains("is not whole: trimmed"));
        assert_eq!(noted, breaks, "{:?}", rung.record.notes);
    }
}

/// The most read row changes at its pace, and what could not be changed is told.
#[tokio::test]
async fn the_row_changes_at_the_origin() {
    let changes = |every_ms| plan(|scenario| scenario.workload.update_every_ms = every_ms);
    let (_, fakes) = drive(&changes(None), |_| {}).await;
    assert_eq!(fakes.truth().puts, 0);
    let plan = changes(Some(100));
    assert_eq!(plan.options()["update_every_ms"], "100");
    let (history, fakes) = drive(&plan, |_| {}).await;
    let puts = fakes.truth().puts;
    assert!((2..=25).contains(&puts), "{puts} changes every 100 ms in 2.5 s");
    assert_eq!(history.rungs[0].record.notes, Vec::<String>::new());
    let (history, _) = drive(&plan, |truth| truth.refuses_puts = true).await;
    let notes = &history.rungs[0].record.notes;
    assert!(notes.iter().any(|note| note.contains("changes of item-1 were not made")), "{notes:?}");
}
