//! What the faults of a rung do to its bound, with the scenario's numbers, and what breaks what is left of it.

use herd_scenario::{
    Fault, FaultAction, FaultPart, Layer, LinkRule, OnUnavailable, Once, Peer, Target, Which,
};

use super::numbers::{Numbers, number};
use crate::words::count;

/// Two or three sentences for each fault of the rung: what is done, what bound that leaves, what breaks it.
pub(super) fn of(numbers: &Numbers<'_>) -> Vec<String> {
    let faults = numbers.scenario.faults_of(&numbers.rung.name);
    faults.map(|fault| format!("{} {}", done(fault), bound(numbers, fault))).collect()
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
        FaultAction::RedisRestartEmpty => "Redis restarts with nothing on disk".to_owned(),
        FaultAction::RedisRestartAof => "Redis restarts with its append-only file".to_owned(),
        FaultAction::RedisFlush => "Redis forgets everything".to_owned(),
        FaultAction::RedisEvict { room_kb } => {
            format!("Redis has {} kB left and evicts", count((*room_kb).into()))
        }
        FaultAction::RedisPromote => "a replica that had stopped hearing Redis takes its place".to_owned(),
        FaultAction::Link { nodes, to, rule } => {
            format!("the link from {} to the {} {}", which_told(nodes), to.name(), rule_told(*rule))
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
    let once = match &fault.once {
        Once::Now => String::new(),
        Once::Rebuild { key, after_ms: 0 } => format!(", once a rebuild of {key} is under way,"),
        Once::Rebuild { key, after_ms } => {
            format!(", once {} ms into a rebuild of {key},", count((*after_ms).into()))
        }
    };
    let held =
        if fault.for_ms == 0 { String::new() } else { format!(" for {} ms", count(fault.for_ms.into())) };
    let times = match fault.times {
        1 => String::new(),
        more => format!(", {} times, every {} ms", count(more.into()), count(fault.every_ms.into())),
    };
    format!("Fault {}: from {} ms on{once} {what}{held}{times}.", fault.name, count(fault.at_ms.into()))
}

fn target_told(target: &Target) -> String {
    match (target.part, &target.which) {
        (FaultPart::CacheNode, which) => which_told(which),
        (part, _) => format!("the {}", part.name()),
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
            format!("cache node {}", list.join(", "))
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

/// What bound it leaves, and what breaks that.
fn bound(numbers: &Numbers<'_>, fault: &Fault) -> String {
    match &fault.action {
        FaultAction::Pause(target) if is_held(target) => paused_holder(numbers, fault),
        FaultAction::Kill(target) | FaultAction::Stop(target) if is_held(target) => killed_holder(numbers, fault),
        FaultAction::Pause(target) | FaultAction::Kill(target) | FaultAction::Stop(target) => match target.part {
            FaultPart::LockService => lock_away(numbers, numbers.nodes()),
            FaultPart::Redis => store_lost(numbers, fault),
            FaultPart::CacheNode => node_away(numbers),
            FaultPart::Edge => "While the edge is away no request is answered; no rebuild is added.".to_owned(),
            FaultPart::Origin | FaultPart::Database => origin_away(numbers, fault),
        },
        FaultAction::Link { nodes, to: Peer::LockService, .. } => lock_away(numbers, hit(numbers, nodes)),
        FaultAction::Link { to: Peer::Redis, .. } => {
            "Nodes that cannot read the cache miss at every read: what they ask of the origin is bounded by what coalesces in each \
             process and by the lock, not by the TTL."
                .to_owned()
        }
        FaultAction::Link { to: Peer::Origin, .. } => {
            "A node that cannot reach the origin and holds the lock keeps the others waiting until its rebuild's deadline: the wait grows, \
             not the herd."
                .to_owned()
        }
        FaultAction::RollingRestart => node_away(numbers),
        FaultAction::ScaleOut { from } => scale_out(numbers, *from),
        FaultAction::RedisRestartEmpty
        | FaultAction::RedisRestartAof
        | FaultAction::RedisFlush
        | FaultAction::RedisPromote => store_lost(numbers, fault),
        FaultAction::RedisEvict { .. } => format!(
            "An evicted value is a boundary before its time: each costs {}. Evicted leases let in one rebuild more.",
            numbers.coalesced()
        ),
        FaultAction::StuckQuery { queries } => format!(
            "The pool of {} has {} left; D grows by the wait for a connection.",
            count(numbers.scenario.fleet.origin_pool.into()),
            count(numbers.scenario.fleet.origin_pool.saturating_sub(*queries).into())
        ),
        FaultAction::LockClock { rate } => lock_clock(numbers, *rate),
        FaultAction::Burst { factor } => format!(
            "r grows to {}/s, and r*D to {}; what coalesces keeps its bound, which does not depend on r.",
            number(numbers.hot_rate() * factor),
            number(numbers.crowd() * factor)
        ),
        FaultAction::Flood { rate_per_s } => flood(numbers, *rate_per_s),
        FaultAction::HangUp { .. } => hung_up(numbers),
    }
}

fn is_held(target: &Target) -> bool {
    matches!(target.which, Which::Holder { .. } | Which::Leader { .. })
}

/// How many nodes a choice hits at most.
fn hit(numbers: &Numbers<'_>, which: &Which) -> u64 {
    match which {
        Which::All => numbers.nodes(),
        Which::Some(some) => u64::from(*some).min(numbers.nodes()),
        Which::Minority => numbers.nodes().saturating_sub(1) / 2,
        Which::Index(list) => list.len() as u64,
        Which::Holder { .. } | Which::Leader { .. } => 1,
    }
}

/// Row 5 of the bounds.
fn paused_holder(numbers: &Numbers<'_>, fault: &Fault) -> String {
    let Some(lock) = &numbers.rung.lock else {
        return "Nobody takes its place: readers of its process wait until it goes on.".to_owned();
    };
    let (expiry, held) = (u64::from(lock.expiry_ms), u64::from(fault.for_ms));
    let (expiry_told, held_told) = (count(expiry), count(held));
    if held <= expiry {
        return format!(
            "The pause of {held_told} ms does not outlast E = {expiry_told} ms: the bound stays 1 rebuild, if renewal or E >= D holds."
        );
    }
    format!(
        "The pause of {held_told} ms outlasts E = {expiry_told} ms: 1 rebuild, plus 1 for each such pause = 1 + 1 = 2 at that boundary. {}",
        if numbers.rung.write_guard == herd_scenario::WriteGuard::Fenced {
            "The fence refuses the late write, so that 1 is accepted. A token that repeats would break that."
        } else {
            "Nothing refuses the late write: it overwrites the newer value."
        }
    )
}

fn killed_holder(numbers: &Numbers<'_>, fault: &Fault) -> String {
    let Some(lock) = &numbers.rung.lock else {
        return "Its readers go with it, and others lead: 1 rebuild more for each kill.".to_owned();
    };
    let wait_ms = u64::from(lock.expiry_ms);
    format!(
        "Its lease ends by itself: the next rebuild starts within E = {} ms, 1 rebuild more for each kill ({} of them), and no reader waits longer \
         than E + D = {} ms or its own patience. An expiry that is long against D breaks the wait, not the herd.",
        count(wait_ms),
        count(fault.times.into()),
        count(wait_ms + numbers.rebuild_ms())
    )
}

/// Row 7 of the bounds; `nodes` cannot reach the lock service.
fn lock_away(numbers: &Numbers<'_>, nodes: u64) -> String {
    let Some(lock) = &numbers.rung.lock else {
        return "The rung has no lock: nothing changes.".to_owned();
    };
    let all = numbers.nodes();
    match lock.on_unavailable {
        OnUnavailable::FailOpen if nodes >= all => format!(
            "Fail-open: without leases each process rebuilds for itself, at most N = {} at one boundary, and no more as single-flight \
             holds. A process without single-flight would break that.",
            count(all)
        ),
        OnUnavailable::FailOpen => format!(
            "Fail-open: the {} that cannot reach it rebuild for themselves beside the holder, at most 1 + {} = {} at one boundary.",
            count(nodes),
            count(nodes),
            count(nodes + 1)
        ),
        OnUnavailable::FailClosed => format!(
            "Fail-closed: 0 rebuilds by the {} without the lock service; their readers get {}. An outage that is longer than that lasts is \
             an outage for the readers.",
            count(nodes),
            match numbers.grace_ms() {
                0 => "a clear error".to_owned(),
                grace => format!("the expired value for G = {} ms, then a clear error", count(grace)),
            }
        ),
    }
}

/// Row 6 of the bounds.
fn store_lost(numbers: &Numbers<'_>, fault: &Fault) -> String {
    let keeps = matches!(fault.action, FaultAction::RedisRestartAof | FaultAction::Pause(_));
    let herd = numbers.coalesced();
    let away = if keeps {
        "What was on disk comes back; what was not is lost as from an empty restart. "
    } else {
        ""
    };
    let lock = if numbers.rung.has(Layer::Lock) {
        format!(
            "A lease that is lost while a rebuild runs lets in another: 1 + restarts during D = 1 + {} at that boundary. A new epoch and \
             tokens from durable storage keep old writers out; tokens that are counted in Redis would be handed out again.",
            count(fault.times.min(restarts_within(numbers, fault)).into())
        )
    } else {
        String::new()
    };
    format!("{away}Every key is cold at once, and each costs {herd}. {lock}").trim_end().to_owned()
}

/// Turns that can fall into one rebuild.
fn restarts_within(numbers: &Numbers<'_>, fault: &Fault) -> u32 {
    let every = u64::from(fault.every_ms).max(1);
    if fault.times <= 1 { 1 } else { u32::try_from(1 + numbers.rebuild_ms() / every).unwrap_or(u32::MAX) }
}

fn node_away(numbers: &Numbers<'_>) -> String {
    format!(
        "A node that is away takes its requests with it until the edge sends them elsewhere; a rebuild that it led is begun again: 1 more for \
         each, beside {}.",
        numbers.coalesced()
    )
}

fn origin_away(numbers: &Numbers<'_>, fault: &Fault) -> String {
    let (held, rebuild) = (u64::from(fault.for_ms), numbers.rebuild_ms());
    format!(
        "Rebuilds fail or hang for {} ms: with shared errors at most ceil({}/{}) = {} calls in each process; readers get {}.",
        count(held),
        count(held),
        count(rebuild),
        count(held.div_ceil(rebuild.max(1))),
        if numbers.grace_ms() > 0 {
            "the expired value within its grace"
        } else {
            "an error once the value is expired"
        }
    )
}

fn scale_out(numbers: &Numbers<'_>, from: u32) -> String {
    let (from, to) = (u64::from(from), numbers.nodes());
    if numbers.rung.has(Layer::Lock) || numbers.owned() {
        return format!("The bound does not depend on N: {}, before and after.", numbers.coalesced());
    }
    if numbers.rung.has(Layer::SingleFlight) {
        return format!("The bound grows with N, from {} to {} at one boundary.", count(from), count(to));
    }
    "Nothing coalesces: the herd is r*D whatever N is, as far as each node carries its load.".to_owned()
}

fn lock_clock(numbers: &Numbers<'_>, rate: f64) -> String {
    let Some(lock) = &numbers.rung.lock else {
        return "The rung has no lock: nothing changes.".to_owned();
    };
    let real_ms = f64::from(lock.expiry_ms) / rate;
    let rebuild = numbers.rebuild_ms();
    let starts = (rebuild as f64 / real_ms.max(1.0)).ceil().max(1.0);
    format!(
        "Leases of E = {} ms end after {} ms: {} rebuilds at one boundary without renewal, ceil(D*rate/E), and the fence accepts 1 write.",
        count(lock.expiry_ms.into()),
        number(real_ms),
        number(starts)
    )
}

fn flood(numbers: &Numbers<'_>, rate_per_s: u32) -> String {
    if numbers.rung.has(Layer::KeyFilter) {
        return "The filter of existing keys answers them without the origin, but for its false positives."
            .to_owned();
    }
    let gate = if numbers.rung.has(Layer::Shed) { ", as far as the gate lets them in" } else { "" };
    format!(
        "Each is another row, so that no remembered absence helps: {} queries a second at the origin{gate}. Only a filter of existing keys or \
         admission bounds that.",
        count(rate_per_s.into())
    )
}

fn hung_up(numbers: &Numbers<'_>) -> String {
    let base = if numbers.rung.has(Layer::Lock) {
        "1".to_owned()
    } else if numbers.rung.has(Layer::SingleFlight) {
        format!("N = {}", count(numbers.nodes()))
    } else {
        numbers.crowd_told()
    };
    format!(
        "A rebuild belongs to no one reader: at most {base} + the cancelled ones at that boundary, and no waiter is stranded. A leader whose end \
         ends its flight would break that."
    )
}
