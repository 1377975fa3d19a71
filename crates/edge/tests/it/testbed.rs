//! An edge in this process, with clients for both of its protocols.

use crate::fake_control::{FakeControl, PATIENCE};
use herd_edge::EdgeArgs;
use herd_service::kit::{Service, ServiceArgs, ServiceError};
use herd_wire::v1::edge_client::EdgeClient;
use herd_wire::v1::{ControlUpdate, FleetConfig, Member, Membership, Routing};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

pub(crate) struct Testbed {
    pub(crate) grpc: EdgeClient<Channel>,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) control: FakeControl,
    pub(crate) shutdown: tokio_util::sync::CancellationToken,
    pub(crate) served: JoinHandle<Result<(), ServiceError>>,
}

/// An answer over HTTP.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: serde_json::Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// The fleet that the control plane tells of.
pub(crate) fn fleet(version: u64, routing: Routing, nodes: &[SocketAddr]) -> ControlUpdate {
    let member = |(n, address): (usize, &SocketAddr)| Member {
        instance: format!("n{n}"),
        address: address.to_string(),
    };
    ControlUpdate {
        config: Some(FleetConfig { version, routing: routing.into(), ..FleetConfig::default() }),
        members: Some(Membership { version, nodes: nodes.iter().enumerate().map(member).collect() }),
        links: None,
    }
}

impl Testbed {
    pub(crate) async fn start(routing: Routing, nodes: &[SocketAddr]) -> Self {
        Self::start_with(routing, nodes, |_| {}).await
    }

    pub(crate) async fn start_with(
        routing: Routing,
        nodes: &[SocketAddr],
        adapt: impl FnOnce(&mut EdgeArgs),
    ) -> Self {
        let mut control = FakeControl::start(None, fleet(1, routing, nodes));
        let mut args = EdgeArgs {
            service: ServiceArgs::ephemeral("edge"),
            control: herd_service::control::ControlArgs {
                control_url: control.url().parse().unwrap(),
                advertise: None,
            },
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            request_deadline_ms: 10_000,
            max_in_flight: 1000,
        };
        adapt(&mut args);
        let service = Service::start(herd_edge::ROLE, &args.service).await.unwrap();
        let edge = herd_edge::build(&args, service).await.unwrap();
        let grpc = herd_service::rpc::channel(&format!("http://{}", edge.grpc_address())).unwrap();
        let (http, admin, shutdown) = (edge.http_address().unwrap(), edge.admin_address(), edge.shutdown());
        let served = tokio::spawn(edge.serve());
        control.report(|report| report.config_version == 1 && report.members_version == 1).await;
        Self { grpc: EdgeClient::new(grpc), http, admin, control, shutdown, served }
    }

    pub(crate) async fn http(&self, method: &str, path: &str, headers: &str) -> Answer {
        http(self.http, method, path, headers).await
    }

    /// The value of one line of `/metrics`.
    pub(crate) async fn metric(&self, line: &str) -> u64 {
        let text = raw(self.admin, "GET", "/metrics", "", b"").await;
        let value = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{line} is missing")).parse().unwrap()
    }

    /// Whether the edge shows this member as ejected.
    pub(crate) async fn is_ejected(&self, member: usize) -> bool {
        let shown = self.http("GET", "/v1/members", "").await;
        shown.body["members"][member]["ejected"].as_bool().unwrap()
    }
}

pub(crate) async fn http(at: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    http_with(at, method, path, headers, b"").await
}

/// A request with a body.
pub(crate) async fn http_with(
    at: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Answer {
    let headers = format!("{headers}content-length: {}\r\n", body.len());
    read(&raw(at, method, path, &headers, body).await)
}

/// A request whose headers announce a body that never comes.
pub(crate) async fn announced(at: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    read(&raw(at, method, path, headers, b"").await)
}

fn read(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {body}"));
    Answer { status, head: head.replace('\r', ""), body }
}

async fn raw(at: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> String {
    let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

/// Waits until a predicate holds that nothing announces.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "never came true: {what}");
}
