//! The front door of the cache tier: gRPC and, for what clients need, the same as HTTP/JSON.
//!
//! It lets a request in by a gate, picks a cache node for it, passes it on under a deadline, and says how it went: version,
//! age, how it was served, and a reference id on every answer and error. It ejects nodes that cannot be reached or fall
//! silent, and lets them back.
//!
//! It never caches, never coalesces requests, and never repeats one that may have reached a node: a herd that reaches the
//! nodes is the clients' own.
//!
//! - [`settings`]: flags and environment.
//! - [`routing`]: which node gets a request, as plain arithmetic.
//! - `fleet`, `node`: membership, ejection and return.
//! - `forward`: the way of a request: gate, deadline, routing, the call.
//! - `grpc`, [`http`]: the two protocols in front of it.
//! - `spans`: what a request leaves in its trace.
//! - `metrics`: the edge's own metrics.

mod fleet;
mod forward;
mod grpc;
pub mod http;
mod metrics;
mod node;
pub mod routing;
pub mod settings;
mod spans;

pub use forward::REFERENCE_HEADER;
pub use settings::{EdgeArgs, ROLE};

use herd_service::control;
use herd_service::gate::{Gate, Limits};
use herd_service::kit::{Service, ServiceError};
use herd_wire::v1::Role;
use herd_wire::v1::edge_server::EdgeServer;
use std::sync::Arc;

/// Builds an edge on a service whose ports are bound: joins the fleet and adds gRPC and HTTP. Then let it serve.
///
/// # Errors
/// The HTTP port cannot be bound.
pub async fn build(args: &EdgeArgs, mut service: Service) -> Result<Service, ServiceError> {
    let metrics = Arc::new(metrics::EdgeMetrics::register(service.metrics()));
    let fleet = fleet::Fleet::new(metrics.clone());
    let gate = Gate::new(Limits::without_queue(args.max_in_flight), metrics.gate.clone());
    let joined = control::join(&service, Role::Edge, &args.control);
    tokio::spawn(fleet::follow(fleet.clone(), gate.clone(), joined, service.readiness().clone()));

    let forwarder = forward::Forwarder::new(fleet, gate, metrics, args.request_deadline());
    let forwarder = Arc::new(forwarder);
    service.add_http(args.http, http::router(forwarder.clone())).await?;
    service.add(EdgeServer::new(grpc::GrpcEdge(forwarder)));
    Ok(service)
}
