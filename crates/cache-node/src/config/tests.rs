use super::*;
use herd_policy::{EarlyConfig, FlightUntil, NegativeConfig, OnOriginError, OnUnavailable, WaiterConfig};

/// Every layer, every value different from its default.
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
                on_wait_timeout: v1::OnWaitTimeout::WaitStale.into(),
                on_unavailable: v1::OnLockUnavailable::FailClosed.into(),
                unconditional_release: true,
                volatile_tokens: true,
            }),
            write_guard: v1::WriteGuard::Fenced.into(),
            waiter: Some(v1::WaiterConfig { wait_ms: 250, then: v1::OnWaitTimeout::WaitOrigin.into() }),
            stale: Some(v1::StaleConfig {
                grace_ms: 4_000,
                while_revalidate: true,
                if_error: true,
                safe_keys: vec!["item-1".to_owned(), "safe-*".to_owned(), "*".to_owned()],
            }),
            jitter: 0.25,
            negative: Some(v1::NegativeConfig { ttl_ms: 700 }),
            key_filter: true,
            early_beta: 1.5,
            local: Some(v1::LocalConfig { ttl_ms: 100, entries_max: 64, incoherent: true }),
            flight_until: v1::FlightUntil::Answered.into(),
            on_origin_error: v1::OnOriginError::SerialRetry.into(),
        }),
        edge_gate: None,
        other_key_prefix: "r1.v2:".to_owned(),
    }
}

/// What the control plane says is what the core and the node get, layer by layer.
#[test]
fn compiles() {
    let NodeConfig { policy, local, other_prefix } = compile(&good()).unwrap();
    assert_eq!(other_prefix.as_deref(), Some("r1.v2:"));
    assert_eq!((policy.version, &*policy.key_prefix, policy.ttl), (3, "r1:", Duration::from_secs(2)));
    let lock = policy.lock.as_ref().unwrap();
    assert_eq!(
        (lock.on_wait_timeout, lock.on_unavailable),
        (OnWaitTimeout::Stale, OnUnavailable::FailClosed)
    );
    assert!(lock.renew && lock.second_look && lock.unconditional_release && lock.volatile_tokens);
    let waiter = WaiterConfig { wait: Duration::from_millis(250), then: OnWaitTimeout::Origin };
    assert_eq!(policy.waiter, Some(waiter));
    let stale = policy.stale.as_ref().unwrap();
    assert_eq!(stale.grace, Duration::from_secs(4));
    assert!(stale.while_revalidate && stale.if_error);
    assert_eq!(stale.safe_keys.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["item-1", "safe-*", "*"]);
    assert_eq!((policy.jitter, policy.key_filter), (0.25, true));
    assert_eq!(policy.negative, Some(NegativeConfig { ttl: Duration::from_millis(700) }));
    assert_eq!(policy.early, Some(EarlyConfig { beta: 1.5 }));
    assert_eq!(
        (policy.flight_until, policy.on_origin_error),
        (FlightUntil::Fetched, OnOriginError::SerialRetry)
    );
    let expect = LocalConfig { ttl: Duration::from_millis(100), entries_max: 64, incoherent: true };
    assert_eq!(local, Some(expect));
}

/// A layer that is not named is off.
#[test]
fn absent_layers_are_off() {
    let mut plain = good();
    let policy = plain.policy.as_mut().unwrap();
    *policy = v1::PolicyConfig {
        ttl_ms: policy.ttl_ms,
        rebuild_deadline_ms: policy.rebuild_deadline_ms,
        coalescing: policy.coalescing,
        write_guard: policy.write_guard,
        ..v1::PolicyConfig::default()
    };
    let NodeConfig { policy, local, .. } = compile(&plain).unwrap();
    let off = Config {
        version: 3,
        key_prefix: "r1:".into(),
        ttl: Duration::from_secs(2),
        flight_second_look: false,
        ..Config::default()
    };
    assert_eq!((&*policy, local), (&off, None));
}

/// The edges of each range are inside it.
#[test]
fn edges_are_allowed() {
    for (jitter, beta, entries_max, patterns) in [(0.0, 0.0, 1, 1), (0.9, 10.0, 1_000_000, 64)] {
        let mut edge = good();
        let policy = edge.policy.as_mut().unwrap();
        (policy.jitter, policy.early_beta) = (jitter, beta);
        policy.local.as_mut().unwrap().entries_max = entries_max;
        policy.stale.as_mut().unwrap().safe_keys = vec!["k".repeat(128); patterns];
        compile(&edge).unwrap();
    }
}

/// All mistakes are named at once, those of every layer included.
#[test]
fn names_every_mistake() {
    let mut bad = good();
    bad.key_prefix = "a b".to_owned();
    let policy = bad.policy.as_mut().unwrap();
    policy.ttl_ms = 0;
    policy.coalescing = 77;
    policy.lock.as_mut().unwrap().wait_ms = 60_001;
    *policy.waiter.as_mut().unwrap() = v1::WaiterConfig::default();
    let stale = policy.stale.as_mut().unwrap();
    (stale.grace_ms, stale.safe_keys) = (0, vec!["a b*".to_owned(), String::new(), "k".repeat(129)]);
    (policy.jitter, policy.early_beta) = (f64::NAN, 10.5);
    policy.negative.as_mut().unwrap().ttl_ms = 0;
    *policy.local.as_mut().unwrap() = v1::LocalConfig::default();
    (policy.flight_until, policy.on_origin_error) = (77, -1);
    let said = compile(&bad).unwrap_err().to_string();
    for word in [
        "key_prefix",
        "ttl_ms",
        "coalescing is unspecified or unknown",
        "lock.wait_ms is 60001, not within 0 to 60000",
        "waiter.wait_ms is 0, not within 1 to 60000",
        "waiter.then is unspecified or unknown",
        "stale.grace_ms is 0",
        "stale.safe_keys: \"a b*\": the key's byte 1",
        "stale.safe_keys: \"\": the key is empty",
        "129 bytes, at most 128",
        "jitter is NaN, not within 0 to 0.9",
        "early_beta is 10.5, not within 0 to 10",
        "negative.ttl_ms is 0",
        "local.ttl_ms is 0",
        "local.entries_max is 0, not within 1 to 1000000",
        "flight_until is unspecified or unknown",
        "on_origin_error is unspecified or unknown",
    ] {
        assert!(said.contains(word), "{word} is missing in: {said}");
    }
    assert!(compile(&v1::FleetConfig::default()).unwrap_err().to_string().contains("policy is missing"));
}

/// Serving stale at the end of a wait without a word on which keys may be stale is refused, for both waits; so is an empty
/// list of them, and one that is too long.
#[test]
fn stale_needs_its_keys() {
    let mut bad = good();
    let policy = bad.policy.as_mut().unwrap();
    policy.stale = None;
    policy.waiter.as_mut().unwrap().set_then(v1::OnWaitTimeout::WaitStale);
    let said = compile(&bad).unwrap_err().to_string();
    for field in ["waiter.then", "lock.on_wait_timeout"] {
        assert!(said.contains(&format!("{field} is WAIT_STALE, which needs stale")), "{said}");
    }
    for patterns in [0, 65] {
        let mut bad = good();
        bad.policy.as_mut().unwrap().stale.as_mut().unwrap().safe_keys = vec!["item-1".to_owned(); patterns];
        let said = compile(&bad).unwrap_err().to_string();
        let expect = format!("the number of stale.safe_keys is {patterns}, not within 1 to 64");
        assert!(said.contains(&expect), "{said}");
    }
}
