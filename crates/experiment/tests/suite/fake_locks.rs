//! A lock service that says what the test says, and an origin that has no rows to fetch.

use crate::fakes::Fakes;
use herd_wire::v1::{
    AcquireRequest, AcquireResponse, FetchRequest, FetchResponse, InspectRequest, InspectResponse,
    KeysRequest, KeysResponse, LockClock, PutRowRequest, PutRowResponse, ReleaseRequest, ReleaseResponse,
    RenewRequest, RenewResponse, lock_admin_server::LockAdmin, lock_service_server::LockService,
    origin_server::Origin,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not here"))
}

#[tonic::async_trait]
impl LockService for Fakes {
    async fn acquire(&self, _: Request<AcquireRequest>) -> Result<Response<AcquireResponse>, Status> {
        not_here()
    }

    async fn renew(&self, _: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        not_here()
    }

    async fn release(&self, _: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        not_here()
    }

    async fn inspect(&self, _: Request<InspectRequest>) -> Result<Response<InspectResponse>, Status> {
        let mut truth = self.truth();
        let Some(holder) = &mut truth.holder else { return Ok(Response::new(InspectResponse::default())) };
        holder.looks += 1;
        if holder.gone_after.is_some_and(|looks| holder.looks > looks) {
            return Ok(Response::new(InspectResponse::default()));
        }
        let token = if holder.looks > holder.new_after { 2 } else { 1 };
        let owner = format!("{}/1/2.3", holder.node);
        Ok(Response::new(InspectResponse {
            held: true,
            owner,
            token,
            expires_in_ms: holder.expires_in_ms,
            ..Default::default()
        }))
    }
}

#[tonic::async_trait]
impl LockAdmin for Fakes {
    async fn set_clock(&self, request: Request<LockClock>) -> Result<Response<LockClock>, Status> {
        let clock = request.into_inner();
        self.truth().clocks.push(clock.rate);
        Ok(Response::new(clock))
    }
}

#[tonic::async_trait]
impl Origin for Fakes {
    async fn fetch(&self, _: Request<FetchRequest>) -> Result<Response<FetchResponse>, Status> {
        not_here()
    }

    async fn put(&self, _: Request<PutRowRequest>) -> Result<Response<PutRowResponse>, Status> {
        not_here()
    }

    type KeysStream = ReceiverStream<Result<KeysResponse, Status>>;

    async fn keys(&self, _: Request<KeysRequest>) -> Result<Response<Self::KeysStream>, Status> {
        let (keys, stream) = mpsc::channel(1);
        keys.try_send(Ok(KeysResponse::default())).map_err(|_| Status::internal("no room"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
