//! What bursts and floods add to the load.

use std::collections::BTreeSet;

use herd_scenario::{
    AbsentIds, AbsentReads, Arrival, ArrivalProcess, Fault, FaultAction, KeyId, Once, Popularity, Scenario,
    Workload,
};
use proptest::prelude::*;

use crate::SMALL;

/// Held from 2 s to 3 s and from 5 s to 6 s.
fn fault(name: &str, action: FaultAction) -> Fault {
    Fault {
        name: name.to_owned(),
        rungs: Some(vec!["lock".to_owned()]),
        at_ms: 2_000,
        once: Once::Now,
        for_ms: 1_000,
        times: 2,
        every_ms: 3_000,
        action,
    }
}

fn scenario(faults: Vec<Fault>, arrivals: ArrivalProcess) -> Scenario {
    let mut scenario = Scenario::parse("t.toml", SMALL).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let absent = Some(AbsentReads { share: 0.1, ids: AbsentIds::Random });
    let popularity = Popularity::Zipf { exponent: 1.0 };
    scenario.workload =
        Workload { keys: 20, popularity, rate_per_s: 2_000, arrivals, absent, ..Workload::default() };
    scenario.faults = faults;
    scenario
}

/// The reads of ten seconds.
fn drawn(scenario: &Scenario, rung: &str) -> Vec<Arrival> {
    scenario.arrivals(rung).take_while(|arrival| arrival.at_us < 10_000_000).collect()
}

fn is_held(arrival: &Arrival) -> bool {
    matches!(arrival.at_us / 1_000_000, 2 | 5)
}

fn burst() -> FaultAction {
    FaultAction::Burst { factor: 5.0 }
}

fn flood() -> FaultAction {
    FaultAction::Flood { rate_per_s: 3_000 }
}

/// Goal: the load is the stated one, within each hold and outside.
#[test]
fn as_much_as_was_asked_for() {
    for arrivals in ArrivalProcess::ALL {
        for (action, held_per_s) in [(burst(), 10_000.0), (flood(), 5_000.0)] {
            let scenario = scenario(vec![fault("f", action)], *arrivals);
            let all = drawn(&scenario, "lock");
            for second in 0..10 {
                let count = all.iter().filter(|arrival| arrival.at_us / 1_000_000 == second).count() as f64;
                let mean: f64 = if matches!(second, 2 | 5) { held_per_s } else { 2_000.0 };
                // Six standard deviations of a Poisson count: once in a thousand million.
                assert!((count - mean).abs() < 6.0 * mean.sqrt(), "{arrivals} {second}: {count} of {mean}");
            }
            let expected = scenario.reads_expected("lock", 10.0);
            assert_eq!(expected, 16_000.0 + 2.0 * held_per_s);
        }
    }
}

/// Goal: a burst is spread over the keys as the load is.
#[test]
fn a_burst_reads_the_same_keys() {
    let scenario = scenario(vec![fault("f", burst())], ArrivalProcess::Poisson);
    let held: Vec<Arrival> = drawn(&scenario, "lock").into_iter().filter(is_held).collect();
    let all = held.len() as f64;
    for row in 0..20 {
        let stated = scenario.workload.shares().of(&scenario.workload.key_name(KeyId::Row(row)));
        let share = held.iter().filter(|arrival| arrival.key == KeyId::Row(row)).count() as f64 / all;
        // Six standard deviations of a binomial share.
        assert!(
            (share - stated).abs() < 6.0 * (stated * (1.0 - stated) / all).sqrt(),
            "{row}: {share} {stated}"
        );
    }
}

/// Goal: a flood asks for another row each time, also beside a load that does so.
#[test]
fn a_flood_never_repeats_itself() {
    let scenario = scenario(
        vec![fault("f", flood()), fault("g", flood()), fault("h", burst())],
        ArrivalProcess::Poisson,
    );
    let random: Vec<KeyId> = drawn(&scenario, "lock")
        .iter()
        .map(|arrival| arrival.key)
        .filter(|key| matches!(key, KeyId::Random(_)))
        .collect();
    assert!(random.len() > 12_000);
    assert_eq!(random.iter().collect::<BTreeSet<_>>().len(), random.len());
}

/// Goal: what is expected of a shorter window counts the part of the holds that lies within.
#[test]
fn expectations_end_with_the_window() {
    let scenario = scenario(vec![fault("f", burst())], ArrivalProcess::Poisson);
    for (window_s, reads) in [(1.0, 2_000.0), (2.5, 9_000.0), (5.25, 20_500.0), (10.0, 36_000.0)] {
        assert_eq!(scenario.reads_expected("lock", window_s), reads);
    }
    assert_eq!(scenario.reads_expected("other", 10.0), 20_000.0);
}

/// Goal: a rung without the fault has the workload's own load.
#[test]
fn other_rungs_have_the_load_alone() {
    let scenario = scenario(vec![fault("f", burst())], ArrivalProcess::Poisson);
    let own = scenario.workload.arrivals(scenario.seed).take(5_000);
    assert!(scenario.arrivals("other").zip(own).take(5_000).all(|(one, other)| one == other));
}

proptest! {
    /// Goal: numbers have no gaps, times never go back, the workload's own reads are all there and in their order, and nothing is
    /// added while nothing is held; the same seed draws the same.
    #[test]
    fn what_is_added_moves_nothing_else(seed: u64, factor in 1.1_f64..20.0, flood in 1_u32..5_000, poisson: bool) {
        let arrivals = if poisson { ArrivalProcess::Poisson } else { ArrivalProcess::Uniform };
        let faults = vec![
            fault("b", FaultAction::Burst { factor }),
            Fault { at_ms: 2_500, times: 1, ..fault("f", FaultAction::Flood { rate_per_s: flood }) },
        ];
        let mut scenario = scenario(faults, arrivals);
        scenario.seed = seed;
        let reads: Vec<Arrival> = scenario.arrivals("lock").take_while(|arrival| arrival.at_us < 4_000_000).collect();
        prop_assert!(reads.iter().enumerate().all(|(index, read)| read.seq == index as u64));
        prop_assert!(reads.windows(2).all(|pair| pair[0].at_us <= pair[1].at_us));
        let mut rest = reads.iter();
        for own in scenario.workload.arrivals(seed).take_while(|own| own.at_us < 4_000_000) {
            prop_assert!(rest.any(|read| (read.at_us, read.key) == (own.at_us, own.key)), "{own:?} is lost");
        }
        let outside = |at_us: u64| !(2_000_000..=3_500_000).contains(&at_us);
        let count = reads.iter().filter(|read| outside(read.at_us)).count();
        let own = scenario.workload.arrivals(seed).take_while(|own| own.at_us < 4_000_000);
        prop_assert_eq!(count, own.filter(|own| outside(own.at_us)).count());
        prop_assert!(scenario.arrivals("lock").zip(reads).all(|(one, other)| one == other));
    }
}
