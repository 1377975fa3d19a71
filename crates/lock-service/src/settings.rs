//! The lock service's settings.

use crate::counters::Database;
use clap::value_parser;
use herd_service::kit::{Role, ServiceArgs};
use herd_service::settings::Settings;
use redis::{ConnectionInfo, IntoConnectionInfo as _};
use std::str::FromStr;

/// What this process is.
pub const ROLE: Role = Role {
    name: "lock-service",
    about: "The lock service of Herdproof: leases over Redis with fencing tokens reserved in SQL.",
    grpc_port: 7301,
    admin_port: 9301,
};

/// The largest block of tokens.
pub const TOKEN_BLOCK_MAX: u32 = 1_000_000;

/// Where Redis is, checked when it is read.
#[derive(Clone, Debug)]
pub struct RedisUrl(pub ConnectionInfo);

impl FromStr for RedisUrl {
    type Err = String;

    /// Reads a URL. The error does not repeat it: it may hold a password.
    fn from_str(url: &str) -> Result<Self, Self::Err> {
        match url.into_connection_info() {
            Ok(info) => Ok(Self(info)),
            Err(_) => Err("the lease store must be redis://HOST:PORT[/DATABASE]".to_owned()),
        }
    }
}

/// The settings of `herd-lock-service`.
#[derive(Clone, Debug, clap::Parser)]
pub struct LockArgs {
    /// What every process has.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// The Redis that keeps the leases; the same that cache nodes write their values to
    #[arg(
        long,
        env = "HERD_REDIS_URL",
        value_name = "URL",
        default_value = "redis://127.0.0.1:6379",
        hide_env_values = true
    )]
    pub redis_url: RedisUrl,
    /// Where tokens and epochs are reserved: sqlite:PATH (made if absent) or postgres://USER:PASSWORD@HOST/NAME
    #[arg(
        long,
        env = "HERD_DATABASE_URL",
        value_name = "URL",
        default_value = "sqlite:herd-lock-service.db",
        hide_env_values = true
    )]
    pub database_url: Database,
    /// Fencing tokens reserved at a time; a crash loses at most two blocks, which are never used
    #[arg(long, env = "HERD_TOKEN_BLOCK", value_name = "N", default_value_t = 1000,
          value_parser = value_parser!(u32).range(1..=i64::from(TOKEN_BLOCK_MAX)))]
    pub token_block: u32,
}

impl Settings for LockArgs {
    fn service(&self) -> &ServiceArgs {
        &self.service
    }
}
