//! The terminal's view of a run of one rung: its figures one below the other, then each claim with its worst case.

use herd_judge::{Judgement, Outcome, RungFigures, Verdict};

use crate::expected::{name, why};
use crate::herds::{bound, layer_line, observed};
use crate::witness;
use crate::words::{count, mean, ms, verdicts_of};
use crate::wrap::wrapped;

/// Rebuilds and requests of a witness that are listed.
const WITNESS_LINES_MAX: usize = 4;

pub(crate) fn card(judgement: &Judgement, rung: &RungFigures, width: usize) -> String {
    let layers = if rung.layers.is_empty() { "no layer".to_owned() } else { rung.layers.join(" + ") };
    let (queries, latency) = (&rung.origin_queries_per_boundary, &rung.latency_ms);
    let figures = [
        ("rung", format!("{}: {layers}", rung.name)),
        (
            "requests",
            format!(
                "{} at {:.0}/s, {} errors",
                count(rung.requests),
                rung.load.sent_per_s,
                count(rung.errors)
            ),
        ),
        (
            "origin queries",
            format!(
                "{} max, {} mean over {} boundaries",
                count(queries.max),
                mean(queries.mean),
                count(rung.boundaries)
            ),
        ),
        ("peak rebuilds", format!("{} at once", count(rung.peak_concurrent_rebuilds))),
        (
            "latency",
            format!("p50 {} ms, p99 {} ms, max {} ms", ms(latency.p50), ms(latency.p99), ms(latency.max)),
        ),
        (
            "misses",
            format!("{:.1} %, {} answers were stale", 100.0 * rung.miss_rate, count(rung.stale_served)),
        ),
    ];
    let mut text = String::new();
    for (name, value) in figures {
        text.push_str(&wrapped(&format!("{name:<16}"), &value, width));
    }
    text.push('\n');
    for verdict in verdicts_of(judgement, &rung.name) {
        text.push_str(&claim(verdict, width));
    }
    text.push_str(&format!(
        "\n{}\n",
        wrapped("", &format!("It {}", layer_line(judgement, rung)), width).trim_end()
    ));
    text.push('\n');
    text
}

fn claim(verdict: &Verdict, width: usize) -> String {
    let head = format!("{}: {} seen, bound {}", name(verdict), observed(verdict), bound(verdict));
    let is_contrast = verdict.expected == "invalid";
    let word = match verdict.outcome {
        Outcome::Invalid if is_contrast => "refuted",
        outcome => outcome.name(),
    };
    let mut text = wrapped(&format!("{word:<9}"), &head, width);
    if verdict.outcome == Outcome::Valid && !is_contrast {
        return text;
    }
    text.push_str(&wrapped(&" ".repeat(9), &why(verdict), width));
    text.push_str(&witness_lines(verdict, 11, width));
    text
}

/// The worst case of a verdict, a few lines of it, this far from the left; empty if there is none.
pub(crate) fn witness_lines(verdict: &Verdict, indent: usize, width: usize) -> String {
    let Some(worst) = &verdict.witness else { return String::new() };
    let (lines, more) = witness::lines(worst, WITNESS_LINES_MAX);
    let mut text = String::new();
    let indent = " ".repeat(indent);
    for line in lines {
        let trace = if line.trace.is_empty() { String::new() } else { format!(", trace {}", line.trace) };
        text.push_str(&wrapped(&indent, &format!("{}{trace}", line.what), width));
    }
    if more > 0 {
        text.push_str(&format!("{indent}and {} more\n", count(more)));
    }
    text
}
