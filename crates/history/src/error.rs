//! What can go wrong with a run's folder.

use std::io;
use std::path::PathBuf;

/// Why a history could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// A file or folder could not be created, written, read or renamed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The run's folder is already there.
    #[error("{} exists already", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// There is neither such a folder nor its partial form.
    #[error("there is no run at {}", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// The folder is there and holds none of a run's files.
    #[error("{} is no run's folder: it has no manifest.json", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// A newer build wrote it.
    #[error("{} has format version {found}; this build reads up to {supported}", path.display())]
    NewerFormat {
        /// The manifest.
        path: PathBuf,
        /// The version it states.
        found: u32,
        /// The newest that this build reads.
        supported: u32,
    },
    /// A line or file is not what it should be.
    #[error("{}:{line}: malformed", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the JSON reader said.
        #[source]
        source: serde_json::Error,
    },
    /// A line is longer than the limit.
    #[error("{}:{line}: line is longer than {limit} bytes", path.display())]
    LineTooLong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The limit.
        limit: usize,
    },
    /// The writer was used out of order: a row outside a rung, or a rung inside a rung. A caller's fault.
    #[error("history written out of order: {what}")]
    OutOfOrder {
        /// What was done.
        what: &'static str,
    },
    /// A rung's name cannot stand in a file name.
    #[error("rung name {name:?} is not 1 to 40 characters of [a-z0-9-]")]
    RungName {
        /// The name.
        name: String,
    },
}
