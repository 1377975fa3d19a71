//! Reading the ledger while it is written: chunk by chunk, each on a thread where blocking is allowed.

use super::LedgerError;
use super::file::Window;
use futures::{Stream, stream};
use herd_wire::v1::LedgerEvent;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// Events in one chunk: well below the size limit of one gRPC message.
pub const CHUNK_EVENTS_MAX: usize = 2_000;

/// A part of the ledger that stands in the file as a whole. Made by [`Ledger::barrier`](super::Ledger::barrier).
#[derive(Clone)]
pub struct Extent {
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
    /// Where a scan for the first event starts.
    pub(super) offset: u64,
    /// The first event to give.
    pub(super) from_seq: u64,
    /// The last event to give.
    pub(super) last_seq: u64,
}

impl Extent {
    /// The last sequence number that was given out before the barrier; 0 in an empty ledger.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Streams the events in order, in chunks of at most [`CHUNK_EVENTS_MAX`]. A chunk is read only when it is asked
    /// for, so a slow reader holds no thread.
    ///
    /// # Errors
    /// The stream ends with an error if the file cannot be read or no longer holds what was written.
    pub fn chunks(self) -> impl Stream<Item = Result<Vec<LedgerEvent>, LedgerError>> + Send + 'static {
        stream::try_unfold(self, |extent| async move {
            if extent.from_seq > extent.last_seq {
                return Ok(None);
            }
            let read = tokio::task::spawn_blocking(move || extent.chunk());
            read.await.map_err(|_| LedgerError::Closed)?.map(Some)
        })
    }

    /// Reads one chunk. Returns what is left after it.
    fn chunk(mut self) -> Result<(Vec<LedgerEvent>, Self), LedgerError> {
        let end = self.file.metadata().map_err(|source| self.io(source))?.len();
        let mut window = Window::new(self.offset);
        let mut events = Vec::new();
        while self.from_seq <= self.last_seq && events.len() < CHUNK_EVENTS_MAX {
            match window.next(&self.file, end).map_err(|source| self.io(source))? {
                Some((_, event)) if event.seq < self.from_seq => {}
                Some((_, event)) if event.seq == self.from_seq => {
                    self.from_seq += 1;
                    events.push(event);
                }
                Some(_) | None => {
                    let offset = window.offset();
                    return Err(LedgerError::Damaged {
                        path: self.path,
                        offset,
                        torn: end.saturating_sub(offset),
                    });
                }
            }
        }
        self.offset = window.offset();
        Ok((events, self))
    }

    fn io(&self, source: std::io::Error) -> LedgerError {
        LedgerError::Io { path: self.path.clone(), source }
    }
}
