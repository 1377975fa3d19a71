//! The gRPC service: checks what comes in, sets the deadline, and says how the answer came about.

mod answers;

use crate::errors::{put_status, store_status};
use crate::metrics::NodeMetrics;
use crate::node::{Answered, Node, NotConfigured, Put};
use crate::store::record::Extent;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use herd_service::rpc::{Deadline, deadline_exceeded};
use herd_service::trace::{Call, Name, TraceContext};
use herd_wire::error::{ErrorSource, status};
use herd_wire::key::{KeyError, check_key, check_prefix};
use herd_wire::v1::cache_node_server::CacheNode;
use herd_wire::v1::{
    GetRequest, GetResponse, InvalidateRequest, InvalidateResponse, PutRequest, PutResponse, WarmRequest,
    WarmResponse, WritesRequest, WritesResponse,
};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Request, Response, Status};

/// The largest value that a client may write, bytes.
pub const PUT_BYTES_MAX: usize = 1 << 20;

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

    fn deadline<T>(&self, request: &Request<T>) -> Deadline {
        Deadline::from_metadata(request.metadata(), self.default_deadline)
    }

    async fn look_up(&self, key: &str, deadline: Deadline) -> Result<Answered, Status> {
        check(check_key(key))?;
        self.node.lookup(key, deadline).await.map_err(not_configured)
    }

    async fn look_up_to_warm(&self, request: &WarmRequest, deadline: Deadline) -> Result<Answered, Status> {
        check(check_key(&request.key))?;
        check(check_prefix(&request.key_prefix))?;
        let prefix = Some(request.key_prefix.as_str()).filter(|prefix| !prefix.is_empty());
        self.node.warm(&request.key, prefix, deadline).await.map_err(not_configured)
    }

    async fn delete(&self, key: &str, deadline: Deadline, context: TraceContext) -> Result<u64, Status> {
        check(check_key(key))?;
        match tokio::time::timeout(deadline.remaining(), self.node.invalidate(key, context)).await {
            Err(_) => Err(deadline_exceeded()),
            Ok(Err(error)) => Err(not_configured(error)),
            Ok(Ok(generation)) => generation.map_err(|error| store_status(&error)),
        }
    }

    async fn write(
        &self,
        request: PutRequest,
        deadline: Deadline,
        context: TraceContext,
    ) -> Result<Put, Status> {
        check(check_key(&request.key))?;
        if request.value.len() > PUT_BYTES_MAX {
            let said =
                format!("the value has {} bytes: at most {PUT_BYTES_MAX} are allowed", request.value.len());
            return Err(status(Code::InvalidArgument, ErrorSource::Client, said));
        }
        self.node.put(&request.key, request.value, deadline, context).await.map_err(put_status)
    }

    /// Ends a call that is no look-up: its span is kept if it was begun so, or if it failed.
    fn over<T>(&self, call: Call, result: Result<T, Status>) -> Result<T, Status> {
        let error = result.as_ref().err();
        if let Some(status) = error {
            self.metrics.refused(status);
        }
        drop(call.end(error.is_some(), error, None));
        result
    }
}

#[tonic::async_trait]
impl CacheNode for CacheNodeService {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let deadline = self.deadline(&request);
        let caller = TraceContext::extract(request.metadata());
        let key = &request.get_ref().key;
        let call = Call::begin(Name::Rpc("herd.v1.CacheNode/Get"), key, caller);
        let answered = self.look_up(key, deadline).await;
        self.answer(call, answered).map(Response::new)
    }

    async fn invalidate(
        &self,
        request: Request<InvalidateRequest>,
    ) -> Result<Response<InvalidateResponse>, Status> {
        let deadline = self.deadline(&request);
        let caller = TraceContext::extract(request.metadata());
        let key = &request.get_ref().key;
        let call = Call::begin_kept(Name::Rpc("herd.v1.CacheNode/Invalidate"), key, caller);
        let generation = self.delete(key, deadline, call.context()).await;
        let generation = self.over(call, generation)?;
        Ok(Response::new(InvalidateResponse { generation }))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let deadline = self.deadline(&request);
        let caller = TraceContext::extract(request.metadata());
        let request = request.into_inner();
        let call = Call::begin_kept(Name::Rpc("herd.v1.CacheNode/Put"), &request.key, caller);
        let written = self.write(request, deadline, call.context()).await;
        let Put { version, generation } = self.over(call, written)?;
        Ok(Response::new(PutResponse { version, generation }))
    }

    async fn warm(&self, request: Request<WarmRequest>) -> Result<Response<WarmResponse>, Status> {
        let deadline = self.deadline(&request);
        let caller = TraceContext::extract(request.metadata());
        let request = request.get_ref();
        let call = Call::begin(Name::Rpc("herd.v1.CacheNode/Warm"), &request.key, caller);
        let answered = self.look_up_to_warm(request, deadline).await;
        self.warmed(call, answered).map(Response::new)
    }

    type WritesStream = Pin<Box<dyn Stream<Item = Result<WritesResponse, Status>> + Send>>;

    /// Chunk by chunk, each read when the client has room for it, and none after the deadline.
    async fn writes(&self, request: Request<WritesRequest>) -> Result<Response<Self::WritesStream>, Status> {
        let deadline = self.deadline(&request);
        let prefix = request.into_inner().key_prefix;
        check(check_prefix(&prefix))?;
        let writes = self.node.writes(&prefix).await.map_err(|error| store_status(&error))?;
        let Extent { began_us, trimmed } = writes.extent();
        let first = WritesResponse { began_us, trimmed, ..WritesResponse::default() };
        let chunks = stream::try_unfold(writes, |mut writes| async move {
            let chunk = writes.next().await?;
            Ok(chunk.map(|chunk| (WritesResponse { writes: chunk, ..WritesResponse::default() }, writes)))
        });
        let chunks = stream::iter([Ok(first)]).chain(chunks).map_err(|error| store_status(&error)).and_then(
            move |chunk| {
                std::future::ready(if deadline.passed() { Err(deadline_exceeded()) } else { Ok(chunk) })
            },
        );
        Ok(Response::new(Box::pin(chunks)))
    }
}

fn check(checked: Result<(), KeyError>) -> Result<(), Status> {
    checked.map_err(|why| status(Code::InvalidArgument, ErrorSource::Client, why.to_string()))
}

fn not_configured(error: NotConfigured) -> Status {
    status(Code::Unavailable, ErrorSource::Peer, error.to_string())
}
