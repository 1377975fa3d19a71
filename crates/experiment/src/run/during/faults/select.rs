//! Who is hit: a fault's targets, by role, by number, by the seed, or by what they do just now.

use super::{
    Ground, part_of,
    witness::{self, Lead},
};
use crate::testbed::Part;
use herd_scenario::{Fault, FaultAction, Target as Wanted, Which};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// What clients are called in records.
const CLIENTS: &str = "clients";

/// One thing that a fault is done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The part; none for clients.
    pub(super) part: Option<Part>,
    /// Counts from 0 within the part.
    pub(super) index: u32,
    /// As it stands in records: the instance of a cache node, else the part's name.
    pub(super) name: String,
}

impl Target {
    fn once(part: Part) -> Self {
        Self { part: Some(part), index: 0, name: part.to_string() }
    }
}

/// The targets of one turn, ordered by index. `seen` is the rebuild that the turn waited for.
///
/// # Errors
/// Why there are none.
pub(super) async fn targets(
    ground: Ground<'_>,
    fault: &Fault,
    turn: u32,
    seen: Option<Lead>,
) -> Result<Vec<Target>, String> {
    let node = |which| Wanted { part: herd_scenario::FaultPart::CacheNode, which };
    match &fault.action {
        FaultAction::Pause(wanted) | FaultAction::Kill(wanted) | FaultAction::Stop(wanted) => {
            of_part(ground, fault, turn, wanted, seen).await
        }
        FaultAction::Link { nodes, .. } => of_part(ground, fault, turn, &node(nodes.clone()), seen).await,
        FaultAction::RollingRestart => of_part(ground, fault, turn, &node(Which::All), seen).await,
        FaultAction::ScaleOut { from } => {
            let all = ground.stage().plan.scenario.fleet.nodes;
            named(ground, (*from..all).collect()).await
        }
        FaultAction::RedisRestartEmpty
        | FaultAction::RedisRestartAof
        | FaultAction::RedisFlush
        | FaultAction::RedisEvict { .. }
        | FaultAction::RedisPromote => Ok(vec![Target::once(Part::Redis)]),
        FaultAction::StuckQuery { .. } => Ok(vec![Target::once(Part::Origin)]),
        FaultAction::LockClock { .. } => Ok(vec![Target::once(Part::LockService)]),
        FaultAction::Burst { .. } | FaultAction::Flood { .. } | FaultAction::HangUp { .. } => {
            Ok(vec![Target { part: None, index: 0, name: CLIENTS.to_owned() }])
        }
    }
}

/// What a turn is recorded under that found no target: the part that it would have hit.
pub(super) fn part_name(action: &FaultAction) -> String {
    match action {
        FaultAction::Pause(wanted) | FaultAction::Kill(wanted) | FaultAction::Stop(wanted) => {
            part_of(wanted.part).to_string()
        }
        FaultAction::Link { .. } | FaultAction::RollingRestart | FaultAction::ScaleOut { .. } => {
            Part::CacheNode.to_string()
        }
        FaultAction::RedisRestartEmpty
        | FaultAction::RedisRestartAof
        | FaultAction::RedisFlush
        | FaultAction::RedisEvict { .. }
        | FaultAction::RedisPromote => Part::Redis.to_string(),
        FaultAction::StuckQuery { .. } => Part::Origin.to_string(),
        FaultAction::LockClock { .. } => Part::LockService.to_string(),
        FaultAction::Burst { .. } | FaultAction::Flood { .. } | FaultAction::HangUp { .. } => {
            CLIENTS.to_owned()
        }
    }
}

async fn of_part(
    ground: Ground<'_>,
    fault: &Fault,
    turn: u32,
    wanted: &Wanted,
    seen: Option<Lead>,
) -> Result<Vec<Target>, String> {
    let part = part_of(wanted.part);
    if part != Part::CacheNode {
        return Ok(vec![Target::once(part)]);
    }
    let nodes = ground.stage().plan.scenario.fleet.nodes;
    let up = || (0..nodes).filter(|index| !ground.faults.in_force.is_down(part, *index)).collect();
    let seed = ground.stage().plan.scenario.seed;
    let indices = match &wanted.which {
        Which::All => up(),
        Which::Some(count) => drawn(up(), *count, (seed, &fault.name, turn)),
        Which::Minority => {
            let up: Vec<u32> = up();
            let minority = (up.len() as u32).saturating_sub(1) / 2;
            drawn(up, minority, (seed, &fault.name, turn))
        }
        Which::Index(indices) => indices.clone(),
        Which::Holder { key } => {
            if !ground.has_lock() {
                return Err("no node holds a lock: this rung has none".to_owned());
            }
            vec![index_of(ground, at_once_or(seen, witness::holder(ground, key)).await?).await?]
        }
        Which::Leader { key } => {
            let node = at_once_or(seen, witness::leader(ground, key)).await?;
            if !witness::leads(ground, key, &node).await? {
                return Err(format!("{node} did not rebuild {key} any more when it was to be hit"));
            }
            vec![index_of(ground, node).await?]
        }
    };
    if indices.is_empty() {
        return Err("there are none of which it could be one".to_owned());
    }
    named(ground, indices).await
}

/// The node of the rebuild that was waited for, or the one that a look finds.
async fn at_once_or(
    seen: Option<Lead>,
    look: impl Future<Output = Result<Lead, String>>,
) -> Result<String, String> {
    match seen {
        Some(lead) => Ok(lead.node),
        None => Ok(look.await?.node),
    }
}

async fn index_of(ground: Ground<'_>, node: String) -> Result<u32, String> {
    let nodes = ground.stage().plan.scenario.fleet.nodes;
    let all = named(ground, (0..nodes).collect()).await?;
    let found = all.into_iter().find(|target| target.name == node);
    found.map(|target| target.index).ok_or_else(|| format!("{node} is not one of the fleet's nodes"))
}

/// Cache nodes by their names; where there is no testbed, those of the control plane.
async fn named(ground: Ground<'_>, indices: Vec<u32>) -> Result<Vec<Target>, String> {
    let names = match ground.hands().instances(Part::CacheNode, &indices).await {
        Ok(names) => names,
        Err(why) => {
            let view = ground.stage().control.view();
            let joined: Vec<&str> = view.nodes().map(|node| node.instance.as_str()).collect();
            let name = |index: &u32| joined.get(*index as usize).map(|name| (*name).to_owned());
            indices.iter().map(name).collect::<Option<_>>().ok_or(why)?
        }
    };
    let target = |(index, name)| Target { part: Some(Part::CacheNode), index, name };
    Ok(indices.into_iter().zip(names).map(target).collect())
}

/// So many of them, by the seed, the fault's name and its turn; ordered.
pub(super) fn drawn(mut from: Vec<u32>, count: u32, (seed, fault, turn): (u64, &str, u32)) -> Vec<u32> {
    let count = (count as usize).min(from.len());
    let mut draw = StdRng::seed_from_u64(stream(seed, fault, turn));
    for place in 0..count {
        let other = draw.random_range(place..from.len());
        from.swap(place, other);
    }
    from.truncate(count);
    from.sort_unstable();
    from
}

/// A seed for what one turn of one fault draws, the same in every rung (FNV-1a over name and turn).
pub(super) fn stream(seed: u64, fault: &str, turn: u32) -> u64 {
    let bytes = fault.bytes().chain(turn.to_le_bytes());
    let mixed = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    seed ^ bytes.fold(0xcbf2_9ce4_8422_2325, mixed)
}
