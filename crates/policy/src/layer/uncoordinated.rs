//! No layer: every lookup that misses asks the origin. The control arm; it stays in the tree as a known-bad strategy.

use super::{Admission, Layer, Look, Step};
use crate::action::{Reason, Served};
use crate::config::Config;
use crate::outcome::LeaseOutcome;

pub(super) struct Uncoordinated;

impl Layer for Uncoordinated {
    fn admission(&self) -> Admission {
        Admission::Alone
    }

    fn begin(&self, _config: &Config) -> Step {
        Step::Fetch(Reason::Uncoordinated)
    }

    fn looked(&self, _config: &Config, _look: Look) -> Step {
        Step::Fetch(Reason::Uncoordinated)
    }

    fn leased(&self, _config: &Config, _outcome: &LeaseOutcome) -> Step {
        Step::Fetch(Reason::Uncoordinated)
    }

    fn led(&self) -> Served {
        Served::Uncoordinated
    }

    fn serves_before_write(&self, _config: &Config) -> bool {
        true
    }
}
