//! The gRPC services over a [`Fetcher`].

use crate::fetch::{FetchError, Fetcher};
use crate::ledger::LedgerError;
use crate::store::KEYS_MAX;
use futures::{Stream, StreamExt as _, stream};
use herd_service::rpc::{self, Deadline};
use herd_service::trace::TraceContext;
use herd_service::trace::conventions::{rpc_ended, rpc_server};
use herd_wire::error::{ErrorSource, status};
use herd_wire::v1::origin_admin_server::{OriginAdmin, OriginAdminServer};
use herd_wire::v1::origin_server::{Origin, OriginServer};
use herd_wire::v1::{
    DeleteRowsRequest, DeleteRowsResponse, Failures, FetchRequest, FetchResponse, GetLatencyRequest,
    KeysRequest, KeysResponse, Latency, LedgerEvents, OriginGate, PutRowRequest, PutRowResponse,
    ReadLedgerRequest, Stuck,
};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

/// What a caller that sets no deadline gets.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(60);

/// The caller is answered this long before its deadline: the transport drops the call at the deadline itself, and would
/// not say whose fault it is.
const ANSWER_BEFORE: Duration = Duration::from_millis(2);

/// Both services of the origin. Cloning shares it.
#[derive(Clone)]
pub struct OriginService(Arc<Fetcher>);

impl OriginService {
    /// Serves `fetcher`.
    #[must_use]
    pub const fn new(fetcher: Arc<Fetcher>) -> Self {
        Self(fetcher)
    }

    /// What cache nodes call.
    #[must_use]
    pub fn origin(&self) -> OriginServer<Self> {
        OriginServer::new(self.clone())
    }

    /// What the laboratory calls.
    #[must_use]
    pub fn admin(&self) -> OriginAdminServer<Self> {
        OriginAdminServer::new(self.clone())
    }
}

#[tonic::async_trait]
impl Origin for OriginService {
    async fn fetch(&self, request: Request<FetchRequest>) -> Result<Response<FetchResponse>, Status> {
        let deadline = deadline(request.metadata());
        let caller = TraceContext::extract(request.metadata());
        let fetched =
            self.0.fetch(request.into_inner(), caller, deadline).await.map_err(|e| fetch_status(&e))?;
        let took_ms = u64::try_from(fetched.took.as_millis()).unwrap_or(u64::MAX);
        Ok(Response::new(FetchResponse {
            value: fetched.row.value.into(),
            version: fetched.row.version,
            took_ms,
        }))
    }

    async fn put(&self, request: Request<PutRowRequest>) -> Result<Response<PutRowResponse>, Status> {
        self.write(request).await
    }

    type KeysStream = Pin<Box<dyn Stream<Item = Result<KeysResponse, Status>> + Send>>;

    async fn keys(&self, request: Request<KeysRequest>) -> Result<Response<Self::KeysStream>, Status> {
        let deadline = deadline(request.metadata());
        let fetcher = Arc::clone(&self.0);
        // A part is read only when it is asked for: a slow reader holds no connection, and no more than one part.
        let parts = stream::try_unfold(Some(String::new()), move |after| {
            let fetcher = Arc::clone(&fetcher);
            async move {
                let Some(after) = after else { return Ok(None) };
                let keys = fetcher.keys_after(&after, deadline).await.map_err(|e| fetch_status(&e))?;
                let next = keys.last().filter(|_| keys.len() == KEYS_MAX as usize).cloned();
                Ok((!keys.is_empty()).then_some((KeysResponse { keys }, next)))
            }
        });
        Ok(Response::new(Box::pin(parts)))
    }
}

impl OriginService {
    async fn write(&self, request: Request<PutRowRequest>) -> Result<Response<PutRowResponse>, Status> {
        let deadline = deadline(request.metadata());
        let span = rpc_server("herd.v1.Origin/Put", TraceContext::extract(request.metadata()));
        let PutRowRequest { key, value } = request.into_inner();
        span.set("herd.key", key.as_str());
        let written = self.0.put(&key, &value, deadline).await.map_err(|e| fetch_status(&e));
        rpc_ended(&span, true, written.as_ref().err());
        Ok(Response::new(PutRowResponse { version: written? }))
    }
}

#[tonic::async_trait]
impl OriginAdmin for OriginService {
    async fn set_latency(&self, request: Request<Latency>) -> Result<Response<Latency>, Status> {
        let latency = self.0.set_latency(request.into_inner()).map_err(|bad| invalid(&bad))?;
        tracing::info!(?latency, "the latency model is changed");
        Ok(Response::new(latency))
    }

    async fn get_latency(&self, _: Request<GetLatencyRequest>) -> Result<Response<Latency>, Status> {
        Ok(Response::new(self.0.latency()))
    }

    async fn set_gate(&self, request: Request<OriginGate>) -> Result<Response<OriginGate>, Status> {
        let gate = request.into_inner();
        self.0.set_gate(gate).map_err(|bad| invalid(&bad))?;
        tracing::info!(?gate, "the gate is changed");
        Ok(Response::new(gate))
    }

    async fn set_failures(&self, request: Request<Failures>) -> Result<Response<Failures>, Status> {
        let failures = self.0.set_failures(request.into_inner()).map_err(|bad| invalid(&bad))?;
        tracing::info!(?failures, "fetches fail on command");
        Ok(Response::new(failures))
    }

    async fn set_stuck(&self, request: Request<Stuck>) -> Result<Response<Stuck>, Status> {
        let stuck = self.0.set_stuck(request.into_inner()).map_err(|bad| invalid(&bad))?;
        tracing::info!(?stuck, "queries hang on command");
        Ok(Response::new(stuck))
    }

    async fn put_row(&self, request: Request<PutRowRequest>) -> Result<Response<PutRowResponse>, Status> {
        self.write(request).await
    }

    async fn delete_rows(
        &self,
        request: Request<DeleteRowsRequest>,
    ) -> Result<Response<DeleteRowsResponse>, Status> {
        let deadline = deadline(request.metadata());
        let beginning = request.into_inner().beginning;
        let rows = self.0.delete_rows(&beginning, deadline).await.map_err(|e| fetch_status(&e))?;
        tracing::info!(beginning, rows, "rows are deleted");
        Ok(Response::new(DeleteRowsResponse { rows }))
    }

    type ReadLedgerStream = Pin<Box<dyn Stream<Item = Result<LedgerEvents, Status>> + Send>>;

    async fn read_ledger(
        &self,
        request: Request<ReadLedgerRequest>,
    ) -> Result<Response<Self::ReadLedgerStream>, Status> {
        let deadline = deadline(request.metadata());
        let from_seq = request.into_inner().from_seq;
        let extent = timeout_at(deadline, self.0.ledger().barrier(from_seq)).await;
        let extent = extent.map_err(|_| rpc::deadline_exceeded())?.map_err(|e| ledger_status(&e))?;
        let chunks = extent.chunks().map(move |chunk| match chunk {
            _ if Instant::now() >= deadline => Err(rpc::deadline_exceeded()),
            Ok(events) => Ok(LedgerEvents { events }),
            Err(error) => Err(ledger_status(&error)),
        });
        Ok(Response::new(Box::pin(chunks)))
    }
}

fn deadline(metadata: &MetadataMap) -> Instant {
    let deadline = Deadline::from_metadata(metadata, DEADLINE_DEFAULT).instant();
    Instant::from_std(deadline.checked_sub(ANSWER_BEFORE).unwrap_or(deadline))
}

fn invalid(bad: &impl std::error::Error) -> Status {
    status(Code::InvalidArgument, ErrorSource::Client, bad.to_string())
}

fn fetch_status(error: &FetchError) -> Status {
    let (code, source) = match error {
        FetchError::DeadlinePassed => return rpc::deadline_exceeded(),
        FetchError::Ledger(error) => return ledger_status(error),
        FetchError::Overloaded(refused) => return refused.status(ErrorSource::Origin),
        FetchError::Key(_) | FetchError::ValueTooLong { .. } => (Code::InvalidArgument, ErrorSource::Client),
        FetchError::NoSuchRow => (Code::NotFound, ErrorSource::Origin),
        FetchError::Database(_) | FetchError::OnCommand => (Code::Unavailable, ErrorSource::Origin),
    };
    status(code, source, error.to_string())
}

fn ledger_status(error: &LedgerError) -> Status {
    let (code, source) = match error {
        LedgerError::TooLong { .. } => (Code::InvalidArgument, ErrorSource::Client),
        LedgerError::TooManyReaders { .. } => (Code::ResourceExhausted, ErrorSource::Origin),
        LedgerError::Damaged { .. } => (Code::DataLoss, ErrorSource::Origin),
        _ => (Code::Unavailable, ErrorSource::Origin),
    };
    status(code, source, error.to_string())
}
