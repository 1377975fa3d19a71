//! Faults that cannot be in force together: the repair of one would undo the other, or what one took down cannot be changed and put
//! right by the other.
//!
//! The rule, for two faults that happen in the same rung and are held at the same time:
//! - What ends or freezes a process clashes with whatever else is done to that process, or lives in its memory: its links, its clock, its
//!   limit, its hanging queries. The origin and its database count as one.
//! - What is set in a process clashes with what sets the same: two rules for one link, two rates of one clock.
//! - Of cache nodes, those given by number are known; any other choice is made when the fault comes and may fall on every node.
//! - What clients do clashes with nothing: the load is drawn with all of it.
//!
//! A fault that waits for a rebuild is taken to find one at once, as for the window.

use std::fmt::Write as _;

use crate::fault::{Fault, FaultAction, FaultPart, Peer, Target, Which};

/// What the restart of one node is thought to take, milliseconds.
const RESTART_MS: u64 = 300;

/// Where two faults get into each other's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clash {
    /// When the first of both is held, from and until, milliseconds after the window's start.
    first_ms: (u64, u64),
    /// The same of the second.
    second_ms: (u64, u64),
    /// What both are done to.
    what: String,
    why: &'static str,
    /// Whether other nodes would do.
    may_choose: bool,
}

/// Where two faults clash, if they do: they do too if less than `apart_ms` lies between them. `nodes` is the fleet's size.
pub(crate) fn clash(first: &Fault, second: &Fault, nodes: u32, apart_ms: u64) -> Option<Clash> {
    if !first.meets(second) {
        return None;
    }
    let (one, other) = (Grip::of(&first.action)?, Grip::of(&second.action)?);
    let why = one.excludes(&other)?;
    let (first_ms, second_ms) = held(first, nodes).find_map(|one| {
        let meets = |other: &(u64, u64)| one.0 < other.1 + apart_ms && other.0 < one.1 + apart_ms;
        held(second, nodes).find(meets).map(|other| (one, other))
    })?;
    Some(Clash {
        first_ms,
        second_ms,
        what: one.what(&other),
        why,
        may_choose: one.part == FaultPart::CacheNode,
    })
}

/// How long one turn keeps its part busy, milliseconds.
pub(crate) fn taken_ms(fault: &Fault, nodes: u32) -> u64 {
    match fault.action {
        FaultAction::RollingRestart => restart_ms(nodes),
        _ => fault.for_ms.into(),
    }
}

/// What the restart of so many nodes, one after the other, is thought to take, milliseconds.
pub(crate) fn restart_ms(nodes: u32) -> u64 {
    u64::from(nodes) * RESTART_MS
}

/// When its last turn is over, milliseconds after the window's start.
pub(crate) fn ends_ms(fault: &Fault, nodes: u32) -> u64 {
    fault.ends_ms() - u64::from(fault.for_ms) + taken_ms(fault, nodes)
}

/// Each time that it keeps its part busy. What is over at once does so for a moment.
fn held(fault: &Fault, nodes: u32) -> impl Iterator<Item = (u64, u64)> {
    let taken_ms = taken_ms(fault, nodes).max(1);
    fault.holds_ms().map(move |(from_ms, _)| (from_ms, from_ms + taken_ms))
}

impl Clash {
    /// The mistake of the second fault; `first` is the other's name.
    pub(crate) fn told(&self, first: &str) -> String {
        let span = |(from_ms, until_ms): (u64, u64)| format!("from {from_ms} to {until_ms} ms");
        let mut told = format!(
            "it is held {} and fault {first:?} {}, both on {}: {}; let one be over before the other begins, or name other rungs",
            span(self.second_ms),
            span(self.first_ms),
            self.what,
            self.why
        );
        if self.may_choose {
            let _ = write!(told, ", or give each other nodes by index");
        }
        told
    }
}

/// What a fault keeps busy.
struct Grip<'a> {
    part: FaultPart,
    nodes: Nodes<'a>,
    hold: Hold,
}

#[derive(Clone, Copy)]
enum Nodes<'a> {
    /// Whichever.
    Any,
    These(&'a [u32]),
    /// From this number on.
    From(u32),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// The process itself: it is down.
    Process,
    /// Its data, for a moment.
    Data,
    /// How much memory it may use.
    Memory,
    Link(Peer),
    Queries,
    Clock,
}

impl<'a> Grip<'a> {
    /// Nothing for what clients do.
    fn of(action: &'a FaultAction) -> Option<Self> {
        let (part, nodes, hold) = match action {
            FaultAction::Pause(target) | FaultAction::Kill(target) | FaultAction::Stop(target) => {
                let Target { part, which } = target;
                let part = if *part == FaultPart::Database { FaultPart::Origin } else { *part };
                (part, Nodes::of(which), Hold::Process)
            }
            FaultAction::RollingRestart => (FaultPart::CacheNode, Nodes::Any, Hold::Process),
            FaultAction::ScaleOut { from } => (FaultPart::CacheNode, Nodes::From(*from), Hold::Process),
            FaultAction::RedisRestartEmpty | FaultAction::RedisRestartAof | FaultAction::RedisPromote => {
                (FaultPart::Redis, Nodes::Any, Hold::Process)
            }
            FaultAction::RedisFlush => (FaultPart::Redis, Nodes::Any, Hold::Data),
            FaultAction::RedisEvict { .. } => (FaultPart::Redis, Nodes::Any, Hold::Memory),
            FaultAction::Link { nodes, to, .. } => (FaultPart::CacheNode, Nodes::of(nodes), Hold::Link(*to)),
            FaultAction::StuckQuery { .. } => (FaultPart::Origin, Nodes::Any, Hold::Queries),
            FaultAction::LockClock { .. } => (FaultPart::LockService, Nodes::Any, Hold::Clock),
            FaultAction::Burst { .. } | FaultAction::Flood { .. } | FaultAction::HangUp { .. } => {
                return None;
            }
        };
        Some(Self { part, nodes, hold })
    }

    /// Why both cannot be in force at once; nothing if they can.
    fn excludes(&self, other: &Self) -> Option<&'static str> {
        if self.part != other.part || !self.nodes.meet(other.nodes) {
            return None;
        }
        match (self.hold, other.hold) {
            // Forgetting twice is harmless.
            (Hold::Data, Hold::Data) => None,
            (one, other) if one == other => Some("the repair of one would undo the other"),
            (Hold::Process, _) | (_, Hold::Process) => {
                Some("what is down can be neither changed nor seen to be put right")
            }
            _ => None,
        }
    }

    fn what(&self, other: &Self) -> String {
        let part = match (self.part, self.nodes, other.nodes) {
            (FaultPart::CacheNode, Nodes::These(one), Nodes::These(other)) => {
                let shared = one.iter().find(|index| other.contains(index));
                shared.map_or_else(|| self.part.to_string(), |index| format!("cache-node {index}"))
            }
            (FaultPart::CacheNode, ..) => "what may be the same cache-node".to_owned(),
            (part, ..) => part.to_string(),
        };
        match (self.hold, other.hold) {
            (Hold::Link(to), Hold::Link(_)) => format!("the link of {part} to {to}"),
            _ => part,
        }
    }
}

impl<'a> Nodes<'a> {
    fn of(which: &'a Which) -> Self {
        match which {
            Which::Index(index) => Self::These(index),
            Which::All | Which::Some(_) | Which::Minority | Which::Holder { .. } | Which::Leader { .. } => {
                Self::Any
            }
        }
    }

    fn meet(self, other: Self) -> bool {
        match (self, other) {
            (Self::These(one), Self::These(other)) => one.iter().any(|index| other.contains(index)),
            (Self::From(from), Self::These(index)) | (Self::These(index), Self::From(from)) => {
                index.iter().any(|index| *index >= from)
            }
            // Nodes that do not run yet are chosen by number only.
            (Self::From(_), Self::Any) | (Self::Any, Self::From(_)) => false,
            (Self::Any, _) | (_, Self::Any) | (Self::From(_), Self::From(_)) => true,
        }
    }
}
