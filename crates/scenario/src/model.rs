//! What an experiment consists of. Plain data: everything is validated by the time a value of these types exists.

use std::fmt;

use crate::claim::Claim;
use crate::fault::Fault;
use crate::named::{Named, named};
use crate::workload::{Retry, Workload};

/// One experiment. Several rungs make a ladder.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// 1 to 64 characters of `[a-z0-9-]`; names the run's folder.
    pub name: String,
    /// What the author expects to see, and why; one or a few sentences.
    pub hypothesis: String,
    /// The outcome that counts as success.
    pub expect: Expect,
    /// Fixes workload and fault schedule, not the interleaving of real processes.
    pub seed: u64,
    /// The processes.
    pub fleet: Fleet,
    /// The slow origin.
    pub origin: Origin,
    /// The load, identical in every rung.
    pub workload: Workload,
    /// What every rung's policy has in common.
    pub policy: PolicyBase,
    /// 1 to 32 rungs in the order in which they are driven; names are unique.
    pub rungs: Vec<Rung>,
    /// What is done to the fleet while the load runs; at most 32, names are unique.
    pub faults: Vec<Fault>,
    /// What is claimed about the rungs; at least one.
    pub claims: Vec<Claim>,
}

/// What the lab's command line may change about a scenario. Kept in the manifest, so that a run is judged again alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Number of cache nodes.
    pub nodes: Option<u32>,
    /// The seed.
    pub seed: Option<u64>,
    /// Drive only these rungs, by name; their order stays the scenario's. Claims about others are dropped.
    pub rungs: Option<Vec<String>>,
}

/// The outcome that a scenario's author expects, of the whole or of one claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expect {
    /// Every claim holds.
    #[default]
    Valid,
    /// Refuted. A scenario that expects this shows a known-bad strategy: its first claim has to catch it.
    Invalid,
}

/// The processes of an experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// Cache nodes, 1 to 500.
    pub nodes: u32,
    /// How the edge picks a node.
    pub routing: Routing,
    /// Connections in the origin's SQL pool, 1 to 1,000.
    pub origin_pool: u32,
}

/// How the edge picks a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Routing {
    /// Power of two choices by requests in flight: reads of one key reach every node.
    #[default]
    Spread,
    /// Uniformly at random.
    Random,
    /// Rendezvous hashing: one node per key.
    Owner,
}

/// The slow origin.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// How long a query takes.
    pub model: OriginModel,
    /// The delay is spent holding a pool connection, so that the pool queues.
    pub holds_connection: bool,
    /// A time in which fetches fail.
    pub failing: Option<Failing>,
    /// A time in which fetches take longer. Bounds are still those of `model`: nobody plans for it.
    pub slow: Option<Slow>,
}

/// A time in which fetches fail after their latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Failing {
    /// When it begins, milliseconds after the window's start.
    pub at_ms: u32,
    /// For how long, milliseconds, from 1.
    pub for_ms: u32,
    /// Share of the fetches that fail, above 0 to 1.
    pub share: f64,
}

/// A time in which fetches take longer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slow {
    /// When it begins, milliseconds after the window's start.
    pub at_ms: u32,
    /// For how long, milliseconds, from 1.
    pub for_ms: u32,
    /// How many times as long, above 0 to 100.
    pub factor: f64,
}

/// How long one query of the origin takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OriginModel {
    /// Always the same.
    Fixed {
        /// Milliseconds, 1 to 600,000.
        latency_ms: u32,
    },
    /// Log-normal.
    LogNormal {
        /// The median, milliseconds, 1 to 600,000.
        median_ms: u32,
        /// Spread of the logarithm, above 0 to 3.
        sigma: f64,
        /// Longest latency, milliseconds, at least the median; longer draws are cut to it.
        max_ms: u32,
    },
}

impl OriginModel {
    /// The typical latency in milliseconds: the fixed one or the median.
    #[must_use]
    pub fn typical_ms(&self) -> u32 {
        match *self {
            Self::Fixed { latency_ms } => latency_ms,
            Self::LogNormal { median_ms, .. } => median_ms,
        }
    }

    /// The longest latency that the model draws, in milliseconds.
    #[must_use]
    pub fn longest_ms(&self) -> u32 {
        match *self {
            Self::Fixed { latency_ms } => latency_ms,
            Self::LogNormal { max_ms, .. } => max_ms,
        }
    }
}

/// What the policies of all rungs have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyBase {
    /// Freshness of a value, milliseconds, 1 to 86,400,000.
    pub ttl_ms: u32,
    /// A rebuild's own deadline, milliseconds, 1 to 600,000, whoever waits for it.
    pub rebuild_deadline_ms: u32,
}

/// One stage of the ladder: which layers stand between a miss and the origin.
#[derive(Debug, Clone, PartialEq)]
pub struct Rung {
    /// 1 to 40 characters of `[a-z0-9-]`; stands in file names and labels.
    pub name: String,
    /// From the inside out; empty means that nothing coordinates rebuilds.
    pub layers: Vec<Layer>,
    /// Look at the cache again after leadership is won. False only in known-bad strategies.
    pub flight_second_look: bool,
    /// The fleet lock; present exactly when `layers` has [`Layer::Lock`].
    pub lock: Option<Lock>,
    /// What the store compares before it accepts a rebuilt value. Fenced by default where a layer promises something about
    /// what is written: lock, stale-while-revalidate and negative.
    pub write_guard: WriteGuard,
    /// How long others can join a flight. Anything but `written` only in known-bad strategies.
    pub flight_until: FlightUntil,
    /// Who is told of an error of the origin. Anything but `share` only in known-bad strategies.
    pub on_origin_error: OnOriginError,
    /// A reader's own patience; present exactly when `layers` has [`Layer::WaiterTimeout`].
    pub waiter: Option<Waiter>,
    /// Serving expired values; present when `layers` has [`Layer::StaleWhileRevalidate`] or [`Layer::StaleIfError`], or where a wait
    /// ends in serving stale.
    pub stale: Option<Stale>,
    /// Spread of the TTLs, above 0 to 0.9: each is drawn uniformly from `ttl * (1 - spread)` to `ttl * (1 + spread)`. Present
    /// exactly when `layers` has [`Layer::Jitter`].
    pub jitter: Option<f64>,
    /// TTL of a remembered absence, milliseconds, 1 to 86,400,000; present exactly when `layers` has [`Layer::Negative`].
    pub negative_ttl_ms: Option<u32>,
    /// Beta of early recomputation, above 0 to 10; present exactly when `layers` has [`Layer::Early`].
    pub early_beta: Option<f64>,
    /// Admission gates; present exactly when `layers` has [`Layer::Shed`].
    pub shed: Option<Shed>,
    /// The tier in each process; present exactly when `layers` has [`Layer::Local`].
    pub local: Option<Local>,
    /// How the rung's keys begin. `prewarmed` exactly when `layers` has [`Layer::Prewarm`].
    pub start: Start,
    /// How clients behave, where it differs from the workload's own.
    pub retry: Option<Retry>,
    /// A change of the key prefix in the middle of the rung.
    pub deploy: Option<Deploy>,
    /// Changes of the membership in the middle of the rung, at most 16, in order of time.
    pub membership: Vec<MembershipChange>,
}

impl Rung {
    /// Whether the layer is on in this rung.
    #[must_use]
    pub fn has(&self, layer: Layer) -> bool {
        self.layers.contains(&layer)
    }
}

/// A layer that bounds the herd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// One rebuild at once per process.
    SingleFlight,
    /// One rebuild at once for the fleet.
    Lock,
    /// A reader's own patience with a rebuild.
    WaiterTimeout,
    /// Expired values are served within a grace and refreshed in the background.
    StaleWhileRevalidate,
    /// Expired values are served within a grace where the rebuild failed.
    StaleIfError,
    /// TTLs are drawn, so that keys filled together do not expire together.
    Jitter,
    /// That a row does not exist is remembered.
    Negative,
    /// Keys that a filter of existing keys does not know do not reach the origin.
    KeyFilter,
    /// Probabilistic early recomputation (XFetch).
    Early,
    /// Admission gates at edge and origin refuse what is too much.
    Shed,
    /// The edge sends a key to its owner (rendezvous hashing).
    OwnerRouting,
    /// Keys of an access log are filled before traffic comes.
    Prewarm,
    /// A tier in each process, kept coherent by invalidations.
    Local,
}

/// The fleet lock of a rung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Lease expiry, milliseconds, 1 to 600,000.
    pub expiry_ms: u32,
    /// How long a waiter waits for the holder, milliseconds, 0 to 60,000.
    pub wait_ms: u32,
    /// The holder renews its lease while it rebuilds.
    pub renew: bool,
    /// Look at the cache again after the grant. False only in known-bad strategies.
    pub second_look: bool,
    /// What a waiter does when its wait ran out.
    pub on_wait_timeout: OnWaitTimeout,
    /// What a leader does when the lock service is away.
    pub on_unavailable: OnUnavailable,
    /// Release the lock whoever holds it now. Only in known-bad strategies.
    pub unconditional_release: bool,
    /// Fencing tokens counted in Redis's memory only. Only in known-bad strategies.
    pub volatile_tokens: bool,
}

/// A reader's own patience with a rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    /// Milliseconds, 1 to 60,000, from when the reader began to wait.
    pub wait_ms: u32,
    /// What it does then.
    pub then: OnWaitTimeout,
}

/// Serving expired values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// How long after its expiry a value may be served, milliseconds, 1 to 86,400,000.
    pub grace_ms: u32,
    /// Rows that are safe to serve stale: exact keys, or beginnings that end in `*`; 1 to 64. Nothing else ever is.
    pub safe_keys: Vec<String>,
}

impl Stale {
    /// Whether this row may be served stale.
    #[must_use]
    pub fn is_safe(&self, key: &str) -> bool {
        self.safe_keys.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => key.starts_with(beginning),
            None => key == pattern,
        })
    }
}

/// Admission gates. What they refuse is answered at once with `RESOURCE_EXHAUSTED` or 503, and when to come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shed {
    /// At the edge.
    pub edge: Option<Gate>,
    /// At the origin.
    pub origin: Option<Gate>,
}

/// One admission gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    /// Requests at work at once, 1 to 100,000.
    pub in_flight_max: u32,
    /// Requests that wait for a place, 0 to 100,000.
    pub queue_max: u32,
    /// The longest wait for a place, milliseconds, 0 to 60,000.
    pub queue_wait_ms: u32,
    /// What who is refused is told, milliseconds, 1 to 60,000.
    pub retry_after_ms: u32,
}

/// The tier in each process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// The longest that a value is served from it, milliseconds, 1 to 86,400,000.
    pub ttl_ms: u32,
    /// Values in each process, 1 to 1,000,000.
    pub entries_max: u32,
    /// Do not listen for invalidations. Only in known-bad strategies.
    pub incoherent: bool,
}

/// How a rung's keys begin.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Start {
    /// Every key is read once before the window: boundaries are measured, not the cold start.
    #[default]
    Warm,
    /// Nothing is cached when the load comes.
    Cold,
    /// The most read keys of an access log are filled, and a gate decides whether the load may come.
    Prewarmed {
        /// Keys replayed at most, the most read first, 1 to 100,000.
        top: u32,
        /// The hit rate over the log's reads at which the gate opens, above 0 to 1.
        hit_rate: f64,
    },
}

/// A change of the key prefix in the middle of a rung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deploy {
    /// When it begins, milliseconds after the window's start.
    pub at_ms: u32,
    /// How.
    pub strategy: DeployStrategy,
    /// Keys filled per second under the new prefix, 1 to 100,000. Only with `versioned`.
    pub fill_per_s: u32,
    /// The fill pauses while more fetches than this are under way at the origin, 1 to 100,000. Only with `versioned`.
    pub stop_in_flight: u32,
}

/// How a key prefix is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeployStrategy {
    /// At once, onto empty keys.
    #[default]
    Bump,
    /// New keys are filled beside the old ones, then the switch, then the old ones are retired.
    Versioned,
}

/// A node that leaves the edges' membership in the middle of a rung, and comes back. It goes on running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipChange {
    /// When it leaves, milliseconds after the window's start.
    pub at_ms: u32,
    /// For how long, milliseconds; 0: for the rest of the rung.
    pub for_ms: u32,
    /// Which one: the owner of this row's key under owner routing.
    pub owner_of: String,
}

/// How long others can join a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlightUntil {
    /// Until the store answered its write.
    #[default]
    Written,
    /// Until the origin answered.
    Fetched,
}

/// Who is told of an error of the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnOriginError {
    /// Everybody who waits, once.
    #[default]
    Share,
    /// Each waiter asks in its turn.
    SerialRetry,
}

/// What a waiter does when the holder did not finish in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnWaitTimeout {
    /// Answers with an error.
    #[default]
    Error,
    /// Goes to the origin itself.
    Origin,
    /// Answers with the expired value, where the row is safe for that; else with an error.
    Stale,
}

/// What a leader does without a lock service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnavailable {
    /// Rebuilds without a lease: the bound falls back to one rebuild per process.
    #[default]
    FailOpen,
    /// Answers with an error: no rebuild at all.
    FailClosed,
}

/// What the store compares before it accepts a rebuilt value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WriteGuard {
    /// Plain overwrite.
    #[default]
    Unguarded,
    /// Generation, fencing token and epoch.
    Fenced,
}

named!(Expect { "valid" => Valid, "invalid" => Invalid });
named!(Routing { "spread" => Spread, "random" => Random, "owner" => Owner });
named!(Layer {
    "single-flight" => SingleFlight,
    "lock" => Lock,
    "waiter-timeout" => WaiterTimeout,
    "stale-while-revalidate" => StaleWhileRevalidate,
    "stale-if-error" => StaleIfError,
    "jitter" => Jitter,
    "negative" => Negative,
    "key-filter" => KeyFilter,
    "xfetch" => Early,
    "shed" => Shed,
    "owner-routing" => OwnerRouting,
    "pre-warm" => Prewarm,
    "l1" => Local,
});
named!(FlightUntil { "written" => Written, "fetched" => Fetched });
named!(OnOriginError { "share" => Share, "serial-retry" => SerialRetry });
named!(DeployStrategy { "bump" => Bump, "versioned" => Versioned });
named!(OnWaitTimeout { "error" => Error, "origin" => Origin, "stale" => Stale });
named!(OnUnavailable { "fail-open" => FailOpen, "fail-closed" => FailClosed });
named!(WriteGuard { "unguarded" => Unguarded, "fenced" => Fenced });
