//! The ways in which flights are known to break, one test each.

use std::time::Duration;

use herd_policy::{
    AbsentBy, Cause, Config, Ending, Error, Failure, FetchOutcome, Limit, Limits, LockConfig, ReadOutcome,
    Reason, Served, WriteGuard, WriteOutcome,
};

use crate::node::{Node, direct, expired, flight, fresh, locked};

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
    assert_eq!(node.error_of(next), Error::NotFound { by: AbsentBy::Origin });
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

/// Goal: a lookup is decided by the configuration under which it came, although a new one came during its first look: its
/// key bears the old one's prefix.
#[test]
fn a_lookup_keeps_its_configuration() {
    let mut node = Node::new(direct());
    let (reader, op) = node.look();
    node.core.handle_config(node.now, locked(LockConfig::default()).into());
    node.answer_read(op, expired(1));
    assert_eq!(node.acquire(), None);
    let fetch = node.fetch().expect("single-flight alone, as it came");
    node.answer_fetch(fetch.op, FetchOutcome::NotFound);
    assert_eq!(node.served[&reader].config_version, 1);
}

/// Goal: a second look that finds a later generation, expired again, asks the origin for that one, so that the ledger
/// counts it for the right boundary and the guard takes the write.
#[test]
fn a_second_look_names_what_it_saw() {
    let mut node = Node::new(flight());
    node.miss(1);
    let look = node.read().expect("the second look");
    node.answer_read(look, expired(3));
    let fetch = node.fetch().expect("the rebuild");
    assert_eq!(fetch.generation, 3);
    node.answer_fetch(fetch.op, FetchOutcome::Fetched(11));
    assert_eq!(node.write().expect("the write").generation, 3);
}

/// Goal: where values are served before they are written, who joins meanwhile gets the value at once; but not who saw
/// something newer than it will be, for whom the flight starts over.
#[test]
fn a_joiner_during_the_write_is_not_served_what_is_older() {
    let mut node = Node::new(Config { write_guard: WriteGuard::Unguarded, ..direct() });
    let leader = node.miss(1);
    let fetch = node.fetch().expect("one rebuild");
    node.answer_fetch(fetch.op, FetchOutcome::Fetched(11));
    let write = node.write().expect("the write");
    let (joiner, newer) = (node.miss(2), node.miss(3));
    assert_eq!((node.value_of(leader), node.value_of(joiner)), ((11, Served::Led), (11, Served::Waited)));
    assert!(!node.served.contains_key(&newer));
    node.answer_write(write.op, WriteOutcome::Written { generation: 2 });
    let fetch = node.fetch().expect("another rebuild, for it");
    assert_eq!(fetch.generation, 3);
    node.rebuild(fetch.op, 12, 4);
    assert_eq!(node.value_of(newer), (12, Served::Led));
    node.assert_idle();
}
