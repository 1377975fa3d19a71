//! Random interleavings of everything that can happen to a small fleet; what must hold is checked by `fleet` at every
//! action, and at the end, when all is let to settle: nobody lost, nothing leaked.

use std::collections::BTreeMap;
use std::time::Duration;

use herd_policy::{
    Coalescing, Config, EarlyConfig, FlightUntil, Limits, LockConfig, LookupId, NegativeConfig,
    OnOriginError, OnUnavailable, OnWaitTimeout, StaleConfig, WaiterConfig, WriteGuard,
};
use proptest::prelude::*;

use crate::fleet::Fleet;
use crate::models::Fault;

const KEYS: [&str; 2] = ["p:item-1", "p:item-2"];
const NODES: usize = 3;
const HOUR: Duration = Duration::from_secs(3_600);

#[derive(Debug, Clone)]
enum Event {
    LookUp {
        node: usize,
        key: usize,
        wait_ms: u64,
        warm: bool,
    },
    Cancel(usize),
    /// One operation is applied or answered.
    Advance(usize, Fault),
    /// The oldest operations are applied or answered in order.
    Flow(usize),
    Pass(u64),
    Expire(usize),
    Invalidate(usize),
    Remove(usize),
    InsertBegins(usize),
    InsertEnds(usize),
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
        7 => (0..NODES, 0..KEYS.len(), 1..400u64, proptest::bool::weighted(0.1))
            .prop_map(|(node, key, wait_ms, warm)| Event::LookUp { node, key, wait_ms, warm }),
        2 => any::<usize>().prop_map(Event::Cancel),
        12 => (any::<usize>(), fault()).prop_map(|(place, fault)| Event::Advance(place, fault)),
        4 => (1..12usize).prop_map(Event::Flow),
        2 => (1..150u64).prop_map(Event::Pass),
        2 => (0..KEYS.len()).prop_map(Event::Expire),
        1 => (0..KEYS.len()).prop_map(Event::Invalidate),
        1 => (0..KEYS.len()).prop_map(Event::Remove),
        1 => (0..KEYS.len()).prop_map(Event::InsertBegins),
        1 => (0..KEYS.len()).prop_map(Event::InsertEnds),
        2 => Just(Event::NewVersion),
    ]
}

fn event_or_loss() -> impl Strategy<Value = Event> {
    prop_oneof![40 => event(), 1 => Just(Event::LoseStore)]
}

fn milliseconds(longest: u64) -> impl Strategy<Value = Duration> {
    (1..longest).prop_map(Duration::from_millis)
}

fn on_wait_timeout() -> impl Strategy<Value = OnWaitTimeout> {
    prop_oneof![Just(OnWaitTimeout::Error), Just(OnWaitTimeout::Origin), Just(OnWaitTimeout::Stale)]
}

fn lock() -> impl Strategy<Value = LockConfig> {
    let times = (milliseconds(300), milliseconds(300));
    (times, on_wait_timeout(), any::<[bool; 3]>(), proptest::bool::weighted(0.1)).prop_map(
        |((expiry, wait), on_wait_timeout, [renew, second_look, open], unconditional_release)| LockConfig {
            expiry,
            wait,
            renew,
            second_look,
            on_wait_timeout,
            on_unavailable: if open { OnUnavailable::FailOpen } else { OnUnavailable::FailClosed },
            unconditional_release,
            ..LockConfig::default()
        },
    )
}

fn stale() -> impl Strategy<Value = StaleConfig> {
    let safe = prop_oneof![Just(vec!["*"]), Just(vec!["item-1"]), Just(vec![])];
    (milliseconds(400), any::<[bool; 2]>(), safe).prop_map(|(grace, [while_revalidate, if_error], safe)| {
        let safe_keys = safe.into_iter().map(Into::into).collect();
        StaleConfig { grace, while_revalidate, if_error, safe_keys }
    })
}

/// The layers that stand beside flight and lock, drawn each by itself.
fn beside(config: Config) -> impl Strategy<Value = Config> {
    let waiter = (milliseconds(200), on_wait_timeout()).prop_map(|(wait, then)| WaiterConfig { wait, then });
    let negative = milliseconds(200).prop_map(|ttl| NegativeConfig { ttl });
    let early = prop_oneof![Just(0.5), Just(1.0), Just(10.0)].prop_map(|beta| EarlyConfig { beta });
    let options = (
        proptest::option::weighted(0.4, waiter),
        proptest::option::weighted(0.5, stale()),
        proptest::option::weighted(0.5, negative),
        proptest::option::weighted(0.4, early),
    );
    let jitter = prop_oneof![Just(0.0), Just(0.25), Just(0.9)];
    (options, jitter, any::<bool>()).prop_map(
        move |((waiter, stale, negative, early), jitter, key_filter)| Config {
            key_prefix: "p:".into(),
            waiter,
            stale,
            negative,
            early,
            jitter,
            key_filter,
            ..config.clone()
        },
    )
}

fn config() -> impl Strategy<Value = Config> {
    let rare = || proptest::bool::weighted(0.15);
    let layers = (proptest::option::weighted(0.6, lock()), rare(), any::<bool>());
    (layers, (rare(), rare(), rare()), milliseconds(500), 50..500u64)
        .prop_map(|((lock, uncoordinated, second_look), (unguarded, short, serial), ttl, deadline)| Config {
            version: 1,
            ttl,
            rebuild_deadline: Duration::from_millis(deadline),
            coalescing: if uncoordinated { Coalescing::Uncoordinated } else { Coalescing::SingleFlight },
            flight_second_look: second_look,
            lock,
            write_guard: if unguarded { WriteGuard::Unguarded } else { WriteGuard::Fenced },
            flight_until: if short { FlightUntil::Fetched } else { FlightUntil::Written },
            on_origin_error: if serial { OnOriginError::SerialRetry } else { OnOriginError::Share },
            ..Config::default()
        })
        .prop_flat_map(beside)
}

/// One operation after the other goes wrong in no way.
fn faultless() -> impl Strategy<Value = Event> {
    event().prop_map(|event| match event {
        Event::Advance(place, _) => Event::Advance(place, Fault::None),
        other => other,
    })
}

/// A lock whose lease outlives every rebuild and whose waiters wait, beside layers none of which goes to the origin by
/// itself.
fn lock_that_holds() -> impl Strategy<Value = Config> {
    let (ttl, rebuild_deadline) = (Duration::from_millis(50), HOUR);
    let lock = LockConfig { expiry: HOUR, wait: HOUR, ..LockConfig::default() };
    (any::<[bool; 2]>(), milliseconds(200))
        .prop_flat_map(move |([second_look, uncoordinated], negative)| {
            let coalescing = if uncoordinated { Coalescing::Uncoordinated } else { Coalescing::SingleFlight };
            let config =
                Config { lock: Some(lock.clone()), ttl, rebuild_deadline, coalescing, ..Config::default() };
            beside(Config { flight_second_look: second_look, ..config })
                .prop_map(move |config| Config { negative: Some(NegativeConfig { ttl: negative }), ..config })
        })
        .prop_map(|mut config| {
            if let Some(waiter) = config.waiter.as_mut().filter(|waiter| waiter.then == OnWaitTimeout::Origin)
            {
                waiter.then = OnWaitTimeout::Error;
            }
            config
        })
}

/// Readers come, and as many hang up, at every step of their rebuilds.
fn hang_ups() -> impl Strategy<Value = Event> {
    prop_oneof![2 => faultless(), 1 => any::<usize>().prop_map(Event::Cancel)]
}

fn most_asked(fleet: &Fleet) -> usize {
    let mut asked: BTreeMap<_, usize> = BTreeMap::new();
    for start in &fleet.ledger {
        *asked.entry((&start.key, start.generation)).or_default() += 1;
    }
    asked.into_values().max().unwrap_or(0)
}

fn play(config: Config, events: &[Event]) -> Fleet {
    play_within(config, events, &Limits::default())
}

fn play_within(config: Config, events: &[Event], limits: &Limits) -> Fleet {
    let mut fleet = Fleet::limited(NODES, config, limits);
    // The first row was there when the filters were made; the second comes and goes.
    fleet.store.filter = Some([KEYS[0].into()].into());
    fleet.missing.insert(KEYS[1].into());
    let mut lookups: Vec<(usize, LookupId)> = Vec::new();
    for event in events {
        match event {
            Event::LookUp { node, key, wait_ms, warm } => {
                let (key, wait) = (KEYS[*key], Duration::from_millis(*wait_ms));
                let id = if *warm { fleet.warm(*node, key, wait) } else { fleet.look_up(*node, key, wait) };
                lookups.push((*node, id));
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
            Event::Remove(key) => fleet.remove(KEYS[*key]),
            Event::InsertBegins(key) => fleet.insert_begins(KEYS[*key]),
            Event::InsertEnds(key) => fleet.insert_ends(KEYS[*key]),
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
        config in lock().prop_flat_map(|lock| {
            let ttl = Duration::from_millis(50);
            beside(Config { lock: Some(lock), ttl, ..Config::default() })
        }),
        events in proptest::collection::vec(event(), 1..160),
    ) {
        let mut fleet = play(config, &events);
        fleet.settle();
        let mut written: Vec<_> = fleet.store.accepted.iter().map(|(key, observed, _)| (key.clone(), *observed)).collect();
        let all = written.len();
        written.sort();
        written.dedup();
        prop_assert_eq!(written.len(), all);
    }

    /// Goal: where nothing goes wrong and the lock holds, no generation is asked for twice in the fleet, whichever of the
    /// other layers are on: refreshes, early recomputes and warm-ups included.
    #[test]
    fn a_generation_is_asked_for_once(
        config in lock_that_holds(),
        events in proptest::collection::vec(faultless(), 1..160),
    ) {
        let limits = Limits { store_deadline: HOUR, ..Limits::default() };
        let mut fleet = play_within(config, &events, &limits);
        fleet.settle();
        let mut asked: Vec<_> =
            fleet.ledger.iter().map(|start| (start.key.clone(), start.generation)).collect();
        let all = asked.len();
        asked.sort();
        asked.dedup();
        prop_assert_eq!(asked.len(), all, "{:?}", fleet.ledger);
    }

    /// Goal (mode 1): whoever hangs up at whatever step, with and without the lock: nobody is stranded, no lease outlives its
    /// flight (who comes later is served within the release, not the expiry), and hang-ups add no rebuild: one a
    /// generation with the lock, N without it.
    #[test]
    fn mass_hang_ups_strand_nobody(
        config in lock_that_holds(),
        locked in any::<bool>(),
        events in proptest::collection::vec(hang_ups(), 1..200),
    ) {
        let single_flight = Config { lock: None, flight_second_look: true, coalescing: Coalescing::SingleFlight, ..config.clone() };
        let (config, bound) = if locked { (config, 1) } else { (single_flight, NODES) };
        let limits = Limits { store_deadline: HOUR, ..Limits::default() };
        let mut fleet = play_within(config, &events, &limits);
        let end = fleet.now() + HOUR;
        for node in 0..NODES {
            fleet.look_up(node, KEYS[0], HOUR * 2);
        }
        fleet.settle();
        prop_assert!(fleet.now() < end, "somebody waited for a lease to expire");
        prop_assert!(most_asked(&fleet) <= bound, "{:?}", fleet.ledger);
    }
}
