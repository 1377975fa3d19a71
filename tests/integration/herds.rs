//! The judge on real processes: what it calls valid, and what it must call invalid.

use herd_cluster::processes::ProcessTestbed;
use herd_experiment::control::ControlPlane;
use herd_experiment::run::{self, Plan};
use herd_experiment::testbed::{FleetSpec, Silent, Testbed};
use herd_history::{Reader, Writer};
use herd_judge::{Judgement, Outcome};
use herd_scenario::{Overrides, Scenario};
use std::fs;
use std::net::SocketAddr;

use crate::architecture::root;

/// Nodes of these small fleets: enough for a herd that tells process from fleet.
const NODES: u32 = 8;

/// Goal: strategies that are known to be bad are refuted on real processes, each by the claim that is there to catch it, and
/// with a witness.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_bad_strategies_are_invalid() {
    for name in ["no-coalescing", "lock-without-second-look", "lock-without-fence", "waiter-goes-to-origin"] {
        let judgement = run(&format!("chaos/regression/{name}.toml"), None).await;
        assert_eq!(judgement.exit_status(), 0, "{name}: {:#?}", judgement.verdicts);
        let caught = judgement.verdicts.iter().find(|verdict| verdict.outcome == Outcome::Invalid);
        let witness = caught.and_then(|verdict| verdict.witness.as_ref());
        assert!(witness.is_some(), "an invalid verdict shows its worst case: {caught:#?}");
    }
}

/// Goal: the same claim on the lock as it should be is valid, so that the verdict above is the strategy's and not the
/// judge's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lock_as_it_should_be_is_valid() {
    let judgement = run("chaos/ladder-quick.toml", Some(&["lock"])).await;
    assert_eq!(judgement.outcome, Outcome::Valid, "{:#?}", judgement.verdicts);
}

/// Goal: layers of every scope hold on a small fleet: the wait, rows that do not exist, the fleet without a lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_of_every_scope_are_valid() {
    let judgement = run("chaos/ladder-quick.toml", Some(&["swr-lock", "negative", "owner"])).await;
    assert_eq!(judgement.outcome, Outcome::Valid, "{:#?}", judgement.verdicts);
}

async fn run(file: &str, rungs: Option<&[&str]>) -> Judgement {
    let text = fs::read_to_string(root().join(file)).expect("the scenario is readable");
    let mut scenario = Scenario::parse(file, &text).expect("the scenario is right");
    let rungs = rungs.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    scenario.apply(&Overrides { nodes: Some(NODES), seed: None, rungs }).expect("the overrides fit");
    let folder = tempfile::tempdir().expect("a folder");
    let mut testbed = ProcessTestbed::new();
    let plan = Plan::new(scenario, file, &text, testbed.backend().as_str());
    let writer =
        Writer::create(&folder.path().join("run"), &plan.manifest()).expect("the run's folder is made");
    let spec = FleetSpec {
        nodes: NODES,
        origin_rows: 1_000,
        origin_pool: plan.scenario.fleet.origin_pool,
        state_dir: folder.path().join("state"),
        log_dir: folder.path().join("logs"),
        redis_replica: false,
        env: Vec::new(),
    };
    let listen = SocketAddr::new(testbed.control_listen(), 0);
    let control = ControlPlane::start(listen).await.expect("the control plane listens");
    let fleet = run::bring_up(&mut testbed, &spec, &control, &Silent).await.expect("the fleet comes up");
    let driven = run::drive(&plan, &fleet.endpoints, &control, Some(&mut testbed), writer, &Silent).await;
    testbed.down().await.expect("the fleet goes down cleanly");
    let finished = driven.expect("the run is driven to its end").finish().expect("the run is recorded");
    let history = Reader::open(&finished).and_then(Reader::load).expect("the run is readable");
    let scenario = herd_judge::scenario_of(&history.manifest).expect("the manifest's scenario is right");
    herd_judge::judge(&scenario, &history)
}
