//! A scenario's rung as the fleet is told it.

use herd_scenario::{
    Layer, OnUnavailable, OnWaitTimeout, Origin, OriginModel, Routing, Rung, Scenario, WriteGuard,
};
use herd_wire::v1;

/// The configuration of one rung. `version` is 0: the control plane gives it one.
#[must_use]
pub fn of_rung(scenario: &Scenario, rung: &Rung, prefix: &str) -> v1::FleetConfig {
    let routing = match scenario.fleet.routing {
        Routing::Spread => v1::Routing::Spread,
        Routing::Random => v1::Routing::Random,
        Routing::Owner => v1::Routing::Owner,
    };
    v1::FleetConfig {
        version: 0,
        key_prefix: prefix.to_owned(),
        routing: routing.into(),
        policy: Some(policy(scenario, rung)),
        edge_gate: None,
    }
}

/// A key prefix that no other rung of any run has: the run's start and the rung's name. At most 54 bytes of the key
/// alphabet.
#[must_use]
pub fn prefix(started_us: u64, rung: &str) -> String {
    format!("{}:{rung}:", base36(started_us))
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
    let lock = rung.lock.as_ref().map(|lock| {
        let on_wait_timeout = match lock.on_wait_timeout {
            OnWaitTimeout::Error => v1::OnWaitTimeout::WaitError,
            OnWaitTimeout::Origin => v1::OnWaitTimeout::WaitOrigin,
            OnWaitTimeout::Stale => v1::OnWaitTimeout::WaitStale,
        };
        let on_unavailable = match lock.on_unavailable {
            OnUnavailable::FailOpen => v1::OnLockUnavailable::FailOpen,
            OnUnavailable::FailClosed => v1::OnLockUnavailable::FailClosed,
        };
        v1::LockConfig {
            expiry_ms: lock.expiry_ms,
            wait_ms: lock.wait_ms,
            renew: lock.renew,
            second_look: lock.second_look,
            on_wait_timeout: on_wait_timeout.into(),
            on_unavailable: on_unavailable.into(),
            unconditional_release: lock.unconditional_release,
            volatile_tokens: lock.volatile_tokens,
        }
    });
    v1::PolicyConfig {
        ttl_ms: scenario.policy.ttl_ms,
        rebuild_deadline_ms: scenario.policy.rebuild_deadline_ms,
        coalescing: coalescing.into(),
        flight_second_look: rung.flight_second_look,
        lock,
        write_guard: write_guard.into(),
        ..v1::PolicyConfig::default()
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
mod tests {
    use super::*;
    use herd_scenario::Preset;

    /// Each rung of the default ladder turns on exactly its layers, and prefixes are legal and distinct.
    #[test]
    fn rungs_of_the_ladder() {
        let preset = Preset::named("ladder").expect("the default ladder is shipped");
        let scenario = Scenario::parse(preset.file, preset.text).expect("shipped scenarios are right");
        let mut prefixes = Vec::new();
        for rung in &scenario.rungs {
            let prefix = prefix(u64::MAX, &rung.name);
            herd_wire::key::check_prefix(&prefix).unwrap();
            let policy = of_rung(&scenario, rung, &prefix).policy.unwrap();
            let coalesced = policy.coalescing() == v1::Coalescing::SingleFlight;
            assert_eq!(coalesced, rung.has(Layer::SingleFlight), "{}", rung.name);
            assert_eq!(policy.lock.is_some(), rung.has(Layer::Lock), "{}", rung.name);
            prefixes.push(prefix);
        }
        prefixes.dedup();
        assert_eq!(prefixes.len(), scenario.rungs.len());
        let longest = prefix(u64::MAX, &"r".repeat(40));
        herd_wire::key::check_prefix(&longest).unwrap();
    }
}
