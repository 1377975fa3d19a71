//! The life of a process: read settings, start telemetry, bind, serve, drain.
//!
//! ```no_run
//! use herd_service::kit::{self, Role, Service, ServiceArgs};
//! use herd_service::settings::Settings;
//!
//! #[derive(clap::Parser)]
//! struct Args {
//!     #[command(flatten)]
//!     service: ServiceArgs,
//! }
//!
//! impl Settings for Args {
//!     fn service(&self) -> &ServiceArgs {
//!         &self.service
//!     }
//! }
//!
//! const ROLE: Role = Role { name: "origin", about: "The slow origin.", grpc_port: 7401, admin_port: 9401 };
//!
//! fn main() -> std::process::ExitCode {
//!     kit::run(ROLE, async |_args: Args, service: Service| {
//!         // service.add(OriginServer::new(..));
//!         Ok(service.serve().await?)
//!     })
//! }
//! ```

use crate::metrics::Metrics;
use crate::telemetry::{self, LogFilter, SpanArgs};
use crate::{admin, rpc};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::RoutesBuilder;
use tonic::transport::server::TcpIncoming;
use tracing::{info, warn};

pub use crate::run::{block_on, run};

/// Calls that may wait on one connection. A herd waits on few connections, so it is far above HTTP/2's usual 200.
const STREAMS_MAX: u32 = 200_000;

/// Calls that a peer may cancel before they were looked at, before its connection counts as hostile. Clients that give up
/// together are what this testbed is for.
const RESETS_MAX: usize = 100_000;

/// What a process is: its name in flags, metrics and traces, and its usual ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// `edge`, `cache-node`, `lock-service`, `origin`
    pub name: &'static str,
    /// one line for `--help`
    pub about: &'static str,
    /// default port of gRPC
    pub grpc_port: u16,
    /// default port of the admin HTTP
    pub admin_port: u16,
}

/// The settings of every process; flatten them into the process's own with `#[command(flatten)]`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServiceArgs {
    /// Address of the gRPC port; port 0 takes any free one
    #[arg(long, env = "HERD_LISTEN", value_name = "ADDR:PORT", default_value = "0.0.0.0:0")]
    pub listen: SocketAddr,
    /// Address of the admin port (/metrics, /healthz, /readyz); port 0 takes any free one
    #[arg(long, env = "HERD_ADMIN", value_name = "ADDR:PORT", default_value = "0.0.0.0:0")]
    pub admin: SocketAddr,
    /// Name of this process, unique in its role [default: the host's name]
    #[arg(long, env = "HERD_INSTANCE", value_name = "NAME")]
    pub instance: Option<InstanceName>,
    /// How long requests under way may take to finish after SIGTERM, milliseconds
    #[arg(long, env = "HERD_DRAIN_MS", value_name = "MS", default_value_t = 5000,
          value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub drain_ms: u64,
    /// Which log lines go to standard error, as in `info,herd_edge=debug`
    #[arg(long, env = "HERD_LOG", value_name = "FILTER", default_value = "info")]
    pub log: LogFilter,
    /// Which spans go where.
    #[command(flatten)]
    pub spans: SpanArgs,
}

impl ServiceArgs {
    /// Settings for a process inside a test: loopback, any free ports.
    #[must_use]
    pub fn ephemeral(instance: &str) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let instance = instance.parse().ok();
        let log = "info".parse().expect("a level name is a filter");
        Self { listen: any, admin: any, instance, drain_ms: 5000, log, spans: SpanArgs::default() }
    }
}

/// A process's name: 1 to 128 bytes of `A-Z a-z 0-9 . _ : -`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceName(pub(crate) Arc<str>);

impl std::str::FromStr for InstanceName {
    type Err = herd_wire::key::KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        herd_wire::key::check_key(text)?;
        Ok(Self(text.into()))
    }
}

impl InstanceName {
    /// The name of this host, or `unnamed` if it has none that fits.
    #[must_use]
    pub fn of_host() -> Self {
        let said =
            std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
        let parsed = said.ok().and_then(|name| name.trim().parse().ok());
        parsed.unwrap_or_else(|| Self("unnamed".into()))
    }
}

/// Why a service cannot start or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A port cannot be bound.
    #[error("cannot listen on {address} ({what})")]
    Bind {
        /// which port
        what: &'static str,
        /// where
        address: SocketAddr,
        /// why
        #[source]
        source: std::io::Error,
    },
    /// The gRPC server ended by itself.
    #[error("the gRPC server failed")]
    Grpc(#[source] tonic::transport::Error),
    /// The HTTP server ended by itself.
    #[error("the HTTP server failed")]
    Http(#[source] std::io::Error),
    /// The descriptors that reflection serves are broken.
    #[error("gRPC reflection cannot be built")]
    Reflection(#[source] tonic_reflection::server::Error),
}

/// Whether the process wants requests. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Mutex<BTreeSet<&'static str>>>);

impl Readiness {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(BTreeSet::from(["starting"]))))
    }

    /// Makes `/readyz` say 503 with this reason until [`Self::allow`] withdraws it.
    pub fn hold(&self, why: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(why);
    }

    /// Withdraws a reason.
    pub fn allow(&self, why: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(why);
    }

    /// The first reason not to send requests here, if there is one.
    #[must_use]
    pub fn why_not(&self) -> Option<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).first().copied()
    }
}

/// A process on its way up: ports are bound, the admin port answers (not ready yet).
///
/// Add gRPC services with [`Self::add`], then [`Self::serve`].
pub struct Service {
    role: Role,
    instance: InstanceName,
    grpc: TcpListener,
    grpc_address: SocketAddr,
    admin_address: SocketAddr,
    http: Option<(TcpListener, SocketAddr, axum::Router)>,
    metrics: Metrics,
    readiness: Readiness,
    shutdown: CancellationToken,
    ended: CancellationToken,
    drain: Duration,
    routes: RoutesBuilder,
    names: Vec<&'static str>,
    pub(crate) announce: bool,
}

impl Service {
    /// Binds the ports and starts the admin port. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// [`ServiceError::Bind`].
    pub async fn start(role: Role, args: &ServiceArgs) -> Result<Self, ServiceError> {
        let (grpc, grpc_address) = bind("gRPC", args.listen).await?;
        let (admin, admin_address) = bind("admin", args.admin).await?;
        let (metrics, readiness, ended) = (Metrics::new(), Readiness::new(), CancellationToken::new());
        telemetry::register(&metrics);
        let serving = axum::serve(admin, admin::router(metrics.clone(), readiness.clone()));
        let admin_ended = ended.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = std::future::IntoFuture::into_future(serving) => {}
                () = admin_ended.cancelled() => {}
            }
        });
        Ok(Self {
            role,
            instance: args.instance.clone().unwrap_or_else(InstanceName::of_host),
            grpc,
            grpc_address,
            admin_address,
            http: None,
            metrics,
            readiness,
            shutdown: CancellationToken::new(),
            ended,
            drain: Duration::from_millis(args.drain_ms),
            routes: RoutesBuilder::default(),
            names: Vec::new(),
            announce: false,
        })
    }

    /// Adds a gRPC service.
    pub fn add<S>(&mut self, service: S) -> &mut Self
    where
        S: tower::Service<http::Request<tonic::body::Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        self.routes.add_service(service);
        self.names.push(S::NAME);
        self
    }

    /// Adds an HTTP port, which drains with the gRPC one.
    ///
    /// # Errors
    /// [`ServiceError::Bind`].
    pub async fn add_http(&mut self, address: SocketAddr, router: axum::Router) -> Result<(), ServiceError> {
        let (listener, bound) = bind("HTTP", address).await?;
        self.http = Some((listener, bound, router));
        Ok(())
    }

    /// What this process is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The process's name.
    #[must_use]
    pub fn instance(&self) -> Arc<str> {
        self.instance.0.clone()
    }

    /// Where gRPC really listens.
    #[must_use]
    pub const fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where the admin port really listens.
    #[must_use]
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Where HTTP really listens, if it was added.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|(_, address, _)| *address)
    }

    /// The process's metrics.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Reasons not to be sent requests.
    #[must_use]
    pub const fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Cancelled when the process begins to drain. Cancel it to make the process drain.
    #[must_use]
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Serves until the process is told to stop, then drains: no new connections, requests under way may finish within the
    /// drain time, what is left is cut off.
    ///
    /// # Errors
    /// A server ended by itself.
    pub async fn serve(mut self) -> Result<(), ServiceError> {
        let (health, health_service) = tonic_health::server::health_reporter();
        for name in &self.names {
            health.set_service_status(name, tonic_health::ServingStatus::Serving).await;
        }
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(herd_wire::descriptors())
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(ServiceError::Reflection)?;
        self.routes.add_service(health_service).add_service(reflection);

        let ready_line = self.ready_line();
        let Self { grpc, http, routes, readiness, shutdown, drain, names, role, .. } = self;
        let grpc_server = grpc_builder().add_routes(routes.routes().prepare()).serve_with_incoming_shutdown(
            TcpIncoming::from(grpc).with_nodelay(Some(true)),
            shutdown.clone().cancelled_owned(),
        );
        let http_server = serve_http(http, shutdown.clone());
        let servers = async {
            let (grpc, http) =
                tokio::join!(async { grpc_server.await.map_err(ServiceError::Grpc) }, http_server);
            grpc.and(http)
        };
        tokio::pin!(servers);

        if self.announce {
            announce(&ready_line);
        }
        readiness.allow("starting");
        info!(role = role.name, instance = &*self.instance.0, grpc = %self.grpc_address, admin = %self.admin_address, "ready");

        tokio::select! {
            // First, so that a drain is one even when nothing is under way.
            biased;
            () = shutdown.cancelled() => {}
            ended = &mut servers => return ended,
        }
        readiness.hold("draining");
        info!(limit_ms = drain.as_millis(), "draining");
        for name in names {
            health.set_service_status(name, tonic_health::ServingStatus::NotServing).await;
        }
        let drained = tokio::time::timeout(drain, servers).await;
        self.ended.cancel();
        drained.unwrap_or_else(|_| {
            warn!("some requests did not finish within the drain time and are cut off");
            Ok(())
        })
    }

    fn ready_line(&self) -> String {
        let http = self.http_address().map(|address| format!("\"http\":\"{address}\",")).unwrap_or_default();
        format!(
            r#"{{"ready":true,"role":"{}","instance":"{}","grpc":"{}","admin":"{}",{http}"pid":{}}}"#,
            self.role.name,
            self.instance.0,
            self.grpc_address,
            self.admin_address,
            std::process::id()
        )
    }
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServiceError> {
    let failed = |source| ServiceError::Bind { what, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn grpc_builder() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(rpc::STREAM_WINDOW)
        .initial_connection_window_size(rpc::CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .http2_max_pending_accept_reset_streams(Some(RESETS_MAX))
        .http2_max_local_error_reset_streams(Some(RESETS_MAX))
}

async fn serve_http(
    http: Option<(TcpListener, SocketAddr, axum::Router)>,
    shutdown: CancellationToken,
) -> Result<(), ServiceError> {
    use axum::serve::ListenerExt as _;
    let Some((listener, _, router)) = http else { return Ok(()) };
    let listener = listener.tap_io(|stream| {
        // A socket that is already gone shows when it is read.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .map_err(ServiceError::Http)
}

pub(crate) fn announce(line: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever started us may have stopped reading; that is no reason not to serve.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
