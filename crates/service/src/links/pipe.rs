//! One direction of a connection: pieces are read, wait for their time, and are written in order.
//!
//! At most 64 KiB wait; then nothing more is read, and TCP holds the sender back, as a full window would.

use super::Hits;
use super::rule::Rule;
use super::talk::{Side, Talk};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::Instant;

/// Bytes that wait in one direction at most.
pub(super) const WAITING_BYTES_MAX: usize = 64 * 1024;

/// A piece is what was there to read at once, at most so much.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// One direction.
pub(super) struct Pipe {
    waiting: VecDeque<Piece>,
    waiting_bytes: usize,
    /// The sender has closed; its end follows the last piece.
    closed: bool,
    /// Who speaks in this direction.
    side: Side,
    talk: Arc<Mutex<Talk>>,
    hits: Hits,
}

#[derive(Clone)]
struct Piece {
    bytes: Arc<Vec<u8>>,
    /// Whether something of a call is in it.
    of_call: bool,
    written: usize,
    /// `None`: now.
    due: Option<Instant>,
}

impl Pipe {
    /// `talk` is what both directions of the connection share.
    pub(super) fn new(side: Side, talk: Arc<Mutex<Talk>>, hits: Hits) -> Self {
        Self { waiting: VecDeque::new(), waiting_bytes: 0, closed: false, side, talk, hits }
    }

    /// Whether the sender has closed.
    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    /// Reads one piece; waits for ever while there is no room, or nothing more to come. Nothing is lost if it is dropped.
    pub(super) async fn read(&mut self, from: &TcpStream, rule: Rule) -> io::Result<()> {
        let room = (WAITING_BYTES_MAX - self.waiting_bytes).min(PIECE_BYTES_MAX);
        if self.closed || room == 0 {
            return std::future::pending().await;
        }
        // Waited for first, so that connections which only stand there hold no memory.
        from.readable().await?;
        let mut bytes = vec![0; room];
        let read = match from.try_read(&mut bytes) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if read == 0 {
            self.closed = true;
            return Ok(());
        }
        bytes.truncate(read);
        self.waiting_bytes += read;
        let of_call = {
            let mut talk = self.talk.lock().expect("nothing panics while it holds the talk");
            talk.hear(self.side, &bytes)
        };
        let due = self.due(rule, of_call);
        self.waiting.push_back(Piece { bytes: Arc::new(bytes), of_call, written: 0, due });
        Ok(())
    }

    /// The rule has changed: what waits is late by the new one, from now on.
    pub(super) fn reschedule(&mut self, rule: Rule) {
        let mut pieces = std::mem::take(&mut self.waiting);
        for mut piece in pieces.drain(..) {
            piece.due = self.due(rule, piece.of_call);
            self.waiting.push_back(piece);
        }
    }

    /// Passes everything on, in order, until the sender has closed and all is written; then closes the other side.
    ///
    /// # Errors
    /// Either side broke.
    pub(super) async fn run(
        mut self,
        from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
        mut rules: watch::Receiver<Rule>,
    ) -> io::Result<()> {
        let mut rule = *rules.borrow_and_update();
        self.reschedule(rule);
        loop {
            if self.closed && self.waiting.is_empty() && rule != Rule::BlackHole {
                return to.shutdown().await;
            }
            let first = self.waiting.front().filter(|_| rule != Rule::BlackHole).cloned();
            tokio::select! {
                changed = rules.changed() => {
                    // Whoever sets rules is gone: the links are, too.
                    changed.map_err(io::Error::other)?;
                    rule = *rules.borrow_and_update();
                    self.reschedule(rule);
                }
                written = write(first, &mut to) => self.wrote(written?),
                read = self.read(from.as_ref(), rule) => read?,
            }
        }
    }

    fn due(&mut self, rule: Rule, of_call: bool) -> Option<Instant> {
        let late = rule.late(rand::random);
        if of_call && (rule == Rule::BlackHole || !late.is_zero()) {
            self.hits.add();
        }
        // Never before the piece ahead of it.
        let ahead = self.waiting.back().and_then(|piece| piece.due);
        let own = (!late.is_zero()).then(|| Instant::now() + late);
        own.max(ahead)
    }

    fn wrote(&mut self, bytes: usize) {
        self.waiting_bytes -= bytes;
        if let Some(piece) = self.waiting.front_mut() {
            piece.written += bytes;
            if piece.written == piece.bytes.len() {
                self.waiting.pop_front();
            }
        }
    }
}

/// Writes what the other side takes of a piece when it is due; waits for ever without one. Nothing is lost if it is dropped.
async fn write(piece: Option<Piece>, to: &mut WriteHalf<'_>) -> io::Result<usize> {
    let Some(piece) = piece else { return std::future::pending().await };
    if let Some(due) = piece.due {
        tokio::time::sleep_until(due).await;
    }
    match to.write(&piece.bytes[piece.written..]).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        bytes => Ok(bytes),
    }
}
