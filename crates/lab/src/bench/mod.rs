//! `herd bench`: what the testbed itself costs, as ratios taken in one run.
//!
//! Everything is measured on local processes: containers would add the engine's share to each figure.
//!
//! - [`policy_hit`]: the policy core's hit decision beside moka's.
//! - [`hit_path`]: client to edge to node and back, beside a bare echo over the same hops.
//! - [`exporting`]: the hit path with spans exported at the default ratio, beside the same without.
//! - [`fleet`]: a fleet's start, its memory idle and loaded, and the generator's lag at the ladder's rate.

pub(crate) mod echo;
mod exporting;
mod fleet;
mod hit_path;
mod policy_hit;

use crate::cli::BenchArgs;
use crate::exit::Exit;
use crate::screen::Screen;
use herd_experiment::testbed::Progress;
use serde::Serialize;
use std::fmt;
use tokio_util::sync::CancellationToken;

/// The figures; field names are an interface.
#[derive(Clone, Copy, Debug, Serialize)]
struct Figures {
    policy_hit_ratio: f64,
    policy_hit_ns: f64,
    moka_hit_ns: f64,
    hit_path_ratio: f64,
    hit_path_per_s: f64,
    echo_path_per_s: f64,
    exporting_ratio: f64,
    exporting_per_s: f64,
    not_exporting_per_s: f64,
    nodes: u32,
    ready_seconds: f64,
    idle_rss_mb: f64,
    loaded_rss_mb: f64,
    generator_rate_per_s: u32,
    generator_lag_p50_ms: f64,
    generator_lag_p99_ms: f64,
}

/// Measures everything and prints one table, or one JSON object; `stop` ends it and leaves nothing behind.
///
/// # Errors
/// The fleet did not come up, or a measurement failed.
pub(crate) async fn interruptible(args: BenchArgs, stop: &CancellationToken) -> anyhow::Result<Exit> {
    let screen = Screen::new();
    let figures = tokio::select! {
        () = stop.cancelled() => return Ok(Exit::Interrupted),
        figures = figures(args.nodes, &screen) => figures?,
    };
    screen.clear();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        print!("{figures}");
    }
    Ok(Exit::Expected)
}

async fn figures(nodes: u32, progress: &dyn Progress) -> anyhow::Result<Figures> {
    progress.step("the policy core's hit beside moka's", 0, 0);
    let policy = tokio::task::spawn_blocking(policy_hit::measure).await?;
    progress.step("the hit path beside a bare echo", 0, 0);
    let path = fleet::hit_path(progress).await?;
    progress.step("the hit path with spans exported, and without", 0, 0);
    let exporting = exporting::measure(progress).await?;
    progress.step("a fleet, idle and loaded", 0, 0);
    let fleet = fleet::measure(nodes, progress).await?;
    Ok(Figures {
        policy_hit_ratio: policy.ours_ns / policy.moka_ns,
        policy_hit_ns: policy.ours_ns,
        moka_hit_ns: policy.moka_ns,
        hit_path_ratio: path.ratio,
        hit_path_per_s: path.ours_per_s,
        echo_path_per_s: path.echo_per_s,
        exporting_ratio: exporting.ratio,
        exporting_per_s: exporting.exporting_per_s,
        not_exporting_per_s: exporting.not_exporting_per_s,
        nodes,
        ready_seconds: fleet.ready_seconds,
        idle_rss_mb: fleet.idle_rss_mb,
        loaded_rss_mb: fleet.loaded_rss_mb,
        generator_rate_per_s: fleet::RATE_PER_S,
        generator_lag_p50_ms: fleet.lag_p50_ms,
        generator_lag_p99_ms: fleet.lag_p99_ms,
    })
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, generator_rate_per_s: rate, .. } = self;
        let mut row = |what: String, value: String, aim: &str| writeln!(f, "{what:<58} {value:>14}  {aim}");
        row("measure".into(), "value".into(), "aim")?;
        row(
            "policy core's hit / moka's get_with hit, time".into(),
            format!("{:.2}", self.policy_hit_ratio),
            "",
        )?;
        row("  ours".into(), format!("{:.0} ns", self.policy_hit_ns), "")?;
        row("  moka".into(), format!("{:.0} ns", self.moka_hit_ns), "")?;
        let ratio = format!("{:.2}", self.hit_path_ratio);
        row("hit path / bare echo over two hops, throughput".into(), ratio, "at least 0.70")?;
        row("  edge, node, Redis".into(), format!("{:.0} /s", self.hit_path_per_s), "")?;
        row("  bare echo".into(), format!("{:.0} /s", self.echo_path_per_s), "")?;
        let ratio = format!("{:.3}", self.exporting_ratio);
        row("hit path, spans exported (1 % of hits) / not, throughput".into(), ratio, "at least 0.95")?;
        row("  exported".into(), format!("{:.0} /s", self.exporting_per_s), "")?;
        row("  not exported".into(), format!("{:.0} /s", self.not_exporting_per_s), "")?;
        row(format!("from `up` to {nodes} ready nodes"), format!("{:.1} s", self.ready_seconds), "")?;
        row("resident memory of a node, idle, median".into(), format!("{:.1} MB", self.idle_rss_mb), "8 MB")?;
        row("resident memory of a node, loaded, median".into(), format!("{:.1} MB", self.loaded_rss_mb), "")?;
        let lag = format!("{:.2} ms", self.generator_lag_p50_ms);
        row(format!("the generator's lag at {rate} reads/s, p50"), lag, "")?;
        row("the generator's lag, p99".into(), format!("{:.2} ms", self.generator_lag_p99_ms), "")
    }
}

/// The median; of an even number of values the upper one.
///
/// # Panics
/// There are no values.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
