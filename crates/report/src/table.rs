//! The table for the terminal.

use herd_judge::{Judgement, RungFigures};

use crate::card;
use crate::expected::{FOOTNOTE, has_contrast, rung_word};
use crate::fault_lines::fault_lines;
use crate::herds::{bound, bound_cell, bound_verdict, layer_line};
use crate::words::{count, mean, ms, nodes, outcome_line, troubles};
use crate::wrap::wrapped;

pub(crate) const COLUMNS: [&str; 10] = [
    "rung",
    "boundaries",
    "origin queries per boundary, hot key, max/mean",
    "peak rebuilds at once, all keys",
    "p50/p99/max ms",
    "miss rate",
    "stale",
    "errors",
    "bound",
    "verdict",
];

/// A wider table is hard to read wherever it stands.
const WIDTH_MAX: usize = 180;

const BOUNDARIES: usize = 1;
const BOUND: usize = 8;

/// The same where there is no room.
const COLUMNS_SHORT: [&str; 10] = [
    "rung",
    "n",
    "queries max/mean",
    "peak, all keys",
    "p50/p99/max",
    "miss",
    "stale",
    "errors",
    "bound",
    "verdict",
];

/// Whether the column holds numbers, which are read from their last digit.
pub(crate) fn is_number(column: usize) -> bool {
    (BOUNDARIES..BOUND).contains(&column)
}

/// A run as a terminal shows it, with verdicts; plain text, no colours, ending in a line's end: for several rungs the before/after
/// table, for one its figures and its claims. `width` is that of the terminal in characters; without one no line is broken.
///
/// Where the table is too wide its bounds move to the lines under it; where it still is its cells move together.
#[must_use]
pub fn table(judgement: &Judgement, width: Option<usize>) -> String {
    let width = width.unwrap_or(usize::MAX);
    let mut text = format!(
        "{} · {} · {} · seed {}\n\n",
        judgement.name,
        judgement.backend,
        nodes(judgement.nodes),
        judgement.seed
    );
    match judgement.rungs.as_slice() {
        [rung] => text.push_str(&card::card(judgement, rung, width)),
        _ => text.push_str(&before_and_after(judgement, width)),
    }
    for rung in &judgement.rungs {
        text.push_str(&fault_lines(rung, width, judgement.rungs.len() > 1));
    }
    let notes = judgement.notes.iter().map(|note| format!("note: {note}"));
    if judgement.rungs.len() > 1 {
        for trouble in troubles(judgement) {
            text.push_str(&wrapped("", &trouble.what, width));
            if let Some(refuted) = trouble.refuted {
                text.push_str(&card::witness_lines(refuted, 2, width));
            }
        }
    }
    for line in notes.chain([outcome_line(judgement)]) {
        text.push_str(&wrapped("", &line, width));
    }
    text
}

fn before_and_after(judgement: &Judgement, width: usize) -> String {
    let rows: Vec<[String; COLUMNS.len()]> =
        judgement.rungs.iter().map(|rung| cells(judgement, rung)).collect();
    let all: Vec<usize> = (0..COLUMNS.len()).collect();
    let without =
        |left_out: &[usize]| all.iter().copied().filter(|n| !left_out.contains(n)).collect::<Vec<_>>();
    let wide = Layout { columns: all.clone(), titles: COLUMNS, header_max: 16, gap: 2, close: false };
    let medium = Layout { columns: without(&[BOUND]), titles: COLUMNS, header_max: 12, gap: 2, close: false };
    let narrow = Layout {
        columns: without(&[BOUNDARIES, BOUND]),
        titles: COLUMNS_SHORT,
        header_max: 8,
        gap: 1,
        close: true,
    };
    let layouts = [wide, medium, narrow];
    let fits = layouts.iter().find(|layout| layout.width(&rows) <= width.min(WIDTH_MAX));
    let layout = fits.unwrap_or(&layouts[layouts.len() - 1]);
    let mut text = layout.draw(&rows);
    text.push('\n');
    let name_width = judgement.rungs.iter().map(|rung| rung.name.chars().count()).max().unwrap_or(0);
    let bound_told = layout.columns.contains(&BOUND);
    for rung in &judgement.rungs {
        let mut line = layer_line(judgement, rung);
        if let (false, Some(verdict)) = (bound_told, bound_verdict(judgement, rung)) {
            line.push_str(&format!(" Bound: {}.", bound(verdict)));
        }
        text.push_str(&wrapped(&format!("{:<name_width$}  ", rung.name), &line, width));
    }
    if has_contrast(judgement) {
        text.push_str(&wrapped("", FOOTNOTE, width));
    }
    text.push('\n');
    text
}

/// How the table is drawn.
struct Layout {
    columns: Vec<usize>,
    titles: [&'static str; COLUMNS.len()],
    /// Longest line of a header, in characters, where its words allow it.
    header_max: usize,
    /// Spaces between columns.
    gap: usize,
    /// Whether `1 / 2` is drawn as `1/2`.
    close: bool,
}

impl Layout {
    fn width(&self, rows: &[[String; COLUMNS.len()]]) -> usize {
        self.widths(rows).iter().sum::<usize>() + self.gap * (self.columns.len() - 1)
    }

    fn widths(&self, rows: &[[String; COLUMNS.len()]]) -> Vec<usize> {
        let column = |column: &usize| {
            let header = broken(self.titles[*column], self.header_max);
            let cells = rows.iter().map(|row| self.cell(&row[*column]).chars().count());
            header.iter().map(|line| line.chars().count()).chain(cells).max().unwrap_or(0)
        };
        self.columns.iter().map(column).collect()
    }

    fn cell(&self, cell: &str) -> String {
        if self.close { cell.replace(" / ", "/").replace(" %", "%") } else { cell.to_owned() }
    }

    fn draw(&self, rows: &[[String; COLUMNS.len()]]) -> String {
        let widths = self.widths(rows);
        let headers: Vec<Vec<String>> =
            self.columns.iter().map(|column| broken(self.titles[*column], self.header_max)).collect();
        let lines = headers.iter().map(Vec::len).max().unwrap_or(1);
        let mut text = String::new();
        for index in 0..lines {
            let line = headers.iter().map(|header| header.get(index).cloned().unwrap_or_default());
            text.push_str(&self.aligned(line, &widths));
        }
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        text.push_str(&format!("{}\n", rule.join(&" ".repeat(self.gap))));
        for row in rows {
            text.push_str(&self.aligned(self.columns.iter().map(|column| self.cell(&row[*column])), &widths));
        }
        text
    }

    fn aligned(&self, cells: impl Iterator<Item = String>, widths: &[usize]) -> String {
        let padded: Vec<String> = cells
            .zip(widths)
            .zip(&self.columns)
            .map(|((cell, width), column)| match is_number(*column) {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            })
            .collect();
        format!("{}\n", padded.join(&" ".repeat(self.gap)).trim_end())
    }
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
        bound_cell(judgement, rung),
        rung_word(judgement, &rung.name).to_owned(),
    ]
}

/// A header broken into lines of about so many characters.
fn broken(header: &str, width: usize) -> Vec<String> {
    wrapped("", header, width).lines().map(str::to_owned).collect()
}
