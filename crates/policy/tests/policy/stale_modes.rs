//! The ways in which serving stale is known to break, one test each.

use std::time::Duration;

use herd_policy::{
    AbsentBy, Cause, Coalescing, Config, Ending, Error, Failure, FetchOutcome, HolderFailure, LeaseOutcome,
    Life, Limits, LockConfig, OnUnavailable, OnWaitTimeout, ReadOutcome, Reason, Served, StaleConfig,
    WriteOutcome,
};

use crate::node::{Node, absent, direct, expired_for, flight, fresh, locked};

const SECOND: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(5);

fn stale() -> StaleConfig {
    let safe_keys = vec!["item-1".into()];
    StaleConfig { grace: GRACE, while_revalidate: true, if_error: false, safe_keys }
}

fn revalidating(config: Config) -> Config {
    Config { key_prefix: "p:".into(), stale: Some(stale()), ..config }
}

fn on_error(config: Config) -> Config {
    let stale = StaleConfig { while_revalidate: false, if_error: true, ..stale() };
    Config { stale: Some(stale), ..revalidating(config) }
}

fn away() -> Failure {
    Failure::retryable(Cause::Unavailable, "away")
}

/// Goal: an expired value is served at once and counts as no miss; one refresh runs, for which nobody waits, and the
/// readers are told which.
#[test]
fn a_stale_read_does_not_wait() {
    let mut node = Node::new(revalidating(flight()));
    let reader = node.find_expired(1);
    let serve = node.served[&reader].clone();
    let answer = serve.result.expect("a value");
    assert_eq!((answer.value, answer.served, answer.generation), (10, Served::Stale, 1));
    assert_eq!((serve.missed, node.core.waiting(), node.core.flights()), (false, 0, 1));

    let look = node.read().expect("the refresh looks first, too");
    node.answer_read(look, expired_for(1, SECOND));
    let fetch = node.fetch().expect("the refresh");
    assert_eq!((fetch.reason, fetch.generation), (Reason::Refresh, 1));
    node.rebuild(fetch.op, 11, 2);
    let ended = node.ended.last().expect("ended");
    assert_eq!((ended.ending, ended.waiters_max), (Ending::Rebuilt, 0));
    assert_eq!(serve.rebuild, Some(ended.rebuild));
    node.assert_idle();
}

/// Goal (mode 16): a refresh slower than the reads is one refresh: no pile-up, and every reader is told of that one.
#[test]
fn a_slow_refresh_does_not_pile_up() {
    let mut node = Node::new(revalidating(direct()));
    let first = node.find_expired(1);
    let fetch = node.fetch().expect("the refresh");
    for second in 1..4 {
        node.pass(SECOND);
        let reader = node.find(expired_for(1, SECOND * second));
        assert_eq!(node.value_of(reader), (10, Served::Stale));
        assert_eq!(node.served[&reader].rebuild, node.served[&first].rebuild);
        assert_eq!((node.fetch(), node.core.flights()), (None, 1));
    }
    node.rebuild(fetch.op, 11, 2);
    node.assert_idle();
}

/// Goal (mode 16): stale is not for ever: past its grace a value is a miss, and its reader waits for the refresh that
/// runs.
#[test]
fn past_its_grace_a_value_is_a_miss() {
    let mut node = Node::new(revalidating(direct()));
    node.find_expired(1);
    let fetch = node.fetch().expect("the refresh");
    let waits = node.find(expired_for(1, GRACE + Duration::from_millis(1)));
    assert!(!node.served.contains_key(&waits));
    assert_eq!((node.fetch(), node.core.waiting()), (None, 1));
    node.rebuild(fetch.op, 11, 2);
    assert_eq!(node.value_of(waits), (11, Served::Led));
    assert!(node.served[&waits].missed);
    node.assert_idle();
}

/// Goal: a row that nobody marked safe is a miss, and so is one that is not there.
#[test]
fn only_what_is_safe_is_served_stale() {
    let unsafe_row = StaleConfig { safe_keys: vec!["item-2".into()], ..stale() };
    let config = Config { stale: Some(unsafe_row), ..revalidating(direct()) };
    for (config, outcome) in [(config, expired_for(1, SECOND)), (revalidating(direct()), absent(1))] {
        let mut node = Node::new(config);
        let reader = node.find(outcome);
        assert!(!node.served.contains_key(&reader));
        assert_eq!(node.fetch().expect("the rebuild").reason, Reason::FlightLeader);
    }
}

/// Goal: after a refresh that failed, however it failed, the next stale read sets off another one.
#[test]
fn a_failed_refresh_is_followed_by_another() {
    for outcome in [FetchOutcome::Failed(away()), FetchOutcome::Lost, FetchOutcome::NotFound] {
        let mut node = Node::new(revalidating(direct()));
        node.find_expired(1);
        let fetch = node.fetch().expect("the refresh");
        node.answer_fetch(fetch.op, outcome.clone());
        if let Some(again) = node.fetch() {
            node.answer_fetch(again.op, outcome);
        }
        node.assert_idle();
        node.pass(SECOND);
        let reader = node.find_expired(1);
        assert_eq!(node.value_of(reader), (10, Served::Stale));
        assert_eq!(node.fetch().expect("another").reason, Reason::Refresh);
    }
}

/// Goal: an origin that refuses at once is not asked as often as stale readers come: one attempt a pause.
#[test]
fn an_origin_that_refuses_at_once_meets_no_storm() {
    let limits = Limits { refresh_pause: SECOND / 5, ..Limits::default() };
    let mut node = Node::limited(revalidating(direct()), limits);
    let mut attempts = 0;
    for _ in 0..1_000 {
        let reader = node.find_expired(1);
        assert_eq!(node.value_of(reader), (10, Served::Stale), "the reader is served in any case");
        if let Some(fetch) = node.fetch() {
            attempts += 1;
            node.answer_fetch(fetch.op, FetchOutcome::Failed(away()));
        }
        node.pass(Duration::from_millis(1));
    }
    assert_eq!(attempts, 5);
    node.assert_idle();
}

/// Goal: the pause is for refreshes only: a reader who has to wait is not kept from the origin by it.
#[test]
fn a_miss_does_not_pause() {
    let mut node = Node::new(revalidating(direct()));
    node.find_expired(1);
    let fetch = node.fetch().expect("the refresh");
    node.answer_fetch(fetch.op, FetchOutcome::Failed(away()));
    node.find(absent(2));
    assert_eq!(node.fetch().expect("at once").reason, Reason::FlightLeader);
}

/// Goal: at the limit of flights a stale read is served all the same, without a refresh.
#[test]
fn a_full_core_serves_stale_without_a_refresh() {
    let mut node = Node::limited(revalidating(direct()), Limits { flights: 0, ..Limits::default() });
    let reader = node.find_expired(1);
    assert_eq!((node.value_of(reader), node.served[&reader].rebuild), ((10, Served::Stale), None));
    node.assert_idle();
}

/// Goal: with the lock a refresh takes it first; when another process refreshes it just reads, and ends.
#[test]
fn a_refresh_takes_the_lock() {
    let mut node = Node::new(revalidating(locked(LockConfig::default())));
    node.find_expired(1);
    let (_, fetch) = node.grant(5, 1);
    assert_eq!((fetch.reason, fetch.lease.map(|lease| lease.token)), (Reason::Refresh, Some(5)));
    node.rebuild(fetch.op, 11, 2);
    assert!(node.release().is_some());
    node.assert_idle();

    node.find_expired(2);
    let (acquire, _) = node.acquire().expect("the lock first");
    node.answer_lease(acquire, LeaseOutcome::HolderDone);
    let look = node.read().expect("it reads");
    node.answer_read(look, fresh(12, 3));
    assert_eq!(node.fetch(), None);
    node.assert_idle();
}

/// Goal: a refresh for which nobody waits ends with its wait for the lock, even where waiters would go to the origin; one
/// that was joined does for its waiters what is configured.
#[test]
fn a_refresh_that_waited_in_vain_ends() {
    let lock = LockConfig { on_wait_timeout: OnWaitTimeout::Origin, ..LockConfig::default() };
    let mut node = Node::new(revalidating(locked(lock)));
    node.find_expired(1);
    let (acquire, _) = node.acquire().expect("the lock first");
    node.answer_lease(acquire, LeaseOutcome::WaitTimeout);
    assert_eq!((node.fetch(), node.core.flights()), (None, 0));
    node.assert_idle();

    node.pass(SECOND);
    node.find_expired(1);
    let (acquire, _) = node.acquire().expect("another");
    let joiner = node.find(absent(1));
    node.answer_lease(acquire, LeaseOutcome::WaitTimeout);
    let fetch = node.fetch().expect("for the joiner");
    assert_eq!(fetch.reason, Reason::WaitTimeout);
    node.rebuild(fetch.op, 11, 2);
    assert_eq!(node.value_of(joiner), (11, Served::Led));
    node.assert_idle();
}

/// Goal: a holder's failure, or a lock service that is away, ends a refresh without a word to anybody.
#[test]
fn a_refresh_fails_in_silence() {
    let closed = LockConfig { on_unavailable: OnUnavailable::FailClosed, ..LockConfig::default() };
    for outcome in
        [LeaseOutcome::HolderFailed(HolderFailure::Failed(away())), LeaseOutcome::Unavailable(away())]
    {
        let mut node = Node::new(revalidating(locked(closed.clone())));
        let reader = node.find_expired(1);
        let (acquire, _) = node.acquire().expect("the lock first");
        node.answer_lease(acquire, outcome);
        assert_eq!((node.value_of(reader), node.fetch()), ((10, Served::Stale), None));
        node.assert_idle();
    }
}

/// Goal: without any coordination each stale read sets off a refresh of its own: the control arm.
#[test]
fn uncoordinated_refreshes_are_as_many_as_reads() {
    let config = Config { coalescing: Coalescing::Uncoordinated, ..revalidating(direct()) };
    let mut node = Node::new(config);
    for _ in 0..7 {
        node.find_expired(1);
    }
    let refreshes: Vec<_> = std::iter::from_fn(|| node.fetch()).collect();
    assert_eq!(refreshes.len(), 7);
    assert!(refreshes.iter().all(|fetch| fetch.reason == Reason::Refresh));
}

/// Goal: whatever fails on the way to a value, its waiters get the expired one that they saw, and the others the error.
#[test]
fn an_error_is_answered_with_what_was_seen() {
    let mut node = Node::new(on_error(direct()));
    let (holder, none) = (node.find_expired(1), node.find(absent(1)));
    assert!(!node.served.contains_key(&holder), "it waits: it would rather have the new value");
    let fetch = node.fetch().expect("the rebuild");
    node.answer_fetch(fetch.op, FetchOutcome::Failed(away()));
    let serve = node.served[&holder].clone();
    let answer = serve.result.expect("a value");
    assert_eq!((answer.value, answer.served, answer.generation), (10, Served::Stale, 1));
    assert!(serve.missed && serve.rebuild.is_some());
    assert_eq!(node.error_of(none), Error::Origin(away()));
    node.assert_idle();

    let mut node = Node::new(on_error(flight()));
    let reader = node.find_expired(1);
    let look = node.read().expect("the second look");
    node.answer_read(look, ReadOutcome::Failed(away()));
    assert_eq!(node.value_of(reader), (10, Served::Stale), "the cache went away");

    let closed = LockConfig { on_unavailable: OnUnavailable::FailClosed, ..LockConfig::default() };
    for outcome in [LeaseOutcome::Unavailable(away()), LeaseOutcome::WaitTimeout] {
        let mut node = Node::new(on_error(locked(closed.clone())));
        let reader = node.find_expired(1);
        let (acquire, _) = node.acquire().expect("an acquire");
        node.answer_lease(acquire, outcome);
        assert_eq!(node.value_of(reader), (10, Served::Stale), "the lock");
        node.assert_idle();
    }
}

/// Goal: that a row does not exist is an answer, a deadline is the caller's own, and a grace can end during the rebuild:
/// none of them is answered with the expired value; nor is any error where the layer is not on.
#[test]
fn what_is_no_failure_is_not_answered_stale() {
    let mut node = Node::new(on_error(direct()));
    let reader = node.find_expired(1);
    let fetch = node.fetch().expect("the rebuild");
    node.answer_fetch(fetch.op, FetchOutcome::NotFound);
    assert_eq!(node.error_of(reader), Error::NotFound { by: AbsentBy::Origin });

    let config = Config { rebuild_deadline: SECOND * 60, ..on_error(direct()) };
    let mut node = Node::new(config.clone());
    let reader = node.find_expired(1);
    node.pass(SECOND * 10);
    assert_eq!(node.error_of(reader), Error::Deadline);

    let mut node = Node::new(config);
    let reader = node.find_expired(1);
    let fetch = node.fetch().expect("the rebuild");
    node.pass(GRACE + Duration::from_millis(1));
    node.answer_fetch(fetch.op, FetchOutcome::Failed(away()));
    assert_eq!(node.error_of(reader), Error::Origin(away()));

    let mut node = Node::new(Config { stale: None, ..on_error(direct()) });
    let reader = node.find_expired(1);
    let fetch = node.fetch().expect("the rebuild");
    node.answer_fetch(fetch.op, FetchOutcome::Failed(away()));
    assert_eq!(node.error_of(reader), Error::Origin(away()));
}

/// Goal: a value that can never be cached is not refreshed as often as it is read: the refresh pauses after it, too.
#[test]
fn an_uncacheable_value_meets_no_storm() {
    let mut node = Node::new(revalidating(direct()));
    node.find_expired(1);
    let fetch = node.fetch().expect("the refresh");
    node.answer_fetch(fetch.op, FetchOutcome::Fetched(11));
    let write = node.write().expect("the write");
    node.answer_write(write.op, WriteOutcome::Uncacheable);
    node.find_expired(1);
    assert_eq!(node.fetch(), None);
    node.pass(SECOND);
    node.find_expired(1);
    assert!(node.fetch().is_some());
}

/// Goal (mode 14): a TTL of 0, or shorter than the rebuild: every read is stale, and still there is one refresh at once.
#[test]
fn a_life_shorter_than_its_rebuild_is_refreshed_one_by_one() {
    let mut node = Node::new(Config { ttl: Duration::ZERO, ..revalidating(direct()) });
    for generation in 1..4 {
        let life = Life { age: Duration::from_millis(1), ..Life::default() };
        let found = ReadOutcome::Expired { value: 10, generation, life };
        let (first, second) = (node.find(found.clone()), node.find(found));
        assert_eq!((node.value_of(first), node.value_of(second)), ((10, Served::Stale), (10, Served::Stale)));
        let fetch = node.fetch().expect("the refresh");
        assert_eq!(node.fetch(), None, "one");
        node.answer_fetch(fetch.op, FetchOutcome::Fetched(10));
        let write = node.write().expect("the write");
        assert_eq!(write.ttl, Duration::ZERO);
        node.answer_write(write.op, WriteOutcome::Written { generation: generation + 1 });
    }
    node.assert_idle();
}
