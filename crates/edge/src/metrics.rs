//! The edge's own metrics. Label values come from closed sets, and their handles are resolved before the first request.

use herd_service::gate::GateMetrics;
use herd_service::metrics::{DURATION_BUCKETS_SECONDS, Metrics};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::Unit;
use std::time::Duration;
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
    duration: Histogram,
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
        let durations = Family::<MethodLabel, Histogram>::new_with_constructor(|| {
            Histogram::new(DURATION_BUCKETS_SECONDS)
        });
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

    pub(crate) fn answered(&self, method: Method, code: Code, took: Duration) {
        let handles = &self.methods[method as usize];
        handles.by_code[code as usize].inc();
        handles.duration.observe(took.as_secs_f64());
    }

    pub(crate) fn ejected(&self, reason: EjectionReason) {
        self.ejections.get_or_create(&ReasonLabel { reason: reason.label() }).inc();
    }
}
