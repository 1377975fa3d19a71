//! `explore.json`: each plan that ran, in order, and the smallest that fails; whole after each run.

use crate::{cli::ExploreArgs, place};
use herd_judge::Outcome;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// One run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Try {
    pub(super) seed: u64,
    /// Counts the candidates of a plan that is reduced, from 1; absent for the drawn plan itself.
    pub(super) candidate: Option<u32>,
    pub(super) faults: Vec<String>,
    pub(super) outcome: Outcome,
    pub(super) as_expected: Option<bool>,
    pub(super) why: String,
    pub(super) took_s: f64,
    /// Absent where nothing is kept of it.
    pub(super) dir: Option<PathBuf>,
}

/// The runs so far.
#[derive(Debug)]
pub(super) struct Record {
    file: PathBuf,
    scenario: String,
    /// Claims that are not judged, in words.
    not_judged: Vec<String>,
    tries: Vec<Try>,
    smallest: Value,
}

impl Record {
    pub(super) fn new(above: &Path, args: &ExploreArgs, not_judged: Vec<String>) -> Self {
        let file = above.join("explore.json");
        Self { file, scenario: args.scenario.clone(), not_judged, tries: Vec::new(), smallest: Value::Null }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Drawn plans that did not come out as expected, unknown ones aside; that could not be judged; in all.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let drawn: Vec<&Try> = self.tries.iter().filter(|one| one.candidate.is_none()).collect();
        let of = |as_expected| drawn.iter().filter(|one| one.as_expected == as_expected).count();
        (of(Some(false)), of(None), drawn.len())
    }

    /// Runs of candidates.
    pub(super) fn candidates(&self) -> u32 {
        let candidates = self.tries.iter().filter(|one| one.candidate.is_some()).count();
        u32::try_from(candidates).unwrap_or(u32::MAX)
    }

    /// Keeps one more, on disk too.
    pub(super) fn add(&mut self, tried: Try) -> anyhow::Result<()> {
        self.tries.push(tried);
        self.write()
    }

    /// Keeps where the smallest plan that fails stands.
    pub(super) fn smallest(&mut self, seed: u64, file: &Path, minimal: bool) -> anyhow::Result<()> {
        self.smallest = json!({ "seed": seed, "file": file, "minimal": minimal });
        self.write()
    }

    fn write(&self) -> anyhow::Result<()> {
        let whole = json!({
            "scenario": self.scenario, "not_judged": self.not_judged, "runs": self.tries, "smallest": self.smallest
        });
        place::write_whole(&self.file, &(serde_json::to_string_pretty(&whole)? + "\n"))
    }
}
