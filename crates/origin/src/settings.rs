//! The origin's settings.

use crate::latency::LATENCY_MS_MAX;
use crate::store::{Database, POOL_SIZE_MAX, ROWS_MAX};
use clap::value_parser;
use herd_service::kit::{Role, ServiceArgs};
use herd_service::settings::Settings;
use std::path::PathBuf;

/// What this process is.
pub const ROLE: Role = Role {
    name: "origin",
    about: "The slow SQL origin of Herdproof, with a ledger of every rebuild that reaches it.",
    grpc_port: 7401,
    admin_port: 9401,
};

/// The settings of `herd-origin`.
#[derive(Clone, Debug, clap::Parser)]
pub struct OriginArgs {
    /// What every process has.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Where the rows are: sqlite:PATH (made if absent) or postgres://USER:PASSWORD@HOST/NAME
    #[arg(
        long,
        env = "HERD_DATABASE_URL",
        value_name = "URL",
        default_value = "sqlite:herd-origin.db",
        hide_env_values = true
    )]
    pub database_url: Database,
    /// Rows item-1 to item-ROWS are made once
    #[arg(long, env = "HERD_ROWS", value_name = "ROWS", default_value_t = 100_000,
          value_parser = value_parser!(u64).range(0..=ROWS_MAX))]
    pub rows: u64,
    /// Connections to the database; fetches queue for them
    #[arg(long, env = "HERD_POOL_SIZE", value_name = "N", default_value_t = 16,
          value_parser = value_parser!(u32).range(1..=i64::from(POOL_SIZE_MAX)))]
    pub pool_size: u32,
    /// How long to try to reach the database at start-up, milliseconds
    #[arg(long, env = "HERD_DATABASE_WAIT_MS", value_name = "MS", default_value_t = 30_000,
          value_parser = value_parser!(u64).range(0..=600_000))]
    pub database_wait_ms: u64,
    /// File of the ledger; made if absent, its directory must exist
    #[arg(long, env = "HERD_LEDGER", value_name = "PATH", default_value = "herd-origin.ledger")]
    pub ledger: PathBuf,
    /// With a ledger of this size no rebuild is taken any more, MiB
    #[arg(long, env = "HERD_LEDGER_MAX_MIB", value_name = "MIB", default_value_t = 4096,
          value_parser = value_parser!(u64).range(1..=1 << 20))]
    pub ledger_max_mib: u64,
    /// How long each fetch takes until another latency model is set, milliseconds
    #[arg(long, env = "HERD_LATENCY_MS", value_name = "MS", default_value_t = 300,
          value_parser = value_parser!(u32).range(0..=i64::from(LATENCY_MS_MAX)))]
    pub latency_ms: u32,
    /// Seed of the latency model's random numbers
    #[arg(long, env = "HERD_SEED", value_name = "SEED", default_value_t = 1)]
    pub seed: u64,
    /// Fetches under way at once, more are refused; until another gate is set
    #[arg(long, env = "HERD_MAX_IN_FLIGHT", value_name = "N", default_value_t = 20_000,
          value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub max_in_flight: u32,
}

impl Settings for OriginArgs {
    fn service(&self) -> &ServiceArgs {
        &self.service
    }
}
