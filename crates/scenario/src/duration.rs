//! How long a rung must be driven so that enough boundaries are seen whole.

use std::time::Duration;

use crate::model::{Scenario, Start};

/// Room for writes and for the load's own start, which are not in the formula.
const SLACK_MS: f64 = 1_000.0;
/// Room for a machine that is slower than its clock: each period takes a little longer than its parts.
const SLOWNESS: f64 = 1.05;

impl Scenario {
    /// How long the load of each rung must run: `window_ms` where the workload gives it, else enough for `boundaries` complete
    /// boundaries. The same for every rung, since the load is.
    ///
    /// Two boundaries lie at most this far apart: the longest TTL that is drawn (T (1 + spread) with jitter), until somebody
    /// reads the most read key again, and 2 D: without any layer the last rebuild of a herd starts up to D after the
    /// first, waits for a place at the origin where a gate has a queue, and ends D later. Layers that serve stale or recompute
    /// early only shorten that. A cold start adds its own herd; the last herd must have ended a D before the end.
    ///
    /// With faults: at least until the last of them is over (`at_ms` + (`times` - 1) `every_ms` + `for_ms`, the latest) and one
    /// such period afterwards, so that what the fleet does without them is seen again.
    #[must_use]
    pub fn rung_duration(&self) -> Duration {
        if let Some(window_ms) = self.workload.window_ms {
            return Duration::from_millis(window_ms.into());
        }
        let longest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
        let ttl_ms = f64::from(self.policy.ttl_ms);
        let spread = longest(&mut self.rungs.iter().filter_map(|rung| rung.jitter));
        let gates = self.rungs.iter().filter_map(|rung| rung.shed?.origin);
        let queue_ms = longest(&mut gates.map(|gate| f64::from(gate.queue_wait_ms)));
        let rebuild_ms = f64::from(self.origin.model.longest_ms());
        let herd_ms = queue_ms + 2.0 * rebuild_ms;
        let reads_per_s = f64::from(self.workload.rate_per_s) * self.workload.shares().of_most_read();
        // A workload of nothing but absent keys has no boundary.
        let until_read_ms = if reads_per_s > 0.0 { 1_000.0 / reads_per_s } else { 0.0 };
        let period_ms = ttl_ms * (1.0 + spread) + until_read_ms + herd_ms;
        let periods_ms = f64::from(self.workload.boundaries) * period_ms;
        let is_cold = self.rungs.iter().any(|rung| rung.start == Start::Cold);
        let cold_ms = if is_cold { herd_ms } else { 0.0 };
        let failing_ms = self.origin.failing.map_or(0.0, |failing| f64::from(failing.for_ms));
        let slow_ms = self.origin.slow.map_or(0.0, |slow| f64::from(slow.for_ms));
        let boundaries_ms = (cold_ms + failing_ms + slow_ms + periods_ms + rebuild_ms) * SLOWNESS;
        let over_ms = self.live_faults().map(|fault| fault.ends_ms() as f64 + period_ms * SLOWNESS);
        let all_ms = over_ms.fold(boundaries_ms, f64::max) + SLACK_MS;
        Duration::from_millis(all_ms.ceil() as u64)
    }

    /// The shortest time that a value stays in the cache in any rung, milliseconds; 0 where values are replaced before they
    /// expire.
    pub(crate) fn shortest_life_ms(&self) -> f64 {
        if self.rungs.iter().any(|rung| rung.early_beta.is_some() || rung.deploy.is_some()) {
            return 0.0;
        }
        let spread = self.rungs.iter().filter_map(|rung| rung.jitter).fold(0.0, f64::max);
        f64::from(self.policy.ttl_ms) * (1.0 - spread)
    }
}
