//! The session with the control plane: configuration and membership come in, acknowledgements go out.
//!
//! The last state is kept when the session breaks; it is opened again with jittered back-off. A new session's first update is
//! taken whatever its version: a control plane that was started anew counts from 1 again. Bad links alone are not kept for ever:
//! they are a fault that somebody has to be there to repair. A first update without any says that all are good, and without a
//! session they are good again after [`BAD_LINKS_KEPT`].

use crate::kit::Service;
use crate::rpc::{CallFailure, PeerUrl};
use herd_wire::v1::control_client::ControlClient;
use herd_wire::v1::{ControlUpdate, FleetConfig, LinkHits, Links, MemberReport, Membership, Role};
use prometheus_client::metrics::gauge::Gauge;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Lower limit of the wait before the session is opened again.
pub const BACK_OFF_MIN: Duration = Duration::from_millis(50);
/// Upper limit of the wait before the session is opened again.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// How long the control plane may take to accept a session.
const OPEN_MAX: Duration = Duration::from_secs(2);

/// How long links stay bad while there is no session.
pub const BAD_LINKS_KEPT: Duration = Duration::from_secs(10);

/// What `herd_config_version` says of itself, wherever it is shown.
pub const CONFIG_VERSION_HELP: &str = "Newest configuration: of a member the one that it applied, of the lab the one that it published; 0: none yet";

/// Settings of a process that joins the fleet; flatten them into its own.
#[derive(Clone, Debug, clap::Args)]
pub struct ControlArgs {
    /// The control plane, http://HOST:PORT
    #[arg(long, env = "HERD_CONTROL_URL", value_name = "URL")]
    pub control_url: PeerUrl,
    /// HOST[:PORT] at which others reach this process [default: the local address of the route to the control plane]
    #[arg(long, env = "HERD_ADVERTISE", value_name = "HOST[:PORT]")]
    pub advertise: Option<Advertise>,
}

/// An address given to others: a host and, unless it is the listening one, a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    host: String,
    port: Option<u16>,
}

impl std::str::FromStr for Advertise {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "expected HOST or HOST:PORT, with a port from 1 to 65535";
        let authority: http::uri::Authority = text.parse().map_err(|_| FORM)?;
        if authority.host().is_empty() || text.contains('@') {
            return Err(FORM);
        }
        let port = authority.port_u16();
        let asked = text.len() > authority.host().len();
        if asked && port.is_none_or(|port| port == 0) {
            return Err(FORM);
        }
        Ok(Self { host: authority.host().to_owned(), port })
    }
}

/// What the control plane last said, and the way to acknowledge it. Cloning shares it.
#[derive(Clone, Debug)]
pub struct ControlHandle {
    /// The newest configuration. Version 0: none was received yet.
    pub config: watch::Receiver<Arc<FleetConfig>>,
    /// The newest membership. Version 0: none was received yet.
    pub members: watch::Receiver<Arc<Membership>>,
    /// The newest state of the fleet's links. Version 0: none was received yet, or all are good as there is no session.
    pub links: watch::Receiver<Arc<Links>>,
    acknowledged: Arc<watch::Sender<MemberReport>>,
    config_version: Gauge,
}

impl ControlHandle {
    /// Tells the control plane, and whoever reads this process's metrics, that the configuration of this version is applied.
    pub fn ack_config(&self, version: u64) {
        self.config_version.set(i64::try_from(version).unwrap_or(i64::MAX));
        self.acknowledged.send_modify(|report| report.config_version = version);
    }

    /// Tells the control plane that the membership of this version is applied.
    pub fn ack_members(&self, version: u64) {
        self.acknowledged.send_modify(|report| report.members_version = version);
    }

    /// Tells the control plane that the links are in the state of this version, and how much the bad ones have hit.
    pub fn ack_links(&self, version: u64, hit: Vec<LinkHits>) {
        self.acknowledged.send_modify(|report| (report.links_version, report.links_hit) = (version, hit));
    }

    /// Tells the control plane how much the bad links have hit.
    pub fn report_links_hit(&self, hit: Vec<LinkHits>) {
        self.acknowledged.send_modify(|report| report.links_hit = hit);
    }
}

/// Joins the fleet as `role` and stays joined until the service drains. Must run inside a tokio runtime.
#[must_use]
pub fn join(service: &Service, role: Role, args: &ControlArgs) -> ControlHandle {
    let introduction = MemberReport {
        role: role.into(),
        instance: service.instance().to_string(),
        pid: std::process::id(),
        ..MemberReport::default()
    };
    let (config_tx, config) = watch::channel(Arc::default());
    let (members_tx, members) = watch::channel(Arc::default());
    let (links_tx, links) = watch::channel(Arc::default());
    let acknowledged = Arc::new(watch::Sender::new(introduction));
    let session = Session {
        args: args.clone(),
        grpc: service.grpc_address(),
        admin: service.admin_address(),
        reports: acknowledged.clone(),
        config: config_tx,
        members: members_tx,
        links: links_tx,
        shutdown: service.shutdown(),
    };
    tokio::spawn(session.keep());
    let config_version = Gauge::default();
    service.metrics().registry().register("herd_config_version", CONFIG_VERSION_HELP, config_version.clone());
    ControlHandle { config, members, links, acknowledged, config_version }
}

struct Session {
    args: ControlArgs,
    grpc: SocketAddr,
    admin: SocketAddr,
    reports: Arc<watch::Sender<MemberReport>>,
    config: watch::Sender<Arc<FleetConfig>>,
    members: watch::Sender<Arc<Membership>>,
    links: watch::Sender<Arc<Links>>,
    shutdown: CancellationToken,
}

/// The newest versions that a session brought.
#[derive(Default)]
struct Floors {
    config: u64,
    members: u64,
    links: u64,
}

/// How a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionEnd {
    #[error("no route to the control plane")]
    NoRoute(#[source] std::io::Error),
    #[error("the control plane did not accept the session in time")]
    NotAccepted,
    #[error("the control plane cannot be reached")]
    Unreachable,
    #[error("the session with the control plane broke: {}", .0.message())]
    Broken(Box<tonic::Status>),
    #[error("the control plane closed the session")]
    Closed,
}

fn broken(status: tonic::Status) -> SessionEnd {
    match CallFailure::of(&status) {
        CallFailure::Unreachable => SessionEnd::Unreachable,
        _ => SessionEnd::Broken(Box::new(status)),
    }
}

impl Session {
    async fn keep(self) {
        let shutdown = self.shutdown.clone();
        let mut client = ControlClient::new(self.args.control_url.channel());
        let forever = async {
            let mut back_off = BACK_OFF_MIN;
            let mut told = false;
            let mut lost = Instant::now();
            loop {
                let mut updates = 0_u64;
                let end = self.one(&mut client, &mut updates).await;
                if updates > 0 {
                    (back_off, told, lost) = (BACK_OFF_MIN, false, Instant::now());
                }
                if lost.elapsed() >= BAD_LINKS_KEPT {
                    self.mend_links();
                }
                // Said once an outage, not once an attempt.
                if !told {
                    warn!(control = %self.args.control_url, "{end}; keeping the last state and trying again");
                    told = true;
                }
                let jittered = back_off.mul_f64(rand::random_range(0.5..=1.0)).max(BACK_OFF_MIN);
                tokio::time::sleep(jittered).await;
                back_off = (back_off * 2).min(BACK_OFF_MAX);
            }
        };
        tokio::select! {
            () = forever => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn one(
        &self,
        client: &mut ControlClient<tonic::transport::Channel>,
        updates: &mut u64,
    ) -> SessionEnd {
        let ip = match self.route().await {
            Ok(ip) => ip,
            Err(error) => return SessionEnd::NoRoute(error),
        };
        self.reports.send_modify(|report| {
            report.address = self.advertised(ip);
            report.admin_address = host_port(particular(self.admin.ip(), ip), self.admin.port());
        });
        let reports = WatchStream::new(self.reports.subscribe());
        let opened = match tokio::time::timeout(OPEN_MAX, client.session(reports)).await {
            Err(_) => return SessionEnd::NotAccepted,
            Ok(Err(status)) => return broken(status),
            Ok(Ok(response)) => response,
        };
        let mut inbound = opened.into_inner();
        let mut floors = Floors::default();
        // No deadline here: a session lasts. HTTP/2 keep-alive ends it when the control plane is paused or gone.
        while let Some(update) = inbound.next().await {
            match update {
                Err(status) => return broken(status),
                Ok(update) => {
                    *updates += 1;
                    if *updates == 1 && update.links.is_none() {
                        self.mend_links();
                    }
                    self.take(update, &mut floors);
                }
            }
        }
        SessionEnd::Closed
    }

    /// Takes what is newer than what this session brought before.
    fn take(&self, update: ControlUpdate, floors: &mut Floors) {
        if let Some(config) = update.config.filter(|config| config.version > floors.config) {
            floors.config = config.version;
            if **self.config.borrow() != config {
                info!(version = config.version, "configuration received");
                self.config.send_replace(Arc::new(config));
            }
        }
        if let Some(members) = update.members.filter(|members| members.version > floors.members) {
            floors.members = members.version;
            if **self.members.borrow() != members {
                self.members.send_replace(Arc::new(members));
            }
        }
        if let Some(links) = update.links.filter(|links| links.version > floors.links) {
            floors.links = links.version;
            if **self.links.borrow() != links {
                self.links.send_replace(Arc::new(links));
            }
        }
    }

    fn mend_links(&self) {
        if !self.links.borrow().bad.is_empty() {
            warn!("nobody keeps the links bad any more; they are good again");
            self.links.send_replace(Arc::default());
        }
    }

    /// The local address of the route to the control plane.
    async fn route(&self) -> std::io::Result<IpAddr> {
        let (host, port) = (self.args.control_url.host(), self.args.control_url.port());
        let looked_up = tokio::time::timeout(OPEN_MAX, tokio::net::lookup_host((host, port))).await;
        let target = looked_up
            .map_err(|_| std::io::ErrorKind::TimedOut)??
            .next()
            .ok_or(std::io::ErrorKind::NotFound)?;
        let any: IpAddr = if target.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
        // Connecting a datagram socket sends nothing: it only asks for the route.
        let socket = std::net::UdpSocket::bind((any, 0))?;
        socket.connect(target)?;
        Ok(socket.local_addr()?.ip())
    }

    fn advertised(&self, route: IpAddr) -> String {
        match &self.args.advertise {
            Some(Advertise { host, port }) => format!("{host}:{}", port.unwrap_or(self.grpc.port())),
            None => host_port(particular(self.grpc.ip(), route), self.grpc.port()),
        }
    }
}

/// The address that was bound, if it is a particular one; else that of the route.
fn particular(bound: IpAddr, route: IpAddr) -> IpAddr {
    if bound.is_unspecified() { route } else { bound }
}

fn host_port(ip: IpAddr, port: u16) -> String {
    SocketAddr::new(ip, port).to_string()
}
