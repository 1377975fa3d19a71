//! Every property has its checker, which no history makes crash, and none takes more than a run of a large rung has time for.

use herd_history::{FetchOutcome, History, LedgerRow, Outcome as Ended, Reason, Served};
use herd_judge::judge;
use herd_scenario::{
    AbsentIds, AbsentReads, AtMost, Claim, Failing, Gate, Layer, OnWaitTimeout, Popularity, Property,
    Scenario, Shed, Stale, Waiter,
};
use proptest::prelude::*;

use crate::made::{
    FLIGHT, LOCK, NONE, START_US, changed, claim, history, insert, recount, renumber, row, with_writes,
};

const ALL: [Property; 28] = [
    Property::RebuildsPerBoundary,
    Property::ConcurrentRebuilds,
    Property::AnswersNeverGoBack,
    Property::EveryRequestAnswered,
    Property::AcceptedWritesPerGeneration,
    Property::StaleWrites,
    Property::StaleBeyondBound,
    Property::ReadersWaited,
    Property::LongestWaitMs,
    Property::NegativeQueries,
    Property::AbsentKeyQueries,
    Property::AbsenceOutlivesInsert,
    Property::HighestBucket,
    Property::EarlyRebuildsPerWindow,
    Property::OriginInFlight,
    Property::EdgeInFlight,
    Property::SendsPerHundredRequests,
    Property::Sawtooth,
    Property::ColdFills,
    Property::OriginQueries,
    Property::RebuildsWhileFailing,
    Property::MissPercent,
    Property::RecordsDisagree,
    Property::GoodputLostPercent,
    Property::LatencyP99Ms,
    Property::RecoveryMs,
    Property::RepeatedTokens,
    Property::TakeoverMs,
];

/// A scenario with every parameter that a checker may ask for, and a claim of each property in each of its scopes.
fn everything(rung: &str) -> Scenario {
    changed(rung, &claim("origin_queries", "fleet"), |scenario| {
        scenario.workload.keys = 3;
        scenario.workload.popularity = Popularity::Hot { share: 0.5 };
        scenario.workload.absent = Some(AbsentReads { share: 0.1, ids: AbsentIds::Fixed { count: 3 } });
        scenario.origin.failing = Some(Failing { at_ms: 1_000, for_ms: 500, share: 0.5 });
        let rung = &mut scenario.rungs[0];
        rung.layers.extend([
            Layer::WaiterTimeout,
            Layer::StaleWhileRevalidate,
            Layer::Jitter,
            Layer::Negative,
            Layer::KeyFilter,
            Layer::Early,
            Layer::Shed,
        ]);
        rung.waiter = Some(Waiter { wait_ms: 50, then: OnWaitTimeout::Origin });
        rung.stale = Some(Stale { grace_ms: 100, safe_keys: vec!["*".to_owned()] });
        (rung.jitter, rung.negative_ttl_ms, rung.early_beta) = (Some(0.1), Some(500), Some(1.0));
        let gate = Gate { in_flight_max: 5, queue_max: 5, queue_wait_ms: 5, retry_after_ms: 5 };
        rung.shed = Some(Shed { edge: Some(gate), origin: Some(gate) });
        let bounds = [AtMost::Theory, AtMost::Number(3)];
        let claims = ALL.into_iter().flat_map(|property| {
            let scopes = property.scopes().iter();
            scopes.flat_map(move |scope| {
                bounds.map(|at_most| Claim {
                    rung: None,
                    property,
                    scope: *scope,
                    phase: None,
                    expect: herd_scenario::Expect::Valid,
                    at_most,
                })
            })
        });
        scenario.claims = claims.collect();
    })
}

const KEYS: [&str; 6] = ["item-1", "item-2", "item-9", "absent-1", "absent-7", "random-0"];

fn any_row() -> impl Strategy<Value = LedgerRow> {
    let outcomes = prop_oneof![
        Just(None),
        Just(Some(FetchOutcome::Fetched)),
        Just(Some(FetchOutcome::NoSuchRow)),
        Just(Some(FetchOutcome::Failed)),
        Just(Some(FetchOutcome::Rejected)),
    ];
    let reasons = prop_oneof![Just(Reason::Refresh), Just(Reason::FailOpen), Just(Reason::WaitTimeout)];
    let times = (0_u64..6_000, 0_u64..2_000, any::<bool>());
    (0_usize..6, 0_u64..4, 0_usize..4, times, outcomes, reasons).prop_map(
        |(key, generation, node, (start_ms, took_ms, ended), outcome, reason)| {
            let mut row = row(1, generation, node, start_ms);
            (row.key, row.cache_key) = (KEYS[key].to_owned(), format!("p:{}", KEYS[key]));
            row.end_us = ended.then_some(row.start_us + took_ms * 1_000);
            (row.outcome, row.reason, row.gate_us) = (outcome, reason, took_ms);
            row
        },
    )
}

fn spoil(mut run: History, rows: Vec<LedgerRow>, dice: u64) -> History {
    let rung = &mut run.rungs[0];
    rung.ledger = rows;
    renumber(rung);
    let served =
        [Served::Hit, Served::Stale, Served::Led, Served::Negative, Served::Unknown, Served::HitLocal];
    let outcomes = [Ended::Answered, Ended::NotFound, Ended::Unavailable, Ended::ResourceExhausted];
    for (n, row) in rung.operations.iter_mut().enumerate() {
        let n = (n as u64).wrapping_mul(dice | 1) as usize;
        row.key = KEYS[n % 6].to_owned();
        (row.served, row.outcome) = (served[n / 7 % 6], outcomes[n / 5 % 4]);
        row.generation = (n / 11 % 5) as u64;
    }
    rung.inserts.push(insert(0, "absent-1", 500));
    for row in &mut rung.ledger {
        row.end_us.get_or_insert(START_US);
    }
    run = with_writes(run);
    run
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Goal: no history makes a checker crash, however little sense it makes: a crash would be an unknown that hides what happened.
    #[test]
    fn no_history_crashes_a_checker(rows in proptest::collection::vec(any_row(), 0..80), dice in any::<u64>()) {
        for rung in [NONE, FLIGHT, LOCK] {
            let scenario = everything(rung);
            let mut run = spoil(history(&[]), rows.clone(), dice);
            run.rungs[0].ledger = rows.clone();
            let judgement = judge(&scenario, &run);
            prop_assert_eq!(judgement.verdicts.len(), scenario.claims.len());
            for verdict in judgement.verdicts {
                prop_assert!(verdict.why != "the checker crashed", "{} {}", verdict.claim, verdict.scope);
                // Fewer than a hundred sends for a hundred requests is a claim that nothing can meet: nobody is its witness.
                let has_witness = verdict.witness.is_some() || verdict.observed == Some(100);
                prop_assert!(verdict.outcome != herd_judge::Outcome::Invalid || has_witness, "{verdict:?}");
            }
        }
    }
}

/// Goal: a rung of 5,000 keys with 100,000 requests is judged in one go. A checker that compares each row with each
/// other would need 10^10 steps here, and the suite would never end.
#[test]
fn a_large_rung_is_judged_in_one_go() {
    let mut scenario = everything(LOCK);
    (scenario.workload.keys, scenario.workload.popularity) = (5_000, Popularity::Zipf { exponent: 1.0 });
    let mut run = history(&[]);
    let rung = &mut run.rungs[0];
    rung.ledger.clear();
    for key in 1..=5_000_u64 {
        for generation in 0..4 {
            let mut rebuild = row(1, generation, (key % 4) as usize, generation * 1_100 + key % 100);
            (rebuild.key, rebuild.cache_key) = (format!("item-{key}"), format!("p:item-{key}"));
            rung.ledger.push(rebuild);
        }
    }
    rung.ledger.sort_by_key(|row| row.start_us);
    renumber(rung);
    let like = rung.operations[900].clone();
    rung.operations = (0..100_000_u64)
        .map(|n| {
            let mut read = like.clone();
            (read.intended_us, read.sent_us) = (START_US + n * 50, START_US + n * 50);
            // Half of the reads are of one key.
            read.key = if n % 2 == 0 { "item-1".to_owned() } else { format!("item-{}", n % 5_000 + 1) };
            read.done_us = read.sent_us + if n % 3 == 0 { 90_000 } else { 500 };
            (read.served, read.generation) =
                (if n % 3 == 0 { Served::Waited } else { Served::Hit }, n / 22_000);
            read.node = format!("node-{}", n % 4);
            read
        })
        .collect();
    recount(rung);
    let judgement = judge(&scenario, &with_writes(run));
    assert_eq!(judgement.verdicts.len(), scenario.claims.len());
    assert!(judgement.verdicts.iter().all(|verdict| verdict.why != "the checker crashed"));
    assert_eq!(judgement.rungs[0].requests, 100_000);
}
