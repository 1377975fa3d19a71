//! The table for the terminal.

use herd_judge::{Judgement, RungFigures};

use crate::words::{count, fleet_verdict, layer_line, mean, ms, nodes, outcome_line, outcome_of, troubles};

pub(crate) const COLUMNS: [&str; 10] = [
    "rung",
    "boundaries",
    "origin queries per boundary max/mean",
    "peak rebuilds at once",
    "p50/p99/max ms",
    "miss rate",
    "stale",
    "errors",
    "bound",
    "verdict",
];

/// The before/after table with verdicts; plain text, no colours, ending in a line's end.
#[must_use]
pub fn table(judgement: &Judgement) -> String {
    let rows: Vec<[String; COLUMNS.len()]> =
        judgement.rungs.iter().map(|rung| cells(judgement, rung)).collect();
    let headers = COLUMNS.map(wrapped);
    let header_lines = headers.iter().map(Vec::len).max().unwrap_or(1);
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|column| {
            let header = headers[column].iter().map(|line| line.chars().count());
            let cells = rows.iter().map(|row| row[column].chars().count());
            header.chain(cells).max().unwrap_or(0)
        })
        .collect();
    let mut text = format!(
        "{} · {} · {} · seed {}\n\n",
        judgement.name,
        judgement.backend,
        nodes(judgement.nodes),
        judgement.seed
    );
    for index in 0..header_lines {
        let line: Vec<&str> =
            headers.iter().map(|header| header.get(index).map_or("", String::as_str)).collect();
        text.push_str(&aligned(&line, &widths));
    }
    text.push_str(&widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>().join("  "));
    text.push('\n');
    for row in &rows {
        let line: Vec<&str> = row.iter().map(String::as_str).collect();
        text.push_str(&aligned(&line, &widths));
    }
    text.push('\n');
    let lines = judgement.rungs.iter().map(|rung| layer_line(judgement, rung));
    let notes = judgement.notes.iter().map(|note| format!("note: {note}"));
    for line in lines.chain(troubles(judgement)).chain(notes).chain([outcome_line(judgement)]) {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

pub(crate) fn cells(judgement: &Judgement, rung: &RungFigures) -> [String; COLUMNS.len()] {
    let queries = &rung.origin_queries_per_boundary;
    let latency = &rung.latency_ms;
    [
        rung.name.clone(),
        count(rung.boundaries),
        format!("{} / {}", count(queries.max), mean(queries.mean)),
        count(rung.peak_concurrent_rebuilds),
        format!("{} / {} / {}", ms(latency.p50), ms(latency.p99), ms(latency.max)),
        format!("{:.1} %", 100.0 * rung.miss_rate),
        count(rung.stale_served),
        count(rung.errors),
        fleet_verdict(judgement, &rung.name)
            .map_or_else(|| "-".to_owned(), |verdict| verdict.bound_text.clone()),
        outcome_of(judgement, &rung.name).map_or_else(|| "-".to_owned(), |outcome| outcome.name().to_owned()),
    ]
}

/// A header broken into lines of about 16 characters.
fn wrapped(header: &str) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in header.split(' ') {
        let last = lines.last_mut().expect("never empty");
        if last.is_empty() {
            last.push_str(word);
        } else if last.len() + 1 + word.len() <= 16 {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

fn aligned(cells: &[&str], widths: &[usize]) -> String {
    let padded: Vec<String> =
        cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
    format!("{}\n", padded.join("  ").trim_end())
}
