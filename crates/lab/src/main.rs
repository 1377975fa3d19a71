//! The `herd` program: runs experiments, judges and reports them.

use clap::Parser;
use herd_lab::{cli::Cli, exit, out};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => {
            // Help and version are told this way, too; they are no mistakes.
            let _ = told.print();
            return if told.use_stderr() { exit::Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    let filter = EnvFilter::try_from_env("HERD_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would tell on stderr that stderr is gone, and panic.
        .log_internal_errors(false)
        .init();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            out::warn(format_args!("error: no runtime: {error}"));
            return exit::Exit::Unknown.into();
        }
    };
    match runtime.block_on(herd_lab::run(cli)) {
        Ok(exit) => exit.into(),
        Err(error) => {
            out::warn(format_args!("error: {error:#}"));
            exit::of_error(&error).into()
        }
    }
}
