//! Which run is meant, and what its ledger counted.

use crate::exit::UsageError;
use herd_history::{LedgerRow, Reason};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Folders that are looked at for the newest run.
const FOLDERS_MAX: usize = 10_000;

/// The folder that was asked for, or the newest run below `runs`: also one in the folder of a set of runs.
///
/// # Errors
/// There is none.
pub(super) fn run(asked: Option<&Path>, runs: &Path) -> Result<PathBuf, UsageError> {
    if let Some(asked) = asked {
        let mut partial = asked.components().as_path().as_os_str().to_owned();
        partial.push(".partial");
        let found = [asked.to_path_buf(), partial.into()].into_iter().find(|dir| dir.is_dir());
        return found
            .ok_or_else(|| UsageError(format!("--run {}: there is no such folder", asked.display())));
    }
    let mut newest: Option<(SystemTime, PathBuf)> = None;
    let sets = folders(runs);
    let inner: Vec<PathBuf> = sets.iter().flat_map(|set| folders(set)).take(FOLDERS_MAX).collect();
    for dir in sets.into_iter().chain(inner) {
        let written = dir.join("manifest.json").metadata().and_then(|about| about.modified());
        if let Ok(at) = written
            && newest.as_ref().is_none_or(|(newest, _)| *newest < at)
        {
            newest = Some((at, dir));
        }
    }
    let none = || {
        UsageError(format!(
            "there is no run under {}: name one (--run DIR), or run something first (herd ladder --quick)",
            runs.display()
        ))
    };
    newest.map(|(_, dir)| dir).ok_or_else(none)
}

fn folders(above: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(above).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).take(FOLDERS_MAX).collect()
}

/// Rebuilds that the origin's ledger recorded in a rung, by row and the generation that expired. Fills on command are no herd
/// and left out. Empty if the rung has no ledger.
pub(super) fn ledger(dir: &Path, rung: &str) -> BTreeMap<(String, i64), u64> {
    let mut counts = BTreeMap::new();
    let Ok(file) = File::open(dir.join(format!("ledger-{rung}.jsonl"))) else { return counts };
    for line in BufReader::new(file).lines().map_while(Result::ok) {
        // A line that was cut off is told by whoever judges the run.
        let Ok(row) = serde_json::from_str::<LedgerRow>(&line) else { continue };
        if row.reason != Reason::Warm {
            let generation = i64::try_from(row.generation).unwrap_or(i64::MAX);
            *counts.entry((row.key, generation)).or_default() += 1;
        }
    }
    counts
}
