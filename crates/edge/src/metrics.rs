//! The edge's own metrics. Label values come from closed sets, and their handles are resolved before the first request.

use herd_service::gate::GateMetrics;
use herd_service::metrics::{Metrics, TracedDurations};
use herd_service::trace::{self, TraceContext};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use prometheus_client::registry::Unit;
use std::time::{Duration, Instant};
use tonic::Code;

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Method {
    Get,
    Invalidate,
    Put,
    Warm,
    Writes,
}

impl Method {
    const ALL: [Self; 5] = [Self::Get, Self::Invalidate, Self::Put, Self::Warm, Self::Writes];

    const fn label(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Invalidate => "invalidate",
            Self::Put => "put",
            Self::Warm => "warm",
            Self::Writes => "writes",
        }
    }
}

/// Why a node was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EjectionReason {
    /// No answer before a request's deadline, nor any other answer meanwhile.
    Silent,
    /// No connection could be made.
    Unreachable,
    /// The connection broke under a request.
    Broken,
}

impl EjectionReason {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabel {
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// Every gRPC code, by its number.
pub(crate) const CODE_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The handles of one method.
struct OfMethod {
    by_code: [Counter; 17],
    duration: TracedDurations,
}

pub(crate) struct EdgeMetrics {
    /// In the order of [`Method::ALL`].
    methods: [OfMethod; 5],
    pub(crate) gate: GateMetrics,
    pub(crate) second_tries: Counter,
    pub(crate) returns: Counter,
    pub(crate) members: Gauge,
    pub(crate) members_ejected: Gauge,
    ejections: Family<ReasonLabel, Counter>,
}

impl EdgeMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let requests = Family::<RequestLabels, Counter>::default();
        let durations = Family::<MethodLabel, TracedDurations>::default();
        let of_method = |method: Method| OfMethod {
            by_code: CODE_NAMES
                .map(|code| requests.get_or_create_owned(&RequestLabels { method: method.label(), code })),
            duration: durations.get_or_create_owned(&MethodLabel { method: method.label() }),
        };
        let edge = Self {
            methods: Method::ALL.map(of_method),
            gate: GateMetrics::default(),
            second_tries: Counter::default(),
            returns: Counter::default(),
            members: Gauge::default(),
            members_ejected: Gauge::default(),
            ejections: Family::default(),
        };
        for reason in [EjectionReason::Silent, EjectionReason::Unreachable, EjectionReason::Broken] {
            drop(edge.ejections.get_or_create(&ReasonLabel { reason: reason.label() }));
        }
        let mut registry = metrics.registry();
        let of_edge = registry.sub_registry_with_prefix("herd_edge");
        of_edge.register("requests", "Requests answered, by method and gRPC code", requests);
        of_edge.register_with_unit(
            "request_duration",
            "Time from request to answer",
            Unit::Seconds,
            durations,
        );
        of_edge.register("in_flight", "Requests in flight", edge.gate.in_flight.clone());
        of_edge.register("queued", "Requests that wait at the gate", edge.gate.queued.clone());
        of_edge.register("rejected", "Requests that the gate refused", edge.gate.rejected.clone());
        of_edge.register(
            "second_tries",
            "Requests tried on a second node: the first was not reached",
            edge.second_tries.clone(),
        );
        of_edge.register("ejections", "Nodes ejected, by reason", edge.ejections.clone());
        of_edge.register("returns", "Ejected nodes let back", edge.returns.clone());
        of_edge.register("members", "Cache nodes in the membership", edge.members.clone());
        of_edge.register("members_ejected", "Cache nodes ejected now", edge.members_ejected.clone());
        drop(registry);
        edge
    }

    /// A request comes in. It is counted whatever becomes of it.
    pub(crate) fn begin<'a>(&'a self, method: Method, context: &'a TraceContext) -> Unanswered<'a> {
        Unanswered { metrics: self, method, context, began: Instant::now(), counted: false }
    }

    /// Counts an answer. Its trace becomes an exemplar if it is kept, by what it came to (`kept`) or chosen from the beginning: an
    /// exemplar that leads nowhere would hide one that leads somewhere. Where nothing is exported each is as good as another.
    pub(crate) fn answered(
        &self,
        method: Method,
        code: Code,
        took: Duration,
        trace: &TraceContext,
        kept: bool,
    ) {
        let handles = &self.methods[method as usize];
        handles.by_code[code as usize].inc();
        let kept = kept || trace.sampled() || !trace::enabled();
        handles.duration.observe(took, kept.then_some(trace));
    }

    pub(crate) fn ejected(&self, reason: EjectionReason) {
        self.ejections.get_or_create(&ReasonLabel { reason: reason.label() }).inc();
    }
}

/// A request that is not answered yet. Dropped before that, as its client hung up, it counts as CANCELLED: a herd that lost its
/// patience must not look like one that never came.
pub(crate) struct Unanswered<'a> {
    metrics: &'a EdgeMetrics,
    method: Method,
    context: &'a TraceContext,
    began: Instant,
    counted: bool,
}

impl Unanswered<'_> {
    /// It is answered, and told this; see [`EdgeMetrics::answered`].
    pub(crate) fn answered(mut self, code: Code, kept: bool) {
        self.count(code, kept);
    }

    /// Somebody else counts it. Gives when it came.
    pub(crate) fn handed_on(mut self) -> Instant {
        self.counted = true;
        self.began
    }

    fn count(&mut self, code: Code, kept: bool) {
        self.counted = true;
        self.metrics.answered(self.method, code, self.began.elapsed(), self.context, kept);
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.counted {
            // Its span is kept: see `Call`.
            self.count(Code::Cancelled, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slow answer can be found by its trace. Nothing is exported here, so that no trace is better known than another.
    #[test]
    fn exemplars_name_the_trace() {
        let metrics = Metrics::new();
        let trace = TraceContext::root();
        EdgeMetrics::register(&metrics).answered(
            Method::Get,
            Code::Ok,
            Duration::from_millis(70),
            &trace,
            false,
        );
        let page = metrics.encode();
        let bucket = page.lines().find(|line| line.contains(&trace.trace_id()));
        let bucket = bucket.unwrap_or_else(|| panic!("no exemplar in:\n{page}"));
        let name = "herd_edge_request_duration_seconds_bucket{";
        assert!(
            bucket.starts_with(name) && bucket.contains("le=\"0.1\"") && bucket.contains("method=\"get\""),
            "{bucket}"
        );
    }

    /// Goal: a request is counted once, whether it is answered, handed on or hung up on.
    #[test]
    fn who_hangs_up_is_counted() {
        let metrics = Metrics::new();
        let edge = EdgeMetrics::register(&metrics);
        let trace = TraceContext::root();
        drop(edge.begin(Method::Get, &trace));
        edge.begin(Method::Put, &trace).answered(Code::DeadlineExceeded, true);
        edge.begin(Method::Writes, &trace).handed_on();
        let page = metrics.encode();
        for (method, code, count) in [
            ("get", "CANCELLED", 1),
            ("put", "DEADLINE_EXCEEDED", 1),
            ("put", "CANCELLED", 0),
            ("writes", "CANCELLED", 0),
        ] {
            let line = format!("herd_edge_requests_total{{method=\"{method}\",code=\"{code}\"}} {count}");
            assert!(page.lines().any(|there| there == line), "{line} is missing in:\n{page}");
        }
        assert!(page.contains("herd_edge_request_duration_seconds_count{method=\"get\"} 1"), "{page}");
    }
}
