//! From the control plane's configuration to the core's, with every mistake named.

use herd_policy::{Coalescing, Config, LockConfig, OnUnavailable, OnWaitTimeout, WriteGuard};
use herd_wire::key::check_prefix;
use herd_wire::v1;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

const TTL_MS: RangeInclusive<u32> = 1..=86_400_000;
const REBUILD_DEADLINE_MS: RangeInclusive<u32> = 1..=600_000;
const LOCK_EXPIRY_MS: RangeInclusive<u32> = 1..=600_000;
const LOCK_WAIT_MS: RangeInclusive<u32> = 0..=60_000;

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration cannot be applied: {}", .0.join("; "))]
pub struct ConfigError(Vec<String>);

/// Reads a configuration as the control plane sent it.
///
/// # Errors
/// Every value that is missing or out of its range.
pub fn compile(fleet: &v1::FleetConfig) -> Result<Arc<Config>, ConfigError> {
    let mut mistakes = Mistakes(Vec::new());
    if let Err(why) = check_prefix(&fleet.key_prefix) {
        mistakes.note(format_args!("key_prefix: {why}"));
    }
    let policy = fleet.policy.unwrap_or_else(|| {
        mistakes.note("policy is missing");
        v1::PolicyConfig::default()
    });
    let coalescing = match policy.coalescing() {
        v1::Coalescing::SingleFlight => Coalescing::SingleFlight,
        v1::Coalescing::Uncoordinated => Coalescing::Uncoordinated,
        v1::Coalescing::Unspecified => mistakes.unnamed("coalescing", Coalescing::SingleFlight),
    };
    let write_guard = match policy.write_guard() {
        v1::WriteGuard::Fenced => WriteGuard::Fenced,
        v1::WriteGuard::Unguarded => WriteGuard::Unguarded,
        v1::WriteGuard::Unspecified => mistakes.unnamed("write_guard", WriteGuard::Fenced),
    };
    if policy.lock.is_some() && coalescing == Coalescing::Uncoordinated {
        mistakes.note("a lock needs coalescing: SINGLE_FLIGHT, it stands on top of it");
    }
    let config = Config {
        version: fleet.version,
        key_prefix: fleet.key_prefix.as_str().into(),
        ttl: mistakes.millis("ttl_ms", policy.ttl_ms, &TTL_MS),
        rebuild_deadline: mistakes.millis(
            "rebuild_deadline_ms",
            policy.rebuild_deadline_ms,
            &REBUILD_DEADLINE_MS,
        ),
        coalescing,
        flight_second_look: policy.flight_second_look,
        lock: policy.lock.as_ref().map(|lock| compile_lock(lock, &mut mistakes)),
        write_guard,
    };
    if mistakes.0.is_empty() { Ok(Arc::new(config)) } else { Err(ConfigError(mistakes.0)) }
}

fn compile_lock(lock: &v1::LockConfig, mistakes: &mut Mistakes) -> LockConfig {
    LockConfig {
        expiry: mistakes.millis("lock.expiry_ms", lock.expiry_ms, &LOCK_EXPIRY_MS),
        wait: mistakes.millis("lock.wait_ms", lock.wait_ms, &LOCK_WAIT_MS),
        renew: lock.renew,
        second_look: lock.second_look,
        on_wait_timeout: match lock.on_wait_timeout() {
            v1::OnWaitTimeout::WaitError => OnWaitTimeout::Error,
            v1::OnWaitTimeout::WaitOrigin => OnWaitTimeout::Origin,
            v1::OnWaitTimeout::Unspecified => mistakes.unnamed("lock.on_wait_timeout", OnWaitTimeout::Error),
        },
        on_unavailable: match lock.on_unavailable() {
            v1::OnLockUnavailable::FailOpen => OnUnavailable::FailOpen,
            v1::OnLockUnavailable::FailClosed => OnUnavailable::FailClosed,
            v1::OnLockUnavailable::Unspecified => {
                mistakes.unnamed("lock.on_unavailable", OnUnavailable::FailOpen)
            }
        },
    }
}

struct Mistakes(Vec<String>);

impl Mistakes {
    fn note(&mut self, mistake: impl fmt::Display) {
        self.0.push(mistake.to_string());
    }

    fn unnamed<T>(&mut self, field: &str, stand_in: T) -> T {
        self.note(format_args!("{field} is unspecified or unknown"));
        stand_in
    }

    fn millis(&mut self, field: &str, value: u32, range: &RangeInclusive<u32>) -> Duration {
        if !range.contains(&value) {
            self.note(format_args!("{field} is {value}, not within {} to {}", range.start(), range.end()));
        }
        Duration::from_millis(value.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> v1::FleetConfig {
        v1::FleetConfig {
            version: 3,
            key_prefix: "r1:".to_owned(),
            routing: v1::Routing::Spread.into(),
            policy: Some(v1::PolicyConfig {
                ttl_ms: 2_000,
                rebuild_deadline_ms: 5_000,
                coalescing: v1::Coalescing::SingleFlight.into(),
                flight_second_look: true,
                lock: Some(v1::LockConfig {
                    expiry_ms: 1_000,
                    wait_ms: 3_000,
                    renew: true,
                    second_look: true,
                    on_wait_timeout: v1::OnWaitTimeout::WaitOrigin.into(),
                    on_unavailable: v1::OnLockUnavailable::FailClosed.into(),
                }),
                write_guard: v1::WriteGuard::Fenced.into(),
            }),
        }
    }

    /// What the control plane says is what the core gets.
    #[test]
    fn compiles() {
        let config = compile(&good()).unwrap();
        assert_eq!((config.version, &*config.key_prefix, config.ttl), (3, "r1:", Duration::from_secs(2)));
        let lock = config.lock.as_ref().unwrap();
        assert_eq!(
            (lock.on_wait_timeout, lock.on_unavailable),
            (OnWaitTimeout::Origin, OnUnavailable::FailClosed)
        );
        assert!(lock.renew && lock.second_look);
    }

    /// All mistakes are named at once, those of the lock included.
    #[test]
    fn names_every_mistake() {
        let mut bad = good();
        bad.key_prefix = "a b".to_owned();
        let policy = bad.policy.as_mut().unwrap();
        policy.ttl_ms = 0;
        policy.coalescing = 77;
        policy.lock.as_mut().unwrap().wait_ms = 60_001;
        let said = compile(&bad).unwrap_err().to_string();
        for word in ["key_prefix", "ttl_ms", "coalescing", "lock.wait_ms is 60001, not within 0 to 60000"] {
            assert!(said.contains(word), "{word} is missing in: {said}");
        }
        assert!(compile(&v1::FleetConfig::default()).unwrap_err().to_string().contains("policy is missing"));
    }
}
