//! A run's folder while it is read.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::beside::{InsertRecord, StoreWriteRecord, TracedRecord};
use crate::error::HistoryError;
use crate::lines::{io, read_lines};
use crate::record::{FORMAT_VERSION, FaultRecord, LedgerRow, Manifest, OperationRecord, RungRecord};
use crate::write::{check_rung_name, normal, partial_of};

/// Largest manifest or rung list, bytes.
const JSON_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A run's folder, opened. The manifest and the rungs are read; rows are read on demand.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    manifest: Manifest,
    rungs: Vec<RungRecord>,
    notes: Vec<String>,
}

/// A whole run in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// What was run.
    pub manifest: Manifest,
    /// The rungs that were finished, in order.
    pub rungs: Vec<RungHistory>,
    /// Steps of faults, in order.
    pub faults: Vec<FaultRecord>,
    /// The fetches that the run's traces tell of; none where no traces, or not all of them, were kept.
    pub traced: Option<Vec<TracedRecord>>,
    /// What a reader must know about this history: that it is partial, that a line was torn.
    pub notes: Vec<String>,
}

/// One finished rung.
#[derive(Debug, Clone, PartialEq)]
pub struct RungHistory {
    /// What it was.
    pub record: RungRecord,
    /// Every request that was sent, in the order in which they were recorded.
    pub operations: Vec<OperationRecord>,
    /// Every rebuild that the origin started, in order of their starts.
    pub ledger: Vec<LedgerRow>,
    /// Every write that the store decided, in its order; none in runs of builds that did not record them.
    pub writes: Vec<StoreWriteRecord>,
    /// Every row that the generator inserted, in order of sending.
    pub inserts: Vec<InsertRecord>,
}

impl Reader {
    /// Opens a run: the folder, or its partial form if the run was cut off.
    ///
    /// # Errors
    /// [`HistoryError::NoRun`], [`HistoryError::NotARun`], [`HistoryError::NewerFormat`], [`HistoryError::Malformed`], [`HistoryError::Io`].
    pub fn open(dir: &Path) -> Result<Self, HistoryError> {
        let mut notes = Vec::new();
        let mut found = normal(dir);
        if !found.is_dir() {
            found = partial_of(dir);
        }
        if !found.is_dir() {
            return Err(HistoryError::NoRun { path: dir.to_path_buf() });
        }
        // `.` inside such a folder has no name of its own.
        let named = fs::canonicalize(&found).unwrap_or_else(|_| found.clone());
        if named.as_os_str().to_string_lossy().ends_with(".partial") {
            notes.push("this run was cut off before it was whole".to_owned());
        }
        let (manifest, rungs) = (found.join("manifest.json"), found.join("rungs.json"));
        // One of the two alone is a run that has lost the other.
        if !manifest.exists() && !rungs.exists() {
            return Err(HistoryError::NotARun { path: dir.to_path_buf() });
        }
        let manifest = read_manifest(&manifest)?;
        let rungs: Vec<RungRecord> = read_json(&rungs)?;
        for record in &rungs {
            check_rung_name(&record.name)?;
        }
        for name in &manifest.rungs {
            if !rungs.iter().any(|record| record.name == *name) {
                notes.push(format!("rung {name} was not finished"));
            }
        }
        Ok(Self { dir: found, manifest, rungs, notes })
    }

    /// The folder that was found.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// What was run.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The rungs that were finished, in order.
    #[must_use]
    pub fn rungs(&self) -> &[RungRecord] {
        &self.rungs
    }

    /// Reads everything.
    ///
    /// # Errors
    /// [`HistoryError::Malformed`], [`HistoryError::LineTooLong`], [`HistoryError::Io`].
    pub fn load(self) -> Result<History, HistoryError> {
        let Self { dir, manifest, rungs: records, mut notes } = self;
        let mut rungs = Vec::with_capacity(records.len());
        for record in records {
            let operations = rows(&dir, &format!("operations-{}.jsonl", record.name), &mut notes)?;
            let ledger = rows(&dir, &format!("ledger-{}.jsonl", record.name), &mut notes)?;
            let writes = optional_rows(&dir, &format!("writes-{}.jsonl", record.name), &mut notes)?;
            let inserts = optional_rows(&dir, &format!("inserts-{}.jsonl", record.name), &mut notes)?;
            rungs.push(RungHistory { record, operations, ledger, writes, inserts });
        }
        let faults = optional_rows(&dir, "faults.jsonl", &mut notes)?;
        let traced = "traced.jsonl";
        let traced = dir.join(traced).exists().then(|| rows(&dir, traced, &mut notes)).transpose()?;
        Ok(History { manifest, rungs, faults, traced, notes })
    }
}

/// A file that need not be there: it has no rows then.
fn optional_rows<T: DeserializeOwned>(
    dir: &Path,
    name: &str,
    notes: &mut Vec<String>,
) -> Result<Vec<T>, HistoryError> {
    if dir.join(name).exists() { rows(dir, name, notes) } else { Ok(Vec::new()) }
}

fn rows<T: DeserializeOwned>(
    dir: &Path,
    name: &str,
    notes: &mut Vec<String>,
) -> Result<Vec<T>, HistoryError> {
    let lines = read_lines(&dir.join(name))?;
    if lines.torn {
        notes.push(format!("the last line of {name} was cut off and is left out"));
    }
    Ok(lines.rows)
}

/// Reads the version by itself first: a newer manifest need not have the shape that this build knows.
fn read_manifest(path: &Path) -> Result<Manifest, HistoryError> {
    #[derive(Deserialize)]
    struct Versioned {
        format_version: u32,
    }
    let versioned: Versioned = read_json(path)?;
    if versioned.format_version > FORMAT_VERSION {
        return Err(HistoryError::NewerFormat {
            path: path.to_path_buf(),
            found: versioned.format_version,
            supported: FORMAT_VERSION,
        });
    }
    read_json(path)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, HistoryError> {
    let size = fs::metadata(path).map_err(|e| io("open", path, e))?.len();
    if size > JSON_BYTES_MAX {
        return Err(HistoryError::LineTooLong {
            path: path.to_path_buf(),
            line: 1,
            limit: JSON_BYTES_MAX as usize,
        });
    }
    let text = fs::read(path).map_err(|e| io("read", path, e))?;
    serde_json::from_slice(&text).map_err(|source| HistoryError::Malformed {
        path: path.to_path_buf(),
        line: source.line(),
        source,
    })
}
