//! A cache node for tests, whose behaviour is named by the key. It can be killed and started again at the same port.

use crate::fake_control::{crash, own_runtime};
use herd_service::trace::TraceContext;
use herd_wire::error::{ErrorSource, status};
use herd_wire::v1::cache_node_server::{CacheNode, CacheNodeServer};
use herd_wire::v1::{
    GetRequest, GetResponse, InvalidateRequest, InvalidateResponse, PutRequest, PutResponse, Served,
    StoreWrite, WarmRequest, WarmResponse, WritesRequest, WritesResponse,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;
use tokio_stream::{Stream, StreamExt as _};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status};

/// What a node was asked: the key, and the metadata that came with it.
pub(crate) type Asked = Arc<Mutex<Vec<(String, MetadataMap)>>>;

/// What came with a key: a value, or a prefix.
pub(crate) type Told = Arc<Mutex<Vec<Vec<u8>>>>;

pub(crate) struct FakeNode {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Asked,
    /// The values that were put, and the prefixes that keys were warmed under.
    pub(crate) told: Told,
    /// Requests for `slow` that came in.
    pub(crate) slow_entered: Arc<Semaphore>,
    /// Requests for `slow` that may be answered.
    pub(crate) slow_allowed: Arc<Semaphore>,
    runtime: Option<tokio::runtime::Runtime>,
}

struct Answering {
    name: String,
    asked: Asked,
    told: Told,
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
        let (asked, told) = (Asked::default(), Told::default());
        let (slow_entered, slow_allowed) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let answering = Answering {
            name: name.to_owned(),
            asked: asked.clone(),
            told: told.clone(),
            slow_entered: slow_entered.clone(),
            slow_allowed: slow_allowed.clone(),
        };
        // Which says that the server as a whole serves.
        let (_, health) = tonic_health::server::health_reporter();
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(health)
                .add_service(CacheNodeServer::new(answering).max_decoding_message_size(8 << 20))
                .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)),
        );
        Self { address, asked, told, slow_entered, slow_allowed, runtime: Some(runtime) }
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
            "busy-for-a-while" => {
                let mut shut = status(Code::ResourceExhausted, ErrorSource::Origin, "the gate is shut");
                shut.metadata_mut().insert("grpc-retry-pushback-ms", MetadataValue::from(2_001));
                return Err(shut);
            }
            "negative" | "filtered" => return Err(absent(&key, &self.name)),
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
            served: match key.as_str() {
                "local" => Served::HitLocal,
                "waited" => Served::Waited,
                _ => Served::Hit,
            }
            .into(),
            generation: 5,
            config_version: 1,
            node: self.name.clone(),
            reference,
            rebuild_trace: if key == "waited" { "9c".repeat(16) } else { String::new() },
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

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let (metadata, _, PutRequest { key, value }) = request.into_parts();
        self.asked.lock().unwrap().push((key, metadata));
        self.told.lock().unwrap().push(value);
        Ok(Response::new(PutResponse { version: 4, generation: 7 }))
    }

    async fn warm(&self, request: Request<WarmRequest>) -> Result<Response<WarmResponse>, Status> {
        let (metadata, _, WarmRequest { key, key_prefix }) = request.into_parts();
        self.asked.lock().unwrap().push((key, metadata));
        self.told.lock().unwrap().push(key_prefix.into_bytes());
        Ok(Response::new(WarmResponse { served: Served::Led.into(), generation: 8 }))
    }

    type WritesStream = Pin<Box<dyn Stream<Item = Result<WritesResponse, Status>> + Send>>;

    /// Three parts of one write each, of which the last is what the prefix says: an error, or never there.
    async fn writes(&self, request: Request<WritesRequest>) -> Result<Response<Self::WritesStream>, Status> {
        let (metadata, _, WritesRequest { key_prefix }) = request.into_parts();
        self.asked.lock().unwrap().push((key_prefix.clone(), metadata));
        let part = |token| {
            Ok(WritesResponse {
                writes: vec![StoreWrite { token, ..StoreWrite::default() }],
                ..WritesResponse::default()
            })
        };
        let two = tokio_stream::iter([part(1), part(2)]);
        Ok(Response::new(match key_prefix.as_str() {
            "away" => Box::pin(two.chain(tokio_stream::iter([Err(status(
                Code::Unavailable,
                ErrorSource::Cache,
                "Redis is away",
            ))]))),
            "endless" => Box::pin(two.chain(tokio_stream::pending())),
            _ => Box::pin(two.chain(tokio_stream::iter([part(3)]))),
        }))
    }
}

/// A NOT_FOUND that says how the node knew.
fn absent(served: &str, node: &str) -> Status {
    let mut absent = status(Code::NotFound, ErrorSource::Origin, "no such row");
    let said = [
        ("herd-served", served),
        ("herd-node", node),
        ("herd-config-version", "1"),
        ("herd-generation", "9"),
    ];
    for (name, value) in said {
        absent.metadata_mut().insert(name, value.parse().unwrap());
    }
    absent
}
