use super::*;
use herd_scenario::{Local, PRESETS, Shed, Stale, Waiter};
use std::collections::BTreeSet;

/// The layers that a fleet which obeys these would have on, read back from what it is told.
fn layers_of(config: &v1::FleetConfig, gate: v1::OriginGate) -> BTreeSet<Layer> {
    let policy = config.policy.as_ref().expect("a rung has a policy");
    let stale = |which: fn(&v1::StaleConfig) -> bool| policy.stale.as_ref().is_some_and(which);
    let on = [
        (Layer::SingleFlight, policy.coalescing() == v1::Coalescing::SingleFlight),
        (Layer::Lock, policy.lock.is_some()),
        (Layer::WaiterTimeout, policy.waiter.is_some()),
        (Layer::StaleWhileRevalidate, stale(|stale| stale.while_revalidate)),
        (Layer::StaleIfError, stale(|stale| stale.if_error)),
        (Layer::Jitter, policy.jitter > 0.0),
        (Layer::Negative, policy.negative.is_some()),
        (Layer::KeyFilter, policy.key_filter),
        (Layer::Early, policy.early_beta > 0.0),
        (Layer::Shed, config.edge_gate.is_some() || gate != OPEN_GATE),
        (Layer::OwnerRouting, config.routing() == v1::Routing::Owner),
        (Layer::Local, policy.local.is_some()),
    ];
    on.into_iter().filter_map(|(layer, on)| on.then_some(layer)).collect()
}

/// Of a rung's layers, those that the fleet is told of. How the keys begin is the run loop's, not the fleet's.
fn told_layers(rung: &Rung) -> BTreeSet<Layer> {
    rung.layers.iter().copied().filter(|layer| *layer != Layer::Prewarm).collect()
}

fn preset(name: &str) -> Scenario {
    let preset = herd_scenario::Preset::named(name).expect("it is shipped");
    Scenario::parse(preset.file, preset.text).expect("shipped scenarios are right")
}

/// A rung of the default ladder without any layer.
fn bare() -> (Scenario, Rung) {
    let scenario = preset("ladder");
    let rung = scenario.rungs[0].clone();
    assert_eq!(rung.layers, []);
    (scenario, rung)
}

/// Each rung of every shipped scenario turns on exactly its layers, and prefixes are legal and distinct.
#[test]
fn rungs_of_shipped_scenarios() {
    for preset in PRESETS {
        let scenario = Scenario::parse(preset.file, preset.text).expect("shipped scenarios are right");
        let mut prefixes = BTreeSet::new();
        for rung in &scenario.rungs {
            let (own, next) = (prefix(u64::MAX, &rung.name), next_prefix(u64::MAX, &rung.name));
            let config = of_rung(&scenario, rung, &own);
            let mut told = layers_of(&config, origin_gate(rung));
            if scenario.fleet.routing == Routing::Owner && !rung.has(Layer::OwnerRouting) {
                told.remove(&Layer::OwnerRouting);
            }
            assert_eq!(told, told_layers(rung), "{}: rung {}", preset.name, rung.name);
            for prefix in [own, next] {
                herd_wire::key::check_prefix(&prefix).unwrap();
                assert!(prefixes.insert(prefix), "{}: rung {}", preset.name, rung.name);
            }
        }
    }
    let longest = next_prefix(u64::MAX, &"r".repeat(40));
    herd_wire::key::check_prefix(&longest).unwrap();
    assert_ne!(next_prefix(1, "a"), prefix(1, "a-v2"), "a rung of that name may exist");
}

/// Gives a rung what its layer needs beside the name.
type TurnOn<'a> = &'a dyn Fn(&mut Rung);

/// Each layer alone turns on itself and nothing else: none rides on another.
#[test]
fn each_layer_alone() {
    let gate = Gate { in_flight_max: 9, queue_max: 8, queue_wait_ms: 7, retry_after_ms: 6 };
    let stale = Stale { grace_ms: 11, safe_keys: vec!["item-*".to_owned()] };
    let lock = preset("ladder").rungs.pop().and_then(|rung| rung.lock).expect("the last rung has a lock");
    let turn_on: [(Layer, TurnOn<'_>); 12] = [
        (Layer::SingleFlight, &|_| {}),
        (Layer::Lock, &|rung| rung.lock = Some(lock.clone())),
        (Layer::WaiterTimeout, &|rung| {
            rung.waiter = Some(Waiter { wait_ms: 5, then: OnWaitTimeout::Stale });
        }),
        (Layer::StaleWhileRevalidate, &|rung| rung.stale = Some(stale.clone())),
        (Layer::StaleIfError, &|rung| rung.stale = Some(stale.clone())),
        (Layer::Jitter, &|rung| rung.jitter = Some(0.25)),
        (Layer::Negative, &|rung| rung.negative_ttl_ms = Some(13)),
        (Layer::KeyFilter, &|_| {}),
        (Layer::Early, &|rung| rung.early_beta = Some(1.5)),
        (Layer::Shed, &|rung| rung.shed = Some(Shed { edge: None, origin: Some(gate) })),
        (Layer::OwnerRouting, &|_| {}),
        (Layer::Local, &|rung| {
            rung.local = Some(Local { ttl_ms: 17, entries_max: 19, incoherent: false });
        }),
    ];
    let (scenario, bare) = bare();
    for (layer, give) in turn_on {
        let mut rung = Rung { layers: vec![layer], ..bare.clone() };
        give(&mut rung);
        let told = layers_of(&of_rung(&scenario, &rung, "p:"), origin_gate(&rung));
        assert_eq!(told, BTreeSet::from([layer]));
    }
}

/// Every number and every choice of a rung reaches the fleet as it stands in the scenario.
#[test]
fn numbers_arrive() {
    let (scenario, bare) = bare();
    let rung = Rung {
        layers: vec![Layer::SingleFlight, Layer::StaleIfError],
        waiter: Some(Waiter { wait_ms: 5, then: OnWaitTimeout::Origin }),
        stale: Some(Stale { grace_ms: 11, safe_keys: vec!["item-1".to_owned(), "x*".to_owned()] }),
        jitter: Some(0.25),
        negative_ttl_ms: Some(13),
        early_beta: Some(1.5),
        local: Some(Local { ttl_ms: 17, entries_max: 19, incoherent: true }),
        flight_second_look: false,
        flight_until: FlightUntil::Fetched,
        on_origin_error: OnOriginError::SerialRetry,
        lock: Some(Lock {
            expiry_ms: 23,
            wait_ms: 29,
            renew: true,
            second_look: false,
            on_wait_timeout: OnWaitTimeout::Stale,
            on_unavailable: OnUnavailable::FailClosed,
            unconditional_release: true,
            volatile_tokens: true,
        }),
        write_guard: WriteGuard::Fenced,
        ..bare
    };
    let config = of_rung(&scenario, &rung, "p:");
    let expected = v1::PolicyConfig {
        ttl_ms: 2_000,
        rebuild_deadline_ms: scenario.policy.rebuild_deadline_ms,
        coalescing: v1::Coalescing::SingleFlight.into(),
        flight_second_look: false,
        lock: Some(v1::LockConfig {
            expiry_ms: 23,
            wait_ms: 29,
            renew: true,
            second_look: false,
            on_wait_timeout: v1::OnWaitTimeout::WaitStale.into(),
            on_unavailable: v1::OnLockUnavailable::FailClosed.into(),
            unconditional_release: true,
            volatile_tokens: true,
        }),
        write_guard: v1::WriteGuard::Fenced.into(),
        waiter: Some(v1::WaiterConfig { wait_ms: 5, then: v1::OnWaitTimeout::WaitOrigin.into() }),
        stale: Some(v1::StaleConfig {
            grace_ms: 11,
            while_revalidate: false,
            if_error: true,
            safe_keys: vec!["item-1".to_owned(), "x*".to_owned()],
        }),
        jitter: 0.25,
        negative: Some(v1::NegativeConfig { ttl_ms: 13 }),
        key_filter: false,
        early_beta: 1.5,
        local: Some(v1::LocalConfig { ttl_ms: 17, entries_max: 19, incoherent: true }),
        flight_until: v1::FlightUntil::Answered.into(),
        on_origin_error: v1::OnOriginError::SerialRetry.into(),
    };
    assert_eq!(config.policy, Some(expected));
}

/// Each gate reaches its part, and only that one.
#[test]
fn gates_arrive() {
    let (scenario, bare) = bare();
    let edge = Gate { in_flight_max: 4, queue_max: 3, queue_wait_ms: 2, retry_after_ms: 1 };
    let origin = Gate { in_flight_max: 40, queue_max: 30, queue_wait_ms: 20, retry_after_ms: 10 };
    let rung = Rung { shed: Some(Shed { edge: Some(edge), origin: Some(origin) }), ..bare };
    let config = of_rung(&scenario, &rung, "p:");
    assert_eq!(
        config.edge_gate,
        Some(v1::Gate { in_flight_max: 4, queue_max: 3, queue_wait_ms: 2, retry_after_ms: 1 })
    );
    assert_eq!(
        origin_gate(&rung),
        v1::OriginGate { in_flight_max: 40, queue_max: 30, queue_wait_ms: 20, retry_after_ms: 10 }
    );
    let edge_only = Rung { shed: Some(Shed { edge: Some(edge), origin: None }), ..rung };
    assert_eq!(origin_gate(&edge_only), OPEN_GATE);
}
