//! The report as Markdown.

use herd_judge::{Judgement, Verdict, Witness};

use crate::table::{COLUMNS, cells};
use crate::words::{layer_line, nodes, outcome_line};

/// `report.md`.
#[must_use]
pub fn markdown(judgement: &Judgement) -> String {
    let mut text = format!("# {}: {}\n\n", judgement.name, judgement.outcome.name());
    line(&mut text, &escaped(judgement.hypothesis.trim()));
    text.push_str(&format!(
        "\nBackend {}, {}, seed {}; {}.\n\n",
        judgement.backend,
        nodes(judgement.nodes),
        judgement.seed,
        outcome_line(judgement)
    ));
    row(&mut text, &COLUMNS.map(str::to_owned));
    row(&mut text, &COLUMNS.map(|_| "---".to_owned()));
    for rung in &judgement.rungs {
        row(&mut text, &cells(judgement, rung));
    }
    text.push('\n');
    for rung in &judgement.rungs {
        line(&mut text, &format!("- {}", escaped(&layer_line(judgement, rung))));
    }
    text.push_str("\n## Verdicts\n\n");
    for verdict in &judgement.verdicts {
        verdict_lines(&mut text, verdict);
    }
    text.push_str("\n## Assumptions that did not hold\n\n");
    let mut none = true;
    for rung in &judgement.rungs {
        for assumption in rung.assumptions.iter().filter(|assumption| !assumption.holds) {
            line(&mut text, &format!("- {}, {}: {}", rung.name, assumption.name, escaped(&assumption.why)));
            none = false;
        }
    }
    if none {
        line(&mut text, "None: every one held in every rung.");
    }
    let rung_notes = judgement
        .rungs
        .iter()
        .flat_map(|rung| rung.notes.iter().map(move |note| format!("{}: {note}", rung.name)));
    let notes: Vec<String> = judgement.notes.iter().cloned().chain(rung_notes).collect();
    if !notes.is_empty() {
        text.push_str("\n## Notes\n\n");
        for note in notes {
            line(&mut text, &format!("- {}", escaped(&note)));
        }
    }
    text
}

fn verdict_lines(text: &mut String, verdict: &Verdict) {
    let head =
        format!("- **{}** {}: {} ({})", verdict.outcome.name(), verdict.rung, verdict.claim, verdict.scope);
    line(text, &format!("{head}: {}", escaped(&verdict.why)));
    if let Some(witness) = &verdict.witness {
        witness_lines(text, witness);
    }
}

fn witness_lines(text: &mut String, witness: &Witness) {
    for rebuild in witness.rebuilds.iter().take(4) {
        let took = rebuild.end_us.map_or_else(
            || "without an end".to_owned(),
            |end_us| format!("{} ms", end_us.saturating_sub(rebuild.start_us) / 1_000),
        );
        line(
            text,
            &format!(
                "  - rebuild {} by {} ({}, token {}), {} ms after the first, {took}, trace `{}`",
                rebuild.rebuild,
                escaped(&rebuild.node),
                rebuild.reason,
                rebuild.token,
                rebuild.start_us.saturating_sub(witness.at_us) / 1_000,
                escaped(&rebuild.trace)
            ),
        );
    }
    for operation in witness.operations.iter().take(4) {
        let what = escaped(&operation.what);
        line(
            text,
            &format!(
                "  - request {} {}: {what}, trace `{}`",
                operation.seq,
                escaped(&operation.node),
                escaped(&operation.reference)
            ),
        );
    }
    let listed = (witness.rebuilds.len().min(4) + witness.operations.len().min(4)) as u64;
    let total = witness.rebuilds_total + witness.operations_total;
    if total > listed {
        line(text, &format!("  - and {} more", total - listed));
    }
}

fn row(text: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
    line(text, &format!("| {} |", cells.join(" | ")));
}

fn line(text: &mut String, content: &str) {
    text.push_str(content);
    text.push('\n');
}

/// Text of others must not become markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '|' | '<' | '>' | '*' | '`' => {
                out.push('\\');
                out.push(character);
            }
            '\n' | '\r' => out.push(' '),
            other => out.push(other),
        }
    }
    out
}
