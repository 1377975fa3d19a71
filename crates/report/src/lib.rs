//! Verdicts to what people and machines read: a table, Markdown, JSON, JUnit and one self-contained HTML file.
//!
//! Everything is made from a [`herd_judge::Judgement`] and, for the plots, from the [`herd_history::History`] it was made of. [`write_all`] puts `results.json`,
//! `report.md`, `report.html` and `junit.xml` into a run's folder.
//!
//! What it never does: decide an outcome, refer to anything outside the page (no scripts, fonts or images from elsewhere), read a
//! clock. The same judgement always gives the same text.
//!
//! Map: `json` the machine's form · `table` the terminal's table · `markdown` · `junit` · `html` the page · `chart` its plots as
//! SVG · `series` what the plots show · `words` sentences that several forms share · `files` the folder.

mod card;
mod chart;
mod events;
mod explain;
mod files;
mod herds;
mod html;
mod json;
mod junit;
mod markdown;
mod series;
mod table;
mod track_record;
mod witness;
mod words;
mod wrap;

pub use explain::{explain, rungs};
pub use files::{ReportError, write_all};
pub use html::html;
pub use json::results_json;
pub use junit::junit;
pub use markdown::markdown;
pub use table::table;
pub use track_record::{Tracked, track_record, track_record_markdown};
pub use words::summary_of;
pub use wrap::wrapped;
