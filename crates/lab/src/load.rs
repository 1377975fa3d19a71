//! `herd load`: an open-loop load against an edge, with a live table.

use crate::{cli::LoadArgs, exit::Exit, exit::UsageError, out};
use herd_experiment::load::{self, Live, LoadError, LoadOutcome, LoadSpec};
use herd_scenario::{Popularity, Workload};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Uri;

const TELL_EVERY: Duration = Duration::from_secs(1);
/// The table's heading is repeated after this many lines.
const HEADING_EVERY: u64 = 20;

/// Drives the load until its time is over or `stop`.
///
/// # Errors
/// The settings are impossible or the edge cannot be reached.
pub async fn load(args: &LoadArgs, stop: &CancellationToken) -> anyhow::Result<Exit> {
    let spec = spec(args)?;
    out::say(format_args!(
        "{} reads/s for {} s against {}, seed {}",
        args.rate, args.seconds, args.edge, args.seed
    ));
    let (live, started) = (Arc::new(Live::default()), Instant::now());
    let mut drive = std::pin::pin!(load::drive(spec, Arc::clone(&live)));
    let mut tell = tokio::time::interval_at(tokio::time::Instant::now() + TELL_EVERY, TELL_EVERY);
    let mut lines = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(Exit::Interrupted),
            outcome = &mut drive => {
                summary(&outcome.map_err(usage)?);
                return Ok(Exit::Expected);
            }
            _ = tell.tick() => {
                if lines % HEADING_EVERY == 0 {
                    out::say(heading());
                }
                lines += 1;
                if !out::say(line(started.elapsed(), &live)) {
                    // The table is all that this load is for.
                    return Ok(Exit::Expected);
                }
            }
        }
    }
}

fn spec(args: &LoadArgs) -> Result<LoadSpec, UsageError> {
    edge_address(&args.edge)?;
    let popularity = match args.zipf {
        Some(exponent) if exponent > 0.0 && exponent <= 3.0 => Popularity::Zipf { exponent },
        Some(exponent) => return Err(UsageError(format!("--zipf must be above 0 to 3, not {exponent}"))),
        None if args.keys == 1 => Popularity::One,
        None => Popularity::Uniform,
    };
    let workload = Workload {
        keys: args.keys,
        popularity,
        rate_per_s: args.rate,
        request_deadline_ms: args.deadline_ms,
        ..Workload::default()
    };
    let window = Duration::from_secs(args.seconds);
    let spec = LoadSpec::new(args.edge.clone(), workload, args.seed, window);
    // The table needs counts only.
    Ok(LoadSpec { connections: args.connections.into(), keep_operations: false, ..spec })
}

/// An address that one can connect to, before anything is tried: a missing `http://` would be found out late and oddly.
pub(crate) fn edge_address(edge: &str) -> Result<(), UsageError> {
    let fits = edge.parse::<Uri>().is_ok_and(|uri| {
        uri.scheme_str() == Some("http")
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.path_and_query().is_none_or(|path| path.as_str() == "/")
    });
    if fits { Ok(()) } else { Err(UsageError(format!("--edge must be http://HOST:PORT, not {edge:?}"))) }
}

/// What the user can mend on the command line is wrong usage.
fn usage(error: LoadError) -> anyhow::Error {
    match error {
        LoadError::Address { .. } | LoadError::TooMany { .. } => UsageError(error.to_string()).into(),
        error => error.into(),
    }
}

fn heading() -> String {
    format!(
        "{:>7} {:>9} {:>8} {:>9} {:>7} {:>7} {:>9} {:>9} {:>9} {:>7}",
        "time s", "answers", "hit %", "in flight", "errors", "unsent", "p50 ms", "p99 ms", "max ms", "sent"
    )
}

fn line(elapsed: Duration, live: &Live) -> String {
    let now = live.look();
    let hits = 100.0 * now.hits as f64 / now.answered.max(1) as f64;
    let ms = |us: u64| us as f64 / 1e3;
    format!(
        "{:>7.0} {:>9} {:>8.2} {:>9} {:>7} {:>7} {:>9.2} {:>9.2} {:>9.2} {:>7}",
        elapsed.as_secs_f64(),
        now.answered,
        hits,
        now.in_flight,
        now.errors,
        now.unsent,
        ms(now.p50_us),
        ms(now.p99_us),
        ms(now.max_us),
        now.sent,
    )
}

fn summary(outcome: &LoadOutcome) {
    let (record, latency) = (&outcome.record, &outcome.latency_us);
    let ms = |us: u64| us as f64 / 1e3;
    out::say(format_args!(
        "offered {} ({:.0}/s), sent {} ({:.0}/s), unsent {}",
        record.offered, record.offered_per_s, record.sent, record.sent_per_s, record.unsent
    ));
    out::say(format_args!(
        "latency from the intended time: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms; the generator's own lag: p99 {:.2} ms",
        ms(latency.value_at_quantile(0.5)),
        ms(latency.value_at_quantile(0.99)),
        ms(latency.max()),
        ms(record.lag_p99_us),
    ));
}
