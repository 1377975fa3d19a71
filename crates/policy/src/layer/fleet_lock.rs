//! One rebuild of a key at once in the fleet: the leader of each process asks for the lock before it asks the origin.
//!
//! Who is told that the holder is done reads the cache; only when nothing fresh is there does it ask for the lock again.
//! Who is told that the holder failed fails with it: each waiter asking in its turn would be a serial herd.

use super::{Admission, Layer, Look, Step};
use crate::action::Reason;
use crate::config::{Config, LockConfig, OnUnavailable, OnWaitTimeout};
use crate::error::Error;
use crate::outcome::{HolderFailure, LeaseOutcome};

pub(super) struct FleetLock {
    /// The layer within the process: it decides who leads there.
    pub(super) within: &'static dyn Layer,
}

impl Layer for FleetLock {
    fn admission(&self) -> Admission {
        self.within.admission()
    }

    fn begin(&self, config: &Config) -> Step {
        match self.within.begin(config) {
            Step::Look(look) => Step::Look(look),
            // Where the layer below would ask the origin, the lock comes first.
            _ => Step::Acquire,
        }
    }

    fn looked(&self, _config: &Config, look: Look) -> Step {
        match look {
            Look::Leadership | Look::HolderDone => Step::Acquire,
            Look::Grant => Step::Fetch(Reason::LeaseHolder),
        }
    }

    fn leased(&self, config: &Config, outcome: &LeaseOutcome) -> Step {
        let lock = lock_of(config);
        match outcome {
            LeaseOutcome::Granted(_) if lock.second_look => Step::Look(Look::Grant),
            LeaseOutcome::Granted(_) => Step::Fetch(Reason::LeaseHolder),
            LeaseOutcome::HolderDone if lock.second_look => Step::Look(Look::HolderDone),
            LeaseOutcome::HolderDone => Step::Acquire,
            LeaseOutcome::HolderFailed(HolderFailure::Failed(failure)) => {
                Step::Fail(Error::Origin(failure.clone()))
            }
            // Told by the core to those for whom it is new enough; the others look for themselves.
            LeaseOutcome::HolderFailed(HolderFailure::NoSuchRow { .. }) => self.begin(config),
            LeaseOutcome::WaitTimeout => match lock.on_wait_timeout {
                // Who has a stale value is served it by the core.
                OnWaitTimeout::Error | OnWaitTimeout::Stale => Step::Fail(Error::WaitTimeout),
                OnWaitTimeout::Origin => Step::Fetch(Reason::WaitTimeout),
            },
            LeaseOutcome::Unavailable(failure) | LeaseOutcome::Unknown(failure) => {
                match lock.on_unavailable {
                    OnUnavailable::FailOpen => Step::Fetch(Reason::FailOpen),
                    OnUnavailable::FailClosed => Step::Fail(Error::Lock(failure.clone())),
                }
            }
        }
    }
}

fn lock_of(config: &Config) -> &LockConfig {
    config.lock.as_ref().expect("this layer is chosen only where a lock is configured")
}
