//! Bounded lines of JSON.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::HistoryError;

/// Longest line of a history file, bytes, without its end.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// Appends JSON lines to a file.
#[derive(Debug)]
pub(crate) struct LineWriter {
    path: PathBuf,
    out: BufWriter<File>,
    buffer: Vec<u8>,
    lines: usize,
}

impl LineWriter {
    pub(crate) fn create(path: PathBuf) -> Result<Self, HistoryError> {
        let file = File::create_new(&path).map_err(|e| io("create", &path, e))?;
        Ok(Self { path, out: BufWriter::with_capacity(256 * 1024, file), buffer: Vec::new(), lines: 0 })
    }

    pub(crate) fn append<T: Serialize>(&mut self, row: &T) -> Result<(), HistoryError> {
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, row).expect("rows of a history are plain data");
        self.lines += 1;
        if self.buffer.len() > LINE_BYTES_MAX {
            return Err(HistoryError::LineTooLong {
                path: self.path.clone(),
                line: self.lines,
                limit: LINE_BYTES_MAX,
            });
        }
        self.buffer.push(b'\n');
        self.out.write_all(&self.buffer).map_err(|e| io("write", &self.path, e))
    }

    /// Hands what is buffered to the operating system: it survives a crash of this process.
    pub(crate) fn flush(&mut self) -> Result<(), HistoryError> {
        self.out.flush().map_err(|e| io("write", &self.path, e))
    }

    /// Flushes to the disk: it survives a crash of the machine.
    pub(crate) fn sync(&mut self) -> Result<(), HistoryError> {
        self.flush()?;
        self.out.get_ref().sync_all().map_err(|e| io("sync", &self.path, e))
    }
}

/// What a file of JSON lines held.
pub(crate) struct Lines<T> {
    pub(crate) rows: Vec<T>,
    /// The last line had no end: the writer was cut off in the middle of it. It was left out.
    pub(crate) torn: bool,
}

/// Reads every line of a file. A last line without its end is left out and reported as torn.
pub(crate) fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Lines<T>, HistoryError> {
    let file = File::open(path).map_err(|e| io("open", path, e))?;
    let mut input = BufReader::with_capacity(256 * 1024, file);
    let mut lines = Lines { rows: Vec::new(), torn: false };
    let mut buffer = Vec::new();
    for line in 1.. {
        buffer.clear();
        // One byte for the line's end, one to notice that there is more.
        let limit = (LINE_BYTES_MAX + 2) as u64;
        let read =
            input.by_ref().take(limit).read_until(b'\n', &mut buffer).map_err(|e| io("read", path, e))?;
        if read == 0 {
            break;
        }
        if buffer.last() == Some(&b'\n') {
            buffer.pop();
        } else if buffer.len() <= LINE_BYTES_MAX {
            lines.torn = true;
            break;
        }
        if buffer.len() > LINE_BYTES_MAX {
            return Err(HistoryError::LineTooLong { path: path.to_path_buf(), line, limit: LINE_BYTES_MAX });
        }
        let row = serde_json::from_slice(&buffer).map_err(|source| HistoryError::Malformed {
            path: path.to_path_buf(),
            line,
            source,
        })?;
        lines.rows.push(row);
    }
    Ok(lines)
}

pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> HistoryError {
    HistoryError::Io { action, path: path.to_path_buf(), source }
}
