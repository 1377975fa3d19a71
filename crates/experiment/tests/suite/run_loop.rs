use crate::{
    fake_testbed::FakeTestbed,
    fakes::{Fakes, Truth, fleet_spec},
};
use herd_experiment::{
    control::ControlPlane,
    run::{self, Plan, RunError},
    testbed::{Progress, Silent, Testbed},
};
use herd_history::{History, Outcome, Reader, StartRecord, Writer};
use herd_scenario::Scenario;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Mutex,
    time::Duration,
};

/// Longer than anything here takes, shorter than a person's patience.
const LIMIT: Duration = Duration::from_secs(20);

const SCENARIO: &str = r#"
name = "fake"
hypothesis = "The run loop records what a fleet did."
seed = 3
[fleet]
nodes = 3
[origin]
model = "fixed"
latency_ms = 5
[workload]
keys = 1
popularity = "one"
rate_per_s = 200
boundaries = 1
[policy]
ttl_ms = 50
[[rung]]
name = "first"
layers = []
[[rung]]
name = "second"
layers = ["single-flight"]
[[claim]]
property = "every_request_answered"
"#;

/// The scenario of these tests, changed.
pub(crate) fn plan_with(change: impl FnOnce(&mut Scenario)) -> Plan {
    let mut scenario = Scenario::parse("fake.toml", SCENARIO).expect("the scenario is right");
    change(&mut scenario);
    Plan::new(scenario, "fake.toml", SCENARIO, "processes")
}

/// Drives the plan over a fleet of three that was changed before, and reads what was recorded.
pub(crate) async fn drive(plan: &Plan, change: impl FnOnce(&mut Truth)) -> (History, Fakes) {
    let (history, testbed) = hurt(plan, |testbed| change(&mut testbed.fakes.truth())).await;
    (history, testbed.fakes.clone())
}

/// The same; the testbed as it is afterwards.
pub(crate) async fn hurt(plan: &Plan, change: impl FnOnce(&mut FakeTestbed)) -> (History, FakeTestbed) {
    over(plan, change, Hands::Ours).await
}

/// The same over a fleet that others brought up: there is no testbed to do anything with.
pub(crate) async fn attend(plan: &Plan) -> (History, FakeTestbed) {
    over(plan, |_| {}, Hands::None).await
}

enum Hands {
    Ours,
    None,
}

async fn over(plan: &Plan, change: impl FnOnce(&mut FakeTestbed), hands: Hands) -> (History, FakeTestbed) {
    let folder = tempfile::tempdir().unwrap();
    let (control, mut testbed) = (control().await, FakeTestbed::new(3));
    change(&mut testbed);
    let writer = Writer::create(&folder.path().join("run"), &plan.manifest()).unwrap();
    let fleet = run::bring_up(&mut testbed, &fleet_spec(3), &control, &Silent).await.unwrap();
    let held: Option<&mut dyn Testbed> = match hands {
        Hands::Ours => Some(&mut testbed),
        Hands::None => None,
    };
    let driven = run::drive(plan, &fleet.endpoints, &control, held, writer, &Silent).await;
    // Whatever a rung hid or ended is there again, and the edge hears of it.
    let all = "the edge to know three nodes again";
    control.wait_membership(LIMIT).await.expect(all);
    assert_eq!(testbed.fakes.truth().members.len(), 3, "{all}");
    testbed.down().await.unwrap();
    let dir = driven.unwrap().finish().unwrap();
    (Reader::open(&dir).unwrap().load().unwrap(), testbed)
}

async fn control() -> ControlPlane {
    ControlPlane::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap()
}

/// Each rung is driven under its own configuration and prefix, and the folder holds all that happened: every operation, and
/// every rebuild of the ledger in exactly one rung.
#[tokio::test]
async fn rungs_are_driven_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, control, mut testbed) = (plan_with(|_| {}), control().await, FakeTestbed::new(3));
    let writer = Writer::create(&folder.path().join("run"), &plan.manifest()).unwrap();
    let fleet = run::bring_up(&mut testbed, &fleet_spec(3), &control, &Silent).await.unwrap();
    assert_eq!(fleet.nodes_joined, 3);
    let writer =
        run::drive(&plan, &fleet.endpoints, &control, Some(&mut testbed), writer, &Silent).await.unwrap();
    let dir = writer.finish().unwrap();
    assert_eq!(testbed.fakes.truth().latency.median_ms, 5);
    testbed.down().await.unwrap();
    assert_eq!(testbed.downs, 1);

    let history = Reader::open(&dir).unwrap().load().unwrap();
    assert_eq!(history.rungs.len(), 2);
    let mut next_seq = 1;
    for (rung, version) in history.rungs.iter().zip(1..) {
        let record = &rung.record;
        assert_eq!((record.nodes_joined, record.nodes_acknowledged, record.config_version), (3, 3, version));
        assert_eq!(record.notes, Vec::<String>::new());
        assert_eq!((&record.start, record.membership_changed), (&StartRecord::Warm, Some(false)));
        assert_eq!(rung.operations.len() as u64, record.load.sent);
        let as_told = |row: &herd_history::OperationRecord| {
            row.outcome == Outcome::Answered && row.config_version == version
        };
        assert!(rung.operations.iter().all(as_told));
        // The fake rebuilds at each request, and once more when the key is warmed.
        assert_eq!(rung.ledger.len(), rung.operations.len() + 1);
        assert!(
            rung.ledger.iter().all(|row| row.cache_key.starts_with(&record.prefix) && row.end_seq.is_some())
        );
        assert_eq!(record.ledger.first_seq, next_seq);
        next_seq = record.ledger.last_seq + 1;
    }
    assert_ne!(history.rungs[0].record.prefix, history.rungs[1].record.prefix);
    let seqs = |rung: usize| {
        let mut drawn: Vec<u64> = history.rungs[rung].operations.iter().map(|row| row.intended_us).collect();
        drawn.sort_unstable();
        let start = history.rungs[rung].record.window_start_us;
        drawn.into_iter().map(|at| at - start).collect::<Vec<u64>>()
    };
    assert_eq!(seqs(0), seqs(1), "the load is the same for every rung");
}

/// Fewer nodes than asked for: the run goes on after a bounded wait and says so, it does not pass for whole.
#[tokio::test]
async fn a_fleet_that_is_too_small_is_told() {
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);
    impl Progress for Told {
        fn note(&self, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }
        fn step(&self, _: &str, _: u64, _: u64) {}
    }
    let (control, mut testbed, told) = (control().await, FakeTestbed::new(2), Told::default());
    let fleet = run::bring_up(&mut testbed, &fleet_spec(3), &control, &told).await.unwrap();
    assert_eq!(fleet.nodes_joined, 2);
    let told = told.0.lock().unwrap().join("\n");
    assert!(told.contains("2 nodes") && told.contains("of 3 nodes asked for"), "{told}");
    assert!(told.contains("exit status 64") && told.contains("bad settings"), "{told}");
}

/// Nobody at all is an error, with the reason why.
#[tokio::test]
async fn nobody_is_an_error() {
    let (control, mut testbed) = (control().await, FakeTestbed::new(0));
    let error = run::bring_up(&mut testbed, &fleet_spec(1), &control, &Silent).await.unwrap_err();
    assert!(matches!(&error, RunError::NobodyJoined { nodes: 0, edges: 1, .. }), "{error}");
    assert!(error.to_string().contains("bad settings"));
}
