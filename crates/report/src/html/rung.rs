//! The part of the page about one rung.

use herd_history::History;
use herd_judge::{Judgement, Outcome, RungFigures, Verdict, Witness};

use super::course::course;
use super::{anchor, escaped, faults, list, rung_badge, verdict_badge};
use crate::chart::{BARS_MAX, herd_sizes};
use crate::events::sentences;
use crate::expected::{rung_word, scope};
use crate::herds::{bound, layer_line, observed};
use crate::words::{fleet_verdict, verdicts_of};

/// Up to so many rungs are all shown open; of more, only those whose verdict needs a look.
const OPEN_MAX: usize = 4;

pub(super) fn section(judgement: &Judgement, rung: &RungFigures, history: &History) -> String {
    let layers = if rung.layers.is_empty() { "no layer".to_owned() } else { rung.layers.join(" + ") };
    let word = rung_word(judgement, &rung.name);
    let needs_look = !["valid", "as expected", "-"].contains(&word);
    let open = if needs_look || judgement.rungs.len() <= OPEN_MAX { " open" } else { "" };
    let mut text = format!(
        "<details class=\"rung\"{open}><summary><h2>{}</h2> {} <span class=\"soft\">{}</span></summary>\n\
         <p id=\"{}\">It {}</p>\n",
        escaped(&rung.name),
        rung_badge(word),
        escaped(&layers),
        anchor(&rung.name),
        escaped(&layer_line(judgement, rung)),
    );
    text.push_str(&plots(judgement, rung, history));
    text.push_str("\n<h3>Verdicts</h3>\n");
    text.push_str(&verdict_table(&verdicts_of(judgement, &rung.name)));
    text.push_str(&assumptions(rung));
    if !rung.notes.is_empty() {
        text.push_str(&list("Notes of the lab", &rung.notes));
    }
    text + "</details>\n"
}

fn plots(judgement: &Judgement, rung: &RungFigures, history: &History) -> String {
    let mut text = String::new();
    if let Some(driven) = history.rungs.iter().find(|driven| driven.record.name == rung.name) {
        let events = sentences(history, driven);
        if !events.is_empty() {
            text.push_str(&list("What happened to it", &events));
        }
        text.push_str(&faults::tables(rung));
        text.push_str(&course(history, driven));
    }
    if !rung.herds.is_empty() {
        let drawn = match rung.herds.len() {
            all if all > BARS_MAX => format!("; the largest {BARS_MAX} of {all}"),
            _ => String::new(),
        };
        text.push_str(&format!(
            "\n<h3>Rebuilds at each boundary <span class=\"soft\">(dashed: the bound; pale: cut off{drawn})</span></h3>\n"
        ));
        let bound = fleet_verdict(judgement, &rung.name).and_then(|verdict| verdict.bound);
        text.push_str(&herd_sizes("rebuilds at each boundary", &rung.herds, bound));
    }
    text
}

fn assumptions(rung: &RungFigures) -> String {
    let failed = rung.assumptions.iter().filter(|assumption| !assumption.holds).count();
    let summary = match failed {
        0 => "Assumptions: all hold".to_owned(),
        failed => format!("Assumptions: <span class=\"invalid\">{failed} do not hold</span>"),
    };
    let mut text = format!("<details><summary>{summary}</summary><table>\n");
    for assumption in &rung.assumptions {
        let (class, word) = if assumption.holds { ("valid", "holds") } else { ("invalid", "does not hold") };
        let why = escaped(&assumption.why);
        text.push_str(&format!(
            "<tr><td class=\"{class}\">{word}</td><td>{}</td><td>{why}</td></tr>\n",
            escaped(assumption.name)
        ));
    }
    text + "</table></details>\n"
}

pub(super) fn verdict_table(verdicts: &[&Verdict]) -> String {
    let mut text = "<div class=\"scroll\"><table>\n<tr><th>claim</th><th>scope</th><th>bound</th><th>observed</th><th>verdict</th>\
                    <th>why</th></tr>\n"
        .to_owned();
    for verdict in verdicts {
        text.push_str(&format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            escaped(&verdict.claim),
            escaped(&scope(verdict)),
            escaped(&bound(verdict)),
            escaped(&observed(verdict)),
            verdict_badge(verdict),
            escaped(&verdict.why),
        ));
        if let Some(witness) = &verdict.witness {
            let details = witness_details(witness, verdict.against_expectation());
            text.push_str(&format!("<tr class=\"of-above\"><td colspan=\"6\">{details}</td></tr>\n"));
        }
    }
    text + "</table></div>\n"
}

/// Shown at once where it refutes the claim.
fn witness_details(witness: &Witness, outcome: Outcome) -> String {
    let open = if outcome == Outcome::Invalid { " open" } else { "" };
    let mut text = format!("<details{open}><summary>witness: {}</summary><table>\n", escaped(&witness.what));
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
    for write in &witness.writes {
        let after_ms = write.at_us.saturating_sub(witness.at_us) as f64 / 1e3;
        text.push_str(&format!(
            "<tr><td>write of a {}</td><td>{}</td><td>{}</td><td>generation {}</td><td>token {}, epoch {}</td><td>+{after_ms:.1} ms</td>\
             <td>version {}</td><td><code>{}</code></td></tr>\n",
            write.kind,
            escaped(&write.node),
            escaped(write.verdict),
            write.generation,
            write.token,
            write.epoch,
            write.version,
            escaped(&write.trace)
        ));
    }
    let listed = (witness.rebuilds.len() + witness.operations.len() + witness.writes.len()) as u64;
    let total = witness.rebuilds_total + witness.operations_total + witness.writes_total;
    if total > listed {
        text.push_str(&format!("<tr><td>and {} more</td></tr>\n", total - listed));
    }
    text + "</table></details>"
}
