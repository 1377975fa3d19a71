//! One rung: reconfigure, start, drive, read what the origin and the store recorded.

use super::{
    Plan, RunError,
    during::{self, Aftermath, Faults, Happened, Hidden},
    hands::Hands,
    start, writes,
};
use crate::{
    control::{ControlError, ControlPlane, Move, View},
    fleet_config,
    ledger::OriginLab,
    load::LoadOutcome,
    locks::LockLab,
    prewarm::AccessLog,
    testbed::{Endpoints, Progress},
};
use herd_history::{
    FaultRecord, InsertRecord, LedgerRow, LoadRecord, MembershipRecord, OperationRecord, RungRecord,
    StartRecord, StoreWriteRecord,
};
use herd_scenario::{Fault, KeyId, Rung};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is added to the deadline of a rebuild before the ledger is taken as it is.
const GRACE: Duration = Duration::from_secs(2);

pub(super) struct Stage<'a> {
    pub(super) plan: &'a Plan,
    pub(super) rung: &'a Rung,
    pub(super) endpoints: &'a Endpoints,
    pub(super) control: &'a ControlPlane,
    /// What faults are done with.
    pub(super) hands: &'a dyn Hands,
    /// The log that was given; without one a rung that needs it draws its own.
    pub(super) access_log: Option<&'a AccessLog>,
    pub(super) progress: &'a dyn Progress,
}

pub(super) struct Measured {
    pub(super) record: RungRecord,
    pub(super) load: Option<LoadOutcome>,
    pub(super) ledger: Vec<LedgerRow>,
    pub(super) writes: Vec<StoreWriteRecord>,
    pub(super) inserts: Vec<InsertRecord>,
    pub(super) faults: Vec<FaultRecord>,
}

impl Measured {
    pub(super) fn operations(&self) -> impl Iterator<Item = OperationRecord> + '_ {
        self.load.iter().flat_map(|load| load.operations.records())
    }
}

/// The fleet before the load and after it.
struct Seen {
    before: View,
    after: View,
    acknowledged: usize,
    /// Nodes that the rung begins with, if all are there.
    expected: u32,
}

/// A rung that was driven, before what others recorded of it is read.
struct Drove {
    prefix: String,
    version: u64,
    start: StartRecord,
    seen: Seen,
    load: Option<LoadOutcome>,
    happened: Happened,
    notes: Vec<String>,
}

impl Stage<'_> {
    /// The faults of this rung.
    pub(super) fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.plan.scenario.faults_of(&self.rung.name)
    }

    /// The rung, with the fleet whole again after it whatever happened.
    pub(super) async fn measure(
        &self,
        origin: &mut OriginLab,
        ledger_from: u64,
    ) -> Result<Measured, RunError> {
        // All that the scenario has, so that one that this rung is spared shows as 0.
        let names = self.plan.scenario.faults.iter().map(|fault| fault.name.as_str());
        let _shown = self.control.rung_begins(&self.rung.name, names);
        let faults = Faults::new(self);
        let driven = self.prepare_and_drive(origin, ledger_from, &faults).await;
        let Aftermath { notes, data_lost } = faults.end().await;
        let mut driven = driven?;
        driven.notes.extend(notes);
        self.read(driven, ledger_from, data_lost).await
    }

    async fn prepare_and_drive(
        &self,
        origin: &mut OriginLab,
        ledger_from: u64,
        faults: &Faults<'_>,
    ) -> Result<Drove, RunError> {
        let Self { plan, rung, control, .. } = *self;
        let mut notes = Vec::new();
        faults.prepare().await;
        let prefix = fleet_config::prefix(plan.started_us, &rung.name);
        // Also what a rung before this one may have left, or a lab before this one.
        origin.set_latency(fleet_config::latency(&plan.scenario.origin)).await?;
        origin.set_failures(0.0, 0).await?;
        origin.set_gate(fleet_config::origin_gate(rung)).await?;
        origin.set_stuck(0, 0).await?;
        if let Err(why) = self.right_clock().await {
            notes.push(format!("the lock service's clock could not be set right: {why}"));
        }
        self.make_absent(origin).await?;
        let version = self.reconfigure(&prefix, &mut notes).await?;
        let start = self.start(&mut notes).await?;
        let mut hidden = Hidden::none(control);
        let before = control.view();
        let acknowledged = before.nodes().filter(|node| node.config_version == version).count();
        let (load, happened) = if start::may_come(&start) {
            let moves = during::moves(self, &mut notes).await?;
            faults.prepare_store().await;
            let (load, happened) = self.drive(origin, ledger_from, &moves, &mut hidden, faults).await?;
            (Some(load), happened)
        } else {
            (None, Happened::default())
        };
        let seen = Seen { before, after: control.view(), acknowledged, expected: faults.nodes_at_start() };
        Ok(Drove { prefix, version, start, seen, load, happened, notes })
    }

    /// Reads what the origin and the store recorded of a rung that was driven.
    async fn read(&self, driven: Drove, ledger_from: u64, data_lost: bool) -> Result<Measured, RunError> {
        let Self { plan, rung, control, progress, .. } = *self;
        let Drove { prefix, version, start, seen, load, mut happened, mut notes } = driven;
        let endpoints = self.hands.endpoints();
        let mut origin = OriginLab::new(&endpoints.origin_grpc)?;
        progress.step(&format!("{}: reading the ledger", rung.name), 0, 0);
        let settle = Duration::from_millis(plan.scenario.policy.rebuild_deadline_ms.into()) + GRACE;
        let (rows, span) = origin.read_span(ledger_from, settle).await.unwrap_or_else(|error| {
            notes.push(format!("the ledger of this rung could not be read: {error}"));
            Default::default()
        });
        during::seen_in_ledger(&mut happened.faults, &rows, &plan.scenario.origin);
        let mut prefixes = vec![prefix.as_str()];
        prefixes.extend(happened.deploy.as_ref().map(|deploy| deploy.prefix.as_str()));
        let window_start_us = load.as_ref().map_or(u64::MAX, |load| load.window_start_us);
        let reading = writes::read(&endpoints.edge_grpc, &prefixes, window_start_us, &mut notes);
        let (writes, complete) = reading.await?;
        notes.append(&mut happened.notes);
        let mut record = self.record(&seen, start, load.as_ref(), notes);
        record.prefix = prefix;
        record.config_version = version;
        record.ledger = span;
        record.writes_complete = complete && !data_lost;
        record.membership = happened.membership;
        record.moved = moved(control, &seen);
        record.deploy = happened.deploy;
        self.tell(&record, rows.len());
        let Happened { faults, inserts, .. } = happened;
        Ok(Measured { record, load, ledger: rows, writes, inserts, faults })
    }

    /// What is known of the rung from the fleet and the generator; the rest is empty.
    fn record(
        &self,
        seen: &Seen,
        start: StartRecord,
        load: Option<&LoadOutcome>,
        mut notes: Vec<String>,
    ) -> RungRecord {
        let Seen { before, after, acknowledged, expected } = seen;
        let changed = after.nodes_moved != before.nodes_moved;
        if changed {
            let (was, is) = (before.nodes_joined(), after.nodes_joined());
            notes.push(format!("{}: {was} nodes before, {is} after", RungRecord::MEMBERSHIP_NOTE));
        }
        let now_us = unix_us();
        RungRecord {
            name: self.rung.name.clone(),
            layers: self.rung.layers.iter().map(ToString::to_string).collect(),
            prefix: String::new(),
            config_version: 0,
            window_start_us: load.map_or(now_us, |load| load.window_start_us),
            window_end_us: load.map_or(now_us, |load| load.window_end_us),
            nodes_expected: *expected,
            nodes_joined: before.nodes_joined(),
            nodes_acknowledged: u32::try_from(*acknowledged).unwrap_or(u32::MAX),
            nodes_joined_end: Some(after.nodes_joined()),
            membership_changed: Some(changed),
            start,
            membership: Vec::new(),
            moved: Vec::new(),
            deploy: None,
            writes_complete: false,
            load: load.map_or_else(LoadRecord::default, |load| load.record.clone()),
            ledger: herd_history::LedgerSpan::default(),
            notes,
        }
    }

    fn tell(&self, record: &RungRecord, rebuilds: usize) {
        let Self { progress, rung, .. } = self;
        let (sent, unsent) = (record.load.sent, record.load.unsent);
        progress.note(&format!(
            "{}: {sent} requests sent, {unsent} unsent, {rebuilds} rebuilds started at the origin",
            rung.name
        ));
        if let Some(deploy) = &record.deploy {
            progress.note(&format!("{}: deploy ({}): {}", rung.name, deploy.strategy, deploy.why));
        }
        record.notes.iter().for_each(|note| progress.note(&format!("{}: {note}", rung.name)));
    }

    /// Gives the fleet this rung's configuration. Members that do not take it in time are recorded.
    async fn reconfigure(&self, prefix: &str, notes: &mut Vec<String>) -> Result<u64, RunError> {
        let Self { plan, rung, control, progress, .. } = *self;
        let version = control.publish(fleet_config::of_rung(&plan.scenario, rung, prefix));
        progress.step(&format!("{}: switching to configuration {version}", rung.name), 0, 0);
        let nodes = control.view().nodes_joined();
        match control.wait_applied(version, nodes, crate::control::APPLY_LIMIT).await {
            Err(deadline @ ControlError::Deadline { .. }) => notes.push(deadline.to_string()),
            other => other?,
        }
        Ok(version)
    }

    /// A lab before this one may have ended while the clock ran fast.
    async fn right_clock(&self) -> Result<(), String> {
        LockLab::new(&self.hands.endpoints().lock_grpc)?.set_clock(1.0).await.map(drop)
    }

    /// Deletes what an earlier rung (or run) inserted: each rung begins with the same rows absent. Before the fleet hears
    /// the rung's configuration, so that a filter of existing keys that it turns on does not know them.
    async fn make_absent(&self, origin: &mut OriginLab) -> Result<(), RunError> {
        let workload = &self.plan.scenario.workload;
        if workload.insert_every_ms.is_some() {
            let absent = workload.key_name(KeyId::Absent(0));
            origin.delete_rows(absent.trim_end_matches(|c: char| c.is_ascii_digit())).await?;
        }
        Ok(())
    }
}

/// The nodes that came and went by themselves while the load ran.
fn moved(control: &ControlPlane, seen: &Seen) -> Vec<MembershipRecord> {
    let all = control.moves_since(seen.before.nodes_moved);
    let count = seen.after.nodes_moved.saturating_sub(seen.before.nodes_moved);
    let record = |Move { at_us, node, left }| MembershipRecord { at_us, node, left };
    all.into_iter().take(usize::try_from(count).unwrap_or(usize::MAX)).map(record).collect()
}

fn unix_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}
