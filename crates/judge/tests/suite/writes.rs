//! What the store's own record shows, and whether the records of a run agree.

use herd_history::{
    History, Outcome as Ended, Reason, Served, StoreWriteKind, StoreWriteVerdict, TracedRecord,
};
use herd_judge::Outcome::{Invalid, Valid};

use crate::made::{
    FLIGHT, LOCK, ONE_EACH, claim, expect, expect_unknown, history, scenario, verdict, with_writes, write,
};

/// Whatever the checker says, it says it only of a complete record.
fn incomplete(mut history: History) -> History {
    history.rungs[0].record.writes_complete = false;
    history
}

/// Goal: one accepted write a generation is the bound, two are caught with both as witness, a record with gaps confirms nothing.
#[test]
fn accepted_writes_per_generation() {
    let scenario = scenario(FLIGHT, &claim("accepted_writes_per_generation", "fleet"));
    let good = with_writes(history(ONE_EACH));
    expect(&scenario, &good, Valid, 1);
    expect_unknown(&scenario, &incomplete(good.clone()), "not complete");
    expect_unknown(&scenario, &history(ONE_EACH), "holds no accepted write");

    let mut twice = good;
    let again = twice.rungs[0].writes.iter_mut().find(|write| write.generation == 3).unwrap();
    let trace = again.trace.clone();
    let second = twice.rungs[0].writes.iter_mut().filter(|write| write.generation == 3).nth(1).unwrap();
    second.verdict = StoreWriteVerdict::Accepted;
    let refuted = expect(&scenario, &incomplete(twice), Invalid, 2);
    let witness = refuted.witness.unwrap();
    assert_eq!((witness.generation, witness.writes_total), (Some(3), 2));
    assert_eq!((witness.writes[0].trace.as_str(), witness.writes[1].verdict), (trace.as_str(), "accepted"));
}

/// Goal: a write after a newer one is caught, by version, token, generation and deletion; equal is not older.
#[test]
fn stale_writes() {
    let scenario = scenario(LOCK, &claim("stale_writes", "fleet"));
    let good = with_writes(history(&[(0, 0)]));
    expect(&scenario, &good, Valid, 0);
    expect_unknown(&scenario, &incomplete(good.clone()), "not complete");
    expect_unknown(&scenario, &history(&[(0, 0)]), "holds no accepted write");

    let spoiled = |spoil: &dyn Fn(&mut herd_history::StoreWriteRecord)| {
        let mut bad = good.clone();
        spoil(bad.rungs[0].writes.last_mut().unwrap());
        bad
    };
    let why = |bad: &History| expect(&scenario, bad, Invalid, 1).why;
    assert!(why(&spoiled(&|write| write.version = 0)).contains("newer version"));
    assert!(why(&spoiled(&|write| write.token = 1)).contains("newer token"));
    assert!(why(&spoiled(&|write| write.epoch = 0)).contains("newer token"));
    assert!(why(&spoiled(&|write| write.generation = 3)).contains("newer generation"));
    // The same token or generation twice is another claim's business; a refused write did no harm.
    expect(&scenario, &spoiled(&|write| write.token = 7), Valid, 0);
    expect(&scenario, &spoiled(&|write| write.generation = 4), Valid, 0);
    expect(
        &scenario,
        &spoiled(&|write| (write.token, write.verdict) = (1, StoreWriteVerdict::TokenOld)),
        Valid,
        0,
    );

    let deleted = |generation: u64| {
        let mut run = good.clone();
        let at = run.rungs[0].writes.len() - 1;
        let mut deletion = run.rungs[0].writes[at].clone();
        (deletion.kind, deletion.generation) = (StoreWriteKind::Deletion, generation);
        (deletion.version, deletion.token, deletion.epoch) = (0, 0, 0);
        run.rungs[0].writes.insert(at, deletion);
        run
    };
    expect(&scenario, &deleted(4), Valid, 0);
    let refuted = expect(&scenario, &deleted(5), Invalid, 1);
    assert!(refuted.why.contains("newer deletion"), "{}", refuted.why);
    let kinds: Vec<&str> = refuted.witness.unwrap().writes.iter().map(|write| write.kind).collect();
    assert_eq!(kinds, ["deletion", "value"]);
}

/// Goal: traces and ledger know the same fetches, as far as the traces are whole and no fault may have cut them short.
#[test]
fn traces_and_ledger_know_the_same_fetches() {
    let scenario = scenario(LOCK, &claim("records_disagree", "fleet"));
    let traced = |change: &dyn Fn(&mut Vec<TracedRecord>)| {
        let mut run = with_writes(history(&[(0, 0)]));
        let told = |row: &herd_history::LedgerRow| TracedRecord {
            rebuild: row.rebuild,
            trace: row.trace.clone(),
            done_us: row.end_us.unwrap(),
        };
        let mut all: Vec<TracedRecord> = run.rungs[0].ledger.iter().map(told).collect();
        change(&mut all);
        run.traced = Some(all);
        run
    };
    let told = expect(&scenario, &traced(&|_| {}), Valid, 0);
    assert!(!told.why.contains("traces were not compared"), "{}", told.why);
    let none = History { traced: None, ..traced(&|_| {}) };
    let silent = expect(&scenario, &none, Valid, 0);
    assert!(
        silent.why.ends_with("traces were not compared: the run kept no record of all of them"),
        "{}",
        silent.why
    );
    let untold = traced(&|all| drop(all.remove(1)));
    let found = expect(&scenario, &untold, Invalid, 1);
    assert!(found.why.contains("rebuild 3: the traces do not tell of it"), "{}", found.why);
    let mut fill = untold;
    fill.rungs[0].ledger[1].reason = Reason::Warm;
    assert_eq!(verdict(&scenario, &fill).observed, Some(0), "fills are traced by ratio");
    // What ended after the last that they tell of may not have been sent; nor need they know of a node that never told.
    expect(&scenario, &traced(&|all| drop(all.pop())), Valid, 0);
    let mut silent = traced(&|all| drop(all.remove(1)));
    silent.rungs[0].ledger[1].node = "node-3".to_owned();
    assert_eq!(verdict(&scenario, &silent).observed, Some(0));
    let other = traced(&|all| all[1].trace = "elsewhere".to_owned());
    assert!(expect(&scenario, &other, Invalid, 1).why.contains("another trace"));
    let more =
        |rebuild: u64| traced(&|all| all.push(TracedRecord { rebuild, trace: String::new(), done_us: 0 }));
    let found = expect(&scenario, &more(2), Invalid, 1);
    assert!(found.why.contains("rebuild 2 is in the traces, not in the ledger"), "{}", found.why);
    expect(&scenario, &more(1_000), Valid, 0);
}

/// Goal: whatever one record has and another contradicts or lacks is one disagreement, and named.
#[test]
fn records_disagree() {
    let scenario = scenario(LOCK, &claim("records_disagree", "fleet"));
    let good = with_writes(history(&[(0, 0)]));
    expect(&scenario, &good, Valid, 0);
    expect_unknown(&scenario, &incomplete(good.clone()), "not complete");
    let mut lost = good.clone();
    lost.rungs[0].operations.pop();
    expect_unknown(&scenario, &lost, "1 of 1000 requests have no record");

    let spoiled = |spoil: &dyn Fn(&mut herd_history::RungHistory), words: &str| {
        let mut bad = good.clone();
        spoil(&mut bad.rungs[0]);
        let refuted = expect(&scenario, &bad, Invalid, 1);
        assert!(refuted.why.contains(words), "{}", refuted.why);
        assert!(refuted.witness.unwrap().key.is_some());
    };
    spoiled(&|rung| rung.operations[3].seq = 2, "a second record");
    spoiled(&|rung| rung.operations[999].generation = 40, "no fetch made generation 40");
    let led = |rung: &mut herd_history::RungHistory, trace: String| {
        let row = &mut rung.operations[225];
        assert_eq!((row.served, row.generation), (Served::Waited, 2));
        (row.served, row.rebuild_trace) = (Served::Led, trace);
    };
    let trace = |rung: &herd_history::RungHistory, at: usize| rung.ledger[at].trace.clone();
    let mut told = good.clone();
    let right = trace(&told.rungs[0], 1);
    led(&mut told.rungs[0], right);
    expect(&scenario, &told, Valid, 0);
    spoiled(&|rung| led(rung, "f".repeat(32)), "is not in the ledger");
    spoiled(&|rung| led(rung, trace(rung, 2)), "which names 2");
    let mut renamed = good.clone();
    renamed.rungs[0].writes[1].trace = "f".repeat(32);
    let refuted = expect(&scenario, &renamed, Invalid, 2);
    assert!(refuted.why.contains("1 of 5 writes and 1 of 5 rebuilds"), "{}", refuted.why);
    spoiled(&|rung| rung.writes[1].trace.clear(), "never written");
    let mut nameless = renamed;
    (nameless.rungs[0].writes[1].trace, nameless.rungs[0].writes[1].generation) = (String::new(), 7);
    let refuted = expect(&scenario, &nameless, Invalid, 2);
    assert!(refuted.why.contains("no fetch made this generation"), "{}", refuted.why);
    spoiled(&|rung| rung.writes[1].generation = 7, "names another generation");
    spoiled(&|rung| rung.writes[1].kind = StoreWriteKind::Absence, "did not fetch that");
    spoiled(&|rung| rung.writes[1].key = "item-2".to_owned(), "of another key");
    spoiled(&|rung| drop(rung.writes.remove(1)), "never written");
    let mut other = good.clone();
    other.rungs[0].ledger[1].outcome = Some(herd_history::FetchOutcome::Cancelled);
    // The write without its fetch, and every answer that got the value.
    let answers = other.rungs[0].operations.iter().filter(|row| row.generation == 2).count() as u64;
    expect(&scenario, &other, Invalid, answers + 1);
}

/// Goal: a stale answer names the refresh that runs, which may have found that there was nothing to do; an error names nothing.
#[test]
fn answers_that_need_not_name_a_rebuild() {
    let scenario = scenario(LOCK, &claim("records_disagree", "fleet"));
    let mut run = with_writes(history(&[(0, 0)]));
    run.rungs[0].operations[230].served = Served::Stale;
    run.rungs[0].operations[230].rebuild_trace = "f".repeat(32);
    run.rungs[0].operations[231].outcome = Ended::Unavailable;
    run.rungs[0].operations[231].generation = 0;
    expect(&scenario, &run, Valid, 0);
    // A deletion is nobody's rebuild.
    let mut deleted = with_writes(history(&[(0, 0)]));
    let row = deleted.rungs[0].ledger[1].clone();
    let mut deletion = write(&row, StoreWriteVerdict::Accepted);
    (deletion.kind, deletion.trace) = (StoreWriteKind::Deletion, String::new());
    deletion.generation = 9;
    deleted.rungs[0].writes.push(deletion.clone());
    expect(&scenario, &deleted, Valid, 0);
    // Behind a fence a generation is opened once.
    deleted.rungs[0].writes.push(deletion);
    let refuted = expect(&scenario, &deleted, Invalid, 1);
    assert!(refuted.why.contains("a second accepted write"), "{}", refuted.why);
    // What was not fetched yet cannot have been written, give or take 5 ms between two clocks.
    for (early_us, outcome, observed) in [(5_000, Valid, 0), (5_001, Invalid, 1)] {
        let mut early = with_writes(history(&[(0, 0)]));
        early.rungs[0].writes[2].at_us -= early_us;
        expect(&scenario, &early, outcome, observed);
    }
}
