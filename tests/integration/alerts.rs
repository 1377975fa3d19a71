//! Each alert fired for real: by the fault that it is there for, on a fleet of real processes, by the expressions that are shipped, and
//! not by the same load on a fleet that is protected. Times are a tenth of those in life, and no alert is kept up when its expression
//! has ended; how long one is kept up is the matter of promtool's tests.

use crate::drills::{Drill, Rung};

const ALL: [&str; 6] = [
    "CacheMissRateHigh",
    "OriginQueriesSpike",
    "LockWaitersStarve",
    "OriginLoadPerRequestHigh",
    "ErrorBudgetBurn",
    "OriginSawtooth",
];

/// Goal: a herd at every expiry is a sawtooth and spikes; with the full stack the same load fires nothing at all.
#[test]
fn a_sawtooth_fires_and_the_full_stack_does_not() {
    let mut drill = Drill::start("sawtooth");
    let [protected, bare] = two(drill.finish(), ["full-stack", "none"]);
    quiet(&drill, &protected, &ALL);
    loud(&drill, &bare, &["OriginSawtooth", "OriginQueriesSpike"]);
}

/// Goal: a deploy that empties the cache fires the composite of the incident and the miss rate; one whose keys are filled first does
/// not.
#[test]
fn a_prefix_bump_fires_and_a_versioned_deploy_does_not() {
    let mut drill = Drill::start("deploy");
    let [versioned, bump] = two(drill.finish(), ["versioned", "bump"]);
    quiet(
        &drill,
        &versioned,
        &["OriginLoadPerRequestHigh", "ErrorBudgetBurn", "LockWaitersStarve", "OriginSawtooth"],
    );
    loud(&drill, &bump, &["OriginLoadPerRequestHigh", "CacheMissRateHigh"]);
}

/// Asserts that these did not fire.
pub(crate) fn quiet(drill: &Drill, rung: &Rung, alerts: &[&str]) {
    for alert in alerts {
        let fired = drill.fired(alert, rung);
        assert!(fired.is_empty(), "{alert} fires in {}: {fired:?}", rung.name);
    }
}

/// Asserts that these fired.
pub(crate) fn loud(drill: &Drill, rung: &Rung, alerts: &[&str]) {
    for alert in alerts {
        assert!(!drill.fired(alert, rung).is_empty(), "{alert} does not fire in {rung:?}");
    }
}

/// The two rungs of a drill, of these names.
pub(crate) fn two(rungs: Vec<Rung>, names: [&str; 2]) -> [Rung; 2] {
    let found: Vec<&str> = rungs.iter().map(|rung| &*rung.name).collect();
    assert_eq!(found, names);
    rungs.try_into().expect("two")
}
