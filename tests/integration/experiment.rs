//! A shipped scenario from its file to its judgement, on a testbed of the test's choice.

use crate::architecture::root;
use crate::turn;
use herd_experiment::{
    control::ControlPlane,
    run::{self, Plan},
    testbed::{FleetSpec, Silent, Testbed},
};
use herd_history::{Reader, Writer};
use herd_judge::Judgement;
use herd_scenario::{Overrides, Scenario};
use std::{fs, net::SocketAddr};

/// Drives and judges a scenario; without `nodes` on as many as it asks for, without `rungs` all of it.
pub(crate) async fn run(
    mut testbed: Box<dyn Testbed>,
    file: &str,
    nodes: Option<u32>,
    rungs: Option<&[&str]>,
) -> Judgement {
    let text = fs::read_to_string(root().join(file)).expect("the scenario is readable");
    let mut scenario = Scenario::parse(file, &text).expect("the scenario is right");
    let rungs = rungs.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    scenario.apply(&Overrides { nodes, seed: None, rungs }).expect("the overrides fit");
    let folder = tempfile::tempdir().expect("a folder");
    let plan = Plan::new(scenario, file, &text, testbed.backend().as_str());
    let writer =
        Writer::create(&folder.path().join("run"), &plan.manifest()).expect("the run's folder is made");
    let spec = FleetSpec {
        nodes: plan.scenario.fleet.nodes,
        origin_rows: 1_000,
        origin_pool: plan.scenario.fleet.origin_pool,
        state_dir: folder.path().join("state"),
        log_dir: folder.path().join("logs"),
        redis_replica: false,
        postgres: false,
        observe: false,
        env: Vec::new(),
        discovery: None,
    }
    .with_faults_of(&plan.scenario);
    let _turn = turn::taken().await;
    let listen = SocketAddr::new(testbed.control_listen(), 0);
    let control = ControlPlane::start(listen).await.expect("the control plane listens");
    let fleet = run::bring_up(testbed.as_mut(), &spec, &control, &Silent).await.expect("the fleet comes up");
    let driven = run::drive(&plan, &fleet.endpoints, &control, Some(&mut *testbed), writer, &Silent).await;
    testbed.down().await.expect("the fleet goes down cleanly");
    let finished = driven.expect("the run is driven to its end").finish().expect("the run is recorded");
    let history = Reader::open(&finished).and_then(Reader::load).expect("the run is readable");
    let scenario = herd_judge::scenario_of(&history.manifest).expect("the manifest's scenario is right");
    herd_judge::judge(&scenario, &history)
}
