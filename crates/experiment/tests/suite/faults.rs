//! Faults over a fleet of fakes: the order of their steps, and what becomes of them where a witness is missing.

use crate::{
    fake_testbed::FakeTestbed,
    run_loop::{attend, hurt, plan_with},
};
use FaultPhase::{Confirmed, Injected, Recovered, Repaired, Unconfirmed, Unrecovered};
use herd_experiment::{run::Plan, testbed::Signal};
use herd_history::{FaultPhase, FaultRecord, History, Outcome};
use herd_scenario::{Fault, FaultAction, FaultPart, Layer, LinkRule, Once, Peer, Scenario, Target, Which};
use herd_wire::v1;

pub(crate) const HELD: [FaultPhase; 4] = [Injected, Confirmed, Repaired, Recovered];

pub(crate) fn nodes(which: Which) -> Target {
    Target { part: FaultPart::CacheNode, which }
}

fn once(part: FaultPart) -> Target {
    Target { part, which: Which::All }
}

pub(crate) fn fault(action: FaultAction) -> Fault {
    let (name, at_ms, for_ms) = ("hurt".to_owned(), 300, 200);
    Fault { name, rungs: None, at_ms, once: Once::Now, for_ms, times: 1, every_ms: 0, action }
}

/// One rung of 1.5 s with this fault.
pub(crate) fn plan(fault: Fault, change: impl FnOnce(&mut Scenario)) -> Plan {
    plan_with(|scenario| {
        scenario.rungs.truncate(1);
        scenario.workload.window_ms = Some(1_500);
        scenario.faults = vec![fault];
        change(scenario);
    })
}

pub(crate) async fn happens(
    action: FaultAction,
    change: impl FnOnce(&mut FakeTestbed),
) -> (History, FakeTestbed) {
    hurt(&plan(fault(action), |_| {}), change).await
}

/// The steps of one target, in the order of their times.
pub(crate) fn phases(history: &History, target: &str) -> Vec<FaultPhase> {
    history.faults.iter().filter(|step| step.target == target).map(|step| step.phase).collect()
}

pub(crate) fn step(history: &History, phase: FaultPhase) -> &FaultRecord {
    let found = history.faults.iter().find(|step| step.phase == phase);
    found.unwrap_or_else(|| panic!("{phase:?} is missing: {:#?}", history.faults))
}

/// Injected, confirmed, held, repaired, recovered; noted on disk before and struck out after; and the node that was frozen did
/// not move.
#[tokio::test]
async fn a_node_is_paused_for_a_while() {
    let (history, testbed) = happens(FaultAction::Pause(nodes(Which::Index(vec![1]))), |_| {}).await;
    assert_eq!(phases(&history, "node-1"), HELD, "{:#?}", history.faults);
    assert_eq!(history.faults.len(), 4);
    let at = |phase| step(&history, phase).at_us;
    let window = history.rungs[0].record.window_start_us;
    assert!(at(Injected) >= window + 300_000, "not before its time");
    assert!(at(Repaired) >= at(Injected) + 200_000, "held as long as it was to be");
    assert_eq!(testbed.told, ["Pause cache-node 1", "Resume cache-node 1"]);
    assert_eq!(testbed.journal.first().unwrap(), &["pause of node-1"]);
    assert_eq!(testbed.journal.last().unwrap(), &Vec::<String>::new());
    let record = step(&history, Confirmed);
    assert_eq!((record.fault.as_str(), record.kind.as_str(), record.turn), ("hurt", "pause", 0));
    assert!(history.rungs[0].record.moved.is_empty());
}

/// A signal that changes nothing is not confirmed, and is repaired all the same.
#[tokio::test]
async fn a_pause_that_does_not_bite_is_not_confirmed() {
    let pause = FaultAction::Pause(nodes(Which::Index(vec![1])));
    let (history, testbed) = happens(pause, |testbed| testbed.deaf = true).await;
    assert_eq!(step(&history, Unconfirmed).note, "still runs");
    assert_eq!(testbed.told, ["Pause cache-node 1", "Resume cache-node 1"]);
}

/// What cannot be done is said, and made sure to be undone.
#[tokio::test]
async fn a_signal_that_is_refused_is_not_confirmed() {
    let pause = FaultAction::Pause(nodes(Which::All));
    let (history, testbed) = happens(pause, |testbed| testbed.refuses = Some(Signal::Pause)).await;
    let steps: Vec<_> = history.faults.iter().map(|step| (step.phase, step.note.as_str())).collect();
    assert_eq!(steps, [(Unconfirmed, "it refuses"); 3]);
    assert_eq!(testbed.told.iter().filter(|told| told.starts_with("Resume")).count(), 3);
}

/// What cannot be undone stays in force, is told, and is tried once more when the rung is over.
#[tokio::test]
async fn a_repair_that_fails_is_told_and_tried_again() {
    let pause = FaultAction::Pause(nodes(Which::Index(vec![0])));
    let (history, testbed) = happens(pause, |testbed| testbed.refuses = Some(Signal::Resume)).await;
    assert_eq!(phases(&history, "node-0"), [Injected, Confirmed, Unrecovered]);
    assert_eq!(testbed.told, ["Pause cache-node 0", "Resume cache-node 0", "Resume cache-node 0"]);
    let notes = &history.rungs[0].record.notes;
    assert!(notes.iter().any(|note| note.contains("could not be undone (pause of node-0)")), "{notes:?}");
}

/// A killed node left and came back: that is recorded, and it is recovered only in its new life.
#[tokio::test]
async fn a_killed_node_comes_back() {
    let (history, _) = happens(FaultAction::Kill(nodes(Which::Index(vec![2]))), |_| {}).await;
    assert_eq!(phases(&history, "node-2"), HELD, "{:#?}", history.faults);
    let moved: Vec<(&str, bool)> =
        history.rungs[0].record.moved.iter().map(|moved| (moved.node.as_str(), moved.left)).collect();
    assert_eq!(moved, [("node-2", true), ("node-2", false)]);
    assert!(step(&history, Recovered).at_us >= history.rungs[0].record.moved[1].at_us);
}

/// A fault in several turns has each turn at its time, under its number.
#[tokio::test]
async fn turns_repeat() {
    let mut fault = fault(FaultAction::Pause(nodes(Which::Some(1))));
    (fault.at_ms, fault.for_ms, fault.times, fault.every_ms) = (100, 50, 3, 400);
    let (history, _) = hurt(&plan(fault, |_| {}), |_| {}).await;
    let window = history.rungs[0].record.window_start_us;
    for turn in 0..3 {
        let steps: Vec<_> = history.faults.iter().filter(|step| step.turn == turn).collect();
        assert_eq!(steps.iter().map(|step| step.phase).collect::<Vec<_>>(), HELD, "{steps:#?}");
        assert!(steps[0].at_us >= window + 100_000 + turn * 400_000);
    }
}

/// What the window leaves no time for is not confirmed, and nothing is done.
#[tokio::test]
async fn nothing_begins_after_the_window() {
    let mut late = fault(FaultAction::Kill(nodes(Which::All)));
    late.at_ms = 1_600;
    let (history, testbed) = hurt(&plan(late, |_| {}), |_| {}).await;
    assert_eq!(step(&history, Unconfirmed).note, "the window ended before");
    assert!(testbed.told.is_empty());
    // The same where it waits for what does not come.
    let mut waits = fault(FaultAction::Kill(nodes(Which::Holder { key: "item-1".to_owned() })));
    waits.once = Once::Rebuild { key: "item-1".to_owned(), after_ms: 0 };
    let (history, testbed) = hurt(&plan(waits, lock), |testbed| testbed.fakes.truth().caches = true).await;
    assert_eq!(step(&history, Unconfirmed).note, "no rebuild of item-1 began before the window ended");
    assert!(testbed.told.is_empty());
}

pub(crate) fn lock(scenario: &mut Scenario) {
    scenario.rungs[0].layers.push(Layer::Lock);
}

/// A fleet that others brought up is not hurt, and that is said of every target; what needs no testbed is done.
#[tokio::test]
async fn a_fleet_of_others_is_not_hurt() {
    for (action, target) in [
        (FaultAction::Pause(nodes(Which::Index(vec![1]))), "node-1"),
        (FaultAction::Kill(once(FaultPart::Redis)), "redis"),
        (FaultAction::RedisRestartEmpty, "redis"),
    ] {
        let (history, testbed) = attend(&plan(fault(action), |_| {})).await;
        assert_eq!(phases(&history, target), [Unconfirmed], "{:#?}", history.faults);
        assert!(step(&history, Unconfirmed).note.contains("brought up by others"), "{:#?}", history.faults);
        assert_eq!(history.faults.len(), 1);
        assert!(testbed.told.is_empty() && history.rungs[0].record.writes_complete);
    }
    let (history, testbed) = attend(&plan(fault(FaultAction::LockClock { rate: 4.0 }), |_| {})).await;
    let no_lock = [Injected, Unconfirmed, Repaired, Recovered];
    assert_eq!(phases(&history, "lock-service"), no_lock, "{:#?}", history.faults);
    assert_eq!(testbed.fakes.truth().clocks, [1.0, 4.0, 1.0], "set right before the rung, too");
}

/// Every kind in its usual course: steps, what the testbed and the parts are told, and whether the store lost data.
#[tokio::test]
async fn redis_forgets_and_comes_back() {
    let (history, testbed) = happens(FaultAction::RedisRestartEmpty, |_| {}).await;
    assert_eq!(phases(&history, "redis"), HELD, "{:#?}", history.faults);
    assert_eq!(testbed.told, ["Kill redis 0", "Wipe", "Start redis 0"]);
    assert!(!history.rungs[0].record.writes_complete);

    let (history, testbed) = happens(FaultAction::RedisRestartAof, |_| {}).await;
    assert_eq!(phases(&history, "redis"), HELD, "{:#?}", history.faults);
    assert_eq!(testbed.told, ["Kill redis 0", "Start redis 0"]);
    assert!(history.rungs[0].record.writes_complete, "it came back with all that it had");

    let (history, _) = happens(FaultAction::RedisFlush, |_| {}).await;
    assert_eq!(phases(&history, "redis"), [Injected, Confirmed]);
    assert_eq!(step(&history, Confirmed).hit, 99);
    let (history, _) = happens(FaultAction::RedisFlush, |testbed| testbed.deaf = true).await;
    assert_eq!(phases(&history, "redis"), [Injected, Unconfirmed]);

    let (history, testbed) = happens(FaultAction::RedisEvict { room_kb: 1 }, |_| {}).await;
    assert_eq!(phases(&history, "redis"), HELD, "{:#?}", history.faults);
    assert_eq!(step(&history, Confirmed).hit, 7);
    assert_eq!(step(&history, Recovered).hit, 9, "those up to the repair count too");
    assert_eq!(testbed.told, ["Limit { room: 1024 }", "Unlimit"]);

    let (history, testbed) = happens(FaultAction::RedisPromote, |_| {}).await;
    assert_eq!(phases(&history, "redis"), [Injected, Confirmed], "{:#?}", history.faults);
    assert_eq!(testbed.told, ["Detach", "Kill redis 0", "Promote"]);
}

/// Goal: the number of keys proves nothing. What Redis was told last does: a wipe that left it is none, and so is a file without it.
#[tokio::test]
async fn what_redis_was_told_last_is_the_witness() {
    for action in [FaultAction::RedisRestartEmpty, FaultAction::RedisPromote] {
        let (history, _) = happens(action, |testbed| {
            (testbed.keeps_data, testbed.redis.keys) = (true, 1);
        })
        .await;
        let last = history.faults.last().expect("it was tried");
        assert!(matches!(last.phase, Unrecovered | Unconfirmed), "{:#?}", history.faults);
        assert!(last.note.contains("what was written last"), "{}", last.note);
    }
    let (history, _) = happens(FaultAction::RedisRestartAof, |testbed| testbed.loses_data = true).await;
    let lost = step(&history, Unrecovered);
    assert!(lost.note.ends_with("its append-only file was not kept"), "{}", lost.note);
    assert!(!history.rungs[0].record.writes_complete);
    // Keys that ended meanwhile are no loss, and keys that came are no proof against one.
    let kill = || FaultAction::Kill(once(FaultPart::Redis));
    let (history, _) = happens(kill(), |_| {}).await;
    assert!(history.rungs[0].record.writes_complete);
    let (history, _) = happens(kill(), |testbed| testbed.loses_data = true).await;
    assert!(!history.rungs[0].record.writes_complete);
}

/// What the link to one peer hit.
pub(crate) fn hits(peer: v1::Peer, hit: u64) -> Vec<v1::LinkHits> {
    vec![v1::LinkHits { peer: peer.into(), hit }]
}

/// Bad links are told to the nodes and mended; a fault over whose links no call was made is not confirmed, whatever others hit.
#[tokio::test]
async fn links_go_bad() {
    let link = || FaultAction::Link { nodes: Which::All, to: Peer::Origin, rule: LinkRule::BlackHole };
    let (history, _) = happens(link(), |testbed| {
        testbed.fakes.truth().links_hit = hits(v1::Peer::Origin, 4);
    })
    .await;
    for node in ["node-0", "node-1", "node-2"] {
        assert_eq!(phases(&history, node), HELD, "{:#?}", history.faults);
    }
    assert_eq!(step(&history, Confirmed).hit, 4);
    let others = [Vec::new(), hits(v1::Peer::Origin, 0), hits(v1::Peer::Redis, 9)];
    for other in others {
        let (history, _) = happens(link(), |testbed| testbed.fakes.truth().links_hit = other).await;
        assert_eq!(step(&history, Unconfirmed).note, "no call was made over the link");
    }
}

/// The origin's queries hang and are let go; the lock service's clock is set and set right again.
#[tokio::test]
async fn the_origin_and_the_lock_service_are_hurt() {
    let stuck = FaultAction::StuckQuery { queries: 2 };
    let (history, testbed) = happens(stuck.clone(), |testbed| testbed.fakes.truth().hang = 2).await;
    assert_eq!(phases(&history, "origin"), HELD, "{:#?}", history.faults);
    assert_eq!((step(&history, Confirmed).hit, testbed.fakes.truth().stuck[1]), (2, 2));
    assert_eq!(testbed.fakes.truth().stuck.last(), Some(&0));
    let (history, _) = happens(stuck, |_| {}).await;
    assert_eq!(step(&history, Unconfirmed).note, "no query hung");

    let (history, testbed) = happens(FaultAction::LockClock { rate: 4.0 }, |_| {}).await;
    let no_lock = [Injected, Unconfirmed, Repaired, Recovered];
    assert_eq!(phases(&history, "lock-service"), no_lock, "{:#?}", history.faults);
    assert_eq!(testbed.fakes.truth().clocks, [1.0, 4.0, 1.0], "set right before the rung, too");
}

/// Parts that exist once are told, and recovered when who needs them says so.
#[tokio::test]
async fn parts_that_exist_once_are_hurt() {
    for (part, name) in [
        (FaultPart::LockService, "lock-service"),
        (FaultPart::Origin, "origin"),
        (FaultPart::Redis, "redis"),
        (FaultPart::Edge, "edge"),
        (FaultPart::Database, "database"),
    ] {
        let (history, testbed) = happens(FaultAction::Pause(once(part)), |_| {}).await;
        assert_eq!(phases(&history, name), HELD, "{:#?}", history.faults);
        assert_eq!(testbed.told, [format!("Pause {name} 0"), format!("Resume {name} 0")]);
    }
}

/// Every node in its turn, each back before the next ends.
#[tokio::test]
async fn a_rolling_restart_is_one_after_the_other() {
    let mut rolling = fault(FaultAction::RollingRestart);
    rolling.for_ms = 0;
    let (history, testbed) = hurt(&plan(rolling, |_| {}), |_| {}).await;
    let told: Vec<String> =
        (0..3).flat_map(|n| [format!("Stop cache-node {n}"), format!("Start cache-node {n}")]).collect();
    assert_eq!(testbed.told, told);
    for node in ["node-0", "node-1", "node-2"] {
        assert_eq!(phases(&history, node), HELD, "{:#?}", history.faults);
    }
}

/// The rung begins with fewer nodes, and ends with all.
#[tokio::test]
async fn the_fleet_is_scaled_out() {
    let (history, testbed) = happens(FaultAction::ScaleOut { from: 1 }, |_| {}).await;
    let record = &history.rungs[0].record;
    assert_eq!((record.nodes_expected, record.nodes_joined, record.nodes_joined_end), (1, 1, Some(3)));
    for node in ["node-1", "node-2"] {
        assert_eq!(phases(&history, node), [Injected, Confirmed], "{:#?}", history.faults);
    }
    assert_eq!(testbed.told.len(), 4);
    assert_eq!(record.moved.iter().filter(|moved| !moved.left).count(), 2);
    // Where it does not come to it, the fleet is whole all the same: `hurt` looks.
    let mut late = fault(FaultAction::ScaleOut { from: 1 });
    late.at_ms = 9_000;
    let (history, _) = hurt(&plan(late, |_| {}), |_| {}).await;
    assert_eq!(step(&history, Unconfirmed).target, "cache-node");
}

/// Clients that hang up are recorded as such, and nobody who was not under way.
#[tokio::test]
async fn clients_hang_up() {
    let (history, _) = happens(FaultAction::HangUp { share: 1.0 }, |testbed| {
        testbed.fakes.truth().answers_after_ms = 400;
    })
    .await;
    let confirmed = step(&history, Confirmed);
    let hung_up = history.rungs[0].operations.iter().filter(|row| row.outcome == Outcome::HungUp).count();
    assert!(confirmed.hit > 0);
    assert_eq!((confirmed.hit, confirmed.target.as_str()), (hung_up as u64, "clients"));
    let (history, _) = happens(FaultAction::HangUp { share: 0.5 }, |_| {}).await;
    let none = history.rungs[0].operations.iter().all(|row| row.outcome != Outcome::HungUp);
    assert!(
        none == (step(&history, Injected).hit == 0 && phases(&history, "clients").contains(&Unconfirmed))
    );
}

/// A burst is sent.
#[tokio::test]
async fn a_burst_is_sent() {
    let (history, _) = happens(FaultAction::Burst { factor: 5.0 }, |_| {}).await;
    assert_eq!(phases(&history, "clients"), HELD, "{:#?}", history.faults);
}

/// A flood is sent while it is held and not otherwise: rows that do not exist, beside the workload's own.
#[tokio::test]
async fn a_flood_is_sent() {
    let (history, _) = happens(FaultAction::Flood { rate_per_s: 400 }, |_| {}).await;
    assert_eq!(phases(&history, "clients"), HELD, "{:#?}", history.faults);
    let rung = &history.rungs[0];
    let (flood, own): (Vec<_>, Vec<_>) =
        rung.operations.iter().partition(|row| row.outcome == Outcome::NotFound);
    assert!(!flood.is_empty() && flood.iter().all(|row| row.key.starts_with("random-")), "{flood:#?}");
    let held = rung.record.window_start_us + 300_000..rung.record.window_start_us + 500_000;
    assert!(flood.iter().all(|row| held.contains(&row.intended_us)), "{held:?}: {flood:#?}");
    assert!(own.iter().all(|row| row.key == "item-1"));
    assert!(own.iter().any(|row| held.contains(&row.intended_us)), "the workload goes on");
}

/// A fault happens in its rungs alone, and the manifest says which.
#[tokio::test]
async fn faults_keep_to_their_rungs() {
    let mut fault = fault(FaultAction::Pause(nodes(Which::Index(vec![0]))));
    fault.rungs = Some(vec!["second".to_owned()]);
    let plan = plan_with(|scenario| {
        scenario.workload.window_ms = Some(900);
        scenario.faults = vec![fault];
    });
    assert!(plan.options()["fault.hurt"].contains("(in second)"), "{:?}", plan.options());
    let (history, _) = hurt(&plan, |_| {}).await;
    assert!(history.faults.iter().all(|step| step.rung == "second"));
    assert_eq!(history.faults.len(), 4);
}
