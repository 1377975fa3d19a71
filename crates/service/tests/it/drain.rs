//! Serving and draining.

use crate::fake_control::PATIENCE;
use herd_service::kit::{Role, Service, ServiceArgs};
use herd_service::rpc;
use herd_wire::v1::echo_client::EchoClient;
use herd_wire::v1::echo_server::{Echo, EchoServer};
use herd_wire::v1::{EchoRequest, EchoResponse};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

const ROLE: Role = Role { name: "test", about: "", grpc_port: 0, admin_port: 0 };

/// Answers when it is allowed to; says when a request came in.
struct Waiting {
    entered: Arc<Semaphore>,
    allowed: Arc<Semaphore>,
}

#[tonic::async_trait]
impl Echo for Waiting {
    async fn echo(&self, _: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        self.entered.add_permits(1);
        self.allowed.acquire().await.unwrap().forget();
        Ok(Response::new(EchoResponse::default()))
    }
}

struct Running {
    grpc: SocketAddr,
    admin: SocketAddr,
    entered: Arc<Semaphore>,
    allowed: Arc<Semaphore>,
    shutdown: tokio_util::sync::CancellationToken,
    served: tokio::task::JoinHandle<Result<(), herd_service::kit::ServiceError>>,
}

async fn start(drain_ms: u64) -> Running {
    let args = ServiceArgs { drain_ms, ..ServiceArgs::ephemeral("t") };
    let mut service = Service::start(ROLE, &args).await.unwrap();
    let (entered, allowed) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    service.add(EchoServer::new(Waiting { entered: entered.clone(), allowed: allowed.clone() }));
    let (grpc, admin, shutdown) = (service.grpc_address(), service.admin_address(), service.shutdown());
    let served = tokio::spawn(service.serve());
    Running { grpc, admin, entered, allowed, shutdown, served }
}

impl Running {
    fn client(&self) -> EchoClient<tonic::transport::Channel> {
        EchoClient::new(rpc::channel(&format!("http://{}", self.grpc)).unwrap())
    }

    async fn entered(&self, requests: u32) {
        let entered = tokio::time::timeout(PATIENCE, self.entered.acquire_many(requests)).await;
        entered.expect("not all requests came in").unwrap().forget();
    }

    async fn readyz(&self) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.admin).await.unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

/// A drain lets the request under way finish, tells load balancers, and refuses new connections.
#[tokio::test]
async fn drain_finishes_requests_under_way() {
    let running = start(20_000).await;
    let mut client = running.client();
    let request = tokio::spawn(async move { client.echo(EchoRequest::default()).await });
    running.entered(1).await;
    assert!(running.readyz().await.starts_with("HTTP/1.1 200"));

    running.shutdown.cancel();
    // Serving notices the token before it answers anything else on this thread.
    tokio::task::yield_now().await;
    let answer = running.readyz().await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("draining"), "{answer}");
    assert!(!rpc::is_serving(&rpc::channel(&format!("http://{}", running.grpc)).unwrap(), PATIENCE).await);

    running.allowed.add_permits(1);
    assert!(request.await.unwrap().is_ok());
    tokio::time::timeout(PATIENCE, running.served).await.unwrap().unwrap().unwrap();
}

/// A request that never ends does not hold the process up beyond the drain time.
#[tokio::test]
async fn drain_has_a_limit() {
    let running = start(50).await;
    let mut client = running.client();
    let request = tokio::spawn(async move { client.echo(EchoRequest::default()).await });
    running.entered(1).await;
    running.shutdown.cancel();
    tokio::time::timeout(PATIENCE, running.served).await.unwrap().unwrap().unwrap();
    request.abort();
}

/// A herd may wait on one connection: HTTP/2's usual limit of 200 calls does not apply, and callers that all hang up at
/// once do not cost the others their connection.
#[tokio::test]
async fn thousands_wait_on_one_connection() {
    const HERD: u32 = 4_000;
    let running = start(5_000).await;
    let client = running.client();
    let echo = |mut client: EchoClient<tonic::transport::Channel>| async move {
        client.echo(EchoRequest::default()).await
    };
    let staying: Vec<_> = (0..HERD).map(|_| tokio::spawn(echo(client.clone()))).collect();
    running.entered(HERD).await;
    let leaving: Vec<_> = (0..HERD).map(|_| tokio::spawn(echo(client.clone()))).collect();
    running.entered(HERD).await;
    for request in leaving {
        request.abort();
    }
    running.allowed.add_permits(2 * HERD as usize);
    for request in staying {
        assert!(request.await.unwrap().is_ok());
    }
}

/// Health checking and reflection answer on the gRPC port.
#[tokio::test]
async fn health_and_reflection() {
    let running = start(5_000).await;
    let channel = rpc::channel(&format!("http://{}", running.grpc)).unwrap();
    assert!(rpc::is_serving(&channel, PATIENCE).await);
    let mut reflection =
        tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(channel);
    let ask = tonic_reflection::pb::v1::ServerReflectionRequest {
        message_request: Some(
            tonic_reflection::pb::v1::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
        ..Default::default()
    };
    let mut answers =
        reflection.server_reflection_info(tokio_stream::iter([ask])).await.unwrap().into_inner();
    let answer = format!("{:?}", answers.message().await.unwrap());
    for name in [
        "herd.v1.Edge",
        "herd.v1.CacheNode",
        "herd.v1.LockService",
        "herd.v1.Origin",
        "grpc.health.v1.Health",
    ] {
        assert!(answer.contains(name), "{name} is missing in {answer}");
    }
}
