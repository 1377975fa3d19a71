//! What happens while a rung's load runs: the load itself, and beside it what the scenario asks for (a failing or
//! slow origin, faults, inserted and changed rows, a deploy, changes of the membership). Times are counted from the start of the load's window; nothing
//! begins after its end.

mod deploy;
mod failing;
pub(super) mod faults;
mod fill;
mod inserts;
mod membership;
mod slow;
mod updates;

pub(super) use faults::{Aftermath, Faults};
pub(super) use membership::{Hidden, Move, moves};

use super::{RunError, rung::Stage};
use crate::{
    ledger::OriginLab,
    load::{self, Live, LoadOutcome, LoadSpec, WindowStart},
};
use herd_history::{DeployRecord, FaultRecord, InsertRecord, LedgerRow, MembershipRecord};
use herd_scenario::Origin;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How often the screen hears about the load.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// What happened beside the load.
#[derive(Debug, Default)]
pub(super) struct Happened {
    pub(super) faults: Vec<FaultRecord>,
    pub(super) inserts: Vec<InsertRecord>,
    pub(super) deploy: Option<DeployRecord>,
    pub(super) membership: Vec<MembershipRecord>,
    pub(super) notes: Vec<String>,
}

/// The window of a load that runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    start: WindowStart,
    end: Instant,
}

impl Window {
    fn new(start: WindowStart, length: Duration) -> Self {
        Self { start, end: start.at + length }
    }

    /// Waits until so long after the start. False: the window ends before, at which it returns.
    async fn reach(&self, after: Duration) -> bool {
        self.reach_at(self.start.at + after).await
    }

    /// Waits for so long. False: the window ends before, at which it returns.
    async fn spend(&self, time: Duration) -> bool {
        self.reach_at(Instant::now() + time).await
    }

    async fn reach_at(&self, at: Instant) -> bool {
        tokio::time::sleep_until(at.min(self.end).into()).await;
        at < self.end
    }

    async fn reach_ms(&self, after_ms: u32) -> bool {
        self.reach(Duration::from_millis(after_ms.into())).await
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Unix microseconds now, by the clock that the window's start was taken from.
    fn now_us(&self) -> u64 {
        let since = self.start.at.elapsed().as_micros();
        self.start.unix_us.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

/// Adds to the faults what the ledger saw of them.
pub(super) fn seen_in_ledger(steps: &mut Vec<FaultRecord>, rows: &[LedgerRow], origin: &Origin) {
    failing::seen_in_ledger(steps, rows);
    slow::seen_in_ledger(steps, rows, origin);
}

impl Stage<'_> {
    /// Drives the load of a rung and what belongs beside it, until both have ended.
    pub(super) async fn drive(
        &self,
        origin: &OriginLab,
        ledger_from: u64,
        moves: &[Move],
        hidden: &mut Hidden<'_>,
        faults: &Faults<'_>,
    ) -> Result<(LoadOutcome, Happened), RunError> {
        let spec = self.load_spec();
        let (length, live) = (spec.window, Arc::new(Live::default()));
        let (scenario, name) = (&self.plan.scenario, &self.rung.name);
        let expected = scenario.reads_expected(name, length.as_secs_f64()) as u64;
        let arrivals = scenario.arrivals(name);
        let mut load = std::pin::pin!(load::drive_arrivals(spec, arrivals, expected, Arc::clone(&live)));
        let beside = async {
            let window = Window::new(live.began().await, length);
            let beside = self.beside(window, origin, ledger_from, moves, hidden);
            // The faults last longer: until the fleet works again.
            let (happened, steps) = futures::join!(beside, faults.happen(window, &live, ledger_from));
            happened.map(|mut happened| {
                happened.faults.extend(steps);
                happened
            })
        };
        let mut beside = std::pin::pin!(beside);
        let (mut outcome, mut happened) = (None, None);
        let mut tell = tokio::time::interval(TELL_EVERY);
        let started = Instant::now();
        loop {
            tokio::select! {
                ended = &mut load, if outcome.is_none() => outcome = Some(ended?),
                ended = &mut beside, if happened.is_none() => happened = Some(ended?),
                _ = tell.tick() => self.show(&live, started.elapsed(), length),
            }
            match (outcome, happened) {
                (Some(outcome), Some(happened)) => return Ok((outcome, happened)),
                unfinished => (outcome, happened) = unfinished,
            }
        }
    }

    async fn beside(
        &self,
        window: Window,
        origin: &OriginLab,
        ledger_from: u64,
        moves: &[Move],
        hidden: &mut Hidden<'_>,
    ) -> Result<Happened, RunError> {
        let failing = Box::pin(failing::fail(self, window, origin.clone()));
        let slow = Box::pin(slow::slow(self, window, origin.clone()));
        let inserts = inserts::insert(self, window);
        let updates = updates::update(self, window, origin.clone());
        let deploy = Box::pin(deploy::deploy(self, window, origin.clone(), ledger_from));
        let membership = membership::move_about(window, moves, hidden);
        let (mut faults, slow, inserts, updated, deploy, (membership, mut notes)) =
            futures::join!(failing, slow, inserts, updates, deploy, membership);
        faults.extend(slow);
        notes.extend(updated);
        Ok(Happened { faults, inserts: inserts?, deploy: deploy?, membership, notes })
    }

    fn load_spec(&self) -> LoadSpec {
        let Self { plan, rung, endpoints, .. } = *self;
        let mut workload = plan.scenario.workload.clone();
        workload.retry = rung.retry.unwrap_or(workload.retry);
        LoadSpec {
            edge: endpoints.edge_grpc.clone(),
            workload,
            seed: plan.scenario.seed,
            window: plan.scenario.rung_duration(),
            connections: plan.connections,
            in_flight_max: plan.in_flight_max,
            keep_operations: true,
        }
    }

    fn show(&self, live: &Live, elapsed: Duration, length: Duration) {
        let now = live.look();
        let what = format!(
            "{}: {} sent, {} again, {} in flight, p99 {:.1} ms, {} errors",
            self.rung.name,
            now.sent,
            now.again,
            now.in_flight,
            now.p99_us as f64 / 1e3,
            now.errors,
        );
        let total = length.as_millis() as u64;
        self.progress.step(&what, (elapsed.as_millis() as u64).min(total), total);
    }
}
