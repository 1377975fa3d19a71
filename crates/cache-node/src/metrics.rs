//! What a node counts beyond the six metrics of every process. Label values come from closed sets.

use herd_policy::{Served, WriteOutcome};
use herd_service::metrics::{Metrics, SixMetrics};
use herd_wire::error::ErrorSource;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tonic::{Code, Status};

/// How a request was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServedLabel {
    served: &'static str,
}

/// Whose fault an error was, and what the client was told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabel {
    source: &'static str,
    code: &'static str,
}

/// What the store said to a write.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabel {
    outcome: &'static str,
}

/// The node's counters. Cloning shares them.
#[derive(Clone, Debug)]
pub struct NodeMetrics {
    /// The six of every process.
    pub six: SixMetrics,
    /// `cache_release_failed`: releases that the lock service did not answer; the lease then ended at its expiry.
    pub release_failed: Counter,
    // Kept beside the families: a hit should not have to look its counter up.
    hits: Counter,
    requests: Family<ServedLabel, Counter>,
    errors: Family<ErrorLabel, Counter>,
    writes: Family<WriteLabel, Counter>,
}

impl NodeMetrics {
    /// Registers them.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let requests = Family::<ServedLabel, Counter>::default();
        let hits = requests.get_or_create(&ServedLabel { served: served_name(Served::Hit) }).clone();
        let this = Self {
            six: metrics.six().clone(),
            release_failed: Counter::default(),
            hits,
            requests,
            errors: Family::default(),
            writes: Family::default(),
        };
        let mut registry = metrics.registry();
        registry.register(
            "cache_requests",
            "Requests answered with a value, by how it came about",
            this.requests.clone(),
        );
        registry.register(
            "cache_errors",
            "Requests answered with an error, by whose fault it was",
            this.errors.clone(),
        );
        registry.register(
            "cache_writes",
            "Writes of rebuilt values, by what the store said",
            this.writes.clone(),
        );
        let help = "Releases that the lock service did not answer; the lease then ended at its expiry";
        registry.register("cache_release_failed", help, this.release_failed.clone());
        drop(registry);
        this
    }

    /// Counts an answered request.
    pub fn served(&self, served: Served) {
        match served {
            Served::Hit => self.hits.inc(),
            other => self.requests.get_or_create(&ServedLabel { served: served_name(other) }).inc(),
        };
    }

    /// Counts a request that got an error.
    pub fn refused(&self, status: &Status) {
        let source = ErrorSource::of(status).map_or("unknown", ErrorSource::as_str);
        self.errors.get_or_create(&ErrorLabel { source, code: code_name(status.code()) }).inc();
    }

    /// Counts a write.
    pub fn wrote(&self, outcome: &WriteOutcome) {
        self.writes.get_or_create(&WriteLabel { outcome: write_name(outcome) }).inc();
    }
}

/// The name of how an answer came about, for labels and spans.
#[must_use]
pub const fn served_name(served: Served) -> &'static str {
    match served {
        Served::Hit => "hit",
        Served::Led => "led",
        Served::Waited => "waited",
        Served::WaitedFleet => "waited_fleet",
        Served::SecondLook => "second_look",
        Served::Uncoordinated => "uncoordinated",
        Served::Stale => "stale",
        Served::Negative => "negative",
    }
}

/// The name of what the store said to a write, for labels and spans.
#[must_use]
pub const fn write_name(outcome: &WriteOutcome) -> &'static str {
    use herd_policy::Refusal;
    match outcome {
        WriteOutcome::Written { .. } => "written",
        WriteOutcome::Refused(Refusal::EpochMissing) => "refused_epoch_missing",
        WriteOutcome::Refused(Refusal::EpochOld) => "refused_epoch_old",
        WriteOutcome::Refused(Refusal::GenerationMoved) => "refused_generation_moved",
        WriteOutcome::Refused(Refusal::TokenOld) => "refused_token_old",
        WriteOutcome::Uncacheable => "uncacheable",
        WriteOutcome::Failed(_) => "failed",
    }
}

const fn code_name(code: Code) -> &'static str {
    match code {
        Code::NotFound => "not_found",
        Code::InvalidArgument => "invalid_argument",
        Code::Unavailable => "unavailable",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::ResourceExhausted => "resource_exhausted",
        Code::Internal => "internal",
        _ => "other",
    }
}
