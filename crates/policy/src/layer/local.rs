//! A tier in the process, kept coherent: what may be kept of the cache's answers, and for how long.
//!
//! The cache tells each process which keys changed (Redis calls it client-side caching). That word can overtake an older answer to
//! a look: then the answer must not be kept. So each look takes a [`Ticket`] before the cache is asked, and an answer is kept
//! only if no change was told since among the keys of its stripe. While nobody listens to the cache the tier is closed: it
//! answers nothing and takes nothing. A *session* is one time of listening; what was kept in one is worthless in the next.
//!
//! It changes no layer's bound, and it adds one: a value that was replaced may be served for as long as the word of it travels, and
//! over a connection that is silently cut until that is noticed. Where the entries live is for its user to choose.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::owner::hash_name;

/// Among so many counters of changes the keys are divided: a change makes looks under way at other keys of its stripe
/// worthless, nothing worse.
const STRIPES: usize = 256;

/// Stands for: nobody listens.
const CLOSED: u64 = 0;

/// What is known of the changes of the keys. Shared by all threads of a process.
#[derive(Debug)]
pub struct Coherence {
    /// Which session listens to the cache: 1, 2, 3, ... or [`CLOSED`].
    session: AtomicU64,
    sessions: AtomicU64,
    stripes: Box<[Mutex<u64>]>,
}

/// What was known of changes before the cache was asked.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    session: u64,
    changes: u64,
}

impl Ticket {
    /// The session in which it was taken, to be kept with the entry.
    #[must_use]
    pub const fn session(&self) -> u64 {
        self.session
    }
}

impl Default for Coherence {
    fn default() -> Self {
        Self::new()
    }
}

impl Coherence {
    /// Closed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            session: AtomicU64::new(CLOSED),
            sessions: AtomicU64::new(CLOSED),
            stripes: (0..STRIPES).map(|_| Mutex::new(0)).collect(),
        }
    }

    /// Somebody listens to the cache from now on; returns the session, to [close](Self::close) it.
    pub fn open(&self) -> u64 {
        let session = self.sessions.fetch_add(1, Ordering::AcqRel) + 1;
        self.session.store(session, Ordering::Release);
        session
    }

    /// Nobody listens any more: everything kept is worthless. A session that is not the open one is ignored. Returns whether
    /// it was open.
    pub fn close(&self, session: u64) -> bool {
        self.session
            .compare_exchange(session, CLOSED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok_and(|session| session != CLOSED)
    }

    /// The session whose entries may be served; none while the tier is closed.
    #[must_use]
    pub fn session(&self) -> Option<u64> {
        Some(self.session.load(Ordering::Acquire)).filter(|session| *session != CLOSED)
    }

    /// What a look at the cache for this key must take before it asks; `session` is the open one.
    #[must_use]
    pub fn ticket(&self, session: u64, key: &str) -> Ticket {
        Ticket { session, changes: *self.stripe(key) }
    }

    /// Runs `keep`, which keeps what the cache said to the look that took the ticket, if nothing changed meanwhile. A change that is
    /// told while it runs waits for it, and then takes the entry out again: `keep` must be short, and must not come back here.
    pub fn keep_if_unchanged(&self, ticket: Ticket, key: &str, keep: impl FnOnce()) {
        let changes = self.stripe(key);
        if *changes == ticket.changes && ticket.session == self.session.load(Ordering::Acquire) {
            keep();
        }
    }

    /// The value of a key changed: runs `forget`, which takes out what is kept of it, and makes answers to looks under way worthless.
    pub fn changed(&self, key: &str, forget: impl FnOnce()) {
        let mut changes = self.stripe(key);
        *changes += 1;
        forget();
    }

    fn stripe(&self, key: &str) -> MutexGuard<'_, u64> {
        let at = hash_name(key) as usize % STRIPES;
        self.stripes[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a value may be served here, from just before the cache was asked: until its own time or the tier's is up, whichever comes
/// first. Counted so, the error is towards expired.
#[must_use]
pub fn lives(value_ttl: Duration, value_age: Duration, tier_ttl: Duration) -> Duration {
    value_ttl.saturating_sub(value_age).min(tier_ttl)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeps(coherence: &Coherence, ticket: Ticket, key: &str) -> bool {
        let mut kept = false;
        coherence.keep_if_unchanged(ticket, key, || kept = true);
        kept
    }

    /// Goal: the race that would keep an old value for its whole time. The value is read, the word of its change comes, and then the old
    /// answer is offered: it is not kept, the next look's is.
    #[test]
    fn an_answer_overtaken_by_a_change_is_not_kept() {
        let coherence = Coherence::new();
        let session = coherence.open();
        let overtaken = coherence.ticket(session, "a");
        let mut forgotten = false;
        coherence.changed("a", || forgotten = true);
        assert!(forgotten && !keeps(&coherence, overtaken, "a"));
        assert!(keeps(&coherence, coherence.ticket(session, "a"), "a"));
    }

    /// Goal: nothing of a session that is over is kept in a later one, nor can its end close that.
    #[test]
    fn a_session_that_is_over_leaves_nothing() {
        let coherence = Coherence::default();
        assert_eq!(coherence.session(), None, "it begins closed");
        let first = coherence.open();
        let ticket = coherence.ticket(first, "a");
        assert!(coherence.close(first) && !coherence.close(first) && !coherence.close(CLOSED));
        assert!(!keeps(&coherence, ticket, "a"));
        let second = coherence.open();
        assert!(!keeps(&coherence, ticket, "a"), "the answer is of the first session");
        assert!(!coherence.close(first) && coherence.session() == Some(second));
    }

    /// Goal: the shorter of the two times counts.
    #[test]
    fn the_shorter_time_counts() {
        let ms = Duration::from_millis;
        assert_eq!(lives(ms(1_000), ms(950), ms(100)), ms(50));
        assert_eq!(lives(ms(60_000), ms(0), ms(100)), ms(100));
        assert_eq!(lives(ms(10), ms(11), ms(100)), Duration::ZERO);
    }
}
