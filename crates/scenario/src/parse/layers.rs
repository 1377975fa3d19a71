//! The tables of a rung's layers.

use super::rung::Base;
use crate::model::{Gate, Local, Lock, OnUnavailable, OnWaitTimeout, Shed, Stale, Start, Waiter};
use crate::section::{Log, Section};
use crate::workload::{AbsentIds, KeyId, Workload};

const SAFE_KEYS_MAX: usize = 64;

pub(super) fn lock(mut section: Section<'_>, log: &mut Log<'_>) -> Lock {
    let lock = Lock {
        expiry_ms: section.integer32(log, "expiry_ms", 1..=600_000, Some(10_000)),
        wait_ms: section.integer32(log, "wait_ms", 0..=60_000, Some(10_000)),
        renew: section.boolean(log, "renew", false),
        second_look: section.boolean(log, "second_look", true),
        on_wait_timeout: section.choice(log, "on_wait_timeout", Some(OnWaitTimeout::Error)),
        on_unavailable: section.choice(log, "on_unavailable", Some(OnUnavailable::FailOpen)),
        unconditional_release: section.boolean(log, "unconditional_release", false),
        volatile_tokens: section.boolean(log, "volatile_tokens", false),
    };
    section.finish(log);
    lock
}

pub(super) fn waiter(mut section: Section<'_>, does_wait: bool, log: &mut Log<'_>) -> Waiter {
    let waiter = Waiter {
        wait_ms: section.integer32(log, "wait_ms", 1..=60_000, None),
        then: section.choice(log, "then", Some(OnWaitTimeout::Error)),
    };
    if waiter.then == OnWaitTimeout::Origin && !does_wait {
        let why = "without \"single-flight\" or \"lock\" every reader is at the origin already";
        section.tell(log, "then", why);
    }
    section.finish(log);
    waiter
}

pub(super) fn stale(mut section: Section<'_>, base: &Base<'_>, log: &mut Log<'_>) -> Stale {
    let grace_ms = section.integer32(log, "grace_ms", 1..=86_400_000, Some(base.policy.ttl_ms));
    let safe_keys = section.texts(log, "safe_keys", SAFE_KEYS_MAX, 128);
    let names: Vec<String> = names(base.workload).collect();
    for pattern in &safe_keys {
        if pattern.strip_suffix('*').unwrap_or(pattern).contains('*') {
            section.tell(log, "safe_keys", format!("{pattern:?}: a \"*\" stands only at the end"));
        } else if base.is_load_sound && !names.iter().any(|name| is_match(pattern, name)) {
            let why =
                format!("{pattern:?} matches no row; the keys are item-1 to item-{}", base.workload.keys);
            section.tell(log, "safe_keys", why);
        }
    }
    section.finish(log);
    Stale { grace_ms, safe_keys }
}

fn is_match(pattern: &str, name: &str) -> bool {
    Stale { grace_ms: 0, safe_keys: vec![pattern.to_owned()] }.is_safe(name)
}

/// Every row that can be in the cache.
fn names(workload: &Workload) -> impl Iterator<Item = String> + '_ {
    let absent = match workload.absent.map(|absent| absent.ids) {
        Some(AbsentIds::Fixed { count }) => count,
        Some(AbsentIds::Random) | None => 0,
    };
    let keys = (0..workload.keys).map(KeyId::Row).chain((0..absent).map(KeyId::Absent));
    keys.map(|key| workload.key_name(key))
}

pub(super) fn jitter(mut section: Section<'_>, log: &mut Log<'_>) -> f64 {
    let spread = section.positive(log, "spread", 0.9, Some(0.25));
    section.finish(log);
    spread
}

pub(super) fn negative(mut section: Section<'_>, log: &mut Log<'_>) -> u32 {
    let ttl_ms = section.integer32(log, "ttl_ms", 1..=86_400_000, Some(5_000));
    section.finish(log);
    ttl_ms
}

pub(super) fn early(mut section: Section<'_>, log: &mut Log<'_>) -> f64 {
    let beta = section.positive(log, "beta", 10.0, Some(1.0));
    section.finish(log);
    beta
}

pub(super) fn shed(mut section: Section<'_>, log: &mut Log<'_>) -> Shed {
    let edge = section.optional_section(log, "edge").map(|table| gate(table, log));
    let origin = section.optional_section(log, "origin").map(|table| gate(table, log));
    if edge.is_none() && origin.is_none() {
        section.tell_all(log, "\"shed\" needs a gate: [rung.shed.edge], [rung.shed.origin] or both");
    }
    section.finish(log);
    Shed { edge, origin }
}

fn gate(mut section: Section<'_>, log: &mut Log<'_>) -> Gate {
    let gate = Gate {
        in_flight_max: section.integer32(log, "in_flight_max", 1..=100_000, None),
        queue_max: section.integer32(log, "queue_max", 0..=100_000, Some(0)),
        queue_wait_ms: section.integer32(log, "queue_wait_ms", 0..=60_000, Some(0)),
        retry_after_ms: section.integer32(log, "retry_after_ms", 1..=60_000, Some(1_000)),
    };
    let is_queue_sound = section.is_sound(&["queue_max", "queue_wait_ms"]);
    if is_queue_sound && gate.queue_max > 0 && gate.queue_wait_ms == 0 {
        section.tell(log, "queue_max", "nobody can wait in a queue without queue_wait_ms");
    }
    if is_queue_sound && gate.queue_max == 0 && gate.queue_wait_ms > 0 {
        section.tell(log, "queue_wait_ms", "there is no queue to wait in without queue_max");
    }
    section.finish(log);
    gate
}

pub(super) fn local(mut section: Section<'_>, log: &mut Log<'_>) -> Local {
    let local = Local {
        ttl_ms: section.integer32(log, "ttl_ms", 1..=86_400_000, Some(1_000)),
        entries_max: section.integer32(log, "entries_max", 1..=1_000_000, Some(10_000)),
        incoherent: section.boolean(log, "incoherent", false),
    };
    section.finish(log);
    local
}

pub(super) fn prewarm(mut section: Section<'_>, log: &mut Log<'_>) -> Start {
    let start = Start::Prewarmed {
        top: section.integer32(log, "top", 1..=100_000, Some(1_000)),
        hit_rate: section.positive(log, "hit_rate", 1.0, Some(0.7)),
    };
    section.finish(log);
    start
}
