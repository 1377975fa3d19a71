//! A cache node for tests, whose behaviour is named by the key. It can be killed and started again at the same port.

use crate::fake_control::{crash, own_runtime};
use herd_service::trace::TraceContext;
use herd_wire::error::{ErrorSource, status};
use herd_wire::v1::cache_node_server::{CacheNode, CacheNodeServer};
use herd_wire::v1::{GetRequest, GetResponse, InvalidateRequest, InvalidateResponse, Served};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

/// What a node was asked: the key, and the metadata that came with it.
pub(crate) type Asked = Arc<Mutex<Vec<(String, MetadataMap)>>>;

pub(crate) struct FakeNode {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Asked,
    /// Requests for `slow` that came in.
    pub(crate) slow_entered: Arc<Semaphore>,
    /// Requests for `slow` that may be answered.
    pub(crate) slow_allowed: Arc<Semaphore>,
    runtime: Option<tokio::runtime::Runtime>,
}

struct Answering {
    name: String,
    asked: Asked,
    slow_entered: Arc<Semaphore>,
    slow_allowed: Arc<Semaphore>,
}

impl FakeNode {
    pub(crate) fn start(name: &str) -> Self {
        Self::start_at(name, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    pub(crate) fn start_at(name: &str, at: SocketAddr) -> Self {
        let runtime = own_runtime();
        let listener = listen(&runtime, at);
        let address = listener.local_addr().unwrap();
        let (asked, slow_entered, slow_allowed) =
            (Asked::default(), Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let answering = Answering {
            name: name.to_owned(),
            asked: asked.clone(),
            slow_entered: slow_entered.clone(),
            slow_allowed: slow_allowed.clone(),
        };
        // Which says that the server as a whole serves.
        let (_, health) = tonic_health::server::health_reporter();
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(health)
                .add_service(CacheNodeServer::new(answering))
                .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)),
        );
        Self { address, asked, slow_entered, slow_allowed, runtime: Some(runtime) }
    }

    pub(crate) fn times_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            crash(runtime);
        }
    }
}

/// A node that accepts connections and never says a word, as a paused container does.
pub(crate) struct SilentNode {
    pub(crate) address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

impl SilentNode {
    pub(crate) fn start() -> Self {
        let runtime = own_runtime();
        let listener = listen(&runtime, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
        Self { address, runtime: Some(runtime) }
    }
}

impl Drop for SilentNode {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            crash(runtime);
        }
    }
}

fn listen(runtime: &tokio::runtime::Runtime, at: SocketAddr) -> tokio::net::TcpListener {
    let _inside = runtime.enter();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(at).unwrap();
    socket.listen(1024).unwrap()
}

#[tonic::async_trait]
impl CacheNode for Answering {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let reference =
            TraceContext::extract(request.metadata()).map(|context| context.trace_id()).unwrap_or_default();
        let (metadata, _, GetRequest { key }) = request.into_parts();
        self.asked.lock().unwrap().push((key.clone(), metadata));
        let value: &[u8] = match key.as_str() {
            "missing" => return Err(status(Code::NotFound, ErrorSource::Origin, "no such row")),
            "away" => return Err(status(Code::Unavailable, ErrorSource::Cache, "Redis is away")),
            "late" => {
                return Err(status(Code::DeadlineExceeded, ErrorSource::Origin, "the origin was too slow"));
            }
            "busy" => return Err(status(Code::ResourceExhausted, ErrorSource::Origin, "the gate is shut")),
            "broken" => return Err(Status::internal("a status that does not say whose fault it is")),
            "slow" => {
                self.slow_entered.add_permits(1);
                self.slow_allowed.acquire().await.unwrap().forget();
                b"\"slow\""
            }
            "text" => b"plain text",
            "bytes" => &[0xff, 0x00],
            _ => br#"{"price":7}"#,
        };
        Ok(Response::new(GetResponse {
            value: value.to_vec().into(),
            version: 3,
            age_ms: 12,
            served: Served::Hit.into(),
            generation: 5,
            config_version: 1,
            node: self.name.clone(),
            reference,
            rebuild_trace: String::new(),
        }))
    }

    async fn invalidate(
        &self,
        request: Request<InvalidateRequest>,
    ) -> Result<Response<InvalidateResponse>, Status> {
        let (metadata, _, InvalidateRequest { key }) = request.into_parts();
        self.asked.lock().unwrap().push((key, metadata));
        Ok(Response::new(InvalidateResponse { generation: 6 }))
    }
}
