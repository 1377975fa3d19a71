//! Flags and environment.

use crate::store::Store;
use herd_service::control::ControlArgs;
use herd_service::kit::{Role, ServiceArgs};
use herd_service::rpc::PeerUrl;
use herd_service::settings::Settings;
use std::net::SocketAddr;
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
    /// Reach Redis, lock service and origin through relays in this process, which the control plane can make bad
    #[arg(long, env = "HERD_LINK_FAULTS")]
    pub link_faults: bool,
}

impl Settings for NodeArgs {
    fn service(&self) -> &ServiceArgs {
        &self.service
    }

    fn conflicts(&self) -> Vec<String> {
        if self.link_faults && self.redis_url.host_and_port().is_none() {
            return vec!["--link-faults needs a --redis-url of the form redis://HOST:PORT/".to_owned()];
        }
        Vec::new()
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

    /// Host and port; `None` unless it is plain TCP.
    #[must_use]
    pub fn host_and_port(&self) -> Option<(String, u16)> {
        Store::host_and_port(&self.0)
    }

    /// The same Redis, reached at another address.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Self {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("redis", &self.0));
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let login = authority.rfind('@').map_or("", |at| &authority[..=at]);
        Self(format!("{scheme}://{login}{address}{path}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Redis behind a relay keeps its login and its database; only plain TCP can be relayed.
    #[test]
    fn redis_addresses() {
        let relay = SocketAddr::from(([127, 0, 0, 1], 7));
        for (url, far_end, relayed) in [
            ("redis://cache:6380/", Some(("cache", 6380)), "redis://127.0.0.1:7/"),
            ("redis://cache", Some(("cache", 6379)), "redis://127.0.0.1:7"),
            ("redis://me:a%40b@cache:1/3", Some(("cache", 1)), "redis://me:a%40b@127.0.0.1:7/3"),
            ("redis://cache:1/?protocol=resp3", Some(("cache", 1)), "redis://127.0.0.1:7/?protocol=resp3"),
        ] {
            let url: RedisUrl = url.parse().unwrap();
            assert_eq!(url.host_and_port(), far_end.map(|(host, port)| (host.to_owned(), port)));
            assert_eq!(url.at(relay).as_str(), relayed);
        }
    }
}
