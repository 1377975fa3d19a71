//! The faults of a rung: each waits for its time, chooses its targets, is injected, confirmed by a witness, held, repaired, and
//! its repair confirmed.
//!
//! What is in force is known as data ([`undo::Undo`]) from before it is injected until after it is undone, so that a rung that
//! fails in between leaves a whole fleet to the next ([`Faults::end`]); and it is noted on disk, so that whoever sweeps up after
//! a crash of the lab can tell what it undid.
//!
//! Map: `turn` one fault from its time to its recovery · `select` who is hit · `witness` waiting for rebuilds and leases ·
//! `kinds` what each kind does and how it is seen · `health` whether a part works again · `undo` what is in force · `steps` what
//! is recorded.

mod health;
mod kinds;
mod links;
mod select;
mod steps;
#[cfg(test)]
mod tests;
mod turn;
mod undo;
mod witness;

use super::Window;
use crate::{
    ledger::OriginLab,
    load::Live,
    locks::LockLab,
    run::{hands::Hands, rung::Stage},
    testbed::{Part, RedisFault, Signal},
};
use futures::future::join_all;
use herd_history::FaultRecord;
use herd_scenario::{FaultAction, FaultPart, Layer};
use links::BadLinks;
use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};
use undo::{InForce, Undo};

/// How often something that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long what was repaired may take to work again.
const RECOVER_LIMIT: Duration = Duration::from_secs(30);
/// How long a whole fleet is waited for at the end of a rung: this, and for each node [`WHOLE_PER_NODE`].
const WHOLE_LIMIT: Duration = Duration::from_secs(20);
const WHOLE_PER_NODE: Duration = Duration::from_millis(200);
/// Notes that are kept.
const NOTES_MAX: usize = 100;

/// The faults of one rung.
pub(in crate::run) struct Faults<'a> {
    stage: &'a Stage<'a>,
    in_force: InForce,
    links: BadLinks,
    /// Cache nodes that were joined before anything was done.
    nodes_before: u32,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    notes: Vec<String>,
    data_lost: bool,
    /// Why the replica could not be kept behind, if it could not.
    not_detached: Option<String>,
}

/// What a rung with faults leaves to be recorded.
#[derive(Debug, Default)]
pub(in crate::run) struct Aftermath {
    pub(in crate::run) notes: Vec<String>,
    /// Redis lost data, and with it a part of its record of writes.
    pub(in crate::run) data_lost: bool,
}

impl<'a> Faults<'a> {
    pub(in crate::run) fn new(stage: &'a Stage<'a>) -> Self {
        Self {
            stage,
            in_force: InForce::default(),
            links: BadLinks::default(),
            nodes_before: stage.control.view().nodes_joined(),
            kept: Mutex::default(),
        }
    }

    /// How many cache nodes the rung begins with.
    pub(in crate::run) fn nodes_at_start(&self) -> u32 {
        let all = self.stage.plan.scenario.fleet.nodes;
        let of = |action: &FaultAction| match action {
            FaultAction::ScaleOut { from } => Some(*from),
            _ => None,
        };
        self.stage.faults().filter_map(|fault| of(&fault.action)).fold(all, u32::min)
    }

    /// What has to be done before the rung begins: nodes that are to come later are stopped.
    pub(in crate::run) async fn prepare(&self) {
        let (all, from) = (self.stage.plan.scenario.fleet.nodes, self.nodes_at_start());
        if from == all {
            return;
        }
        let indices: Vec<u32> = (from..all).collect();
        let words = format!("{} cache nodes are stopped until the fleet is scaled out", indices.len());
        let undo = Undo::Signal { part: Part::CacheNode, indices: indices.clone(), signal: Signal::Start };
        self.in_force.add(undo, vec![words]);
        self.journal().await;
        let stopped = self.stage.hands.signal(Part::CacheNode, &indices, Signal::Stop).await;
        let gone = self.stage.control.wait_until("the surplus nodes to leave", RECOVER_LIMIT, |view| {
            view.nodes_joined() <= from && view.is_membership_applied()
        });
        match stopped {
            Ok(()) => {
                if let Err(deadline) = gone.await {
                    self.note(deadline.to_string());
                }
            }
            Err(why) => self.note(format!("the surplus nodes were not stopped: {why}")),
        }
    }

    /// What has to be done just before the load begins: the replica that is to be promoted stops hearing its primary, so that
    /// it has the rung's values and none of its leases.
    pub(in crate::run) async fn prepare_store(&self) {
        let promotes = |action: &FaultAction| matches!(action, FaultAction::RedisPromote);
        if self.stage.faults().any(|fault| promotes(&fault.action))
            && let Err(why) = self.stage.hands.redis(RedisFault::Detach).await
        {
            self.kept().not_detached = Some(why);
        }
    }

    /// Lets them happen beside a load; the steps that were taken, in order of time.
    pub(super) async fn happen(&self, window: Window, live: &Live, ledger_from: u64) -> Vec<FaultRecord> {
        let ground = Ground { faults: self, window, live, ledger_from };
        let all = self.stage.faults().map(|fault| turn::all_turns(ground, fault));
        let mut steps: Vec<FaultRecord> = join_all(all).await.into_iter().flatten().collect();
        steps.sort_by_key(|step| (step.at_us, step.phase));
        steps
    }

    /// Undoes whatever is still in force and waits for the whole fleet, bounded: the next rung shall not begin with what this
    /// one left. Also called where the rung failed.
    pub(in crate::run) async fn end(&self) -> Aftermath {
        let left = self.in_force.take();
        let hurt = self.stage.faults().next().is_some();
        for held in left {
            if let Err(why) = held.undo.apply(self).await {
                self.note(format!("could not be undone ({}): {why}", held.words.join(", ")));
            }
        }
        if hurt {
            self.journal().await;
            self.whole_fleet().await;
        }
        let mut kept = self.kept();
        Aftermath { notes: std::mem::take(&mut kept.notes), data_lost: kept.data_lost }
    }

    async fn whole_fleet(&self) {
        let control = self.stage.control;
        let version = control.view().config_version;
        let limit = WHOLE_LIMIT + WHOLE_PER_NODE * self.nodes_before;
        if let Err(deadline) = control.wait_applied(version, self.nodes_before, limit).await {
            self.note(format!("the fleet is not whole after the faults: {deadline}"));
        }
    }

    async fn journal(&self) {
        if let Err(why) = self.stage.hands.note_faults(&self.in_force.words()).await {
            self.note(format!("what is in force could not be noted on disk: {why}"));
        }
    }

    fn note(&self, note: String) {
        let mut kept = self.kept();
        if kept.notes.len() < NOTES_MAX && !kept.notes.contains(&note) {
            kept.notes.push(note);
        }
    }

    fn lost_data(&self, how: &str) {
        self.kept().data_lost = true;
        self.note(format!("{how}: the store's record of writes is not whole"));
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nothing panics while it holds the notes")
    }
}

/// Where and when a fault happens.
#[derive(Clone, Copy)]
struct Ground<'a> {
    faults: &'a Faults<'a>,
    window: Window,
    live: &'a Live,
    ledger_from: u64,
}

impl<'a> Ground<'a> {
    fn stage(&self) -> &'a Stage<'a> {
        self.faults.stage
    }

    fn hands(&self) -> &'a dyn Hands {
        self.stage().hands
    }

    fn origin(&self) -> Result<OriginLab, String> {
        OriginLab::new(&self.hands().endpoints().origin_grpc).map_err(|error| error.to_string())
    }

    fn locks(&self) -> Result<LockLab, String> {
        LockLab::new(&self.hands().endpoints().lock_grpc)
    }

    fn has_lock(&self) -> bool {
        self.stage().rung.has(Layer::Lock)
    }
}

/// Looks again and again until a time: at once at first, at least once.
struct Looks {
    until: Instant,
    began: bool,
}

impl Looks {
    const fn until(until: Instant) -> Self {
        Self { until, began: false }
    }

    /// Whether to look now; false: the time is over.
    async fn again(&mut self) -> bool {
        if self.began {
            if Instant::now() >= self.until {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.began = true;
        true
    }
}

const fn part_of(part: FaultPart) -> Part {
    match part {
        FaultPart::Edge => Part::Edge,
        FaultPart::CacheNode => Part::CacheNode,
        FaultPart::LockService => Part::LockService,
        FaultPart::Origin => Part::Origin,
        FaultPart::Redis => Part::Redis,
        FaultPart::Database => Part::Database,
    }
}
