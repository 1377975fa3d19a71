//! From the settings to the exit status: the part of a process's life around its story.

use crate::kit::{InstanceName, Role, Service, announce};
use crate::settings::{self, EXIT_USAGE, Settings, SettingsError};
use crate::telemetry;
use std::future::Future;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;
use tracing::error;

/// Runs a process from its settings to its exit status, on one worker thread.
///
/// `story` gets the settings and a [`Service`], and ends with [`Service::serve`]. Exit status: 0 after a drain, 1 when the
/// story failed, 64 for bad settings.
pub fn run<A, S, F>(role: Role, story: S) -> ExitCode
where
    A: Settings,
    S: FnOnce(A, Service) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let args = match settings::parse::<A>(&role, std::env::args_os()) {
        Ok(args) => args,
        Err(SettingsError::Help(text)) => {
            announce(text.trim_end());
            return ExitCode::SUCCESS;
        }
        Err(SettingsError::Bad(mistakes)) => {
            eprintln!("herd-{}: {} bad setting(s):", role.name, mistakes.len());
            for mistake in mistakes {
                eprintln!("  - {mistake}");
            }
            eprintln!("see herd-{} --help", role.name);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match block_on(live(role, args, story)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("herd-{}: {error:#}", role.name);
            ExitCode::FAILURE
        }
    }
}

/// Runs a future on a new current-thread runtime: one worker thread, few threads for name look-ups and files.
///
/// # Errors
/// The runtime cannot be built, or the future's own.
pub fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(8).build()?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}

async fn live<A, S, F>(role: Role, args: A, story: S) -> anyhow::Result<()>
where
    A: Settings,
    S: FnOnce(A, Service) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let common = args.service();
    let instance = common.instance.clone().unwrap_or_else(InstanceName::of_host);
    let telemetry = telemetry::start(role.name, &instance.0, &common.log, &common.spans)?;
    let mut service = Service::start(role, common).await?;
    service.announce = true;
    let stopping = stop_on_signals(service.shutdown())?;
    let told = tokio::select! {
        ended = story(args, service) => ended,
        () = stopping => Ok(()),
    };
    if let Err(failure) = &told {
        error!("{failure:#}");
    }
    telemetry.flush().await;
    told
}

/// The first SIGTERM or SIGINT begins the drain; the returned future ends at the second one, which cuts the drain short.
fn stop_on_signals(shutdown: CancellationToken) -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            shutdown.cancel();
        }
    })
}
