//! The `herd` program: runs experiments, judges and reports them.

use clap::Parser;
use herd_lab::{cli::Cli, exit, out, own_spans::OwnSpans};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

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
    let own_spans = match OwnSpans::of_environment() {
        Ok(own_spans) => own_spans,
        Err(error) => {
            out::warn(format_args!("error: {error:#}"));
            return exit::Exit::Usage.into();
        }
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        // It would tell on stderr that stderr is gone, and panic.
        .log_internal_errors(false)
        .with_filter(filter);
    tracing_subscriber::registry().with(lines).with(own_spans.as_ref().map(OwnSpans::layer)).init();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            out::warn(format_args!("error: no runtime: {error}"));
            return exit::Exit::Unknown.into();
        }
    };
    // Where the program itself breaks, nothing can be said of the outcome. The panic has been told by then.
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(herd_lab::run(cli))));
    if let Some(own_spans) = own_spans {
        own_spans.flush();
    }
    match ended {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(error)) => {
            out::warn(format_args!("error: {error:#}"));
            exit::of_error(&error).into()
        }
        Err(_) => exit::Exit::Unknown.into(),
    }
}
