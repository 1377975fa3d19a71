//! Processes that are frozen, killed or stopped: the system's own word is the witness.

use super::{Deed, End, Looks, Scene, Seen, redis::mark};
use crate::{
    run::during::faults::{
        health::{self, Before},
        select::Target,
        undo::Undo,
        witness::Lease,
    },
    testbed::{Part, PartState, Signal},
};
use futures::future::join_all;
use std::time::{Duration, Instant};

/// A lease that is not renewed is seen to have ended within its expiry and this, on a machine that does other things too.
const EXPIRY_SLACK: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Pause,
    Kill,
    Stop,
}

pub(super) struct Signals {
    how: How,
    part: Part,
    indices: Vec<u32>,
    before: Vec<Before>,
    /// The lease that one of the targets held.
    lease: Option<Lease>,
    /// What Redis was told last, where it is what ends.
    mark: Option<u64>,
}

impl Signals {
    pub(super) fn new(how: How, targets: &[Target]) -> Self {
        let part = targets.first().and_then(|target| target.part).unwrap_or(Part::CacheNode);
        let indices = targets.iter().map(|target| target.index).collect();
        Self { how, part, indices, before: Vec::new(), lease: None, mark: None }
    }

    /// Waits until the system says that one target is as it shall be.
    async fn state(&self, scene: Scene<'_>, target: &Target) -> Result<Seen, String> {
        let mut looks = Looks::until(scene.confirm_until());
        let mut is = String::new();
        while looks.again().await {
            is = match (scene.ground.hands().state(self.part, target.index).await, self.how) {
                (Ok(PartState::Paused), How::Pause) => return Ok(scene.seen(0, "is paused")),
                (Ok(PartState::Ended), How::Kill | How::Stop) => return Ok(scene.seen(0, "has ended")),
                (Ok(PartState::Running { .. }), _) => "still runs".to_owned(),
                (Ok(PartState::Paused), _) => "is only frozen".to_owned(),
                (Ok(PartState::Ended), How::Pause) => "has ended instead".to_owned(),
                (Err(why), _) => why,
            };
        }
        Err(is)
    }

    /// Whether the lease of who was chosen for it has to end while the fault is held: a frozen node renews nothing.
    fn must_end(&self, scene: Scene<'_>) -> bool {
        let Some(lock) = &scene.ground.stage().rung.lock else { return false };
        let hold = Duration::from_millis(scene.fault.for_ms.into());
        self.how == How::Pause
            && scene.chosen_as_holder_of().is_some()
            && hold >= Duration::from_millis(lock.expiry_ms.into()) + EXPIRY_SLACK
    }
}

#[tonic::async_trait]
impl Deed for Signals {
    fn end(&self) -> End {
        let signal = if self.how == How::Pause { Signal::Resume } else { Signal::Start };
        End::Undo(Undo::Signal { part: self.part, indices: self.indices.clone(), signal })
    }

    async fn inject(&mut self, scene: Scene<'_>) -> Result<String, String> {
        let ground = scene.ground;
        if self.part == Part::CacheNode {
            self.lease = scene.lease_of_targets().await;
        }
        if self.part == Part::Redis && self.how != How::Pause {
            self.mark = Some(mark(scene).await?);
        }
        let (signal, said) = match self.how {
            How::Pause => (Signal::Pause, "is frozen"),
            How::Kill => (Signal::Kill, "is killed"),
            How::Stop => (Signal::Stop, "is asked to end"),
        };
        // What they were is looked up at the last moment, but not in the way of a target that was chosen for what it does now.
        if self.lease.is_none() || self.part != Part::CacheNode {
            self.before = join_all(scene.targets.iter().map(|target| Before::of(ground, target))).await;
            ground.hands().signal(self.part, &self.indices, signal).await?;
        } else {
            let looked = join_all(scene.targets.iter().map(|target| Before::of(ground, target)));
            let (done, before) =
                futures::join!(ground.hands().signal(self.part, &self.indices, signal), looked);
            self.before = before;
            done?;
        }
        Ok(said.to_owned())
    }

    async fn confirm(&mut self, scene: Scene<'_>) -> Vec<Result<Seen, String>> {
        let states = join_all(scene.targets.iter().map(|target| self.state(scene, target)));
        let lease = async {
            match &self.lease {
                Some(lease) => Some((lease.node(), lease.ended(scene.ground, scene.hold_ends).await)),
                None => None,
            }
        };
        let (mut states, lease) = futures::join!(states, lease);
        if let Err(why) = scene.check_held(self.lease.as_ref()) {
            return states.into_iter().map(|state| state.and_then(|_| Err(why.clone()))).collect();
        }
        let (Some((node, ended)), Some(held)) = (lease, &self.lease) else { return states };
        let (of_lease, lease_ran_out) = (held.words(), |after| held.ran_out(after));
        let of = scene.targets.iter().position(|target| target.name == node);
        if let Some(state @ Ok(_)) = of.and_then(|place| states.get_mut(place)) {
            match (ended, state) {
                (None, state) if self.must_end(scene) => {
                    *state = Err("is paused, but its lease was not seen to end meanwhile".to_owned());
                }
                (Some(after), state) if !lease_ran_out(after) && scene.chosen_as_holder_of().is_some() => {
                    let after_ms = after.as_millis();
                    *state = Err(format!(
                        "let go of its lease after {after_ms} ms, before it was hit ({of_lease})"
                    ));
                }
                (Some(after), Ok(seen)) => {
                    seen.note
                        .push_str(&format!("; its lease ended after {} ms ({of_lease})", after.as_millis()));
                }
                (None, Ok(seen)) => seen.note.push_str("; its lease was not seen to end meanwhile"),
                (_, Err(_)) => {}
            }
        }
        states
    }

    async fn recovered(&mut self, scene: Scene<'_>, until: Instant) -> Vec<Result<String, String>> {
        let (ground, anew) = (scene.ground, self.how != How::Pause);
        let each = scene.targets.iter().enumerate().map(|(place, target)| {
            let before = self.before.get(place).copied().unwrap_or_default();
            health::works(ground, target, before, anew, until)
        });
        let works = join_all(each).await;
        if let Some(mark) = self.mark {
            let now = ground.hands().redis_info().await.ok();
            if now.is_none_or(|now| now.mark != Some(mark)) {
                ground.faults.lost_data("Redis came back without what it was told last");
            }
        }
        works
    }
}
