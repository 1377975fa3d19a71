//! The ledger's file: its header, what a restart finds in it, and the sparse index that readers start from.
//!
//! The file is a 16-byte header (`HERDLEDG`, format version: u32, zero: u32, little-endian) and then records, whose
//! sequence numbers are 1, 2, 3, ... It is only ever appended to; a restart cuts off what a crash left half-written. A file
//! of an older format gets this one's number when it is opened: a program of that time would take what is appended from
//! now on for a torn end, and cut it off.

use super::codec::{self, Frame};
use super::{LedgerError, Recovery};
use herd_wire::v1::LedgerEvent;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Length of the header; the first record starts here.
pub(super) const HEADER_BYTES: usize = 16;

/// The format this program writes. It reads the older ones, too.
pub const FORMAT_VERSION: u32 = 2;

/// The longest single write, in bytes: records are never split over two of them, so a crash damages at most this much.
pub(super) const WRITE_BYTES_MAX: usize = 1 << 20;

/// How many records stand between two entries of the index.
const INDEX_STRIDE: u64 = 4096;

const MAGIC: [u8; 8] = *b"HERDLEDG";
const SCAN_BYTES: usize = 1 << 18;

/// The open file and where its next record goes. Owned by the ledger's thread.
pub(super) struct LedgerFile {
    pub(super) file: Locked,
    /// Offset of the next record.
    pub(super) end: u64,
    /// Sequence number of the next record.
    pub(super) next_seq: u64,
    pub(super) index: Index,
}

/// A file that this process owns until it is dropped.
pub(super) struct Locked(File);

impl Locked {
    fn lock(file: File, path: &Path) -> Result<Self, LedgerError> {
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(LedgerError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(LedgerError::Io { path: path.to_owned(), source }),
        }
    }
}

impl std::ops::Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing would not be enough: readers, and children between fork and exec, share the open file and its lock.
        let _ = self.0.unlock();
    }
}

/// Offsets of some records, in ascending order.
#[derive(Default)]
pub(super) struct Index(Vec<(u64, u64)>);

impl Index {
    /// Notes that the record `seq` starts at `offset`, if it is one of those to note.
    pub(super) fn note(&mut self, seq: u64, offset: u64) {
        if (seq - 1).is_multiple_of(INDEX_STRIDE) {
            self.0.push((seq, offset));
        }
    }

    /// The offset of the nearest noted record at or before `seq`.
    pub(super) fn before(&self, seq: u64) -> u64 {
        let after = self.0.partition_point(|(noted, _)| *noted <= seq);
        after.checked_sub(1).map_or(HEADER_BYTES as u64, |at| self.0[at].1)
    }
}

impl LedgerFile {
    /// Opens or makes the file, takes its lock, reads it through and cuts off a torn end.
    pub(super) fn open(path: &Path) -> Result<(Self, Recovery), LedgerError> {
        let context = |source: io::Error| LedgerError::Io { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(context)?;
        let file = Locked::lock(file, path)?;
        let length = file.metadata().map_err(context)?.len();
        let header_found = check_header(&file, length, path)?;
        if header_found == Header::Torn {
            file.set_len(0).map_err(context)?;
        }
        let mut found = Self { file, end: HEADER_BYTES as u64, next_seq: 1, index: Index::default() };
        let length = length.max(HEADER_BYTES as u64);
        let cut_bytes = if header_found == Header::Torn { 0 } else { found.scan(length, path)? };
        if header_found != Header::Current {
            found.file.write_all_at(&header(), 0).map_err(context)?;
        }
        if cut_bytes > 0 {
            found.file.set_len(found.end).map_err(context)?;
        }
        let recovery = Recovery { events: found.next_seq - 1, cut_bytes };
        Ok((found, recovery))
    }

    /// Reads the records up to `length`. Returns how many bytes at the end are not whole records.
    fn scan(&mut self, length: u64, path: &Path) -> Result<u64, LedgerError> {
        let mut window = Window::new(self.end);
        loop {
            let event = window.next(&self.file, length);
            let event = event.map_err(|source| LedgerError::Io { path: path.to_owned(), source })?;
            match event {
                Some((offset, event)) if event.seq == self.next_seq => {
                    self.index.note(event.seq, offset);
                    self.end = window.offset();
                    self.next_seq += 1;
                }
                // What follows a gap cannot be trusted either.
                Some(_) | None => break,
            }
        }
        let torn = length - self.end;
        if torn > WRITE_BYTES_MAX as u64 {
            return Err(LedgerError::Damaged { path: path.to_owned(), offset: self.end, torn });
        }
        Ok(torn)
    }
}

fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header
}

/// What stands at the head of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Header {
    /// Nothing, or the part of a header that a crash left.
    Torn,
    /// A header of an older format.
    Older,
    /// A header of this program's format.
    Current,
}

fn check_header(file: &File, length: u64, path: &Path) -> Result<Header, LedgerError> {
    let mut found = [0; HEADER_BYTES];
    let present = usize::try_from(length).map_or(HEADER_BYTES, |length| length.min(HEADER_BYTES));
    file.read_exact_at(&mut found[..present], 0)
        .map_err(|source| LedgerError::Io { path: path.to_owned(), source })?;
    if present < HEADER_BYTES && header().starts_with(&found[..present]) {
        return Ok(Header::Torn);
    }
    if found[..8] != MAGIC {
        return Err(LedgerError::NotALedger { path: path.to_owned() });
    }
    match found[8..12].try_into().map(u32::from_le_bytes) {
        Ok(FORMAT_VERSION) => Ok(Header::Current),
        Ok(1..FORMAT_VERSION) => Ok(Header::Older),
        version => Err(LedgerError::Version { path: path.to_owned(), found: version.unwrap_or_default() }),
    }
}

/// Walks over records of a file in order, holding a window of it.
pub(super) struct Window {
    bytes: Vec<u8>,
    /// Offset in the file of `bytes[0]`.
    base: u64,
    /// Offset in `bytes` of the next record.
    at: usize,
}

impl Window {
    /// A walk that starts at the record at `offset`.
    pub(super) const fn new(offset: u64) -> Self {
        Self { bytes: Vec::new(), base: offset, at: 0 }
    }

    /// Offset in the file of the next record.
    pub(super) const fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// The next record with its offset; `None` at `end`, or where no whole record stands.
    pub(super) fn next(&mut self, file: &File, end: u64) -> io::Result<Option<(u64, LedgerEvent)>> {
        loop {
            let offset = self.offset();
            match codec::decode(&self.bytes[self.at..]) {
                Frame::Event(event, length) => {
                    self.at += length;
                    return Ok(Some((offset, *event)));
                }
                Frame::Damaged => return Ok(None),
                Frame::Incomplete => {}
            }
            if self.base + self.bytes.len() as u64 >= end {
                return Ok(None);
            }
            self.fill(file, end)?;
        }
    }

    /// Drops what was read and reads on, up to `end`.
    fn fill(&mut self, file: &File, end: u64) -> io::Result<()> {
        self.bytes.drain(..self.at);
        self.base += self.at as u64;
        self.at = 0;
        let have = self.bytes.len();
        let from = self.base + have as u64;
        let want = usize::try_from(end - from).map_or(SCAN_BYTES, |left| left.min(SCAN_BYTES));
        self.bytes.resize(have + want, 0);
        file.read_exact_at(&mut self.bytes[have..], from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a reader starts at the nearest noted record, never behind the one it asked for.
    #[test]
    fn the_index_never_overshoots() {
        let mut index = Index::default();
        assert_eq!(index.before(1), HEADER_BYTES as u64);
        for seq in 1..=3 * INDEX_STRIDE {
            index.note(seq, HEADER_BYTES as u64 + (seq - 1) * 10);
        }
        assert_eq!(index.0.len(), 3);
        assert_eq!(index.before(0), HEADER_BYTES as u64);
        assert_eq!(index.before(INDEX_STRIDE), HEADER_BYTES as u64);
        assert_eq!(index.before(INDEX_STRIDE + 1), HEADER_BYTES as u64 + INDEX_STRIDE * 10);
        assert_eq!(index.before(u64::MAX), HEADER_BYTES as u64 + 2 * INDEX_STRIDE * 10);
    }
}
