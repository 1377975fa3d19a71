//! The command line of `bisect` and `explore`.

use super::EachFleet;
use clap::Args;
use std::path::PathBuf;

pub(super) const BISECT_HELP: &str = "\
FIELD is a path in the scenario's file: workload.rate_per_s, rung.NAME.lock.expiry_ms, fault.NAME.for_ms, claim.0.at_most. Both ends run
first; where they come out alike there is nothing to find, and that is said. Then the middle runs, until the two values lie within a
sixteenth of the larger one or the steps are used up. The search takes for granted that the outcome tips once between A and B.
Whole numbers stay whole; write 2.0 where fractions may be tried. A run of which nothing can be said is repeated once. Real fleets
scatter: near the tipping point two runs of one value may differ.

Exit status: 0 the tipping point is found, 1 both ends come out alike, 2 nothing could be said of a run, 64 wrong usage, 130 interrupted.

Examples:
  herd bisect retry-storm --over fault.burst.factor --from 1.1 --to 5.0 --rung retries --claim 0
  herd bisect my.toml --over fault.slow.for_ms --from 0 --to 8000 --rung fenced --claim 2 --steps 5
  herd bisect my.toml --over fault.surge.factor --from 1.5 --to 12.0 --backend processes --nodes 10";

pub(super) const EXPLORE_HELP: &str = "\
Each seed draws one plan: a few [[fault]] tables that are added to the scenario. The same seed draws the same plan.

Judged is only what can hold under any faults: answers_never_go_back, stale_writes, accepted_writes_per_generation, repeated_tokens,
absence_outlives_insert, and rebuilds_per_boundary and concurrent_rebuilds with at_most = \"theory\", whose bound counts the faults that were
seen. Goodput, latency, waits, ages, misses, error counts, claims about a phase and contrasts are left out, and named: faults refute them
without anybody's mistake. Where a scenario expects `invalid`, its first claim stays.

A run that does not
come out as expected is reduced: without one of its faults, shorter, fewer turns, as long as it still fails. A candidate that passes
is run a second time before it is believed. The smallest plan that fails is written as a scenario of its own, with the command that
runs it, and the exploration ends. Runs of which nothing can be said are counted, and kept.

Exit status: 0 each run came out as expected, 1 a plan fails, 2 nothing can be said of a run (and none fails), 64 wrong usage, 130
interrupted. Go on later with the seed that is named at the end.

Examples:
  herd explore exploratory/volatile-tokens --backend processes
  herd explore ladder-quick --runs 20 --backend processes --nodes 8
  herd explore my.toml --seed 100 --runs 50 --minutes 120 --out runs/explored
  herd explore my.toml --seed 117 --runs 1 --shrink-runs 0       one plan again, not reduced";

/// `herd bisect`
#[derive(Clone, Debug, Args)]
pub struct BisectArgs {
    /// A scenario file, or the name of a shipped one
    pub scenario: String,
    /// The numeric field that is varied
    #[arg(long, value_name = "FIELD")]
    pub over: String,
    /// One end
    #[arg(long, value_name = "A", allow_negative_numbers = true)]
    pub from: String,
    /// The other end
    #[arg(long, value_name = "B", allow_negative_numbers = true)]
    pub to: String,
    /// Halvings at most, both ends aside
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=30))]
    pub steps: u8,
    /// Drive only this rung
    #[arg(long)]
    pub rung: Option<String>,
    /// Go by the verdict on this claim, counted from 0 in the file [default: the outcome of the whole run]
    #[arg(long, value_name = "N")]
    pub claim: Option<usize>,
    /// Draw another load [default: the scenario's seed]
    #[arg(long)]
    pub seed: Option<u64>,
    /// The fleets.
    #[command(flatten)]
    pub fleet: EachFleet,
    /// The folder for bisect.json and the runs' folders; it must not exist or be empty [default: runs/<time>-bisect]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// `herd explore`
#[derive(Clone, Debug, Args)]
pub struct ExploreArgs {
    /// A scenario file, or the name of a shipped one
    pub scenario: String,
    /// The first plan's seed; each further run takes the next
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Plans that are drawn and run at most
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub runs: u32,
    /// Runs for reducing a plan that fails, at most
    #[arg(long, value_name = "M", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub shrink_runs: u32,
    /// No run begins after this many minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub minutes: u32,
    /// The fleets.
    #[command(flatten)]
    pub fleet: EachFleet,
    /// The folder for explore.json, the smallest plan and the runs' folders; it must not exist or be empty [default:
    /// runs/<time>-explore]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}
