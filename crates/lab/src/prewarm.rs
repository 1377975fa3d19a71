//! `herd prewarm`: fills a cold fleet with the keys of an access log, and says whether traffic may come.

use crate::{
    cli::PrewarmArgs,
    exit::{Exit, UsageError},
    load, out,
    screen::Screen,
};
use anyhow::Context;
use herd_experiment::prewarm::{self, AccessLog, PrewarmReport, PrewarmSpec};
use std::{
    fs::File,
    io::{self, BufReader},
    path::Path,
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

/// How long the edge may take to be reached.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Keys that missed and are listed.
const MISSING_MAX: usize = 20;

/// Fills, measures and tells.
///
/// # Errors
/// The options are wrong, the log cannot be read or the edge cannot be reached.
pub(crate) async fn prewarm(args: &PrewarmArgs, stop: &CancellationToken) -> anyhow::Result<Exit> {
    load::edge_address(&args.edge)?;
    let log = read(&args.log)?;
    // Else every key would be told as missing, and an edge that is not there as a gate that is shut.
    let endpoint = Endpoint::from_shared(args.edge.clone())?.connect_timeout(CONNECT_LIMIT);
    endpoint.connect().await.with_context(|| format!("the edge at {} cannot be reached", args.edge))?;
    let spec = PrewarmSpec {
        edge: args.edge.clone(),
        log,
        top: args.top,
        hit_rate: args.hit_rate,
        deadline: Duration::from_millis(args.deadline_ms.into()),
        at_once: args.at_once.into(),
    };
    let screen = Screen::new();
    let report = tokio::select! {
        () = stop.cancelled() => return Ok(Exit::Interrupted),
        report = prewarm::run(&spec, &screen) => report?,
    };
    screen.clear();
    out::say(told(&report).trim_end());
    Ok(exit(&report))
}

/// A log of one key a line, or lines that name `/v1/items/KEY`; `-` is stdin.
fn read(path: &Path) -> Result<AccessLog, UsageError> {
    let parsed = if path.as_os_str() == "-" {
        AccessLog::parse(io::stdin().lock())
    } else {
        File::open(path).and_then(|file| AccessLog::parse(BufReader::new(file)))
    };
    parsed.map_err(|error| UsageError(format!("--log {} cannot be read: {error}", path.display())))
}

/// The gate's word first, then what it rests on.
fn told(report: &PrewarmReport) -> String {
    let word = match exit(report) {
        Exit::Expected => "OPEN: traffic may come",
        Exit::Other => "SHUT: traffic would meet a cold fleet",
        _ => "UNKNOWN: there is nothing to tell it by",
    };
    let columns = out::width().unwrap_or(usize::MAX);
    let mut text = format!("{word}\n\n");
    if report.keys == 0 {
        return text + &herd_report::wrapped("why       ", &report.why, columns);
    }
    let lines = [
        (
            "hit rate",
            format!("{:.1} %, {:.0} % are asked for", 100.0 * report.hit_rate, 100.0 * report.wanted),
        ),
        (
            "filled",
            format!("{} of {} keys in {:.1} s", report.filled, report.keys, report.took.as_secs_f64()),
        ),
        ("why", report.why.clone()),
        ("missing", missing(&report.missing)),
    ];
    for (name, line) in lines.iter().filter(|(_, line)| !line.is_empty()) {
        text.push_str(&herd_report::wrapped(&format!("{name:<10}"), line, columns));
    }
    text
}

fn missing(keys: &[String]) -> String {
    let listed = keys.iter().take(MISSING_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = keys.len().saturating_sub(MISSING_MAX);
    if more > 0 { format!("{listed} and {more} more") } else { listed }
}

/// Without a read in the log there is no hit rate, whatever number stands for it.
fn exit(report: &PrewarmReport) -> Exit {
    match report.opened {
        _ if report.keys == 0 => Exit::Unknown,
        true => Exit::Expected,
        false => Exit::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> PrewarmReport {
        PrewarmReport {
            keys: 1_000,
            filled: 981,
            hit_rate: 0.962,
            wanted: 0.7,
            opened: true,
            why: "96.2 % of 2000 sampled reads hit, 70.0 % are asked for".to_owned(),
            took: Duration::from_millis(1_840),
            missing: vec!["item-7".to_owned()],
        }
    }

    /// Goal: the gate's word stands first and is the exit status; nothing to tell it by is neither open nor shut.
    #[test]
    fn words_and_statuses() {
        let open = report();
        assert!(told(&open).starts_with("OPEN") && told(&open).contains("981 of 1000 keys in 1.8 s"));
        let shut = PrewarmReport { opened: false, hit_rate: 0.5, ..report() };
        assert!(told(&shut).starts_with("SHUT") && told(&shut).contains("50.0 %, 70 % are asked for"));
        let empty = PrewarmReport { opened: false, keys: 0, missing: Vec::new(), ..report() };
        assert!(told(&empty).starts_with("UNKNOWN") && !told(&empty).contains("hit rate "));
        assert_eq!([exit(&open), exit(&shut), exit(&empty)], [Exit::Expected, Exit::Other, Exit::Unknown]);
    }

    /// Goal: thousands of missing keys do not bury the answer.
    #[test]
    fn the_list_of_missing_keys_is_short() {
        let many: Vec<String> = (0..2_000).map(|n| format!("item-{n}")).collect();
        assert!(missing(&many).ends_with("item-19 and 1980 more"));
    }
}
