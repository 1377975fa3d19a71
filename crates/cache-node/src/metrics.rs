//! What a node counts beyond the six metrics of every process. Label values come from closed sets.

use herd_policy::{AbsentBy, Served, WriteOutcome};
use herd_service::metrics::{Metrics, SixMetrics};
use herd_wire::error::ErrorSource;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tonic::{Code, Status};

/// How a request was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServedLabel {
    served: &'static str,
}

/// Who said that a row does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AbsentLabel {
    by: &'static str,
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

/// The node's counters and gauges. Cloning shares them.
#[derive(Clone, Debug)]
pub struct NodeMetrics {
    /// The six of every process.
    pub six: SixMetrics,
    /// `cache_release_failed`: releases that the lock service did not answer; the lease then ended at its expiry.
    pub release_failed: Counter,
    /// `cache_local_changes`: values of which Redis said to the tier in the process that they changed.
    pub local_changes: Counter,
    /// `cache_local_flushes`: times that the tier in the process lost touch with Redis and dropped everything.
    pub local_flushes: Counter,
    /// `cache_filter_keys`: keys in the filter of existing keys; 0 while it lets everything through.
    pub filter_keys: Gauge,
    // Kept beside the families: a hit should not have to look its counter up.
    hits: Counter,
    local_hits: Counter,
    requests: Family<ServedLabel, Counter>,
    absent: Family<AbsentLabel, Counter>,
    errors: Family<ErrorLabel, Counter>,
    writes: Family<WriteLabel, Counter>,
}

impl NodeMetrics {
    /// Registers them.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let requests = Family::<ServedLabel, Counter>::default();
        let hits = requests.get_or_create(&ServedLabel { served: served_name(Served::Hit) }).clone();
        let local_hits = requests.get_or_create(&ServedLabel { served: HIT_LOCAL }).clone();
        let this = Self {
            six: metrics.six().clone(),
            release_failed: Counter::default(),
            local_changes: Counter::default(),
            local_flushes: Counter::default(),
            filter_keys: Gauge::default(),
            hits,
            local_hits,
            requests,
            absent: Family::default(),
            errors: Family::default(),
            writes: Family::default(),
        };
        this.enter(&mut metrics.registry());
        this
    }

    fn enter(&self, registry: &mut Registry) {
        let help = "Requests answered with a value, by how it came about";
        registry.register("cache_requests", help, self.requests.clone());
        let help = "Requests for rows that do not exist, by who said so";
        registry.register("cache_absent", help, self.absent.clone());
        let help = "Requests answered with an error, by whose fault it was";
        registry.register("cache_errors", help, self.errors.clone());
        let help = "Writes of rebuilt values and of absences, by what the store said";
        registry.register("cache_writes", help, self.writes.clone());
        let help = "Releases that the lock service did not answer; the lease then ended at its expiry";
        registry.register("cache_release_failed", help, self.release_failed.clone());
        let help = "Values of which Redis said to the tier in the process that they changed";
        registry.register("cache_local_changes", help, self.local_changes.clone());
        let help = "Times that the tier in the process lost touch with Redis and dropped everything";
        registry.register("cache_local_flushes", help, self.local_flushes.clone());
        let help = "Keys in the filter of existing keys; 0 while it lets everything through";
        registry.register("cache_filter_keys", help, self.filter_keys.clone());
    }

    /// Counts an answered request; `local` if the process itself had the value.
    pub fn served(&self, served: Served, local: bool) {
        match served {
            Served::Hit if local => self.local_hits.inc(),
            Served::Hit => self.hits.inc(),
            other => self.requests.get_or_create(&ServedLabel { served: served_name(other) }).inc(),
        };
        if served == Served::Stale {
            self.six.stale_serve.inc();
        }
    }

    /// Counts a request for a row that does not exist.
    pub fn absent(&self, by: AbsentBy) {
        self.absent.get_or_create(&AbsentLabel { by: absent_name(by) }).inc();
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

/// The name of an answer that the process itself had, for labels and spans.
pub const HIT_LOCAL: &str = "hit_local";

/// The name of who said that a row does not exist, for labels.
#[must_use]
pub const fn absent_name(by: AbsentBy) -> &'static str {
    match by {
        AbsentBy::Origin => "origin",
        AbsentBy::Sentinel => "sentinel",
        AbsentBy::Filter => "filter",
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

#[cfg(test)]
mod tests {
    use super::*;
    use herd_policy::Refusal;

    /// Each refusal of the store has a label of its own.
    #[test]
    fn refusals_are_named() {
        for (refusal, name) in [
            (Refusal::EpochMissing, "refused_epoch_missing"),
            (Refusal::EpochOld, "refused_epoch_old"),
            (Refusal::GenerationMoved, "refused_generation_moved"),
            (Refusal::TokenOld, "refused_token_old"),
        ] {
            assert_eq!(write_name(&WriteOutcome::Refused(refusal)), name);
        }
    }

    /// A stale answer counts under its own name and among the six; an absence by who said so; a hit of the process's own tier
    /// apart from one of Redis.
    #[test]
    fn answers_are_counted() {
        let metrics = Metrics::new();
        let counted = NodeMetrics::register(&metrics);
        counted.served(Served::Stale, false);
        counted.served(Served::Hit, false);
        counted.served(Served::Hit, true);
        counted.served(Served::Hit, true);
        counted.absent(AbsentBy::Filter);
        let text = metrics.encode();
        for line in [
            "cache_swr_stale_serve_total 1",
            "cache_requests_total{served=\"stale\"} 1",
            "cache_requests_total{served=\"hit\"} 1",
            "cache_requests_total{served=\"hit_local\"} 2",
            "cache_absent_total{by=\"filter\"} 1",
        ] {
            assert!(text.lines().any(|there| there == line), "{line} is missing in:\n{text}");
        }
    }
}
