//! The edge over gRPC.

use crate::forward::{Forwarder, Routed, Writes};
use herd_service::rpc::Deadline;
use herd_service::span;
use herd_service::trace::{self, TraceContext};
use herd_wire::v1::edge_server::Edge;
use herd_wire::v1::{
    GetRequest, GetResponse, InvalidateRequest, InvalidateResponse, PutRequest, PutResponse, Served,
    WarmRequest, WarmResponse, WritesRequest,
};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Request, Response, Status};
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span};

pub(crate) struct GrpcEdge(pub(crate) Arc<Forwarder>);

#[tonic::async_trait]
impl Edge for GrpcEdge {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let (parent, budget) = self.told(&request);
        let key = request.into_inner().key;
        let span = get_span(&key, "grpc");
        let context = trace::begin(&span, parent);
        let result = self.0.get(key, budget, &context).instrument(span.clone()).await;
        record_get(&span, &result);
        result.map(Response::new)
    }

    async fn invalidate(
        &self,
        request: Request<InvalidateRequest>,
    ) -> Result<Response<InvalidateResponse>, Status> {
        self.pass("edge.invalidate", request).await
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.pass("edge.put", request).await
    }

    async fn warm(&self, request: Request<WarmRequest>) -> Result<Response<WarmResponse>, Status> {
        self.pass("edge.warm", request).await
    }

    type WritesStream = Writes;

    async fn writes(&self, request: Request<WritesRequest>) -> Result<Response<Writes>, Status> {
        let (parent, budget) = self.told(&request);
        let message = request.into_inner();
        let span = request_span("edge.writes", &message.key_prefix, "grpc");
        let context = trace::begin(&span, parent);
        let opened = self.0.writes(message, budget, context).instrument(span.clone()).await;
        record_error(&span, opened.as_ref().err());
        opened.map(Response::new)
    }
}

impl GrpcEdge {
    /// Whose span a request continues, and how long it may take.
    fn told<M>(&self, request: &Request<M>) -> (Option<TraceContext>, Duration) {
        let budget = Deadline::from_metadata(request.metadata(), self.0.default_deadline).remaining();
        (TraceContext::extract(request.metadata()), budget)
    }

    async fn pass<M: Routed>(
        &self,
        name: &'static str,
        request: Request<M>,
    ) -> Result<Response<M::Answer>, Status> {
        let (parent, budget) = self.told(&request);
        let message = request.into_inner();
        let span = request_span(name, message.key(), "grpc");
        let context = trace::begin(&span, parent);
        let result = self.0.pass(message, budget, &context).instrument(span.clone()).await;
        record_error(&span, result.as_ref().err());
        result.map(Response::new)
    }
}

/// The span of one read; disabled without an exporter.
pub(crate) fn get_span(key: &str, protocol: &'static str) -> Span {
    span!(
        "edge.get",
        otel.kind = "server",
        herd.key = key,
        network.protocol.name = protocol,
        herd.served = Empty,
        herd.node = Empty,
        herd.generation = Empty,
        herd.rebuild.trace_id = Empty,
        rpc.grpc.status_code = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    )
}

/// The span of one request that is no read; disabled without an exporter.
pub(crate) fn request_span(name: &'static str, key: &str, protocol: &'static str) -> Span {
    span!(
        "edge.request",
        otel.name = name,
        otel.kind = "server",
        herd.key = key,
        network.protocol.name = protocol,
        rpc.grpc.status_code = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    )
}

/// Notes on the span how the read ended.
pub(crate) fn record_get(span: &Span, result: &Result<GetResponse, Status>) {
    if span.is_disabled() {
        return;
    }
    record_error(span, result.as_ref().err());
    if let Some(served) = result.as_ref().err().and_then(absence_served) {
        span.record("herd.served", served);
    }
    if let Ok(answer) = result {
        span.record("herd.served", served_name(answer.served()));
        span.record("herd.node", answer.node.as_str());
        span.record("herd.generation", answer.generation);
        if !answer.rebuild_trace.is_empty() {
            span.record("herd.rebuild.trace_id", answer.rebuild_trace.as_str());
        }
    }
}

/// Notes on the span that the request failed.
pub(crate) fn record_error(span: &Span, error: Option<&Status>) {
    if span.is_disabled() {
        return;
    }
    span.record("rpc.grpc.status_code", error.map_or(0, |error| error.code() as i64));
    if let Some(error) = error {
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", display(error.message()));
    }
}

/// How a node knew that there is no such row, as it says in its NOT_FOUND.
pub(crate) fn absence_served(error: &Status) -> Option<&str> {
    let said = error.metadata().get(herd_wire::absent::SERVED_HEADER)?;
    said.to_str().ok().filter(|_| error.code() == Code::NotFound)
}

/// How an answer came about, as JSON and spans spell it.
pub(crate) const fn served_name(served: Served) -> &'static str {
    match served {
        Served::Unspecified => "unspecified",
        Served::Hit => "hit",
        Served::Led => "led",
        Served::Waited => "waited",
        Served::WaitedFleet => "waited-fleet",
        Served::SecondLook => "second-look",
        Served::Uncoordinated => "uncoordinated",
        Served::Stale => "stale",
        Served::Negative => "negative",
        Served::Filtered => "filtered",
        Served::HitLocal => "hit-local",
    }
}
