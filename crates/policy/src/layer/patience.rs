//! A lookup's own patience with the flight that it waits for.
//!
//! After nginx's `proxy_cache_lock_timeout`, which sends the waiter to the origin: about r*(D - W) more queries a boundary
//! for a wait W shorter than the rebuild D (measured there: 200 callers, 1 s, 2 s: 200 queries). An error or a stale value
//! adds none.

use super::{Admission, Layer, Look, Step};
use crate::action::{Reason, Served};
use crate::config::{Config, OnWaitTimeout, WaiterConfig};
use crate::outcome::LeaseOutcome;

/// What a lookup does whose patience ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parting {
    /// Waits on, until its deadline.
    Stay,
    /// Leaves with an error.
    Error,
    /// Leaves with the expired value that it saw, or else with an error.
    Stale,
    /// Leaves for the origin.
    Origin,
}

/// `rebuilds`: it leads a flight that rebuilds already. Leaving that for the origin would be a second rebuild of its own
/// work.
pub(crate) fn ran_out(waiter: &WaiterConfig, rebuilds: bool) -> Parting {
    match waiter.then {
        OnWaitTimeout::Origin if rebuilds => Parting::Stay,
        OnWaitTimeout::Origin => Parting::Origin,
        OnWaitTimeout::Error => Parting::Error,
        OnWaitTimeout::Stale => Parting::Stale,
    }
}

/// The flight of a lookup that left for the origin: alone and without a lease. It waits for the store's word like the
/// others, for it may well be overtaken by the flight that it left.
pub(crate) struct OwnWay;

impl Layer for OwnWay {
    fn admission(&self) -> Admission {
        Admission::Alone
    }

    fn begin(&self, _config: &Config) -> Step {
        Step::Fetch(Reason::WaitTimeout)
    }

    fn looked(&self, _config: &Config, _look: Look) -> Step {
        Step::Fetch(Reason::WaitTimeout)
    }

    fn leased(&self, _config: &Config, _outcome: &LeaseOutcome) -> Step {
        Step::Fetch(Reason::WaitTimeout)
    }

    fn led(&self) -> Served {
        Served::Uncoordinated
    }
}
