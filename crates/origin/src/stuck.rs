//! Queries that hang on command, each with its connection of the pool.
//!
//! As in a real database, a query hangs on when its caller has left: the connection is back in the pool when the query's time
//! is over or it is let go, not before.

use herd_wire::v1::Stuck;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// The longest time that a query hangs, milliseconds.
pub const HANG_MS_MAX: u32 = 600_000;

/// The most queries that one command makes hang.
pub const QUERIES_MAX: u32 = 1_000;

/// A command out of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at most {QUERIES_MAX} queries can hang, each for 1 to {HANG_MS_MAX} ms")]
pub struct BadStuck;

/// Which queries hang, and those that do.
#[derive(Debug, Default)]
pub struct StuckQueries {
    next: Mutex<Stuck>,
    hanging: Arc<AtomicU32>,
    let_go: watch::Sender<u64>,
}

impl StuckQueries {
    /// Makes the next queries hang, or lets go those that do. Returns what is in force; `hang_now` are those that hang, and
    /// with no queries those that were let go.
    ///
    /// # Errors
    /// Out of the limits; then everything stays as it was.
    pub fn set(&self, wanted: Stuck) -> Result<Stuck, BadStuck> {
        let good = wanted.queries == 0 || (1..=HANG_MS_MAX).contains(&wanted.for_ms);
        if !good || wanted.queries > QUERIES_MAX {
            return Err(BadStuck);
        }
        *self.next() = wanted;
        let hang_now = self.hanging.load(Ordering::Relaxed);
        if wanted.queries == 0 {
            self.let_go.send_modify(|times| *times += 1);
        }
        Ok(Stuck { hang_now, ..wanted })
    }

    /// Hangs with `held` if the query is one of those that do, and gives it back.
    pub async fn pass<T: Send + 'static>(&self, held: T) -> T {
        let Some(hang) = self.draw() else { return held };
        let mut let_go = self.let_go.subscribe();
        let hanging = Hanging::begin(&self.hanging);
        let (give_back, back) = oneshot::channel();
        // In a task of its own: dropping the caller does not end it.
        tokio::spawn(async move {
            let _ = tokio::time::timeout(hang, let_go.changed()).await;
            drop(hanging);
            // Nobody takes it: it goes back to where it came from.
            let _ = give_back.send(held);
        });
        match back.await {
            Ok(held) => held,
            // The runtime is going down, and this fetch with it.
            Err(_) => std::future::pending().await,
        }
    }

    fn draw(&self) -> Option<Duration> {
        let mut next = self.next();
        next.queries = next.queries.checked_sub(1)?;
        Some(Duration::from_millis(next.for_ms.into()))
    }

    fn next(&self) -> MutexGuard<'_, Stuck> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts as hanging until it is dropped.
struct Hanging(Arc<AtomicU32>);

impl Hanging {
    fn begin(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
