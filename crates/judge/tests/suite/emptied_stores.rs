//! What is left of a claim when the store loses what it held: each life of the store by itself.

use herd_history::StoreWriteVerdict;
use herd_judge::Outcome::{Invalid, Valid};
use herd_scenario::{FaultAction, Scenario};

use crate::layers::FLEET;
use crate::made::{
    LOCK, START_US, changed, claim, expect, history, note_fault, plan, renumber, row, verdict, with_writes,
};

/// Goal: after a store was emptied generations count anew: each life by itself, with one herd each, and answers do not go back.
#[test]
fn emptied_stores() {
    let flush = |scenario: &mut Scenario| plan(scenario, "flush", FaultAction::RedisFlush);
    let emptied = |cold: &[(usize, u64)]| {
        let mut run = history(&[(0, 0)]);
        let rung = &mut run.rungs[0];
        // The last two herds of the first life become the first two of the second.
        for row in rung.ledger.iter_mut().filter(|row| row.generation >= 3) {
            row.generation -= 3;
        }
        let at = rung.ledger.iter().rposition(|row| row.generation == 0).unwrap();
        let rows: Vec<_> = cold.iter().map(|(node, ms)| row(1, 0, *node, 3_300 + ms)).collect();
        rung.ledger.splice(at..=at, rows);
        renumber(rung);
        for row in rung.operations.iter_mut().filter(|row| row.generation >= 4) {
            row.generation -= 3;
        }
        note_fault(&mut run, "flush", "redis", &[3_298, 3_299]);
        run
    };
    let lock = changed(LOCK, FLEET, flush);
    expect(&lock, &emptied(&[(0, 0)]), Valid, 1);
    let refuted = expect(&lock, &emptied(&[(0, 0), (1, 10)]), Invalid, 2);
    assert!(refuted.why.contains("generation 0"), "{}", refuted.why);
    let back = changed(LOCK, &claim("answers_never_go_back", "fleet"), flush);
    expect(&back, &emptied(&[(0, 0)]), Valid, 0);
    let mut unexplained = emptied(&[(0, 0)]);
    unexplained.faults.clear();
    assert_eq!(verdict(&back, &unexplained).outcome, Invalid);
    // What was served uncached while the store was lost promises nothing of what is stored afterwards; otherwise it does.
    let mut uncached = emptied(&[(0, 0)]);
    let answer = &mut uncached.rungs[0].operations[10];
    (answer.version, answer.generation) = (2, 0);
    (answer.sent_us, answer.done_us) = (START_US + 3_200_000, START_US + 3_298_500);
    expect(&back, &uncached, Valid, 0);
    uncached.faults.iter_mut().for_each(|fault| fault.at_us += 100_000);
    assert_eq!(verdict(&back, &uncached).outcome, Invalid);
    // An old version stays old, whatever was lost.
    let mut old = emptied(&[(0, 0)]);
    old.rungs[0].operations[10].version = 2;
    assert_eq!(verdict(&back, &old).outcome, Invalid);
}

/// Goal: with its lock's epoch a holder loses its lease and its write; while a store evicts that allows for the rebuild that follows.
#[test]
fn an_epoch_that_was_evicted() {
    let lock = changed(LOCK, FLEET, |scenario: &mut Scenario| {
        plan(scenario, "evict", FaultAction::RedisEvict { room_kb: 1 });
        scenario.faults[0].for_ms = 400;
    });
    let refused = |which: usize, verdict: StoreWriteVerdict, evictions: u64| {
        let mut run = history(&[(0, 0)]);
        let rows = [(0, 0), (1, 250)].map(|(node, ms)| row(1, 1, node, 1_100 + ms));
        run.rungs[0].ledger.splice(1..2, rows);
        renumber(&mut run.rungs[0]);
        let mut run = with_writes(run);
        run.rungs[0].writes[which].verdict = verdict;
        note_fault(&mut run, "evict", "redis", &[1_120, 1_125, 1_520, 1_530]);
        run.faults.iter_mut().for_each(|fault| fault.hit = evictions);
        run
    };
    let found = verdict(&lock, &refused(1, StoreWriteVerdict::EpochOld, 3));
    assert_eq!((found.observed, found.bound), (Some(2), Some(2)), "{found:#?}");
    // Without an eviction, refused for something else, or the last of them, it explains nothing.
    assert_eq!(verdict(&lock, &refused(1, StoreWriteVerdict::EpochOld, 0)).bound, Some(1));
    assert_eq!(verdict(&lock, &refused(1, StoreWriteVerdict::TokenOld, 3)).bound, Some(1));
    assert_eq!(verdict(&lock, &refused(2, StoreWriteVerdict::EpochOld, 3)).bound, Some(1));
}
