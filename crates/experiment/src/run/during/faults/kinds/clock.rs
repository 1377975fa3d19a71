//! The clock by which leases end runs at another rate.

use super::{Deed, End, Scene, Seen};
use crate::run::during::faults::{undo::Undo, witness};

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

    /// The service's own word; and a lease that is seen to end at that rate, if one is held meanwhile.
    async fn confirm(&mut self, scene: Scene<'_>) -> Vec<Result<Seen, String>> {
        if (self.answered - self.rate).abs() > f64::EPSILON {
            return vec![Err(format!("says that its clock runs at the rate of {}", self.answered))];
        }
        let mut seen = scene.seen(0, format!("says that its clock runs at the rate of {}", self.rate));
        let lease = if scene.ground.has_lock() {
            witness::lease_loses(scene.ground, scene.key(), scene.hold_ends).await
        } else {
            None
        };
        match lease {
            Some((lost_ms, passed_ms)) => {
                seen.note.push_str(&format!("; a lease lost {lost_ms} ms within {passed_ms} ms"));
            }
            None => seen.note.push_str("; no lease was seen for long enough to tell"),
        }
        vec![Ok(seen)]
    }
}
