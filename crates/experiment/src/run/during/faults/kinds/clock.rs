//! The clock by which leases end runs at another rate.

use super::{Deed, End, Scene, Seen};
use crate::run::during::faults::{undo::Undo, witness};

/// The share of a lease that is left at least when it is seen just after it was granted.
const SEEN_LATE: f64 = 0.75;

pub(super) struct Clock {
    rate: f64,
    answered: f64,
}

impl Clock {
    pub(super) const fn new(rate: f64) -> Self {
        Self { rate, answered: 0.0 }
    }
}

#[tonic::async_trait]
impl Deed for Clock {
    fn end(&self) -> End {
        End::Undo(Undo::ClockRight)
    }

    async fn inject(&mut self, scene: Scene<'_>) -> Result<String, String> {
        self.answered = scene.ground.locks()?.set_clock(self.rate).await?;
        Ok(format!("ends leases at {} times the rate", self.rate))
    }

    /// The service's own word, and a lease that is granted meanwhile for as long as a clock of that rate makes of the rung's expiry:
    /// what the service says of the time left is the store's, and true.
    async fn confirm(&mut self, scene: Scene<'_>) -> Vec<Result<Seen, String>> {
        if (self.answered - self.rate).abs() > f64::EPSILON {
            return vec![Err(format!("says that its clock runs at the rate of {}", self.answered))];
        }
        let Some(lock) = scene.ground.stage().rung.lock.as_ref().filter(|_| scene.ground.has_lock()) else {
            return vec![Err("has no leases to end: the rung has no lock".to_owned())];
        };
        let given = witness::lease_granted(scene.ground, scene.key(), scene.hold_ends).await;
        let Some(given) = given else {
            return vec![Err(format!("was not seen to grant a lease of {} meanwhile", scene.key()))];
        };
        let (given_ms, wanted_ms) = (given.as_secs_f64() * 1e3, f64::from(lock.expiry_ms) / self.rate);
        let words =
            format!("gave a lease {given_ms:.0} ms for the {} ms that were asked for", lock.expiry_ms);
        if !(wanted_ms * SEEN_LATE - 1.0..=wanted_ms + 1.0).contains(&given_ms) {
            return vec![Err(format!("{words}, where its clock makes {wanted_ms:.0} ms of them"))];
        }
        let seen = scene.seen(0, format!("says that its clock runs at the rate of {}; {words}", self.rate));
        vec![Ok(seen)]
    }
}
