use std::collections::BTreeSet;

use herd_scenario::{AbsentIds, AbsentReads, Arrival, ArrivalProcess, KeyId, Popularity, Workload};
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
    for popularity in
        [Popularity::Uniform, Popularity::Zipf { exponent: 1.2 }, Popularity::Hot { share: 0.8 }]
    {
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

/// Goal: reads of absent rows take their share from the others, and the stated shares of all are the drawn ones.
#[test]
fn absent_reads_take_their_share_from_the_others() {
    let fixed = AbsentReads { share: 0.3, ids: AbsentIds::Fixed { count: 4 } };
    let load = Workload {
        absent: Some(fixed),
        ..workload(3, Popularity::Hot { share: 0.5 }, ArrivalProcess::Poisson)
    };
    let all = drawn(&load, 5, 50);
    let keys = (0..3).map(KeyId::Row).chain((0..4).map(KeyId::Absent));
    let mut sum = 0.0;
    for key in keys {
        let share = all.iter().filter(|arrival| arrival.key == key).count() as f64 / all.len() as f64;
        let stated = load.shares().of(&load.key_name(key));
        assert!((share - stated).abs() < 0.01, "{key:?} {share} {stated}");
        sum += stated;
    }
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    assert!((load.shares().of_most_read() - 0.35).abs() < 1e-9);
}

/// Goal: the flood of an attack asks for another row each time.
#[test]
fn random_ids_are_all_different() {
    let flood = AbsentReads { share: 1.0, ids: AbsentIds::Random };
    let load = Workload { absent: Some(flood), ..workload(1, Popularity::One, ArrivalProcess::Poisson) };
    let all = drawn(&load, 5, 20);
    let names: BTreeSet<String> = all.iter().map(|arrival| load.key_name(arrival.key)).collect();
    assert_eq!(names.len(), all.len());
    assert!(names.iter().all(|name| load.shares().of(name) == 0.0));
    assert_ne!(all[0].key, drawn(&load, 6, 1)[0].key);
}

/// Goal: a hot key gets its share in each second, not only on average.
#[test]
fn a_hot_key_is_hot_all_the_time() {
    let load = workload(40, Popularity::Hot { share: 0.8 }, ArrivalProcess::Poisson);
    let all = drawn(&load, 11, 10);
    for second in 0..10 {
        let of_second = all.iter().filter(|arrival| arrival.at_us / 1_000_000 == second);
        let (hot, other): (Vec<&Arrival>, Vec<&Arrival>) =
            of_second.partition(|arrival| arrival.key == KeyId::Row(0));
        let share = hot.len() as f64 / (hot.len() + other.len()) as f64;
        // Six standard deviations of a share of 0.8 among 1,000.
        assert!((share - 0.8).abs() < 0.076, "second {second}: {share}");
    }
}

/// Goal: names that are no drawn key have no share.
#[test]
fn names_that_are_not_drawn_have_no_share() {
    let load = workload(10, Popularity::Uniform, ArrivalProcess::Poisson);
    for name in ["item-0", "item-11", "item-", "item-01", "item-+1", "absent-1", "random-1", "other-1", ""] {
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

    /// Goal: absent reads neither move arrival times nor change which rows the other reads ask for; the share is the one asked for.
    #[test]
    fn absent_reads_change_nothing_else(seed: u64, share in 0.05_f64..0.95, count in 1_u32..50, random: bool) {
        let ids = if random { AbsentIds::Random } else { AbsentIds::Fixed { count } };
        let without = workload(20, Popularity::Uniform, ArrivalProcess::Poisson);
        let with = Workload { absent: Some(AbsentReads { share, ids }), ..without.clone() };
        let mut absent = 0;
        for (one, other) in with.arrivals(seed).zip(without.arrivals(seed)).take(2_000) {
            prop_assert_eq!((one.seq, one.at_us), (other.seq, other.at_us));
            match one.key {
                KeyId::Row(_) => prop_assert_eq!(one.key, other.key),
                KeyId::Absent(id) => prop_assert!(!random && id < count),
                KeyId::Random(_) => prop_assert!(random),
            }
            absent += u32::from(!matches!(one.key, KeyId::Row(_)));
        }
        // Six standard deviations of a binomial count.
        let (mean, deviation) = (2_000.0 * share, (2_000.0 * share * (1.0 - share)).sqrt());
        prop_assert!((f64::from(absent) - mean).abs() < 6.0 * deviation + 1.0, "{} of {}", absent, mean);
        prop_assert!(with.arrivals(seed).zip(with.arrivals(seed)).take(500).all(|(a, b)| a == b));
    }
}
