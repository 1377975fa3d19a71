//! The requests that go to one node: what they are routed by, what is wrong with them, and how they are sent.

use crate::{metrics::Method, spans};
use herd_wire::key::{check_key, check_prefix};
use herd_wire::v1::cache_node_client::CacheNodeClient;
use herd_wire::v1::{
    GetRequest, GetResponse, InvalidateRequest, InvalidateResponse, PutRequest, PutResponse, WarmRequest,
    WarmResponse, WritesRequest, WritesResponse,
};
use std::future::Future;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// The longest value that a client may put, in bytes: 1 MiB.
pub(crate) const VALUE_BYTES_MAX: usize = 1 << 20;

/// A request that one node answers.
pub(crate) trait Routed: Clone + Send {
    type Answer: Send;

    const METHOD: Method;

    /// What owner routing looks at.
    fn key(&self) -> &str;

    /// What is wrong with it, in a sentence.
    fn check(&self) -> Result<(), String> {
        check_key(self.key()).map_err(|bad| bad.to_string())
    }

    /// Whether its span is kept also where its trace was not chosen from the beginning.
    fn is_kept(result: &Result<Self::Answer, Status>) -> bool {
        result.is_err()
    }

    fn send(
        client: CacheNodeClient<Channel>,
        request: Request<Self>,
    ) -> impl Future<Output = Result<Response<Self::Answer>, Status>> + Send;
}

impl Routed for GetRequest {
    type Answer = GetResponse;
    const METHOD: Method = Method::Get;

    fn key(&self) -> &str {
        &self.key
    }

    fn is_kept(result: &Result<GetResponse, Status>) -> bool {
        !spans::is_plain(result)
    }

    async fn send(
        mut client: CacheNodeClient<Channel>,
        request: Request<Self>,
    ) -> Result<Response<GetResponse>, Status> {
        client.get(request).await
    }
}

impl Routed for InvalidateRequest {
    type Answer = InvalidateResponse;
    const METHOD: Method = Method::Invalidate;

    fn key(&self) -> &str {
        &self.key
    }

    async fn send(
        mut client: CacheNodeClient<Channel>,
        request: Request<Self>,
    ) -> Result<Response<InvalidateResponse>, Status> {
        client.invalidate(request).await
    }
}

impl Routed for PutRequest {
    type Answer = PutResponse;
    const METHOD: Method = Method::Put;

    fn key(&self) -> &str {
        &self.key
    }

    fn check(&self) -> Result<(), String> {
        check_key(&self.key).map_err(|bad| bad.to_string())?;
        match self.value.len() {
            0..=VALUE_BYTES_MAX => Ok(()),
            bytes => Err(format!("the value has {bytes} bytes: at most {VALUE_BYTES_MAX} are allowed")),
        }
    }

    async fn send(
        mut client: CacheNodeClient<Channel>,
        request: Request<Self>,
    ) -> Result<Response<PutResponse>, Status> {
        client.put(request).await
    }
}

impl Routed for WarmRequest {
    type Answer = WarmResponse;
    const METHOD: Method = Method::Warm;

    /// Whatever the prefix: the node that will be asked for the row.
    fn key(&self) -> &str {
        &self.key
    }

    fn check(&self) -> Result<(), String> {
        check_key(&self.key).map_err(|bad| bad.to_string())?;
        check_prefix(&self.key_prefix).map_err(|bad| format!("key_prefix: {bad}"))
    }

    async fn send(
        mut client: CacheNodeClient<Channel>,
        request: Request<Self>,
    ) -> Result<Response<WarmResponse>, Status> {
        client.warm(request).await
    }
}

impl Routed for WritesRequest {
    type Answer = Streaming<WritesResponse>;
    const METHOD: Method = Method::Writes;

    /// The record is the store's: any node will do.
    fn key(&self) -> &str {
        &self.key_prefix
    }

    fn check(&self) -> Result<(), String> {
        check_prefix(&self.key_prefix).map_err(|bad| format!("key_prefix: {bad}"))
    }

    async fn send(
        mut client: CacheNodeClient<Channel>,
        request: Request<Self>,
    ) -> Result<Response<Streaming<WritesResponse>>, Status> {
        client.writes(request).await
    }
}
