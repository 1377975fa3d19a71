//! The course of a rung on the page: the plots, and the same as a table for who cannot see them.

use herd_history::{History, RungHistory};

use super::escaped;
use crate::events::{Mark, Shade, marks, shades};
use crate::series::{Series, Values};
use crate::timeline::timeline;
use crate::words::{count, mean, ms};

/// Rows of the table at most.
const ROWS_MAX: u64 = 24;

pub(super) fn course(history: &History, driven: &RungHistory) -> String {
    let (shades, marks) = (shades(history, driven), marks(driven));
    let label = format!("the course of rung {}; the table below tells the same", driven.record.name);
    let mut text = format!("<h3>Course{}</h3>\n", key(&shades, &marks));
    text.push_str(&timeline(&label, &Series::of(driven), &shades, &marks));
    text.push_str(&table(&Series::in_bins(driven, ROWS_MAX), &shades, &marks));
    text
}

/// Names what is drawn through the plots.
fn key(shades: &[Shade], marks: &[Mark]) -> String {
    let mut told: Vec<String> = Vec::new();
    let mut tell = |class: &str, what: &str| {
        let one = format!("<key-{class}>{}</key-{class}>", escaped(what));
        if !what.is_empty() && !told.contains(&one) {
            told.push(one);
        }
    };
    for shade in shades {
        tell(shade.class, &shade.label);
    }
    for mark in marks.iter().filter(|mark| mark.class == "deploy") {
        tell(mark.class, &mark.label);
    }
    let moves = marks.iter().filter(|mark| mark.class == "members").count();
    let mut parts = Vec::new();
    if !shades.is_empty() {
        parts.push("shaded from injection to repair, paler until recovery".to_owned());
    }
    if !told.is_empty() {
        parts.push(told.join(", "));
    }
    if moves > 0 {
        let times = if moves == 1 { "once".to_owned() } else { format!("{} times", count(moves as u64)) };
        parts.push(format!("dotted: <key-members>the membership changed</key-members> {times}"));
    }
    if parts.is_empty() {
        String::new()
    } else {
        format!(" <span class=\"soft\">({})</span>", parts.join("; "))
    }
}

fn table(series: &Series, shades: &[Shade], marks: &[Mark]) -> String {
    let mut text = "<details><summary>The course as a table</summary><div class=\"scroll\"><table>\n<tr><th>from</th>\
                    <th class=\"number\">sent/s</th><th class=\"number\">answered/s</th><th class=\"number\">p50 ms</th>\
                    <th class=\"number\">p99 ms</th><th class=\"number\">hit rate</th><th class=\"number\">origin queries/s</th>\
                    <th class=\"number\">failed/s</th><th>meanwhile</th></tr>\n"
        .to_owned();
    for index in 0..series.sent_per_s.len() {
        let from_ms = index as f64 * series.bin_ms as f64;
        let to_ms = from_ms + series.bin_ms as f64;
        text.push_str(&format!("<tr><td>{:.1} s</td>", from_ms / 1e3));
        let mut cell = |values: &Values, told: &dyn Fn(f64) -> String| {
            let told = values[index].map_or_else(|| "-".to_owned(), told);
            text.push_str(&format!("<td class=\"number\">{told}</td>"));
        };
        cell(series.tried_per_s.as_ref().unwrap_or(&series.sent_per_s), &mean);
        cell(&series.answered_per_s, &mean);
        cell(&series.latency_p50_ms, &ms);
        cell(&series.latency_p99_ms, &ms);
        cell(&series.hit_percent, &|value| format!("{value:.1} %"));
        cell(&series.origin_per_s, &mean);
        cell(&series.failed_per_s, &mean);
        let mut meanwhile: Vec<&str> = Vec::new();
        let shaded = shades.iter().filter(|shade| shade.from_ms < to_ms && shade.to_ms >= from_ms);
        let marked = marks.iter().filter(|mark| (from_ms..to_ms).contains(&mark.at_ms));
        for what in shaded.map(|shade| shade.label.as_str()).chain(marked.map(|mark| mark.what.as_str())) {
            if !meanwhile.contains(&what) {
                meanwhile.push(what);
            }
        }
        text.push_str(&format!("<td>{}</td></tr>\n", escaped(&some_of(&meanwhile))));
    }
    text + "</table></div></details>\n"
}

/// A few of many, so that a restart of every node does not fill the table.
fn some_of(all: &[&str]) -> String {
    const MAX: usize = 4;
    let mut told = all.iter().take(MAX).copied().collect::<Vec<_>>().join("; ");
    if all.len() > MAX {
        told.push_str(&format!("; and {} more", all.len() - MAX));
    }
    told
}
