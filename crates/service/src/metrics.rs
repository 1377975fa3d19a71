//! Metrics: the six that every process shows, and the registry for a process's own.

use crate::trace::TraceContext;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::{MetricType, TypedMetric, counter::Counter, gauge::Gauge};
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Upper bounds of the duration histograms' buckets, in seconds: from 1 ms to one minute.
pub const DURATION_BUCKETS_SECONDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The content type of `/metrics`: a Prometheus takes exemplars from no other text.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The label of an exemplar: the trace behind one observation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TraceLabel {
    /// 32 hexadecimal digits
    trace_id: String,
}

/// The six metrics on every process's `/metrics`; zero where a process does not produce one. Cloning shares them.
#[derive(Clone)]
pub struct SixMetrics {
    /// `cache_miss_total`: lookups that found no fresh value at the first look.
    pub cache_miss: Counter,
    /// `db_query_total`: queries that reached the origin's database.
    pub db_query: Counter,
    /// `singleflight_subscriber_count`: requests waiting for a flight of their own process, now.
    pub singleflight_subscribers: Gauge,
    /// `cache_swr_stale_serve_total`: stale values served while a refresh ran.
    pub stale_serve: Counter,
    rebuild: TracedDurations,
    lock_wait: TracedDurations,
}

/// A histogram of durations whose buckets name the trace behind their newest observation. Cloning shares it.
#[derive(Clone, Debug)]
pub struct TracedDurations(HistogramWithExemplars<TraceLabel>);

impl TracedDurations {
    /// Empty, with [`DURATION_BUCKETS_SECONDS`].
    #[must_use]
    pub fn new() -> Self {
        Self(HistogramWithExemplars::new(DURATION_BUCKETS_SECONDS.into_iter()))
    }

    /// Notes one duration, with the trace behind it if there is one.
    pub fn observe(&self, took: Duration, trace: Option<&TraceContext>) {
        let label = trace.map(|trace| TraceLabel { trace_id: trace.trace_id() });
        let at = label.is_some().then(SystemTime::now);
        self.0.observe(took.as_secs_f64(), label, at);
    }
}

impl Default for TracedDurations {
    fn default() -> Self {
        Self::new()
    }
}

impl TypedMetric for TracedDurations {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for TracedDurations {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl SixMetrics {
    fn register(registry: &mut Registry) -> Self {
        let six = Self {
            cache_miss: Counter::default(),
            db_query: Counter::default(),
            singleflight_subscribers: Gauge::default(),
            stale_serve: Counter::default(),
            rebuild: TracedDurations::new(),
            lock_wait: TracedDurations::new(),
        };
        registry.register(
            "cache_miss",
            "Lookups that found no fresh value at the first look",
            six.cache_miss.clone(),
        );
        registry.register("db_query", "Queries that reached the origin's database", six.db_query.clone());
        let help = "Time from a rebuild's start to its value being written or given up";
        registry.register_with_unit("cache_rebuild_duration", help, Unit::Seconds, six.rebuild.clone());
        let help = "Time spent waiting for the fleet lock, whatever came of it";
        registry.register_with_unit("cache_lock_wait", help, Unit::Seconds, six.lock_wait.clone());
        let help = "Requests waiting for a flight of their own process";
        registry.register("singleflight_subscriber_count", help, six.singleflight_subscribers.clone());
        registry.register(
            "cache_swr_stale_serve",
            "Stale values served while a refresh ran",
            six.stale_serve.clone(),
        );
        six
    }

    /// Notes one rebuild in `cache_rebuild_duration_seconds`, with its trace as exemplar.
    pub fn observe_rebuild(&self, took: Duration, trace: Option<&TraceContext>) {
        self.rebuild.observe(took, trace);
    }

    /// Notes one wait for the fleet lock in `cache_lock_wait_seconds`, with its trace as exemplar.
    pub fn observe_lock_wait(&self, waited: Duration, trace: Option<&TraceContext>) {
        self.lock_wait.observe(waited, trace);
    }
}

impl fmt::Debug for SixMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SixMetrics").field("cache_miss", &self.cache_miss.get()).finish_non_exhaustive()
    }
}

/// The process's registry. Cloning shares it.
///
/// Register metrics at start-up and keep their handles; label values come from closed sets (never keys, never trace ids).
#[derive(Clone, Debug)]
pub struct Metrics {
    six: SixMetrics,
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// A registry with the six metrics in it.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let six = SixMetrics::register(&mut registry);
        Self { six, registry: Arc::new(Mutex::new(registry)) }
    }

    /// The six metrics.
    #[must_use]
    pub const fn six(&self) -> &SixMetrics {
        &self.six
    }

    /// The registry, to register the process's own metrics in. Do not hold it across an await.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything in OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail; a metric that fails to encode must not take the process down.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry());
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The six names stand on `/metrics` exactly as dashboards and alerts spell them, before anything happened.
    #[test]
    fn six_names() {
        let metrics = Metrics::new();
        let text = metrics.encode();
        for name in [
            "\ncache_miss_total 0\n",
            "\ndb_query_total 0\n",
            "\ncache_rebuild_duration_seconds_count 0\n",
            "\ncache_lock_wait_seconds_count 0\n",
            "\nsingleflight_subscriber_count 0\n",
            "\ncache_swr_stale_serve_total 0\n",
        ] {
            assert!(text.contains(name), "{name:?} is missing in:\n{text}");
        }
    }

    /// A rebuild's trace can be found from its histogram bucket.
    #[test]
    fn exemplars_name_the_trace() {
        let metrics = Metrics::new();
        let trace = TraceContext::root();
        metrics.six().observe_rebuild(Duration::from_millis(30), Some(&trace));
        assert!(metrics.encode().contains(&trace.trace_id()));
    }
}
