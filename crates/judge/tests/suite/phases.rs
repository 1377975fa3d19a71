//! Claims about the time before, during and after the faults; goodput, latency and recovery; what a claim's author expects.

use herd_history::{History, Outcome as Ended};
use herd_judge::Outcome::{Invalid, Unknown, Valid};
use herd_judge::judge;
use herd_scenario::{AtMost, Expect, FaultAction, FaultPart, Phase, Scenario, Target, Which};

use crate::made::{
    LOCK, START_US, changed, claim, expect, expect_unknown, history, note_fault, note_turn, plan, renumber,
    scenario, verdict,
};

const STEPS: [u64; 4] = [2_000, 2_010, 3_000, 3_020];

fn paused(scenario: &mut Scenario) {
    let target = Target { part: FaultPart::Edge, which: Which::All };
    plan(scenario, "away", FaultAction::Pause(target));
}

/// A run in which the edge was paused, and requests meant to be sent in this time, milliseconds, got no answer.
fn failing(from_ms: u64, until_ms: u64) -> History {
    let mut run = history(&[(0, 0)]);
    note_fault(&mut run, "away", "edge", &STEPS);
    for row in &mut run.rungs[0].operations {
        if (from_ms..until_ms).contains(&((row.intended_us - START_US) / 1_000)) {
            (row.outcome, row.generation, row.version) = (Ended::Unavailable, 0, 0);
        }
    }
    run
}

fn of(property: &str, scope: &str, at_most: u64, phase: Option<Phase>) -> Scenario {
    changed(LOCK, &format!("{}\nat_most = {at_most}", claim(property, scope)), |scenario| {
        paused(scenario);
        scenario.claims[0].phase = phase;
    })
}

/// Goal: a claim about a phase counts what was meant to be sent in it and nothing else; without a fault there is no phase.
#[test]
fn phases() {
    let answered = |phase| of("every_request_answered", "fleet", 0, phase);
    let run = failing(2_000, 3_000);
    expect(&answered(Some(Phase::Before)), &run, Valid, 0);
    let refuted = expect(&answered(Some(Phase::During)), &run, Invalid, 200);
    assert_eq!(refuted.phase.as_deref(), Some("during"));
    expect(&answered(Some(Phase::After)), &run, Valid, 0);
    expect(&answered(None), &run, Invalid, 200);
    let mut quiet = run.clone();
    quiet.faults.clear();
    expect_unknown(&answered(Some(Phase::During)), &quiet, "no fault was injected");
    let mut unrepaired = run;
    unrepaired.faults.truncate(2);
    expect_unknown(&answered(Some(Phase::After)), &unrepaired, "there was no time after the faults");
    // Boundaries count by their first start: 2,200 ms lies within, 3,300 ms after.
    let queries = |phase| verdict(&of("origin_queries", "fleet", 9, Some(phase)), &failing(0, 0)).observed;
    assert_eq!([Phase::Before, Phase::During, Phase::After].map(queries), [Some(2), Some(1), Some(2)]);
}

/// Goal: what a fault hit in its middle was not before it: neither a herd nor a request that began before and went on.
#[test]
fn what_reaches_into_a_fault() {
    let run = |injected_ms: u64| {
        // A herd of two from 1,100 to 1,210 ms, and a request from 1,000 to 1,205 ms without an answer.
        let mut run = history(&[(0, 0), (1, 10)]);
        run.rungs[0].ledger.retain(|row| row.generation < 2 || row.node == "node-0");
        renumber(&mut run.rungs[0]);
        let row = &mut run.rungs[0].operations[200];
        (row.outcome, row.done_us) = (Ended::Unavailable, START_US + 1_205_000);
        (row.generation, row.version) = (0, 0);
        note_fault(&mut run, "away", "edge", &[injected_ms, 1_220, 2_000, 2_010]);
        run
    };
    let herds = |phase| of("rebuilds_per_boundary", "fleet", 1, Some(phase));
    expect(&herds(Phase::Before), &run(1_211), Invalid, 2);
    expect_unknown(&herds(Phase::Before), &run(1_209), "no boundary was seen");
    expect(&herds(Phase::During), &run(1_209), Invalid, 2);
    let answered = |phase| of("every_request_answered", "fleet", 0, Some(phase));
    expect(&answered(Phase::Before), &run(1_206), Invalid, 1);
    expect(&answered(Phase::Before), &run(1_204), Valid, 0);
    expect(&answered(Phase::During), &run(1_204), Invalid, 1);
}

/// Goal: lost goodput is what got no good answer in time, in the phase; who hung up counts neither way.
#[test]
fn goodput_and_latency() {
    let lost = |at_most, phase| of("goodput_lost_percent", "overload", at_most, phase);
    let run = failing(2_000, 2_500);
    expect(&lost(10, None), &run, Valid, 10);
    expect(&lost(9, None), &run, Invalid, 10);
    expect(&lost(50, Some(Phase::During)), &run, Valid, 50);
    expect(&lost(0, Some(Phase::After)), &run, Valid, 0);
    let mut hung_up = run.clone();
    for row in hung_up.rungs[0].operations.iter_mut().filter(|row| row.outcome == Ended::Unavailable) {
        row.outcome = Ended::HungUp;
    }
    expect_unknown(&lost(0, Some(Phase::During)), &hung_up, "no client was told to");
    let mut told = lost(0, Some(Phase::During));
    plan(&mut told, "hang-up", FaultAction::HangUp { share: 1.0 });
    for (turn, row) in (0..).zip(&hung_up.rungs[0].operations.clone()[400..500]) {
        let at_ms = (row.sent_us - START_US) / 1_000;
        note_turn(&mut hung_up, "hang-up", "clients", turn, &[at_ms, at_ms]);
        hung_up.faults.last_mut().unwrap().hit = 1;
    }
    expect(&told, &hung_up, Valid, 0);
    let mut late = failing(0, 0);
    late.rungs[0].operations[0].done_us = START_US + 10_000_001;
    expect(&lost(1, None), &late, Valid, 1);
    // A scenario's file cannot ask for that; one that is put together can.
    let mut theory = lost(0, None);
    theory.claims[0].at_most = AtMost::Theory;
    expect_unknown(&theory, &run, "claim a number");

    let p99 = |at_most| of("latency_p99_ms", "wait", at_most, Some(Phase::Before));
    expect(&p99(91), &run, Valid, 91);
    expect(&p99(90), &run, Invalid, 91);
}

/// Goal: recovery is the first half a second after which none falls below nine tenths; a fleet that stays down refutes any bound.
#[test]
fn recovery() {
    let within = |at_most| of("recovery_ms", "overload", at_most, None);
    expect(&within(0), &failing(2_000, 3_000), Valid, 0);
    let refuted = expect(&within(499), &failing(2_000, 3_400), Invalid, 500);
    assert!(refuted.witness.unwrap().operations_total > 0);
    expect(&within(500), &failing(2_000, 3_400), Valid, 500);
    // A relapse counts from its end.
    expect(&within(1_500), &failing(4_000, 4_400), Valid, 1_500);
    expect(&within(1_000), &failing(4_000, 4_400), Invalid, 1_500);
    let never = expect(&within(60_000), &failing(2_000, 6_000), Invalid, 2_000);
    assert!(never.why.contains("did not come back"), "{}", never.why);
    expect_unknown(&within(0), &history(&[(0, 0)]), "no fault was injected");
    let mut unrepaired = failing(2_000, 3_000);
    unrepaired.faults.truncate(2);
    expect_unknown(&within(0), &unrepaired, "never repaired");
}

/// Goal: a planned fault is confirmed and repaired at each turn, or nothing is confirmed.
#[test]
fn planned_faults() {
    let twice = |scenario: &mut Scenario| {
        paused(scenario);
        (scenario.faults[0].times, scenario.faults[0].every_ms) = (2, 1_000);
    };
    let plan = changed(LOCK, "property = \"rebuilds_per_boundary\"", twice);
    let mut run = failing(0, 0);
    expect_unknown(&plan, &run, "turn 1 of away has no record");
    note_turn(&mut run, "away", "edge", 1, &[3_100, 3_110, 3_200]);
    expect_unknown(&plan, &run, "turn 1 of away at edge was not seen to recover");
    note_turn(&mut run, "away", "edge", 1, &[3_100, 3_110, 3_200, 3_210]);
    assert_eq!(verdict(&plan, &run).outcome, Valid, "{:#?}", verdict(&plan, &run));
    run.faults.retain(|fault| fault.phase != herd_history::FaultPhase::Confirmed);
    expect_unknown(&plan, &run, "turn 0 of away at edge was not confirmed");
}

/// Goal: a fault that is recorded to have lasted longer or less long than planned, or to have hit others or more, is not the one that was planned.
#[test]
fn faults_that_are_not_as_planned() {
    let pause = |which: Which| {
        changed(LOCK, "property = \"rebuilds_per_boundary\"", |scenario| {
            plan(scenario, "away", FaultAction::Pause(Target { part: FaultPart::CacheNode, which }));
            scenario.faults[0].for_ms = 500;
        })
    };
    let run = |targets: &[&str], steps: &[u64; 4]| {
        let mut run = history(&[(0, 0)]);
        targets.iter().for_each(|target| note_fault(&mut run, "away", target, steps));
        run
    };
    let valid = |scenario: &Scenario, run: &History| {
        assert_eq!(verdict(scenario, run).outcome, Valid, "{:#?}", verdict(scenario, run));
    };
    let one = pause(Which::Some(1));
    valid(&one, &run(&["node-1"], &[1_000, 1_010, 4_500, 4_500]));
    expect_unknown(
        &one,
        &run(&["node-1"], &[1_000, 1_010, 4_501, 4_501]),
        "lasted 3501 ms, 500 ms were planned",
    );
    valid(&one, &run(&["node-1"], &[1_000, 1_010, 1_480, 1_490]));
    expect_unknown(&one, &run(&["node-1"], &[1_000, 1_010, 1_479, 1_490]), "lasted 479 ms");
    // A witness may take longer than the hold, up to its own limit.
    valid(&one, &run(&["node-1"], &[500, 3_500, 4_500, 4_500]));
    expect_unknown(&one, &run(&["node-1"], &[500, 4_500, 4_501, 4_501]), "lasted 4001 ms");
    for steps in [[2_000, 1_999, 2_500, 2_510], [2_000, 2_010, 1_990, 2_510], [2_000, 2_010, 2_500, 2_499]] {
        expect_unknown(&one, &run(&["node-1"], &steps), "out of order");
    }
    let of = |targets: &[&str]| run(targets, &[2_000, 2_010, 2_500, 2_510]);
    expect_unknown(&one, &of(&["node-1", "node-2"]), "was done to 2 targets, 1 were planned");
    valid(&pause(Which::Minority), &of(&["node-1"]));
    expect_unknown(&pause(Which::Minority), &of(&["node-1", "node-2"]), "2 targets, 1 were planned");
    valid(&pause(Which::All), &of(&["node-0", "node-1", "node-2", "node-3"]));
    expect_unknown(&pause(Which::All), &of(&["node-0", "node-1"]), "2 targets, 4 were planned");
    valid(&pause(Which::Index(vec![2])), &of(&["cache-node-02"]));
    expect_unknown(&pause(Which::Index(vec![2])), &of(&["cache-node-03"]), "was not done to cache node 2");
    let holder = Which::Holder { key: "item-1".to_owned() };
    expect_unknown(&pause(holder), &of(&["node-1", "node-2"]), "2 targets, 1 were planned");
}

/// Goal: a run is valid if every claim comes out as its author expects; a contrast that holds is as wrong as a claim that does not.
#[test]
fn contrasts() {
    let mut contrast = scenario(LOCK, "property = \"rebuilds_per_boundary\"");
    contrast.claims[0].expect = Expect::Invalid;
    let judged = |run: &History| judge(&contrast, run);
    let caught = judged(&history(&[(0, 0), (1, 10)]));
    assert_eq!((caught.outcome, caught.verdicts[0].outcome, caught.exit_status()), (Valid, Invalid, 0));
    assert_eq!(caught.verdicts[0].expected, "invalid");
    let missed = judged(&history(&[(0, 0)]));
    assert_eq!((missed.outcome, missed.verdicts[0].outcome, missed.exit_status()), (Invalid, Valid, 1));
    let mut empty = history(&[(0, 0)]);
    empty.rungs.clear();
    assert_eq!((judged(&empty).outcome, judged(&empty).exit_status()), (Unknown, 2));
}

/// Goal: the figures of a fault are those of its own time, and of what lies before and after.
#[test]
fn figures() {
    let judgement = judge(&of("origin_queries", "fleet", 9, None), &failing(2_000, 2_500));
    let fault = &judgement.rungs[0].faults[0];
    assert_eq!((fault.name.as_str(), fault.kind.as_str(), fault.targets.len()), ("away", "pause", 1));
    assert_eq!(fault.turns[0].recovered_ms, Some(3_020.0));
    let phase = |phase: Option<herd_judge::PhaseFigures>| {
        let phase = phase.unwrap();
        (phase.requests, phase.errors, phase.rebuilds_per_boundary_max)
    };
    assert_eq!(
        [fault.before, fault.during, fault.after].map(phase),
        [(400, 0, 1), (200, 100, 1), (400, 0, 1)]
    );
}
