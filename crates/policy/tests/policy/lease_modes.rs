//! The ways in which locks and fenced writes are known to break, one test each.

use std::time::Duration;

use herd_policy::{
    AbsentBy, Action, Cause, Ending, Error, Failure, FetchOutcome, HolderEnd, HolderFailure, LeaseOutcome,
    Limits, LockConfig, OnUnavailable, OnWaitTimeout, ReadOutcome, Reason, Refusal, RenewOutcome, Served,
    WriteOutcome,
};

use crate::node::{Node, absent, direct, expired, fresh, lease, locked};

const SECOND: Duration = Duration::from_secs(1);

fn away() -> Failure {
    Failure::retryable(Cause::Unavailable, "away")
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
    assert_eq!((release.owner, release.end), (owner, HolderEnd::Abandoned));
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
        assert_eq!((release.owner, release.end), (owner, HolderEnd::Abandoned));
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
    let failed = HolderEnd::Failed(HolderFailure::Failed(away()));
    assert_eq!(node.release().map(|release| (release.owner, release.end)), Some((owner, failed)));
    node.assert_idle();

    let reader = node.miss(1);
    let (op, owner) = node.acquire().expect("an acquire");
    node.answer_lease(op, LeaseOutcome::Granted(lease(6)));
    let look = node.read().expect("the second look");
    node.answer_read(look, ReadOutcome::Failed(away()));
    let abandoned = Some((owner, HolderEnd::Abandoned));
    assert_eq!(node.release().map(|release| (release.owner, release.end)), abandoned);
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

/// Goal: whom the lock service tells that the holder failed shares that with everybody in its process, without a look and
/// without asking the origin; nothing is remembered, and the next lookup asks anew.
#[test]
fn waiters_of_the_lock_share_the_holders_failure() {
    for (failure, error) in [
        (HolderFailure::NoSuchRow { generation: 1 }, Error::NotFound { by: AbsentBy::Origin }),
        (HolderFailure::Failed(away()), Error::Origin(away())),
    ] {
        for second_look in [true, false] {
            let mut node = Node::new(locked(LockConfig { second_look, ..LockConfig::default() }));
            let (leader, joiner) = (node.miss(1), node.miss(1));
            let (op, _) = node.acquire().expect("one acquire a process");
            node.answer_lease(op, LeaseOutcome::HolderFailed(failure.clone()));
            assert_eq!((node.error_of(leader), node.error_of(joiner)), (error.clone(), error.clone()));
            let summary = node.ended.last().expect("ended");
            assert_eq!((summary.ending, summary.fetches), (Ending::Failed, 0));
            node.assert_idle();
            node.miss(1);
            assert!(node.acquire().is_some(), "an error is not cached");
        }
    }
}

/// Goal (mode 18): an absence that another process was told is shared with those who saw nothing newer than it; who saw that
/// the row was written since looks for himself.
#[test]
fn an_absence_from_before_an_insert_is_not_shared() {
    let mut node = Node::new(locked(LockConfig::default()));
    let (before, after) = (node.miss(1), node.miss(2));
    let (op, _) = node.acquire().expect("one acquire a process");
    let absence = HolderFailure::NoSuchRow { generation: 1 };
    node.answer_lease(op, LeaseOutcome::HolderFailed(absence));
    assert_eq!(node.error_of(before), Error::NotFound { by: AbsentBy::Origin });
    assert!(!node.served.contains_key(&after), "his row was inserted before he asked");
    let (_, fetch) = node.grant(6, 2);
    node.rebuild(fetch.op, 11, 3);
    assert_eq!(node.value_of(after), (11, Served::Led));
    assert!(node.release().is_some());
    node.assert_idle();
}

/// Goal (mode 1): a flight that everybody left has nobody to go to the origin for without the lease.
#[test]
fn nobody_is_not_a_reason_to_ask_without_the_lease() {
    let lock = LockConfig { on_wait_timeout: OnWaitTimeout::Origin, ..LockConfig::default() };
    for outcome in [LeaseOutcome::WaitTimeout, LeaseOutcome::Unavailable(away())] {
        let mut node = Node::new(locked(lock.clone()));
        let reader = node.miss(1);
        let (op, _) = node.acquire().expect("an acquire");
        node.cancel(reader);
        node.answer_lease(op, outcome);
        assert_eq!((node.fetch(), node.release()), (None, None));
        node.assert_idle();
    }
}

/// Goal: the holder says what the origin told it, and nothing of what befell only itself.
#[test]
fn a_holder_shares_only_the_origins_word() {
    let failed = |failure| HolderEnd::Failed(failure);
    for (outcome, end) in [
        (FetchOutcome::NotFound, failed(HolderFailure::NoSuchRow { generation: 1 })),
        (FetchOutcome::Failed(away()), failed(HolderFailure::Failed(away()))),
        (FetchOutcome::Lost, HolderEnd::Abandoned),
    ] {
        let mut node = Node::new(locked(LockConfig::default()));
        node.miss(1);
        let (_, fetch) = node.grant(5, 1);
        node.answer_fetch(fetch.op, outcome.clone());
        if let Some(again) = node.fetch() {
            node.answer_fetch(again.op, outcome);
        }
        assert_eq!(node.release().expect("given back").end, end);
        node.assert_idle();
    }
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
    let end = node.release().expect("given back").end;
    assert_eq!(end, HolderEnd::ValueWritten, "others are told to read as well");
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
    assert_eq!(node.release().expect("given back").end, HolderEnd::ValueWritten);
    node.assert_idle();
}

/// Goal (modes 7, 10): whatever the store refused a write for, a value that it does not hold goes out without a generation,
/// to the leader and to those who waited, also when everybody else hung up in between; the flight ends as not cached.
#[test]
fn a_value_that_the_store_refused_has_no_generation() {
    for refusal in [Refusal::EpochMissing, Refusal::EpochOld, Refusal::TokenOld, Refusal::GenerationMoved] {
        let mut node = Node::new(locked(LockConfig::default()));
        let crowd: Vec<_> = (0..50).map(|_| node.miss(1)).collect();
        let stays = [node.miss(1), node.miss(1)];
        let (_, fetch) = node.grant(5, 1);
        for id in &crowd {
            node.cancel(*id);
        }
        node.answer_fetch(fetch.op, FetchOutcome::Fetched(11));
        let write = node.write().expect("the write");
        node.answer_write(write.op, WriteOutcome::Refused(refusal));
        let look = node.read().expect("what does the store hold?");
        node.answer_read(look, absent(1));
        for (id, served) in stays.into_iter().zip([Served::Led, Served::Waited]) {
            let answer = node.served[&id].result.clone().expect("a value");
            let label = (answer.value, answer.served, answer.generation, answer.cached);
            assert_eq!(label, (11, served, 0, false), "{refusal:?}");
        }
        assert!(crowd.iter().all(|id| !node.served.contains_key(id)), "{refusal:?}");
        assert_eq!(node.ended.last().expect("ended").ending, Ending::Uncached);
        assert!(node.release().is_some(), "given back");
        node.assert_idle();
    }
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
    node.answer_read(look, absent(2));
    let answer = node.served[&before].result.clone().expect("a value");
    assert_eq!((answer.value, answer.generation, answer.cached), (11, 0, false));
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

/// Goal: the known-bad settings of the lock travel with its actions, late releases included; the driver obeys them.
#[test]
fn known_bad_settings_travel_with_the_actions() {
    for bad in [false, true] {
        let lock = LockConfig { unconditional_release: bad, volatile_tokens: bad, ..LockConfig::default() };
        let mut node = Node::new(locked(lock));
        node.miss_within(1, SECOND * 60);
        assert!(matches!(node.todo[0], Action::Acquire { volatile_tokens, .. } if volatile_tokens == bad));
        let (op, _) = node.acquire().expect("an acquire");
        node.pass(SECOND * 30);
        let fetch = node.fetch().expect("fail-open");
        node.answer_fetch(fetch.op, FetchOutcome::NotFound);
        node.answer_lease(op, LeaseOutcome::Granted(lease(5)));
        let releases = node.todo.iter().filter(
            |action| matches!(action, Action::Release { unconditional, .. } if *unconditional == bad),
        );
        assert_eq!(releases.count(), 2, "at once, and when the grant is certain");
    }
}
