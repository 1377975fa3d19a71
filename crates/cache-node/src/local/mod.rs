//! The tier in the process: fresh values that this node read from Redis, served again without asking it.
//!
//! An entry is served until its time here is up, until its value would have expired, or until Redis says that the value
//! changed ([`tracking`]), whichever comes first. Time counts by this process's monotonic clock from the moment *before*
//! Redis was asked, so the error is towards expired. While nobody listens to Redis the tier is closed: it answers nothing
//! and takes nothing.
//!
//! The word of a change can overtake an older answer to a look: then the entry must not be made. Each look takes a
//! [`Ticket`] before Redis is asked, and an entry is made only if no change was told since in its stripe of keys.
//!
//! What it costs: between a write's acknowledgement and the word of it, about a network's way, another node may still serve
//! what was there before; over a connection that is silently cut, for as long as it takes to notice
//! ([`tracking::UNNOTICED_MS_MAX`]).

pub mod tracking;

use crate::config::LocalConfig;
use crate::store::{Look, Stored};
use moka::sync::Cache;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Among so many counters of changes the keys are divided: a change makes looks under way at other keys of its stripe
/// worthless, nothing worse.
const STRIPES: usize = 256;

/// Stands for: nobody listens.
const CLOSED: u64 = 0;

/// The values of one key prefix.
#[derive(Debug)]
pub struct Local {
    prefix: Arc<str>,
    ttl: Duration,
    entries: Cache<Arc<str>, Entry>,
    /// Which session listens to Redis: 1, 2, 3, ... or [`CLOSED`].
    session: AtomicU64,
    sessions: AtomicU64,
    stripes: Box<[Mutex<u64>]>,
    hasher: RandomState,
}

#[derive(Clone, Debug)]
struct Entry {
    stored: Stored,
    age_ms: u64,
    asked: Instant,
    until: Instant,
    session: u64,
}

/// What was known of changes before Redis was asked.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    asked: Instant,
    session: u64,
    changes: u64,
}

/// What the tier says to a look.
#[derive(Debug)]
pub enum Known {
    /// The value, fresh.
    Fresh(Look),
    /// Ask Redis, and [offer](Local::offer) what it says.
    Ask(Ticket),
    /// Ask Redis and keep nothing: the tier is closed, or the key is not under its prefix.
    Bypassed,
}

impl Local {
    /// An empty tier for the values under `prefix`, closed.
    #[must_use]
    pub fn new(prefix: Arc<str>, config: &LocalConfig) -> Self {
        let entries =
            Cache::builder().max_capacity(config.entries_max.into()).time_to_live(config.ttl).build();
        Self {
            prefix,
            ttl: config.ttl,
            entries,
            session: AtomicU64::new(CLOSED),
            sessions: AtomicU64::new(CLOSED),
            stripes: (0..STRIPES).map(|_| Mutex::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Looks here first.
    #[must_use]
    pub fn look(&self, cache_key: &str, now: Instant) -> Known {
        let session = self.session.load(Ordering::Acquire);
        if session == CLOSED || !cache_key.starts_with(&*self.prefix) {
            return Known::Bypassed;
        }
        if let Some(entry) = self.entries.get(cache_key)
            && entry.session == session
            && now < entry.until
        {
            return Known::Fresh(entry.at(now));
        }
        Known::Ask(Ticket { asked: now, session, changes: *self.stripe(cache_key) })
    }

    /// Keeps what Redis said to the look for which the ticket was taken, if it is fresh and nothing changed meanwhile.
    pub fn offer(&self, ticket: Ticket, cache_key: &Arc<str>, said: &Look) {
        let Look::Fresh { stored, age_ms } = said else { return };
        let left = Duration::from_millis(u64::from(stored.header.ttl_ms).saturating_sub(*age_ms));
        let entry = Entry {
            stored: stored.clone(),
            age_ms: *age_ms,
            asked: ticket.asked,
            until: ticket.asked + left.min(self.ttl),
            session: ticket.session,
        };
        // Held until the entry is made: a change that is told meanwhile waits, and then takes it out again.
        let changes = self.stripe(cache_key);
        if *changes == ticket.changes && ticket.session == self.session.load(Ordering::Acquire) {
            self.entries.insert(cache_key.clone(), entry);
        }
    }

    /// The value of a key changed: what is held of it is worthless, and so are answers to looks that are under way.
    pub fn forget(&self, cache_key: &str) {
        let mut changes = self.stripe(cache_key);
        *changes += 1;
        self.entries.invalidate(cache_key);
    }

    /// Somebody listens to Redis from now on; returns the session, to [close](Local::close) it.
    pub fn open(&self) -> u64 {
        let session = self.sessions.fetch_add(1, Ordering::AcqRel) + 1;
        self.session.store(session, Ordering::Release);
        session
    }

    /// Nobody listens any more: everything held is worthless. A session that is not the open one is ignored. Returns whether
    /// it was open.
    pub fn close(&self, session: u64) -> bool {
        let closed = self
            .session
            .compare_exchange(session, CLOSED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok_and(|session| session != CLOSED);
        if closed {
            // For the room: entries of a session that is over are not served anyway.
            self.entries.invalidate_all();
        }
        closed
    }

    fn stripe(&self, cache_key: &str) -> MutexGuard<'_, u64> {
        let at = self.hasher.hash_one(cache_key) as usize % STRIPES;
        self.stripes[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn at(&self, now: Instant) -> Look {
        let here_ms = now.saturating_duration_since(self.asked).as_millis();
        let age_ms = self.age_ms.saturating_add(u64::try_from(here_ms).unwrap_or(u64::MAX));
        Look::Fresh { stored: self.stored.clone(), age_ms }
    }
}

#[cfg(test)]
mod tests;
