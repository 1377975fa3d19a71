//! The lock service's own metrics, beside the six that every process shows.

use herd_lease::Epoch;
use herd_lease::arbiter::Reply;
use herd_service::metrics::{DURATION_BUCKETS_SECONDS, Metrics};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::Unit;
use std::time::Duration;

/// How acquires end; the names of the label `outcome`.
const OUTCOMES: [&str; 8] = [
    "granted",
    "repeated",
    "holder_done",
    "holder_failed",
    "wait_timeout",
    "failed",
    "overloaded",
    "malformed",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// What the lock service counts. Cloning shares it.
#[derive(Clone, Debug)]
pub struct LockMetrics {
    acquires: Family<OutcomeLabel, Counter>,
    releases: Family<OutcomeLabel, Counter>,
    wait: Histogram,
    calls: Gauge,
    tokens_left: Gauge,
    epoch: Gauge,
    epochs_opened: Counter,
    store_errors: Counter,
}

impl Default for LockMetrics {
    /// Metrics that no registry shows.
    fn default() -> Self {
        let metrics = Self {
            acquires: Family::default(),
            releases: Family::default(),
            wait: Histogram::new(DURATION_BUCKETS_SECONDS),
            calls: Gauge::default(),
            tokens_left: Gauge::default(),
            epoch: Gauge::default(),
            epochs_opened: Counter::default(),
            store_errors: Counter::default(),
        };
        // Every outcome shows from the first scrape on: a rate over an absent series is no rate.
        for outcome in OUTCOMES {
            drop(metrics.acquires.get_or_create(&OutcomeLabel { outcome }));
        }
        for outcome in ["freed", "not_held"] {
            drop(metrics.releases.get_or_create(&OutcomeLabel { outcome }));
        }
        metrics
    }
}

impl LockMetrics {
    /// Registers them.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let lock = Self::default();
        let mut registry = metrics.registry();
        registry.register("lock_acquire", "Acquires that were answered, by outcome", lock.acquires.clone());
        registry.register("lock_release", "Releases that were answered, by outcome", lock.releases.clone());
        let help = "Time an acquire spent in the lock service";
        registry.register_with_unit("lock_acquire_wait", help, Unit::Seconds, lock.wait.clone());
        registry.register("lock_calls_waiting", "Acquires in the lock service now", lock.calls.clone());
        registry.register(
            "lock_tokens_left",
            "Fencing tokens reserved and not yet granted",
            lock.tokens_left.clone(),
        );
        registry.register("lock_epoch", "The newest epoch known", lock.epoch.clone());
        let help = "Epochs opened because the lease store came back without its data";
        registry.register("lock_epoch_opened", help, lock.epochs_opened.clone());
        registry.register(
            "lock_store_error",
            "Calls of the lease store that failed",
            lock.store_errors.clone(),
        );
        drop(registry);
        lock
    }

    /// Counts an acquire that was answered.
    pub fn count_acquire(&self, outcome: &'static str, waited: Duration) {
        self.acquires.get_or_create(&OutcomeLabel { outcome }).inc();
        self.wait.observe(waited.as_secs_f64());
    }

    /// Counts a release that was answered.
    pub fn count_release(&self, freed: bool) {
        let outcome = if freed { "freed" } else { "not_held" };
        self.releases.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn count_epoch(&self) {
        self.epochs_opened.inc();
    }

    pub(crate) fn count_store_error(&self) {
        self.store_errors.inc();
    }

    pub(crate) fn set_state(&self, calls: usize, epoch: Epoch, tokens_left: u64) {
        self.calls.set(i64::try_from(calls).unwrap_or(i64::MAX));
        self.epoch.set(i64::try_from(epoch.0).unwrap_or(i64::MAX));
        self.tokens_left.set(i64::try_from(tokens_left).unwrap_or(i64::MAX));
    }
}

/// The outcome's name in labels and span attributes.
#[must_use]
pub const fn outcome_name(reply: &Reply) -> &'static str {
    match reply {
        Reply::Granted(grant) if grant.repeated => "repeated",
        Reply::Granted(_) => "granted",
        Reply::HolderDone => "holder_done",
        Reply::HolderFailed(_) => "holder_failed",
        Reply::WaitTimeout { .. } => "wait_timeout",
        Reply::Failed(_) => "failed",
    }
}
