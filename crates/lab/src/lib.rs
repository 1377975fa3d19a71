//! The `herd` program: runs experiments, judges and reports them.
//!
//! The only crate that sees all others. It holds no measurement and no judgement of its own: it reads the command
//! line, brings the parts together, shows progress and says the outcome by its exit status.
//!
//! - [`cli`]: the command line; [`exit`]: what the exit status means.
//! - [`experiment`]: `ladder` and `run`; `explain`: what a rung does, without running it; [`verdict`]: `check` and `report`.
//! - `list`: the scenarios that the program carries; `chaos`: those of the regression set in a row, the known-bad ones among them.
//! - `bisect`: the value of a field at which an outcome tips; `explore`: fault plans drawn at random, reduced to the smallest that fails;
//!   `trial`: one experiment of such a row.
//! - `spans`: the spans of a run, kept in its folder; `trace`: one of them shown again.
//! - `repair`: what labs that crashed left behind.
//! - [`fleet`]: `up` and `down`; [`load`]: `load`; `prewarm`: the gate before a cold fleet's traffic; [`attend`]: the service `herd` of compose.yaml.
//! - `bench`: what the testbed itself costs.
//! - `pick`, `backend`, `place`: which scenario, which testbed, which folders.
//! - `deaths`: parts that ended unasked; `watched`: the lab's own metrics, and the file that tells a Prometheus of the fleet.
//! - `told`, `screen`, [`out`], `interrupt`: what a person sees, and Ctrl-C.

pub mod attend;
mod backend;
mod bench;
mod bisect;
mod chaos;
pub mod cli;
mod deaths;
pub mod exit;
pub mod experiment;
mod explain;
mod explore;
pub mod fleet;
mod interrupt;
mod list;
pub mod load;
pub mod out;
pub mod own_spans;
mod pick;
mod place;
mod prewarm;
mod repair;
mod screen;
mod spans;
mod told;
mod trace;
mod trial;
pub mod verdict;
mod watched;

use cli::{Cli, Command};
use exit::Exit;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a probe may take.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Does what the command line says. Must run inside a tokio runtime.
///
/// # Errors
/// Whatever kept it from that; [`exit::of_error`] says what it means.
pub async fn run(cli: Cli) -> anyhow::Result<Exit> {
    if let Command::Probe { url } = &cli.command {
        herd_cluster::probe::probe(url, PROBE_LIMIT)?;
        return Ok(Exit::Expected);
    }
    let stop = interrupt::watch()?;
    let exit = obey(cli.command, &stop).await?;
    out::all_said()?;
    Ok(exit)
}

async fn obey(command: Command, stop: &CancellationToken) -> anyhow::Result<Exit> {
    match command {
        Command::Ladder(args) => experiment::ladder(&args, stop).await,
        Command::Run(args) => experiment::run(&args, stop).await,
        Command::Check(args) => verdict::check(&args.dir, !args.no_write),
        Command::Report(args) => verdict::report(&args.dir),
        Command::Trace(args) => trace::trace(&args),
        Command::List => list::list(),
        Command::Chaos(args) => chaos::run(chaos::Family::Regression, &args, stop).await,
        Command::Zoo(args) => chaos::run(chaos::Family::KnownBad, &args, stop).await,
        Command::Bisect(args) => bisect::bisect(&args, stop).await,
        Command::Explore(args) => explore::explore(&args, stop).await,
        Command::Repair(_) => repair::repair().await,
        Command::Up(args) => fleet::up(&args, stop).await,
        Command::Down(_) => fleet::down().await,
        Command::Load(args) => load::load(&args, stop).await,
        Command::Prewarm(args) => prewarm::prewarm(&args, stop).await,
        Command::Attend(args) => attend::attend(&args, stop).await,
        Command::Bench(args) => bench::interruptible(args, stop).await,
        Command::EchoHop { upstream } => bench::echo::serve(upstream).await.map(|()| Exit::Expected),
        Command::Probe { .. } => unreachable!("probes were answered above"),
    }
}
