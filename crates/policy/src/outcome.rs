//! What the driver tells the core about the operations that it was asked for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::ids::Lease;

/// Of a [`Read`](crate::Action::Read).
#[derive(Debug, Clone, PartialEq)]
pub enum ReadOutcome<V> {
    /// There, and younger than its TTL by the store's clock.
    Fresh {
        /// The value.
        value: V,
        /// Its generation, from 1.
        generation: u64,
        /// How far it is into its life.
        life: Life,
    },
    /// There, but older than its TTL.
    Expired {
        /// The old value.
        value: V,
        /// Its generation, from 1.
        generation: u64,
        /// How far it is past its life.
        life: Life,
    },
    /// The store remembers, and not for longer than the sentinel's TTL, that the row does not exist.
    Negative {
        /// The sentinel's generation, from 1.
        generation: u64,
    },
    /// Not there, deleted, or a sentinel that outlived its TTL.
    Absent {
        /// The highest generation that the store remembers for the key; 0 if none.
        generation: u64,
        /// Whether the driver's filter of existing keys knows the key; true without a filter.
        may_exist: bool,
    },
    /// The store did not answer, or in time.
    Failed(Failure),
}

/// How far a stored value is into its life, by the store's clock. The default is a value without a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Life {
    /// Since it was written.
    pub age: Duration,
    /// The TTL that it was written with, jitter included.
    pub ttl: Duration,
    /// How long the rebuild took that made it, as the [`Write`](crate::Action::Write) said; zero if that is unknown.
    pub rebuild_took: Duration,
}

/// Of an [`Acquire`](crate::Action::Acquire).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// The lease is this owner's.
    Granted(Lease),
    /// The holder finished while this owner waited: read the cache, do not rebuild.
    HolderDone,
    /// The holder failed while this owner waited: its failure is shared, and the origin is not asked again.
    HolderFailed(HolderFailure),
    /// Still held by someone else when the wait ran out.
    WaitTimeout,
    /// The lock service is away; nothing was applied.
    Unavailable(Failure),
    /// No answer in time; the lease may have been granted all the same.
    Unknown(Failure),
}

/// What a lease's holder got from the origin instead of a value. Shared once with everybody who waits for the lease then,
/// and never cached: an error must not send the queue to the origin one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HolderFailure {
    /// The origin has no such row.
    NoSuchRow {
        /// The generation of the key that the holder had seen when it asked: who saw a newer one may ask for a row that was
        /// inserted since, and does not share this. 0 where the lease store does not carry it: then only who saw nothing
        /// at all shares it.
        generation: u64,
    },
    /// The origin failed, refused, or did not answer in time.
    Failed(Failure),
}

/// Of a [`Renew`](crate::Action::Renew).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenewOutcome {
    /// Extended.
    Held,
    /// Held by nobody or by someone else: the lease is lost.
    Lost,
    /// No answer: asked again when the next one is due.
    Unavailable,
}

/// Of a [`Fetch`](crate::Action::Fetch).
#[derive(Debug, Clone, PartialEq)]
pub enum FetchOutcome<V> {
    /// The row's value.
    Fetched(V),
    /// The origin has no such row.
    NotFound,
    /// The origin failed, refused, or did not answer in time.
    Failed(Failure),
    /// The driver's task for it vanished (it panicked, say): nothing is known.
    Lost,
}

/// Of a [`Write`](crate::Action::Write).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The cache holds it.
    Written {
        /// The generation that it became.
        generation: u64,
    },
    /// The store's guard did not take it.
    Refused(Refusal),
    /// The value can never be cached (too large, say).
    Uncacheable,
    /// The store did not answer; the value may have been written all the same.
    Failed(Failure),
}

/// Why the store's guard refused a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The store lost its data and no epoch is set yet.
    EpochMissing,
    /// The store lost its data after the lease was granted.
    EpochOld,
    /// Someone else wrote or deleted the value since it was seen.
    GenerationMoved,
    /// A later holder already wrote.
    TokenOld,
}

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In one word.
    pub cause: Cause,
    /// A later attempt may well succeed.
    pub retryable: bool,
    /// For people.
    pub detail: Arc<str>,
}

impl Failure {
    /// A failure that a later attempt may well not meet.
    pub fn retryable(cause: Cause, detail: impl Into<Arc<str>>) -> Self {
        Failure { cause, retryable: true, detail: detail.into() }
    }

    /// A failure that every attempt will meet.
    pub fn permanent(cause: Cause, detail: impl Into<Arc<str>>) -> Self {
        Failure { cause, retryable: false, detail: detail.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause, self.detail)
    }
}

/// The kind of a [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The part is away.
    Unavailable,
    /// It did not answer in time.
    DeadlineExceeded,
    /// It refused for load.
    Overloaded,
    /// It refused the request itself.
    Invalid,
    /// Anything else.
    Internal,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Unavailable => "unavailable",
            Cause::DeadlineExceeded => "deadline exceeded",
            Cause::Overloaded => "overloaded",
            Cause::Invalid => "invalid",
            Cause::Internal => "internal",
        })
    }
}
