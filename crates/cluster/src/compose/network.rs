//! How the host reaches containers.
//!
//! Where the engine runs on this very machine, a container's own address leads to it directly; published ports go
//! through a proxy process of the engine, which costs processor time that a measurement would rather have. Elsewhere
//! (Docker Desktop, a remote engine) the published port is the only way.

use super::files;
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
const fn grpc_port(part: Part) -> u16 {
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

/// Says why a part is not ready.
pub(super) async fn ready(container: &Container) -> Result<(), String> {
    if container.state != "running" {
        return Err(container.status.clone());
    }
    let part = files::part(&container.service).ok_or("it is no part of the fleet")?;
    let at = reach(container, admin_port(part)).await.ok_or("its admin port is not published")?;
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

/// Where everything is.
pub(super) async fn endpoints(containers: &[Container]) -> Result<Endpoints, TestbedError> {
    let at = |part: Part, port: u16| async move {
        let service = files::service(part);
        let container = containers
            .iter()
            .find(|container| container.service == service)
            .ok_or(TestbedError::NoSuchPart { part, index: 0 })?;
        reach(container, port).await.ok_or_else(|| TestbedError::Other {
            doing: format!("finding the address of {part}"),
            why: format!("port {port} is not published ({})", container.status),
        })
    };
    let mut consoles = Vec::new();
    for part in SERVED {
        let admin = at(part, admin_port(part)).await?;
        consoles.push((format!("{part} metrics"), format!("http://{admin}/metrics")));
    }
    let grpc = |part: Part| at(part, grpc_port(part));
    Ok(Endpoints {
        edge_grpc: format!("http://{}", grpc(Part::Edge).await?),
        edge_http: format!("http://{}", at(Part::Edge, EDGE_HTTP_PORT).await?),
        origin_grpc: format!("http://{}", grpc(Part::Origin).await?),
        lock_grpc: format!("http://{}", grpc(Part::LockService).await?),
        redis_url: grpc(Part::Redis).await.ok().map(|at| format!("redis://{at}")),
        consoles,
    })
}

/// `host:port` that leads to a port of a container.
async fn reach(container: &Container, port: u16) -> Option<String> {
    if let Some(address) = &container.address {
        let direct = format!("{address}:{port}");
        if matches!(timeout(DIRECT_MAX, TcpStream::connect(&direct)).await, Ok(Ok(_))) {
            return Some(direct);
        }
    }
    let (_, published) = container.ports.iter().find(|(inside, _)| *inside == port)?;
    Some(format!("127.0.0.1:{published}"))
}
