//! `herd check` and `herd report`, and the end of every run: read the folder, judge it, write the reports, show the table.

use crate::{exit::Exit, exit::UsageError, out, spans};
use anyhow::Context as _;
use herd_history::{History, HistoryError, Reader};
use herd_judge::Judgement;
use herd_scenario::Scenario;
use std::path::{Path, PathBuf};

/// Judges a run again, says so by the exit status, and writes the reports anew unless the folder is to be left alone. If they cannot
/// be written the outcome does not count as the expected one.
///
/// # Errors
/// There is no such run (wrong usage), or it is damaged.
pub fn check(dir: &Path, write: bool) -> anyhow::Result<Exit> {
    let run = Run::read(dir)?;
    let judgement = run.judge();
    let written = !write || run.try_write(&judgement, " (--no-write leaves the folder alone)");
    show(&judgement);
    Ok(if written { exit(&judgement) } else { Exit::Unknown })
}

/// Writes a run's reports again.
///
/// # Errors
/// As [`check`], or a report cannot be written.
pub fn report(dir: &Path) -> anyhow::Result<Exit> {
    let run = Run::read(dir)?;
    let judgement = run.judge();
    for file in run.write(&judgement)? {
        out::say(file.display());
    }
    Ok(Exit::Expected)
}

/// What follows a run that was written to `dir`: reports beside it, the table, where everything is, the exit status. If the
/// reports cannot be written that is said before all else, and the outcome does not count as the expected one.
///
/// # Errors
/// As [`check`].
pub fn judge_write_and_show(dir: &Path) -> anyhow::Result<Exit> {
    let run = Run::read(dir)?;
    let judgement = run.judge();
    let written = run.try_write(&judgement, "");
    show(&judgement);
    out::say(format_args!("\nrun       {}", run.dir.display()));
    if written {
        out::say(format_args!("report    {}", run.dir.join("report.html").display()));
    }
    out::say(format_args!("again     herd check {}", run.dir.display()));
    Ok(if written { exit(&judgement) } else { Exit::Unknown })
}

/// Judges a run and writes its reports; shows nothing.
///
/// # Errors
/// As [`check`], or a report cannot be written.
pub(crate) fn judge_and_write(dir: &Path) -> anyhow::Result<(Judgement, Scenario)> {
    let run = Run::read(dir)?;
    let judgement = run.judge();
    run.write(&judgement)?;
    Ok((judgement, run.scenario))
}

fn show(judgement: &Judgement) {
    out::say(format_args!("\n{}", herd_report::table(judgement, out::width()).trim_end()));
}

struct Run {
    dir: PathBuf,
    history: History,
    scenario: Scenario,
}

impl Run {
    fn read(dir: &Path) -> anyhow::Result<Self> {
        let reader = Reader::open(dir).map_err(|error| match error {
            HistoryError::NoRun { .. } | HistoryError::NotARun { .. } => {
                anyhow::Error::new(UsageError(error.to_string()))
            }
            error => damaged(error, dir),
        })?;
        let dir = reader.path().to_path_buf();
        let mut history = reader.load().map_err(|error| damaged(error, &dir))?;
        history.notes.extend(spans::missing(&dir));
        let scenario = herd_judge::scenario_of(&history.manifest)
            .context("the scenario in its manifest")
            .map_err(|error| damaged(error, &dir))?;
        Ok(Self { dir, history, scenario })
    }

    fn judge(&self) -> Judgement {
        herd_judge::judge(&self.scenario, &self.history)
    }

    /// Whether the reports are written; if not that is said, with what can be done.
    fn try_write(&self, judgement: &Judgement, remedy: &str) -> bool {
        let written = self.write(judgement);
        if let Err(error) = &written {
            out::warn(format_args!("error: the reports are not written: {error:#}{remedy}"));
        }
        written.is_ok()
    }

    fn write(&self, judgement: &Judgement) -> anyhow::Result<[PathBuf; 4]> {
        Ok(herd_report::write_all(&self.dir, judgement, &self.history)?)
    }
}

/// Nothing can be said of what cannot be read: the outcome is unknown.
fn damaged(error: impl Into<anyhow::Error>, dir: &Path) -> anyhow::Error {
    error.into().context(format!("{} cannot be judged, its outcome is unknown", dir.display()))
}

pub(crate) fn exit(judgement: &Judgement) -> Exit {
    match judgement.as_expected {
        Some(true) => Exit::Expected,
        Some(false) => Exit::Other,
        None => Exit::Unknown,
    }
}
