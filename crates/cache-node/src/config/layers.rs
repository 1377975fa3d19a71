//! Each layer's part of a configuration.

use super::mistakes::Mistakes;
use super::{LocalConfig, TTL_MS};
use herd_policy::{
    EarlyConfig, FlightUntil, LockConfig, NegativeConfig, OnOriginError, OnUnavailable, OnWaitTimeout,
    StaleConfig, WaiterConfig,
};
use herd_wire::key::{KEY_BYTES_MAX, check_key};
use herd_wire::v1;
use std::ops::RangeInclusive;

const LOCK_EXPIRY_MS: RangeInclusive<u32> = 1..=600_000;
const LOCK_WAIT_MS: RangeInclusive<u32> = 0..=60_000;
const WAITER_WAIT_MS: RangeInclusive<u32> = 1..=60_000;
const GRACE_MS: RangeInclusive<u32> = 1..=86_400_000;
const SAFE_KEYS: RangeInclusive<usize> = 1..=64;
const BETA: RangeInclusive<f64> = 0.0..=10.0;
const LOCAL_ENTRIES: RangeInclusive<u32> = 1..=1_000_000;

pub(super) fn lock(lock: &v1::LockConfig, mistakes: &mut Mistakes) -> LockConfig {
    LockConfig {
        expiry: mistakes.millis("lock.expiry_ms", lock.expiry_ms, &LOCK_EXPIRY_MS),
        wait: mistakes.millis("lock.wait_ms", lock.wait_ms, &LOCK_WAIT_MS),
        renew: lock.renew,
        second_look: lock.second_look,
        on_wait_timeout: on_wait_timeout("lock.on_wait_timeout", lock.on_wait_timeout(), mistakes),
        on_unavailable: match lock.on_unavailable() {
            v1::OnLockUnavailable::FailOpen => OnUnavailable::FailOpen,
            v1::OnLockUnavailable::FailClosed => OnUnavailable::FailClosed,
            v1::OnLockUnavailable::Unspecified => {
                mistakes.unnamed("lock.on_unavailable", OnUnavailable::FailOpen)
            }
        },
        unconditional_release: lock.unconditional_release,
        volatile_tokens: lock.volatile_tokens,
    }
}

pub(super) fn waiter(waiter: &v1::WaiterConfig, mistakes: &mut Mistakes) -> WaiterConfig {
    WaiterConfig {
        wait: mistakes.millis("waiter.wait_ms", waiter.wait_ms, &WAITER_WAIT_MS),
        then: on_wait_timeout("waiter.then", waiter.then(), mistakes),
    }
}

fn on_wait_timeout(field: &str, then: v1::OnWaitTimeout, mistakes: &mut Mistakes) -> OnWaitTimeout {
    match then {
        v1::OnWaitTimeout::WaitError => OnWaitTimeout::Error,
        v1::OnWaitTimeout::WaitOrigin => OnWaitTimeout::Origin,
        v1::OnWaitTimeout::WaitStale => OnWaitTimeout::Stale,
        v1::OnWaitTimeout::Unspecified => mistakes.unnamed(field, OnWaitTimeout::Error),
    }
}

pub(super) fn stale(stale: &v1::StaleConfig, mistakes: &mut Mistakes) -> StaleConfig {
    // No default: which answers may be old is the owner's word, not ours.
    mistakes.within("the number of stale.safe_keys", stale.safe_keys.len(), &SAFE_KEYS);
    for pattern in &stale.safe_keys {
        if let Some(why) = wrong_with_pattern(pattern) {
            mistakes.note(format_args!("stale.safe_keys: {pattern:?}: {why}"));
        }
    }
    StaleConfig {
        grace: mistakes.millis("stale.grace_ms", stale.grace_ms, &GRACE_MS),
        while_revalidate: stale.while_revalidate,
        if_error: stale.if_error,
        safe_keys: stale.safe_keys.iter().map(|pattern| pattern.as_str().into()).collect(),
    }
}

/// A pattern is an exact key, or a beginning (which may be empty) and `*`.
fn wrong_with_pattern(pattern: &str) -> Option<String> {
    if pattern.len() > KEY_BYTES_MAX {
        return Some(format!("{} bytes, at most {KEY_BYTES_MAX} are allowed", pattern.len()));
    }
    let fixed = match pattern.strip_suffix('*') {
        Some("") => return None,
        Some(beginning) => beginning,
        None => pattern,
    };
    check_key(fixed).err().map(|why| why.to_string())
}

pub(super) fn negative(negative: &v1::NegativeConfig, mistakes: &mut Mistakes) -> NegativeConfig {
    NegativeConfig { ttl: mistakes.millis("negative.ttl_ms", negative.ttl_ms, &TTL_MS) }
}

/// A beta of 0 is no early recomputation.
pub(super) fn early(beta: f64, mistakes: &mut Mistakes) -> Option<EarlyConfig> {
    let beta = mistakes.share("early_beta", beta, &BETA);
    (beta > 0.0).then_some(EarlyConfig { beta })
}

pub(super) fn flight_until(policy: &v1::PolicyConfig, mistakes: &mut Mistakes) -> FlightUntil {
    match v1::FlightUntil::try_from(policy.flight_until) {
        Ok(v1::FlightUntil::Unspecified | v1::FlightUntil::Written) => FlightUntil::Written,
        Ok(v1::FlightUntil::Answered) => FlightUntil::Fetched,
        Err(_) => mistakes.unnamed("flight_until", FlightUntil::Written),
    }
}

pub(super) fn on_origin_error(policy: &v1::PolicyConfig, mistakes: &mut Mistakes) -> OnOriginError {
    match v1::OnOriginError::try_from(policy.on_origin_error) {
        Ok(v1::OnOriginError::Unspecified | v1::OnOriginError::Share) => OnOriginError::Share,
        Ok(v1::OnOriginError::SerialRetry) => OnOriginError::SerialRetry,
        Err(_) => mistakes.unnamed("on_origin_error", OnOriginError::Share),
    }
}

pub(super) fn local(local: &v1::LocalConfig, mistakes: &mut Mistakes) -> LocalConfig {
    LocalConfig {
        ttl: mistakes.millis("local.ttl_ms", local.ttl_ms, &TTL_MS),
        entries_max: mistakes.within("local.entries_max", local.entries_max, &LOCAL_ENTRIES),
        incoherent: local.incoherent,
    }
}
