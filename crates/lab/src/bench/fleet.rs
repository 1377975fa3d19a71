//! What a fleet of local processes costs: its start, its memory, and how punctual the generator is beside it.

use super::hit_path::{self, HitPath};
use anyhow::Context;
use herd_cluster::processes::ProcessTestbed;
use herd_experiment::control::ControlPlane;
use herd_experiment::load::{self, Live, LoadSpec};
use herd_experiment::run::{self, Fleet};
use herd_experiment::testbed::{FleetSpec, Part, Progress, Testbed};
use herd_scenario::Workload;
use herd_wire::v1;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The load on the fleet: the default ladder's rate.
pub(super) const RATE_PER_S: u32 = 1_500;
/// How long that load lasts.
const LOADED_FOR: Duration = Duration::from_secs(10);
/// The freshness of the hot key while memory is measured: a few boundaries fall into the load.
const TTL_LOADED_MS: u32 = 2_000;
/// The freshness of the hot key on the hit path: it never expires while it is measured.
const TTL_HIT_PATH_MS: u32 = 3_600_000;

/// A fleet's figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct FleetFigures {
    pub(super) ready_seconds: f64,
    pub(super) idle_rss_mb: f64,
    pub(super) loaded_rss_mb: f64,
    pub(super) lag_p50_ms: f64,
    pub(super) lag_p99_ms: f64,
}

/// Brings `nodes` nodes up, looks at their memory, loads them, looks again.
///
/// # Errors
/// The fleet did not come up or no load could be driven.
pub(super) async fn measure(nodes: u32, progress: &dyn Progress) -> anyhow::Result<FleetFigures> {
    let mut bench = Bench::up(nodes, TTL_LOADED_MS, Vec::new(), progress).await?;
    let figures = bench.figures(progress).await;
    bench.testbed.down().await?;
    figures
}

/// A warm key through one edge and one node, beside the echo over as many processes.
///
/// # Errors
/// The fleet did not come up or a request failed.
pub(super) async fn hit_path(progress: &dyn Progress) -> anyhow::Result<HitPath> {
    let mut bench = Bench::hit_path(Vec::new(), progress).await?;
    progress.step("the hit path beside a bare echo", 0, 0);
    let measured = hit_path::measure(&bench.fleet.endpoints.edge_grpc, "item-1").await;
    bench.testbed.down().await?;
    measured
}

/// A fleet under measurement.
pub(super) struct Bench {
    testbed: ProcessTestbed,
    fleet: Fleet,
    _control: ControlPlane,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// One node whose keys never expire while it is measured, with an environment of its own.
    ///
    /// # Errors
    /// It did not come up.
    pub(super) async fn hit_path(
        env: Vec<(String, String)>,
        progress: &dyn Progress,
    ) -> anyhow::Result<Self> {
        Self::up(1, TTL_HIT_PATH_MS, env, progress).await
    }

    /// Where its edge is.
    pub(super) fn edge(&self) -> &str {
        &self.fleet.endpoints.edge_grpc
    }

    /// Takes it down.
    ///
    /// # Errors
    /// Something is left.
    pub(super) async fn down(&mut self) -> anyhow::Result<()> {
        Ok(self.testbed.down().await?)
    }

    async fn up(
        nodes: u32,
        ttl_ms: u32,
        env: Vec<(String, String)>,
        progress: &dyn Progress,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let spec = FleetSpec {
            nodes,
            origin_rows: 100_000,
            origin_pool: 16,
            state_dir: crate::place::state_dir(),
            log_dir: folder.path().join("logs"),
            redis_replica: false,
            postgres: false,
            env,
            discovery: None,
            observe: false,
        };
        let mut testbed = ProcessTestbed::new();
        let control = ControlPlane::start(SocketAddr::new(testbed.control_listen(), 0)).await?;
        let up = async {
            let fleet = run::bring_up(&mut testbed, &spec, &control, progress).await?;
            let version = control.publish(config(ttl_ms));
            control.wait_applied(version, nodes, herd_experiment::control::APPLY_LIMIT).await?;
            anyhow::Ok(fleet)
        };
        match up.await {
            Ok(fleet) => Ok(Self { testbed, fleet, _control: control, _folder: folder }),
            Err(error) => {
                testbed.down().await?;
                Err(error)
            }
        }
    }

    async fn figures(&mut self, progress: &dyn Progress) -> anyhow::Result<FleetFigures> {
        let idle_rss_mb = self.node_memory_mb().await?;
        progress.step("the fleet under load", 0, 0);
        let workload = Workload { rate_per_s: RATE_PER_S, ..Workload::default() };
        let spec = LoadSpec::new(self.fleet.endpoints.edge_grpc.clone(), workload, 1, LOADED_FOR);
        let outcome = load::drive(spec, Arc::new(Live::default())).await?;
        #[expect(clippy::cast_precision_loss, reason = "microseconds of lag are small")]
        let ms = |us: u64| us as f64 / 1e3;
        Ok(FleetFigures {
            ready_seconds: self.fleet.ready_after.as_secs_f64(),
            idle_rss_mb,
            loaded_rss_mb: self.node_memory_mb().await?,
            lag_p50_ms: ms(outcome.record.lag_p50_us),
            lag_p99_ms: ms(outcome.record.lag_p99_us),
        })
    }

    /// The median node's resident memory, megabytes of 1,000,000 bytes.
    async fn node_memory_mb(&mut self) -> anyhow::Result<f64> {
        let mut bytes = self.testbed.resident_memory(Part::CacheNode).await?;
        bytes.sort_unstable();
        let median = bytes.get(bytes.len() / 2).context("no node runs")?;
        #[expect(clippy::cast_precision_loss, reason = "a process has far less than 2^52 bytes")]
        let megabytes = *median as f64 / 1e6;
        Ok(megabytes)
    }
}

/// Single-flight without a lock: the lock service plays no part in what is measured here.
fn config(ttl_ms: u32) -> v1::FleetConfig {
    let policy = v1::PolicyConfig {
        ttl_ms,
        rebuild_deadline_ms: 10_000,
        coalescing: v1::Coalescing::SingleFlight.into(),
        flight_second_look: true,
        write_guard: v1::WriteGuard::Fenced.into(),
        ..v1::PolicyConfig::default()
    };
    v1::FleetConfig {
        version: 0,
        key_prefix: "bench:".into(),
        routing: v1::Routing::Spread.into(),
        policy: Some(policy),
        edge_gate: None,
        ..v1::FleetConfig::default()
    }
}
