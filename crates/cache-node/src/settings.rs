//! Flags and environment.

use crate::store::Store;
use herd_service::control::ControlArgs;
use herd_service::kit::{Role, ServiceArgs};
use herd_service::rpc::PeerUrl;
use herd_service::settings::Settings;
use std::str::FromStr;

/// What this process is.
pub const ROLE: Role = Role {
    name: "cache-node",
    about: "One cache node: values in Redis, rebuilt from the origin under the layers that the control plane sets.",
    grpc_port: 7201,
    admin_port: 9201,
};

/// The node's settings.
#[derive(Clone, Debug, clap::Parser)]
pub struct NodeArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// What every process that joins the fleet has.
    #[command(flatten)]
    pub control: ControlArgs,
    /// Where values are kept, redis://HOST:PORT/
    #[arg(long, env = "HERD_REDIS_URL", value_name = "URL")]
    pub redis_url: RedisUrl,
    /// The lock service, http://HOST:PORT
    #[arg(long, env = "HERD_LOCK_URL", value_name = "URL")]
    pub lock_url: PeerUrl,
    /// The origin, http://HOST:PORT
    #[arg(long, env = "HERD_ORIGIN_URL", value_name = "URL")]
    pub origin_url: PeerUrl,
    /// Time that a request has where its caller set no deadline, milliseconds
    #[arg(long, env = "HERD_REQUEST_DEADLINE_MS", value_name = "MS", default_value_t = 10_000,
          value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub request_deadline_ms: u64,
}

impl Settings for NodeArgs {
    fn service(&self) -> &ServiceArgs {
        &self.service
    }
}

/// An address of Redis, checked when it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// The address as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RedisUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if Store::is_url(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err("not of the form redis://HOST:PORT/")
        }
    }
}
