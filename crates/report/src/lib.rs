//! Verdicts to what people and machines read: a table, Markdown, JSON, JUnit and one self-contained HTML file; and what a rung does, in
//! words, before anything is run.
//!
//! Everything is made from a [`herd_judge::Judgement`] and from the [`herd_history::History`] it was made of. [`write_all`] puts
//! `results.json`, `report.md`, `report.html` and `junit.xml` into a run's folder; [`table`] is what a terminal shows of it.
//! [`explain`] and [`rungs`] need a scenario only; [`summary`] tells what became of a set of scenarios.
//!
//! What it never does: decide an outcome, refer to anything outside the page (no scripts, fonts or images from elsewhere), read a
//! clock. The same judgement always gives the same text. Its formulas explain; the judge has its own, and is not told of these.
//!
//! Map, what is read · `table` a terminal's table, `card` the same for one rung · `markdown` · `html` the page, its `style` and each
//! `rung` · `json` the machine's form · `junit` · `chaos` a set of scenarios · `files` the folder.
//!
//! Map, what it is made of · `herds` which herd a rung bounds and by which verdict that shows, its `teller` in a sentence · `events` what
//! was done to a rung, `faults` and `fault_lines` its faults · `expected` contrasts · `witness` worst cases · `series` what the plots
//! show, `timeline` and `chart` the plots as SVG · `words` sentences and
//! numbers, `wrap` lines that fit.
//!
//! Map of `explain` · `coalesce`, `background`, `spread`, `edges` a layer each by what it is for · `faults` what they do to a bound · `twists` what a rung does differently ·
//! `shown` the shipped scenarios that show a layer broken · `numbers` the scenario's.

mod card;
mod chaos;
mod chart;
mod events;
mod expected;
mod explain;
mod fault_lines;
mod faults;
mod files;
mod herds;
mod html;
mod json;
mod junit;
mod markdown;
mod series;
mod table;
mod timeline;
mod witness;
mod words;
mod wrap;

pub use chaos::{Ran, Summary, summary};
pub use explain::{explain, rungs};
pub use files::{ReportError, write_all};
pub use html::html;
pub use json::results_json;
pub use junit::junit;
pub use markdown::markdown;
pub use table::table;
pub use words::summary_of;
pub use wrap::wrapped;
