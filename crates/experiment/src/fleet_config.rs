//! A scenario's rung as the fleet is told it.

use herd_scenario::{
    FlightUntil, Gate, Layer, Lock, OnOriginError, OnUnavailable, OnWaitTimeout, Origin, OriginModel,
    Routing, Rung, Scenario, WriteGuard,
};
use herd_wire::v1;

/// The origin's gate where a rung has none of its own: as wide as the protocol allows, so that it never binds.
const OPEN_GATE: v1::OriginGate =
    v1::OriginGate { in_flight_max: 100_000, queue_max: 0, queue_wait_ms: 0, retry_after_ms: 1_000 };

/// The configuration of one rung. `version` is 0: the control plane gives it one.
#[must_use]
pub fn of_rung(scenario: &Scenario, rung: &Rung, prefix: &str) -> v1::FleetConfig {
    let routing = match scenario.fleet.routing {
        _ if rung.has(Layer::OwnerRouting) => v1::Routing::Owner,
        Routing::Spread => v1::Routing::Spread,
        Routing::Random => v1::Routing::Random,
        Routing::Owner => v1::Routing::Owner,
    };
    v1::FleetConfig {
        version: 0,
        key_prefix: prefix.to_owned(),
        routing: routing.into(),
        policy: Some(policy(scenario, rung)),
        edge_gate: rung.shed.and_then(|shed| shed.edge).map(edge_gate),
        other_key_prefix: String::new(),
    }
}

/// A key prefix that no other rung of any run has: the run's start and the rung's name. At most 55 bytes of the key
/// alphabet.
#[must_use]
pub fn prefix(started_us: u64, rung: &str) -> String {
    format!("{}:{rung}:", base36(started_us))
}

/// The prefix that a deploy in the middle of the rung switches to. No rung's own prefix looks like it: their names have
/// no dot. At most 58 bytes.
#[must_use]
pub fn next_prefix(started_us: u64, rung: &str) -> String {
    format!("{}:{rung}.v2:", base36(started_us))
}

/// The origin's gate of a rung. A rung without one gets a gate that never binds, lest the one before it should leave
/// its own.
#[must_use]
pub fn origin_gate(rung: &Rung) -> v1::OriginGate {
    let gate = rung.shed.and_then(|shed| shed.origin);
    gate.map_or(OPEN_GATE, |Gate { in_flight_max, queue_max, queue_wait_ms, retry_after_ms }| {
        v1::OriginGate { in_flight_max, queue_max, queue_wait_ms, retry_after_ms }
    })
}

/// The origin's latency as a scenario asks for it.
#[must_use]
pub fn latency(origin: &Origin) -> v1::Latency {
    let holds_connection = origin.holds_connection;
    let mut latency = v1::Latency { holds_connection, ..v1::Latency::default() };
    match origin.model {
        OriginModel::Fixed { latency_ms } => {
            latency.set_model(v1::latency::Model::Fixed);
            latency.median_ms = latency_ms;
        }
        OriginModel::LogNormal { median_ms, sigma, max_ms } => {
            latency.set_model(v1::latency::Model::LogNormal);
            latency.median_ms = median_ms;
            latency.sigma = sigma;
            latency.max_ms = max_ms;
        }
    }
    latency
}

const fn edge_gate(gate: Gate) -> v1::Gate {
    let Gate { in_flight_max, queue_max, queue_wait_ms, retry_after_ms } = gate;
    v1::Gate { in_flight_max, queue_max, queue_wait_ms, retry_after_ms }
}

fn policy(scenario: &Scenario, rung: &Rung) -> v1::PolicyConfig {
    let coalescing = if rung.has(Layer::SingleFlight) {
        v1::Coalescing::SingleFlight
    } else {
        v1::Coalescing::Uncoordinated
    };
    let write_guard = match rung.write_guard {
        WriteGuard::Unguarded => v1::WriteGuard::Unguarded,
        WriteGuard::Fenced => v1::WriteGuard::Fenced,
    };
    let flight_until = match rung.flight_until {
        FlightUntil::Written => v1::FlightUntil::Written,
        FlightUntil::Fetched => v1::FlightUntil::Answered,
    };
    let on_origin_error = match rung.on_origin_error {
        OnOriginError::Share => v1::OnOriginError::Share,
        OnOriginError::SerialRetry => v1::OnOriginError::SerialRetry,
    };
    v1::PolicyConfig {
        ttl_ms: scenario.policy.ttl_ms,
        rebuild_deadline_ms: scenario.policy.rebuild_deadline_ms,
        coalescing: coalescing.into(),
        flight_second_look: rung.flight_second_look,
        lock: rung.lock.as_ref().map(lock),
        write_guard: write_guard.into(),
        waiter: rung.waiter.map(|waiter| v1::WaiterConfig {
            wait_ms: waiter.wait_ms,
            then: on_wait_timeout(waiter.then).into(),
        }),
        // Also without either layer: where a wait ends in serving stale, grace and safe rows are needed all the same.
        stale: rung.stale.as_ref().map(|stale| v1::StaleConfig {
            grace_ms: stale.grace_ms,
            while_revalidate: rung.has(Layer::StaleWhileRevalidate),
            if_error: rung.has(Layer::StaleIfError),
            safe_keys: stale.safe_keys.clone(),
        }),
        jitter: rung.jitter.unwrap_or(0.0),
        negative: rung.negative_ttl_ms.map(|ttl_ms| v1::NegativeConfig { ttl_ms }),
        key_filter: rung.has(Layer::KeyFilter),
        early_beta: rung.early_beta.unwrap_or(0.0),
        local: rung.local.map(|local| v1::LocalConfig {
            ttl_ms: local.ttl_ms,
            entries_max: local.entries_max,
            incoherent: local.incoherent,
        }),
        flight_until: flight_until.into(),
        on_origin_error: on_origin_error.into(),
    }
}

fn lock(lock: &Lock) -> v1::LockConfig {
    let on_unavailable = match lock.on_unavailable {
        OnUnavailable::FailOpen => v1::OnLockUnavailable::FailOpen,
        OnUnavailable::FailClosed => v1::OnLockUnavailable::FailClosed,
    };
    v1::LockConfig {
        expiry_ms: lock.expiry_ms,
        wait_ms: lock.wait_ms,
        renew: lock.renew,
        second_look: lock.second_look,
        on_wait_timeout: on_wait_timeout(lock.on_wait_timeout).into(),
        on_unavailable: on_unavailable.into(),
        unconditional_release: lock.unconditional_release,
        volatile_tokens: lock.volatile_tokens,
    }
}

const fn on_wait_timeout(then: OnWaitTimeout) -> v1::OnWaitTimeout {
    match then {
        OnWaitTimeout::Error => v1::OnWaitTimeout::WaitError,
        OnWaitTimeout::Origin => v1::OnWaitTimeout::WaitOrigin,
        OnWaitTimeout::Stale => v1::OnWaitTimeout::WaitStale,
    }
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(number % 36).expect("a remainder of 36 is small");
        digits.push(char::from_digit(digit, 36).expect("below 36"));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests;
