//! Tokens ready to be granted: blocks are reserved in the background, before the last one is used up.

use crate::counters::{Counters, CountersError};
use herd_lease::tokens::Reservation;
use herd_lease::{Block, Epoch, Token, TokenAllocator};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Pauses between attempts to reserve a block while the database is away; they double in between.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// No token is left, and none could be reserved in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no fencing token is left: {0}")]
pub struct TokensAway(pub String);

/// A source of tokens over durable counters.
pub struct TokenSource<C> {
    counters: C,
    block: u32,
    state: Mutex<State>,
    /// the largest epoch that anybody told us of
    epoch: AtomicU64,
    wanted: Notify,
    changed: Notify,
}

#[derive(Default)]
struct State {
    allocator: TokenAllocator,
    /// counts failed reservations, so that who waits hears of the next one
    failures: u64,
    why: String,
}

impl<C: Counters> TokenSource<C> {
    /// A source without tokens; [`refill`](Self::refill) must run beside it. Blocks have `block` tokens, at least 1.
    pub fn new(counters: C, block: u32) -> Arc<Self> {
        let source = Self {
            counters,
            block: block.max(1),
            state: Mutex::default(),
            epoch: AtomicU64::new(0),
            wanted: Notify::new(),
            changed: Notify::new(),
        };
        source.wanted.notify_one();
        Arc::new(source)
    }

    /// The durable counters.
    pub const fn counters(&self) -> &C {
        &self.counters
    }

    /// The largest epoch known. Whoever has a token knows the newest epoch of the time when its block was reserved.
    pub fn known_epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Takes note of an epoch.
    pub fn learn_epoch(&self, epoch: Epoch) {
        self.epoch.fetch_max(epoch.0, Ordering::AcqRel);
    }

    /// How many tokens are left.
    pub fn remaining(&self) -> u64 {
        self.lock().allocator.remaining()
    }

    /// The next token.
    ///
    /// # Errors
    /// [`TokensAway`] when none is left and the database is away, or does not answer before `deadline`.
    pub async fn take(&self, deadline: Instant) -> Result<Token, TokensAway> {
        let failures = self.lock().failures;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // From here on no notification is missed.
            changed.as_mut().enable();
            {
                let mut state = self.lock();
                let token = state.allocator.take();
                if state.allocator.needs_block() {
                    self.wanted.notify_one();
                }
                if let Some(token) = token {
                    return Ok(token);
                }
                if state.failures != failures {
                    return Err(TokensAway(state.why.clone()));
                }
            }
            if timeout_at(deadline, changed).await.is_err() {
                return Err(TokensAway("none could be reserved in time".to_owned()));
            }
        }
    }

    /// A token of a block whose reservation begins after this call did. Drops all others.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub async fn take_fresh(&self, deadline: Instant) -> Result<Token, TokensAway> {
        self.lock().allocator.discard();
        self.take(deadline).await
    }

    /// Returns a token that certainly was not granted.
    pub fn put_back(&self, token: Token) {
        self.lock().allocator.put_back(token);
    }

    /// Drops the tokens up to `highest`: another instance granted that one.
    pub fn raise(&self, highest: Token) {
        self.lock().allocator.raise(highest);
    }

    /// Reserves blocks whenever they are wanted, for ever.
    pub async fn refill(&self) {
        let mut pause = PAUSE_MIN;
        loop {
            let reservation = {
                let state = self.lock();
                state.allocator.needs_block().then(|| state.allocator.begin_reserve())
            };
            let Some(reservation) = reservation else {
                self.wanted.notified().await;
                continue;
            };
            match self.counters.reserve(self.block, reservation.floor()).await {
                Ok((block, epoch)) => {
                    self.learn_epoch(epoch);
                    self.add(reservation, block);
                    pause = PAUSE_MIN;
                }
                Err(error) => {
                    self.failed(&error);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    fn add(&self, reservation: Reservation, block: Block) {
        let mut state = self.lock();
        state.why.clear();
        let added = state.allocator.add(reservation, block);
        drop(state);
        if let Err(error) = added {
            // The next reservation names what is known as its floor, so this heals.
            tracing::error!(%error, "the database of tokens went back");
        }
        self.changed.notify_waiters();
    }

    fn failed(&self, error: &CountersError) {
        let chain = chain(error);
        let mut state = self.lock();
        let left = state.allocator.remaining();
        if state.why == chain {
            tracing::debug!(error = %chain, left, "still no block of tokens could be reserved");
        } else {
            tracing::warn!(error = %chain, left, "no block of tokens could be reserved");
        }
        state.failures += 1;
        state.why = chain;
        drop(state);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::MemoryCounters;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    /// While a block lasts, a database that is away costs nothing; used up, it is said at once, and heals.
    #[tokio::test]
    async fn a_block_outlasts_the_database() {
        let counters = MemoryCounters::default();
        let source = TokenSource::new(counters.clone(), 4);
        let refill = tokio::spawn({
            let source = Arc::clone(&source);
            async move { source.refill().await }
        });
        assert_eq!(source.take(soon()).await, Ok(Token(1)));
        counters.set_away(true);
        for token in 2..=4 {
            assert_eq!(source.take(soon()).await, Ok(Token(token)));
        }
        let before = Instant::now();
        assert!(matches!(source.take(soon()).await, Err(TokensAway(why)) if why.contains("away")));
        assert!(before.elapsed() < Duration::from_secs(4), "it does not wait for the deadline");
        counters.set_away(false);
        let healed = loop {
            if let Ok(token) = source.take(soon()).await {
                break token;
            }
        };
        assert_eq!(healed, Token(5));
        refill.abort();
    }

    /// A fresh token is from a block that was reserved after the call, and the blocks from before are gone.
    #[tokio::test]
    async fn fresh_tokens_skip_what_was_reserved_before() {
        let source = TokenSource::new(MemoryCounters::default(), 10);
        let refill = tokio::spawn({
            let source = Arc::clone(&source);
            async move { source.refill().await }
        });
        assert_eq!(source.take(soon()).await, Ok(Token(1)));
        assert_eq!(source.take_fresh(soon()).await, Ok(Token(11)));
        assert_eq!(source.take(soon()).await, Ok(Token(12)));
        refill.abort();
    }
}
