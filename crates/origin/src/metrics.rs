//! The origin's own metrics, beside the six that every process shows.

use herd_service::gate::GateMetrics;
use herd_service::metrics::{DURATION_BUCKETS_SECONDS, Metrics};
use herd_wire::v1::FetchOutcome;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, histogram::Histogram};
use prometheus_client::registry::Unit;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// What the origin counts. Cloning shares it.
#[derive(Clone)]
pub struct OriginMetrics {
    /// `db_query_total`: queries sent to the database for a fetch.
    pub db_query: Counter,
    /// `origin_fetches_in_flight`, `origin_fetches_queued` and `origin_rejected_total`: the gate's.
    pub gate: GateMetrics,
    fetches: Family<OutcomeLabel, Counter>,
    pool_wait: Histogram,
}

impl OriginMetrics {
    /// Registers them.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let origin = Self {
            db_query: metrics.six().db_query.clone(),
            gate: GateMetrics::default(),
            fetches: Family::default(),
            pool_wait: Histogram::new(DURATION_BUCKETS_SECONDS),
        };
        // Every outcome shows from the first scrape on: a rate over an absent series is no rate.
        for outcome in ENDS {
            drop(origin.fetches.get_or_create(&OutcomeLabel { outcome: name(outcome) }));
        }
        let mut registry = metrics.registry();
        registry.register("origin_fetch", "Fetches that ended, by outcome", origin.fetches.clone());
        let help = "Fetches that were admitted and have not ended";
        registry.register("origin_fetches_in_flight", help, origin.gate.in_flight.clone());
        let help = "Fetches that wait at the gate";
        registry.register("origin_fetches_queued", help, origin.gate.queued.clone());
        let help = "Fetches that the gate refused";
        registry.register("origin_rejected", help, origin.gate.rejected.clone());
        let help = "Time a fetch waited for a connection of the pool";
        registry.register_with_unit("origin_pool_wait", help, Unit::Seconds, origin.pool_wait.clone());
        drop(registry);
        origin
    }

    /// Counts one fetch that ended.
    pub fn count_end(&self, outcome: FetchOutcome) {
        self.fetches.get_or_create(&OutcomeLabel { outcome: name(outcome) }).inc();
    }

    /// Notes how long one fetch waited for a connection.
    pub fn observe_pool_wait(&self, waited: Duration) {
        self.pool_wait.observe(waited.as_secs_f64());
    }
}

const ENDS: [FetchOutcome; 5] = [
    FetchOutcome::Fetched,
    FetchOutcome::NoSuchRow,
    FetchOutcome::Failed,
    FetchOutcome::Cancelled,
    FetchOutcome::Rejected,
];

/// The outcome's name in labels and span attributes.
pub(crate) const fn name(outcome: FetchOutcome) -> &'static str {
    match outcome {
        FetchOutcome::Unspecified => "unspecified",
        FetchOutcome::Fetched => "fetched",
        FetchOutcome::NoSuchRow => "no_such_row",
        FetchOutcome::Failed => "failed",
        FetchOutcome::Cancelled => "cancelled",
        FetchOutcome::Rejected => "rejected",
    }
}
