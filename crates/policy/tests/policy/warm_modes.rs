//! Lookups that want a key in the cache rather than its value.

use std::time::Duration;

use herd_policy::{
    Cause, Coalescing, Config, EarlyConfig, Error, Failure, FetchOutcome, Life, LockConfig, OnWaitTimeout,
    ReadOutcome, Reason, Served, StaleConfig, WaiterConfig,
};

use crate::node::{Node, absent, direct, expired, expired_for, fresh, lease, locked};

const SECOND: Duration = Duration::from_secs(1);

/// Goal: a warm-up obeys the configuration that it brings, not the current one, and says so; with the lock it takes it.
#[test]
fn a_warm_up_obeys_its_own_configuration() {
    let mut node = Node::new(direct());
    let warm = node.warm(locked(LockConfig::default()), absent(0));
    let (_, fetch) = node.grant(5, 0);
    assert_eq!((fetch.reason, fetch.lease), (Reason::Warm, Some(lease(5))));
    node.rebuild(fetch.op, 11, 1);
    assert!(node.release().is_some());
    assert_eq!(node.value_of(warm), (11, Served::Led));
    assert_eq!((node.served[&warm].config_version, node.core.config().version), (2, 1));
    node.assert_idle();
}

/// Goal: a reader who comes meanwhile joins the warm-up's flight, and a warm-up joins a reader's.
#[test]
fn warm_ups_and_readers_share_flights() {
    let mut node = Node::new(direct());
    let warm = node.warm(direct(), absent(0));
    let fetch = node.fetch().expect("the warm-up's");
    let reader = node.miss(0);
    assert_eq!((fetch.reason, node.fetch()), (Reason::Warm, None));
    node.rebuild(fetch.op, 11, 1);
    assert_eq!((node.value_of(warm), node.value_of(reader)), ((11, Served::Led), (11, Served::Waited)));

    let reader = node.find(expired(1));
    let fetch = node.fetch().expect("the reader's");
    let warm = node.warm(direct(), expired(1));
    assert_eq!((fetch.reason, node.fetch()), (Reason::FlightLeader, None));
    node.rebuild(fetch.op, 12, 2);
    assert_eq!((node.value_of(reader), node.value_of(warm)), ((12, Served::Led), (12, Served::Waited)));
    node.assert_idle();
}

/// Goal: what is fresh is warm; what is stale is not, although readers would be served it: the warm-up waits for the new
/// value.
#[test]
fn a_stale_value_is_not_warm() {
    let safe_keys = vec!["*".into()];
    let stale = StaleConfig { grace: SECOND, while_revalidate: true, if_error: false, safe_keys };
    let config = Config { stale: Some(stale), early: Some(EarlyConfig { beta: 10.0 }), ..direct() };
    let mut node = Node::new(config.clone());
    let warm = node.warm(config.clone(), expired_for(1, Duration::ZERO));
    let fetch = node.fetch().expect("the rebuild");
    assert_eq!((fetch.reason, node.core.waiting()), (Reason::Warm, 1));
    node.rebuild(fetch.op, 11, 2);
    assert_eq!(node.value_of(warm), (11, Served::Led));

    let life = Life { age: SECOND, ttl: SECOND, rebuild_took: SECOND * 900 };
    for outcome in [fresh(11, 2), ReadOutcome::Fresh { value: 11, generation: 2, life }] {
        let warm = node.warm(config.clone(), outcome);
        assert_eq!((node.value_of(warm), node.served[&warm].rebuild), ((11, Served::Hit), None));
    }
    node.assert_idle();
}

/// Goal: a warm-up whose rebuild failed is told so, where a reader is served the stale value: what is stale is not filled.
#[test]
fn a_failed_warm_up_is_not_served_stale() {
    let safe_keys = vec!["*".into()];
    let stale = StaleConfig { grace: SECOND, while_revalidate: false, if_error: true, safe_keys };
    let config = Config { stale: Some(stale), ..direct() };
    let mut node = Node::new(config.clone());
    let warm = node.warm(config, expired_for(1, Duration::ZERO));
    let reader = node.find_expired(1);
    let fetch = node.fetch().expect("the rebuild");
    let away = Failure::retryable(Cause::Unavailable, "away");
    node.answer_fetch(fetch.op, FetchOutcome::Failed(away.clone()));
    assert_eq!((node.error_of(warm), node.value_of(reader)), (Error::Origin(away), (10, Served::Stale)));
    node.assert_idle();
}

/// Goal: uncoordinated warm-ups rebuild alone, as readers do.
#[test]
fn uncoordinated_warm_ups_rebuild_alone() {
    let config = Config { coalescing: Coalescing::Uncoordinated, ..direct() };
    let mut node = Node::new(direct());
    for _ in 0..2 {
        node.warm(config.clone(), absent(0));
        let fetch = node.fetch().expect("its own");
        assert_eq!(fetch.reason, Reason::Warm);
        node.answer_fetch(fetch.op, FetchOutcome::NotFound);
    }
    node.assert_idle();
}

/// Goal: patience is a reader's: a warm-up waits for its rebuild, however impatient the configuration.
#[test]
fn a_warm_up_does_not_lose_patience() {
    let waiter = WaiterConfig { wait: SECOND, then: OnWaitTimeout::Error };
    let config = Config { waiter: Some(waiter), ..direct() };
    let mut node = Node::new(config.clone());
    let warm = node.warm(config, absent(0));
    let fetch = node.fetch().expect("the rebuild");
    let reader = node.miss(0);
    node.pass(SECOND * 2);
    assert_eq!(node.error_of(reader), Error::WaitTimeout);
    assert!(!node.served.contains_key(&warm), "it waits on");
    node.rebuild(fetch.op, 11, 1);
    assert_eq!(node.value_of(warm), (11, Served::Led));
    node.assert_idle();
}
