//! Leases over Redis with fencing tokens reserved in SQL.

use std::process::ExitCode;

fn main() -> ExitCode {
    herd_lock_service::run()
}
