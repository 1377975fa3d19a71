//! One rebuild of a key at once in this process; everybody else waits for it.
//!
//! After the flight's own shape in Go's `singleflight` and groupcache, with the second look that groupcache's comment and
//! moka's issue 195 ask for: a caller that missed before the last flight's write would otherwise lead another one.

use super::{Admission, Layer, Look, Step};
use crate::action::Reason;
use crate::config::Config;
use crate::outcome::LeaseOutcome;

pub(super) struct SingleFlight;

impl Layer for SingleFlight {
    fn admission(&self) -> Admission {
        Admission::Shared
    }

    fn begin(&self, config: &Config) -> Step {
        if config.flight_second_look {
            Step::Look(Look::Leadership)
        } else {
            Step::Fetch(Reason::FlightLeader)
        }
    }

    fn looked(&self, _config: &Config, _look: Look) -> Step {
        Step::Fetch(Reason::FlightLeader)
    }

    fn leased(&self, _config: &Config, _outcome: &LeaseOutcome) -> Step {
        Step::Fetch(Reason::FlightLeader)
    }
}
