use herd_scenario::{Arrival, ArrivalProcess, KeyId, Popularity, Workload};
use proptest::prelude::*;

fn workload(keys: u32, popularity: Popularity, arrivals: ArrivalProcess) -> Workload {
    Workload { keys, popularity, arrivals, ..Workload::default() }
}

fn drawn(workload: &Workload, seed: u64, seconds: u64) -> Vec<Arrival> {
    workload.arrivals(seed).take_while(|arrival| arrival.at_us < seconds * 1_000_000).collect()
}

/// Goal: before and after are measured under identical load.
#[test]
fn the_same_seed_draws_the_same_load() {
    let load = workload(100, Popularity::Zipf { exponent: 1.0 }, ArrivalProcess::Poisson);
    assert_eq!(drawn(&load, 7, 5), drawn(&load, 7, 5));
    assert_ne!(drawn(&load, 7, 5), drawn(&load, 8, 5));
}

/// Goal: the drawn rate is the rate that was asked for, and Poisson gaps are as uneven as they should be.
#[test]
fn rates_are_what_was_asked_for() {
    let even = drawn(&workload(1, Popularity::One, ArrivalProcess::Uniform), 1, 20);
    assert!((19_999..=20_000).contains(&even.len()), "{}", even.len());
    let poisson = drawn(&workload(1, Popularity::One, ArrivalProcess::Poisson), 1, 20);
    // Standard deviation of a Poisson count of 20,000 is 141.
    assert!((19_300..20_700).contains(&poisson.len()), "{}", poisson.len());
    let gaps: Vec<f64> = poisson.windows(2).map(|pair| (pair[1].at_us - pair[0].at_us) as f64).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    let unevenness = variance.sqrt() / mean;
    assert!((0.95..1.05).contains(&unevenness), "{unevenness}");
}

/// Goal: the stated shares are the drawn shares, since the judge computes bounds from them.
#[test]
fn shares_agree_with_what_is_drawn() {
    for popularity in [Popularity::Uniform, Popularity::Zipf { exponent: 1.2 }] {
        let load = workload(10, popularity, ArrivalProcess::Poisson);
        let all = drawn(&load, 3, 50);
        for key in 0..10 {
            let share =
                all.iter().filter(|arrival| arrival.key == KeyId::Row(key)).count() as f64 / all.len() as f64;
            let stated = load.shares().of(&load.key_name(KeyId::Row(key)));
            assert!((share - stated).abs() < 0.01, "{popularity:?} {key} {share} {stated}");
        }
    }
}

/// Goal: names that are no drawn key have no share.
#[test]
fn names_that_are_not_drawn_have_no_share() {
    let load = workload(10, Popularity::Uniform, ArrivalProcess::Poisson);
    for name in ["item-0", "item-11", "item-", "other-1", ""] {
        assert_eq!(load.shares().of(name), 0.0, "{name}");
    }
}

proptest! {
    /// Goal: arrivals are numbered without gaps, never go back in time, and only name keys that exist.
    #[test]
    fn arrivals_are_ordered_and_in_range(seed: u64, keys in 1_u32..200, exponent in 0.1_f64..3.0, poisson: bool) {
        let arrivals = if poisson { ArrivalProcess::Poisson } else { ArrivalProcess::Uniform };
        let popularity = Popularity::Zipf { exponent };
        let mut last_us = 0;
        for (index, arrival) in workload(keys, popularity, arrivals).arrivals(seed).take(500).enumerate() {
            prop_assert_eq!(arrival.seq, index as u64);
            prop_assert!(arrival.at_us >= last_us);
            prop_assert!(arrival.key < KeyId::Row(keys));
            last_us = arrival.at_us;
        }
    }
}
