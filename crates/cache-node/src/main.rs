//! One cache node. See the library for what it does; `--help` for its settings.

use herd_cache_node::{run::run, settings};
use std::process::ExitCode;

fn main() -> ExitCode {
    herd_service::kit::run(settings::ROLE, run)
}
