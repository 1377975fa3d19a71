//! The report as one HTML file that needs nothing else: no script, no font, no image from elsewhere.

use herd_history::History;
use herd_judge::{Judgement, Outcome, RungFigures, Verdict, Witness};

use crate::chart::{Line, herd_sizes, over_time};
use crate::herds::{layer_line, observed};
use crate::series::Series;
use crate::table::{COLUMNS, cells};
use crate::words::{fleet_verdict, nodes, outcome_line, verdicts_of};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2024;--soft:#667079;--paper:#fff;--card:#f5f6f8;--line:#d9dde1;--one:#2463b8;\
--two:#c05621;--good:#18794e;--bad:#c2272d;--open:#8a6100}\
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#98a2ad;--paper:#15181c;--card:#1e2227;--line:#353b42;\
--one:#6ea8fe;--two:#f0a070;--good:#4cc38a;--bad:#ff7b7f;--open:#e5b567}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1100px;margin:2rem auto;\
padding:0 1rem}h1{margin:0}h2{margin-top:2.2rem;border-bottom:1px solid var(--line)}h3{margin:1rem 0 .2rem;font-size:1em}\
.soft,.tick{color:var(--soft);fill:var(--soft)}.tick{font-size:11px}.scroll{overflow-x:auto}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);\
vertical-align:top}th{font-weight:600;color:var(--soft);font-size:13px}td{font-variant-numeric:tabular-nums}\
.valid{color:var(--good);font-weight:600}.invalid{color:var(--bad);font-weight:600}.unknown{color:var(--open);font-weight:600}\
svg{width:100%;height:auto;background:var(--card);border-radius:6px}polyline{fill:none;stroke-width:1.6}\
.one{stroke:var(--one)}.two{stroke:var(--two)}.grid{stroke:var(--line)}.bar{fill:var(--one)}.cut{fill-opacity:.4}\
.bound{stroke:var(--bad);stroke-width:1.5;stroke-dasharray:6 4}details{margin:.2rem 0}code{font-size:12px}\
key-one,key-two{font-weight:600}key-one{color:var(--one)}key-two{color:var(--two)}";

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
    for rung in &judgement.rungs {
        page.push_str(&rung_section(judgement, rung, history));
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
    let mut text = "<div class=\"scroll\"><table>\n<tr>".to_owned();
    for column in COLUMNS {
        text.push_str(&format!("<th>{column}</th>"));
    }
    text.push_str("</tr>\n");
    for rung in &judgement.rungs {
        text.push_str("<tr>");
        let cells = cells(judgement, rung);
        for (index, cell) in cells.iter().enumerate() {
            let class = if index + 1 == cells.len() { cell.as_str() } else { "" };
            text.push_str(&format!("<td class=\"{}\">{}</td>", escaped(class), escaped(cell)));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</table></div>\n<ul>\n");
    for rung in &judgement.rungs {
        text.push_str(&format!(
            "<li>{}: {}</li>\n",
            escaped(&rung.name),
            escaped(&layer_line(judgement, rung))
        ));
    }
    text + "</ul>\n"
}

fn rung_section(judgement: &Judgement, rung: &RungFigures, history: &History) -> String {
    let layers = if rung.layers.is_empty() { "no layer".to_owned() } else { rung.layers.join(" + ") };
    let mut text =
        format!("<h2>{} <span class=\"soft\">{}</span></h2>\n", escaped(&rung.name), escaped(&layers));
    if let Some(driven) = history.rungs.iter().find(|driven| driven.record.name == rung.name) {
        let series = Series::of(driven);
        let lines = [Line { class: "one", values: &series.origin_per_s }];
        text.push_str("<h3>Origin queries started per second</h3>\n");
        text.push_str(&over_time(
            "origin queries per second over time",
            series.window_ms,
            series.bin_ms,
            &lines,
        ));
        let lines = [
            Line { class: "two", values: &series.latency_max_ms },
            Line { class: "one", values: &series.latency_p50_ms },
        ];
        text.push_str("\n<h3>Latency, ms: <key-one>median</key-one> and <key-two>largest</key-two></h3>\n");
        text.push_str(&over_time("latency over time", series.window_ms, series.bin_ms, &lines));
    }
    text.push_str("\n<h3>Rebuilds at each boundary <span class=\"soft\">(dashed: the bound; pale: cut off)</span></h3>\n");
    let bound = fleet_verdict(judgement, &rung.name).and_then(|verdict| verdict.bound);
    text.push_str(&herd_sizes("rebuilds at each boundary", &rung.herds, bound));
    text.push_str("\n<h3>Verdicts</h3>\n");
    text.push_str(&verdict_table(&verdicts_of(judgement, &rung.name)));
    text.push_str("<details><summary>Assumptions</summary><table>\n");
    for assumption in &rung.assumptions {
        let (class, word) = if assumption.holds { ("valid", "holds") } else { ("invalid", "does not hold") };
        let why = escaped(&assumption.why);
        text.push_str(&format!(
            "<tr><td class=\"{class}\">{word}</td><td>{}</td><td>{why}</td></tr>\n",
            escaped(assumption.name)
        ));
    }
    text.push_str("</table></details>\n");
    if !rung.notes.is_empty() {
        text.push_str(&list("Notes of the lab", &rung.notes));
    }
    text
}

fn verdict_table(verdicts: &[&Verdict]) -> String {
    let mut text = "<div class=\"scroll\"><table>\n<tr><th>claim</th><th>scope</th><th>bound</th><th>observed</th><th>verdict</th>\
                    <th>why</th></tr>\n"
        .to_owned();
    for verdict in verdicts {
        let observed = verdict.observed.map_or_else(|| "-".to_owned(), |number| number.to_string());
        text.push_str(&format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{observed}</td><td>{}</td><td>{}{}</td></tr>\n",
            escaped(&verdict.claim),
            escaped(&verdict.scope),
            escaped(&verdict.bound_text),
            badge(verdict.outcome),
            escaped(&verdict.why),
            verdict.witness.as_ref().map_or_else(String::new, witness_details)
        ));
    }
    text + "</table></div>\n"
}

fn witness_details(witness: &Witness) -> String {
    let mut text = format!("<details><summary>witness: {}</summary><table>\n", escaped(&witness.what));
    for rebuild in &witness.rebuilds {
        let after_ms = rebuild.start_us.saturating_sub(witness.at_us) as f64 / 1e3;
        let took = rebuild.end_us.map_or_else(
            || "never ended".to_owned(),
            |end_us| format!("{:.1} ms", end_us.saturating_sub(rebuild.start_us) as f64 / 1e3),
        );
        text.push_str(&format!(
            "<tr><td>rebuild {}</td><td>{}</td><td>{}</td><td>generation {}</td><td>token {}</td><td>+{after_ms:.1} ms</td>\
             <td>{took}</td><td><code>{}</code></td></tr>\n",
            rebuild.rebuild,
            escaped(&rebuild.node),
            rebuild.reason,
            rebuild.generation,
            rebuild.token,
            escaped(&rebuild.trace)
        ));
    }
    for operation in &witness.operations {
        text.push_str(&format!(
            "<tr><td>request {}</td><td>{}</td><td>{}</td><td><code>{}</code></td></tr>\n",
            operation.seq,
            escaped(&operation.node),
            escaped(&operation.what),
            escaped(&operation.reference)
        ));
    }
    let listed = (witness.rebuilds.len() + witness.operations.len()) as u64;
    let total = witness.rebuilds_total + witness.operations_total;
    if total > listed {
        text.push_str(&format!("<tr><td>and {} more</td></tr>\n", total - listed));
    }
    text + "</table></details>"
}

fn list(title: &str, items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| format!("<li>{}</li>\n", escaped(item))).collect();
    format!("<h3>{title}</h3>\n<ul>\n{}</ul>\n", items.concat())
}

fn badge(outcome: Outcome) -> String {
    format!("<span class=\"{0}\">{0}</span>", outcome.name())
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
