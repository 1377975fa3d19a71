//! The edge over gRPC.

use crate::forward::{Forwarder, Routed, Writes};
use crate::spans;
use herd_service::rpc::Deadline;
use herd_service::trace::{Call, Name, TraceContext};
use herd_wire::v1::edge_server::Edge;
use herd_wire::v1::{
    GetRequest, GetResponse, InvalidateRequest, InvalidateResponse, PutRequest, PutResponse, WarmRequest,
    WarmResponse, WritesRequest,
};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Request, Response, Status};

pub(crate) struct GrpcEdge(pub(crate) Arc<Forwarder>);

#[tonic::async_trait]
impl Edge for GrpcEdge {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let (parent, budget) = self.told(&request);
        let key = request.into_inner().key;
        let call = Call::begin(Name::Rpc("herd.v1.Edge/Get"), &key, parent);
        let result = self.0.get(key, budget, &call.context()).await;
        spans::got(call, &result, None);
        result.map(Response::new)
    }

    async fn invalidate(
        &self,
        request: Request<InvalidateRequest>,
    ) -> Result<Response<InvalidateResponse>, Status> {
        self.pass("herd.v1.Edge/Invalidate", Call::begin_kept, request).await
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.pass("herd.v1.Edge/Put", Call::begin_kept, request).await
    }

    async fn warm(&self, request: Request<WarmRequest>) -> Result<Response<WarmResponse>, Status> {
        self.pass("herd.v1.Edge/Warm", Call::begin, request).await
    }

    type WritesStream = Writes;

    async fn writes(&self, request: Request<WritesRequest>) -> Result<Response<Writes>, Status> {
        let (parent, budget) = self.told(&request);
        let message = request.into_inner();
        let call = Call::begin(Name::Rpc("herd.v1.Edge/Writes"), &message.key_prefix, parent);
        let opened = self.0.writes(message, budget, call.context()).await;
        spans::ended(call, opened.as_ref().err(), None);
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
        method: &'static str,
        begin: fn(Name, &str, Option<TraceContext>) -> Call,
        request: Request<M>,
    ) -> Result<Response<M::Answer>, Status> {
        let (parent, budget) = self.told(&request);
        let message = request.into_inner();
        let call = begin(Name::Rpc(method), message.key(), parent);
        let result = self.0.pass(message, budget, &call.context()).await;
        spans::ended(call, result.as_ref().err(), None);
        result.map(Response::new)
    }
}

/// How a node knew that there is no such row, as it says in its NOT_FOUND.
pub(crate) fn absence_served(error: &Status) -> Option<&str> {
    let said = error.metadata().get(herd_wire::absent::SERVED_HEADER)?;
    said.to_str().ok().filter(|_| error.code() == Code::NotFound)
}
