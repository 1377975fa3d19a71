//! The bounded queue between the query path and the ledger's thread. It gives sequence numbers, so that the order of
//! numbers is the order of the file.
//!
//! The query path pays for a lock held for nanoseconds and, once per batch, for waking the thread.

use super::LedgerError;
use herd_wire::v1::{LedgerEvent, ledger_event::Kind};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

/// How long an event waits for room before the ledger is given up: the disk does not take what is written.
pub(super) const ROOM_WAIT_MAX: Duration = Duration::from_secs(5);

/// How many readers may wait for the ledger's thread at once.
const BARRIERS_MAX: usize = 64;

/// A spare batch keeps room for this many events; a larger one gives its memory back.
const SPARE_EVENTS_MAX: usize = 4096;

/// Answered by the ledger's thread when everything that was recorded before it stands in the file.
pub(super) struct Barrier {
    /// From where the reader wants to read.
    pub(super) from_seq: u64,
    /// Gets the offset in the file from which a scan finds `from_seq`. Dropped if the ledger broke.
    pub(super) reply: oneshot::Sender<u64>,
}

/// What the ledger's thread takes out at once.
#[derive(Default)]
pub(super) struct Batch {
    /// In order of their sequence numbers.
    pub(super) events: Vec<LedgerEvent>,
    pub(super) barriers: Vec<Barrier>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// No event may enter; the thread takes what is left and ends.
    Closing,
    /// The thread could not write: nothing can be recorded any more.
    Broken,
}

struct State {
    batch: Batch,
    next_seq: u64,
    phase: Phase,
    /// The file reached its limit: rebuilds under way may end, none may start.
    full: bool,
}

pub(super) struct Queue {
    state: Mutex<State>,
    /// The thread waits on it for events, barriers and the end.
    work: Condvar,
    /// Events wait on it for room.
    room: Condvar,
    events_max: usize,
    room_wait_max: Duration,
}

impl Queue {
    /// An open, empty queue whose first event gets `next_seq`. It holds at most `events_max` events.
    pub(super) fn new(next_seq: u64, events_max: usize, room_wait_max: Duration) -> Self {
        let state = State { batch: Batch::default(), next_seq, phase: Phase::Open, full: false };
        let (work, room) = (Condvar::new(), Condvar::new());
        Self { state: Mutex::new(state), work, room, events_max: events_max.max(2), room_wait_max }
    }

    /// Numbers, dates and queues one event. `rebuild` is `None` for the event that starts one. Blocks while the queue is
    /// full, for at most `room_wait_max`.
    ///
    /// Returns the event's sequence number.
    pub(super) fn push(&self, rebuild: Option<u64>, kind: Kind) -> Result<u64, LedgerError> {
        let mut state = self.lock();
        if state.batch.events.len() >= self.events_max {
            state = self.wait_for_room(state)?;
        }
        match state.phase {
            Phase::Open => {}
            Phase::Closing => return Err(LedgerError::Closed),
            Phase::Broken => return Err(LedgerError::Broken),
        }
        if state.full && rebuild.is_none() {
            return Err(LedgerError::Full);
        }
        let seq = state.next_seq;
        state.next_seq += 1;
        let event = LedgerEvent { seq, rebuild: rebuild.unwrap_or(seq), at_us: unix_us(), kind: Some(kind) };
        state.batch.events.push(event);
        let queued = state.batch.events.len();
        drop(state);
        // The first event wakes the thread; then it lets a batch gather, unless half of the room is taken.
        if queued == 1 || queued == self.events_max / 2 {
            self.work.notify_one();
        }
        Ok(seq)
    }

    fn wait_for_room<'a>(&self, state: MutexGuard<'a, State>) -> Result<MutexGuard<'a, State>, LedgerError> {
        self.work.notify_one();
        let blocked =
            |state: &mut State| state.phase == Phase::Open && state.batch.events.len() >= self.events_max;
        let (mut state, waited) =
            self.room.wait_timeout_while(state, self.room_wait_max, blocked).expect(NO_PANIC_INSIDE);
        if waited.timed_out() {
            state.phase = Phase::Broken;
            self.room.notify_all();
            self.work.notify_one();
            return Err(LedgerError::Broken);
        }
        Ok(state)
    }

    /// Queues a barrier behind everything recorded so far. Returns the last sequence number before it.
    pub(super) fn push_barrier(
        &self,
        from_seq: u64,
        reply: oneshot::Sender<u64>,
    ) -> Result<u64, LedgerError> {
        let mut state = self.lock();
        match state.phase {
            Phase::Open => {}
            Phase::Closing => return Err(LedgerError::Closed),
            Phase::Broken => return Err(LedgerError::Broken),
        }
        if state.batch.barriers.len() >= BARRIERS_MAX {
            return Err(LedgerError::TooManyReaders { max: BARRIERS_MAX });
        }
        let last_seq = state.next_seq - 1;
        state.batch.barriers.push(Barrier { from_seq, reply });
        drop(state);
        self.work.notify_one();
        Ok(last_seq)
    }

    /// For the ledger's thread: waits for work, lets more of it gather for `linger` unless someone is waiting, and takes
    /// all of it. `spare` lends its memory. `None` when the ledger is closed and empty, or broken.
    pub(super) fn take(&self, linger: Duration, mut spare: Batch) -> Option<Batch> {
        spare.events.clear();
        spare.events.shrink_to(SPARE_EVENTS_MAX);
        spare.barriers.clear();
        let idle = |state: &mut State| {
            state.phase == Phase::Open && state.batch.events.is_empty() && state.batch.barriers.is_empty()
        };
        let gathering = |state: &mut State| {
            state.phase == Phase::Open
                && state.batch.barriers.is_empty()
                && state.batch.events.len() < self.events_max / 2
        };
        let state = self.work.wait_while(self.lock(), idle).expect(NO_PANIC_INSIDE);
        let (mut state, _) = self.work.wait_timeout_while(state, linger, gathering).expect(NO_PANIC_INSIDE);
        let nothing_left = state.batch.events.is_empty() && state.batch.barriers.is_empty();
        if state.phase == Phase::Broken || (state.phase == Phase::Closing && nothing_left) {
            return None;
        }
        let batch = std::mem::replace(&mut state.batch, spare);
        drop(state);
        self.room.notify_all();
        Some(batch)
    }

    /// No event may enter any more; the thread writes what is left.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
        }
        drop(state);
        self.work.notify_one();
        self.room.notify_all();
    }

    /// The thread is gone: everyone who waits or comes is told. After an orderly end nothing is left to tell.
    pub(super) fn give_up(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Open || !state.batch.events.is_empty() {
            state.phase = Phase::Broken;
        }
        state.batch = Batch::default();
        drop(state);
        self.room.notify_all();
    }

    /// The file reached its limit: no rebuild may start any more.
    pub(super) fn set_full(&self) {
        self.lock().full = true;
    }

    /// Whether rebuilds can still be recorded.
    pub(super) fn is_open(&self) -> bool {
        let state = self.lock();
        state.phase == Phase::Open && !state.full
    }

    /// Whether events were lost because they could not be written.
    pub(super) fn is_broken(&self) -> bool {
        self.lock().phase == Phase::Broken
    }

    /// The last sequence number given.
    pub(super) fn last_seq(&self) -> u64 {
        self.lock().next_seq - 1
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(NO_PANIC_INSIDE)
    }
}

const NO_PANIC_INSIDE: &str = "nothing panics while it holds the queue's lock";

fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use herd_wire::v1::RebuildEnded;
    use std::sync::Arc;

    fn ended(version: u64) -> Kind {
        Kind::Ended(RebuildEnded { version, ..RebuildEnded::default() })
    }

    /// Goal: a queue far smaller than the crowd loses nothing and keeps each producer's order: it makes them wait.
    #[test]
    fn a_full_queue_holds_producers_back() {
        let queue = Arc::new(Queue::new(1, 4, ROOM_WAIT_MAX));
        let producers: Vec<_> = (0..4_u64)
            .map(|producer| {
                let queue = Arc::clone(&queue);
                std::thread::spawn(move || {
                    for n in 0..1_000 {
                        queue.push(Some(producer), ended(n)).expect("the queue is open");
                    }
                })
            })
            .collect();
        let mut seen = Vec::new();
        let mut spare = Batch::default();
        while seen.len() < 4_000 {
            let batch = queue.take(Duration::ZERO, spare).expect("the queue is open");
            assert!(batch.events.len() <= 4, "the queue went over its limit");
            seen.extend(batch.events.iter().cloned());
            spare = batch;
        }
        for producer in producers {
            producer.join().expect("producers end");
        }
        assert!(seen.iter().map(|event| event.seq).eq(1..=4_000));
        for producer in 0..4 {
            let of_one =
                seen.iter().filter(|event| event.rebuild == producer).map(|event| match &event.kind {
                    Some(Kind::Ended(ended)) => ended.version,
                    _ => unreachable!("only ends were pushed"),
                });
            assert!(of_one.eq(0..1_000));
        }
    }

    /// Goal: when nothing takes events out, an event's wait ends and everybody learns that the ledger is broken.
    #[test]
    fn a_stuck_ledger_is_given_up() {
        let queue = Queue::new(1, 2, Duration::ZERO);
        queue.push(None, ended(0)).unwrap();
        queue.push(None, ended(1)).unwrap();
        assert!(matches!(queue.push(None, ended(2)), Err(LedgerError::Broken)));
        assert!(matches!(queue.push(None, ended(3)), Err(LedgerError::Broken)));
        assert!(!queue.is_open());
        assert!(queue.take(Duration::ZERO, Batch::default()).is_none());
    }

    /// Goal: closing refuses what is new and still hands out what is there.
    #[test]
    fn closing_drains() {
        let queue = Queue::new(7, 8, ROOM_WAIT_MAX);
        assert_eq!(queue.push(None, ended(0)).unwrap(), 7);
        queue.close();
        assert!(matches!(queue.push(None, ended(1)), Err(LedgerError::Closed)));
        let batch = queue.take(Duration::from_secs(3_600), Batch::default()).expect("one event is left");
        assert_eq!(batch.events.len(), 1);
        assert!(queue.take(Duration::ZERO, Batch::default()).is_none());
    }

    /// Goal: a full file lets rebuilds under way end, and lets none start.
    #[test]
    fn a_full_file_only_lets_rebuilds_end() {
        let queue = Queue::new(1, 8, ROOM_WAIT_MAX);
        let rebuild = queue.push(None, ended(0)).unwrap();
        queue.set_full();
        assert!(matches!(queue.push(None, ended(0)), Err(LedgerError::Full)));
        assert_eq!(queue.push(Some(rebuild), ended(0)).unwrap(), 2);
    }
}
