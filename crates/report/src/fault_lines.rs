//! What was done to a rung, for a terminal: each fault in a sentence, with the fleet before, meanwhile and after.

use herd_judge::{FaultFigures, RungFigures};

use crate::faults::{COLUMNS, name, rows, summary};
use crate::wrap::wrapped;

/// Titles where there is room, and where there is less.
const TITLES: [[&str; COLUMNS.len()]; 2] = [
    ["", "time s", "good answers/s", "errors", "p50/p99 ms", "misses", "origin/s", "most rebuilds"],
    ["", "s", "good/s", "errors", "p50/p99 ms", "misses", "origin/s", "herd"],
];

/// Nothing for a rung without faults. `named`: whether the rung's name has to be told.
pub(crate) fn fault_lines(rung: &RungFigures, width: usize, named: bool) -> String {
    let mut text = String::new();
    for fault in &rung.faults {
        let first = if named { format!("{}: fault ", rung.name) } else { "fault ".to_owned() };
        let head = format!("{first}{}: {}.", name(fault), summary(fault));
        text.push_str(&wrapped("", &head, width));
        text.push_str(&table(fault, width));
        text.push('\n');
    }
    text
}

fn table(fault: &FaultFigures, width: usize) -> String {
    let rows = rows(fault);
    let drawn = |titles: &[&str; COLUMNS.len()], close: bool| {
        let cell = |text: &str| match close {
            true => text.replace(" / ", "/").replace(" to ", "-").replace(" %", "%").replace(" (", "("),
            false => text.to_owned(),
        };
        let all: Vec<Vec<String>> = std::iter::once(titles.map(str::to_owned).to_vec())
            .chain(rows.iter().map(|row| row.iter().map(|text| cell(text)).collect()))
            .collect();
        let widest = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..COLUMNS.len()).map(widest).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            format!("  {}\n", cells.collect::<Vec<_>>().join("  "))
        };
        all.iter().map(line).collect::<String>()
    };
    let wide = drawn(&TITLES[0], false);
    let fits = wide.lines().all(|line| line.chars().count() <= width);
    if fits { wide } else { drawn(&TITLES[1], true) }
}
