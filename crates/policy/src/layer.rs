//! The decisions in which layers differ, behind one trait; each layer is a sibling file below this module.
//!
//! A layer holds no state and does nothing: it names the next [`Step`], and the core takes it. So each layer reads as
//! the list of its choices. Layers that stand between a miss and the origin implement [`Layer`] and stack; those that
//! decide one thing at one point (may this be served stale, is a recompute due, ...) are functions that the core asks there. Four do not
//! decide about one lookup, and are plain data types and functions for whoever sees what they decide about: [`admission`] for
//! whoever holds the door, [`owner`] for whoever routes, [`prewarm`] for whoever cuts over, [`local`] for whoever keeps values.

pub mod admission;
pub(crate) mod early;
mod fleet_lock;
pub(crate) mod jitter;
pub(crate) mod key_filter;
pub mod local;
pub(crate) mod negative;
pub mod owner;
pub(crate) mod patience;
pub mod prewarm;
mod single_flight;
pub(crate) mod stale;
mod uncoordinated;

use crate::action::{Reason, Served};
use crate::config::{Coalescing, Config, FlightUntil, WriteGuard};
use crate::error::Error;
use crate::outcome::LeaseOutcome;

use self::fleet_lock::FleetLock;
use self::single_flight::SingleFlight;
use self::uncoordinated::Uncoordinated;

/// What a lookup that missed does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Rebuilds in a flight of its own that nobody can join.
    Alone,
    /// Joins the live flight of its key, or leads a new one.
    Shared,
}

/// What a flight does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Looks at the cache again.
    Look(Look),
    /// Asks for the fleet's lock.
    Acquire,
    /// Asks the origin.
    Fetch(Reason),
    /// Ends, and shares the error with everybody waiting now.
    Fail(Error),
}

/// When a flight looks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Leadership of the process was won.
    Leadership,
    /// The lease was granted.
    Grant,
    /// The lease's holder was done.
    HolderDone,
}

/// The choices of one layer, or of a stack of them.
pub(crate) trait Layer: Sync {
    /// Alone or together, after the first look.
    fn admission(&self) -> Admission;

    /// The first step of a flight, and of one that starts over.
    fn begin(&self, config: &Config) -> Step;

    /// The next step after a look that found nothing fresh.
    fn looked(&self, config: &Config, look: Look) -> Step;

    /// The next step after the lock service's answer.
    fn leased(&self, config: &Config, outcome: &LeaseOutcome) -> Step;

    /// How a leader that rebuilt is said to be served.
    fn led(&self) -> Served {
        Served::Led
    }

    /// Whether readers get a rebuilt value before the cache took it. A fenced layer waits for the store's word: a holder
    /// that was paused past its lease must not hand out an old value after others saw the new one.
    fn serves_before_write(&self, config: &Config) -> bool {
        config.write_guard == WriteGuard::Unguarded || config.flight_until == FlightUntil::Fetched
    }
}

/// The layers that a configuration asks for.
pub(crate) fn of(config: &Config) -> &'static dyn Layer {
    match (&config.lock, config.coalescing) {
        (None, Coalescing::Uncoordinated) => &Uncoordinated,
        (None, Coalescing::SingleFlight) => &SingleFlight,
        (Some(_), Coalescing::Uncoordinated) => &FleetLock { within: &Uncoordinated },
        (Some(_), Coalescing::SingleFlight) => &FleetLock { within: &SingleFlight },
    }
}
