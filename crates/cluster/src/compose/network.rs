//! How the host reaches containers.
//!
//! Where the engine runs on this very machine, a container's own address leads to it directly; published ports go
//! through a proxy process of the engine, which costs processor time that a measurement would rather have. Elsewhere
//! (Docker Desktop, a remote engine) the published port is the only way.

use super::{files, observe};
use crate::{engine::Container, probe};
use herd_experiment::testbed::{Endpoints, Part, TestbedError};
use std::time::Duration;
use tokio::{net::TcpStream, time::timeout};

/// The parts that exist once and serve, in the order in which they get ready.
pub(super) const SERVED: [Part; 3] = [Part::LockService, Part::Edge, Part::Origin];
/// How long a direct connection may take before the published port is used.
const DIRECT_MAX: Duration = Duration::from_millis(300);
const PROBE_MAX: Duration = Duration::from_secs(2);

/// Ports inside the containers, as `compose.yaml` fixes them.
pub(super) const fn grpc_port(part: Part) -> u16 {
    match part {
        Part::Edge => 7101,
        Part::CacheNode => 7201,
        Part::LockService => 7301,
        Part::Origin => 7401,
        Part::Redis => 6379,
        Part::Database => 5432,
    }
}
const EDGE_HTTP_PORT: u16 = 8080;

/// The admin ports follow the gRPC ports.
const fn admin_port(part: Part) -> u16 {
    grpc_port(part) + 2000
}

/// Which of the two ways leads to the containers. Found out once, while everything runs: a container that has just been
/// started does not answer yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Route {
    /// Their own addresses.
    Direct,
    /// The ports that they publish.
    #[default]
    Published,
}

impl Route {
    /// Tries it on a container that serves `port`.
    pub(super) async fn find(container: &Container, port: u16) -> Self {
        let Some(direct) = Self::Direct.to(container, port) else { return Self::Published };
        match timeout(DIRECT_MAX, TcpStream::connect(&direct)).await {
            Ok(Ok(_)) => Self::Direct,
            _ => Self::Published,
        }
    }

    /// `host:port` that leads to a port of a container; `None` while that does not run.
    pub(super) fn to(self, container: &Container, port: u16) -> Option<String> {
        match self {
            Self::Direct => container.address.as_ref().map(|address| format!("{address}:{port}")),
            Self::Published => {
                let (_, published) = container.ports.iter().find(|(inside, _)| *inside == port)?;
                Some(format!("127.0.0.1:{published}"))
            }
        }
    }
}

/// Says why a part is not ready.
pub(super) async fn ready(container: &Container) -> Result<(), String> {
    if container.state != "running" {
        return Err(container.status.clone());
    }
    let part = files::part(&container.service).ok_or("it is no part of the fleet")?;
    let route = Route::find(container, admin_port(part)).await;
    let at = route.to(container, admin_port(part)).ok_or("its admin port is not published")?;
    // The edge is ready once it knows nodes, which the caller waits for.
    let question = if part == Part::Edge { "healthz" } else { "readyz" };
    let url = format!("http://{at}/{question}");
    let asked = tokio::task::spawn_blocking(move || probe::probe(&url, PROBE_MAX));
    match asked.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// The way to the containers, tried on one that is ready.
pub(super) async fn route(containers: &[Container]) -> Route {
    let lock_service =
        containers.iter().find(|container| container.service == files::service(Part::LockService));
    match lock_service {
        Some(container) => Route::find(container, grpc_port(Part::LockService)).await,
        None => Route::default(),
    }
}

/// Where everything is. A part that does not run is where it was `last`.
pub(super) fn endpoints(
    containers: &[Container],
    route: Route,
    last: Option<&Endpoints>,
) -> Result<Endpoints, TestbedError> {
    let served = |service: &str, port: u16| {
        let container = containers.iter().find(|container| container.service == service)?;
        route.to(container, port)
    };
    let found = |part: Part, port: u16| served(files::service(part), port);
    let at = |part: Part, port: u16, last: Option<&String>| {
        let now = found(part, port).map(|at| format!("http://{at}"));
        now.or_else(|| last.cloned()).ok_or_else(|| TestbedError::Other {
            doing: format!("finding the address of {part}"),
            why: format!("port {port} is not published"),
        })
    };
    let beside = observe::CONSOLES.iter().map(|console| {
        let url = served(console.service, console.port).map(|at| format!("http://{at}"));
        (console.name.to_owned(), url)
    });
    let metrics = SERVED.iter().map(|part| {
        let url = found(*part, admin_port(*part)).map(|at| format!("http://{at}/metrics"));
        (format!("{part} metrics"), url)
    });
    let mut consoles = Vec::new();
    for (name, now) in beside.chain(metrics) {
        let before = last.and_then(|last| last.consoles.iter().find(|(which, _)| *which == name));
        consoles.extend(now.or_else(|| before.map(|(_, url)| url.clone())).map(|url| (name, url)));
    }
    let redis_url = found(Part::Redis, grpc_port(Part::Redis)).map(|at| format!("redis://{at}"));
    let grpc = |part: Part, last: Option<&String>| at(part, grpc_port(part), last);
    Ok(Endpoints {
        edge_grpc: grpc(Part::Edge, last.map(|last| &last.edge_grpc))?,
        edge_http: at(Part::Edge, EDGE_HTTP_PORT, last.map(|last| &last.edge_http))?,
        origin_grpc: grpc(Part::Origin, last.map(|last| &last.origin_grpc))?,
        lock_grpc: grpc(Part::LockService, last.map(|last| &last.lock_grpc))?,
        redis_url: redis_url.or_else(|| last.and_then(|last| last.redis_url.clone())),
        consoles,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(part: Part, address: Option<&str>) -> Container {
        let port = grpc_port(part);
        Container {
            id: String::new(),
            service: files::service(part).to_owned(),
            number: 1,
            state: String::new(),
            status: String::new(),
            address: address.map(ToOwned::to_owned),
            ports: vec![(port, port + 1), (admin_port(part), 9), (EDGE_HTTP_PORT, 80)],
        }
    }

    /// Goal: each way leads to its own address, a part that moved is found, and one that does not run is where it was.
    #[test]
    fn finds_parts_that_move() {
        let parts = [Part::Edge, Part::Origin, Part::LockService, Part::Redis];
        let mut containers: Vec<Container> =
            parts.iter().map(|part| container(*part, Some("10.0.0.2"))).collect();
        let published = endpoints(&containers, Route::Published, None).expect("all run");
        assert_eq!(published.edge_http, "http://127.0.0.1:80");
        let first = endpoints(&containers, Route::Direct, None).expect("all run");
        assert_eq!(first.redis_url.as_deref(), Some("redis://10.0.0.2:6379"));
        containers[3].address = Some("10.0.0.9".to_owned());
        containers[1].address = None;
        let later = endpoints(&containers, Route::Direct, Some(&first)).expect("known or found");
        assert_eq!(later.redis_url.as_deref(), Some("redis://10.0.0.9:6379"));
        assert_eq!(later.origin_grpc, first.origin_grpc);
        assert_eq!(later.consoles, first.consoles);
        endpoints(&containers, Route::Direct, None).expect_err("the origin is nowhere");
    }
}
