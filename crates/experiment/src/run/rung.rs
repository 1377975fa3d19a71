//! One rung: reconfigure, warm, drive, read the ledger.

use super::{Plan, RunError};
use crate::{
    control::{ControlError, ControlPlane},
    fleet_config,
    ledger::OriginLab,
    load::{self, Live, LoadOutcome, LoadSpec, Operations},
    testbed::{Endpoints, Progress},
};
use futures::{StreamExt, stream};
use herd_history::{LedgerRow, RungRecord, StartRecord};
use herd_scenario::{KeyId, Rung};
use herd_wire::v1::{GetRequest, edge_client::EdgeClient};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tonic::{Request, transport::Endpoint};

/// How long members may take to apply a configuration.
const APPLY_LIMIT: Duration = Duration::from_secs(20);
/// Keys that are warmed, the most popular first; the rest starts cold, which is noted.
const WARM_KEYS_MAX: u32 = 1_000;
const WARM_AT_ONCE: usize = 16;
/// What is added to a deadline before the caller itself gives up.
const GRACE: Duration = Duration::from_secs(2);
/// How often the screen hears about the load.
const TELL_EVERY: Duration = Duration::from_millis(500);

pub(super) struct Stage<'a> {
    pub(super) plan: &'a Plan,
    pub(super) rung: &'a Rung,
    pub(super) endpoints: &'a Endpoints,
    pub(super) control: &'a ControlPlane,
    pub(super) progress: &'a dyn Progress,
}

pub(super) struct Measured {
    pub(super) record: RungRecord,
    pub(super) operations: Operations,
    pub(super) ledger: Vec<LedgerRow>,
}

impl Stage<'_> {
    pub(super) async fn measure(
        &self,
        origin: &mut OriginLab,
        ledger_from: u64,
    ) -> Result<Measured, RunError> {
        let Self { plan, rung, control, progress, .. } = *self;
        let mut notes = Vec::new();
        let prefix = fleet_config::prefix(plan.started_us, &rung.name);
        let version = self.reconfigure(&prefix, &mut notes).await?;
        self.warm(&mut notes).await?;
        let before = control.view();
        let acknowledged = before.nodes().filter(|node| node.config_version == version).count();
        let load = self.load().await?;
        let after = control.view();
        let changed = after.members_version != before.members_version;
        if changed {
            let (was, is) = (before.nodes_joined(), after.nodes_joined());
            notes.push(format!("{}: {was} nodes before, {is} after", RungRecord::MEMBERSHIP_NOTE));
        }
        progress.step(&format!("{}: reading the ledger", rung.name), 0, 0);
        let settle = Duration::from_millis(plan.scenario.policy.rebuild_deadline_ms.into()) + GRACE;
        let (rows, span) = origin.read_span(ledger_from, settle).await?;
        let summary = format!(
            "{}: {} requests sent, {} unsent, {} rebuilds started at the origin",
            rung.name,
            load.record.sent,
            load.record.unsent,
            rows.len(),
        );
        progress.note(&summary);
        notes.iter().for_each(|note| progress.note(&format!("{}: {note}", rung.name)));
        let record = RungRecord {
            name: rung.name.clone(),
            layers: rung.layers.iter().map(ToString::to_string).collect(),
            prefix,
            config_version: version,
            window_start_us: load.window_start_us,
            window_end_us: load.window_end_us,
            nodes_expected: plan.scenario.fleet.nodes,
            nodes_joined: before.nodes_joined(),
            nodes_acknowledged: u32::try_from(acknowledged).unwrap_or(u32::MAX),
            nodes_joined_end: Some(after.nodes_joined()),
            membership_changed: Some(changed),
            start: StartRecord::Warm,
            membership: Vec::new(),
            deploy: None,
            writes_complete: false,
            load: load.record,
            ledger: span,
            notes,
        };
        Ok(Measured { record, operations: load.operations, ledger: rows })
    }

    /// Gives the fleet this rung's configuration. Members that do not take it in time are recorded.
    async fn reconfigure(&self, prefix: &str, notes: &mut Vec<String>) -> Result<u64, RunError> {
        let Self { plan, rung, control, progress, .. } = *self;
        let version = control.publish(fleet_config::of_rung(&plan.scenario, rung, prefix));
        progress.step(&format!("{}: switching to configuration {version}", rung.name), 0, 0);
        let nodes = control.view().nodes_joined();
        match control.wait_applied(version, nodes, APPLY_LIMIT).await {
            Err(deadline @ ControlError::Deadline { .. }) => notes.push(deadline.to_string()),
            other => other?,
        }
        Ok(version)
    }

    /// Fills each key once, so that the window begins with fresh values: boundaries are what is measured, not the
    /// cold start.
    async fn warm(&self, notes: &mut Vec<String>) -> Result<(), RunError> {
        let Self { plan, rung, endpoints, progress, .. } = *self;
        let workload = &plan.scenario.workload;
        let address = |source| load::LoadError::Address { edge: endpoints.edge_grpc.clone(), source };
        let endpoint = Endpoint::from_shared(endpoints.edge_grpc.clone()).map_err(address)?.tcp_nodelay(true);
        let client = EdgeClient::new(endpoint.connect_timeout(GRACE).connect_lazy());
        let deadline_ms = workload.request_deadline_ms.max(plan.scenario.policy.rebuild_deadline_ms);
        let deadline = Duration::from_millis(deadline_ms.into());
        let keys = workload.keys.min(WARM_KEYS_MAX);
        progress.step(&format!("{}: warming {keys} keys", rung.name), 0, 0);
        let mut fills = stream::iter(0..keys)
            .map(|key| {
                let (mut client, key) = (client.clone(), workload.key_name(KeyId::Row(key)));
                async move {
                    let mut request = Request::new(GetRequest { key });
                    request.set_timeout(deadline);
                    match tokio::time::timeout(deadline + GRACE, client.get(request)).await {
                        Ok(Ok(_)) => None,
                        Ok(Err(status)) => Some(format!("{:?}: {}", status.code(), status.message())),
                        Err(_) => Some("no answer after the deadline".to_owned()),
                    }
                }
            })
            .buffer_unordered(WARM_AT_ONCE);
        let (mut failed, mut first) = (0_u32, None);
        while let Some(fill) = fills.next().await {
            failed += u32::from(fill.is_some());
            first = first.or(fill);
        }
        if let Some(first) = first {
            notes.push(format!("{failed} of {keys} keys could not be warmed; the first: {first}"));
        }
        if keys < workload.keys {
            notes.push(format!("{keys} of {} keys were warmed; the others began cold", workload.keys));
        }
        Ok(())
    }

    async fn load(&self) -> Result<LoadOutcome, RunError> {
        let Self { plan, rung, endpoints, progress, .. } = *self;
        let spec = LoadSpec {
            edge: endpoints.edge_grpc.clone(),
            workload: plan.scenario.workload.clone(),
            seed: plan.scenario.seed,
            window: plan.scenario.rung_duration(),
            connections: plan.connections,
            in_flight_max: plan.in_flight_max,
            keep_operations: true,
        };
        let (window, live) = (spec.window, Arc::new(Live::default()));
        let started = Instant::now();
        let mut load = std::pin::pin!(load::drive(spec, Arc::clone(&live)));
        let mut tell = tokio::time::interval(TELL_EVERY);
        loop {
            tokio::select! {
                outcome = &mut load => return Ok(outcome?),
                _ = tell.tick() => {
                    let now = live.look();
                    let what = format!(
                        "{}: {} sent, {} in flight, p99 {:.1} ms, {} errors",
                        rung.name, now.sent, now.in_flight, now.p99_us as f64 / 1e3, now.errors,
                    );
                    let total = window.as_millis() as u64;
                    progress.step(&what, (started.elapsed().as_millis() as u64).min(total), total);
                }
            }
        }
    }
}
