//! More load than the origin carries: what its gate lets in, what clients send again, and an origin that fails.

use herd_history::{FetchOutcome, History, OperationRecord, Outcome as Ended, Served};
use herd_judge::Outcome::{Invalid, Valid};
use herd_scenario::{Failing, Gate, Layer, OriginModel, Retry, Scenario, Shed, WriteGuard};

use crate::made::{
    FLIGHT, LOCK, NONE, ONE_EACH, PERIOD_MS, START_US, Start, changed, claim, crowd, expect, expect_unknown,
    history, note_fault, renumber, row, scenario, verdict,
};

fn gate(in_flight_max: u32) -> impl Fn(&mut Scenario) {
    move |scenario| {
        scenario.rungs[0].layers.push(Layer::Shed);
        let gate = Gate { in_flight_max, queue_max: 5, queue_wait_ms: 100, retry_after_ms: 10 };
        scenario.rungs[0].shed = Some(Shed { edge: None, origin: Some(gate) });
    }
}

/// Goal: what waits at the gate or was refused is not at work; what is at work never exceeds the gate.
#[test]
fn origin_in_flight() {
    let property = claim("origin_in_flight", "overload");
    let twenty = history(&crowd());
    expect(&changed(NONE, &property, gate(20)), &twenty, Valid, 20);
    let refuted = expect(&changed(NONE, &property, gate(19)), &twenty, Invalid, 20);
    assert_eq!(refuted.witness.unwrap().rebuilds_total, 20);
    // Twenty came at once; five were refused, five waited until others were done.
    let mut shed = twenty.clone();
    for row in &mut shed.rungs[0].ledger {
        match row.rebuild / 2 % 4 {
            0 => row.outcome = Some(FetchOutcome::Rejected),
            1 => (row.gate_us, row.end_us) = (100_000, row.end_us.map(|us| us + 100_000)),
            _ => {}
        }
    }
    let found = verdict(&changed(NONE, &property, gate(11)), &shed);
    assert_eq!((found.observed, found.bound), (Some(11), Some(11)), "{found:#?}");
    assert_eq!(verdict(&changed(NONE, &property, gate(10)), &shed).outcome, Invalid);
    // The place is free up to a millisecond before the ledger stamps the end.
    let after = |offset_us: u64| {
        let mut run = history(&[(0, 0)]);
        let mut second = run.rungs[0].ledger[1].clone();
        (second.start_us, second.end_us) =
            (second.start_us + offset_us, second.end_us.map(|us| us + offset_us));
        run.rungs[0].ledger.push(second);
        renumber(&mut run.rungs[0]);
        verdict(&changed(LOCK, &property, gate(1)), &run).observed
    };
    assert_eq!((after(99_000), after(98_999)), (Some(1), Some(2)));

    expect_unknown(&changed(NONE, &property, gate(21)), &twenty, "the gate was never full");
    expect_unknown(&scenario(NONE, &property), &twenty, "no gate at the origin");
    expect(&scenario(NONE, &format!("{property}\nat_most = 21")), &twenty, Valid, 20);
    let mut idle = history(&[]);
    idle.rungs[0].ledger.clear();
    expect_unknown(&changed(NONE, &property, gate(21)), &idle, "never asked");
}

/// Goal: a gate's queue is bounded as well: by how many wait in it, and for how long, refused ones among them.
#[test]
fn the_queue_of_the_gate() {
    let property = claim("origin_in_flight", "overload");
    // Of the twenty of each herd so many wait for so long, and are let in or refused.
    let queued = |waiting: usize, wait_ms: u64, outcome: FetchOutcome| {
        let mut run = history(&crowd());
        for herd in run.rungs[0].ledger[1..].chunks_mut(20) {
            for row in &mut herd[20 - waiting..] {
                (row.start_us, row.gate_us) = (herd_start(row), wait_ms * 1_000);
                row.end_us = Some(row.start_us + row.gate_us + 100_000);
                row.outcome = Some(outcome);
            }
        }
        run
    };
    let gate = changed(NONE, &property, gate(15));
    for outcome in [FetchOutcome::Fetched, FetchOutcome::Rejected] {
        assert_eq!(verdict(&gate, &queued(5, 150, outcome)).outcome, Valid);
        let many = expect(&gate, &queued(6, 150, outcome), Invalid, 6);
        assert!(many.why.contains("6 fetches waited at the gate at once"), "{}", many.why);
        let long = expect(&gate, &queued(5, 201, outcome), Invalid, 201);
        assert!(
            long.why.ends_with("the bound is 100 ms in the gate's queue, and 100 ms of slack"),
            "{}",
            long.why
        );
        let mut lagged = queued(5, 201, outcome);
        lagged.rungs[0].record.load.lag_p99_us = 26_000;
        assert_eq!(verdict(&gate, &lagged).observed, Some(15), "a busy machine's timers show nothing");
    }
    // Who is let in or refused at once was in no queue, however long it takes to be woken.
    assert_eq!(verdict(&gate, &queued(6, 20, FetchOutcome::Rejected)).outcome, Valid);
    // A number that is claimed is of what is at work.
    let number = changed(NONE, &format!("{property}\nat_most = 15"), self::gate(15));
    assert_eq!(verdict(&number, &queued(5, 201, FetchOutcome::Rejected)).outcome, Valid);
}

/// The boundary to which a rebuild belongs.
fn herd_start(row: &herd_history::LedgerRow) -> u64 {
    START_US + row.generation * PERIOD_MS * 1_000
}

/// A run in which four processes rebuild each generation, and of its twenty readers four lead and sixteen wait in the first process.
fn filled_edge() -> History {
    let mut run = history(ONE_EACH);
    let rung = &mut run.rungs[0];
    for generation in 1..=3 {
        let rebuilds: Vec<_> =
            rung.ledger.iter().filter(|row| row.generation == generation).cloned().collect();
        let readers = rung
            .operations
            .iter_mut()
            .filter(|row| row.generation == generation + 1 && row.served == Served::Waited);
        for (number, reader) in readers.enumerate() {
            let rebuild = rebuilds.get(number).unwrap_or(&rebuilds[0]);
            (reader.node, reader.rebuild_trace) = (rebuild.node.clone(), rebuild.trace.clone());
            if number < rebuilds.len() {
                reader.served = Served::Led;
                reader.sent_us = rebuild.start_us - 6_000;
                reader.done_us += number as u64 * 5_000;
            }
        }
    }
    run
}

/// Goal: who was answered by a rebuild in its process was inside at once, and with them the leaders of others that went on; the gate
/// bounds all of them, and who proves nothing is not counted.
#[test]
fn edge_in_flight() {
    let property = claim("edge_in_flight", "overload");
    let with_gate = |in_flight_max: u32| {
        changed(FLIGHT, &property, |scenario| {
            scenario.rungs[0].layers.push(Layer::Shed);
            scenario.rungs[0].write_guard = WriteGuard::Fenced;
            let gate = Gate { in_flight_max, queue_max: 0, queue_wait_ms: 0, retry_after_ms: 10 };
            scenario.rungs[0].shed = Some(Shed { edge: Some(gate), origin: None });
        })
    };
    let run = filled_edge();
    // 17 heard of the first rebuild at 100.5 ms. Of the others' leaders two certainly went on: to 110 and 115 ms, not to 105.
    expect(&with_gate(19), &run, Valid, 19);
    let refuted = expect(&with_gate(18), &run, Invalid, 19);
    assert_eq!(refuted.witness.unwrap().operations_total, 19);
    expect_unknown(&with_gate(20), &run, "the gate was never full");
    let mut refusing = run.clone();
    refusing.rungs[0].operations[0].outcome = Ended::ResourceExhausted;
    expect(&with_gate(20), &refusing, Valid, 19);

    let counted = |change: &dyn Fn(&mut OperationRecord)| {
        let mut run = run.clone();
        run.rungs[0].operations.iter_mut().for_each(change);
        verdict(&with_gate(20), &run).observed
    };
    // A leader that was sent when its rebuild had begun took over from somebody; so may one whose key was given up on meanwhile.
    let late = |row: &mut OperationRecord| {
        if row.served == Served::Led {
            row.sent_us += 12_000;
        }
    };
    assert_eq!(counted(&late), Some(17));
    let given_up = |row: &mut OperationRecord| {
        if row.served == Served::Hit && row.generation > 1 {
            (row.outcome, row.done_us) = (Ended::DeadlineExceeded, row.done_us + 2_000_000);
        }
    };
    assert_eq!(counted(&given_up), Some(17));
    // Who waited for another process may have come when all was over, whatever it is called.
    let elsewhere = |row: &mut OperationRecord| {
        if row.served == Served::Waited {
            row.node = "node-3".to_owned();
        }
    };
    assert_eq!(counted(&elsewhere), Some(3));

    let mut unfenced = with_gate(18);
    unfenced.rungs[0].write_guard = WriteGuard::Unguarded;
    expect_unknown(&unfenced, &run, "writes are not fenced");
    expect_unknown(&scenario(FLIGHT, &property), &run, "no gate at the edge");
    expect_unknown(&with_gate(20), &history(ONE_EACH), "nobody led a rebuild");
}

fn retries(retry: Retry) -> impl Fn(&mut Scenario) {
    move |scenario| scenario.rungs[0].retry = Some(retry)
}

/// A run in which the first requests were sent so often.
fn sent_again(requests: usize, attempts: u32) -> History {
    let mut run = history(&[(0, 0)]);
    run.rungs[0].operations.iter_mut().take(requests).for_each(|row| row.attempts = attempts);
    run
}

/// Goal: without a budget a client may multiply the load by its attempts, with one by the budget's share, at the bound and beyond.
#[test]
fn sends_per_hundred_requests() {
    let property = claim("sends_per_hundred_requests", "overload");
    let with = |retry: Retry| changed(LOCK, &property, retries(retry));
    let fixed = with(Retry::Fixed { attempts: 3, backoff_ms: 10 });
    expect(&fixed, &sent_again(1_000, 3), Valid, 300);
    let beyond = expect(&fixed, &sent_again(1, 4), Invalid, 101);
    assert!(beyond.why.contains("sent 4 times, at most 3"), "{}", beyond.why);
    assert_eq!(beyond.witness.unwrap().operations_total, 1);
    let exponential = with(Retry::Exponential { attempts: 2, backoff_ms: 10, backoff_ms_max: 100 });
    expect(&exponential, &sent_again(1_000, 2), Valid, 200);
    let budget = with(Retry::Budget { attempts: 4, backoff_ms: 10, backoff_ms_max: 100, share: 0.1 });
    expect(&budget, &sent_again(100, 2), Valid, 110);
    expect(&budget, &sent_again(101, 2), Invalid, 111);
    expect(&with(Retry::Never), &sent_again(0, 1), Valid, 100);
    expect(&with(Retry::Never), &sent_again(1, 2), Invalid, 101);
    expect_unknown(&budget, &sent_again(0, 1), "no request was sent again");
    let mut nothing = history(&[(0, 0)]);
    nothing.rungs[0].operations.clear();
    expect_unknown(&budget, &nothing, "nothing was sent");
    // The workload's own behaviour stands where the rung has none.
    let workload = changed(LOCK, &property, |scenario| {
        scenario.workload.retry = Retry::Fixed { attempts: 2, backoff_ms: 10 };
    });
    expect(&workload, &sent_again(1_000, 2), Valid, 200);
}

/// Goal: what a rung refuses for load is no failure of the run, and still no good answer.
#[test]
fn refusals_are_the_layers_work() {
    let refused = |share: usize| {
        let mut run = history(&[(0, 0)]);
        for row in run.rungs[0].operations.iter_mut().step_by(share) {
            (row.outcome, row.generation) = (Ended::ResourceExhausted, 0);
        }
        run
    };
    let property = claim("rebuilds_per_boundary", "fleet");
    expect(&changed(LOCK, &property, gate(5)), &refused(3), Valid, 1);
    expect_unknown(&scenario(LOCK, &property), &refused(3), "of 1000 requests were answered");
    let answered = changed(LOCK, &claim("every_request_answered", "fleet"), gate(5));
    expect(&answered, &refused(3), Invalid, 334);
    let judgement = herd_judge::judge(&answered, &refused(3));
    assert_eq!((judgement.rungs[0].refused, judgement.rungs[0].errors), (334, 334));
    assert_eq!(judgement.rungs[0].goodput_per_s, 666.0 / 5.0);
}

/// Goal: a fetch that the gate refused is none of a herd.
#[test]
fn refused_fetches_are_no_rebuilds() {
    let mut run = history(&[(0, 0), (1, 10)]);
    for row in run.rungs[0].ledger.iter_mut().filter(|row| row.node == "node-1") {
        row.outcome = Some(FetchOutcome::Rejected);
    }
    let property = claim("rebuilds_per_boundary", "fleet");
    expect(&changed(LOCK, &property, gate(1)), &run, Valid, 1);
}

/// The origin fails from 2,200 to 2,500 ms.
fn failing(scenario: &mut Scenario) {
    scenario.origin.failing = Some(Failing { at_ms: 2_200, for_ms: 300, share: 1.0 });
}

/// A run in which these rebuilds fail, with the start after the failing began, and one succeeds at 2,500 ms.
fn failed(rebuilds: &[Start]) -> History {
    let mut run = history(&[(0, 0)]);
    let rung = &mut run.rungs[0];
    let at = rung.ledger.iter().position(|row| row.generation == 2).unwrap();
    rung.ledger.remove(at);
    for (node, offset_ms) in rebuilds {
        let mut failure = row(1, 2, *node, 2_200 + offset_ms);
        failure.outcome = Some(FetchOutcome::Failed);
        rung.ledger.push(failure);
    }
    rung.ledger.push(row(1, 2, 0, 2_500));
    rung.ledger.sort_by_key(|row| row.start_us);
    renumber(rung);
    note_fault(&mut run, "origin.failing", "origin", &[2_200, 2_300, 2_500, 2_600]);
    run
}

/// Goal: shared errors cost ceil(window/D) + 1 rebuilds per process, of each process without the lock, and no more.
#[test]
fn rebuilds_while_failing() {
    let fleet = claim("rebuilds_while_failing", "fleet");
    let process = claim("rebuilds_while_failing", "process");
    let lock = changed(LOCK, &fleet, failing);
    expect(&lock, &failed(&[(0, 0), (0, 100), (0, 200)]), Valid, 3);
    expect(&lock, &failed(&[(0, 0), (0, 90), (0, 180), (0, 270)]), Valid, 4);
    let refuted = expect(&lock, &failed(&[(0, 0), (0, 60), (0, 120), (0, 180), (0, 240)]), Invalid, 5);
    assert_eq!((refuted.bound, refuted.witness.unwrap().rebuilds_total), (Some(4), 5));
    let each: Vec<Start> =
        ONE_EACH.iter().flat_map(|(node, at)| (0..4).map(move |n| (*node, at + n * 70))).collect();
    expect(&changed(FLIGHT, &fleet, failing), &failed(&each), Valid, 16);
    expect(&changed(FLIGHT, &process, failing), &failed(&each), Valid, 4);
    let more: Vec<Start> = each.iter().copied().chain([(2, 260)]).collect();
    let refuted = expect(&changed(FLIGHT, &process, failing), &failed(&more), Invalid, 5);
    assert!(refuted.why.contains("node-2 started 5 rebuilds"), "{}", refuted.why);
    expect_unknown(&lock, &history(&[(0, 0)]), "no rebuild failed");
    expect_unknown(&scenario(LOCK, &fleet), &failed(&[(0, 0)]), "was not to fail");
    // A spread of latencies: the quickest failure sets the pace.
    let varied = changed(LOCK, &fleet, |scenario| {
        failing(scenario);
        scenario.origin.model = OriginModel::LogNormal { median_ms: 300, sigma: 0.5, max_ms: 900 };
    });
    assert_eq!(verdict(&varied, &failed(&[(0, 0), (0, 100)])).bound, Some(4));
}

/// Goal: a queue of waiters that asks one after the other is caught by the waiter who sat through the others' failures.
#[test]
fn serial_retry_is_caught() {
    let flight = changed(FLIGHT, &claim("rebuilds_while_failing", "process"), failing);
    let sat_through = |failures: &[Start]| {
        let mut run = failed(failures);
        let row = run.rungs[0].operations.iter_mut().find(|row| row.sent_us == START_US + 2_190_000).unwrap();
        (row.node, row.done_us) = ("node-0".to_owned(), START_US + 2_600_000);
        run
    };
    expect(&flight, &sat_through(&[(0, 0)]), Valid, 1);
    expect(&flight, &sat_through(&[(0, 0), (1, 100)]), Valid, 1);
    let refuted = expect(&flight, &sat_through(&[(0, 0), (0, 100)]), Invalid, 2);
    assert!(refuted.why.contains("through 2 rebuilds that failed"), "{}", refuted.why);
    let witness = refuted.witness.unwrap();
    assert_eq!((witness.rebuilds_total, witness.operations_total), (2, 1));
}

/// Goal: while the origin fails as planned each failure allows for another rebuild of the same generation, not so otherwise.
#[test]
fn failures_allow_for_more_rebuilds() {
    let property = claim("rebuilds_per_boundary", "fleet");
    let run = failed(&[(0, 0), (0, 100), (0, 200)]);
    let found = expect(&changed(LOCK, &property, failing), &run, Valid, 4);
    assert_eq!(found.bound_text, "1 for the fleet, plus 3 that faults took away");
    let mut unplanned = run.clone();
    unplanned.faults.clear();
    expect(&scenario(LOCK, &property), &unplanned, Invalid, 4);
    expect(&changed(LOCK, &property, failing), &unplanned, Invalid, 4);
    let mut two = run.clone();
    let again = two.rungs[0].ledger.iter().position(|row| row.start_us == START_US + 2_500_000).unwrap();
    let again = two.rungs[0].ledger[again].clone();
    two.rungs[0].ledger.push(again);
    renumber(&mut two.rungs[0]);
    expect(&changed(LOCK, &property, failing), &two, Invalid, 5);
    // They follow each other: at once there is still one.
    let at_once = changed(LOCK, &claim("concurrent_rebuilds", "fleet"), failing);
    expect(&at_once, &run, Valid, 1);
    expect(&at_once, &failed(&[(0, 0), (0, 99)]), Invalid, 2);
}
