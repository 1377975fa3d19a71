//! A run's folder while it is written.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::beside::{InsertRecord, StoreWriteRecord};
use crate::error::HistoryError;
use crate::lines::{LineWriter, io};
use crate::record::{FaultRecord, LedgerRow, Manifest, OperationRecord, RungRecord};

/// Writes a run's folder: `NAME.partial` until [`Writer::finish`] renames it to `NAME`.
///
/// Order of calls: `create`, then for each rung `begin_rung`, any number of rows of each kind, `end_rung`; then `finish`. Dropping the writer leaves the partial folder as it is, readable as far as it came.
#[derive(Debug)]
pub struct Writer {
    whole: PathBuf,
    partial: PathBuf,
    rungs: Vec<RungRecord>,
    faults: Option<LineWriter>,
    open: Option<OpenRung>,
}

#[derive(Debug)]
struct OpenRung {
    name: String,
    operations: LineWriter,
    ledger: LineWriter,
    writes: LineWriter,
    inserts: LineWriter,
}

impl Writer {
    /// Creates `DIR.partial` (and the folders above it) and writes the manifest. Of several callers that ask for the same
    /// folder at the same time, one gets it. What cannot be written whole is removed again.
    ///
    /// # Errors
    /// [`HistoryError::Exists`] if the folder or its partial form is there, [`HistoryError::Io`].
    pub fn create(dir: &Path, manifest: &Manifest) -> Result<Self, HistoryError> {
        let whole = normal(dir);
        let partial = partial_of(dir);
        if whole.exists() {
            return Err(HistoryError::Exists { path: whole });
        }
        if let Some(above) = partial.parent() {
            fs::create_dir_all(above).map_err(|e| io("create", above, e))?;
        }
        fs::create_dir(&partial).map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => HistoryError::Exists { path: partial.clone() },
            _ => io("create", &partial, e),
        })?;
        let begun = write_json(&partial, "manifest.json", manifest)
            .and_then(|()| write_json(&partial, "rungs.json", &Vec::<RungRecord>::new()));
        if let Err(error) = begun {
            // There is nothing in it yet that anybody could miss; the first error is the one that counts.
            let _ = fs::remove_dir_all(&partial);
            return Err(error);
        }
        Ok(Self { whole, partial, rungs: Vec::new(), faults: None, open: None })
    }

    /// The folder being written.
    #[must_use]
    pub fn partial_path(&self) -> &Path {
        &self.partial
    }

    /// Opens the files of a rung.
    ///
    /// # Errors
    /// [`HistoryError::OutOfOrder`] inside another rung, [`HistoryError::RungName`], [`HistoryError::Io`].
    pub fn begin_rung(&mut self, name: &str) -> Result<(), HistoryError> {
        if self.open.is_some() {
            return Err(HistoryError::OutOfOrder { what: "a rung began inside another" });
        }
        check_rung_name(name)?;
        let file = |kind: &str| LineWriter::create(self.partial.join(format!("{kind}-{name}.jsonl")));
        self.open = Some(OpenRung {
            name: name.to_owned(),
            operations: file("operations")?,
            ledger: file("ledger")?,
            writes: file("writes")?,
            inserts: file("inserts")?,
        });
        Ok(())
    }

    /// Appends one request to the open rung.
    ///
    /// # Errors
    /// [`HistoryError::OutOfOrder`] outside a rung, [`HistoryError::LineTooLong`], [`HistoryError::Io`].
    pub fn operation(&mut self, row: &OperationRecord) -> Result<(), HistoryError> {
        self.rung_open()?.operations.append(row)
    }

    /// Appends one rebuild to the open rung.
    ///
    /// # Errors
    /// As [`Writer::operation`].
    pub fn ledger_row(&mut self, row: &LedgerRow) -> Result<(), HistoryError> {
        self.rung_open()?.ledger.append(row)
    }

    /// Appends one write of the store to the open rung.
    ///
    /// # Errors
    /// As [`Writer::operation`].
    pub fn store_write(&mut self, row: &StoreWriteRecord) -> Result<(), HistoryError> {
        self.rung_open()?.writes.append(row)
    }

    /// Appends one inserted row to the open rung.
    ///
    /// # Errors
    /// As [`Writer::operation`].
    pub fn insert(&mut self, row: &InsertRecord) -> Result<(), HistoryError> {
        self.rung_open()?.inserts.append(row)
    }

    /// Closes the open rung: its rows are on disk, then its record is.
    ///
    /// # Errors
    /// [`HistoryError::OutOfOrder`] outside a rung or under another name, [`HistoryError::Io`].
    pub fn end_rung(&mut self, record: RungRecord) -> Result<(), HistoryError> {
        let open = self.rung_open()?;
        if open.name != record.name {
            return Err(HistoryError::OutOfOrder { what: "a rung ended under another name" });
        }
        open.operations.sync()?;
        open.ledger.sync()?;
        open.writes.sync()?;
        open.inserts.sync()?;
        self.open = None;
        self.rungs.push(record);
        write_json(&self.partial, "rungs.json", &self.rungs)
    }

    /// Appends one step of a fault; at once on its way to the disk, since faults are few and crashes are likely near them.
    ///
    /// # Errors
    /// [`HistoryError::LineTooLong`], [`HistoryError::Io`].
    pub fn fault(&mut self, row: &FaultRecord) -> Result<(), HistoryError> {
        let faults = match &mut self.faults {
            Some(faults) => faults,
            none => none.insert(LineWriter::create(self.partial.join("faults.jsonl"))?),
        };
        faults.append(row)?;
        faults.flush()
    }

    /// Makes the run whole: everything is on disk, then the folder gets its name. Returns the folder.
    ///
    /// # Errors
    /// [`HistoryError::OutOfOrder`] inside a rung, [`HistoryError::Io`].
    pub fn finish(mut self) -> Result<PathBuf, HistoryError> {
        if self.open.is_some() {
            return Err(HistoryError::OutOfOrder { what: "the run finished inside a rung" });
        }
        if let Some(faults) = &mut self.faults {
            faults.sync()?;
        }
        sync_dir(&self.partial)?;
        fs::rename(&self.partial, &self.whole).map_err(|e| io("rename", &self.partial, e))?;
        if let Some(above) = self.whole.parent().filter(|above| !above.as_os_str().is_empty()) {
            sync_dir(above)?;
        }
        Ok(self.whole)
    }

    fn rung_open(&mut self) -> Result<&mut OpenRung, HistoryError> {
        self.open.as_mut().ok_or(HistoryError::OutOfOrder { what: "a row outside a rung" })
    }
}

/// `NAME` becomes `NAME.partial`, beside it: also if it was written `NAME/`.
pub(crate) fn partial_of(dir: &Path) -> PathBuf {
    let mut name = normal(dir).into_os_string();
    name.push(".partial");
    PathBuf::from(name)
}

/// The same path without slashes at its end and without `.` in the middle.
pub(crate) fn normal(dir: &Path) -> PathBuf {
    dir.components().collect()
}

/// Rung names stand in file names: anything else would leave the folder.
pub(crate) fn check_rung_name(name: &str) -> Result<(), HistoryError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 40 || !name.chars().all(plain) {
        return Err(HistoryError::RungName { name: name.to_owned() });
    }
    Ok(())
}

/// Writes a whole file or leaves the old one: beside it first, then renamed.
fn write_json<T: Serialize>(dir: &Path, name: &str, value: &T) -> Result<(), HistoryError> {
    let path = dir.join(name);
    let beside = dir.join(format!("{name}.new"));
    let mut text = serde_json::to_vec_pretty(value).expect("records of a history are plain data");
    text.push(b'\n');
    let mut file = File::create(&beside).map_err(|e| io("create", &beside, e))?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(|e| io("write", &beside, e))?;
    fs::rename(&beside, &path).map_err(|e| io("rename", &beside, e))
}

fn sync_dir(dir: &Path) -> Result<(), HistoryError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| io("sync", dir, e))
}
