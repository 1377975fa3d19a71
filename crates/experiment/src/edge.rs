//! A client's side of the edge, for what the lab itself asks. Every call has a deadline.

use crate::load::LoadError;
use herd_wire::v1::{
    GetRequest, GetResponse, PutRequest, PutResponse, StoreWrite, WarmRequest, WarmResponse, WritesRequest,
    WritesResponse, edge_client::EdgeClient,
};
use std::time::{Duration, Instant};
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint},
};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How much longer than the deadline the caller itself waits: the fleet shall have the first word.
const GRACE: Duration = Duration::from_millis(500);
/// The largest batch of the store's record that is accepted, bytes.
const BATCH_BYTES_MAX: usize = 32 << 20;

/// A connection to the edge. Connects when first used; cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct EdgeLab {
    client: EdgeClient<Channel>,
    deadline: Duration,
}

impl EdgeLab {
    /// Prepares a connection to `http://host:port` whose calls have this deadline each.
    pub(crate) fn new(edge: &str, deadline: Duration) -> Result<Self, LoadError> {
        let endpoint = Endpoint::from_shared(edge.to_owned())
            .map_err(|source| LoadError::Address { edge: edge.to_owned(), source })?
            .connect_timeout(CONNECT_LIMIT)
            .tcp_nodelay(true);
        let client = EdgeClient::new(endpoint.connect_lazy()).max_decoding_message_size(BATCH_BYTES_MAX);
        Ok(Self { client, deadline })
    }

    pub(crate) async fn get(&self, key: String) -> Result<GetResponse, Status> {
        get(&mut self.client.clone(), key, self.deadline).await
    }

    pub(crate) async fn put(&self, key: String, value: Vec<u8>) -> Result<PutResponse, Status> {
        let request = self.timed(PutRequest { key, value });
        within(self.deadline, self.client.clone().put(request)).await
    }

    /// Has a key in the cache under this prefix; an empty one is that of the fleet's configuration.
    pub(crate) async fn warm(&self, key: String, key_prefix: String) -> Result<WarmResponse, Status> {
        let request = self.timed(WarmRequest { key, key_prefix });
        within(self.deadline, self.client.clone().warm(request)).await
    }

    /// Reads the store's record of the writes under a prefix to its end. The deadline is that of the whole. Returns
    /// the first message, which says how much the record holds.
    pub(crate) async fn writes(
        &self,
        key_prefix: String,
        mut each: impl FnMut(StoreWrite),
    ) -> Result<Option<WritesResponse>, Status> {
        let request = self.timed(WritesRequest { key_prefix });
        let mut client = self.client.clone();
        let whole = async {
            let mut batches = client.writes(request).await?.into_inner();
            let mut extent = None;
            while let Some(mut batch) = batches.message().await? {
                std::mem::take(&mut batch.writes).into_iter().for_each(&mut each);
                extent.get_or_insert(batch);
            }
            Ok(Response::new(extent))
        };
        within(self.deadline, whole).await
    }

    fn timed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.deadline);
        request
    }
}

/// One read.
pub(crate) async fn get(
    client: &mut EdgeClient<Channel>,
    key: String,
    deadline: Duration,
) -> Result<GetResponse, Status> {
    let mut request = Request::new(GetRequest { key });
    request.set_timeout(deadline);
    within(deadline, client.get(request)).await
}

async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    let started = Instant::now();
    match tokio::time::timeout(deadline + GRACE, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        // tonic reports its own deadline as a cancellation.
        Ok(Err(status)) if status.code() == Code::Cancelled && started.elapsed() >= deadline => {
            Err(Status::deadline_exceeded(status.message()))
        }
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded("the caller gave up: no answer after the deadline")),
    }
}
