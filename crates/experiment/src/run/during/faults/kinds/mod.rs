//! What each kind of fault does, and how it is seen to have done it. One file for what is done alike.

mod clients;
mod clock;
mod link;
mod redis;
mod restart;
mod scale;
mod signals;
mod stuck;

use super::{Ground, LOOK_EVERY, Looks, select::Target, undo::Undo, witness::Lease};
use herd_scenario::{Fault, FaultAction, Once, Which};
use std::time::{Duration, Instant};

/// How long the first witness of a fault may take beyond its hold: signals are delivered, ends are noticed.
const CONFIRM_GRACE: Duration = Duration::from_secs(3);
/// The row whose lease is looked at where a fault names none.
const USUAL_KEY: &str = "item-1";

/// One turn of a fault.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) ground: Ground<'a>,
    pub(super) fault: &'a Fault,
    pub(super) turn: u32,
    pub(super) targets: &'a [Target],
    /// When the hold ends: at the end of the window at the latest. Known once it is injected.
    pub(super) hold_ends: Instant,
}

/// That a fault took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// When that was seen, Unix microseconds.
    pub(super) at_us: u64,
    /// How many it hit, where that counts.
    pub(super) hit: u64,
    /// Whether it made a difference to this target: false for what is in force and touched nothing.
    pub(super) bit: bool,
    /// In words that follow the target's name.
    pub(super) note: String,
}

/// How a fault ends.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// It has no repair.
    Nothing,
    /// When its hold is over; what is said then.
    ByItself(&'static str),
    /// It has to be undone.
    Undo(Undo),
}

/// What is done to the targets of one turn. Results stand in the order of the targets.
#[tonic::async_trait]
pub(super) trait Deed: Send {
    /// How it ends; known before it is done.
    fn end(&self) -> End;

    /// Does it, and says what was done.
    ///
    /// # Errors
    /// It could not be done.
    async fn inject(&mut self, scene: Scene<'_>) -> Result<String, String>;

    /// Waits for the witness that it took effect, until the hold ends where there is no other limit.
    async fn confirm(&mut self, scene: Scene<'_>) -> Vec<Result<Seen, String>>;

    /// What is said where it is in force and made no difference to anybody.
    fn no_bite(&self) -> &'static str {
        "did not notice"
    }

    /// How many it has hit in all, as far as that is known only once it was undone; 0 where it counts nothing beyond what was confirmed.
    fn hit_in_all(&self) -> u64 {
        0
    }

    /// After it was undone: waits until the targets work as before.
    async fn recovered(&mut self, scene: Scene<'_>, _until: Instant) -> Vec<Result<String, String>> {
        scene.targets.iter().map(|_| Ok("as before".to_owned())).collect()
    }
}

/// What a fault does to these targets.
pub(super) fn deed(ground: Ground<'_>, fault: &Fault, targets: &[Target]) -> Box<dyn Deed> {
    use signals::{How, Signals};
    match &fault.action {
        FaultAction::Pause(_) => Box::new(Signals::new(How::Pause, targets)),
        FaultAction::Kill(_) => Box::new(Signals::new(How::Kill, targets)),
        FaultAction::Stop(_) | FaultAction::RollingRestart => Box::new(Signals::new(How::Stop, targets)),
        FaultAction::ScaleOut { .. } => Box::new(scale::ScaleOut::new(targets)),
        FaultAction::RedisRestartEmpty => Box::new(restart::Restart::new(true)),
        FaultAction::RedisRestartAof => Box::new(restart::Restart::new(false)),
        FaultAction::RedisFlush => Box::new(redis::Flush::default()),
        FaultAction::RedisEvict { room_kb } => Box::new(redis::Evict::new(*room_kb)),
        FaultAction::RedisPromote => Box::new(restart::Promote::default()),
        FaultAction::Link { to, rule, .. } => {
            Box::new(link::Link::new(ground.faults.links.begin(), *to, *rule))
        }
        FaultAction::StuckQuery { queries } => Box::new(stuck::Stuck::new(*queries)),
        FaultAction::LockClock { rate } => Box::new(clock::Clock::new(*rate)),
        FaultAction::Burst { factor } => Box::new(clients::More::times(*factor)),
        FaultAction::Flood { rate_per_s } => Box::new(clients::More::beside(*rate_per_s)),
        FaultAction::HangUp { share } => Box::new(clients::HangUp::new(*share)),
    }
}

impl Scene<'_> {
    /// When the first witness has to be there.
    fn confirm_until(&self) -> Instant {
        self.hold_ends.max(Instant::now() + CONFIRM_GRACE)
    }

    fn seen(&self, hit: u64, note: impl Into<String>) -> Seen {
        Seen { at_us: self.ground.window.now_us(), hit, bit: true, note: note.into() }
    }

    /// The row whose lock its target was chosen for holding, if that is how it was chosen.
    fn chosen_as_holder_of(&self) -> Option<&str> {
        match self.fault.action.which() {
            Some(Which::Holder { key }) => Some(key),
            _ => None,
        }
    }

    /// The lease of the fault's row that one of the targets holds now, if one does.
    async fn lease_of_targets(&self) -> Option<Lease> {
        let is_target = |node: &str| self.targets.iter().any(|target| target.name == node);
        Lease::held_by(self.ground, self.key(), is_target).await
    }

    /// Who was chosen for holding a lock has to have held it when the fault came: between the choice and the fault it may have
    /// been released.
    fn check_held(&self, lease: Option<&Lease>) -> Result<(), String> {
        match (self.chosen_as_holder_of(), lease) {
            (Some(key), None) => Err(format!("did not hold the lock of {key} when it was hit")),
            _ => Ok(()),
        }
    }

    /// The row that the fault is about.
    fn key(&self) -> &str {
        if let Once::Rebuild { key, .. } = &self.fault.once {
            return key;
        }
        let which = match &self.fault.action {
            FaultAction::Pause(target) | FaultAction::Kill(target) | FaultAction::Stop(target) => {
                Some(&target.which)
            }
            FaultAction::Link { nodes, .. } => Some(nodes),
            _ => None,
        };
        match which {
            Some(Which::Holder { key } | Which::Leader { key }) => key,
            _ => USUAL_KEY,
        }
    }
}
