//! From the control plane's configuration to the core's and the node's own, with every mistake named.

mod layers;
mod mistakes;
#[cfg(test)]
mod tests;

use herd_policy::{Coalescing, Config, OnWaitTimeout, WriteGuard};
use herd_wire::key::check_prefix;
use herd_wire::v1;
use mistakes::Mistakes;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

const TTL_MS: RangeInclusive<u32> = 1..=86_400_000;
const REBUILD_DEADLINE_MS: RangeInclusive<u32> = 1..=600_000;
const JITTER: RangeInclusive<f64> = 0.0..=0.9;

/// What a node works by.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeConfig {
    /// What the core decides by. Its `key_filter` also says whether the node keeps the filter.
    pub policy: Arc<Config>,
    /// The tier in the process; `None`: values are only ever read from Redis.
    pub local: Option<LocalConfig>,
    /// Another key prefix that is in use: by a fill of the next one, or by nodes that are not switched yet.
    pub other_prefix: Option<Arc<str>>,
}

/// The tier in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalConfig {
    /// The longest that a value is served from the process.
    pub ttl: Duration,
    /// How many values it holds.
    pub entries_max: u32,
    /// Known-bad: it does not listen for invalidations, so a value stays until its time here is up.
    pub incoherent: bool,
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration cannot be applied: {}", .0.join("; "))]
pub struct ConfigError(Vec<String>);

/// Reads a configuration as the control plane sent it.
///
/// # Errors
/// Every value that is missing or out of its range.
pub fn compile(fleet: &v1::FleetConfig) -> Result<NodeConfig, ConfigError> {
    let mut mistakes = Mistakes::default();
    if let Err(why) = check_prefix(&fleet.key_prefix) {
        mistakes.note(format_args!("key_prefix: {why}"));
    }
    let other_prefix = &fleet.other_key_prefix;
    if let Err(why) = check_prefix(other_prefix) {
        mistakes.note(format_args!("other_key_prefix: {why}"));
    } else if !other_prefix.is_empty() && *other_prefix == fleet.key_prefix {
        mistakes.note("other_key_prefix is key_prefix itself");
    }
    let missing;
    let policy = if let Some(policy) = &fleet.policy {
        policy
    } else {
        mistakes.note("policy is missing");
        missing = v1::PolicyConfig::default();
        &missing
    };
    let local = policy.local.as_ref().map(|local| layers::local(local, &mut mistakes));
    let policy = compile_policy(fleet, policy, &mut mistakes);
    let mistakes = mistakes.into_inner();
    if mistakes.is_empty() {
        let other_prefix = Some(other_prefix.as_str()).filter(|prefix| !prefix.is_empty()).map(Into::into);
        Ok(NodeConfig { policy: Arc::new(policy), local, other_prefix })
    } else {
        Err(ConfigError(mistakes))
    }
}

fn compile_policy(fleet: &v1::FleetConfig, policy: &v1::PolicyConfig, mistakes: &mut Mistakes) -> Config {
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
    let deadline_ms = policy.rebuild_deadline_ms;
    let config = Config {
        version: fleet.version,
        key_prefix: fleet.key_prefix.as_str().into(),
        ttl: mistakes.millis("ttl_ms", policy.ttl_ms, &TTL_MS),
        rebuild_deadline: mistakes.millis("rebuild_deadline_ms", deadline_ms, &REBUILD_DEADLINE_MS),
        coalescing,
        flight_second_look: policy.flight_second_look,
        lock: policy.lock.as_ref().map(|lock| layers::lock(lock, mistakes)),
        write_guard,
        waiter: policy.waiter.as_ref().map(|waiter| layers::waiter(waiter, mistakes)),
        stale: policy.stale.as_ref().map(|stale| layers::stale(stale, mistakes)),
        jitter: mistakes.share("jitter", policy.jitter, &JITTER),
        negative: policy.negative.as_ref().map(|negative| layers::negative(negative, mistakes)),
        key_filter: policy.key_filter,
        early: layers::early(policy.early_beta, mistakes),
        flight_until: layers::flight_until(policy, mistakes),
        on_origin_error: layers::on_origin_error(policy, mistakes),
    };
    needs_stale(&config, mistakes);
    config
}

/// Whoever is to be served an expired value at the end of its wait needs a word on which values may be served so.
fn needs_stale(config: &Config, mistakes: &mut Mistakes) {
    let waiter = config.waiter.map(|waiter| ("waiter.then", waiter.then));
    let lock = config.lock.as_ref().map(|lock| ("lock.on_wait_timeout", lock.on_wait_timeout));
    for (field, then) in waiter.into_iter().chain(lock) {
        if then == OnWaitTimeout::Stale && config.stale.is_none() {
            mistakes.note(format_args!("{field} is WAIT_STALE, which needs stale"));
        }
    }
}
