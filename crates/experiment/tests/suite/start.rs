//! How the keys of a rung begin.

use crate::{
    fakes::{Fakes, serve},
    run_loop::{drive, plan_with},
};
use herd_experiment::{
    prewarm::{self, AccessLog, PrewarmSpec},
    run::Plan,
    testbed::Silent,
};
use herd_history::{LoadRecord, RungHistory, Served, StartRecord};
use herd_scenario::{Layer, Popularity, Start};
use std::{collections::BTreeSet, time::Duration};
use tokio::task::JoinSet;

/// One rung over ten keys that are read alike.
fn plan(start: Start) -> Plan {
    plan_with(|scenario| {
        scenario.rungs.truncate(1);
        if matches!(start, Start::Prewarmed { .. }) {
            scenario.rungs[0].layers.push(Layer::Prewarm);
        }
        scenario.rungs[0].start = start;
        scenario.workload.keys = 10;
        scenario.workload.window_ms = Some(1_000);
        scenario.workload.popularity = Popularity::Uniform;
    })
}

/// Keys that were rebuilt before the window began.
fn filled_before(rung: &RungHistory) -> BTreeSet<&str> {
    let before = rung.ledger.iter().filter(|row| row.start_us < rung.record.window_start_us);
    before.map(|row| row.key.as_str()).collect()
}

/// A warm start has every key in the cache before the load comes, a cold one none.
#[tokio::test]
async fn warm_and_cold() {
    for (start, record, keys) in [(Start::Warm, StartRecord::Warm, 10), (Start::Cold, StartRecord::Cold, 0)] {
        let (history, _) = drive(&plan(start), |truth| truth.caches = true).await;
        let rung = &history.rungs[0];
        assert_eq!((&rung.record.start, filled_before(rung).len()), (&record, keys));
        let misses = rung.operations.iter().filter(|row| row.served == Served::Led).count();
        assert_eq!(misses, 10 - keys, "each key misses once at most");
    }
}

/// Thousands of keys are filled, not only the first thousand.
#[tokio::test]
async fn thousands_are_warmed() {
    let mut plan = plan(Start::Warm);
    plan.scenario.workload.keys = 5_000;
    plan.scenario.workload.window_ms = Some(300);
    let (history, _) = drive(&plan, |truth| truth.caches = true).await;
    assert_eq!(filled_before(&history.rungs[0]).len(), 5_000);
    assert_eq!(history.rungs[0].record.notes, Vec::<String>::new());
}

/// With all of what is read in the cache the gate opens, and the load comes.
#[tokio::test]
async fn an_open_gate_lets_the_load_come() {
    let plan = plan(Start::Prewarmed { top: 10, hit_rate: 0.7 });
    assert_eq!(plan.options()["access_log"], "drawn, 20000 reads");
    let (history, _) = drive(&plan, |truth| truth.caches = true).await;
    let rung = &history.rungs[0];
    let StartRecord::Prewarmed { keys, filled, hit_rate, opened, ref why, .. } = rung.record.start else {
        panic!("{:?}", rung.record.start);
    };
    assert_eq!((keys, filled, hit_rate, opened), (10, 10, 1.0, true), "{why}");
    assert!(rung.record.load.sent > 0);
    assert!(rung.operations.iter().all(|row| row.served == Served::Hit));
}

/// With a fifth of it the gate stays shut: nothing is driven, and the record says what missed.
#[tokio::test]
async fn a_shut_gate_keeps_the_load_out() {
    let (history, _) =
        drive(&plan(Start::Prewarmed { top: 2, hit_rate: 0.7 }), |truth| truth.caches = true).await;
    let rung = &history.rungs[0];
    let StartRecord::Prewarmed { keys, filled, hit_rate, wanted, opened, ref why, .. } = rung.record.start
    else {
        panic!("{:?}", rung.record.start);
    };
    assert_eq!((keys, filled, wanted, opened), (2, 2, 0.7, false), "{why}");
    assert!((0.15..0.25).contains(&hit_rate), "two of ten keys: {hit_rate}");
    assert!(why.contains("missed on keys that were not replayed, 0.0 % on keys that were"), "{why}");
    assert_eq!((rung.operations.len(), &rung.record.load), (0, &LoadRecord::default()));
    assert_eq!(rung.record.window_start_us, rung.record.window_end_us);
    assert!(rung.record.notes[0].contains("the pre-warm gate stayed shut"), "{:?}", rung.record.notes);
}

/// The log that is given decides what is replayed; one that cannot be read ends the run before anything is driven.
#[tokio::test]
async fn the_given_log_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    std::fs::write(&log, "item-3\nitem-3\nitem-9\n").unwrap();
    let mut plan = plan(Start::Prewarmed { top: 5, hit_rate: 1.0 });
    plan.access_log = Some(log.clone());
    assert_eq!(plan.options()["access_log"], log.display().to_string());
    let (history, _) = drive(&plan, |truth| truth.caches = true).await;
    assert_eq!(filled_before(&history.rungs[0]), BTreeSet::from(["item-3", "item-9"]));
}

/// The gate says which keys it missed and what went wrong with them, and a log without reads opens nothing.
#[tokio::test]
async fn the_gate_says_why() {
    let (fakes, mut tasks) = (Fakes::default(), JoinSet::new());
    fakes.truth().caches = true;
    fakes.truth().unwarmable.insert("item-1".to_owned());
    let edge = serve(&fakes, &mut tasks).await;
    let log = |text: &str| AccessLog::parse(text.as_bytes()).unwrap();
    let spec = PrewarmSpec {
        edge,
        log: log("item-1\nitem-1\nitem-2\n!\n"),
        top: 9,
        hit_rate: 0.7,
        deadline: Duration::from_secs(5),
        at_once: 4,
    };
    let report = prewarm::run(&spec, &Silent).await.unwrap();
    assert_eq!((report.keys, report.filled, report.opened), (2, 1, false));
    assert_eq!(report.missing, ["item-1"]);
    assert_eq!(
        report.why,
        "33.3 % of 3 sampled reads hit, 70.0 % are asked for; 0.0 % missed on keys that were not replayed, 66.7 % \
         on keys that were; the most read of them: item-1; 1 keys could not be filled, the first item-1: it does not \
         want to (Unavailable); 1 lines of the log are no read of a key"
    );
    let nothing = PrewarmSpec { log: log("!\n"), hit_rate: 0.0, ..spec };
    let report = prewarm::run(&nothing, &Silent).await.unwrap();
    assert!(!report.opened && report.why.contains("no read of a key (1 lines are none)"), "{}", report.why);
}
