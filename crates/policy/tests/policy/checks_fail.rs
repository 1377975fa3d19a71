//! Each check says no to what it is there for. What the cores do is right, so that these actions are made wrong by hand.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use herd_policy::{
    AbsentBy, Action, Answer, Config, Error, HolderEnd, LeaseOutcome, Life, LockConfig, LookupId,
    NegativeConfig, OnWaitTimeout, ReadOutcome, RebuildId, Serve, Served, StaleConfig, Time, WaiterConfig,
    WriteOutcome,
};

use crate::checks::Checks;
use crate::node::{KEY, Node, direct, lease, locked};

const SECOND: Duration = Duration::from_secs(1);

/// Real names and actions of one core: a lookup whose flight got the lock, fetched, wrote and ended.
struct Record {
    lookup: LookupId,
    acquire: Action<u64>,
    fetch: Action<u64>,
    write: Action<u64>,
    release: Action<u64>,
    ended: Action<u64>,
    rebuild: RebuildId,
}

fn record() -> Record {
    let mut node = Node::new(locked(LockConfig::default()));
    let lookup = node.miss(1);
    let acquire = node.todo[0].clone();
    let (op, _) = node.acquire().expect("an acquire");
    node.answer_lease(op, LeaseOutcome::Granted(lease(5)));
    let look = node.read().expect("the look after the grant");
    node.answer_read(look, crate::node::expired(1));
    let fetch = node.todo[0].clone();
    let fetched = node.fetch().expect("the rebuild");
    node.answer_fetch(fetched.op, herd_policy::FetchOutcome::Fetched(11));
    let write = node.todo[0].clone();
    let written = node.write().expect("the write");
    node.answer_write(written.op, WriteOutcome::Written { generation: 2 });
    let (release, summary) = (node.todo[0].clone(), node.ended[0].clone());
    let rebuild = summary.rebuild;
    Record { lookup, acquire, fetch, write, release, ended: Action::Ended(summary), rebuild }
}

fn without_lease(mut action: Action<u64>) -> Action<u64> {
    if let Action::Fetch { lease, .. } | Action::Write { lease, .. } = &mut action {
        *lease = None;
    }
    action
}

fn other_rebuild(mut action: Action<u64>) -> Action<u64> {
    let mut node = Node::new(direct());
    node.find(ReadOutcome::Absent { generation: 0, may_exist: true });
    let _ = node.core.handle_lookup(node.now, Arc::from("p:item-2"), node.now + SECOND);
    node.drain();
    let look = node.first_look().expect("its look");
    node.answer_read(look, ReadOutcome::Absent { generation: 0, may_exist: true });
    let mut fetches = node.todo.iter().filter_map(|action| match action {
        Action::Fetch { rebuild, .. } => Some(*rebuild),
        _ => None,
    });
    let other = fetches.next_back().expect("two flights");
    if let Action::Fetch { rebuild, .. } = &mut action {
        *rebuild = other;
    }
    action
}

/// Checks of a fleet with that configuration, in which the record's lookup began and saw generation 3, value 30, expired.
fn checks(config: &Config, record: &Record) -> Checks {
    let mut checks = Checks::new(config);
    checks.at(Time::from_millis(1_000));
    checks.looked_up(0, record.lookup, KEY.into(), Time::from_millis(6_000), false);
    let life = Life { age: SECOND, ttl: SECOND, rebuild_took: Duration::ZERO };
    checks.looked(0, record.lookup, &ReadOutcome::Expired { value: 30, generation: 3, life });
    checks
}

fn serve(record: &Record, result: Result<Answer<u64>, Error>) -> Action<u64> {
    let (lookup, rebuild) = (record.lookup, Some(record.rebuild));
    Action::Serve(Serve { lookup, result, rebuild, config_version: 1, missed: true })
}

fn answer(value: u64, generation: u64, served: Served) -> Result<Answer<u64>, Error> {
    Ok(Answer { value, generation, served, cached: true })
}

/// The checks pass before `wrong`, and then say that.
#[track_caller]
fn says(expected: &str, mut checks: Checks, wrong: impl FnOnce(&mut Checks)) {
    let panic = catch_unwind(AssertUnwindSafe(|| wrong(&mut checks))).expect_err(expected);
    let said = panic.downcast_ref::<String>().cloned();
    let said = said.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).expect("a message");
    assert!(said.contains(expected), "said {said:?}, not {expected:?}");
}

/// Goal: one answer for each lookup, not two, not none, and none after it went away.
#[test]
fn answers_are_counted() {
    let record = record();
    let served = || serve(&record, answer(40, 4, Served::Led));
    let mut once = checks(&direct(), &record);
    once.action(0, &served());
    says("served twice", once, |checks| checks.action(0, &served()));
    let mut cancelled = checks(&direct(), &record);
    cancelled.cancelled(0, record.lookup);
    says("served after it was cancelled", cancelled, |checks| checks.action(0, &served()));
    says("was never served", checks(&direct(), &record), |checks| checks.end());
}

/// Goal: flights are one a key, end once, and do nothing afterwards.
#[test]
fn flights_are_watched() {
    let record = record();
    let fetch = without_lease(record.fetch.clone());
    let mut one = checks(&direct(), &record);
    one.action(0, &fetch);
    says("two live flights", one, |checks| checks.action(0, &other_rebuild(fetch.clone())));
    let ended = || {
        let mut ended = checks(&direct(), &record);
        ended.action(0, &fetch);
        ended.action(0, &record.ended);
        ended
    };
    says("works after its end", ended(), |checks| checks.action(0, &fetch));
    says("ended twice", ended(), |checks| checks.action(0, &record.ended));
    let mut endless = checks(&direct(), &record);
    endless.action(0, &fetch);
    endless.action(0, &serve(&record, answer(40, 4, Served::Led)));
    says("never ended", endless, |checks| checks.end());
}

/// Goal: what was granted is given back before its flight ends, and nothing is done under a lease that is not held.
#[test]
fn leases_are_watched() {
    let record = record();
    let config = locked(LockConfig::default());
    let Action::Acquire { owner, .. } = record.acquire else { panic!("an acquire") };
    let granted = || {
        let mut granted = checks(&config, &record);
        granted.action(0, &record.acquire);
        granted.leased(0, owner, &LeaseOutcome::Granted(lease(5)));
        granted
    };
    says("an owner's name is used twice", granted(), |checks| checks.action(0, &record.acquire));
    says("ended without releasing", granted(), |checks| checks.action(0, &record.ended));
    let mut served = granted();
    served.action(0, &serve(&record, answer(40, 4, Served::Led)));
    says("granted and never released", served, |checks| checks.end());
    for action in [&record.fetch, &record.write] {
        let mut released = granted();
        released.action(0, &record.release);
        says("the lease that it holds", released, |checks| checks.action(0, action));
        says("the lease that it holds", granted(), |checks| checks.action(0, &without_lease(action.clone())));
    }
    assert!(matches!(record.release, Action::Release { end: HolderEnd::ValueWritten, .. }));
}

/// Goal: nobody is shown what is older than his own look, or than what was shown before.
#[test]
fn old_values_are_caught() {
    let record = record();
    for (value, generation) in [(40, 2), (20, 4)] {
        says(", saw ", checks(&direct(), &record), |checks| {
            checks.action(0, &serve(&record, answer(value, generation, Served::Led)));
        });
    }
    says("is not in the cache", checks(&direct(), &record), |checks| {
        let labelled = answer(40, 4, Served::Led).map(|answer| Answer { cached: false, ..answer });
        checks.action(0, &serve(&record, labelled));
    });
    let mut shown = checks(&direct(), &record);
    shown.action(0, &serve(&record, answer(40, 4, Served::Led)));
    shown.looked_up(1, record.lookup, KEY.into(), Time::from_millis(6_000), false);
    says(" after Floor", shown, |checks| {
        checks.action(1, &serve(&record, answer(30, 3, Served::Hit)));
    });
}

/// Goal: stale is served only what is safe, within its grace, and what the lookup's own look saw.
#[test]
fn stale_values_are_caught() {
    let record = record();
    let stale = |safe: &str| {
        let safe_keys = vec![safe.into()];
        let stale = StaleConfig { grace: SECOND, while_revalidate: true, if_error: true, safe_keys };
        Config { key_prefix: "p:".into(), stale: Some(stale), ..direct() }
    };
    let own = || serve(&record, answer(30, 3, Served::Stale));
    says("is not safe", checks(&stale("item-2"), &record), |checks| checks.action(0, &own()));
    says("old, T", checks(&stale("*"), &record), |checks| {
        checks.at(Time::from_millis(2_001));
        checks.action(0, &own());
    });
    says("its own look's value", checks(&stale("*"), &record), |checks| {
        checks.action(0, &serve(&record, answer(31, 3, Served::Stale)));
    });
    says("only where the layer is on", checks(&direct(), &record), |checks| checks.action(0, &own()));
}

/// Goal: nobody waits past his deadline or his patience.
#[test]
fn long_waits_are_caught() {
    let record = record();
    let served = || serve(&record, answer(40, 4, Served::Led));
    says("served after its deadline", checks(&direct(), &record), |checks| {
        checks.at(Time::from_millis(6_001));
        checks.action(0, &served());
    });
    let waiter = Some(WaiterConfig { wait: SECOND, then: OnWaitTimeout::Error });
    says("waited longer than its patience", checks(&Config { waiter, ..direct() }, &record), |checks| {
        checks.at(Time::from_millis(2_001));
        checks.action(0, &served());
    });
}

/// Goal: a row that was inserted before the lookup began is not denied to it.
#[test]
fn a_denied_row_is_caught() {
    let record = record();
    let mut checks = Checks::new(&direct());
    checks.inserted(KEY);
    checks.looked_up(0, record.lookup, KEY.into(), Time::from_millis(6_000), false);
    says("after its insert", checks, |checks| {
        checks.action(0, &serve(&record, Err(Error::NotFound { by: AbsentBy::Sentinel })));
    });
}

/// Goal: values and sentinels live as long as they are configured to.
#[test]
fn wrong_lives_are_caught() {
    let record = record();
    let write = |is_value: bool, life: Duration| {
        let mut write = without_lease(record.write.clone());
        if let Action::Write { value, ttl, .. } = &mut write {
            *value = value.filter(|_| is_value);
            *ttl = life;
        }
        write
    };
    let jittered = Config { jitter: 0.25, ..direct() };
    let negative = Config { negative: Some(NegativeConfig { ttl: SECOND }), ..direct() };
    for (config, is_value, life_s, expected) in [
        (&direct(), true, 9, "left == right"),
        (&jittered, true, 7, " of 10s"),
        (&jittered, true, 13, " of 10s"),
        (&negative, false, 10, "a sentinel's own life"),
        (&direct(), false, 10, "a sentinel's own life"),
    ] {
        says(expected, checks(config, &record), |checks| {
            checks.action(0, &write(is_value, SECOND * life_s));
        });
    }
}
