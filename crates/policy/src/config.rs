//! Which layers stand between a miss and the origin, and the limits of the core itself.

use std::sync::Arc;
use std::time::Duration;

/// A versioned policy. Each lookup is decided by the one that was current when it came, and each flight keeps the one
/// under which it began.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Of the fleet's configuration, from 1; 0 before the first one.
    pub version: u64,
    /// What the driver put before every row's key. The core strips it where a layer speaks of rows
    /// ([`StaleConfig::safe_keys`]), and hands it out with a [`Fetch`](crate::Action::Fetch) to say how much of the cache
    /// key to strip.
    pub key_prefix: Arc<str>,
    /// Freshness of a written value.
    pub ttl: Duration,
    /// A rebuild's own deadline, counted from its (first) fetch, whoever waits for it.
    pub rebuild_deadline: Duration,
    /// Within the process.
    pub coalescing: Coalescing,
    /// A flight's leader looks at the cache again before it does anything else. Without it a caller that missed before
    /// the write leads a second flight after it: a known-bad strategy.
    pub flight_second_look: bool,
    /// Within the fleet; `None` for no lock.
    pub lock: Option<LockConfig>,
    /// What the store compares before it takes a value.
    pub write_guard: WriteGuard,
    /// How long a lookup waits for a flight before it goes its own way; `None`: until its deadline.
    pub waiter: Option<WaiterConfig>,
    /// Serving expired values; `None`: never.
    pub stale: Option<StaleConfig>,
    /// Spread of the values' lives, 0 to 0.9: each TTL is drawn uniformly from `ttl * (1 - jitter)` to
    /// `ttl * (1 + jitter)`. 0: none.
    pub jitter: f64,
    /// Remembering that a row does not exist; `None`: every lookup of it asks the origin.
    pub negative: Option<NegativeConfig>,
    /// Believe the driver's filter of existing keys: a key that it does not know, and of which the store remembers
    /// nothing, is answered without asking the origin.
    pub key_filter: bool,
    /// Recomputing before expiry; `None`: never.
    pub early: Option<EarlyConfig>,
    /// How long others can join a flight.
    pub flight_until: FlightUntil,
    /// Who is told of an error of the origin.
    pub on_origin_error: OnOriginError,
}

impl Default for Config {
    /// Version 0: TTL 10 s, rebuilds within 5 s, single-flight with its second look, no lock, fenced writes.
    fn default() -> Self {
        Config {
            version: 0,
            key_prefix: Arc::from(""),
            ttl: Duration::from_secs(10),
            rebuild_deadline: Duration::from_secs(5),
            coalescing: Coalescing::SingleFlight,
            flight_second_look: true,
            lock: None,
            write_guard: WriteGuard::Fenced,
            waiter: None,
            stale: None,
            jitter: 0.0,
            negative: None,
            key_filter: false,
            early: None,
            flight_until: FlightUntil::Written,
            on_origin_error: OnOriginError::Share,
        }
    }
}

/// Patience with a flight (the layer of a lookup's own wait).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaiterConfig {
    /// Counted from when the lookup joined or began the flight.
    pub wait: Duration,
    /// When it ran out.
    pub then: OnWaitTimeout,
}

/// Serving expired values, within `grace` after their expiry, of the keys that are marked safe for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleConfig {
    /// How long after its expiry a value may still be served.
    pub grace: Duration,
    /// Serve it at once and refresh in the background (stale-while-revalidate).
    pub while_revalidate: bool,
    /// Serve it where the rebuild failed (stale-if-error).
    pub if_error: bool,
    /// Which rows' keys (without prefix) may be served stale: each is an exact key, or ends in `*` and is a beginning.
    pub safe_keys: Vec<Arc<str>>,
}

/// Remembering absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NegativeConfig {
    /// How long the absence of a row is believed.
    pub ttl: Duration,
}

/// Probabilistic early recomputation (XFetch; Vattani, Chierichetti and Lowenstein, 2015).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EarlyConfig {
    /// Above 1 recomputes earlier, below 1 later; above 0 to 10.
    pub beta: f64,
}

/// How long others can join a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlightUntil {
    /// The store answered its write: a later leader's second look sees the value.
    Written,
    /// The origin answered. Whoever misses between that and the write leads another flight: a known-bad strategy
    /// (moka's issue 195).
    Fetched,
}

/// What becomes of those who wait for a flight whose rebuild failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnOriginError {
    /// All get the error, once.
    Share,
    /// The leader gets the error, and the next waiter asks the origin in its turn: a serial herd, a known-bad strategy.
    SerialRetry,
}

/// What lookups of one process that miss the same key do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coalescing {
    /// Each rebuilds alone: the control arm.
    Uncoordinated,
    /// One leads, the others wait for it.
    SingleFlight,
}

/// What the store compares before it takes a rebuilt value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteGuard {
    /// Nothing: plain overwrite.
    Unguarded,
    /// The generation seen expired, and with a lease its token and epoch.
    Fenced,
}

/// The fleet's lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockConfig {
    /// The lease ends by itself after this long.
    pub expiry: Duration,
    /// The longest wait for another holder.
    pub wait: Duration,
    /// Extend the lease every third of its expiry while the rebuild runs.
    pub renew: bool,
    /// Look at the cache again after the grant, and when the holder was done. Without it every waiter rebuilds after
    /// the holder: a known-bad strategy.
    pub second_look: bool,
    /// When the wait ran out.
    pub on_wait_timeout: OnWaitTimeout,
    /// When the lock service is away.
    pub on_unavailable: OnUnavailable,
    /// Release the lock whoever holds it now: a known-bad strategy.
    pub unconditional_release: bool,
    /// Ask for tokens that the lease store counts in memory, so that its restart hands out old ones again: a known-bad
    /// strategy.
    pub volatile_tokens: bool,
}

impl Default for LockConfig {
    /// Expiry 10 s, wait 10 s, no renewal, second look; errors when the wait runs out, fail-open when it is away.
    fn default() -> Self {
        LockConfig {
            expiry: Duration::from_secs(10),
            wait: Duration::from_secs(10),
            renew: false,
            second_look: true,
            on_wait_timeout: OnWaitTimeout::Error,
            on_unavailable: OnUnavailable::FailOpen,
            unconditional_release: false,
            volatile_tokens: false,
        }
    }
}

/// What is done when a wait ran out: a flight's for the fleet's lock, or a lookup's for its flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnWaitTimeout {
    /// Its readers get [`Error::WaitTimeout`](crate::Error::WaitTimeout).
    Error,
    /// It asks the origin without a lease: adds about r*(D-W) queries.
    Origin,
    /// Readers get the expired value that they saw, if their key is safe for that and the value within its grace
    /// ([`StaleConfig`]); else the error.
    Stale,
}

/// What a flight does when the lock service is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnUnavailable {
    /// Asks the origin without a lease: one rebuild a process.
    FailOpen,
    /// Its readers get [`Error::Lock`](crate::Error::Lock): no rebuild.
    FailClosed,
}

/// The limits of one [`Core`](crate::Core).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Lookups at once.
    pub lookups: usize,
    /// Flights at once, uncoordinated and background ones included. At the limit a lookup that misses is turned away; one
    /// that is served from the cache sets off nothing.
    pub flights: usize,
    /// Lookups that wait for one flight, its leader included.
    pub waiters_per_flight: usize,
    /// How often one flight may start over: the holder was done but nothing fresh was there, or what it found is older
    /// than what some who wait for it saw.
    pub rounds: u32,
    /// The longest a flight waits for one read or write of the store.
    pub store_deadline: Duration,
    /// What is added to the lock's wait to get the deadline of the call to the lock service.
    pub acquire_slack: Duration,
    /// How long after an operation's deadline the core gives up on the driver's answer.
    pub overdue: Duration,
    /// After a background rebuild (refresh, early) failed: how long the next one of the same key waits, in a coalesced
    /// configuration. Bounds what stale readers ask of an origin that refuses at once.
    pub refresh_pause: Duration,
}

impl Default for Limits {
    /// 65,536 lookups, 16,384 flights, 16,384 waiters a flight, 64 rounds (a fleet of 50 without second look needs 50),
    /// 2 s for the store, 1 s slack, 1 s overdue, 200 ms pause.
    fn default() -> Self {
        Limits {
            lookups: 65_536,
            flights: 16_384,
            waiters_per_flight: 16_384,
            rounds: 64,
            store_deadline: Duration::from_secs(2),
            acquire_slack: Duration::from_secs(1),
            overdue: Duration::from_secs(1),
            refresh_pause: Duration::from_millis(200),
        }
    }
}
