//! What became of the scenarios so far, in the folder above their runs: whole after each one, whatever comes next.

use super::choose::{Chosen, One};
use crate::{exit::Exit, out, place};
use herd_judge::Outcome;
use herd_report::{Ran, summary};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Why no further scenario runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All have run.
    Whole,
    /// Ctrl-C.
    Interrupted,
    /// One did not come out as expected, and that is where to end.
    AtFailure,
}

/// The scenarios that have run.
#[derive(Debug)]
pub(super) struct Record {
    above: PathBuf,
    /// All that were to run.
    names: Vec<&'static str>,
    left_out: Vec<&'static str>,
    /// What this backend cannot do, with the reason.
    unable: Vec<(&'static str, String)>,
    ran: Vec<Ran>,
    /// A folder for each, where there is one.
    dirs: Vec<Option<PathBuf>>,
}

/// One scenario in `results.json`.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    about: &'a str,
    expect: &'static str,
    outcome: Outcome,
    as_expected: Option<bool>,
    why: &'a str,
    took_s: f64,
    dir: Option<&'a Path>,
}

impl Record {
    pub(super) fn new(above: &Path, chosen: &Chosen) -> Self {
        let names = |all: &[One]| all.iter().map(|one| one.name).collect();
        let unable = chosen.unable.iter().map(|(one, why)| (one.name, why.clone())).collect();
        Self {
            above: above.to_path_buf(),
            names: names(&chosen.taken),
            left_out: names(&chosen.left_out),
            unable,
            ran: Vec::new(),
            dirs: Vec::new(),
        }
    }

    /// Keeps one more, on disk too.
    pub(super) fn add(&mut self, ran: Ran, dir: Option<PathBuf>) -> anyhow::Result<()> {
        self.ran.push(ran);
        self.dirs.push(dir);
        let end = if self.ran.len() == self.names.len() { End::Whole } else { End::Interrupted };
        self.write(end)
    }

    /// Says what became of all, and where it stands. A folder without a run is removed.
    pub(super) fn close(&self, end: End) -> anyhow::Result<()> {
        if self.ran.is_empty() {
            // Fails where something is kept of a run that was cut off.
            let _ = std::fs::remove_dir(&self.above);
            out::say("interrupted before a scenario had ended");
            return Ok(());
        }
        self.write(end)?;
        out::say(format_args!("\n{}", summary(&self.ran, &[], out::width()).text.trim_end()));
        if let Some(why) = self.ended_early(end) {
            out::say(why);
        }
        for line in self.told_unable() {
            out::say(line);
        }
        out::say(format_args!("summary   {}", self.above.join("summary.md").display()));
        Ok(())
    }

    /// One that came out otherwise outweighs those that did not, and one of which nothing can be said is no success.
    pub(super) fn exit(&self, end: End) -> Exit {
        let any = |as_expected| self.ran.iter().any(|one| one.as_expected == as_expected);
        match end {
            End::Interrupted => Exit::Interrupted,
            _ if any(Some(false)) => Exit::Other,
            _ if any(None) || self.ran.is_empty() => Exit::Unknown,
            _ => Exit::Expected,
        }
    }

    fn ended_early(&self, end: End) -> Option<String> {
        let why = match end {
            End::Whole => return None,
            End::Interrupted => "interrupted",
            End::AtFailure => "ended at the first that did not come out as expected",
        };
        let not_run = self.names.get(self.ran.len()..).unwrap_or_default().join(", ");
        Some(format!("{why}: {} of {} were run; not run: {not_run}", self.ran.len(), self.names.len()))
    }

    /// Those that were not run, and why.
    fn not_run(&self, end: End) -> Vec<(&'static str, String)> {
        let early = match end {
            End::Whole | End::Interrupted => "the set was interrupted before it",
            End::AtFailure => "the set ended at one before it",
        };
        let after = self.names.get(self.ran.len()..).unwrap_or_default().iter();
        let left_out =
            self.left_out.iter().map(|name| (*name, "its load lasts too long for the quick part".to_owned()));
        let early = after.map(|name| (*name, early.to_owned()));
        early.chain(left_out).chain(self.unable.iter().cloned()).collect()
    }

    /// A line for each that this backend cannot do.
    fn told_unable(&self) -> impl Iterator<Item = String> {
        self.unable.iter().map(|(name, why)| format!("left out: {name}: {why}"))
    }

    fn write(&self, end: End) -> anyhow::Result<()> {
        let summary = summary(&self.ran, &self.not_run(end), None);
        let mut markdown = summary.markdown;
        let early = self.ended_early(end);
        let left_out = (!self.left_out.is_empty())
            .then(|| format!("left out, as their load lasts too long: {}", self.left_out.join(", ")));
        for line in early.into_iter().chain(left_out).chain(self.told_unable()) {
            markdown.push_str(&format!("\n{line}\n"));
        }
        place::write_whole(&self.above.join("summary.md"), &markdown)?;
        place::write_whole(&self.above.join("junit.xml"), &summary.junit)?;
        place::write_whole(&self.above.join("results.json"), &self.results()?)
    }

    fn results(&self) -> serde_json::Result<String> {
        let row = |(ran, dir): (&'_ Ran, &'_ Option<PathBuf>)| -> serde_json::Result<serde_json::Value> {
            serde_json::to_value(Row {
                name: &ran.name,
                about: &ran.about,
                expect: ran.expect,
                outcome: ran.outcome,
                as_expected: ran.as_expected,
                why: &ran.why,
                took_s: ran.took.as_secs_f64(),
                dir: dir.as_deref(),
            })
        };
        let rows: Vec<_> = self.ran.iter().zip(&self.dirs).map(row).collect::<Result<_, _>>()?;
        Ok(serde_json::to_string_pretty(&rows)? + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::BackendChoice;
    use std::time::Duration;

    fn record(above: &Path, all: &[Option<bool>], names: usize) -> Record {
        let chosen = Chosen {
            taken: Vec::new(),
            left_out: Vec::new(),
            unable: Vec::new(),
            backend: BackendChoice::Processes,
        };
        let mut record = Record::new(above, &chosen);
        record.names = ["a", "b", "c"][..names].to_vec();
        let scenario = crate::pick::preset("regression/no-jitter").unwrap().scenario;
        for (name, as_expected) in ["a", "b", "c"].iter().zip(all) {
            let ran =
                Ran { as_expected: *as_expected, ..Ran::failed(name, &scenario, "why", Duration::ZERO) };
            record.add(ran, Some(above.join(name))).unwrap();
        }
        record
    }

    /// Goal: one that came out otherwise outweighs all, one of which nothing can be said is no success, nor is a set without a run;
    /// an interruption is told as one.
    #[test]
    fn exit_statuses() {
        let folder = tempfile::tempdir().unwrap();
        let exit = |all: &[Option<bool>], end| record(folder.path(), all, 3).exit(end);
        assert_eq!(exit(&[Some(true), Some(true), Some(true)], End::Whole), Exit::Expected);
        assert_eq!(exit(&[Some(true), None], End::Whole), Exit::Unknown);
        assert_eq!(exit(&[], End::Whole), Exit::Unknown);
        assert_eq!(exit(&[None, Some(false), Some(true)], End::Whole), Exit::Other);
        assert_eq!(exit(&[Some(true), Some(false)], End::AtFailure), Exit::Other);
        assert_eq!(exit(&[Some(true)], End::Interrupted), Exit::Interrupted);
    }

    /// Goal: after each scenario the folder holds a summary, JUnit and a list of what has run so far, and says what has not.
    #[test]
    fn an_interrupted_set_keeps_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        record(folder.path(), &[Some(true), Some(false)], 3);
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let rows: serde_json::Value = serde_json::from_str(&read("results.json")).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), 2);
        assert_eq!((&rows[1]["name"], &rows[1]["as_expected"]), (&"b".into(), &false.into()));
        assert!(read("summary.md").contains("2 of 3 were run; not run: c"), "{}", read("summary.md"));
        let junit = read("junit.xml");
        assert!(junit.contains("failures=\"1\"") && junit.contains("interrupted before it"), "{junit}");
        record(folder.path(), &[Some(true), Some(true), None], 3);
        assert!(!read("summary.md").contains("not run"), "{}", read("summary.md"));
    }
}
