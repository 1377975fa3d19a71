//! The command line. `sets` and `searches` hold that of the commands that run many experiments, `traces` that of `trace`.

mod searches;
mod sets;
mod traces;

pub use crate::spans::SpanChoice;
pub use searches::{BisectArgs, ExploreArgs};
pub use sets::SetArgs;
pub use traces::TraceArgs;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::{net::SocketAddr, path::PathBuf};

/// Herdproof: how large is the herd that each cache layer leaves, and what breaks its bound?
///
/// Exit status: 0 the outcome is the expected one, 1 it is the other one, 2 it is unknown, 64 the command line or the
/// scenario is wrong, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "herd", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the ladder: the same load once per rung of layers, with a before/after table
    #[command(after_help = LADDER_HELP)]
    Ladder(LadderArgs),
    /// Run the experiment of one scenario file
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Judge a run's folder again, from disk, and write its reports again
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Write a run's reports again (results.json, report.md, report.html, junit.xml)
    #[command(after_help = REPORT_HELP)]
    Report(DirArgs),
    /// Show a request or a rebuild of a recorded run as a tree, by its reference id; or list the rebuilds
    #[command(after_help = traces::TRACE_HELP)]
    Trace(TraceArgs),
    /// Show the shipped scenarios: what each is about, the expected outcome, faults, how long its load lasts
    #[command(after_help = LIST_HELP)]
    List,
    /// Run the regression set, a fleet for each scenario, with a summary
    #[command(after_help = sets::CHAOS_HELP)]
    Chaos(SetArgs),
    /// Run the known-bad strategies one after the other: the judge has to catch each
    #[command(after_help = sets::ZOO_HELP)]
    Zoo(SetArgs),
    /// Find the value of a scenario's field at which its outcome tips
    #[command(after_help = searches::BISECT_HELP)]
    Bisect(BisectArgs),
    /// Draw fault plans at random and reduce one that fails to the smallest that still fails
    #[command(after_help = searches::EXPLORE_HELP)]
    Explore(ExploreArgs),
    /// Undo what labs that crashed left behind: faults in force, and their fleets
    #[command(after_help = REPAIR_HELP)]
    Repair(RepairArgs),
    /// Bring a fleet up and keep it until Ctrl-C or `herd down`
    Up(UpArgs),
    /// Take down whatever fleets of this user are still there, also those of labs that still run
    Down(DownArgs),
    /// Drive an open-loop load against an edge and show how it goes
    Load(LoadArgs),
    /// Fill a cold fleet with the most read keys of an access log, and say whether traffic may come
    #[command(after_help = PREWARM_HELP)]
    Prewarm(PrewarmArgs),
    /// Run the ladder over a fleet that others started, then serve its report (what `docker compose up` runs)
    Attend(AttendArgs),
    /// Measure what the testbed itself costs, as ratios, on local processes (about a minute)
    Bench(BenchArgs),
    /// One hop of the bare echo that `bench` measures beside
    #[command(hide = true)]
    EchoHop {
        /// The next hop; without one it answers itself
        #[arg(long)]
        upstream: Option<String>,
    },
    /// Ask a process over HTTP whether it is ready (for health checks in images without curl)
    #[command(hide = true)]
    Probe {
        /// http://HOST:PORT/PATH
        url: String,
    },
}

/// How a fleet is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// Containers where a Docker engine answers, else processes
    Auto,
    /// Containers of one compose project
    Compose,
    /// Local processes; Redis must be on PATH
    Processes,
}

/// What `ladder` and `run` have in common.
#[derive(Clone, Debug, Args)]
pub struct FleetArgs {
    /// How the fleet is made
    #[arg(long, value_enum, default_value = "auto", env = "HERD_BACKEND")]
    pub backend: BackendChoice,
    /// Bring Prometheus, Jaeger and Grafana up beside the containers, as far as they can be had; the others are named
    #[arg(long)]
    pub observe: bool,
    /// Cache nodes [default: the scenario's]
    #[arg(long, value_name = "N")]
    pub nodes: Option<u32>,
    /// Drive only these rungs, by name
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    pub rungs: Option<Vec<String>>,
    /// Draw another load [default: the scenario's seed]
    #[arg(long)]
    pub seed: Option<u64>,
    /// The run's folder; it must not exist or be empty [default: runs/<time>-<scenario>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Say what a rung does, its bound with this scenario's numbers, and what breaks it; run nothing. RUNG is a rung's or a layer's
    /// name; without one the rungs are listed
    #[arg(long, value_name = "RUNG", conflicts_with = "out")]
    pub explain: Option<Option<String>>,
    /// Which spans the run keeps.
    #[command(flatten)]
    pub spans: SpanChoice,
}

/// `herd ladder`
#[derive(Clone, Debug, Args)]
pub struct LadderArgs {
    /// The same ladder with a shorter TTL, a faster origin and less load
    #[arg(long, conflicts_with = "preset")]
    pub quick: bool,
    /// A shipped scenario by name, such as ladder-4000-50-1
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
    /// The fleet.
    #[command(flatten)]
    pub fleet: FleetArgs,
}

/// `herd run`
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// A scenario file, or the name of a shipped one
    pub scenario: String,
    /// The fleet.
    #[command(flatten)]
    pub fleet: FleetArgs,
}

const LADDER_HELP: &str = "\
Examples:
  herd ladder --quick                       every rung in a few minutes
  herd ladder --rungs none,lock --nodes 10  two rungs on a smaller fleet
  herd ladder --explain                     the rungs, a line each; nothing is run
  herd ladder --explain lock                what the lock bounds, with the numbers, and what breaks it";

const RUN_HELP: &str = "\
Examples:
  herd run chaos/ladder.toml                            a file
  herd run regression/lock-without-second-look          a shipped one (herd list)
  herd run my.toml --explain                            its rungs; nothing is run";

const LIST_HELP: &str = "\
Examples:
  herd list                 all of them
  herd run NAME             run one
  herd run NAME --explain   say what its rungs do";

const CHECK_HELP: &str = "\
The verdicts come from the history alone, by the rules of this build. results.json, report.md, report.html and junit.xml are written anew.
Exit status: 0 the outcome is the expected one, 1 it is the other one, 2 it is unknown (the run was cut off or is damaged) or a file could
not be written, 64 DIR is no run's folder or the options are wrong.

Examples:
  herd check runs/20260131T235959Z-ladder
  herd check --no-write /archive/ladder           the folder is left alone";

const REPORT_HELP: &str = "\
Exit status: 0 the reports are written, whatever the outcome, 2 the run is damaged or a file could not be written, 64 DIR is no run's folder.

Examples:
  herd report runs/20260131T235959Z-ladder";

const REPAIR_HELP: &str = "\
A lab repairs each fault at the end of its hold, and everything on Ctrl-C. One that was killed leaves its fleet as it was, processes frozen
among them. `herd repair` finds the fleets whose lab is gone, says which faults were in force, and takes faults and fleet away.
Fleets of labs that still run are left alone (`herd down` takes those down too). The next run on the same backend
does the same before it begins.

Exit status: 0 all is well now, 2 something could not be removed.

Examples:
  herd repair               after a crash; says \"nothing to repair\" where there was none";

/// How the fleets of commands that run many experiments are made.
#[derive(Clone, Copy, Debug, Args)]
pub struct EachFleet {
    /// How each fleet is made
    #[arg(long, value_enum, default_value = "auto", env = "HERD_BACKEND")]
    pub backend: BackendChoice,
    /// Cache nodes of each fleet [default: the scenario's]
    #[arg(long, value_name = "N")]
    pub nodes: Option<u32>,
}

/// `herd check`
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// A run's folder
    pub dir: PathBuf,
    /// Leave the folder alone: no report is written
    #[arg(long)]
    pub no_write: bool,
}

/// `herd repair`
#[derive(Clone, Copy, Debug, Args)]
pub struct RepairArgs {}

/// `herd report`
#[derive(Clone, Debug, Args)]
pub struct DirArgs {
    /// A run's folder
    pub dir: PathBuf,
}

/// `herd up`
#[derive(Clone, Debug, Args)]
pub struct UpArgs {
    /// How the fleet is made
    #[arg(long, value_enum, default_value = "auto", env = "HERD_BACKEND")]
    pub backend: BackendChoice,
    /// Bring Prometheus, Jaeger and Grafana up beside the containers, as far as they can be had; the others are named
    #[arg(long)]
    pub observe: bool,
    /// Cache nodes
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub nodes: u32,
    /// The shipped scenario whose last rung configures the fleet
    #[arg(long, value_name = "NAME", default_value = "ladder")]
    pub preset: String,
    /// The rung that configures the fleet [default: the last one]
    #[arg(long)]
    pub rung: Option<String>,
}

/// `herd down`
#[derive(Clone, Copy, Debug, Args)]
pub struct DownArgs {}

/// `herd load`
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// The edge's gRPC address
    #[arg(long, env = "HERD_EDGE", default_value = "http://127.0.0.1:7101", value_name = "URL")]
    pub edge: String,
    /// Reads per second
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// Seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Distinct keys: item-1 to item-N
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub keys: u32,
    /// Zipf exponent of the keys' popularity, above 0 to 3 [default: all keys alike]
    #[arg(long)]
    pub zipf: Option<f64>,
    /// Deadline of a request, milliseconds
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub deadline_ms: u32,
    /// HTTP/2 connections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub connections: u8,
    /// Fixes arrivals and keys
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

const PREWARM_HELP: &str = "\
A log holds one key a line, or lines that name /v1/items/KEY such as those of the common log format. The gate opens where enough of
the log's own reads would hit. Exit status: 0 it opened, 1 it stayed shut, 2 it could not tell, 64 the options are wrong.

Examples:
  herd prewarm --log access.log                                   the fleet of `herd up`
  herd prewarm --edge http://10.0.0.7:7101 --log access.log --top 5000 --hit-rate 0.9
  zcat access.log.gz | herd prewarm --log - && switch-traffic     a gate in a deploy script";

/// `herd prewarm`
#[derive(Clone, Debug, Args)]
pub struct PrewarmArgs {
    /// The edge's gRPC address
    #[arg(long, env = "HERD_EDGE", default_value = "http://127.0.0.1:7101", value_name = "URL")]
    pub edge: String,
    /// The access log; - for stdin
    #[arg(long, value_name = "FILE")]
    pub log: PathBuf,
    /// Keys replayed at most, the most read first
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub top: u32,
    /// The share of the log's reads that must hit, above 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = herd_policy::prewarm::HIT_RATE, value_parser = share)]
    pub hit_rate: f64,
    /// Deadline of a call, milliseconds
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    pub deadline_ms: u32,
    /// Keys filled at once: what the origin can bear
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub at_once: u16,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if share > 0.0 && share <= 1.0 { Ok(share) } else { Err("must be above 0 to 1".to_owned()) }
}

/// `herd attend`
#[derive(Clone, Debug, Args)]
pub struct AttendArgs {
    /// Where the control plane listens
    #[arg(long, env = "HERD_CONTROL", default_value = "0.0.0.0:7000", value_name = "ADDR:PORT")]
    pub control: SocketAddr,
    /// The edge's gRPC address
    #[arg(long, env = "HERD_EDGE", default_value = "http://edge:7101", value_name = "URL")]
    pub edge: String,
    /// The origin's gRPC address
    #[arg(long, env = "HERD_ORIGIN", default_value = "http://origin:7401", value_name = "URL")]
    pub origin: String,
    /// The lock service's gRPC address
    #[arg(long, env = "HERD_LOCK", default_value = "http://lock-service:7301", value_name = "URL")]
    pub lock: String,
    /// Cache nodes that shall join
    #[arg(long, env = "HERD_NODES", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub nodes: u32,
    /// Where the report is served
    #[arg(long, env = "HERD_REPORT", default_value = "0.0.0.0:8090", value_name = "ADDR:PORT")]
    pub report: SocketAddr,
    /// The report's address for people, where it differs from the one listened on
    #[arg(long, env = "HERD_REPORT_URL", default_value = "http://127.0.0.1:8090/", value_name = "URL")]
    pub report_url: String,
    /// The folder in which the run's folder is made
    #[arg(long, env = "HERD_OUT", default_value = "runs", value_name = "DIR")]
    pub out: PathBuf,
    /// The shipped scenario to run
    #[arg(long, env = "HERD_PRESET", default_value = "ladder", value_name = "NAME")]
    pub preset: String,
    /// Where the fleet sends the spans that the run keeps
    #[arg(long, env = "HERD_SPANS", default_value = "0.0.0.0:7001", value_name = "ADDR:PORT")]
    pub spans_listen: SocketAddr,
    /// Which spans the run keeps.
    #[command(flatten)]
    pub spans: SpanChoice,
}

/// `herd bench`
#[derive(Clone, Copy, Debug, Args)]
pub struct BenchArgs {
    /// Cache nodes of the fleet whose start and memory are measured
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub nodes: u32,
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}
