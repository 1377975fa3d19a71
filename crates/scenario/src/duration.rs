//! How long a rung must be driven so that enough boundaries are seen whole.

use std::time::Duration;

use crate::model::Scenario;

/// Room for the cold fill, scheduling and writes that are not in the formula.
const SLACK: Duration = Duration::from_millis(1_000);

impl Scenario {
    /// How long the load of each rung must run: enough for `boundaries` complete boundaries, each at most TTL + 2 D
    /// apart (without any layer the last rebuild of a herd starts up to D after the first, and ends D later), one more for
    /// the cold fill, and slack. The same for every rung, since the load is.
    #[must_use]
    pub fn rung_duration(&self) -> Duration {
        let period_ms = u64::from(self.policy.ttl_ms) + 2 * u64::from(self.origin.model.longest_ms());
        let periods = u64::from(self.workload.boundaries) + 1;
        Duration::from_millis(period_ms * periods) + SLACK
    }
}
