//! What a hit costs while nothing is wrong: the path that every other request pays for.

use std::sync::Arc;
use std::time::Duration;

use herd_policy::{
    Action, Config, Core, EarlyConfig, Life, Limits, LockConfig, NegativeConfig, ReadOutcome, StaleConfig,
    Time, WaiterConfig,
};

use crate::node::KEY;

const SECOND: Duration = Duration::from_secs(1);

/// A lookup that is served from the cache.
fn hit(core: &mut Core<u64>, key: &Arc<str>) {
    core.handle_lookup(Time::ZERO, Arc::clone(key), Time::ZERO + SECOND);
    let Some(Action::Read { op, .. }) = core.poll_action() else { panic!("the first look") };
    let life = Life { age: SECOND, ttl: SECOND * 10, rebuild_took: Duration::from_millis(1) };
    core.handle_read(Time::ZERO, op, ReadOutcome::Fresh { value: 11, generation: 1, life });
    assert!(matches!(core.poll_action(), Some(Action::Serve(_))));
    assert_eq!(core.poll_action(), None);
}

/// Goal: a hit allocates nothing once the tables have grown, with no layer on and with all of them.
#[test]
fn a_hit_allocates_nothing() {
    let full = Config {
        lock: Some(LockConfig::default()),
        waiter: Some(WaiterConfig { wait: SECOND, then: herd_policy::OnWaitTimeout::Stale }),
        stale: Some(StaleConfig {
            grace: SECOND,
            while_revalidate: true,
            if_error: true,
            safe_keys: vec!["*".into()],
        }),
        jitter: 0.25,
        negative: Some(NegativeConfig { ttl: SECOND }),
        key_filter: true,
        early: Some(EarlyConfig { beta: 1.0 }),
        ..Config::default()
    };
    for config in [Config::default(), full] {
        let mut core = Core::new(Arc::new(config), Limits::default(), 1);
        let key: Arc<str> = Arc::from(KEY);
        hit(&mut core, &key);
        let cost = allocation_counter::measure(|| {
            for _ in 0..1_000 {
                hit(&mut core, &key);
            }
        });
        assert_eq!(cost.count_total, 0);
    }
}

/// Goal: the measure above can say no: a miss allocates its flight.
#[test]
fn a_miss_allocates() {
    let mut core: Core<u64> = Core::new(Arc::new(Config::default()), Limits::default(), 1);
    let key: Arc<str> = Arc::from(KEY);
    hit(&mut core, &key);
    let cost = allocation_counter::measure(|| {
        core.handle_lookup(Time::ZERO, Arc::clone(&key), Time::ZERO + SECOND);
        let Some(Action::Read { op, .. }) = core.poll_action() else { panic!("the first look") };
        core.handle_read(Time::ZERO, op, ReadOutcome::Absent { generation: 0, may_exist: true });
    });
    assert!(cost.count_total > 0);
}
