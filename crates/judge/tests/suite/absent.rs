//! Rows that do not exist: how often the origin is asked for them, and what clients are told.

use herd_history::{FetchOutcome, History, LedgerRow, Outcome as Ended, Served};
use herd_judge::Outcome::{Invalid, Valid};
use herd_scenario::{AbsentIds, AbsentReads, FaultAction, Layer, LinkRule, Peer, Scenario, Which};

use crate::made::{
    FLIGHT, LOCK, NONE, START_US, changed, claim, expect, expect_unknown, history, insert, note_fault, plan,
    recount, renumber, row, scenario,
};

/// A tenth of the reads ask for rows that do not exist, whose absence is remembered for a second.
fn negative(scenario: &mut Scenario) {
    scenario.workload.absent = Some(AbsentReads { share: 0.1, ids: AbsentIds::Fixed { count: 20 } });
    scenario.rungs[0].layers.push(Layer::Negative);
    scenario.rungs[0].negative_ttl_ms = Some(1_000);
}

/// A fetch of a row that does not exist.
fn absence(key: &str, node: usize, generation: u64, start_ms: u64) -> LedgerRow {
    let mut row = row(1, generation, node, start_ms);
    (row.key, row.cache_key) = (key.to_owned(), format!("p:{key}"));
    (row.outcome, row.version) = (Some(FetchOutcome::NoSuchRow), 0);
    row
}

/// A good run with one read of `absent-1` every 50 ms, and these fetches of it.
fn run(absences: &[(usize, u64, u64)]) -> History {
    let mut run = history(&[(0, 0)]);
    let rung = &mut run.rungs[0];
    for (node, generation, start_ms) in absences {
        rung.ledger.push(absence("absent-1", *node, *generation, *start_ms));
    }
    for row in rung.operations.iter_mut().filter(|row| row.served == Served::Hit).step_by(10) {
        row.key = "absent-1".to_owned();
        (row.outcome, row.served) = (Ended::NotFound, Served::Negative);
        (row.generation, row.version) = (0, 0);
    }
    renumber(rung);
    run
}

/// Goal: where nothing remembers absence a missing row has a herd again and again, each bounded as any herd is: by the lock to one at
/// once, by single-flight to one for each process.
#[test]
fn missing_rows_have_herds_too() {
    let absent = |scenario: &mut Scenario| {
        scenario.workload.absent = Some(AbsentReads { share: 0.1, ids: AbsentIds::Fixed { count: 20 } });
    };
    for property in ["concurrent_rebuilds", "cold_fills"] {
        let of = |rung: &str, scope: &str| changed(rung, &claim(property, scope), absent);
        let after = [(0, 0, 0), (1, 0, 100), (2, 0, 200), (3, 0, 300), (0, 0, 400)];
        expect(&of(LOCK, "fleet"), &run(&after), Valid, 1);
        let refuted = expect(&of(LOCK, "fleet"), &run(&[(0, 0, 0), (1, 0, 100), (2, 0, 199)]), Invalid, 2);
        let witness = refuted.witness.unwrap();
        assert_eq!((witness.key.as_deref(), witness.rebuilds_total), (Some("absent-1"), 2));
        let each: Vec<(usize, u64, u64)> = (0..8).map(|n| (n % 4, 0, n as u64 * 25)).collect();
        expect(&of(FLIGHT, "fleet"), &run(&each), Valid, 4);
        expect(&of(FLIGHT, "process"), &run(&each), Valid, 1);
        let twice: Vec<(usize, u64, u64)> = each.iter().copied().chain([(0, 0, 150)]).collect();
        expect(&of(FLIGHT, "fleet"), &run(&twice), Invalid, 5);
        expect(&of(FLIGHT, "process"), &run(&twice), Invalid, 2);
    }
}

/// Goal: a cold key's rebuilds are counted with those of its boundaries.
#[test]
fn cold_keys_rebuild_at_once() {
    let scenario = scenario(LOCK, &claim("concurrent_rebuilds", "fleet"));
    let mut run = history(&[(0, 0)]);
    run.rungs[0].ledger.insert(1, row(1, 0, 1, 50));
    renumber(&mut run.rungs[0]);
    expect(&scenario, &run, Invalid, 2);
    // What filled it before the window is no herd.
    for row in &mut run.rungs[0].ledger[..2] {
        row.start_us -= 1_000_000;
    }
    expect(&scenario, &run, Valid, 1);
}

/// Goal: one herd in each negative TTL: one query with the lock, one per process with single-flight, wherever the window begins.
#[test]
fn negative_queries() {
    let fleet = claim("negative_queries", "negative");
    let process = claim("negative_queries", "process");
    let lock = changed(LOCK, &fleet, negative);
    expect(&lock, &run(&[(0, 0, 0), (1, 1, 1_100), (2, 2, 2_200)]), Valid, 1);
    // A second query 899 ms later lies within nine tenths of the TTL, one at 900 ms does not.
    expect(&lock, &run(&[(0, 0, 0), (1, 1, 900)]), Valid, 1);
    let refuted = expect(&lock, &run(&[(0, 0, 0), (1, 1, 899)]), Invalid, 2);
    let witness = refuted.witness.unwrap();
    assert_eq!((witness.key.as_deref(), witness.rebuilds_total), (Some("absent-1"), 2));

    let flight = changed(FLIGHT, &fleet, negative);
    let each: Vec<(usize, u64, u64)> = (0..4).map(|node| (node, 0, node as u64)).collect();
    expect(&flight, &run(&each), Valid, 4);
    let again: Vec<(usize, u64, u64)> = each.iter().copied().chain([(0, 0, 500)]).collect();
    expect(&flight, &run(&again), Invalid, 5);
    let by_process = changed(FLIGHT, &process, negative);
    expect(&by_process, &run(&each), Valid, 1);
    let refuted = expect(&by_process, &run(&again), Invalid, 2);
    assert!(refuted.why.contains("node-0 made 2 queries for absent-1"), "{}", refuted.why);

    // Eight queries while nothing could be stored are allowed for; two at another time are not, though they are fewer.
    let away = changed(FLIGHT, &process, |scenario| {
        negative(scenario);
        let link = FaultAction::Link { nodes: Which::Some(1), to: Peer::Redis, rule: LinkRule::BlackHole };
        plan(scenario, "cut", link);
    });
    let serial = (0..8).map(|n| (0, 0, n * 100));
    let hidden = |after: &[(usize, u64, u64)]| {
        let all: Vec<(usize, u64, u64)> = serial.clone().chain(after.iter().copied()).collect();
        let mut run = run(&all);
        note_fault(&mut run, "cut", "node-0", &[0, 1, 900, 910]);
        crate::made::verdict(&away, &run)
    };
    assert_eq!(hidden(&[(0, 1, 4_000)]).observed, Some(8));
    let later = hidden(&[(0, 1, 4_000), (0, 1, 4_200)]);
    assert_eq!((later.outcome, later.observed, later.bound), (Invalid, Some(2), Some(1)), "{later:#?}");

    expect_unknown(&lock, &run(&[]), "never asked for a row that does not exist");
    expect_unknown(&scenario(LOCK, &fleet), &run(&[(0, 0, 0)]), "no layer of the rung remembers absence");
    // A row that was inserted meanwhile is a row like others.
    let mut inserted = run(&[(0, 0, 0), (1, 1, 500)]);
    let last = inserted.rungs[0].ledger.last_mut().unwrap();
    last.outcome = Some(FetchOutcome::Fetched);
    inserted.rungs[0].inserts.push(insert(0, "absent-1", 400));
    inserted.rungs[0].operations.retain(|row| row.key != "absent-1" || row.sent_us < START_US + 400_000);
    recount(&mut inserted.rungs[0]);
    assert_eq!(crate::made::verdict(&lock, &inserted).observed, Some(1));
}

/// A flood: 1,000 of the reads ask for another row each, and so many of them reach the origin.
fn flood(queries: usize) -> History {
    let mut run = history(&[(0, 0)]);
    let rung = &mut run.rungs[0];
    for n in 0..1_000_u64 {
        let mut read = rung.operations[0].clone();
        (read.sent_us, read.intended_us) = (START_US + n * 5_000 + 1, START_US + n * 5_000 + 1);
        (read.done_us, read.key) = (read.sent_us + 500, format!("random-{n:016x}"));
        (read.outcome, read.served) = (Ended::NotFound, Served::Filtered);
        (read.generation, read.version) = (0, 0);
        rung.operations.push(read);
    }
    for n in 0..queries {
        rung.ledger.push(absence(&format!("random-{n:016x}"), n % 4, 0, n as u64));
    }
    renumber(rung);
    recount(rung);
    run
}

/// Goal: a filter lets one id in a hundred pass, by luck a few more; only a filter bounds a flood of distinct ids.
#[test]
fn absent_key_queries() {
    let property = claim("absent_key_queries", "negative");
    let random = |scenario: &mut Scenario| {
        scenario.workload.absent = Some(AbsentReads { share: 0.5, ids: AbsentIds::Random });
        scenario.workload.rate_per_s = 400;
    };
    let filter = changed(LOCK, &property, |scenario| {
        random(scenario);
        scenario.rungs[0].layers.push(Layer::KeyFilter);
    });
    // Of 1,000 ids ten pass on average; more than 21 do so less than once in a thousand runs.
    expect(&filter, &flood(10), Valid, 10);
    let at_bound = expect(&filter, &flood(21), Valid, 21);
    assert_eq!(at_bound.bound, Some(21));
    let refuted = expect(&filter, &flood(22), Invalid, 22);
    assert_eq!(refuted.witness.unwrap().rebuilds_total, 22);
    // An id that passes at a node does so each time; how often others were asked for is nothing to it.
    let mut often = flood(21);
    let again = often.rungs[0].ledger.iter().rfind(|row| row.node == "node-3").unwrap().clone();
    often.rungs[0].ledger.push(again);
    renumber(&mut often.rungs[0]);
    assert_eq!(expect(&filter, &often, Valid, 22).bound, Some(22));
    // Few ids, each asked for very often: one that its node knows to be absent never passes there.
    let mut few = flood(1);
    for row in few.rungs[0].operations.iter_mut().filter(|row| row.key.starts_with("random")) {
        (row.key, row.node) = ("random-0000000000000000".to_owned(), "node-0".to_owned());
    }
    assert_eq!(expect(&filter, &few, Valid, 1).bound, Some(1));
    let leak = few.rungs[0].ledger.last().unwrap().clone();
    few.rungs[0].ledger.push(leak);
    renumber(&mut few.rungs[0]);
    expect(&filter, &few, Invalid, 2);

    expect_unknown(&changed(LOCK, &property, random), &flood(10), "no layer of the rung bounds");
    let number = |at_most: u64| changed(LOCK, &format!("{property}\nat_most = {at_most}"), random);
    expect(&number(10), &flood(10), Valid, 10);
    expect(&number(9), &flood(10), Invalid, 10);
    expect_unknown(&filter, &history(&[(0, 0)]), "nobody asked for a row that does not exist");
}

/// Goal: who asks after the insertion was acknowledged is never told that there is no row; strictly after.
#[test]
fn absence_outlives_insert() {
    let scenario = changed(LOCK, &claim("absence_outlives_insert", "negative"), negative);
    let inserted = |late: bool, at_us: u64| {
        let mut run = run(&[(0, 0, 0)]);
        let rung = &mut run.rungs[0];
        // Acknowledged at 2,002 ms; whoever asks from then on gets the row, but perhaps one.
        rung.inserts.push(insert(0, "absent-1", 2_000));
        let mut made = row(1, 1, 0, 2_002);
        (made.key, made.cache_key) = ("absent-1".to_owned(), "p:absent-1".to_owned());
        rung.ledger.push(made);
        renumber(rung);
        let later = rung
            .operations
            .iter_mut()
            .filter(|row| row.key == "absent-1" && row.sent_us > START_US + 2_002_000);
        for row in later {
            (row.outcome, row.served, row.generation, row.version) = (Ended::Answered, Served::Hit, 2, 1);
        }
        if late {
            let row =
                rung.operations.iter_mut().find(|row| row.key == "absent-1" && row.generation == 2).unwrap();
            (row.outcome, row.served, row.generation) = (Ended::NotFound, Served::Negative, 0);
            row.sent_us = START_US + at_us;
        }
        run
    };
    expect(&scenario, &inserted(false, 0), Valid, 0);
    expect(&scenario, &inserted(true, 2_002_000), Valid, 0);
    let refuted = expect(&scenario, &inserted(true, 2_002_001), Invalid, 1);
    assert!(refuted.witness.unwrap().operations[0].what.contains("after its insertion"));
    expect_unknown(&scenario, &run(&[(0, 0, 0)]), "no insertion was acknowledged");
    let mut failed = inserted(false, 0);
    failed.rungs[0].inserts[0].outcome = Ended::Unavailable;
    expect_unknown(&scenario, &failed, "no insertion was acknowledged");
    let mut unread = inserted(false, 0);
    unread.rungs[0].operations.retain(|row| row.key != "absent-1" || row.sent_us < START_US + 2_000_000);
    recount(&mut unread.rungs[0]);
    expect_unknown(&scenario, &unread, "nobody read an inserted row");
}

/// Goal: "there is no such row" is the right answer to who asks for one that does not exist, and to nobody else.
#[test]
fn that_a_row_does_not_exist_is_an_answer() {
    let scenario = changed(LOCK, &claim("every_request_answered", "fleet"), negative);
    let good = run(&[(0, 0, 0)]);
    expect(&scenario, &good, Valid, 0);
    let judgement = herd_judge::judge(&scenario, &good);
    assert_eq!((judgement.rungs[0].errors, judgement.rungs[0].absent_queries), (0, 1));
    assert!(judgement.rungs[0].assumptions.iter().all(|a| a.holds), "{:#?}", judgement.rungs[0].assumptions);

    let mut missing = good.clone();
    let row = missing.rungs[0].operations.iter_mut().find(|row| row.key == "item-1").unwrap();
    (row.outcome, row.generation) = (Ended::NotFound, 0);
    let refuted = expect(&scenario, &missing, Invalid, 1);
    assert!(refuted.why.contains("1 not found"), "{}", refuted.why);

    let mut invented = good;
    let row = invented.rungs[0].operations.iter_mut().find(|row| row.key == "absent-1").unwrap();
    row.outcome = Ended::Answered;
    let refuted = expect(&scenario, &invented, Invalid, 1);
    assert!(refuted.why.contains("a value of a row that does not exist"), "{}", refuted.why);
    let sent_us = invented.rungs[0].operations.iter().find(|row| row.key == "absent-1").unwrap().sent_us;
    invented.rungs[0].inserts.push(insert(0, "absent-1", 0));
    invented.rungs[0].inserts[0].done_us = START_US + 9_000_000;
    assert!(invented.rungs[0].inserts[0].sent_us < sent_us);
    expect(&scenario, &invented, Valid, 0);
    // A row that was asked for only later did not exist yet.
    invented.rungs[0].inserts[0].sent_us = START_US + 8_000_000;
    expect(&scenario, &invented, Invalid, 1);
    // "There is none" is right until the insertion was acknowledged, and in that very microsecond.
    let mut inserted = run(&[(0, 0, 0)]);
    let last_us = inserted.rungs[0].operations.iter().rfind(|row| row.key == "absent-1").unwrap().sent_us;
    inserted.rungs[0].inserts.push(insert(0, "absent-1", 0));
    inserted.rungs[0].inserts[0].done_us = last_us;
    expect(&scenario, &inserted, Valid, 0);
    inserted.rungs[0].inserts[0].done_us = last_us - 1;
    expect(&scenario, &inserted, Invalid, 1);
}

/// Goal: absent keys are the rung's own business only if its load asks for them, and none beyond those.
#[test]
fn absent_rows_belong_to_the_rung() {
    let lock = |count: u32| {
        changed(LOCK, &claim("rebuilds_per_boundary", "fleet"), |scenario| {
            negative(scenario);
            scenario.workload.absent = Some(AbsentReads { share: 0.1, ids: AbsentIds::Fixed { count } });
        })
    };
    let mut second = run(&[(0, 0, 0)]);
    for row in &mut second.rungs[0].ledger {
        if row.key == "absent-1" {
            (row.key, row.cache_key) = ("absent-2".to_owned(), "p:absent-2".to_owned());
        }
    }
    expect(&lock(2), &second, Valid, 1);
    expect_unknown(&lock(1), &second, "foreign cache keys");
    expect_unknown(&scenario(NONE, &claim("origin_queries", "fleet")), &second, "foreign cache keys");
}
