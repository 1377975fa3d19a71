use std::time::Duration;

use herd_scenario::{Fault, FaultAction, Layer, Once, Scenario, Start};

use crate::SMALL;

/// The small scenario (T = 500, D = 100, 200 reads a second of one key, 5 boundaries) with changes.
fn changed(change: impl Fn(&mut Scenario)) -> Duration {
    let mut scenario = Scenario::parse("t.toml", SMALL).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    change(&mut scenario);
    scenario.rung_duration()
}

fn ms(parts: f64) -> Duration {
    Duration::from_millis((parts * 1.05 + 1_000.0).ceil() as u64)
}

/// Goal: enough for every boundary's TTL, next reader and herd, and one rebuild after the last; a window that is given rules.
#[test]
fn as_long_as_the_boundaries_need() {
    assert_eq!(changed(|_| {}), ms(5.0 * (500.0 + 5.0 + 200.0) + 100.0));
    assert_eq!(changed(|s| s.workload.window_ms = Some(4_321)), Duration::from_millis(4_321));
}

/// Goal: jittered TTLs may all be long ones, a cold start has a herd of its own, and a failing origin ends no boundary; in
/// whichever rung.
#[test]
fn what_makes_periods_longer() {
    assert_eq!(changed(|s| s.rungs[0].jitter = Some(0.2)), ms(5.0 * (600.0 + 205.0) + 100.0));
    assert_eq!(changed(|s| s.rungs[0].start = Start::Cold), ms(200.0 + 5.0 * 705.0 + 100.0));
    let failing = herd_scenario::Failing { at_ms: 0, for_ms: 700, share: 1.0 };
    assert_eq!(changed(|s| s.origin.failing = Some(failing)), ms(700.0 + 5.0 * 705.0 + 100.0));
}

/// Goal: serving stale and recomputing early make no period longer.
#[test]
fn what_makes_periods_no_longer() {
    let plain = changed(|_| {});
    assert_eq!(changed(|s| s.rungs[0].layers.push(Layer::StaleWhileRevalidate)), plain);
    assert_eq!(changed(|s| s.rungs[0].early_beta = Some(1.0)), plain);
}

/// Goal: the window holds every fault that happens, and a period after the last one is over; faults that are over early need
/// nothing more.
#[test]
fn faults_are_over_a_period_before_the_end() {
    let fault = |at_ms: u32, rung: &str| Fault {
        name: "f".to_owned(),
        rungs: Some(vec![rung.to_owned()]),
        at_ms,
        once: Once::Now,
        for_ms: 1_500,
        times: 3,
        every_ms: 2_000,
        action: FaultAction::RedisRestartEmpty,
    };
    let plain = changed(|_| {});
    let with = |faults: Vec<Fault>| changed(move |s| s.faults.clone_from(&faults));
    let period_ms = 705.0 * 1.05;
    let late = Duration::from_millis((9_000.0 + 4_000.0 + 1_500.0 + period_ms + 1_000.0_f64).ceil() as u64);
    assert_eq!(with(vec![fault(9_000, "lock")]), late);
    assert_eq!(with(vec![fault(9_000, "lock"), fault(0, "lock")]), late);
    assert_eq!(with(vec![fault(9_000, "dropped")]), plain);
    let early = Fault { times: 1, ..fault(0, "lock") };
    assert_eq!(with(vec![early]), plain);
}
