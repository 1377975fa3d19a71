//! Random interleavings of everything that can happen to a small fleet; what must hold is checked by `fleet` at every
//! action, and at the end, when all is let to settle: nobody lost, nothing leaked.

use std::time::Duration;

use herd_policy::{Coalescing, Config, LockConfig, LookupId, OnUnavailable, OnWaitTimeout, WriteGuard};
use proptest::prelude::*;

use crate::fleet::Fleet;
use crate::models::Fault;

const KEYS: [&str; 2] = ["p:item-1", "p:item-2"];
const NODES: usize = 3;

#[derive(Debug, Clone)]
enum Event {
    LookUp {
        node: usize,
        key: usize,
        wait_ms: u64,
    },
    Cancel(usize),
    /// One operation is applied or answered.
    Advance(usize, Fault),
    /// The oldest operations are applied or answered in order.
    Flow(usize),
    Pass(u64),
    Expire(usize),
    Invalidate(usize),
    NewVersion,
    LoseStore,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        12 => Just(Fault::None),
        1 => Just(Fault::Refused),
        1 => Just(Fault::Unanswered),
        1 => Just(Fault::Lost),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..NODES, 0..KEYS.len(), 1..400u64)
            .prop_map(|(node, key, wait_ms)| Event::LookUp { node, key, wait_ms }),
        2 => any::<usize>().prop_map(Event::Cancel),
        12 => (any::<usize>(), fault()).prop_map(|(place, fault)| Event::Advance(place, fault)),
        4 => (1..12usize).prop_map(Event::Flow),
        2 => (1..150u64).prop_map(Event::Pass),
        2 => (0..KEYS.len()).prop_map(Event::Expire),
        1 => (0..KEYS.len()).prop_map(Event::Invalidate),
        2 => Just(Event::NewVersion),
    ]
}

fn event_or_loss() -> impl Strategy<Value = Event> {
    prop_oneof![40 => event(), 1 => Just(Event::LoseStore)]
}

fn lock() -> impl Strategy<Value = LockConfig> {
    (1..300u64, 1..300u64, any::<[bool; 4]>()).prop_map(
        |(expiry, wait, [renew, second_look, origin, open])| LockConfig {
            expiry: Duration::from_millis(expiry),
            wait: Duration::from_millis(wait),
            renew,
            second_look,
            on_wait_timeout: if origin { OnWaitTimeout::Origin } else { OnWaitTimeout::Error },
            on_unavailable: if open { OnUnavailable::FailOpen } else { OnUnavailable::FailClosed },
            ..LockConfig::default()
        },
    )
}

fn config() -> impl Strategy<Value = Config> {
    let layers = (proptest::option::weighted(0.7, lock()), proptest::bool::weighted(0.2));
    (layers, any::<bool>(), proptest::bool::weighted(0.2), 1..500u64, 50..500u64).prop_map(
        |((lock, uncoordinated), flight_second_look, unguarded, ttl, deadline)| Config {
            version: 1,
            ttl: Duration::from_millis(ttl),
            rebuild_deadline: Duration::from_millis(deadline),
            coalescing: if uncoordinated { Coalescing::Uncoordinated } else { Coalescing::SingleFlight },
            flight_second_look,
            lock,
            write_guard: if unguarded { WriteGuard::Unguarded } else { WriteGuard::Fenced },
            ..Config::default()
        },
    )
}

fn play(config: Config, events: &[Event]) -> Fleet {
    let mut fleet = Fleet::new(NODES, config);
    let mut lookups: Vec<(usize, LookupId)> = Vec::new();
    for event in events {
        match event {
            Event::LookUp { node, key, wait_ms } => {
                lookups.push((*node, fleet.look_up(*node, KEYS[*key], Duration::from_millis(*wait_ms))));
            }
            Event::Cancel(which) if !lookups.is_empty() => {
                let (node, id) = lookups[which % lookups.len()];
                fleet.cancel(node, id);
            }
            Event::Advance(which, fault) if fleet.pending() > 0 => {
                fleet.advance(which % fleet.pending(), *fault);
            }
            Event::Flow(count) => {
                for _ in 0..(*count).min(fleet.pending()) {
                    if fleet.pending() > 0 {
                        fleet.advance(0, Fault::None);
                    }
                }
            }
            Event::Cancel(_) | Event::Advance(..) => {}
            Event::Pass(ms) => fleet.pass(Duration::from_millis(*ms)),
            Event::Expire(key) => fleet.expire(KEYS[*key]),
            Event::Invalidate(key) => fleet.store.invalidate(KEYS[*key]),
            Event::NewVersion => fleet.version += 1,
            Event::LoseStore => fleet.lose_store(),
        }
    }
    fleet
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Goal: whatever happens in whatever order: never two live flights a key and node, one answer for each lookup, a
    /// release for every grant, nothing leaked once all has settled, and (fenced) nobody is shown something older than
    /// what anybody was shown before it asked.
    #[test]
    fn any_interleaving_is_safe_and_ends(
        config in config(),
        events in proptest::collection::vec(event(), 1..160),
    ) {
        play(config, &events).settle();
    }

    /// Goal: the same where the store may lose everything: then only the order of what is shown is not promised.
    #[test]
    fn a_store_that_loses_its_data_leaks_nothing(
        config in config(),
        events in proptest::collection::vec(event_or_loss(), 1..160),
    ) {
        play(config, &events).settle();
    }

    /// Goal: with fences, and however the leases behave, each generation is written at most once.
    #[test]
    fn a_generation_is_written_once(
        lock in lock(),
        events in proptest::collection::vec(event(), 1..160),
    ) {
        let config = Config { lock: Some(lock), ttl: Duration::from_millis(50), ..Config::default() };
        let mut fleet = play(config, &events);
        fleet.settle();
        let mut written: Vec<_> = fleet.store.accepted.iter().map(|(key, observed, _)| (key.clone(), *observed)).collect();
        let all = written.len();
        written.sort();
        written.dedup();
        prop_assert_eq!(written.len(), all);
    }
}
