//! Which herd each layer bounds in a fleet, and which it does not: readers who wait, keys that do not exist, an origin
//! that fails. What flight and lock bound, and the known-bad settings, are in `zoo`.

use std::time::Duration;

use herd_policy::{
    AbsentBy, Cause, Config, EarlyConfig, Error, Failure, FetchOutcome, LockConfig, NegativeConfig,
    OnWaitTimeout, Reason, Served, StaleConfig, WaiterConfig,
};

use crate::fleet::Fleet;
use crate::models::Fault;
use crate::node::{flight, locked};

const NODES: usize = 5;
const READERS: usize = 4;
const KEY: &str = "p:item-1";
const SECOND: Duration = Duration::from_secs(1);

fn patient_lock() -> LockConfig {
    LockConfig { expiry: SECOND * 60, wait: SECOND * 60, ..LockConfig::default() }
}

/// A fleet that holds generation 1 of the key, expired a moment ago.
fn expired(config: Config) -> Fleet {
    let mut fleet = Fleet::new(NODES, Config { rebuild_deadline: SECOND * 60, ..config });
    fleet.look_up(0, KEY, SECOND * 60);
    fleet.settle();
    fleet.pass(SECOND);
    fleet.expire(KEY);
    fleet.ledger.clear();
    fleet.latency = SECOND * 2;
    fleet
}

/// Readers at all nodes, all at once, until nothing is left to do.
fn read(fleet: &mut Fleet, key: &str) {
    for reader in 0..NODES * READERS {
        fleet.look_up(reader % NODES, key, SECOND * 60);
    }
    fleet.settle();
}

fn served(fleet: &Fleet, served: Served) -> usize {
    fleet
        .checks
        .answers()
        .filter(|answer| answer.as_ref().is_ok_and(|answer| answer.served == served))
        .count()
}

fn stale(while_revalidate: bool, if_error: bool) -> Option<StaleConfig> {
    Some(StaleConfig { grace: SECOND * 30, while_revalidate, if_error, safe_keys: vec!["p:item-*".into()] })
}

/// Goal: patience bounds the wait. What it costs depends on the way out: the origin once for every waiter that gave up
/// (r*(D - W) of them), or not at all.
#[test]
fn patience_is_paid_for_at_the_origin_or_by_the_reader() {
    for (then, starts) in [
        (OnWaitTimeout::Origin, NODES * READERS),
        (OnWaitTimeout::Error, NODES),
        (OnWaitTimeout::Stale, NODES),
    ] {
        let waiter = Some(WaiterConfig { wait: SECOND, then });
        let mut fleet = expired(Config { waiter, stale: stale(false, false), ..flight() });
        read(&mut fleet, KEY);
        assert_eq!(fleet.ledger.len(), starts, "{then:?}");
        let own = fleet.ledger.iter().filter(|start| start.reason == Reason::WaitTimeout).count();
        assert_eq!(own, starts - NODES);
        let readers = NODES * READERS;
        assert_eq!(served(&fleet, Served::Stale), if then == OnWaitTimeout::Stale { readers } else { 0 });
    }
}

/// Goal: stale-while-revalidate: no reader waits; the refreshes are one a process with single-flight and one with the
/// lock, where the others find the new value and ask the origin for nothing.
#[test]
fn stale_while_revalidate_bounds_the_wait() {
    for (config, refreshes) in [(flight(), NODES), (locked(patient_lock()), 1)] {
        let mut fleet = expired(Config { stale: stale(true, false), ..config });
        read(&mut fleet, KEY);
        assert_eq!(served(&fleet, Served::Stale), NODES * READERS);
        assert_eq!(fleet.ledger.len(), refreshes);
        assert!(fleet.ledger.iter().all(|start| (start.reason, start.generation) == (Reason::Refresh, 1)));
        fleet.ledger.clear();
        read(&mut fleet, KEY);
        assert_eq!((served(&fleet, Served::Hit), fleet.ledger.len()), (NODES * READERS, 0));
    }
}

/// Goal: a failing origin: with stale-if-error its readers get what they saw, with the very same calls to the origin.
#[test]
fn stale_if_error_bounds_the_errors() {
    let away = Failure::retryable(Cause::Unavailable, "away");
    for (if_error, stale_served) in [(true, NODES * READERS), (false, 0)] {
        let mut fleet = expired(Config { stale: stale(false, if_error), ..locked(patient_lock()) });
        fleet.refusal = Some(FetchOutcome::Failed(away.clone()));
        read(&mut fleet, KEY);
        assert_eq!((served(&fleet, Served::Stale), fleet.ledger.len()), (stale_served, 1));
    }
}

/// Goal: a missing row is asked for once a sentinel's life in the fleet, once a lookup's flight without the layer.
#[test]
fn a_sentinel_bounds_the_queries_for_one_missing_row() {
    let negative = Some(NegativeConfig { ttl: SECOND * 5 });
    let lock = || locked(patient_lock());
    for (config, each_window) in [
        (Config { negative, ..lock() }, [1, 0, 0, 1]),
        (Config { negative, ..flight() }, [NODES, 0, 0, NODES]),
        (lock(), [1, 1, 1, 1]),
    ] {
        let mut fleet = Fleet::new(NODES, config);
        fleet.missing.insert(KEY.into());
        let asked = each_window.map(|_| {
            fleet.ledger.clear();
            read(&mut fleet, KEY);
            fleet.pass(SECOND * 2);
            fleet.ledger.len()
        });
        assert_eq!(asked, each_window);
    }
}

/// Goal: distinct ids that do not exist are bounded by no sentinel; the filter answers them all, and yet none of the rows
/// that were inserted after it was made.
#[test]
fn only_the_filter_bounds_distinct_missing_ids() {
    const IDS: usize = 100;
    let negative = Some(NegativeConfig { ttl: SECOND * 5 });
    for (key_filter, asked) in [(false, IDS), (true, 0)] {
        let mut fleet = Fleet::new(NODES, Config { negative, key_filter, ..locked(patient_lock()) });
        fleet.store.filter = Some([KEY.into()].into());
        let ids: Vec<_> = (0..IDS).map(|id| format!("p:random-{id}")).collect();
        fleet.missing.extend(ids.iter().map(|id| id.as_str().into()));
        for id in &ids {
            fleet.look_up(0, id, SECOND * 60);
        }
        fleet.settle();
        assert_eq!(fleet.ledger.len(), asked);
        let by = if key_filter { AbsentBy::Filter } else { AbsentBy::Origin };
        assert!(fleet.checks.answers().all(|answer| *answer == Err(Error::NotFound { by })));

        fleet.insert_begins(&ids[0]);
        fleet.insert_ends(&ids[0]);
        fleet.look_up(1, &ids[0], SECOND * 60);
        fleet.settle();
        assert_eq!(served(&fleet, Served::Led), 1, "the store knows what the filter does not");
    }
}

/// Goal: who asks in another process after an insert was acknowledged is not told of the absence before it, although the
/// holder that he waits for learned it and has yet to say so.
#[test]
fn an_insert_is_seen_by_those_who_wait_for_the_lock() {
    let negative = Some(NegativeConfig { ttl: SECOND * 5 });
    let mut fleet = Fleet::new(2, Config { negative, ..locked(patient_lock()) });
    fleet.missing.insert(KEY.into());
    fleet.look_up(0, KEY, SECOND * 60);
    // Look, acquire, look, fetch, write of the sentinel: each applied and answered. Its release is on its way.
    for _ in 0..10 {
        assert!(fleet.advance(0, Fault::None));
    }
    assert_eq!((fleet.pending(), fleet.store.accepted.len()), (1, 1));
    fleet.insert_begins(KEY);
    fleet.insert_ends(KEY);
    fleet.look_up(1, KEY, SECOND * 60);
    // Its look and its acquire, which waits, are applied before the release arrives.
    assert!(fleet.advance(1, Fault::None) && fleet.advance(1, Fault::None));
    assert!(!fleet.advance(1, Fault::None));
    fleet.settle();
    assert_eq!((served(&fleet, Served::Led), fleet.ledger.len()), (1, 2));
}

/// Goal: early recomputation with the lock: one recompute for the fleet, and nobody misses at the expiry.
#[test]
fn early_recomputation_leaves_no_boundary() {
    let early = Some(EarlyConfig { beta: 0.5 });
    for (config, recomputes) in [(flight(), NODES), (locked(patient_lock()), 1)] {
        let mut fleet = Fleet::new(NODES, Config { early, rebuild_deadline: SECOND * 60, ..config });
        fleet.latency = SECOND * 2;
        fleet.look_up(0, KEY, SECOND * 60);
        fleet.settle();
        fleet.ledger.clear();
        // A TTL of 10 s, a rebuild of 2 s: a millisecond before the expiry 999 of 1,000 readers recompute.
        fleet.pass(Duration::from_millis(9_999));
        read(&mut fleet, KEY);
        assert_eq!(served(&fleet, Served::Hit), NODES * READERS);
        assert_eq!(fleet.ledger.len(), recomputes);
        assert!(fleet.ledger.iter().all(|start| (start.reason, start.generation) == (Reason::Early, 1)));
        fleet.ledger.clear();
        read(&mut fleet, KEY);
        assert_eq!(fleet.ledger.len(), 0, "the new value is there");
    }
}
