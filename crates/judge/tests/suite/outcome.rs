//! Outcomes of whole runs, and what they mean for the exit status.

use herd_history::{FetchOutcome, LedgerRow};
use herd_judge::{Outcome, judge, scenario_of};
use herd_scenario::{Expect, PRESETS};

use crate::made::{LOCK, history, scenario};

const CLAIM: &str = "property = \"rebuilds_per_boundary\"";

/// Goal: one refuted claim refutes the run, one unknown claim leaves it unknown, nothing claimed is unknown.
#[test]
fn the_worst_verdict_decides() {
    use Outcome::{Invalid, Unknown, Valid};
    assert_eq!(Outcome::of_all([Valid, Valid]), Valid);
    assert_eq!(Outcome::of_all([Valid, Unknown]), Unknown);
    assert_eq!(Outcome::of_all([Unknown, Invalid, Valid]), Invalid);
    assert_eq!(Outcome::of_all([]), Unknown);
}

/// Goal: a known-bad strategy that is caught is a success, one that is not caught is a failure, unknown is neither.
#[test]
fn expectations_decide_the_exit_status() {
    let good = history(&[(0, 0)]);
    let bad = history(&[(0, 0), (1, 10)]);
    let mut empty = history(&[(0, 0)]);
    empty.rungs.clear();
    for (expect, statuses) in [(Expect::Valid, [0, 1, 2]), (Expect::Invalid, [1, 0, 2])] {
        let mut scenario = scenario(LOCK, CLAIM);
        scenario.expect = expect;
        let found = [&good, &bad, &empty].map(|run| judge(&scenario, run).exit_status());
        assert_eq!(found, statuses, "{expect:?}");
    }
}

/// Goal: a bad strategy is caught by the claim that is there to catch it, which stands first; no other refuted claim will do.
#[test]
fn the_first_claim_has_to_catch_the_bad_strategy() {
    let answered = "property = \"every_request_answered\"";
    let judged = |claims: String, run: &herd_history::History| {
        let mut scenario = scenario(LOCK, &claims);
        scenario.expect = Expect::Invalid;
        judge(&scenario, run)
    };
    let mut errors = history(&[(0, 0)]);
    errors.rungs[0].operations[3].outcome = herd_history::Outcome::Unavailable;
    let other = judged(format!("{CLAIM}\n[[claim]]\n{answered}"), &errors);
    assert_eq!((other.outcome, other.as_expected), (Outcome::Invalid, Some(false)));
    let first = judged(format!("{answered}\n[[claim]]\n{CLAIM}"), &errors);
    assert_eq!((first.outcome, first.as_expected), (Outcome::Invalid, Some(true)));
    errors.rungs[0].record.load.offered = 1;
    let unknown = judged(format!("{CLAIM}\n[[claim]]\n{answered}"), &errors);
    assert_eq!((unknown.outcome, unknown.as_expected), (Outcome::Invalid, None));
}

/// Goal: a claim that also refutes the rung beside it, which does nothing wrong, catches nobody; nor does one whose control is unknown.
#[test]
fn a_control_has_to_hold() {
    let mut scenario = scenario(LOCK, CLAIM);
    scenario.claims = vec![scenario.claims[0].clone(), scenario.claims[0].clone()];
    scenario.rungs.push(scenario.rungs[0].clone());
    scenario.rungs[1].name = "control".to_owned();
    for (claim, rung) in scenario.claims.iter_mut().zip(["rung", "control"]) {
        claim.rung = Some(rung.to_owned());
    }
    scenario.expect = Expect::Invalid;
    let run = |control: &[(usize, u64)]| {
        let mut run = history(&[(0, 0), (1, 10)]);
        let mut beside = history(control).rungs.remove(0);
        beside.record.name = "control".to_owned();
        run.rungs.push(beside);
        run
    };
    assert_eq!(judge(&scenario, &run(&[(0, 0)])).as_expected, Some(true));
    assert_eq!(judge(&scenario, &run(&[(0, 0), (1, 10)])).as_expected, Some(false));
    let mut unknown = run(&[(0, 0)]);
    unknown.rungs.pop();
    assert_eq!(judge(&scenario, &unknown).as_expected, None);
}

/// Goal: a run is judged again from its manifest alone, as it was driven.
#[test]
fn a_manifest_restores_the_scenario_with_its_overrides() {
    let mut manifest = history(&[]).manifest;
    manifest.scenario_text = PRESETS[0].text.to_owned();
    (manifest.nodes, manifest.seed, manifest.rungs) = (5, 77, vec!["lock".to_owned()]);
    let scenario = scenario_of(&manifest).unwrap();
    assert_eq!((scenario.fleet.nodes, scenario.seed, scenario.rungs.len()), (5, 77, 1));
}

/// Goal: figures of a rung are what the handmade run implies.
#[test]
fn figures() {
    let judgement = judge(&scenario(LOCK, CLAIM), &history(&[(0, 0)]));
    let figures = &judgement.rungs[0];
    assert_eq!((figures.boundaries, figures.requests, figures.errors), (4, 1_000, 0));
    assert_eq!(figures.origin_queries_per_boundary.max, 1);
    assert_eq!(figures.peak_concurrent_rebuilds, 1);
    // Five rebuilds of 100 ms, a request every 5 ms.
    assert_eq!(figures.miss_rate, 0.1);
    assert_eq!((figures.latency_ms.p50, figures.latency_ms.max), (0.5, 100.5));
    assert_eq!(figures.herds.len(), 4);
}

/// Goal: the peak is of what is at work at the origin, rows that do not exist included; who waits at its gate is not.
#[test]
fn the_peak_is_of_what_is_at_work() {
    let peak = |change: &dyn Fn(&mut LedgerRow)| {
        let mut run = history(&[(0, 0), (1, 10), (2, 20)]);
        run.rungs[0].ledger[1..].iter_mut().for_each(change);
        judge(&scenario(LOCK, CLAIM), &run).rungs[0].peak_concurrent_rebuilds
    };
    assert_eq!(peak(&|_| {}), 3);
    let waits = |row: &mut LedgerRow| {
        if row.node == "node-2" {
            (row.gate_us, row.end_us) = (100_000, row.end_us.map(|us| us + 100_000));
        }
    };
    assert_eq!(peak(&waits), 2);
    let absent = |row: &mut LedgerRow| {
        if row.node == "node-2" {
            (row.key, row.cache_key, row.generation) = ("absent-1".to_owned(), "p:absent-1".to_owned(), 0);
            row.outcome = Some(FetchOutcome::NoSuchRow);
        }
    };
    assert_eq!(peak(&absent), 3);
}
