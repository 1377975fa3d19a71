//! Why a lookup got no value.

use std::fmt;

use crate::outcome::Failure;

/// Why a lookup got no value. Shared once with everybody who waited for the flight, and never cached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The row does not exist.
    NotFound {
        /// Who says so.
        by: AbsentBy,
    },
    /// The lookup's own deadline passed. The rebuild, if any, runs on.
    Deadline,
    /// The core is at one of its limits.
    Overloaded {
        /// Which one.
        limit: Limit,
    },
    /// The cache did not answer.
    Cache(Failure),
    /// The lock service was away, and the configuration says to fail closed.
    Lock(Failure),
    /// The rebuild took longer than the wait for it, and the configuration says to give up: the flight's wait for the lock
    /// that another process holds, or the lookup's own for the flight.
    WaitTimeout,
    /// The origin failed.
    Origin(Failure),
    /// The rebuild's task vanished, and so did its one retry.
    RebuildLost,
    /// The flight started over as often as it may and never found or wrote a value that its readers may see.
    Contended,
}

impl Error {
    /// Where it arose.
    pub fn source_part(&self) -> Part {
        match self {
            Error::Deadline => Part::Client,
            Error::Overloaded { .. } | Error::RebuildLost => Part::Node,
            Error::Cache(_) => Part::Cache,
            Error::Lock(_) | Error::WaitTimeout | Error::Contended => Part::Lock,
            Error::NotFound { .. } | Error::Origin(_) => Part::Origin,
        }
    }

    /// Whether a later attempt may well succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::NotFound { .. } => false,
            Error::Cache(failure) | Error::Lock(failure) | Error::Origin(failure) => failure.retryable,
            _ => true,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFound { .. } => f.write_str("the origin has no such row"),
            Error::Deadline => f.write_str("the request's deadline passed"),
            Error::Overloaded { limit } => write!(f, "too many {limit} at once"),
            Error::Cache(failure) => write!(f, "the cache failed: {failure}"),
            Error::Lock(failure) => write!(f, "the lock service is away: {failure}"),
            Error::WaitTimeout => f.write_str("the value is still being rebuilt"),
            Error::Origin(failure) => write!(f, "the origin failed: {failure}"),
            Error::RebuildLost => f.write_str("the rebuild was lost twice"),
            Error::Contended => f.write_str("the value changes faster than it can be rebuilt"),
        }
    }
}

impl std::error::Error for Error {}

/// Who says that a row does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AbsentBy {
    /// The origin, asked by this flight or by the lease's holder that it waited for.
    Origin,
    /// The store remembers it.
    Sentinel,
    /// The driver's filter of existing keys.
    Filter,
}

/// A part of the fleet that an [`Error`] arose in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The caller.
    Client,
    /// This process.
    Node,
    /// The cache's store.
    Cache,
    /// The lock service.
    Lock,
    /// The origin.
    Origin,
}

/// One of the core's [`Limits`](crate::Limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Lookups at once.
    Lookups,
    /// Flights at once.
    Flights,
    /// Waiters of one flight.
    Waiters,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Lookups => "lookups",
            Limit::Flights => "flights",
            Limit::Waiters => "waiters for one rebuild",
        })
    }
}
