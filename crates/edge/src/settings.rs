//! The settings of an edge.

use herd_service::control::ControlArgs;
use herd_service::kit::{Role, ServiceArgs};
use herd_service::settings::Settings;
use std::net::SocketAddr;
use std::time::Duration;

/// What this process is.
pub const ROLE: Role = Role {
    name: "edge",
    about: "The front door of the cache tier: gRPC and HTTP/JSON, routing over the cache nodes, ejection, deadlines.",
    grpc_port: 7101,
    admin_port: 9101,
};

/// The settings of an edge; each can be given as a flag or in the environment.
#[derive(Clone, Debug, clap::Parser)]
pub struct EdgeArgs {
    /// What every process has.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// How it joins the fleet.
    #[command(flatten)]
    pub control: ControlArgs,
    /// Address of the HTTP/JSON port; port 0 takes any free one
    #[arg(long, env = "HERD_HTTP", value_name = "ADDR:PORT", default_value = "0.0.0.0:8080")]
    pub http: SocketAddr,
    /// Deadline of a request whose caller set none, milliseconds
    #[arg(long, env = "HERD_REQUEST_DEADLINE_MS", value_name = "MS", default_value_t = 10_000,
          value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub request_deadline_ms: u64,
    /// Requests in flight at once, more are refused with RESOURCE_EXHAUSTED or 503; a configuration may set another gate
    #[arg(long, env = "HERD_MAX_IN_FLIGHT", value_name = "N", default_value_t = 20_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_in_flight: u32,
}

impl EdgeArgs {
    /// Deadline of a request whose caller set none.
    #[must_use]
    pub const fn request_deadline(&self) -> Duration {
        Duration::from_millis(self.request_deadline_ms)
    }
}

impl Settings for EdgeArgs {
    fn service(&self) -> &ServiceArgs {
        &self.service
    }

    fn conflicts(&self) -> Vec<String> {
        let ports =
            [("--listen", self.service.listen), ("--admin", self.service.admin), ("--http", self.http)];
        let mut clashes = Vec::new();
        for (at, (name, address)) in ports.iter().enumerate() {
            for (other, taken) in &ports[..at] {
                if address == taken && address.port() != 0 {
                    clashes.push(format!("{other} and {name} are the same address, {address}"));
                }
            }
        }
        clashes
    }
}
