//! The ways in which a waiter's patience is known to break, one test each.

use std::time::Duration;

use herd_policy::{
    Config, Error, FetchOutcome, LeaseOutcome, Limit, Limits, LockConfig, OnWaitTimeout, ReadOutcome, Reason,
    Refusal, Served, StaleConfig, WaiterConfig, WriteOutcome,
};

use crate::node::{Node, absent, direct, expired_for, fresh, locked};

const SECOND: Duration = Duration::from_secs(1);

/// Waits 1 s, then does that. Expired values may be served for 3 s, but only where patience or the lock says so.
fn patient(then: OnWaitTimeout, config: Config) -> Config {
    let stale = StaleConfig {
        grace: SECOND * 3,
        while_revalidate: false,
        if_error: false,
        safe_keys: vec!["p:item-1".into()],
    };
    Config { waiter: Some(WaiterConfig { wait: SECOND, then }), stale: Some(stale), ..config }
}

/// Goal: whose patience runs out leaves with an error, the leader too; each after its own wait; the flight goes on, and
/// those who still wait are served by it.
#[test]
fn the_impatient_leave_and_strand_nobody() {
    let mut node = Node::new(patient(OnWaitTimeout::Error, direct()));
    let (leader, second) = (node.miss(1), node.miss(1));
    let fetch = node.fetch().expect("one rebuild");
    node.pass(SECOND / 2);
    let late = node.miss(1);
    node.pass(SECOND / 2);
    assert_eq!((node.error_of(leader), node.error_of(second)), (Error::WaitTimeout, Error::WaitTimeout));
    assert!(node.served[&second].missed && node.served[&second].rebuild.is_some());
    assert!(!node.served.contains_key(&late), "it came half a second later");
    assert_eq!((node.core.flights(), node.core.waiting()), (1, 1));
    node.rebuild(fetch.op, 11, 2);
    assert_eq!(node.value_of(late), (11, Served::Led));
    node.assert_idle();
}

/// Goal: a flight that all have left writes its value all the same, and who comes meanwhile joins it.
#[test]
fn a_flight_that_all_have_left_goes_on() {
    let mut node = Node::new(patient(OnWaitTimeout::Error, direct()));
    node.miss(1);
    let fetch = node.fetch().expect("one rebuild");
    node.pass(SECOND * 2);
    let joiner = node.miss(1);
    assert_eq!(node.fetch(), None, "no second rebuild");
    node.rebuild(fetch.op, 11, 2);
    assert_eq!(node.value_of(joiner), (11, Served::Led));
    node.assert_idle();
}

/// Goal: with the expired value as the way out each gets the one that its own look saw; who saw none gets the error.
#[test]
fn the_impatient_get_what_they_saw() {
    let mut node = Node::new(patient(OnWaitTimeout::Stale, direct()));
    let (holder, none) = (node.find_expired(1), node.find(absent(1)));
    let fetch = node.fetch().expect("one rebuild");
    node.pass(SECOND);
    let answer = node.served[&holder].result.clone().expect("a value");
    assert_eq!((answer.value, answer.served, answer.generation), (10, Served::Stale, 1));
    assert!(node.served[&holder].missed, "it waited");
    assert_eq!(node.error_of(none), Error::WaitTimeout);
    node.rebuild(fetch.op, 11, 2);
    node.assert_idle();
}

/// Goal: a value whose grace ended while its reader waited is not served any more.
#[test]
fn a_grace_can_end_while_its_reader_waits() {
    let mut node = Node::new(patient(OnWaitTimeout::Stale, direct()));
    let (in_time, too_late) = (
        node.find(expired_for(1, SECOND * 2)),
        node.find(expired_for(1, SECOND * 2 + Duration::from_millis(1))),
    );
    node.pass(SECOND);
    assert_eq!(node.value_of(in_time), (10, Served::Stale));
    assert_eq!(node.error_of(too_late), Error::WaitTimeout);
}

/// Goal: with the origin as the way out each waiter starts a rebuild of its own, without a lease; the leader of a flight
/// that fetches already stays, for it would only double its own work; the shared flight remains the one that is joined.
#[test]
fn the_impatient_go_to_the_origin() {
    let mut node = Node::new(patient(OnWaitTimeout::Origin, direct()));
    let (leader, second, third) = (node.miss(1), node.miss(1), node.miss(2));
    let fetch = node.fetch().expect("one rebuild");
    node.pass(SECOND);
    let own: Vec<_> = std::iter::from_fn(|| node.fetch()).collect();
    assert_eq!(own.iter().map(|own| own.generation).collect::<Vec<_>>(), [1, 2], "what each saw");
    assert!(own.iter().all(|own| (own.reason, own.lease) == (Reason::WaitTimeout, None)));
    assert_eq!((node.core.flights(), node.core.waiting()), (3, 1));
    let joiner = node.miss(1);
    assert_eq!((node.fetch(), node.core.waiting()), (None, 2));

    // The first of them is overtaken by the shared flight: its reader gets what the store holds, not what is older.
    node.rebuild(fetch.op, 11, 2);
    assert_eq!((node.value_of(leader), node.value_of(joiner)), ((11, Served::Led), (11, Served::Waited)));
    node.answer_fetch(own[0].op, FetchOutcome::Fetched(9));
    let write = node.write().expect("it writes, too");
    assert!(!node.served.contains_key(&second), "not before the store has taken it");
    node.answer_write(write.op, WriteOutcome::Refused(Refusal::GenerationMoved));
    let look = node.read().expect("what does the store hold?");
    node.answer_read(look, fresh(11, 2));
    assert_eq!(node.value_of(second), (11, Served::SecondLook));
    node.rebuild(own[1].op, 12, 3);
    assert_eq!(node.value_of(third), (12, Served::Uncoordinated));
    node.assert_idle();
}

/// Goal: a leader that only waits for the fleet's lock rebuilds nothing yet, so that it goes to the origin like others;
/// its flight goes on waiting for the lock.
#[test]
fn a_leader_that_waits_for_the_lock_leaves_for_the_origin() {
    let mut node = Node::new(patient(OnWaitTimeout::Origin, locked(LockConfig::default())));
    let leader = node.miss(1);
    let (acquire, _) = node.acquire().expect("an acquire");
    node.pass(SECOND);
    let own = node.fetch().expect("a rebuild of its own");
    assert_eq!((own.reason, own.lease), (Reason::WaitTimeout, None));
    node.rebuild(own.op, 11, 2);
    assert_eq!(node.value_of(leader), (11, Served::Uncoordinated));
    node.answer_lease(acquire, LeaseOutcome::HolderDone);
    let look = node.read().expect("it reads");
    node.answer_read(look, fresh(11, 2));
    node.assert_idle();
}

/// Goal: the deadline binds before patience, and after it.
#[test]
fn a_deadline_binds_however_patient() {
    let mut node = Node::new(patient(OnWaitTimeout::Origin, direct()));
    let leader = node.miss_within(1, SECOND * 2);
    let short = node.miss_within(1, SECOND / 2);
    let _ = node.fetch().expect("one rebuild");
    node.pass(SECOND / 2);
    assert_eq!(node.error_of(short), Error::Deadline);
    node.pass(SECOND);
    assert!(!node.served.contains_key(&leader), "it stays with its rebuild");
    node.pass(SECOND / 2);
    assert_eq!((node.error_of(leader), node.fetch()), (Error::Deadline, None));
}

/// Goal: who leads only since the leader left does not start its own work anew either.
#[test]
fn a_leader_by_inheritance_stays() {
    let mut node = Node::new(patient(OnWaitTimeout::Origin, direct()));
    let (leader, heir) = (node.miss(1), node.miss(1));
    let fetch = node.fetch().expect("one rebuild");
    node.cancel(leader);
    node.pass(SECOND);
    assert_eq!(node.fetch(), None);
    node.rebuild(fetch.op, 11, 2);
    assert_eq!(node.value_of(heir), (11, Served::Led));
    node.assert_idle();
}

/// Goal: at the limit of flights the way to the origin is closed.
#[test]
fn ways_of_their_own_are_limited() {
    let few = Limits { flights: 2, ..Limits::default() };
    let mut node = Node::limited(patient(OnWaitTimeout::Origin, direct()), few);
    let (_leader, second, third) = (node.miss(1), node.miss(1), node.miss(1));
    node.pass(SECOND);
    assert!(!node.served.contains_key(&second), "on its way");
    assert_eq!(node.error_of(third), Error::Overloaded { limit: Limit::Flights });
    assert_eq!((node.core.flights(), node.core.waiting()), (2, 1));
}

/// Goal: a cancelled lookup on its own way leaves nothing behind but the rebuild that runs out.
#[test]
fn a_cancelled_way_of_its_own_ends() {
    let mut node = Node::new(patient(OnWaitTimeout::Origin, direct()));
    let (_leader, second) = (node.miss(1), node.miss(1));
    let shared = node.fetch().expect("one rebuild");
    node.pass(SECOND);
    let own = node.fetch().expect("its own");
    node.cancel(second);
    node.answer_fetch(own.op, FetchOutcome::NotFound);
    node.rebuild(shared.op, 11, 2);
    node.assert_idle();
}

/// Goal: a flight's wait for the lock that ends in stale serves each what it saw, whatever else the layer serves stale;
/// who saw nothing gets the error, and the origin is asked for nothing.
#[test]
fn a_wait_for_the_lock_can_end_in_stale() {
    let lock = LockConfig { on_wait_timeout: OnWaitTimeout::Stale, ..LockConfig::default() };
    let config = Config { waiter: None, ..patient(OnWaitTimeout::Error, locked(lock)) };
    let mut node = Node::new(config);
    let (holder, none) = (node.find_expired(1), node.find(absent(1)));
    let (acquire, _) = node.acquire().expect("an acquire");
    node.answer_lease(acquire, LeaseOutcome::WaitTimeout);
    assert_eq!(node.value_of(holder), (10, Served::Stale));
    assert_eq!((node.error_of(none), node.fetch()), (Error::WaitTimeout, None));
    node.assert_idle();
}

/// Goal: where the cache did not answer the first look there is nothing to wait for.
#[test]
fn a_failed_look_never_waits() {
    let mut node = Node::new(patient(OnWaitTimeout::Stale, direct()));
    let away = herd_policy::Failure::retryable(herd_policy::Cause::Unavailable, "away");
    let reader = node.find(ReadOutcome::Failed(away.clone()));
    assert_eq!(node.error_of(reader), Error::Cache(away));
    node.assert_idle();
}
