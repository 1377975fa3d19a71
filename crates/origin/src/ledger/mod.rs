//! The ledger: an append-only file of rebuild starts and ends. It decides how large a herd was.
//!
//! The query path only numbers an event and puts it into a bounded queue; a thread of the ledger's own writes it. A full
//! queue makes the query path wait, and a ledger that cannot be written refuses rebuilds: work that nobody recorded is
//! never done knowingly. [`Ledger::close`] loses nothing; a killed process loses at most what stood in the queue.
//!
//! - `codec`: one event as bytes.
//! - `file`: header, recovery, index.
//! - `queue`: sequence numbers, back-pressure, barriers.
//! - `writer`: the thread.
//! - `read`: streaming it while it grows.

mod codec;
mod file;
mod queue;
mod read;
mod writer;

pub use file::FORMAT_VERSION;
pub use read::{CHUNK_EVENTS_MAX, Extent};

use file::LedgerFile;
use herd_wire::key::{KEY_BYTES_MAX, PREFIX_BYTES_MAX};
use herd_wire::v1::{FetchRequest, RebuildEnded, RebuildStarted, ledger_event::Kind};
use queue::{Queue, ROOM_WAIT_MAX};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// The longest name of a calling node, in bytes.
pub const NODE_BYTES_MAX: usize = 128;

/// How a ledger is opened.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// The file. Made if it is absent; its directory must exist.
    pub path: PathBuf,
    /// How many events may wait to be written, 2 or more. Beyond it the query path waits.
    pub queue_events_max: usize,
    /// Once the file has this many bytes no rebuild may start any more; those under way still end.
    pub file_bytes_max: u64,
}

impl LedgerOptions {
    /// A ledger at `path` with the ordinary limits: 65,536 events in the queue, a file of 4 GiB.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), queue_events_max: 65_536, file_bytes_max: 4 << 30 }
    }
}

/// What opening a ledger found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Events in the file: the next one gets the number after it.
    pub events: u64,
    /// Bytes of a record that a crash left half-written, now cut off; 0 after an orderly stop.
    pub cut_bytes: u64,
}

/// Why an event was not recorded or could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file could not be opened, read or written.
    #[error("the ledger {} failed", path.display())]
    Io {
        /// the file
        path: PathBuf,
        /// what the system said
        source: io::Error,
    },
    /// Another process holds the file.
    #[error("the ledger {} is in use by another process", path.display())]
    InUse {
        /// the file
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{} is not a ledger", path.display())]
    NotALedger {
        /// the file
        path: PathBuf,
    },
    /// The file was written by a newer program.
    #[error("the ledger {} has format version {found}; this program reads up to version {FORMAT_VERSION}", path.display())]
    Version {
        /// the file
        path: PathBuf,
        /// the version in its header
        found: u32,
    },
    /// More than one torn write is unreadable: cutting it off would lose events.
    #[error("the ledger {} is damaged at byte {offset}: {torn} bytes behind it cannot be read", path.display())]
    Damaged {
        /// the file
        path: PathBuf,
        /// the first unreadable byte
        offset: u64,
        /// bytes from there to the end
        torn: u64,
    },
    /// A text of a request is longer than the ledger takes.
    #[error("{what} has {bytes} bytes: at most {max} are allowed")]
    TooLong {
        /// which text
        what: &'static str,
        /// its length
        bytes: usize,
        /// the limit
        max: usize,
    },
    /// The process is stopping.
    #[error("the ledger is closed")]
    Closed,
    /// The thread could not write: nothing is recorded any more until a restart.
    #[error("the ledger cannot be written")]
    Broken,
    /// The file reached its limit.
    #[error("the ledger's file reached its limit")]
    Full,
    /// Too many readers wait at once.
    #[error("more than {max} readers wait for the ledger")]
    TooManyReaders {
        /// the limit
        max: usize,
    },
    /// The writing thread could not be started.
    #[error("the ledger's thread could not be started")]
    Thread(#[source] io::Error),
}

/// An open ledger. Shared by reference; every method may be called from any thread.
pub struct Ledger {
    queue: Arc<Queue>,
    /// For readers; the thread has its own.
    file: Arc<File>,
    path: PathBuf,
    thread: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

impl Ledger {
    /// Opens the file, cuts off what a crash left half-written, and starts the ledger's thread.
    ///
    /// # Errors
    /// The file cannot be used: see [`LedgerError`].
    pub fn open(options: &LedgerOptions) -> Result<(Self, Recovery), LedgerError> {
        let (file, recovery) = LedgerFile::open(&options.path)?;
        let context = |source| LedgerError::Io { path: options.path.clone(), source };
        let for_readers = file.file.try_clone().map_err(context)?;
        let queue = Arc::new(Queue::new(file.next_seq, options.queue_events_max, ROOM_WAIT_MAX));
        let bytes_max = options.file_bytes_max;
        if file.end >= bytes_max {
            queue.set_full();
        }
        let for_thread = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || {
                writer::run(&for_thread, file, bytes_max).inspect_err(|error| {
                    tracing::error!(%error, "the ledger cannot be written: no rebuild is taken until a restart");
                })
            })
            .map_err(LedgerError::Thread)?;
        let thread = Mutex::new(Some(thread));
        let ledger = Self { queue, file: Arc::new(for_readers), path: options.path.clone(), thread };
        Ok((ledger, recovery))
    }

    /// Records that a rebuild starts, and returns its number. `trace` is the caller's: 32 hexadecimal digits or empty.
    ///
    /// Blocks while the queue is full, for 5 s at most.
    ///
    /// # Errors
    /// The event was not recorded, so the rebuild must not be done.
    pub fn start(&self, request: FetchRequest, trace: String) -> Result<u64, LedgerError> {
        check_lengths(&request, &trace)?;
        self.queue.push(None, Kind::Started(RebuildStarted { request: Some(request), trace }))
    }

    /// Records how the rebuild ended. Blocks like [`start`](Self::start).
    ///
    /// # Errors
    /// The event was not recorded: to readers the rebuild looks cut off.
    pub fn end(&self, rebuild: u64, ended: RebuildEnded) -> Result<u64, LedgerError> {
        self.queue.push(Some(rebuild), Kind::Ended(ended))
    }

    /// Waits until everything recorded so far stands in the file. Returns it from `from_seq` on (the first event is 1).
    ///
    /// # Errors
    /// The ledger is closed or broken, or too many readers wait.
    pub async fn barrier(&self, from_seq: u64) -> Result<Extent, LedgerError> {
        let from_seq = from_seq.max(1);
        let (reply, answer) = oneshot::channel();
        let last_seq = self.queue.push_barrier(from_seq, reply)?;
        let offset = answer.await.map_err(|_| LedgerError::Broken)?;
        Ok(Extent { file: Arc::clone(&self.file), path: self.path.clone(), offset, from_seq, last_seq })
    }

    /// Whether rebuilds can be recorded.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.queue.is_open()
    }

    /// The last sequence number given; 0 in an empty ledger.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.queue.last_seq()
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes no more events, writes those that wait, and returns when the disk has them. Blocks; later calls do nothing.
    ///
    /// # Errors
    /// Not everything could be written.
    pub fn close(&self) -> Result<(), LedgerError> {
        self.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        match thread.map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) if !self.queue.is_broken() => Ok(()),
            None | Some(Ok(Ok(()))) => Err(LedgerError::Broken),
            Some(Ok(Err(source))) => Err(LedgerError::Io { path: self.path.clone(), source }),
            Some(Err(_)) => Err(LedgerError::Broken),
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // Whoever wants to know whether everything was written calls `close`; the thread says it in the log as well.
        let _ = self.close();
    }
}

fn check_lengths(request: &FetchRequest, trace: &str) -> Result<(), LedgerError> {
    let limits = [
        ("the key", request.key.len(), KEY_BYTES_MAX),
        ("the cache key", request.cache_key.len(), PREFIX_BYTES_MAX + KEY_BYTES_MAX),
        ("the node's name", request.node.len(), NODE_BYTES_MAX),
        ("the trace", trace.len(), 32),
    ];
    match limits.into_iter().find(|(_, bytes, max)| bytes > max) {
        Some((what, bytes, max)) => Err(LedgerError::TooLong { what, bytes, max }),
        None => Ok(()),
    }
}
