//! Many keys: filled together, cold, filled before; and what the figures of a rung show of them.

use herd_history::{DeployRecord, History, LedgerRow, Reason, Served, StartRecord};
use herd_judge::Outcome::{Invalid, Valid};
use herd_judge::judge;
use herd_scenario::{Deploy, DeployStrategy, Layer, Popularity, Scenario, Start};

use crate::made::{
    Dice, FLIGHT, LOCK, ONE_EACH, REBUILD_MS, START_US, changed, claim, expect, expect_unknown, history,
    recount, renumber, row, scenario, verdict,
};

/// Rebuilds of these keys: number, generation and start in milliseconds after the window's start, which may be negative.
fn rebuilds(rows: impl IntoIterator<Item = (usize, u64, f64)>) -> History {
    let mut run = history(&[]);
    let rung = &mut run.rungs[0];
    rung.ledger = rows
        .into_iter()
        .map(|(key, generation, start_ms)| {
            let mut row = row(1, generation, key % 4, 0);
            (row.key, row.cache_key) = (format!("item-{key}"), format!("p:item-{key}"));
            row.start_us = START_US.saturating_add_signed((start_ms * 1e3) as i64);
            row.end_us = Some(row.start_us + REBUILD_MS * 1_000);
            row
        })
        .collect();
    rung.ledger.sort_by_key(|row| row.start_us);
    renumber(rung);
    for row in &mut rung.operations {
        (row.served, row.generation, row.age_ms) = (Served::Hit, 0, 0);
    }
    run
}

/// A thousand keys filled 300 ms before the window, TTL 1 s.
fn together(jitter: Option<f64>) -> impl Fn(&mut Scenario) {
    move |scenario| {
        (scenario.workload.keys, scenario.workload.popularity) = (1_000, Popularity::Uniform);
        scenario.workload.boundaries = 0;
        scenario.rungs[0].jitter = jitter;
        if jitter.is_some() {
            scenario.rungs[0].layers.push(Layer::Jitter);
        }
    }
}

/// The same keys' first lives, each as long as the function says.
fn lives(mut life_ms: impl FnMut(usize) -> f64) -> History {
    let fills = (1..=1_000).map(|key| (key, 0, -300.0));
    let expiries: Vec<(usize, u64, f64)> = (1..=1_000).map(|key| (key, 1, -200.0 + life_ms(key))).collect();
    rebuilds(fills.chain(expiries))
}

/// Goal: keys filled together and spread by jitter stay below the exact tail's bound; keys that are not spread do not.
#[test]
fn highest_bucket() {
    let property = claim("highest_bucket", "keys");
    let jittered = changed(LOCK, &property, together(Some(0.25)));
    let mut dice = Dice(5);
    for _ in 0..20 {
        let run = lives(|_| 1_000.0 * (0.75 + 0.5 * dice.uniform()));
        let found = verdict(&jittered, &run);
        // A tenth of the TTL holds a fifth of the spread: 200 of a thousand keys; 200 + sqrt(400 ln 50) = 240.
        assert_eq!((found.outcome, found.bound), (Valid, Some(261)), "{found:#?}");
        assert!((200..=261).contains(&found.observed.unwrap()), "{found:#?}");
        assert!(found.bound_text.contains("99.9 %"), "{}", found.bound_text);
    }
    let refuted = expect(&jittered, &lives(|_| 1_000.0), Invalid, 1_000);
    assert_eq!(refuted.witness.unwrap().rebuilds_total, 1_000);
    // At the bound and one above: so many in one bucket, the others alike in four others.
    let heap = |most: usize| {
        let others = [760.0, 860.0, 1_060.0, 1_160.0];
        lives(move |key| if key <= most { 999.0 } else { others[key % 4] })
    };
    expect(&jittered, &heap(261), Valid, 261);
    expect(&jittered, &heap(262), Invalid, 262);
    let number = changed(LOCK, &format!("{property}\nat_most = 300"), together(Some(0.25)));
    expect(&number, &heap(300), Valid, 300);
    expect(&number, &heap(301), Invalid, 301);
    // Without jitter theory promises nothing below all of them.
    expect(&changed(LOCK, &property, together(None)), &lives(|_| 1_000.0), Valid, 1_000);
}

/// Goal: keys that were not filled together show nothing about what spreads them; none at all neither.
#[test]
fn keys_that_were_not_filled_together() {
    let property = claim("highest_bucket", "keys");
    let narrow = changed(LOCK, &property, together(Some(0.1)));
    let fills = (1..=1_000).map(|key| (key, 0, -1_000.0 + key as f64));
    let expiries = (1..=1_000).map(|key| (key, 1, 100.0 + key as f64));
    expect_unknown(&narrow, &rebuilds(fills.chain(expiries)), "of 1000 keys were filled together");
    expect_unknown(&narrow, &rebuilds((1..=1_000).map(|key| (key, 0, -300.0))), "no boundary was seen");
}

/// Goal: a cold key's herd is bounded as any herd is, in the window and of keys that exist.
#[test]
fn cold_fills() {
    let cold = |rung: &str, scope: &str| {
        changed(rung, &claim("cold_fills", scope), |scenario| {
            scenario.rungs[0].start = Start::Cold;
            scenario.workload.boundaries = 0;
        })
    };
    let fills = |nodes: &[usize]| {
        let mut run = history(&[(0, 0)]);
        let rung = &mut run.rungs[0];
        rung.record.start = StartRecord::Cold;
        rung.ledger.remove(0);
        rung.ledger.splice(0..0, nodes.iter().map(|node| row(1, 0, *node, 0)));
        renumber(rung);
        run
    };
    expect(&cold(LOCK, "fleet"), &fills(&[1]), Valid, 1);
    let refuted = expect(&cold(LOCK, "fleet"), &fills(&[1, 2]), Invalid, 2);
    assert_eq!(refuted.witness.unwrap().generation, Some(0));
    expect(&cold(FLIGHT, "fleet"), &fills(&[0, 1, 2, 3]), Valid, 4);
    expect(&cold(FLIGHT, "fleet"), &fills(&[0, 1, 2, 3, 0]), Invalid, 5);
    expect(&cold(FLIGHT, "process"), &fills(&[0, 1, 2, 3]), Valid, 1);
    expect(&cold(FLIGHT, "process"), &fills(&[0, 1, 1]), Invalid, 2);
    let mut before = fills(&[1]);
    before.rungs[0].ledger[0].start_us = START_US - 1;
    expect_unknown(&cold(LOCK, "fleet"), &before, "no key began cold");
    let mut refused = fills(&[1, 2]);
    refused.rungs[0].ledger[1].outcome = Some(herd_history::FetchOutcome::Rejected);
    expect(&cold(LOCK, "fleet"), &refused, Valid, 1);
    // A rung that was to begin cold and did not.
    let mut warm = fills(&[1]);
    warm.rungs[0].record.start = StartRecord::Warm;
    expect_unknown(&cold(LOCK, "fleet"), &warm, "planned Cold, recorded Warm");
}

fn prewarmed(opened: bool, filled: u64) -> StartRecord {
    StartRecord::Prewarmed {
        keys: 1,
        filled,
        hit_rate: 0.8,
        wanted: 0.7,
        opened,
        why: "the gate's word".to_owned(),
        took_ms: 10,
    }
}

/// Goal: after a pre-warm no filled key is cold, and misses stay below what the gate let through; a gate that stayed shut confirms nothing.
#[test]
fn prewarm() {
    let warmed = |property: &str, scope: &str| {
        changed(LOCK, &claim(property, scope), |scenario| {
            scenario.rungs[0].layers.push(Layer::Prewarm);
            scenario.rungs[0].start = Start::Prewarmed { top: 1, hit_rate: 0.7 };
        })
    };
    // Filled 200 ms before the window; if it is cold all the same, that is seen at 150 ms.
    let run = |filled: bool, cold: bool, start: StartRecord| {
        let mut run = history(&[(0, 0)]);
        let rung = &mut run.rungs[0];
        rung.record.start = start;
        let mut fill = rung.ledger.remove(0);
        (fill.start_us, fill.end_us) = (START_US - 200_000, Some(START_US - 100_000));
        fill.reason = Reason::Warm;
        let cold = cold.then(|| row(1, 0, 0, 150));
        rung.ledger.splice(0..0, filled.then_some(fill).into_iter().chain(cold));
        renumber(rung);
        run
    };
    let fills = warmed("cold_fills", "fleet");
    expect(&fills, &run(true, false, prewarmed(true, 1)), Valid, 0);
    let refuted = expect(&fills, &run(true, true, prewarmed(true, 1)), Invalid, 1);
    assert!(refuted.bound_text.contains("filled before"), "{}", refuted.bound_text);
    // A key that could not be filled is a cold key.
    expect(&fills, &run(false, true, prewarmed(true, 0)), Valid, 1);
    expect_unknown(&fills, &run(true, false, prewarmed(false, 1)), "the gate's word");

    let misses = warmed("miss_percent", "keys");
    let missed = |reads: usize| {
        let mut run = run(true, false, prewarmed(true, 1));
        let early = run.rungs[0].operations.iter_mut().take(200).enumerate();
        early.for_each(|(n, row)| row.served = if n < reads { Served::Led } else { Served::Hit });
        run
    };
    expect(&misses, &missed(60), Valid, 30);
    expect(&misses, &missed(61), Invalid, 31);
    expect_unknown(&scenario(LOCK, &claim("miss_percent", "keys")), &missed(0), "claim a number");
    let number = scenario(LOCK, &format!("{}\nat_most = 10", claim("miss_percent", "keys")));
    expect(&number, &history(&[(0, 0)]), Valid, 10);
    let mut more = history(&[(0, 0)]);
    more.rungs[0].operations[999].served = Served::Led;
    expect(&number, &more, Invalid, 11);
}

/// A deploy at 3,000 ms: the fill of the new prefix at 2,900 ms if it is versioned, else a cold start at the switch.
fn deployed(strategy: DeployStrategy, late_fill: bool) -> (Scenario, History) {
    let scenario = changed(LOCK, &claim("cold_fills", "fleet"), |scenario| {
        scenario.workload.boundaries = 2;
        scenario.rungs[0].deploy = Some(Deploy { at_ms: 2_800, strategy, fill_per_s: 10, stop_in_flight: 1 });
    });
    let mut run = history(&[(0, 0)]);
    let rung = &mut run.rungs[0];
    rung.record.deploy = Some(DeployRecord {
        strategy: strategy.to_string(),
        prefix: "q:".to_owned(),
        announced_version: 0,
        config_version: 8,
        fill_began_us: Some(START_US + 2_800_000),
        switched_us: Some(START_US + 3_000_000),
        retired_us: None,
        fill_keys: 1,
        filled: u64::from(strategy == DeployStrategy::Versioned),
        pauses: 0,
        why: "switched".to_owned(),
    });
    rung.ledger.retain(|row| row.start_us < START_US + 3_000_000);
    (rung.ledger[0].start_us, rung.ledger[0].end_us) = (START_US - 100_000, Some(START_US));
    let new = |generation: u64, start_ms: u64, reason: Reason| {
        let mut row: LedgerRow = row(1, generation, 1, start_ms);
        (row.cache_key, row.reason, row.config_version) = ("q:item-1".to_owned(), reason, 8);
        row
    };
    match strategy {
        DeployStrategy::Versioned => rung.ledger.push(new(0, 2_900, Reason::Warm)),
        DeployStrategy::Bump => rung.ledger.push(new(0, 3_000, Reason::LeaseHolder)),
    }
    if late_fill {
        // The store may have taken the fill up to 250 ms after its end.
        let cold_ms = if strategy == DeployStrategy::Versioned { 3_250 } else { 3_000 };
        rung.ledger.push(new(0, cold_ms, Reason::LeaseHolder));
    }
    rung.ledger.push(new(1, 4_000, Reason::LeaseHolder));
    renumber(rung);
    for row in rung.operations.iter_mut().filter(|row| row.sent_us >= START_US + 3_000_000) {
        row.config_version = 8;
        row.generation = if row.sent_us < START_US + 4_100_000 { 1 } else { 2 };
        let missed = row.sent_us >= START_US + 4_000_000 && row.generation == 1;
        row.served = if missed { Served::Waited } else { Served::Hit };
    }
    (scenario, run)
}

/// Goal: both prefixes of a deploy are the rung's own; versioned keys leave nobody cold, a bump does.
#[test]
fn deploys() {
    let (scenario, run) = deployed(DeployStrategy::Versioned, false);
    expect(&scenario, &run, Valid, 0);
    let assumptions = &judge(&scenario, &run).rungs[0].assumptions;
    assert!(assumptions.iter().all(|a| a.holds), "{assumptions:#?}");
    let (scenario, run) = deployed(DeployStrategy::Versioned, true);
    let refuted = expect(&scenario, &run, Invalid, 1);
    assert!(refuted.bound_text.contains("filled before"), "{}", refuted.bound_text);

    let (scenario, run) = deployed(DeployStrategy::Bump, false);
    expect(&scenario, &run, Valid, 1);
    let (scenario, run) = deployed(DeployStrategy::Bump, true);
    expect(&scenario, &run, Invalid, 2);

    let (scenario, mut stopped) = deployed(DeployStrategy::Versioned, false);
    stopped.rungs[0].record.deploy.as_mut().unwrap().switched_us = None;
    let failed = judge(&scenario, &stopped);
    let names: Vec<&str> = failed.rungs[0].assumptions.iter().filter(|a| !a.holds).map(|a| a.name).collect();
    assert_eq!(names, ["deploy took place"]);

    // Generations count anew under the new prefix: that is no way back; a smaller version is.
    let (mut scenario, mut run) = deployed(DeployStrategy::Versioned, false);
    scenario.claims[0].property = herd_scenario::Property::AnswersNeverGoBack;
    expect(&scenario, &run, Valid, 0);
    run.rungs[0].operations[999].version = 0;
    expect(&scenario, &run, Invalid, 1);
}

/// Goal: all queries together are bounded by what each herd may cost.
#[test]
fn origin_queries() {
    let all = scenario(FLIGHT, &claim("origin_queries", "fleet"));
    let found = expect(&all, &history(ONE_EACH), Valid, 17);
    assert_eq!(found.bound, Some(20));
    let six: Vec<(usize, u64)> = (0..6).map(|n| (n % 4, n as u64)).collect();
    let refuted = expect(&all, &history(&six), Invalid, 25);
    assert_eq!(refuted.witness.unwrap().rebuilds_total, 25);
    let number =
        |most: u64| scenario(FLIGHT, &format!("{}\nat_most = {most}", claim("origin_queries", "fleet")));
    expect(&number(17), &history(ONE_EACH), Valid, 17);
    expect(&number(16), &history(ONE_EACH), Invalid, 17);
    let mut idle = history(&[(0, 0)]);
    idle.rungs[0].operations.clear();
    expect_unknown(&all, &idle, "nothing was read");
}

/// Goal: the table shows the most read key; rarely read ones do not dilute its mean.
#[test]
fn figures_are_those_of_the_hot_key() {
    let mut run = history(ONE_EACH);
    let rung = &mut run.rungs[0];
    for key in 2..=40 {
        let mut cold = row(1, 1, 0, 1_000 + key * 50);
        (cold.key, cold.cache_key) = (format!("item-{key}"), format!("p:item-{key}"));
        rung.ledger.push(cold);
    }
    renumber(rung);
    recount(rung);
    let with = |popularity: Popularity| {
        let scenario = changed(FLIGHT, &claim("rebuilds_per_boundary", "fleet"), |scenario| {
            (scenario.workload.keys, scenario.workload.popularity) = (40, popularity);
        });
        let figures = judge(&scenario, &run).rungs.remove(0);
        (figures.boundaries, figures.origin_queries_per_boundary.mean, figures.highest_bucket)
    };
    assert_eq!(with(Popularity::Hot { share: 0.9 }), (4, 4.0, 6));
    assert_eq!(with(Popularity::Zipf { exponent: 1.0 }).0, 4);
    let (boundaries, mean, _) = with(Popularity::Uniform);
    assert_eq!(boundaries, 43);
    assert!(mean < 1.5, "{mean}");
}
