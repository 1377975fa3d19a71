//! Serving an expired value: at once while it is rebuilt, in place of an error, or when patience ran out.
//!
//! After RFC 5861 (stale-while-revalidate and stale-if-error), with two bounds of its own. Only rows that somebody marked
//! safe are served stale, and no value past its TTL and the grace: freshness stays bounded by T + G however long the
//! origin is away. The bound is the value's own TTL, jitter included, by the store's clock.

use std::time::Duration;

use crate::config::{Config, OnWaitTimeout, StaleConfig};
use crate::error::Error;
use crate::outcome::Life;

/// For how much longer the value of `key`, seen expired at `life`, may be served; `None` if it may not.
pub(crate) fn servable_for(config: &Config, key: &str, life: Life) -> Option<Duration> {
    let stale = config.stale.as_ref()?;
    let left = (life.ttl + stale.grace).checked_sub(life.age)?;
    let row = key.strip_prefix(&*config.key_prefix)?;
    is_safe(stale, row).then_some(left)
}

/// Whether a servable value is served at once and refreshed in the background.
pub(crate) fn while_revalidate(config: &Config) -> bool {
    config.stale.as_ref().is_some_and(|stale| stale.while_revalidate)
}

/// Whether a lookup that waits under `own` gets its servable value in place of its flight's error. That a row does not
/// exist is an answer and no failure; a deadline is the caller's own.
pub(crate) fn in_place_of(error: &Error, own: &Config, flight: &Config) -> bool {
    let lock_says_so =
        || flight.lock.as_ref().is_some_and(|lock| lock.on_wait_timeout == OnWaitTimeout::Stale);
    match error {
        Error::NotFound { .. } | Error::Deadline | Error::Overloaded { .. } => false,
        Error::WaitTimeout if lock_says_so() => true,
        _ => own.stale.as_ref().is_some_and(|stale| stale.if_error),
    }
}

fn is_safe(stale: &StaleConfig, row: &str) -> bool {
    stale.safe_keys.iter().any(|safe| match safe.strip_suffix('*') {
        Some(beginning) => row.starts_with(beginning),
        None => row == &**safe,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn life(age_ms: u64) -> Life {
        let ttl = Duration::from_millis(1_000);
        Life { age: Duration::from_millis(age_ms), ttl, rebuild_took: Duration::ZERO }
    }

    fn config(safe: &[&str]) -> Config {
        let stale = StaleConfig {
            grace: Duration::from_millis(500),
            while_revalidate: true,
            if_error: true,
            safe_keys: safe.iter().map(|key| Arc::from(*key)).collect(),
        };
        Config { key_prefix: Arc::from("v2:"), stale: Some(stale), ..Config::default() }
    }

    /// Goal: only what is marked safe, by its row's key, exactly or by its beginning.
    #[test]
    fn only_safe_rows_are_served_stale() {
        let check = |safe: &[&str], key: &str| servable_for(&config(safe), key, life(1_000)).is_some();
        assert!(check(&["item-1"], "v2:item-1"));
        assert!(check(&["user-*", "item-*"], "v2:item-17"));
        assert!(check(&["*"], "v2:item-1"));
        assert!(!check(&["item-1"], "v2:item-12"), "an exact key is no beginning");
        assert!(!check(&[], "v2:item-1"), "nothing is safe by default");
        assert!(!check(&["v2:item-1"], "v2:item-1"), "a row's key has no prefix");
        assert!(!check(&["*"], "v1:item-1"), "a key of another prefix");
    }

    /// Goal: the last moment is TTL and grace; what is left counts from the look.
    #[test]
    fn nothing_is_served_past_its_grace() {
        let check = |age_ms| servable_for(&config(&["*"]), "v2:item-1", life(age_ms));
        assert_eq!(check(1_000), Some(Duration::from_millis(500)));
        assert_eq!(check(1_500), Some(Duration::ZERO));
        assert_eq!(check(1_501), None);
        assert_eq!(servable_for(&Config::default(), "item-1", life(1_000)), None, "the layer is off");
    }
}
