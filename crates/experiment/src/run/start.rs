//! How a rung's keys begin: warm, cold, or pre-warmed with a gate before the load.

use super::{RunError, rung::Stage};
use crate::{
    edge::EdgeLab,
    prewarm::{self, AccessLog, PrewarmSpec},
};
use futures::{StreamExt, stream};
use herd_history::StartRecord;
use herd_scenario::{KeyId, Start};
use std::time::{Duration, Instant};

/// Keys that are warmed, the most popular first; the rest starts cold, which is noted.
const WARM_KEYS_MAX: u32 = 10_000;
/// Keys that are filled at once: thousands of them shall be as nearly of one age as the origin allows.
const AT_ONCE_MAX: u32 = 256;
/// How long filling may take over the rebuild's own deadline; keys that are left then start cold.
const WARM_LIMIT: Duration = Duration::from_secs(60);

impl Stage<'_> {
    /// Does what the rung asks for before its window. What it could not do is noted.
    pub(super) async fn start(&self, notes: &mut Vec<String>) -> Result<StartRecord, RunError> {
        match self.rung.start {
            Start::Warm => {
                self.warm(notes).await?;
                Ok(StartRecord::Warm)
            }
            Start::Cold => Ok(StartRecord::Cold),
            Start::Prewarmed { top, hit_rate } => self.prewarm(top, hit_rate, notes).await,
        }
    }

    /// Fills each key once, so that the window begins with fresh values: boundaries are what is measured, not the
    /// cold start. Not by reads: those may lose patience, or be served what is not cached.
    async fn warm(&self, notes: &mut Vec<String>) -> Result<(), RunError> {
        let Self { plan, rung, progress, .. } = *self;
        let workload = &plan.scenario.workload;
        let edge = &EdgeLab::new(&self.endpoints.edge_grpc, self.fill_deadline())?;
        let keys = workload.keys.min(WARM_KEYS_MAX);
        let what = format!("{}: warming {keys} keys", rung.name);
        let mut fills = stream::iter(0..keys)
            .map(|key| edge.warm(workload.key_name(KeyId::Row(key)), String::new()))
            .buffer_unordered(self.fill_at_once());
        let (mut done, mut failed, mut first) = (0_u32, 0_u32, None);
        let limit = tokio::time::Instant::from_std(Instant::now() + self.fill_deadline() + WARM_LIMIT);
        while let Ok(Some(fill)) = tokio::time::timeout_at(limit, fills.next()).await {
            done += 1;
            if let Err(status) = fill {
                failed += 1;
                first.get_or_insert_with(|| format!("{:?}: {}", status.code(), status.message()));
            }
            progress.step(&what, done.into(), keys.into());
        }
        if let Some(first) = first {
            notes.push(format!("{failed} of {keys} keys could not be warmed; the first: {first}"));
        }
        if done < workload.keys {
            notes.push(format!("{done} of {} keys were warmed; the others began cold", workload.keys));
        }
        Ok(())
    }

    async fn prewarm(
        &self,
        top: u32,
        hit_rate: f64,
        notes: &mut Vec<String>,
    ) -> Result<StartRecord, RunError> {
        let Self { plan, rung, progress, .. } = *self;
        let scenario = &plan.scenario;
        let log = match self.access_log {
            Some(log) => log.clone(),
            None => AccessLog::drawn(&scenario.workload, scenario.seed),
        };
        let spec = PrewarmSpec {
            edge: self.endpoints.edge_grpc.clone(),
            log,
            top,
            hit_rate,
            deadline: self.fill_deadline(),
            at_once: self.fill_at_once(),
        };
        let report = prewarm::run(&spec, progress).await?;
        if !report.opened {
            notes.push(format!("the pre-warm gate stayed shut, so no load was driven: {}", report.why));
        }
        progress.note(&format!("{}: pre-warm gate: {}", rung.name, report.why));
        Ok(report.record())
    }

    /// Deadline of one fill.
    pub(super) fn fill_deadline(&self) -> Duration {
        let scenario = &self.plan.scenario;
        let deadline_ms = scenario.workload.request_deadline_ms.max(scenario.policy.rebuild_deadline_ms);
        Duration::from_millis(deadline_ms.into())
    }

    /// Fills under way at once: as many as the rung's own gates let through, since what they refuse would begin cold.
    pub(super) fn fill_at_once(&self) -> usize {
        let gates = self.rung.shed.map(|shed| [shed.edge, shed.origin]);
        let gates = gates.into_iter().flatten().flatten().map(|gate| gate.in_flight_max);
        gates.fold(AT_ONCE_MAX, u32::min) as usize
    }
}

/// Whether the load may come.
pub(super) const fn may_come(start: &StartRecord) -> bool {
    !matches!(start, StartRecord::Prewarmed { opened: false, .. })
}
