//! What is in force, and how it is undone: plain data, known from before a fault is injected.

use super::Faults;
use crate::{
    ledger::OriginLab,
    locks::LockLab,
    run::hands::Hands,
    testbed::{Part, PartState, RedisFault, Signal},
};
use std::sync::{Mutex, MutexGuard};

/// How something is undone. Doing it twice does no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Undo {
    /// Lets processes go on, or starts them again.
    Signal { part: Part, indices: Vec<u32>, signal: Signal },
    /// Starts Redis, with nothing on disk or with what is there.
    StartRedis { empty: bool },
    /// Lifts the limit of Redis's memory.
    Unlimit,
    /// Mends the links that one turn of a fault made bad.
    Mend { links: u64 },
    /// Lets go the origin's queries that hang.
    LetGo,
    /// Sets the lock service's clock right.
    ClockRight,
}

impl Undo {
    /// Does it, and says what was done.
    pub(super) async fn apply(&self, faults: &Faults<'_>) -> Result<String, String> {
        let hands = faults.stage.hands;
        let said = match self {
            Self::Signal { part, indices, signal } => {
                let mut those = indices.clone();
                if *signal == Signal::Start {
                    those = ended(hands, *part, indices).await;
                }
                hands.signal(*part, &those, *signal).await?;
                if *signal == Signal::Resume { "goes on" } else { "is started" }
            }
            Self::StartRedis { .. } if ended(hands, Part::Redis, &[0]).await.is_empty() => "runs",
            Self::StartRedis { empty } => {
                if *empty {
                    hands.redis(RedisFault::Wipe).await?;
                }
                hands.signal(Part::Redis, &[0], Signal::Start).await?;
                if *empty { "is started with nothing on disk" } else { "is started with what is on disk" }
            }
            Self::Unlimit => {
                hands.redis(RedisFault::Unlimit).await?;
                "may use as much memory as before"
            }
            Self::Mend { links } => {
                faults.links.mend(*links, faults.stage.control);
                "is told that the link is good"
            }
            Self::LetGo => {
                let mut origin =
                    OriginLab::new(&hands.endpoints().origin_grpc).map_err(|error| error.to_string())?;
                origin.set_stuck(0, 0).await.map_err(|error| error.to_string())?;
                "lets queries go on"
            }
            Self::ClockRight => {
                let rate = LockLab::new(&hands.endpoints().lock_grpc)?.set_clock(1.0).await?;
                if (rate - 1.0).abs() > f64::EPSILON {
                    return Err(format!("says that its clock still runs at the rate of {rate}"));
                }
                "ends leases by the holders' time again"
            }
        };
        Ok(said.to_owned())
    }
}

/// Those that do not run. Who cannot be asked for is started: that says why it cannot be.
async fn ended(hands: &dyn Hands, part: Part, indices: &[u32]) -> Vec<u32> {
    let mut ended = Vec::new();
    for index in indices {
        let state = hands.state(part, *index).await;
        if !matches!(state, Ok(PartState::Running { .. } | PartState::Paused)) {
            ended.push(*index);
        }
    }
    ended
}

/// Something that is in force.
#[derive(Clone, Debug)]
pub(super) struct Held {
    id: u64,
    pub(super) undo: Undo,
    /// For the journal: one line a target.
    pub(super) words: Vec<String>,
}

/// Everything that is in force.
#[derive(Debug, Default)]
pub(super) struct InForce(Mutex<(u64, Vec<Held>)>);

impl InForce {
    /// Notes something that is about to be in force; its number.
    pub(super) fn add(&self, undo: Undo, words: Vec<String>) -> u64 {
        let mut all = self.lock();
        all.0 += 1;
        let id = all.0;
        all.1.push(Held { id, undo, words });
        id
    }

    /// It is not in force any more.
    pub(super) fn remove(&self, id: u64) {
        self.lock().1.retain(|held| held.id != id);
    }

    /// Takes out what would be undone like this; whether there was such a thing.
    pub(super) fn remove_like(&self, undo: &Undo) -> bool {
        let mut all = self.lock();
        let before = all.1.len();
        all.1.retain(|held| held.undo != *undo);
        all.1.len() < before
    }

    /// Takes everything out, the latest first.
    pub(super) fn take(&self) -> Vec<Held> {
        let mut all = std::mem::take(&mut self.lock().1);
        all.reverse();
        all
    }

    pub(super) fn words(&self) -> Vec<String> {
        self.lock().1.iter().flat_map(|held| held.words.iter().cloned()).collect()
    }

    /// Whether one of a part is frozen or ended by a fault now.
    pub(super) fn is_down(&self, part: Part, index: u32) -> bool {
        self.lock().1.iter().any(|held| {
            matches!(&held.undo, Undo::Signal { part: of, indices, .. } if *of == part && indices.contains(&index))
        })
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Vec<Held>)> {
        self.0.lock().expect("nothing panics while it holds what is in force")
    }
}
