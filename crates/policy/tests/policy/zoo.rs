//! What each layer bounds in a fleet, and what each known-bad setting breaks: the difference is the point.

use std::collections::BTreeSet;
use std::time::Duration;

use herd_policy::{
    AbsentBy, Cause, Coalescing, Config, Error, Failure, FetchOutcome, FlightUntil, LockConfig,
    OnOriginError, OnUnavailable, OnWaitTimeout, Reason, Refusal, WriteGuard,
};

use crate::checks::Checks;
use crate::fleet::Fleet;
use crate::models::Fault;
use crate::node::{Node, direct, expired, flight, fresh, locked};

const NODES: usize = 5;
const READERS: usize = 4;
const KEY: &str = "p:item-1";
const SECOND: Duration = Duration::from_secs(1);

/// A fleet whose readers, 4 at each of 5 nodes, all look at the moment when generation 1 expires.
fn boundary(config: Config, rebuild: Duration) -> Fleet {
    let mut fleet = Fleet::new(NODES, Config { rebuild_deadline: SECOND * 60, ..config });
    fleet.look_up(0, KEY, SECOND * 60);
    fleet.settle();
    fleet.expire(KEY);
    fleet.ledger.clear();
    fleet.store.accepted.clear();
    fleet.latency = rebuild;
    fleet.version = 2;
    for reader in 0..NODES * READERS {
        fleet.look_up(reader % NODES, KEY, SECOND * 60);
    }
    fleet
}

/// Rebuild starts that name generation 1.
fn herd(fleet: &Fleet) -> usize {
    fleet.ledger.iter().filter(|start| start.generation == 1).count()
}

fn settled(config: Config, rebuild: Duration) -> Fleet {
    let mut fleet = boundary(config, rebuild);
    fleet.settle();
    fleet
}

/// Goal: without a layer every reader asks the origin; single-flight leaves one a process; the lock one in the fleet.
#[test]
fn each_layer_bounds_its_own_scope() {
    let none = Config { coalescing: Coalescing::Uncoordinated, ..direct() };
    assert_eq!(herd(&settled(none.clone(), SECOND)), NODES * READERS);

    let fleet = settled(flight(), SECOND);
    assert_eq!(herd(&fleet), NODES);
    assert_eq!(fleet.ledger.iter().map(|start| start.node).collect::<BTreeSet<_>>().len(), NODES);
    assert_eq!(fleet.store.accepted.len(), 1, "the fence takes the first and refuses the others");

    for within in [Coalescing::SingleFlight, Coalescing::Uncoordinated] {
        let lock = Config { coalescing: within, ..locked(LockConfig::default()) };
        let fleet = settled(lock, SECOND);
        assert_eq!((herd(&fleet), fleet.ledger[0].reason), (1, Reason::LeaseHolder));
    }
}

/// Goal: `flight_second_look = false`: who missed before the write leads a second flight after it.
#[test]
fn a_flight_without_second_look_is_repeated() {
    for (config, rebuilds) in [(flight(), 0), (direct(), 1)] {
        let mut node = Node::new(config);
        let (_, late_read) = node.look();
        // Meanwhile a whole flight came and went: the store holds generation 2.
        node.answer_read(late_read, expired(1));
        if let Some(look) = node.read() {
            node.answer_read(look, fresh(11, 2));
        }
        assert_eq!(node.fetch().iter().count(), rebuilds);
    }
}

/// Goal: `lock.second_look = false`: every process that waited rebuilds after the holder.
#[test]
fn a_lock_without_second_look_rebuilds_once_per_waiter() {
    let careful = LockConfig { expiry: SECOND * 60, wait: SECOND * 60, ..LockConfig::default() };
    let careless = LockConfig { second_look: false, ..careful.clone() };
    assert_eq!(herd(&settled(locked(careful), SECOND)), 1);
    let fleet = settled(locked(careless), SECOND);
    assert_eq!(herd(&fleet), NODES, "{:?}", fleet.ledger);
    assert_eq!(fleet.store.accepted.len(), 1, "a fence bounds writes, not origin work");
}

/// Goal: a wait shorter than the rebuild, with the origin as the way out, adds every process that waited; with an error
/// as the way out none.
#[test]
fn waiters_that_give_up_go_to_the_origin() {
    let lock = LockConfig { wait: SECOND, expiry: SECOND * 60, ..LockConfig::default() };
    let origin = LockConfig { on_wait_timeout: OnWaitTimeout::Origin, ..lock.clone() };
    let fleet = settled(locked(origin), SECOND * 2);
    assert_eq!(herd(&fleet), NODES);
    assert_eq!(fleet.ledger.iter().filter(|start| start.reason == Reason::WaitTimeout).count(), NODES - 1);
    assert_eq!(herd(&settled(locked(lock), SECOND * 2)), 1);
}

/// Goal: an expiry E shorter than the rebuild D gives ceil(D/E) starts and one accepted write; renewal makes it one start.
#[test]
fn a_lock_shorter_than_the_rebuild_bounds_nothing_without_renewal() {
    let short = LockConfig { expiry: SECOND, wait: SECOND * 60, ..LockConfig::default() };
    let rebuild = Duration::from_millis(3_500);
    let fleet = settled(locked(short.clone()), rebuild);
    assert_eq!((herd(&fleet), fleet.store.accepted.len()), (4, 1));
    assert!(fleet.store.refused.iter().all(|refusal| *refusal == Refusal::GenerationMoved));

    let renewed = LockConfig { renew: true, ..short };
    assert_eq!(herd(&settled(locked(renewed), rebuild)), 1);
}

/// Goal: an error does not turn the lock's queue into a serial herd. 40 nodes ask for a row that is not there, or at an
/// origin that fails: one asks the origin, and everybody who waits shares its answer; without the lock each process asks.
#[test]
fn an_error_is_fetched_once_for_all_who_wait_in_the_fleet() {
    let away = Failure::retryable(Cause::Unavailable, "away");
    for (refusal, error) in [
        (FetchOutcome::NotFound, Error::NotFound { by: AbsentBy::Origin }),
        (FetchOutcome::Failed(away.clone()), Error::Origin(away)),
    ] {
        for (config, starts) in [(locked(LockConfig::default()), 1), (flight(), 40)] {
            let mut fleet = Fleet::new(40, Config { rebuild_deadline: SECOND * 60, ..config });
            fleet.latency = SECOND;
            fleet.refusal = Some(refusal.clone());
            for reader in 0..120 {
                fleet.look_up(reader % 40, KEY, SECOND * 60);
            }
            fleet.settle();
            assert_eq!(fleet.ledger.len(), starts, "{:?}", fleet.ledger);
            let answers: Vec<_> = fleet.checks.answers().collect();
            assert_eq!(answers.len(), 120);
            assert!(answers.iter().all(|answer| **answer == Err(error.clone())), "{answers:?}");
        }
    }
}

/// Goal: `write_guard = unguarded`: every late writer overwrites.
#[test]
fn without_a_guard_every_late_writer_overwrites() {
    let fenced = settled(flight(), SECOND);
    let unguarded = settled(Config { write_guard: WriteGuard::Unguarded, ..flight() }, SECOND);
    assert_eq!((fenced.store.accepted.len(), unguarded.store.accepted.len()), (1, NODES));
}

/// Goal: the lock service away: fail-open is one rebuild a process, fail-closed none.
#[test]
fn a_lock_that_is_away_is_a_choice() {
    for (on_unavailable, rebuilds) in [(OnUnavailable::FailOpen, NODES), (OnUnavailable::FailClosed, 0)] {
        let mut fleet = boundary(locked(LockConfig { on_unavailable, ..LockConfig::default() }), SECOND);
        // First looks are applied and answered; each leader's acquire is refused.
        for _ in 0..NODES * READERS {
            assert!(fleet.advance(0, Fault::None) && fleet.advance(0, Fault::None));
        }
        for acquire in 0..NODES {
            assert!(fleet.advance(acquire, Fault::Refused));
        }
        fleet.settle();
        assert_eq!(herd(&fleet), rebuilds);
        assert!(fleet.ledger.iter().all(|start| start.reason == Reason::FailOpen));
    }
}

/// Goal: the store comes back empty between grant and write: the writer from before is refused, not let in by the empty
/// slot; its reader gets the value all the same.
#[test]
fn a_writer_from_before_the_loss_is_refused() {
    let mut fleet = Fleet::new(1, locked(LockConfig::default()));
    fleet.look_up(0, KEY, SECOND * 60);
    // Look, acquire, look after the grant: each is applied and answered; then the fetch is under way.
    for _ in 0..6 {
        assert!(fleet.advance(0, Fault::None));
    }
    assert_eq!(fleet.ledger.len(), 1);
    fleet.lose_store();
    fleet.settle();
    assert_eq!(fleet.store.refused, [Refusal::EpochMissing]);
    let served = fleet.checks.answers().next().expect("an answer");
    assert!(served.as_ref().is_ok_and(|answer| !answer.cached));
}

/// A reader at a node whose flight was answered by the origin and has not written yet.
fn a_reader_between_answer_and_write(flight_until: FlightUntil, claimed: FlightUntil) -> Fleet {
    let mut fleet = Fleet::new(1, Config { flight_until, ..direct() });
    fleet.checks = Checks::new(&Config { flight_until: claimed, ..direct() });
    fleet.look_up(0, KEY, SECOND * 60);
    // Look and fetch, each applied and answered; the write is sent, not applied.
    for _ in 0..4 {
        assert!(fleet.advance(0, Fault::None));
    }
    fleet.look_up(0, KEY, SECOND * 60);
    assert_eq!(fleet.pending(), 2);
    assert!(fleet.advance(1, Fault::None) && fleet.advance(1, Fault::None));
    fleet.settle();
    fleet
}

/// Goal: `flight_until = fetched`: who misses between the origin's answer and the write leads a second flight.
#[test]
fn a_flight_that_ends_at_the_answer_is_repeated() {
    for (until, starts) in [(FlightUntil::Written, 1), (FlightUntil::Fetched, 2)] {
        assert_eq!(a_reader_between_answer_and_write(until, until).ledger.len(), starts);
    }
}

/// Goal: the check of one live flight a key says no to it.
#[test]
#[should_panic(expected = "two live flights")]
fn a_flight_that_ends_at_the_answer_is_caught() {
    a_reader_between_answer_and_write(FlightUntil::Fetched, FlightUntil::Written);
}

/// Goal: `write_guard = unguarded`: the check that what is shown never goes back says no to a late writer, and has nothing
/// to say where the guard refuses him.
#[test]
fn a_late_writer_is_caught() {
    let outcome = |guard: WriteGuard| {
        std::panic::catch_unwind(|| {
            let mut fleet = Fleet::new(2, Config { write_guard: guard, ..direct() });
            fleet.checks = Checks::new(&direct());
            let late = fleet.look_up(0, KEY, SECOND * 60);
            for _ in 0..4 {
                assert!(fleet.advance(0, Fault::None));
            }
            // Its old value is fetched; the other node writes a newer one first, and again.
            for version in 2..4 {
                fleet.version = version;
                fleet.look_up(1, KEY, SECOND * 60);
                while fleet.pending() > 1 {
                    assert!(fleet.advance(1, Fault::None));
                }
                fleet.expire(KEY);
            }
            fleet.cancel(0, late);
            fleet.settle();
            fleet.look_up(1, KEY, SECOND * 60);
            fleet.settle();
        })
    };
    assert!(outcome(WriteGuard::Fenced).is_ok());
    let panic = outcome(WriteGuard::Unguarded).expect_err("caught");
    let said = panic.downcast_ref::<String>().expect("a message");
    assert!(said.contains("after Floor"), "{said}");
}

/// Goal: `on_origin_error = serial_retry`: a failing origin is asked once for each who waits, one after the other, where
/// shared errors ask it once.
#[test]
fn an_error_that_is_not_shared_is_a_serial_herd() {
    let away = Failure::retryable(Cause::Unavailable, "away");
    for (on_origin_error, starts) in [(OnOriginError::Share, 1), (OnOriginError::SerialRetry, READERS)] {
        let mut fleet = Fleet::new(1, Config { on_origin_error, rebuild_deadline: SECOND * 60, ..flight() });
        fleet.latency = SECOND;
        fleet.refusal = Some(FetchOutcome::Failed(away.clone()));
        for _ in 0..READERS {
            fleet.look_up(0, KEY, SECOND * 60);
        }
        fleet.settle();
        assert_eq!(fleet.ledger.len(), starts);
        assert!(fleet.ledger[1..].iter().all(|start| start.reason == Reason::Retry));
        assert!(fleet.checks.answers().all(|answer| *answer == Err(Error::Origin(away.clone()))));
    }
}

/// Goal: `lock.unconditional_release`: a holder that lost its lease frees the next one's, and a third rebuild starts
/// beside the second.
#[test]
fn a_release_of_another_ones_lease_lets_the_next_in() {
    for (unconditional_release, starts) in [(false, 2), (true, 3)] {
        let expiry = SECOND * 2;
        let lock = LockConfig {
            expiry,
            renew: true,
            wait: SECOND * 60,
            unconditional_release,
            ..LockConfig::default()
        };
        let mut fleet = Fleet::new(3, Config { rebuild_deadline: SECOND * 60, ..locked(lock) });
        fleet.latency = SECOND * 3;
        // The first holder's renewals get lost, then its rebuild fails, long after the second holder's has begun.
        fleet.ailing = Some(0);
        for node in 0..3 {
            fleet.look_up(node, KEY, SECOND * 60);
        }
        fleet.settle();
        assert_eq!(fleet.ledger.len(), starts, "{:?}", fleet.ledger);
    }
}
