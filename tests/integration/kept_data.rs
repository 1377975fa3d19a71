//! A Redis that was to come back empty and kept what it had: the fault is not confirmed, and the run is unknown.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use herd_cluster::processes::ProcessTestbed;
use herd_experiment::testbed::{
    Backend, Endpoints, FleetSpec, Part, PartFailure, PartState, Progress, RedisFault, RedisInfo, Signal,
    Testbed, TestbedError,
};
use herd_judge::Outcome;
use std::net::IpAddr;

use crate::experiment;

/// A fleet of real processes whose Redis keeps its file, whoever is told to remove it.
struct KeepsItsFile(ProcessTestbed);

impl Testbed for KeepsItsFile {
    fn backend(&self) -> Backend {
        self.0.backend()
    }

    fn control_listen(&self) -> IpAddr {
        self.0.control_listen()
    }

    fn lab_host(&self) -> &'static str {
        self.0.lab_host()
    }

    fn up<'a>(
        &'a mut self,
        spec: &'a FleetSpec,
        control_port: u16,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<Endpoints, TestbedError>> {
        self.0.up(spec, control_port, progress)
    }

    fn endpoints(&self) -> Option<Endpoints> {
        self.0.endpoints()
    }

    fn signal<'a>(
        &'a mut self,
        part: Part,
        index: u32,
        signal: Signal,
    ) -> BoxFuture<'a, Result<(), TestbedError>> {
        self.0.signal(part, index, signal)
    }

    fn state(&mut self, part: Part, index: u32) -> BoxFuture<'_, Result<PartState, TestbedError>> {
        self.0.state(part, index)
    }

    fn instance(&self, part: Part, index: u32) -> Option<String> {
        self.0.instance(part, index)
    }

    fn redis(&mut self, what: RedisFault) -> BoxFuture<'_, Result<(), TestbedError>> {
        if what == RedisFault::Wipe {
            return async { Ok(()) }.boxed();
        }
        self.0.redis(what)
    }

    fn redis_info(&mut self) -> BoxFuture<'_, Result<RedisInfo, TestbedError>> {
        self.0.redis_info()
    }

    fn note_faults(&mut self, in_force: &[String]) -> Result<(), TestbedError> {
        self.0.note_faults(in_force)
    }

    fn resident_memory(&mut self, part: Part) -> BoxFuture<'_, Result<Vec<u64>, TestbedError>> {
        self.0.resident_memory(part)
    }

    fn failures(&mut self) -> BoxFuture<'_, Vec<PartFailure>> {
        self.0.failures()
    }

    fn down(&mut self) -> BoxFuture<'_, Result<(), TestbedError>> {
        self.0.down()
    }
}

/// Goal: the number of keys would not tell: values that expired are fewer, and those that were filled again more. What Redis was told last
/// does, on a real Redis in a real fleet; the same scenario with a Redis that does lose its data is valid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_kept_its_data_makes_the_run_unknown() {
    let testbed = Box::new(KeepsItsFile(ProcessTestbed::new()));
    let rungs = Some(&["during-rebuild"][..]);
    let judgement = experiment::run(testbed, "chaos/regression/redis-empty.toml", Some(3), rungs).await;
    assert_eq!(judgement.outcome, Outcome::Unknown, "{:#?}", judgement.verdicts);
    let why: Vec<&str> = judgement.verdicts.iter().map(|verdict| verdict.why.as_str()).collect();
    assert!(
        why.iter().any(|why| why.contains("empty-once of redis was not seen to be repaired")),
        "{why:#?}"
    );
}
