//! The faults of an experiment: what is done to which part, when, and for how long. Plain data; who injects them proves that they
//! took effect.

use std::fmt;

use crate::model::Scenario;
use crate::named::{Named, named};

/// One fault. It is injected, confirmed, held for `for_ms`, repaired, and its repair confirmed; `times` over.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// 1 to 40 characters of `[a-z0-9-]`, unique in the scenario; what the history calls it. By default the name of its kind.
    pub name: String,
    /// The rungs that it happens in; `None`: every one.
    pub rungs: Option<Vec<String>>,
    /// When it is first injected, milliseconds after the window's start.
    pub at_ms: u32,
    /// What it waits for from then on. It does not happen, and so is not confirmed, if that does not come before the window ends.
    pub once: Once,
    /// How long it is held, milliseconds; 0 for what is over at once.
    pub for_ms: u32,
    /// How often it happens, 1 to 100.
    pub times: u32,
    /// From one injection to the next, milliseconds.
    pub every_ms: u32,
    /// What is done.
    pub action: FaultAction,
}

impl Scenario {
    /// Whether a fault needs nodes whose links can go bad.
    #[must_use]
    pub fn has_link_faults(&self) -> bool {
        self.live_faults().any(|fault| matches!(fault.action, FaultAction::Link { .. }))
    }

    /// Whether a fault needs a second Redis that follows the first.
    #[must_use]
    pub fn needs_redis_replica(&self) -> bool {
        self.live_faults().any(|fault| fault.action == FaultAction::RedisPromote)
    }

    /// Whether a fault needs the origin's database as a process of its own.
    #[must_use]
    pub fn hurts_database(&self) -> bool {
        self.live_faults().any(|fault| match &fault.action {
            FaultAction::Pause(target) | FaultAction::Kill(target) | FaultAction::Stop(target) => {
                target.part == FaultPart::Database
            }
            _ => false,
        })
    }

    /// The faults that happen in one of the rungs that there are: an override may have dropped those of others.
    pub fn live_faults(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(|fault| self.rungs.iter().any(|rung| fault.hits(&rung.name)))
    }

    /// The faults of a rung.
    pub fn faults_of<'s>(&'s self, rung: &'s str) -> impl Iterator<Item = &'s Fault> {
        self.faults.iter().filter(move |fault| fault.hits(rung))
    }
}

impl Fault {
    /// Whether it happens in this rung.
    #[must_use]
    pub fn hits(&self, rung: &str) -> bool {
        self.rungs.as_ref().is_none_or(|rungs| rungs.iter().any(|name| name == rung))
    }

    /// Whether there is a rung that both happen in.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        match (&self.rungs, &other.rungs) {
            (Some(rungs), _) => rungs.iter().any(|rung| other.hits(rung)),
            (None, Some(rungs)) => !rungs.is_empty(),
            (None, None) => true,
        }
    }

    /// Each time that it is held, from and until, milliseconds after the window's start, if what it waits for is there at once.
    pub fn holds_ms(&self) -> impl Iterator<Item = (u64, u64)> {
        let first_ms = u64::from(self.at_ms) + u64::from(self.once.after_ms());
        let (for_ms, every_ms) = (u64::from(self.for_ms), u64::from(self.every_ms));
        (0..u64::from(self.times)).map(move |turn| {
            let begins_ms = first_ms + turn * every_ms;
            (begins_ms, begins_ms + for_ms)
        })
    }

    /// From the window's start to the end of its last hold, milliseconds, if what it waits for is there at once.
    #[must_use]
    pub fn ends_ms(&self) -> u64 {
        let repeats = u64::from(self.times.saturating_sub(1)) * u64::from(self.every_ms);
        u64::from(self.at_ms) + u64::from(self.once.after_ms()) + repeats + u64::from(self.for_ms)
    }
}

impl Once {
    /// How long it goes on waiting after what it waits for has come, milliseconds.
    #[must_use]
    pub fn after_ms(&self) -> u32 {
        match self {
            Self::Now => 0,
            Self::Rebuild { after_ms, .. } => *after_ms,
        }
    }
}

/// What a fault waits for before it is injected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Once {
    /// Nothing.
    #[default]
    Now,
    /// A rebuild of this row began, no longer ago than it takes to see it: some milliseconds.
    Rebuild {
        /// The row's key.
        key: String,
        /// So long after it was seen to begin, milliseconds, 0 to 60,000: at its very start hardly anybody waits for it yet.
        after_ms: u32,
    },
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultAction {
    /// Freezes processes (SIGSTOP, container pause); the repair lets them go on.
    Pause(Target),
    /// Ends processes at once (SIGKILL); the repair starts them again.
    Kill(Target),
    /// Asks processes to end (SIGTERM), which they do after what is under way; the repair starts them again.
    Stop(Target),
    /// Stops and starts every cache node in turn, each ready before the next ends.
    RollingRestart,
    /// The rung begins with this many cache nodes, 1 to one less than the fleet's; the fault starts the others. It has no repair.
    ScaleOut {
        /// Nodes before.
        from: u32,
    },
    /// Redis ends at once; the repair starts it with nothing on disk.
    RedisRestartEmpty,
    /// Redis ends at once; the repair starts it with its append-only file.
    RedisRestartAof,
    /// Redis forgets everything at once and goes on running.
    RedisFlush,
    /// Redis may use so little memory that it evicts; the repair lifts the limit.
    RedisEvict {
        /// Kilobytes beyond what it uses now, 0 to 1,000,000.
        room_kb: u32,
    },
    /// Redis ends at once and its replica, which had stopped hearing it before `at_ms`, takes its place. It has no repair.
    RedisPromote,
    /// A link from cache nodes to a part of the fleet goes bad; the repair mends it.
    Link {
        /// Which nodes.
        nodes: Which,
        /// The far end.
        to: Peer,
        /// How bad.
        rule: LinkRule,
    },
    /// Queries of the origin hang, each with its connection of the pool, until the repair.
    StuckQuery {
        /// How many, 1 to 1,000.
        queries: u32,
    },
    /// The clock by which leases end runs at this rate, above 0 to 100 and not 1; the repair sets it to 1.
    LockClock {
        /// 2: leases last half as long as their holders think.
        rate: f64,
    },
    /// Clients send this many times as much, above 1 to 100.
    Burst {
        /// Times the workload's rate.
        factor: f64,
    },
    /// Clients ask for rows that do not exist, each another one, beside the workload.
    Flood {
        /// Reads per second, 1 to 100,000.
        rate_per_s: u32,
    },
    /// Clients hang up: this share of the requests that are under way, above 0 to 1, is cancelled at once. It has no repair.
    HangUp {
        /// Of the requests under way.
        share: f64,
    },
}

/// The kinds of fault: what a [`FaultAction`] is without its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// [`FaultAction::Pause`]
    Pause,
    /// [`FaultAction::Kill`]
    Kill,
    /// [`FaultAction::Stop`]
    Stop,
    /// [`FaultAction::RollingRestart`]
    RollingRestart,
    /// [`FaultAction::ScaleOut`]
    ScaleOut,
    /// [`FaultAction::RedisRestartEmpty`]
    RedisRestartEmpty,
    /// [`FaultAction::RedisRestartAof`]
    RedisRestartAof,
    /// [`FaultAction::RedisFlush`]
    RedisFlush,
    /// [`FaultAction::RedisEvict`]
    RedisEvict,
    /// [`FaultAction::RedisPromote`]
    RedisPromote,
    /// [`FaultAction::Link`]
    Link,
    /// [`FaultAction::StuckQuery`]
    StuckQuery,
    /// [`FaultAction::LockClock`]
    LockClock,
    /// [`FaultAction::Burst`]
    Burst,
    /// [`FaultAction::Flood`]
    Flood,
    /// [`FaultAction::HangUp`]
    HangUp,
}

/// Processes of one part.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The part.
    pub part: FaultPart,
    /// Which of them. Parts that exist once have only [`Which::All`].
    pub which: Which,
}

/// Which of several processes.
#[derive(Debug, Clone, PartialEq)]
pub enum Which {
    /// Each one.
    All,
    /// So many, drawn from the seed.
    Some(u32),
    /// The largest number that is less than half, drawn from the seed.
    Minority,
    /// These, counted from 0.
    Index(Vec<u32>),
    /// The node that holds the fleet lock of this row now.
    Holder {
        /// The row's key.
        key: String,
    },
    /// A node that leads a flight of this row now: the origin works for it.
    Leader {
        /// The row's key.
        key: String,
    },
}

/// A part of the fleet that a fault can be done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultPart {
    /// The edge.
    Edge,
    /// Cache nodes.
    CacheNode,
    /// The lock service.
    LockService,
    /// The origin's process.
    Origin,
    /// Redis.
    Redis,
    /// The origin's database, where it is a process of its own.
    Database,
}

/// What cache nodes have links to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// Values and guarded writes.
    Redis,
    /// Leases.
    LockService,
    /// Rebuilds.
    Origin,
}

/// How bad a link is. The same on every backend: it is done in user space, between the node and its socket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LinkRule {
    /// Connections stay open, and nothing passes.
    BlackHole,
    /// Connections are reset, and new ones too.
    Reset,
    /// What is sent arrives later.
    Delay {
        /// Milliseconds each way, 1 to 60,000.
        delay_ms: u32,
        /// Up to so many milliseconds more, drawn anew for each piece.
        jitter_ms: u32,
    },
    /// Pieces are lost and sent again by TCP, which takes it 200 ms, and twice as long each further time.
    Loss {
        /// Share of the pieces, above 0 to 0.9.
        share: f64,
    },
}

/// A time relative to the faults of a rung: before the first is injected, until the last is repaired, and from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Until the first injection.
    Before,
    /// From the first injection to the last repair.
    During,
    /// From the last repair on.
    After,
}

impl FaultAction {
    /// Whether it is held and then undone. What has no repair is over as soon as it was done.
    #[must_use]
    pub fn has_repair(&self) -> bool {
        self.kind().has_repair()
    }

    /// Which cache nodes it is done to, or which of the part's processes; `None` where there is nothing to choose from.
    #[must_use]
    pub fn which(&self) -> Option<&Which> {
        match self {
            Self::Pause(target) | Self::Kill(target) | Self::Stop(target) => Some(&target.which),
            Self::Link { nodes, .. } => Some(nodes),
            _ => None,
        }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Pause(_) => FaultKind::Pause,
            Self::Kill(_) => FaultKind::Kill,
            Self::Stop(_) => FaultKind::Stop,
            Self::RollingRestart => FaultKind::RollingRestart,
            Self::ScaleOut { .. } => FaultKind::ScaleOut,
            Self::RedisRestartEmpty => FaultKind::RedisRestartEmpty,
            Self::RedisRestartAof => FaultKind::RedisRestartAof,
            Self::RedisFlush => FaultKind::RedisFlush,
            Self::RedisEvict { .. } => FaultKind::RedisEvict,
            Self::RedisPromote => FaultKind::RedisPromote,
            Self::Link { .. } => FaultKind::Link,
            Self::StuckQuery { .. } => FaultKind::StuckQuery,
            Self::LockClock { .. } => FaultKind::LockClock,
            Self::Burst { .. } => FaultKind::Burst,
            Self::Flood { .. } => FaultKind::Flood,
            Self::HangUp { .. } => FaultKind::HangUp,
        }
    }
}

impl FaultKind {
    /// Whether it is held and then undone.
    #[must_use]
    pub fn has_repair(self) -> bool {
        !matches!(
            self,
            Self::RollingRestart | Self::ScaleOut | Self::RedisFlush | Self::RedisPromote | Self::HangUp
        )
    }

    /// The same of a kind by its name, as records have it: also of what is no kind of a scenario's faults, such as a failing origin.
    #[must_use]
    pub fn name_has_repair(name: &str) -> bool {
        Self::ALL.iter().find(|kind| kind.name() == name).is_none_or(|kind| kind.has_repair())
    }

    /// What has happened once cannot happen again in the same rung.
    pub(crate) fn happens_once(self) -> bool {
        matches!(self, Self::ScaleOut | Self::RedisPromote)
    }

    /// Whether it changes what clients send: the load is drawn with it.
    pub(crate) fn is_load(self) -> bool {
        matches!(self, Self::Burst | Self::Flood)
    }
}

named!(FaultKind {
    "pause" => Pause,
    "kill" => Kill,
    "stop" => Stop,
    "rolling-restart" => RollingRestart,
    "scale-out" => ScaleOut,
    "redis-restart-empty" => RedisRestartEmpty,
    "redis-restart-aof" => RedisRestartAof,
    "redis-flush" => RedisFlush,
    "redis-evict" => RedisEvict,
    "redis-promote" => RedisPromote,
    "link" => Link,
    "stuck-query" => StuckQuery,
    "lock-clock" => LockClock,
    "burst" => Burst,
    "flood" => Flood,
    "hang-up" => HangUp,
});
named!(FaultPart {
    "edge" => Edge,
    "cache-node" => CacheNode,
    "lock-service" => LockService,
    "origin" => Origin,
    "redis" => Redis,
    "database" => Database,
});
named!(Peer { "redis" => Redis, "lock-service" => LockService, "origin" => Origin });
named!(Phase { "before" => Before, "during" => During, "after" => After });
