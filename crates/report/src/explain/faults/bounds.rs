//! What bound a fault leaves, with the scenario's numbers, and what breaks that.

use herd_scenario::{Fault, FaultAction, FaultPart, Layer, LinkRule, OnUnavailable, Peer, Target, Which};

use super::super::numbers::{Numbers, number};
use super::peer_told;
use crate::words::count;

/// Two or three sentences.
pub(super) fn of(numbers: &Numbers<'_>, fault: &Fault) -> String {
    match &fault.action {
        FaultAction::Pause(target) if is_held(target) => paused_holder(numbers, fault),
        FaultAction::Kill(target) | FaultAction::Stop(target) if is_held(target) => {
            killed_holder(numbers, fault)
        }
        FaultAction::Pause(target) | FaultAction::Kill(target) | FaultAction::Stop(target) => {
            match target.part {
                FaultPart::LockService => lock_away(numbers, numbers.nodes()),
                FaultPart::Redis => store_away(numbers, fault),
                FaultPart::CacheNode => node_away(numbers),
                FaultPart::Edge => {
                    "While the edge is away no request is answered; no rebuild is added.".to_owned()
                }
                FaultPart::Origin | FaultPart::Database => origin_away(numbers, fault),
            }
        }
        FaultAction::Link { nodes, to, rule } => link(numbers, hit(numbers, nodes), *to, *rule),
        FaultAction::RollingRestart => node_away(numbers),
        FaultAction::ScaleOut { from } => scale_out(numbers, *from),
        FaultAction::RedisRestartAof => store_away(numbers, fault),
        FaultAction::RedisRestartEmpty | FaultAction::RedisFlush => {
            format!(
                "Every key is cold at once, and each costs {}.{}",
                numbers.coalesced(),
                leases_lost(numbers, fault)
            )
        }
        FaultAction::RedisPromote => format!(
            "It knows what was cached before the load began, and nothing since: a key that has expired by then is cold, and costs {}.{}",
            numbers.coalesced(),
            leases_lost(numbers, fault)
        ),
        FaultAction::RedisEvict { .. } => format!(
            "An evicted value is a boundary before its time: each costs {}.{}",
            numbers.coalesced(),
            if numbers.rung.has(Layer::Lock) { " An evicted lease lets in one rebuild more." } else { "" }
        ),
        FaultAction::StuckQuery { queries } => stuck(numbers, *queries),
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
    let kills = match fault.times {
        1 => String::new(),
        more => format!(" ({} of them)", count(more.into())),
    };
    format!(
        "Its lease ends by itself: the next rebuild starts within E = {} ms, 1 rebuild more for each kill{kills}, and no reader waits longer \
         than E + D = {} ms or its own patience. An expiry that is long against D breaks the wait, not the herd.",
        count(wait_ms),
        count(wait_ms + numbers.rebuild_ms())
    )
}

/// `nodes` have a bad link to a part.
fn link(numbers: &Numbers<'_>, nodes: u64, to: Peer, rule: LinkRule) -> String {
    let late = match rule {
        LinkRule::Delay { delay_ms, jitter_ms: 0 } => {
            format!("There and back over the link takes {} ms longer", count(2 * u64::from(delay_ms)))
        }
        LinkRule::Delay { delay_ms, jitter_ms } => {
            let (least, most) = (u64::from(delay_ms), u64::from(delay_ms) + u64::from(jitter_ms));
            format!(
                "There and back over the link takes {} to {} ms longer",
                count(2 * least),
                count(2 * most)
            )
        }
        LinkRule::Loss { share } => {
            let unharmed = (1.0 - share) * (1.0 - share);
            let harmed = (1.0 - unharmed) * 100.0;
            format!(
                "Of what goes there and back over the link {harmed:.0} % takes 200 ms longer, or more, as it is sent again"
            )
        }
        LinkRule::BlackHole | LinkRule::Reset => return cut_off(numbers, nodes, to),
    };
    let slower = match to {
        Peer::Redis => "each read and each write of the cache, so that hits are slower and D grows",
        Peer::LockService => "the grant and the release of each lease, so that waiters wait longer",
        Peer::Origin => "each rebuild, so that D and r*D grow",
    };
    format!(
        "{late}: that delays {slower}. What coalesces keeps its bound. A time-out that is shorter than that \
         makes it a link to {} over which nothing passes.",
        peer_told(to)
    )
}

/// `nodes` cannot reach a part.
fn cut_off(numbers: &Numbers<'_>, nodes: u64, to: Peer) -> String {
    match to {
        Peer::LockService => lock_away(numbers, nodes),
        Peer::Redis => "A node that cannot read the cache tells its readers so at once, and asks the origin for nothing: errors for as long as it \
                        lasts, and no herd. A rebuild that ends meanwhile cannot write its value, and is done again by the next reader."
            .to_owned(),
        Peer::Origin if numbers.rung.has(Layer::Lock) => {
            "A node that cannot reach the origin and holds the lock keeps the others waiting until its rebuild's deadline: the wait grows, not the \
             herd."
                .to_owned()
        }
        Peer::Origin => "A node that cannot reach the origin fails its rebuilds, and with them the readers that wait for them: errors there, and \
                         no rebuild more."
            .to_owned(),
    }
}

fn stuck(numbers: &Numbers<'_>, queries: u32) -> String {
    let pool = numbers.scenario.fleet.origin_pool;
    match pool.saturating_sub(queries) {
        0 => format!(
            "They hold the whole pool of {}: every rebuild waits until they are let go, or for its deadline.",
            count(pool.into())
        ),
        left => format!(
            "The pool of {} has {} left; D grows by the wait for a connection.",
            count(pool.into()),
            count(left.into())
        ),
    }
}

/// Row 7 of the bounds; `nodes` cannot reach the lock service.
fn lock_away(numbers: &Numbers<'_>, nodes: u64) -> String {
    let Some(lock) = &numbers.rung.lock else {
        return "The rung has no lock: nothing changes.".to_owned();
    };
    let all = numbers.nodes();
    match lock.on_unavailable {
        OnUnavailable::FailOpen if !numbers.rung.has(Layer::SingleFlight) => format!(
            "Fail-open: without leases each reader there rebuilds for itself, {} at one boundary where all are. Single-flight under the lock \
             would leave one in each process.",
            numbers.unlocked().1
        ),
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

/// Redis does not answer, and comes back with what it had.
fn store_away(numbers: &Numbers<'_>, fault: &Fault) -> String {
    let has_lock = numbers.rung.has(Layer::Lock);
    let (seen, back, breaks) = if matches!(fault.action, FaultAction::Pause(_)) {
        (
            "once its time-out is over",
            if has_lock { "Nothing is lost, no lease either" } else { "Nothing is lost" },
            "",
        )
    } else {
        (
            "at once",
            if has_lock {
                "What it had acknowledged comes back from its append-only file, leases too"
            } else {
                "What it had acknowledged comes back from its append-only file"
            },
            " A file that was not written makes it a Redis that came back empty.",
        )
    };
    format!(
        "While it is away a read of the cache is an error that its reader sees {seen}, and no rebuild: the origin is left alone. {back}; a key \
         that expired meanwhile is a boundary like any other and costs {}.{breaks}",
        numbers.coalesced()
    )
}

/// Row 6 of the bounds.
fn leases_lost(numbers: &Numbers<'_>, fault: &Fault) -> String {
    if !numbers.rung.has(Layer::Lock) {
        return String::new();
    }
    let more = u64::from(fault.times.min(restarts_within(numbers, fault)));
    format!(
        " A lease that is lost while a rebuild runs lets in another: 1 + losses during D = 1 + {} = {} at that boundary. A new epoch and tokens \
         from durable storage keep old writers out; tokens that are counted in Redis would be handed out again.",
        count(more),
        count(more + 1)
    )
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
