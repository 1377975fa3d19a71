//! What an experiment consists of. Plain data: everything is validated by the time a value of these types exists.

use std::fmt;

use crate::workload::Workload;

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
    /// 1 to 16 rungs in the order in which they are driven; names are unique.
    pub rungs: Vec<Rung>,
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

/// The outcome that a scenario's author expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expect {
    /// Every claim holds.
    #[default]
    Valid,
    /// A known-bad strategy: the first claim is refuted: a known-bad strategy that is caught.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rung {
    /// 1 to 40 characters of `[a-z0-9-]`; stands in file names and labels.
    pub name: String,
    /// From the inside out; empty means that nothing coordinates rebuilds. A lock needs single-flight under it.
    pub layers: Vec<Layer>,
    /// Look at the cache again after leadership is won. False only in known-bad strategies.
    pub flight_second_look: bool,
    /// The fleet lock; present exactly when `layers` has [`Layer::Lock`].
    pub lock: Option<Lock>,
    /// What the store compares before it accepts a rebuilt value. Fenced by default where there is a lock.
    pub write_guard: WriteGuard,
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
}

/// What a waiter does when the holder did not finish in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnWaitTimeout {
    /// Answers with an error.
    #[default]
    Error,
    /// Goes to the origin itself.
    Origin,
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

/// One statement that the judge holds against the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The rung it is about; every rung if absent.
    pub rung: Option<String>,
    /// What is counted.
    pub property: Property,
    /// Over what it is counted.
    pub scope: Scope,
    /// The bound.
    pub at_most: AtMost,
}

/// What a claim counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// Rebuilds that the origin started for one boundary. Scopes `fleet` and `process`.
    RebuildsPerBoundary,
    /// Rebuilds of one key under way at the same instant. Scopes `fleet` and `process`.
    ConcurrentRebuilds,
    /// Answers older than one that was already given before the request was sent. Scope `fleet`.
    AnswersNeverGoBack,
    /// Requests without exactly one good answer. Scope `fleet`.
    EveryRequestAnswered,
}

/// Over what a claim counts, which is the scope that a layer bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Within each process.
    Process,
    /// Over all processes.
    Fleet,
    /// Over waiters.
    Wait,
    /// Over distinct keys.
    Keys,
    /// Over keys that do not exist.
    Negative,
    /// Under more load than the origin carries.
    Overload,
}

/// The bound of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtMost {
    /// What theory gives for the rung's layers; the judge computes it.
    Theory,
    /// A number.
    Number(u64),
}

/// The names that stand in scenario files, in the order in which they are offered.
pub(crate) trait Named: Copy + 'static {
    /// Every value with its name.
    const NAMES: &'static [(&'static str, Self)];
}

macro_rules! named {
    ($type:ty { $($name:literal => $value:ident),+ $(,)? }) => {
        impl Named for $type {
            const NAMES: &'static [(&'static str, Self)] = &[$(($name, <$type>::$value)),+];
        }
        impl $type {
            /// The name as it stands in scenario files and reports.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$value => $name),+ }
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use named;

named!(Expect { "valid" => Valid, "invalid" => Invalid });
named!(Routing { "spread" => Spread, "random" => Random, "owner" => Owner });
named!(Layer { "single-flight" => SingleFlight, "lock" => Lock });
named!(OnWaitTimeout { "error" => Error, "origin" => Origin });
named!(OnUnavailable { "fail-open" => FailOpen, "fail-closed" => FailClosed });
named!(WriteGuard { "unguarded" => Unguarded, "fenced" => Fenced });
named!(Property {
    "rebuilds_per_boundary" => RebuildsPerBoundary,
    "concurrent_rebuilds" => ConcurrentRebuilds,
    "answers_never_go_back" => AnswersNeverGoBack,
    "every_request_answered" => EveryRequestAnswered,
});
named!(Scope {
    "process" => Process,
    "fleet" => Fleet,
    "wait" => Wait,
    "keys" => Keys,
    "negative" => Negative,
    "overload" => Overload,
});
