//! Statements about chance, on simulated series: each is confirmed where theory holds and refuted where it does not.

use herd_history::{History, LedgerRow, Served};
use herd_judge::Outcome::{Invalid, Unknown, Valid};
use herd_judge::{Outcome, Verdict};
use herd_scenario::{Layer, OriginModel, Popularity, Scenario};

use crate::made::{
    Dice, FLIGHT, LOCK, LOCK_ALONE, NONE, REBUILD_MS, START_US, changed, claim, expect_unknown, history,
    renumber, row, verdict, with_writes,
};

const EARLY: &str = "early_rebuilds_per_window";

/// A run whose window is this long and whose ledger has these rows; its requests are plain hits.
fn run_of(rows: Vec<LedgerRow>, window_ms: u64) -> History {
    let mut run = history(&[]);
    let rung = &mut run.rungs[0];
    rung.ledger = rows;
    renumber(rung);
    rung.record.window_end_us = START_US + window_ms * 1_000;
    let offered = window_ms / 5;
    let hit = rung.operations.iter().find(|row| row.served == Served::Hit).unwrap().clone();
    rung.operations = (0..offered)
        .map(|n| {
            let at_us = START_US + n * 5_000;
            let node = format!("node-{}", n % 4);
            let (generation, age_ms) = (0, 0);
            let times = (at_us, at_us, at_us + 500);
            let (intended_us, sent_us, done_us) = times;
            herd_history::OperationRecord {
                seq: n,
                intended_us,
                sent_us,
                done_us,
                node,
                generation,
                age_ms,
                ..hit.clone()
            }
        })
        .collect();
    (rung.record.load.offered, rung.record.load.sent) = (offered, offered);
    run
}

/// XFetch simulated by its rule: reads of `rate_per_s`, each recomputes early when `age - took * beta * ln(u) >= ttl`, none is
/// coalesced; the first that is done replaces the value. Returns the ledger and its length in milliseconds.
fn xfetch(lives: u64, rate_per_s: f64, beta: f64, took_ms: f64, dice: &mut Dice) -> (Vec<LedgerRow>, u64) {
    let (ttl_ms, known_ms) = (1_000.0, REBUILD_MS as f64);
    let mut rows = vec![row(1, 0, 0, 0)];
    let mut born_ms = known_ms;
    for generation in 1..=lives {
        // Nobody recomputes in the first part of a life: chances there are below one in a million.
        let mut now_ms = born_ms + ttl_ms - known_ms * beta * 20.0;
        let mut replaced_ms = f64::INFINITY;
        loop {
            now_ms += dice.exponential(1e3 / rate_per_s);
            if now_ms >= replaced_ms {
                break;
            }
            let expired = now_ms - born_ms - known_ms * beta * (1.0 - dice.uniform()).ln() >= ttl_ms;
            if expired {
                let mut rebuild = row(1, generation, (now_ms as usize) % 4, 0);
                rebuild.start_us = START_US + (now_ms * 1e3) as u64;
                rebuild.end_us = Some(rebuild.start_us + (took_ms * 1e3) as u64);
                rows.push(rebuild);
                replaced_ms = replaced_ms.min(now_ms + took_ms);
            }
        }
        born_ms = replaced_ms;
    }
    (rows, born_ms as u64 + 1_000)
}

fn early(beta: f64, rate_per_s: u32) -> impl Fn(&mut Scenario) {
    move |scenario| {
        scenario.rungs[0].layers.push(Layer::Early);
        scenario.rungs[0].early_beta = Some(beta);
        scenario.workload.rate_per_s = rate_per_s;
    }
}

/// Judges a simulated run at 4,000 reads a second, of which the records keep some: the ledger is what counts here.
fn judged(beta: f64, lives: u64, took_ms: f64, at_most: &str) -> Verdict {
    let (rows, window_ms) = xfetch(lives, 4_000.0, beta, took_ms, &mut Dice(7));
    let mut run = run_of(rows, window_ms);
    let load = &mut run.rungs[0].record.load;
    (load.offered, load.sent) = (load.offered * 20, load.sent * 20);
    let scenario = changed(NONE, &format!("{}{at_most}", claim(EARLY, "fleet")), early(beta, 4_000));
    // The records hold a twentieth of the requests, which another assumption rightly misses: only the checker is asked.
    let found = verdict(&scenario, &run);
    match found.why.strip_prefix("not confirmed: ") {
        Some(why) => Verdict { outcome: Valid, why: why.to_owned(), ..found },
        None => found,
    }
}

/// Goal: e^(1/beta) rebuilds a life are confirmed for each beta, with the number of lives and the confidence stated.
#[test]
fn early_rebuilds_follow_theory() {
    for (beta, mean) in [(0.5, 739), (1.0, 272), (2.0, 165)] {
        let found = judged(beta, 400, 100.0, "");
        assert_eq!(found.outcome, Valid, "{found:#?}");
        let (observed, bound) = (found.observed.unwrap(), found.bound.unwrap());
        assert!(observed.abs_diff(mean) * 5 < mean, "{found:#?}");
        assert!(observed <= bound && bound.abs_diff(mean) * 5 < mean, "what is valid lies within its bound");
        assert!(found.why.contains("lives") && found.why.contains("at 99 %"), "{}", found.why);
    }
}

/// Goal: twice as many rebuilds as theory says refute it, far fewer do not confirm it, a slow origin breaks its premise.
#[test]
fn early_rebuilds_that_theory_does_not_explain() {
    let double = |beta: f64, of: f64| {
        let (rows, window_ms) = xfetch(200, 4_000.0, of, 100.0, &mut Dice(3));
        let scenario = changed(NONE, &claim(EARLY, "fleet"), early(beta, 4_000));
        verdict(&scenario, &run_of(rows, window_ms))
    };
    let refuted = double(2.0, 0.7);
    assert_eq!(refuted.outcome, Invalid, "{refuted:#?}");
    assert!(refuted.witness.unwrap().rebuilds_total > 4);
    let below = double(0.5, 2.0);
    assert_eq!(below.outcome, Unknown, "{below:#?}");
    assert!(below.why.contains("theory is not confirmed"), "{}", below.why);
    // The origin takes three times as long as when the values were made: e^3 instead of e.
    let slow = judged(1.0, 100, 300.0, "");
    assert_eq!(slow.outcome, Unknown);
    assert!(slow.why.contains("a slow origin defeats"), "{}", slow.why);
    assert_eq!(judged(1.0, 100, 300.0, "\nat_most = 400").outcome, Invalid);
    assert_eq!(judged(1.0, 100, 100.0, "\nat_most = 400").outcome, Valid);
}

/// Goal: until the store has the new value readers go on recomputing: what its time explains does not refute theory, more does.
#[test]
fn the_stores_time_is_part_of_the_rebuild() {
    // 130 ms until the value is replaced, of which the rebuild took 100 ms: e^1.3 instead of e.
    let (mut rows, window_ms) = xfetch(400, 4_000.0, 1.0, 130.0, &mut Dice(7));
    rows.iter_mut().for_each(|row| row.end_us = Some(row.start_us + 100_000));
    let scenario = changed(NONE, &claim(EARLY, "fleet"), early(1.0, 4_000));
    let mut run = with_writes(run_of(rows, window_ms));
    assert_eq!(verdict(&scenario, &run).outcome, Invalid, "the store's record knows of no delay");
    run.rungs[0].writes.iter_mut().for_each(|write| write.at_us += 30_000);
    let found = verdict(&scenario, &run);
    assert!(found.outcome == Valid || found.why.starts_with("not confirmed"), "{found:#?}");
    assert!(found.why.contains("theory: 2.72, 3.67 with the time"), "{}", found.why);
    assert!(found.observed <= found.bound, "{found:#?}");
}

/// Goal: who writes late sets no bound of its own: the store's share of the time is theory's up to half a rebuild, and then nothing is
/// shown.
#[test]
fn late_writes_set_no_bound() {
    // As many as beta 0.5 has, told as beta 1: twice the time would explain e^2.
    let (rows, window_ms) = xfetch(100, 4_000.0, 0.5, 100.0, &mut Dice(7));
    let scenario = changed(NONE, &claim(EARLY, "fleet"), early(1.0, 4_000));
    let late = |late_ms: u64| {
        let mut run = with_writes(run_of(rows.clone(), window_ms));
        run.rungs[0].writes.iter_mut().for_each(|write| write.at_us += late_ms * 1_000);
        run
    };
    assert_eq!(verdict(&scenario, &late(0)).outcome, Invalid);
    assert_eq!(verdict(&scenario, &late(49)).outcome, Invalid);
    expect_unknown(&scenario, &late(100), "the store took values 2.00 times as long");
}

/// Goal: the interval is as wide as it says: a right system of few lives is neither refuted nor left unknown in more than its one run
/// of a hundred.
#[test]
fn right_systems_are_confirmed() {
    let mut confirmed = 0;
    let runs = 100;
    for seed in 0..runs {
        let (rows, window_ms) = xfetch(36, 4_000.0, 0.5, 100.0, &mut Dice(seed));
        let scenario = changed(NONE, &claim(EARLY, "fleet"), early(0.5, 4_000));
        let found = verdict(&scenario, &run_of(rows, window_ms));
        confirmed += u64::from(found.why.starts_with("not confirmed: "));
    }
    // The records hold a twentieth of the requests: another assumption rightly misses them, and a valid verdict says so.
    assert!(confirmed >= runs - 4, "{confirmed}");
}

/// Goal: too few lives, too few readers, a varying origin or no such layer leave it unknown.
#[test]
fn early_rebuilds_need_their_premises() {
    let few = judged(1.0, 25, 100.0, "");
    assert_eq!(few.outcome, Unknown, "{few:#?}");
    assert!(few.why.contains("lives are too few, 30 needed"), "{}", few.why);
    let (rows, window_ms) = xfetch(60, 4_000.0, 1.0, 100.0, &mut Dice(3));
    let run = run_of(rows, window_ms);
    let with = |change: &dyn Fn(&mut Scenario)| {
        changed(NONE, &claim(EARLY, "fleet"), |scenario| {
            early(1.0, 4_000)(scenario);
            change(scenario);
        })
    };
    // r*beta*D = 9.9.
    expect_unknown(&with(&|scenario| scenario.workload.rate_per_s = 99), &run, "too few for e^(1/beta)");
    let varied = |scenario: &mut Scenario| {
        scenario.origin.model = OriginModel::LogNormal { median_ms: 100, sigma: 0.1, max_ms: 200 };
    };
    expect_unknown(&with(&varied), &run, "this origin's time varies");
    expect_unknown(&with(&|scenario| scenario.rungs[0].early_beta = None), &run, "recomputes early");
    let alike = |scenario: &mut Scenario| {
        (scenario.workload.keys, scenario.workload.popularity) = (2, Popularity::Uniform);
    };
    expect_unknown(&with(&alike), &run, "no key is read more than the others");
    expect_unknown(&with(&|_| {}), &run_of(vec![row(1, 0, 0, 0)], 5_000), "no life of the hot key");
}

/// Goal: where rebuilds are coalesced each single life has the coalescing layer's bound.
#[test]
fn early_rebuilds_under_a_coalescing_layer() {
    let property = claim(EARLY, "fleet");
    let lives = |each: usize| {
        let mut run = history(&(0..each).map(|node| (node, 0)).collect::<Vec<_>>());
        run.rungs[0].ledger.iter_mut().for_each(|row| row.reason = herd_history::Reason::Early);
        run
    };
    for (rung, most) in [(LOCK, 1), (LOCK_ALONE, 1), (FLIGHT, 4)] {
        let scenario = changed(rung, &property, early(1.0, 200));
        let good = verdict(&scenario, &lives(most));
        assert_eq!((good.outcome, good.observed), (Valid, Some(most as u64 * 100)), "{good:#?}");
        let bad = verdict(&scenario, &lives(most + 1));
        assert_eq!((bad.outcome, bad.observed), (Invalid, Some(most as u64 * 100 + 100)), "{bad:#?}");
    }
}

/// Rebuilds of as many keys as there are starts, each at its own time.
fn queries(starts_ms: impl IntoIterator<Item = f64>, window_ms: u64) -> History {
    let mut rows: Vec<LedgerRow> = starts_ms
        .into_iter()
        .enumerate()
        .map(|(key, start_ms)| {
            let mut row = row(1, 1, 0, 0);
            (row.key, row.cache_key) = (format!("item-{}", key + 1), format!("p:item-{}", key + 1));
            row.start_us = START_US + (start_ms * 1e3) as u64;
            row.end_us = Some(row.start_us + REBUILD_MS * 1_000);
            row
        })
        .collect();
    rows.sort_by_key(|row| row.start_us);
    run_of(rows, window_ms)
}

/// What the checker itself says: whether such a run meets the assumptions is another matter.
fn sawtooth(run: &History, rung: &str, change: impl FnOnce(&mut Scenario)) -> (Outcome, u64) {
    let scenario = changed(rung, &claim("sawtooth", "fleet"), |scenario| {
        scenario.workload.keys = 100_000;
        scenario.workload.popularity = Popularity::Uniform;
        change(scenario);
    });
    let found = verdict(&scenario, run);
    let outcome = if found.why.starts_with("not confirmed") { Valid } else { found.outcome };
    (outcome, found.observed.unwrap())
}

/// Goal: a herd at every TTL is a sawtooth, an even rate and lone queries are none.
#[test]
fn a_sawtooth_is_told_from_noise() {
    let mut dice = Dice(11);
    let herds = (0..9).flat_map(|n| (0..50).map(move |k| f64::from(n) * 1_100.0 + f64::from(k) * 2.0));
    let (outcome, observed) = sawtooth(&queries(herds, 10_000), NONE, |_| {});
    assert!(outcome == Invalid && observed > 80, "{outcome:?} {observed}");
    for _ in 0..20 {
        let even = queries((0..2_000).map(|_| dice.uniform() * 1e4), 10_000);
        let (outcome, observed) = sawtooth(&even, NONE, |_| {});
        assert!(outcome == Valid && observed < 30, "{outcome:?} {observed}");
    }
    // One query a TTL is what a full stack of layers costs.
    let lone = queries((0..9).map(|n| f64::from(n) * 1_100.0), 10_000);
    assert_eq!(sawtooth(&lone, LOCK, |_| {}), (Valid, 0));
    // Two at once every TTL are not yet a tooth, four are; a metronome that never pauses is none.
    let teeth = |each: u32| (0..9).flat_map(move |n| (0..each).map(move |_| f64::from(n) * 1_100.0));
    let (outcome, observed) = sawtooth(&queries(teeth(2), 10_000), NONE, |_| {});
    assert!(outcome == Valid && (30..50).contains(&observed), "{outcome:?} {observed}");
    let (outcome, observed) = sawtooth(&queries(teeth(4), 10_000), NONE, |_| {});
    assert!(outcome == Invalid && observed > 60, "{outcome:?} {observed}");
    let even = queries((0..100).map(|n| f64::from(n) * 100.0), 10_000);
    assert_eq!(sawtooth(&even, NONE, |_| {}), (Valid, 0));
    // Jitter too small to spread anything leaves the teeth, enough of it does not.
    let jittered = |jitter: f64, dice: &mut Dice| {
        let starts: Vec<f64> = (0..300)
            .flat_map(|_| {
                let mut at_ms = 0.0;
                (0..9)
                    .map(|_| {
                        at_ms += 1_000.0 * (1.0 + jitter * (2.0 * dice.uniform() - 1.0)) + 100.0;
                        at_ms
                    })
                    .collect::<Vec<f64>>()
            })
            .collect();
        let set = move |scenario: &mut Scenario| scenario.rungs[0].jitter = Some(jitter);
        sawtooth(&queries(starts, 10_000), NONE, set)
    };
    let (outcome, observed) = jittered(0.02, &mut dice);
    assert!(outcome == Invalid && observed > 50, "{outcome:?} {observed}");
    let (outcome, observed) = jittered(0.6, &mut dice);
    assert!(outcome == Valid && observed < 50, "{outcome:?} {observed}");
}

/// Goal: too few TTLs or queries say nothing about a rate.
#[test]
fn a_sawtooth_needs_periods() {
    let scenario = changed(LOCK, &claim("sawtooth", "fleet"), |_| {});
    let few = queries((0..3).map(|n| f64::from(n) * 1_000.0), 3_900);
    expect_unknown(&scenario, &few, "holds 3 TTLs, 4 are needed");
    expect_unknown(&scenario, &queries([1_100.0], 8_000), "1 queries in 8 TTLs show no rate");
    let noisy = queries((0..4).map(|n| f64::from(n) * 1_100.0), 4_500);
    let slow = changed(LOCK, &claim("sawtooth", "fleet"), |scenario| {
        scenario.origin.model = OriginModel::Fixed { latency_ms: 400 };
    });
    expect_unknown(&slow, &noisy, "too few TTLs to tell a sawtooth from noise");
}
