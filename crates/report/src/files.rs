//! The reports in a run's folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use herd_history::History;
use herd_judge::Judgement;

use crate::{html, junit, markdown, results_json};

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub struct ReportError {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// Writes `results.json`, `report.md`, `report.html` and `junit.xml` into the folder, each whole or not at all; earlier
/// ones are replaced. Returns the four paths in that order.
///
/// # Errors
/// The first file that could not be written.
pub fn write_all(dir: &Path, judgement: &Judgement, history: &History) -> Result<[PathBuf; 4], ReportError> {
    Ok([
        write(dir, "results.json", &results_json(judgement))?,
        write(dir, "report.md", &markdown(judgement, history))?,
        write(dir, "report.html", &html(judgement, history))?,
        write(dir, "junit.xml", &junit(judgement))?,
    ])
}

fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf, ReportError> {
    let path = dir.join(name);
    let beside = dir.join(format!("{name}.new"));
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, &path));
    written.map_err(|source| ReportError { path: path.clone(), source })?;
    Ok(path)
}
