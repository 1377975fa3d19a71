//! The ways in which stampede guards are known to break, one test each.

use std::time::Duration;

use herd_policy::{
    Cause, Ending, Error, Failure, FetchOutcome, LeaseOutcome, Limit, Limits, LockConfig, OnUnavailable,
    OnWaitTimeout, ReadOutcome, Reason, Refusal, RenewOutcome, Served, WriteOutcome,
};

use crate::node::{Node, direct, expired, flight, fresh, lease, locked};

const SECOND: Duration = Duration::from_secs(1);

fn away() -> Failure {
    Failure::retryable(Cause::Unavailable, "away")
}

/// Goal (mode 1): a leader that hangs up strands nobody and starts nothing anew; the oldest waiter leads.
#[test]
fn a_cancelled_leader_hands_over_to_the_oldest_waiter() {
    let mut node = Node::new(direct());
    let (leader, second, third) = (node.miss(1), node.miss(1), node.miss(1));
    let fetch = node.fetch().expect("one rebuild");
    node.cancel(leader);
    assert_eq!(node.fetch(), None, "nobody starts over");
    node.answer_fetch(fetch.op, FetchOutcome::Fetched(11));
    let write = node.write().expect("the write");
    node.answer_write(write.op, WriteOutcome::Written { generation: 2 });
    assert_eq!(node.value_of(second), (11, Served::Led));
    assert_eq!(node.value_of(third), (11, Served::Waited));
    assert!(!node.served.contains_key(&leader), "nobody listens there any more");
    node.assert_idle();
}

/// Goal (mode 1): with nobody left the rebuild runs on, and who comes later joins it instead of starting another.
#[test]
fn a_flight_outlives_all_its_waiters() {
    let mut node = Node::new(direct());
    let alone = node.miss(1);
    let fetch = node.fetch().expect("one rebuild");
    node.cancel(alone);
    assert_eq!((node.core.flights(), node.core.waiting()), (1, 0));
    let late = node.miss(1);
    assert_eq!(node.fetch(), None, "the live flight is joined");
    node.answer_fetch(fetch.op, FetchOutcome::Fetched(11));
    let write = node.write().expect("the write");
    node.answer_write(write.op, WriteOutcome::Written { generation: 2 });
    assert_eq!(node.value_of(late), (11, Served::Led));
    node.assert_idle();
}

/// Goal (mode 2): a vanished rebuild is tried once more, no oftener; then all learn of it, and the next lookup starts
/// afresh.
#[test]
fn a_lost_rebuild_is_retried_once() {
    let mut node = Node::new(direct());
    let (one, two) = (node.miss(1), node.miss(1));
    let first = node.fetch().expect("one rebuild");
    node.answer_fetch(first.op, FetchOutcome::Lost);
    let retry = node.fetch().expect("one retry");
    assert_eq!((retry.reason, retry.deadline), (Reason::Retry, first.deadline));
    node.answer_fetch(retry.op, FetchOutcome::Lost);
    assert_eq!(node.fetch(), None, "and no more");
    assert_eq!((node.error_of(one), node.error_of(two)), (Error::RebuildLost, Error::RebuildLost));
    node.assert_idle();
    node.miss(1);
    assert_eq!(node.fetch().expect("a new flight").reason, Reason::FlightLeader);
}

/// Goal (mode 2): an origin's error is shared with everybody waiting then, not cached, and not retried by each of them.
#[test]
fn an_error_is_shared_once_and_not_cached() {
    let mut node = Node::new(direct());
    let waiters: Vec<_> = (0..5).map(|_| node.miss(1)).collect();
    let fetch = node.fetch().expect("one rebuild");
    node.answer_fetch(fetch.op, FetchOutcome::Failed(away()));
    assert_eq!((node.fetch(), node.write()), (None, None), "no serial herd, nothing cached");
    for waiter in waiters {
        assert_eq!(node.error_of(waiter), Error::Origin(away()));
    }
    node.assert_idle();
    let next = node.miss(1);
    let fetch = node.fetch().expect("the next caller tries once");
    node.answer_fetch(fetch.op, FetchOutcome::NotFound);
    assert_eq!(node.error_of(next), Error::NotFound);
}

/// Goal (mode 3): the leader's deadline is its own; waiters with later ones get the value.
#[test]
fn a_leaders_deadline_fails_the_leader_alone() {
    let mut node = Node::new(direct());
    let leader = node.miss_within(1, SECOND);
    let waiter = node.miss_within(1, SECOND * 3);
    let fetch = node.fetch().expect("one rebuild");
    assert!(fetch.deadline > node.now + SECOND, "the rebuild has its own deadline");
    node.pass(SECOND * 2);
    assert_eq!(node.error_of(leader), Error::Deadline);
    assert!(!node.served.contains_key(&waiter));
    node.answer_fetch(fetch.op, FetchOutcome::Fetched(11));
    let write = node.write().expect("the write");
    node.answer_write(write.op, WriteOutcome::Written { generation: 2 });
    assert_eq!(node.value_of(waiter), (11, Served::Led));
    node.assert_idle();
}

/// Goal (mode 3): and a waiter's deadline is its own too.
#[test]
fn a_waiters_deadline_fails_the_waiter_alone() {
    let mut node = Node::new(direct());
    let leader = node.miss_within(1, SECOND * 3);
    let waiter = node.miss_within(1, SECOND);
    node.pass(SECOND * 2);
    assert_eq!(node.error_of(waiter), Error::Deadline);
    assert!(!node.served.contains_key(&leader));
    assert_eq!((node.core.flights(), node.core.waiting()), (1, 1));
}

/// Goal (mode 4): a joiner that cancels leaves the flight live, so that the next one joins instead of duplicating it.
#[test]
fn a_cancelled_joiner_leaves_the_flight() {
    let mut node = Node::new(direct());
    node.miss(1);
    let joiner = node.miss(1);
    let _ = node.fetch().expect("one rebuild");
    node.cancel(joiner);
    node.cancel(joiner);
    node.miss(1);
    assert_eq!(node.fetch(), None, "no duplicate");
    assert_eq!((node.core.flights(), node.core.waiting()), (1, 2));
}

/// Goal (mode 5): a caller whose first look was overtaken by a whole flight finds the value when it looks again.
#[test]
fn a_flight_that_ends_while_a_caller_joins_is_not_repeated() {
    let mut node = Node::new(flight());
    let (overtaken, late_read) = node.look();
    let leader = node.miss(1);
    let look = node.read().expect("the leader's second look");
    node.answer_read(look, expired(1));
    let fetch = node.fetch().expect("one rebuild");
    node.answer_fetch(fetch.op, FetchOutcome::Fetched(11));
    let write = node.write().expect("the write");
    node.answer_write(write.op, WriteOutcome::Written { generation: 2 });
    assert_eq!(node.value_of(leader), (11, Served::Led));

    node.answer_read(late_read, expired(1));
    assert_eq!(node.fetch(), None, "it looks first");
    let look = node.read().expect("its second look");
    node.answer_read(look, fresh(11, 2));
    assert_eq!(node.value_of(overtaken), (11, Served::SecondLook));
    assert_eq!(node.ended.last().expect("ended").ending, Ending::FoundFresh);
    node.assert_idle();
}

/// Goal (mode 5): who joins between the origin's answer and the end of the write waits for that very write.
#[test]
fn a_joiner_during_the_write_is_served_by_it() {
    let mut node = Node::new(direct());
    node.miss(1);
    let fetch = node.fetch().expect("one rebuild");
    node.answer_fetch(fetch.op, FetchOutcome::Fetched(11));
    let write = node.write().expect("the write");
    let joiner = node.miss(1);
    assert_eq!(node.fetch(), None, "no second rebuild");
    node.answer_write(write.op, WriteOutcome::Written { generation: 2 });
    assert_eq!(node.value_of(joiner), (11, Served::Waited));
    node.assert_idle();
}

/// Goal (mode 9): an acquire without an answer may have been applied, so that its owner is released, and the next attempt
/// has another name.
#[test]
fn an_acquire_without_an_answer_leaves_no_orphan() {
    let mut node = Node::new(locked(LockConfig::default()));
    let reader = node.miss(1);
    let (op, owner) = node.acquire().expect("an acquire");
    node.answer_lease(op, LeaseOutcome::Unknown(away()));
    let release = node.release().expect("an orphan is released");
    assert_eq!((release.owner, release.value_written), (owner, false));
    let fetch = node.fetch().expect("fail-open");
    assert_eq!((fetch.reason, fetch.lease), (Reason::FailOpen, None));
    node.answer_fetch(fetch.op, FetchOutcome::Fetched(11));
    let write = node.write().expect("the write");
    node.answer_write(write.op, WriteOutcome::Written { generation: 2 });
    assert_eq!(node.value_of(reader), (11, Served::Led));
    node.assert_idle();

    node.miss(2);
    let (_, next) = node.acquire().expect("the next flight's");
    assert_ne!(owner, next, "a late release must not free it");
}

/// Goal (mode 9): a grant that arrives after the core gave up on the acquire is given back.
#[test]
fn a_grant_that_comes_too_late_is_given_back() {
    let mut node =
        Node::new(locked(LockConfig { on_unavailable: OnUnavailable::FailClosed, ..LockConfig::default() }));
    let reader = node.miss_within(1, SECOND * 60);
    let (op, owner) = node.acquire().expect("an acquire");
    node.pass(SECOND * 30);
    assert!(matches!(node.error_of(reader), Error::Lock(_)), "fail-closed");
    assert_eq!(node.release().expect("released at once").owner, owner);
    assert_eq!((node.core.flights(), node.core.operations()), (0, 1));
    node.answer_lease(op, LeaseOutcome::Granted(lease(5)));
    assert_eq!(node.release().expect("and once more, now that it is certain").owner, owner);
    node.assert_idle();
}

/// Goal (mode 11): a lease is given back when the cache write fails, and the readers get the value all the same.
#[test]
fn a_failed_write_leaks_no_lease() {
    for outcome in [WriteOutcome::Failed(away()), WriteOutcome::Uncacheable] {
        let mut node = Node::new(locked(LockConfig::default()));
        let (leader, waiter) = (node.miss(1), node.miss(1));
        let (owner, fetch) = node.grant(5, 1);
        node.answer_fetch(fetch.op, FetchOutcome::Fetched(11));
        let write = node.write().expect("the write");
        assert_eq!(write.lease, Some(lease(5)));
        node.answer_write(write.op, outcome);
        let release = node.release().expect("the lease is given back");
        assert_eq!((release.owner, release.value_written), (owner, false));
        assert_eq!(node.value_of(leader), (11, Served::Led));
        assert_eq!(node.value_of(waiter), (11, Served::Waited));
        assert!(!node.served[&leader].result.as_ref().expect("a value").cached);
        node.assert_idle();
    }
}

/// Goal (mode 11): a lease is given back when the origin fails, and when the look after the grant does.
#[test]
fn a_failed_rebuild_leaks_no_lease() {
    let mut node = Node::new(locked(LockConfig::default()));
    node.miss(1);
    let (owner, fetch) = node.grant(5, 1);
    node.answer_fetch(fetch.op, FetchOutcome::Failed(away()));
    assert_eq!(node.release().map(|release| (release.owner, release.value_written)), Some((owner, false)));
    node.assert_idle();

    let reader = node.miss(1);
    let (op, owner) = node.acquire().expect("an acquire");
    node.answer_lease(op, LeaseOutcome::Granted(lease(6)));
    let look = node.read().expect("the second look");
    node.answer_read(look, ReadOutcome::Failed(away()));
    assert_eq!(node.release().map(|release| (release.owner, release.value_written)), Some((owner, false)));
    assert_eq!(node.error_of(reader), Error::Cache(away()));
    node.assert_idle();
}

/// Goal (mode 12): whom the lock service tells that the holder is done reads, and does not rebuild.
#[test]
fn waiters_of_the_lock_read_when_the_holder_is_done() {
    let mut node = Node::new(locked(LockConfig::default()));
    let (leader, joiner) = (node.miss(1), node.miss(1));
    let (op, _) = node.acquire().expect("one acquire a process");
    node.pass(SECOND);
    node.answer_lease(op, LeaseOutcome::HolderDone);
    assert_eq!((node.fetch(), node.acquire()), (None, None));
    let look = node.read().expect("it reads");
    node.answer_read(look, fresh(11, 2));
    assert_eq!(node.value_of(leader), (11, Served::WaitedFleet));
    assert_eq!(node.value_of(joiner), (11, Served::Waited));
    assert_eq!(node.release(), None, "nothing was granted");
    let summary = node.ended.last().expect("ended");
    assert_eq!((summary.fetches, summary.waiters_max, summary.lock_waited), (0, 2, Some(SECOND)));
    node.assert_idle();
}

/// Goal (mode 12): who is handed the lease after the holder looks again too, and hands it on at once.
#[test]
fn the_next_holder_reads_before_it_rebuilds() {
    let mut node = Node::new(locked(LockConfig::default()));
    let reader = node.miss(1);
    let (op, _) = node.acquire().expect("an acquire");
    node.answer_lease(op, LeaseOutcome::Granted(lease(6)));
    let look = node.read().expect("it reads");
    node.answer_read(look, fresh(11, 2));
    assert_eq!(node.value_of(reader), (11, Served::SecondLook));
    assert!(node.release().expect("given back").value_written, "others are told to read as well");
    node.assert_idle();
}

/// Goal: a holder that was done without a value is followed by another attempt, and that is bounded.
#[test]
fn a_holder_that_is_done_without_a_value_is_followed_boundedly() {
    let mut node = Node::limited(locked(LockConfig::default()), Limits { rounds: 3, ..Limits::default() });
    let reader = node.miss(1);
    let mut attempts = 0;
    while let Some((op, _)) = node.acquire() {
        attempts += 1;
        node.answer_lease(op, LeaseOutcome::HolderDone);
        let look = node.read().expect("it reads");
        node.answer_read(look, expired(1));
    }
    assert_eq!((attempts, node.error_of(reader)), (4, Error::Contended));
    node.assert_idle();
}

/// Goal (modes 7, 18): a refused write's readers get what the store holds, and never the older value.
#[test]
fn a_refused_write_serves_what_the_store_holds() {
    let mut node = Node::new(locked(LockConfig::default()));
    let reader = node.miss(1);
    let (_, fetch) = node.grant(5, 1);
    node.answer_fetch(fetch.op, FetchOutcome::Fetched(11));
    let write = node.write().expect("the write");
    assert!(!node.served.contains_key(&reader), "not before the store has taken it");
    node.answer_write(write.op, WriteOutcome::Refused(Refusal::GenerationMoved));
    let look = node.read().expect("what does it hold?");
    node.answer_read(look, fresh(12, 2));
    assert_eq!(node.value_of(reader), (12, Served::SecondLook));
    assert_eq!(node.ended.last().expect("ended").ending, Ending::Uncached);
    assert!(node.release().expect("given back").value_written);
    node.assert_idle();
}

/// Goal (mode 18): an invalidation during a rebuild: who looked before gets the rebuilt value, marked as not cached; who
/// looked after it waits for a rebuild of the new generation.
#[test]
fn an_invalidation_during_a_rebuild_is_not_undone_for_later_readers() {
    let mut node = Node::new(direct());
    let before = node.miss(1);
    let fetch = node.fetch().expect("the rebuild");
    let after = node.miss(2);
    node.answer_fetch(fetch.op, FetchOutcome::Fetched(11));
    let write = node.write().expect("the write");
    node.answer_write(write.op, WriteOutcome::Refused(Refusal::GenerationMoved));
    let look = node.read().expect("what does the store hold?");
    node.answer_read(look, ReadOutcome::Absent { generation: 2 });
    let answer = node.served[&before].result.clone().expect("a value");
    assert_eq!((answer.value, answer.generation, answer.cached), (11, 1, false));
    assert!(!node.served.contains_key(&after), "11 may be what was deleted");

    let fetch = node.fetch().expect("a rebuild of what was deleted");
    assert_eq!((fetch.generation, node.core.flights()), (2, 1));
    node.answer_fetch(fetch.op, FetchOutcome::Fetched(12));
    let write = node.write().expect("the write");
    assert_eq!(write.generation, 2);
    node.answer_write(write.op, WriteOutcome::Written { generation: 3 });
    assert_eq!(node.value_of(after), (12, Served::Led));
    node.assert_idle();
}

/// Goal: the lease is renewed every third of its expiry until it is given back; a lost one is noted and the rebuild goes
/// on under its old token.
#[test]
fn a_lease_is_renewed_while_the_rebuild_runs() {
    let expiry = SECOND * 3;
    let mut node = Node::new(locked(LockConfig { expiry, renew: true, ..LockConfig::default() }));
    let reader = node.miss(1);
    let (_, fetch) = node.grant(5, 1);
    assert_eq!(node.renew(), None);
    node.pass(SECOND);
    let (op, held) = node.renew().expect("after a third");
    assert_eq!(held, lease(5));
    node.core.handle_renewed(node.now, op, RenewOutcome::Unavailable);
    node.pass(SECOND);
    let (op, _) = node.renew().expect("and again, although the last one failed");
    node.core.handle_renewed(node.now, op, RenewOutcome::Lost);
    node.pass(SECOND * 2);
    assert_eq!(node.renew(), None, "what is lost is not renewed");
    node.answer_fetch(fetch.op, FetchOutcome::Fetched(11));
    let write = node.write().expect("the write");
    assert_eq!(write.lease, Some(lease(5)), "the fence decides");
    node.answer_write(write.op, WriteOutcome::Written { generation: 2 });
    assert_eq!(node.value_of(reader), (11, Served::Led));
    assert!(node.ended.last().expect("ended").lease_lost);
    assert!(node.release().is_some());
    node.assert_idle();
}

/// Goal: the lock service away, or the wait over: both choices of both.
#[test]
fn the_lock_fails_as_configured() {
    let open = LockConfig::default();
    let closed = LockConfig { on_unavailable: OnUnavailable::FailClosed, ..open.clone() };
    let origin = LockConfig { on_wait_timeout: OnWaitTimeout::Origin, ..open.clone() };
    let unavailable = LeaseOutcome::Unavailable(away());
    for (lock, outcome, expected) in [
        (&open, unavailable.clone(), Ok(Reason::FailOpen)),
        (&closed, unavailable, Err(Error::Lock(away()))),
        (&open, LeaseOutcome::WaitTimeout, Err(Error::WaitTimeout)),
        (&origin, LeaseOutcome::WaitTimeout, Ok(Reason::WaitTimeout)),
    ] {
        let mut node = Node::new(locked(lock.clone()));
        let reader = node.miss(1);
        let (op, _) = node.acquire().expect("an acquire");
        node.answer_lease(op, outcome);
        assert_eq!(node.release(), None, "nothing was granted");
        match expected {
            Ok(reason) => {
                let fetch = node.fetch().expect("the origin is asked");
                assert_eq!((fetch.reason, fetch.lease), (reason, None));
            }
            Err(error) => {
                assert_eq!((node.error_of(reader), node.fetch()), (error, None));
                node.assert_idle();
            }
        }
    }
}

/// Goal: an origin that never answers ends the flight a little after its deadline; its late answer changes nothing.
#[test]
fn an_unanswered_fetch_ends_the_flight() {
    let mut node = Node::new(direct());
    let reader = node.miss_within(1, SECOND * 60);
    let fetch = node.fetch().expect("the rebuild");
    node.pass(SECOND * 10);
    assert!(matches!(node.error_of(reader), Error::Origin(Failure { cause: Cause::DeadlineExceeded, .. })));
    node.answer_fetch(fetch.op, FetchOutcome::Fetched(11));
    node.assert_idle();
}

/// Goal: over a limit a lookup is turned away with the limit's name, and nothing else happens.
#[test]
fn limits_turn_lookups_away() {
    let few = Limits { lookups: 3, flights: 1, waiters_per_flight: 2, ..Limits::default() };
    let mut node = Node::limited(direct(), few);
    node.miss(1);
    let patient = node.miss(1);
    let third = node.miss(1);
    assert_eq!(node.error_of(third), Error::Overloaded { limit: Limit::Waiters });
    let _looking = node.look();
    let fourth = node.core.handle_lookup(node.now, "other".into(), node.now + SECOND);
    node.drain();
    assert_eq!(node.error_of(fourth), Error::Overloaded { limit: Limit::Lookups });
    node.cancel(patient);
    let other = node.core.handle_lookup(node.now, "other".into(), node.now + SECOND);
    node.drain();
    let read = node.read().expect("its first look");
    node.answer_read(read, expired(1));
    assert_eq!(node.error_of(other), Error::Overloaded { limit: Limit::Flights });
    assert_eq!((node.core.lookups(), node.core.flights()), (2, 1));
}

/// Goal: the cache away gives each reader that error, at once, and asks the origin for nothing.
#[test]
fn a_cache_that_is_away_is_no_reason_for_a_herd() {
    let mut node = Node::new(flight());
    let (reader, op) = node.look();
    node.answer_read(op, ReadOutcome::Failed(away()));
    assert_eq!(node.error_of(reader), Error::Cache(away()));
    node.assert_idle();
}

/// Goal: a flight keeps the configuration under which it began, and says so to its readers.
#[test]
fn a_flight_keeps_its_configuration() {
    let mut node = Node::new(direct());
    let old = node.miss(1);
    node.core.handle_config(node.now, locked(LockConfig::default()).into());
    let fetch = node.fetch().expect("the rebuild");
    node.answer_fetch(fetch.op, FetchOutcome::Fetched(11));
    let write = node.write().expect("the write");
    assert_eq!(write.lease, None);
    node.answer_write(write.op, WriteOutcome::Written { generation: 2 });
    assert_eq!(node.served[&old].config_version, 1);
    node.miss(2);
    assert!(node.acquire().is_some(), "the next one obeys the new one");
}
