//! What the faults of a rung do to its bound, with the scenario's numbers, and what breaks what is left of it.

mod bounds;

use herd_scenario::{Fault, FaultAction, FaultPart, LinkRule, Once, Peer, Target, Which};

use super::numbers::Numbers;
use crate::words::count;

/// Two or three sentences for each fault of the rung: what is done, what bound that leaves, what breaks it.
pub(super) fn of(numbers: &Numbers<'_>) -> Vec<String> {
    let faults = numbers.scenario.faults_of(&numbers.rung.name);
    faults.map(|fault| format!("{} {}", done(fault), bounds::of(numbers, fault))).collect()
}

/// What is done, when, to which.
fn done(fault: &Fault) -> String {
    let what = match &fault.action {
        FaultAction::Pause(target) => format!("{} is frozen", target_told(target)),
        FaultAction::Kill(target) => format!("{} is killed", target_told(target)),
        FaultAction::Stop(target) => format!("{} is asked to end", target_told(target)),
        FaultAction::RollingRestart => "each cache node restarts in turn".to_owned(),
        FaultAction::ScaleOut { from } => {
            format!("the cache nodes beyond the first {} start", count((*from).into()))
        }
        FaultAction::RedisRestartEmpty | FaultAction::RedisRestartAof => "Redis is killed".to_owned(),
        FaultAction::RedisFlush => "Redis forgets everything".to_owned(),
        FaultAction::RedisEvict { room_kb } => {
            format!("Redis has {} kB left and evicts", count((*room_kb).into()))
        }
        FaultAction::RedisPromote => "a replica that had stopped hearing Redis takes its place".to_owned(),
        FaultAction::Link { nodes, to, rule } => {
            format!("the link from {} to {} {}", which_told(nodes), peer_told(*to), rule_told(*rule))
        }
        FaultAction::StuckQuery { queries } => match queries {
            1 => "1 query of the origin hangs with its connection".to_owned(),
            more => format!("{} queries of the origin hang with their connections", count((*more).into())),
        },
        FaultAction::LockClock { rate } => format!("the lock service's clock runs at {rate} times its rate"),
        FaultAction::Burst { factor } => format!("clients send {factor} times as much"),
        FaultAction::Flood { rate_per_s } => {
            format!("clients also ask for {} rows a second that do not exist", count((*rate_per_s).into()))
        }
        FaultAction::HangUp { share } => {
            format!("clients hang up {:.0} % of the requests that are under way", share * 100.0)
        }
    };
    let at = count(fault.at_ms.into());
    let when = match &fault.once {
        Once::Now => format!("at {at} ms"),
        Once::Rebuild { key, after_ms: 0 } => format!("as soon as a rebuild of {key} begins after {at} ms"),
        Once::Rebuild { key, after_ms } => {
            format!(
                "{} ms into the first rebuild of {key} that begins after {at} ms",
                count((*after_ms).into())
            )
        }
    };
    let held = count(fault.for_ms.into());
    let told = match &fault.action {
        FaultAction::Kill(_) | FaultAction::Stop(_) => {
            format!("{when} {what}, and started again after {held} ms")
        }
        FaultAction::RedisRestartEmpty => {
            format!("{when} {what}, and started again after {held} ms with nothing on disk")
        }
        FaultAction::RedisRestartAof => {
            format!("{when} {what}, and started again after {held} ms with its append-only file")
        }
        action if action.has_repair() => format!("{when}, for {held} ms, {what}"),
        _ => format!("{when} {what}"),
    };
    let times = match fault.times {
        1 => String::new(),
        more => format!(", {} times, every {} ms", count(more.into()), count(fault.every_ms.into())),
    };
    format!("Fault {}: {told}{times}.", fault.name)
}

fn target_told(target: &Target) -> String {
    match (target.part, &target.which) {
        (FaultPart::CacheNode, which) => which_told(which),
        (FaultPart::Edge, _) => "the edge".to_owned(),
        (FaultPart::LockService, _) => "the lock service".to_owned(),
        (FaultPart::Origin, _) => "the origin".to_owned(),
        (FaultPart::Redis, _) => "Redis".to_owned(),
        (FaultPart::Database, _) => "the origin's database".to_owned(),
    }
}

fn peer_told(to: Peer) -> &'static str {
    match to {
        Peer::Redis => "Redis",
        Peer::LockService => "the lock service",
        Peer::Origin => "the origin",
    }
}

fn which_told(which: &Which) -> String {
    match which {
        Which::All => "every cache node".to_owned(),
        Which::Some(1) => "a cache node".to_owned(),
        Which::Some(some) => format!("each of {} cache nodes", count((*some).into())),
        Which::Minority => "each of a minority of the cache nodes".to_owned(),
        Which::Index(list) => {
            let list: Vec<String> = list.iter().map(ToString::to_string).collect();
            match &list[..] {
                [one] => format!("cache node {one}"),
                many => format!("each of the cache nodes {}", many.join(", ")),
            }
        }
        Which::Holder { key } => format!("the node that holds the lock of {key}"),
        Which::Leader { key } => format!("a node that leads a flight of {key}"),
    }
}

fn rule_told(rule: LinkRule) -> String {
    match rule {
        LinkRule::BlackHole => "lets nothing pass, and stays open".to_owned(),
        LinkRule::Reset => "resets every connection".to_owned(),
        LinkRule::Delay { delay_ms, jitter_ms: 0 } => format!("delays by {} ms", count(delay_ms.into())),
        LinkRule::Delay { delay_ms, jitter_ms } => {
            format!("delays by {} ms and up to {} ms more", count(delay_ms.into()), count(jitter_ms.into()))
        }
        LinkRule::Loss { share } => format!("loses {:.0} % of the pieces", share * 100.0),
    }
}
