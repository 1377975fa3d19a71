//! Clients that hang up: only where they were told to, and what that allows for.

use herd_history::{History, Outcome as Ended};
use herd_judge::Outcome::{Invalid, Valid};
use herd_scenario::{FaultAction, Scenario};

use crate::layers::FLEET;
use crate::made::{
    FLIGHT, LOCK, START_US, changed, expect, expect_unknown, history, note_fault, plan, renumber, row,
};

fn hang_up(scenario: &mut Scenario) {
    plan(scenario, "hang-up", FaultAction::HangUp { share: 1.0 });
}

/// A run in which clients were told to hang up so many requests at this time, milliseconds.
fn told(mut run: History, at_ms: u64, hit: u64) -> History {
    note_fault(&mut run, "hang-up", "clients", &[at_ms, at_ms + 1]);
    run.faults.last_mut().unwrap().hit = hit;
    run
}

/// Goal: a request that failed cannot be recorded as hung up: there are no more of them than clients were told, nor at other times.
#[test]
fn nobody_hangs_up_unasked() {
    let mut run = history(&[(0, 0)]);
    // Under way until 1,200 ms.
    for row in run.rungs[0].operations.iter_mut().filter(|row| row.sent_us >= START_US + 1_100_000).take(5) {
        (row.outcome, row.done_us) = (Ended::HungUp, START_US + 1_151_000);
        (row.generation, row.version) = (0, 0);
    }
    let lock = changed(LOCK, FLEET, hang_up);
    expect(&lock, &told(run.clone(), 1_150, 5), Valid, 1);
    expect_unknown(&lock, &told(run.clone(), 1_150, 4), "5 requests were hung up, 4 were told to be");
    expect_unknown(&lock, &told(run.clone(), 1_252, 5), "no client was told to");
    expect_unknown(&lock, &told(run.clone(), 999, 5), "no client was told to");
    let mut unconfirmed = told(run.clone(), 1_150, 5);
    unconfirmed.faults.pop();
    expect_unknown(&lock, &unconfirmed, "no client was told to");
    let unasked = changed(LOCK, FLEET, |_| {});
    expect_unknown(&unasked, &run, "no client was told to");
}

/// Goal: a hang-up ends the flight of a process at most, and with the lock the one of the holder, however many requests it hit.
#[test]
fn a_flight_belongs_to_its_process() {
    let run = |starts: &[(usize, u64)]| {
        let mut run = history(&[(0, 0)]);
        let rows: Vec<_> = starts.iter().map(|(node, ms)| row(1, 1, *node, 1_100 + ms)).collect();
        run.rungs[0].ledger.splice(1..2, rows);
        renumber(&mut run.rungs[0]);
        let hung_up = run.rungs[0].operations.iter_mut().filter(|row| row.sent_us >= START_US + 1_100_000);
        for row in hung_up.take(8) {
            (row.outcome, row.done_us) = (Ended::HungUp, START_US + 1_146_000);
            (row.generation, row.version) = (0, 0);
        }
        told(run, 1_145, 8)
    };
    let lock = changed(LOCK, FLEET, hang_up);
    let found = expect(&lock, &run(&[(0, 0), (1, 50)]), Valid, 2);
    assert_eq!(found.bound_text, "1 for the fleet, plus 1 that clients hung up");
    expect(&lock, &run(&[(0, 0), (1, 50), (2, 55)]), Invalid, 3);
    let flight = changed(FLIGHT, FLEET, hang_up);
    let each = [(0, 0), (1, 0), (2, 0), (3, 0), (0, 50), (1, 50), (2, 50), (3, 50)];
    expect(&flight, &run(&each), Valid, 8);
    let mut more = each.to_vec();
    more.push((0, 55));
    expect(&flight, &run(&more), Invalid, 9);
}
