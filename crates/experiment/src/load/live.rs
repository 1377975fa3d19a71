//! How the load goes, while it goes.

use super::{WindowStart, hang_up::HangUp, histogram};
use hdrhistogram::Histogram;
use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};

/// Words to the generator that may wait.
const WORDS_MAX: usize = 16;
/// How long the generator may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Counters that the generator updates and anyone may read.
#[derive(Debug)]
pub struct Live {
    pub(super) sent: AtomicU64,
    pub(super) unsent: AtomicU64,
    pub(super) in_flight: AtomicUsize,
    pub(super) again: AtomicU64,
    began: watch::Sender<Option<WindowStart>>,
    words: mpsc::Sender<HangUp>,
    hears: Mutex<Option<mpsc::Receiver<HangUp>>>,
    since: Mutex<Since>,
}

/// What happened since the last look.
#[derive(Debug)]
struct Since {
    latency_us: Histogram<u64>,
    answered: u64,
    hits: u64,
    errors: u64,
}

/// One look at the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveNow {
    /// Requests sent since the start.
    pub sent: u64,
    /// Arrivals not sent since the start.
    pub unsent: u64,
    /// Requests under way now. One that waits to be sent again is.
    pub in_flight: usize,
    /// Times that a request was sent again since the start.
    pub again: u64,
    /// Requests that ended well since the last look. That a row does not exist is well for who asks for one that does not.
    pub answered: u64,
    /// Those of them that the first look at the cache served.
    pub hits: u64,
    /// Requests that ended in an error since the last look.
    pub errors: u64,
    /// Median latency since the last look, microseconds; 0: nothing ended.
    pub p50_us: u64,
    /// 99th percentile, likewise.
    pub p99_us: u64,
    /// The longest, likewise.
    pub max_us: u64,
}

impl Default for Live {
    fn default() -> Self {
        let (words, hears) = mpsc::channel(WORDS_MAX);
        Self {
            sent: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            again: AtomicU64::new(0),
            began: watch::Sender::new(None),
            words,
            hears: Mutex::new(Some(hears)),
            since: Mutex::new(Since { latency_us: histogram(), answered: 0, hits: 0, errors: 0 }),
        }
    }
}

impl Live {
    /// Reads the counters and begins a new interval.
    #[must_use]
    pub fn look(&self) -> LiveNow {
        let mut since = self.since();
        let quantile = |q: f64| since.latency_us.value_at_quantile(q);
        let now = LiveNow {
            sent: self.sent.load(Ordering::Relaxed),
            unsent: self.unsent.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            again: self.again.load(Ordering::Relaxed),
            answered: since.answered,
            hits: since.hits,
            errors: since.errors,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            max_us: since.latency_us.max(),
        };
        since.latency_us.reset();
        (since.answered, since.hits, since.errors) = (0, 0, 0);
        now
    }

    /// Waits until the load's window is fixed, a moment before its first arrival. Never ends if the load does not begin.
    pub async fn began(&self) -> WindowStart {
        let mut began = self.began.subscribe();
        loop {
            // The sender lives as long as we borrow it, so `changed` cannot fail.
            if let Some(start) = *began.borrow_and_update() {
                return start;
            }
            let _ = began.changed().await;
        }
    }

    /// Requests sent since the start.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Lets the clients of this share of the requests under way, rounded up, hang up at once; how many did. `seed` draws which.
    /// None if the load does not run (any more).
    pub async fn hang_up(&self, share: f64, seed: u64) -> u64 {
        let (answer, told) = oneshot::channel();
        if self.words.try_send(HangUp { share, seed, answer }).is_err() {
            return 0;
        }
        tokio::time::timeout(ANSWER_LIMIT, told).await.map_or(0, Result::unwrap_or_default)
    }

    /// The words to the generator; only its first caller gets them.
    pub(super) fn hears(&self) -> Option<mpsc::Receiver<HangUp>> {
        self.hears.lock().expect("nothing panics while it holds the receiver").take()
    }

    pub(super) fn begin(&self, start: WindowStart) {
        self.began.send_replace(Some(start));
    }

    pub(super) fn ended(&self, latency_us: u64, answered: bool, hit: bool) {
        let mut since = self.since();
        since.latency_us.saturating_record(latency_us.max(1));
        since.answered += u64::from(answered);
        since.hits += u64::from(hit);
        since.errors += u64::from(!answered);
    }

    fn since(&self) -> MutexGuard<'_, Since> {
        self.since.lock().expect("nothing panics while it holds the counters")
    }
}
