//! The gRPC service: checks what comes in, sets the deadline, and says how the answer came about.

use crate::errors::{status_of, store_status};
use crate::metrics::{NodeMetrics, served_name};
use crate::node::{Answered, Node, NotConfigured};
use herd_policy::Served;
use herd_service::rpc::{Deadline, deadline_exceeded};
use herd_service::trace::{self, TraceContext};
use herd_wire::error::{ErrorSource, status};
use herd_wire::key::check_key;
use herd_wire::v1::cache_node_server::CacheNode;
use herd_wire::v1::{GetRequest, GetResponse, InvalidateRequest, InvalidateResponse, Served as WireServed};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Request, Response, Status};
use tracing::Span;
use tracing::field::Empty;

/// Answers for one node.
#[derive(Clone, Debug)]
pub struct CacheNodeService {
    node: Arc<Node>,
    metrics: NodeMetrics,
    instance: Arc<str>,
    default_deadline: Duration,
}

impl CacheNodeService {
    /// A service whose requests have `default_deadline` where their callers set none.
    #[must_use]
    pub fn new(
        node: Arc<Node>,
        metrics: NodeMetrics,
        instance: Arc<str>,
        default_deadline: Duration,
    ) -> Self {
        Self { node, metrics, instance, default_deadline }
    }

    async fn look_up(&self, key: &str, deadline: Deadline) -> Result<Answered, Status> {
        check(key)?;
        self.node.lookup(key, deadline).await.map_err(not_configured)
    }

    async fn delete(&self, key: &str, deadline: Deadline) -> Result<u64, Status> {
        check(key)?;
        match tokio::time::timeout(deadline.remaining(), self.node.invalidate(key)).await {
            Err(_) => Err(deadline_exceeded()),
            Ok(Err(error)) => Err(not_configured(error)),
            Ok(Ok(generation)) => generation.map_err(|error| store_status(&error)),
        }
    }

    fn answer(&self, answered: Answered, span: &Span, context: &TraceContext) -> Result<GetResponse, Status> {
        let Answered { serve, flight } = answered;
        let answer = match serve.result {
            Ok(answer) => answer,
            Err(error) => {
                if let Some(flight) = flight {
                    link(span, &flight);
                }
                return Err(status_of(&error));
            }
        };
        self.metrics.served(answer.served);
        let hit = answer.served == Served::Hit;
        if !span.is_disabled() {
            span.record("herd.served", served_name(answer.served));
            span.record("herd.generation", answer.generation);
            if let Some(maker) = answer.value.maker.context().filter(|_| !hit) {
                link(span, &maker);
            }
        }
        Ok(GetResponse {
            version: answer.value.version,
            age_ms: answer.value.age_ms,
            served: wire_served(answer.served).into(),
            generation: answer.generation,
            config_version: serve.config_version,
            node: self.instance.as_ref().to_owned(),
            reference: context.trace_id(),
            rebuild_trace: if hit { String::new() } else { answer.value.maker.trace_id() },
            value: answer.value.body,
        })
    }

    fn refused(&self, status: &Status, span: &Span) {
        self.metrics.refused(status);
        span.record("otel.status_code", "ERROR");
        span.record("herd.error", status.message());
    }
}

#[tonic::async_trait]
impl CacheNode for CacheNodeService {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let deadline = Deadline::from_metadata(request.metadata(), self.default_deadline);
        let caller = TraceContext::extract(request.metadata());
        let key = &request.get_ref().key;
        let span = herd_service::span!(
            "cache_node.get",
            otel.kind = "server",
            herd.key = key.as_str(),
            herd.served = Empty,
            herd.generation = Empty,
            herd.rebuild.trace_id = Empty,
            herd.error = Empty,
            otel.status_code = Empty,
        );
        let context = trace::begin(&span, caller);
        let answered = self.look_up(key, deadline).await;
        let answer = answered.and_then(|answered| self.answer(answered, &span, &context));
        answer.map(Response::new).inspect_err(|status| self.refused(status, &span))
    }

    async fn invalidate(
        &self,
        request: Request<InvalidateRequest>,
    ) -> Result<Response<InvalidateResponse>, Status> {
        let deadline = Deadline::from_metadata(request.metadata(), self.default_deadline);
        let key = &request.get_ref().key;
        let span = herd_service::span!(
            "cache_node.invalidate",
            otel.kind = "server",
            herd.key = key.as_str(),
            herd.error = Empty,
            otel.status_code = Empty,
        );
        let _context = trace::begin(&span, TraceContext::extract(request.metadata()));
        let generation =
            self.delete(key, deadline).await.inspect_err(|status| self.refused(status, &span))?;
        Ok(Response::new(InvalidateResponse { generation }))
    }
}

/// Jaeger shows links and does not draw them: the attribute makes a waiter findable from the rebuild.
fn link(span: &Span, rebuild: &TraceContext) {
    if !span.is_disabled() {
        trace::link(span, rebuild);
        span.record("herd.rebuild.trace_id", rebuild.trace_id());
    }
}

fn check(key: &str) -> Result<(), Status> {
    check_key(key).map_err(|why| status(Code::InvalidArgument, ErrorSource::Client, why.to_string()))
}

fn not_configured(error: NotConfigured) -> Status {
    status(Code::Unavailable, ErrorSource::Peer, error.to_string())
}

fn wire_served(served: Served) -> WireServed {
    match served {
        Served::Hit => WireServed::Hit,
        Served::Led => WireServed::Led,
        Served::Waited => WireServed::Waited,
        Served::WaitedFleet => WireServed::WaitedFleet,
        Served::SecondLook => WireServed::SecondLook,
        Served::Uncoordinated => WireServed::Uncoordinated,
        Served::Stale => WireServed::Stale,
        Served::Negative => WireServed::Negative,
    }
}
