//! The report as Markdown.

use herd_history::History;
use herd_judge::{Judgement, Verdict};

use crate::events::sentences;
use crate::expected::{FOOTNOTE, has_contrast, name, told};
use crate::faults;
use crate::herds::layer_line;
use crate::table::{COLUMNS, cells};
use crate::witness;
use crate::words::{nodes, outcome_line};

/// Rebuilds and requests of a witness that are listed; the page lists more.
const WITNESS_LINES_MAX: usize = 4;

/// `report.md`. `history` is the one that was judged.
#[must_use]
pub fn markdown(judgement: &Judgement, history: &History) -> String {
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
        line(&mut text, &format!("- {}: {}", rung.name, escaped(&layer_line(judgement, rung))));
    }
    if has_contrast(judgement) {
        line(&mut text, &format!("\n{FOOTNOTE}"));
    }
    text.push_str(&happened(history));
    text.push_str(&faults(judgement));
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

/// How the rungs' keys began, and what was done to them.
fn happened(history: &History) -> String {
    let mut text = String::new();
    for rung in &history.rungs {
        for sentence in sentences(history, rung) {
            line(&mut text, &format!("- {}: {}", rung.record.name, escaped(&sentence)));
        }
    }
    if text.is_empty() { text } else { format!("\n## What happened to the rungs\n\n{text}") }
}

/// The fleet before, during and after each fault.
fn faults(judgement: &Judgement) -> String {
    let mut text = String::new();
    for rung in &judgement.rungs {
        for fault in &rung.faults {
            let (name, summary) = (escaped(&faults::name(fault)), escaped(&faults::summary(fault)));
            line(&mut text, &format!("\n{}, {name}: {summary}.\n", rung.name));
            row(&mut text, &faults::COLUMNS.map(str::to_owned));
            row(&mut text, &faults::COLUMNS.map(|_| "---".to_owned()));
            for cells in faults::rows(fault) {
                row(&mut text, &cells);
            }
        }
    }
    if text.is_empty() { text } else { format!("\n## Before, during and after each fault\n{text}") }
}

fn verdict_lines(text: &mut String, verdict: &Verdict) {
    let head = format!("- **{}** {}: {}", told(verdict), verdict.rung, name(verdict));
    line(text, &format!("{head}: {}", escaped(&verdict.why)));
    let Some(worst) = &verdict.witness else { return };
    let (lines, more) = witness::lines(worst, WITNESS_LINES_MAX);
    for witness::Line { what, trace } in lines {
        line(text, &format!("  - {}, trace `{}`", escaped(&what), escaped(&trace)));
    }
    if more > 0 {
        line(text, &format!("  - and {more} more"));
    }
}

pub(crate) fn row(text: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
    line(text, &format!("| {} |", cells.join(" | ")));
}

fn line(text: &mut String, content: &str) {
    text.push_str(content);
    text.push('\n');
}

/// Text of others must not become markup.
pub(crate) fn escaped(text: &str) -> String {
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
