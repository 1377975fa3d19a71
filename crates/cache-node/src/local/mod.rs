//! The tier in the process: fresh values that this node read from Redis, served again without asking it.
//!
//! An entry is served until its time here is up, until its value would have expired, or until Redis says that the value
//! changed ([`tracking`]), whichever comes first. Time counts by this process's monotonic clock. What may be kept is the
//! policy's to say ([`herd_policy::local`]); moka holds it.
//!
//! What it costs: between a write's acknowledgement and the word of it, about a network's way, another node may still serve
//! what was there before; over a connection that is silently cut, for as long as it takes to notice
//! ([`tracking::UNNOTICED_MS_MAX`]).

pub mod tracking;

use crate::config::LocalConfig;
use crate::store::{Look, Stored};
use herd_policy::local::{self, Coherence};
use moka::sync::Cache;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The values of one key prefix.
#[derive(Debug)]
pub struct Local {
    prefix: Arc<str>,
    ttl: Duration,
    entries: Cache<Arc<str>, Entry>,
    coherence: Coherence,
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
    known: local::Ticket,
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
        Self { prefix, ttl: config.ttl, entries, coherence: Coherence::new() }
    }

    /// Looks here first.
    #[must_use]
    pub fn look(&self, cache_key: &str, now: Instant) -> Known {
        let Some(session) = self.coherence.session().filter(|_| cache_key.starts_with(&*self.prefix)) else {
            return Known::Bypassed;
        };
        if let Some(entry) = self.entries.get(cache_key)
            && entry.session == session
            && now < entry.until
        {
            return Known::Fresh(entry.at(now));
        }
        Known::Ask(Ticket { asked: now, known: self.coherence.ticket(session, cache_key) })
    }

    /// Keeps what Redis said to the look for which the ticket was taken, if it is fresh and nothing changed meanwhile.
    pub fn offer(&self, ticket: Ticket, cache_key: &Arc<str>, said: &Look) {
        let Look::Fresh { stored, age_ms } = said else { return };
        let value_ttl = Duration::from_millis(stored.header.ttl_ms.into());
        let entry = Entry {
            stored: stored.clone(),
            age_ms: *age_ms,
            asked: ticket.asked,
            until: ticket.asked + local::lives(value_ttl, Duration::from_millis(*age_ms), self.ttl),
            session: ticket.known.session(),
        };
        let keep = || self.entries.insert(cache_key.clone(), entry);
        self.coherence.keep_if_unchanged(ticket.known, cache_key, keep);
    }

    /// The value of a key changed: what is held of it is worthless, and so are answers to looks that are under way.
    pub fn forget(&self, cache_key: &str) {
        self.coherence.changed(cache_key, || self.entries.invalidate(cache_key));
    }

    /// Somebody listens to Redis from now on; returns the session, to [close](Local::close) it.
    pub fn open(&self) -> u64 {
        self.coherence.open()
    }

    /// Nobody listens any more: everything held is worthless. A session that is not the open one is ignored. Returns whether
    /// it was open.
    pub fn close(&self, session: u64) -> bool {
        let closed = self.coherence.close(session);
        if closed {
            // For the room: entries of a session that is over are not served anyway.
            self.entries.invalidate_all();
        }
        closed
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
