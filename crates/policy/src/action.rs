//! What the core asks its driver to do.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, WriteGuard};
use crate::error::Error;
use crate::ids::{Lease, LookupId, OpId, Owner, RebuildId};
use crate::outcome::HolderFailure;
use crate::time::Time;

/// One thing to do. Every action with an `op` is answered exactly once, at the latest at its `deadline`, by the handler
/// named; the others are not answered. `key` is the full cache key, as it was given to
/// [`handle_lookup`](crate::Core::handle_lookup).
#[derive(Debug, Clone, PartialEq)]
pub enum Action<V> {
    /// Read the cache; answered by [`handle_read`](crate::Core::handle_read).
    Read {
        /// To answer with.
        op: OpId,
        /// The cache key.
        key: Arc<str>,
        /// The flight that looks again; `None` for a lookup's first look.
        rebuild: Option<RebuildId>,
        /// When to give up.
        deadline: Time,
    },
    /// Get the fleet's lock of `key`, waiting up to `wait` in the service; answered by
    /// [`handle_lease`](crate::Core::handle_lease).
    Acquire {
        /// To answer with.
        op: OpId,
        /// The cache key, which is the lease's name.
        key: Arc<str>,
        /// The flight.
        rebuild: RebuildId,
        /// Who asks.
        owner: Owner,
        /// How long the lease is to live.
        expiry: Duration,
        /// The longest wait for another holder.
        wait: Duration,
        /// [`LockConfig::volatile_tokens`](crate::LockConfig::volatile_tokens).
        volatile_tokens: bool,
        /// Of the call: the wait and some slack.
        deadline: Time,
    },
    /// Extend the lease; answered by [`handle_renewed`](crate::Core::handle_renewed).
    Renew {
        /// To answer with.
        op: OpId,
        /// The cache key.
        key: Arc<str>,
        /// The flight.
        rebuild: RebuildId,
        /// Who holds it.
        owner: Owner,
        /// The lease held.
        lease: Lease,
        /// How long the lease is to live from now.
        expiry: Duration,
        /// Of the call.
        deadline: Time,
    },
    /// Give the lease back, in the background. Not answered, and never a reason to fail a request. Sent for every attempt
    /// that was granted or may have been.
    Release {
        /// The cache key.
        key: Arc<str>,
        /// The flight.
        rebuild: RebuildId,
        /// Who held it.
        owner: Owner,
        /// How it ended, which decides what those are told who wait for the lease.
        end: HolderEnd,
        /// [`LockConfig::unconditional_release`](crate::LockConfig::unconditional_release).
        unconditional: bool,
    },
    /// Ask the origin; answered by [`handle_fetched`](crate::Core::handle_fetched).
    Fetch {
        /// To answer with.
        op: OpId,
        /// The cache key; the row's key is what follows `config.key_prefix`.
        key: Arc<str>,
        /// The flight.
        rebuild: RebuildId,
        /// The generation seen expired (recomputed early: still fresh); 0 where nothing was there.
        generation: u64,
        /// Why this process asks.
        reason: Reason,
        /// The lease under which it asks.
        lease: Option<Lease>,
        /// The configuration under which the flight began.
        config: Arc<Config>,
        /// The rebuild's own deadline.
        deadline: Time,
    },
    /// Write the rebuilt value; answered by [`handle_written`](crate::Core::handle_written).
    Write {
        /// To answer with.
        op: OpId,
        /// The cache key.
        key: Arc<str>,
        /// The flight.
        rebuild: RebuildId,
        /// What to write; `None`: the sentinel that remembers that the row does not exist.
        value: Option<V>,
        /// What the store compares first.
        guard: WriteGuard,
        /// The generation named by the fetch: the value is to become the next one.
        generation: u64,
        /// The lease under which it was rebuilt.
        lease: Option<Lease>,
        /// Freshness of the value, jitter included.
        ttl: Duration,
        /// From the fetch to its answer, to be kept with the value: see [`Life::rebuild_took`](crate::Life::rebuild_took).
        rebuild_took: Duration,
        /// When to give up.
        deadline: Time,
    },
    /// Answer a lookup. Exactly once for each that was not cancelled before.
    Serve(Serve<V>),
    /// A flight is over. The last action that names this rebuild, but for the release of a lease that was granted after
    /// the core had given up on the acquire.
    Ended(Summary),
}

/// How the holder of a lease ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HolderEnd {
    /// The cache holds a fresh value, or the sentinel of a row that does not exist: waiters are told to read it rather than
    /// handed the lease.
    ValueWritten,
    /// The origin had no value: waiters share that, and none of them asks it again.
    Failed(HolderFailure),
    /// Neither, or nobody knows: the next waiter is handed the lease.
    Abandoned,
}

/// The answer to one lookup.
#[derive(Debug, Clone, PartialEq)]
pub struct Serve<V> {
    /// Which lookup.
    pub lookup: LookupId,
    /// What it gets.
    pub result: Result<Answer<V>, Error>,
    /// The flight that it led, waited for, or (served from what the cache held) set off; to link its trace to. Also set
    /// on errors.
    pub rebuild: Option<RebuildId>,
    /// The configuration under which it was decided: that of the flight, if there was one.
    pub config_version: u64,
    /// Its first look found nothing fresh: counts as a cache miss.
    pub missed: bool,
}

/// A value and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<V> {
    /// The value.
    pub value: V,
    /// How it came about.
    pub served: Served,
    /// The value's generation; 0 for one that is not in the cache: nobody can tell how it compares to what is. A stale value
    /// has the generation that its reader saw.
    pub generation: u64,
    /// The cache holds it, or (where values are served before they are written) is about to. False for a rebuilt value
    /// whose write was refused or failed.
    pub cached: bool,
}

/// How an answer came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Served {
    /// Fresh at the first look.
    Hit,
    /// This lookup's flight rebuilt it, and it was the leader at the end.
    Led,
    /// Joined a flight in its own process.
    Waited,
    /// Led its process, waited for another process's rebuild, then read it.
    WaitedFleet,
    /// Won leadership or a lease, looked again, found it fresh.
    SecondLook,
    /// Rebuilt alone: no layer in between, or patience with the flight ran out.
    Uncoordinated,
    /// Expired, within its grace. Without a wait (the lookup is not [`missed`](Serve::missed)), or in place of an error.
    Stale,
}

/// Why a process asks the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No layer stood between the miss and the origin.
    Uncoordinated,
    /// Leads its process, no fleet lock configured.
    FlightLeader,
    /// Leads the fleet.
    LeaseHolder,
    /// The lock service was away.
    FailOpen,
    /// Gave up waiting, for the lease's holder or for the flight.
    WaitTimeout,
    /// A second attempt in the same flight: after a lost one, or (known-bad) by the next waiter after a failed one.
    Retry,
    /// Background refresh of an expired value that readers are served meanwhile.
    Refresh,
    /// Early recomputation of a value that is still fresh.
    Early,
    /// Pre-warm or fill: nobody reads it yet.
    Warm,
}

/// What became of a flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Which flight.
    pub rebuild: RebuildId,
    /// The cache key.
    pub key: Arc<str>,
    /// How it ended.
    pub ending: Ending,
    /// The generation that it saw expired (the last, if it started over).
    pub generation: u64,
    /// When it began.
    pub began: Time,
    /// How long it waited for the lock service, all attempts together; `None` if it never asked.
    pub lock_waited: Option<Duration>,
    /// Calls to the origin.
    pub fetches: u32,
    /// The most lookups that waited at once, the leader included; 0 for a background flight that nobody joined.
    pub waiters_max: usize,
    /// A renewal said that the lease was lost; the write guard decided what became of the value.
    pub lease_lost: bool,
}

/// How a flight ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It rebuilt the value and the cache took it.
    Rebuilt,
    /// It found a fresh value when it looked again; it asked the origin for nothing.
    FoundFresh,
    /// It rebuilt a value that the cache did not take.
    Uncached,
    /// It ended in an error, that the row does not exist among them.
    Failed,
}
