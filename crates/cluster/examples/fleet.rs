//! Brings a fleet up, hurts it a little, and takes it down: the testbeds by hand, without an experiment.
//!
//! `cargo run -p herd-cluster --example fleet -- processes|compose|auto [NODES]`, or `-- stores` for the images of
//! Redis and PostgreSQL alone. Nothing serves the control plane here, so nodes do not join; they start all the same.

use herd_cluster::{choose, images};
use herd_experiment::testbed::{Endpoints, FleetSpec, Part, Progress, Signal, Testbed, TestbedError};
use std::{env, time::Instant};

struct Lines(Instant);

impl Progress for Lines {
    fn note(&self, line: &str) {
        println!("{:7.2} s  {line}", self.0.elapsed().as_secs_f64());
    }

    fn step(&self, what: &str, done: u64, total: u64) {
        println!("{:7.2} s  ... {what} {done}/{total}", self.0.elapsed().as_secs_f64());
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let backend = env::args().nth(1).unwrap_or_else(|| "auto".to_owned());
    let nodes = env::args().nth(2).map_or(Ok(3), |nodes| nodes.parse())?;
    let lines = Lines(Instant::now());
    if backend == "stores" {
        images::ensure(&[images::REDIS, images::POSTGRES], &lines).await?;
        lines.note("the images are there");
        return Ok(());
    }
    let mut testbed = choose(backend.parse()?, &lines).await?;
    let folder = env::temp_dir().join("herdproof-example");
    let spec = FleetSpec {
        nodes,
        origin_rows: 100_000,
        origin_pool: 16,
        state_dir: folder.join("state"),
        log_dir: folder.join("logs"),
        redis_replica: false,
        postgres: false,
        observe: false,
        env: Vec::new(),
        discovery: None,
    };
    // A port on which nobody listens.
    let up = testbed.up(&spec, 9, &lines).await;
    let tried = match up {
        Ok(endpoints) => play(testbed.as_mut(), &endpoints, &lines).await,
        Err(error) => Err(error),
    };
    lines.note("taking it down");
    let down = testbed.down().await;
    lines.note("down");
    tried?;
    Ok(down?)
}

async fn play(testbed: &mut dyn Testbed, endpoints: &Endpoints, lines: &Lines) -> Result<(), TestbedError> {
    lines.note(&format!("up: {endpoints:#?}"));
    for part in [Part::CacheNode, Part::Edge, Part::Origin, Part::LockService, Part::Redis] {
        let memory = testbed.resident_memory(part).await?;
        let megabytes = memory.iter().sum::<u64>() as f64 / 1e6 / memory.len().max(1) as f64;
        lines.note(&format!("{part}: {} run, {megabytes:.1} MB each", memory.len()));
    }
    for signal in [Signal::Pause, Signal::Resume, Signal::Kill, Signal::Start, Signal::Stop, Signal::Start] {
        for (part, index) in [(Part::CacheNode, 1), (Part::Redis, 0)] {
            testbed.signal(part, index, signal).await?;
            lines.note(&format!("{signal:?} {part} {index}"));
        }
        let failures = testbed.failures().await;
        lines.note(&format!("{} parts failed: {failures:?}", failures.len()));
    }
    lines.note(&format!("still at {:?}", testbed.endpoints().map(|endpoints| endpoints.edge_grpc)));
    Ok(())
}
