//! Nothing at all, the layers that make many rebuilds of one key into few, and all layers together.

use herd_scenario::{Layer, Lock, OnUnavailable, OnWaitTimeout, WriteGuard};

use super::numbers::{Numbers, number};
use super::{Entry, herd};
use crate::words::count;

pub(super) fn nothing(numbers: &Numbers<'_>) -> Entry {
    Entry {
        herd: herd(None),
        does: "Nothing stands between a miss and the origin: from the expiry to the first write every reader that misses starts a \
               rebuild of its own."
            .to_owned(),
        bound: format!("None. About {} rebuilds start at each boundary, whatever N is.", numbers.crowd_told()),
        short: format!("about {} rebuilds at a boundary", numbers.crowd_told()),
        breaks: "There is nothing to break. It feeds itself: a herd that slows the origin makes D longer, and a longer D lets more \
                 readers in."
            .to_owned(),
        next: "The whole herd. Single-flight makes it one rebuild in each process.".to_owned(),
    }
}

pub(super) fn single_flight(numbers: &Numbers<'_>) -> Entry {
    let nodes = count(numbers.nodes());
    let (fleet, short, left) = if numbers.owned() {
        let one = "1 for the fleet, because the edge sends a key to one process";
        (
            one.to_owned(),
            "1 at once, in the key's owner".to_owned(),
            "Membership changes move a key's owner.".to_owned(),
        )
    } else {
        (
            format!(
                "at most N = {nodes} for the fleet at each boundary, where without it about {} would start",
                numbers.crowd_told()
            ),
            format!("1 at once in each process, at most N = {nodes} for the fleet"),
            format!(
                "One rebuild in each of {nodes} processes. Only a lock or owner routing makes it one for the fleet."
            ),
        )
    };
    let failing = numbers.scenario.origin.failing.map_or_else(String::new, |failing| {
        // One may be under way when it begins.
        let rounds = u64::from(failing.for_ms).div_ceil(numbers.rebuild_ms()) + 1;
        format!(
            " While the origin fails an error is shared by all who wait: at most ceil(window/D) + 1 = ceil({}/{}) + 1 = {rounds} calls a \
             process.",
            count(failing.for_ms.into()),
            count(numbers.rebuild_ms())
        )
    });
    Entry {
        herd: herd(Some(Layer::SingleFlight)),
        does: "The first reader in a process that misses leads: it looks at the cache once more, then rebuilds. Readers of the same \
               key in the same process join its flight and share what it brings."
            .to_owned(),
        bound: format!("1 rebuild of a key at once in each process; {fleet}.{failing}"),
        short,
        breaks: "More nodes: the herd is N, so that adding instances in an incident makes it larger. A leader that does not look \
                 again, or a flight that ends before its write: who missed before that write leads a second one. An error that each \
                 waiter retries in its turn: as many calls as waiters."
            .to_owned(),
        next: left,
    }
}

pub(super) fn lock(numbers: &Numbers<'_>) -> Entry {
    let Some(lock) = &numbers.rung.lock else { return single_flight(numbers) };
    let renewed = if lock.renew { ", renewed while it rebuilds," } else { "" };
    let guard = match numbers.rung.write_guard {
        WriteGuard::Fenced => "writes under its fencing token",
        WriteGuard::Unguarded => "writes without a guard",
    };
    let (who, others) = if numbers.rung.has(Layer::SingleFlight) {
        ("The leader of each process", "Leaders elsewhere")
    } else {
        ("Every reader who misses", "All others")
    };
    let away = match lock.on_unavailable {
        OnUnavailable::FailOpen => {
            let (_, many) = numbers.unlocked();
            let each = if numbers.rung.has(Layer::SingleFlight) { "process" } else { "reader" };
            format!("every {each} rebuilds without it (fail-open): {many}")
        }
        OnUnavailable::FailClosed => {
            "nobody rebuilds (fail-closed): readers get what is stale, or an error".to_owned()
        }
    };
    Entry {
        herd: herd(Some(Layer::Lock)),
        does: format!(
            "{who} asks for a lease of E = {} ms on the key{renewed} and who gets it looks at the cache again, rebuilds, and {guard}. \
             {others} wait up to {} ms for it and then read what it wrote.",
            count(lock.expiry_ms.into()),
            count(lock.wait_ms.into()),
        )
        .replace("key and", "key, and"),
        bound: lock_bound(numbers, lock),
        short: lock_short(numbers, lock),
        breaks: format!(
            "A rebuild longer than E without renewal: ceil(D/E) starts. A holder that is paused or cut off for longer than E: one more \
             each time. A lock store that restarts with nothing on disk: 1 + restarts during D. A lock service that is away: {away}. \
             The fence refuses the late write of an old holder; it does not take back the origin's work."
        ),
        next: format!(
            "The wait: one rebuild is all that the origin sees, but every reader of the key still waits for it, up to D = {} ms at \
             each boundary.",
            count(numbers.rebuild_ms())
        ),
    }
}

/// Which of the lock's cases this rung is, by its numbers.
fn lock_bound(numbers: &Numbers<'_>, lock: &Lock) -> String {
    let (rebuild, expiry, wait) = (numbers.rebuild_ms(), u64::from(lock.expiry_ms), u64::from(lock.wait_ms));
    let mut text = if lock.renew {
        "1 rebuild at a boundary for the fleet, plus 1 for each pause or partition of the holder that is longer than E.".to_owned()
    } else if expiry >= rebuild {
        format!(
            "1 rebuild at a boundary for the fleet, because E = {} ms >= D = {} ms: the lease outlives the rebuild.",
            count(expiry),
            count(rebuild)
        )
    } else {
        let writes = match numbers.rung.write_guard {
            WriteGuard::Fenced => "the fence accepts 1 write of them",
            WriteGuard::Unguarded => "without a fence each of them writes",
        };
        format!(
            "Exactly ceil(D/E) = ceil({}/{}) = {} starts at a boundary while readers wait: each lease expires under its holder; {writes}.",
            count(rebuild),
            count(expiry),
            rebuild.div_ceil(expiry)
        )
    };
    if wait < rebuild {
        text.push_str(&format!(
            " Who waits gives up after {} ms, before D, and then {}.",
            count(wait),
            match lock.on_wait_timeout {
                OnWaitTimeout::Error => "fails".to_owned(),
                OnWaitTimeout::Origin => format!("goes to the origin: up to {} starts", numbers.unlocked().1),
                OnWaitTimeout::Stale => "serves what is stale".to_owned(),
            }
        ));
    }
    text
}

fn lock_short(numbers: &Numbers<'_>, lock: &Lock) -> String {
    let (rebuild, expiry) = (numbers.rebuild_ms(), u64::from(lock.expiry_ms));
    if lock.on_wait_timeout == OnWaitTimeout::Origin && u64::from(lock.wait_ms) < rebuild {
        return format!("up to {}: waiters give up before D", numbers.unlocked().1);
    }
    if lock.renew {
        return "1 at a boundary, plus 1 for each pause longer than E".to_owned();
    }
    if expiry >= rebuild {
        return "1 at a boundary".to_owned();
    }
    format!("exactly ceil(D/E) = {} at a boundary", rebuild.div_ceil(expiry))
}

pub(super) fn owner_routing(numbers: &Numbers<'_>) -> Entry {
    let changes = numbers.rung.membership.len();
    let scheduled = match changes {
        0 => String::new(),
        1 => " This rung takes one owner away.".to_owned(),
        more => format!(" This rung takes owners away {more} times."),
    };
    let flight = if numbers.rung.has(Layer::SingleFlight) {
        "1 rebuild at a boundary for the fleet while the membership is stable, without any lock; 1 + membership changes during D \
         otherwise."
            .to_owned()
    } else {
        format!(
            "None by itself: without single-flight in the owner about {} rebuilds start.",
            numbers.crowd_told()
        )
    };
    Entry {
        herd: herd(Some(Layer::OwnerRouting)),
        does: "The edge sends every read of a key to the same process, its owner by rendezvous hashing: the flight of that one process \
               is then the flight of the fleet."
            .to_owned(),
        bound: format!("{flight}{scheduled}"),
        short: "1 at a boundary while the membership is stable".to_owned(),
        breaks: format!(
            "A membership change during a rebuild: the new owner knows nothing of the old one's flight. Edges that disagree about the \
             members. A hot key: its owner alone carries all {} reads a second.",
            number(numbers.hot_rate())
        ),
        next: "The owner's load and its restarts: spread routing with a lock has neither, at the price of the lock service.".to_owned(),
    }
}

/// Many layers at once.
pub(super) fn stack(numbers: &Numbers<'_>) -> Entry {
    let wait = if numbers.rung.has(Layer::StaleWhileRevalidate) {
        format!(" Safe rows are served without any wait, none older than {}.", numbers.oldest_told())
    } else {
        String::new()
    };
    let first = if numbers.rung.has(Layer::Early) {
        "early recomputation first, then the grace"
    } else {
        "the grace first"
    };
    Entry {
        herd: "every herd",
        does: "All of these layers at once. Each takes what it bounds, and leaves the next one only what it cannot bound.".to_owned(),
        bound: format!(
            "Rebuilds at each boundary: at most {}. No sawtooth: the origin's rate does not repeat with the TTL.{wait}",
            numbers.coalesced()
        ),
        short: format!("at most {} at a boundary, and no sawtooth", numbers.coalesced()),
        breaks: format!(
            "A cold start, or a key prefix that is changed without a fill: most of the layers live on what is cached. A lock service \
             that is away: the fleet is back at {} rebuilds. A slow origin: it defeats {first}, then the readers' \
             deadlines. What breaks one layer, see that layer's own rung.",
            numbers.unlocked().1
        ),
        next: "What no layer takes: the first read of a key, and load on keys that are seldom read twice.".to_owned(),
    }
}
