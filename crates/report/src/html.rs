//! The report as one HTML file that needs nothing else: no script, no font, no image from elsewhere.

mod course;
mod faults;
mod rung;
mod style;

use herd_history::History;
use herd_judge::{Judgement, Outcome, Verdict};

use crate::chart::{Row, rates};
use crate::events::{marks, shades};
use crate::expected::{FOOTNOTE, has_contrast, told};
use crate::herds::layer_line;
use crate::series::Series;
use crate::table::{COLUMNS, cells, is_number};
use crate::words::{nodes, outcome_line};
use rung::verdict_table;
use style::STYLE;

/// `report.html`. `history` is the one that was judged; rungs are matched by name.
#[must_use]
pub fn html(judgement: &Judgement, history: &History) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>{name}: {outcome}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}: {badge}</h1>\n<p class=\"soft\">{backend}, {nodes}, seed \
         {seed}; {line}</p>\n<p>{hypothesis}</p>\n",
        name = escaped(&judgement.name),
        outcome = judgement.outcome.name(),
        badge = badge(judgement.outcome),
        backend = escaped(&judgement.backend),
        nodes = nodes(judgement.nodes),
        seed = judgement.seed,
        line = escaped(&outcome_line(judgement)),
        hypothesis = escaped(judgement.hypothesis.trim()),
    );
    page.push_str(&summary(judgement));
    page.push_str(&overview(judgement, history));
    page.push_str("<h2>Rungs</h2>\n");
    for rung in &judgement.rungs {
        page.push_str(&rung::section(judgement, rung, history));
    }
    let driven = |verdict: &&Verdict| judgement.rungs.iter().any(|rung| rung.name == verdict.rung);
    let missing: Vec<&Verdict> = judgement.verdicts.iter().filter(|verdict| !driven(verdict)).collect();
    if !missing.is_empty() {
        page.push_str("<h2>Rungs that were not driven to their end</h2>\n");
        page.push_str(&verdict_table(&missing));
    }
    if !judgement.notes.is_empty() {
        page.push_str(&list("Notes", &judgement.notes));
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn summary(judgement: &Judgement) -> String {
    let class = |column| if is_number(column) { " class=\"number\"" } else { "" };
    let mut text = "<div class=\"scroll\"><table>\n<tr>".to_owned();
    for (column, name) in COLUMNS.iter().enumerate() {
        text.push_str(&format!("<th{}>{name}</th>", class(column)));
    }
    text.push_str("</tr>\n");
    for rung in &judgement.rungs {
        text.push_str("<tr>");
        let cells = cells(judgement, rung);
        for (column, cell) in cells.iter().enumerate() {
            let cell = escaped(cell);
            text.push_str(&match column {
                0 => format!("<td><a href=\"#{}\">{cell}</a></td>", anchor(&rung.name)),
                last if last + 1 == COLUMNS.len() => format!("<td>{}</td>", rung_badge(&cell)),
                _ => format!("<td{}>{cell}</td>", class(column)),
            });
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</table></div>\n");
    if has_contrast(judgement) {
        text.push_str(&format!("<p class=\"soft\">{FOOTNOTE}</p>\n"));
    }
    text.push_str("<dl>\n");
    for rung in &judgement.rungs {
        text.push_str(&format!(
            "<dt>{}</dt><dd>{}</dd>\n",
            escaped(&rung.name),
            escaped(&layer_line(judgement, rung))
        ));
    }
    text + "</dl>\n"
}

/// The origin's load in every rung, one below the other: where a layer helps the sawtooth goes flat.
fn overview(judgement: &Judgement, history: &History) -> String {
    let driven: Vec<_> = judgement
        .rungs
        .iter()
        .filter_map(|rung| history.rungs.iter().find(|driven| driven.record.name == rung.name))
        .collect();
    if driven.len() < 2 {
        return String::new();
    }
    let rows: Vec<Row> = driven
        .into_iter()
        .map(|driven| Row {
            name: &driven.record.name,
            anchor: anchor(&driven.record.name),
            series: Series::of(driven),
            shades: shades(history, driven),
            marks: marks(driven),
        })
        .collect();
    // The load is the same in every rung.
    let of =
        rows[0].series.hot.as_ref().map_or_else(String::new, |hot| format!(" for {}", escaped(&hot.key)));
    format!(
        "<h2>Origin queries per second{of} <span class=\"soft\">(one scale for all rungs, of square roots)</span></h2>\n{}\n",
        rates("origin queries per second of every rung", &rows)
    )
}

/// Where the page tells of a rung.
fn anchor(rung: &str) -> String {
    format!("rung-{}", escaped(rung))
}

fn list(title: &str, items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| format!("<li>{}</li>\n", escaped(item))).collect();
    format!("<h3>{title}</h3>\n<ul>\n{}</ul>\n", items.concat())
}

fn badge(outcome: Outcome) -> String {
    format!("<span class=\"{0}\">{0}</span>", outcome.name())
}

/// A rung's word in its colour.
fn rung_badge(word: &str) -> String {
    let class = if word == "as expected" { "valid" } else { word };
    format!("<span class=\"{class}\">{word}</span>")
}

/// A verdict's word: green is what was expected, whatever it is.
fn verdict_badge(verdict: &Verdict) -> String {
    format!("<span class=\"{}\">{}</span>", verdict.against_expectation().name(), told(verdict))
}

/// Text of others must not become markup.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}
