//! Whatever an assumption lacks makes a valid claim unknown, and leaves a refuted one refuted.

use herd_history::{FaultPhase, FaultRecord, History, Reason, Served};
use herd_judge::Outcome::{Invalid, Unknown, Valid};
use herd_scenario::{Layer, Scenario, Stale, Workload};

use crate::made::{FLIGHT, LOCK, START_US, changed, history, note_fault, scenario, stale_history, verdict};

const CLAIM: &str = "property = \"rebuilds_per_boundary\"";

#[track_caller]
fn breaks(name: &str, spoil: impl Fn(&mut History)) {
    let lock = scenario(LOCK, CLAIM);
    let mut good = history(&[(0, 0)]);
    spoil(&mut good);
    let judgement = herd_judge::judge(&lock, &good);
    let failed: Vec<&str> =
        judgement.rungs[0].assumptions.iter().filter(|a| !a.holds).map(|a| a.name).collect();
    assert!(failed.contains(&name), "{failed:?} {judgement:#?}");
    assert_eq!(judgement.verdicts[0].outcome, Unknown);

    let mut bad = history(&[(0, 0), (1, 10)]);
    spoil(&mut bad);
    let refuted = verdict(&lock, &bad);
    assert_eq!(refuted.outcome, Invalid, "a refuted claim stays refuted");
    // And says what it was refuted in spite of.
    let said = refuted.why.split_once("although").map(|(_, said)| said);
    assert!(said.is_some_and(|said| said.contains(&format!("\"{name}\": "))), "{}", refuted.why);
}

/// Goal: the handmade run meets every assumption.
#[test]
fn a_good_run_meets_them_all() {
    let judgement = herd_judge::judge(&scenario(LOCK, CLAIM), &history(&[(0, 0)]));
    assert!(judgement.rungs[0].assumptions.iter().all(|a| a.holds), "{:#?}", judgement.rungs[0].assumptions);
    assert_eq!(judgement.verdicts[0].outcome, Valid);
}

/// Goal: too little load shows nothing.
#[test]
fn load() {
    breaks("load offered", |run| run.rungs[0].record.load.offered = 500);
    breaks("load sent", |run| run.rungs[0].record.load.sent = 900);
    breaks("load sent", |run| run.rungs[0].operations.truncate(900));
}

/// Goal: fifty nodes means fifty nodes, joined, configured and answering.
#[test]
fn nodes() {
    breaks("nodes joined", |run| run.rungs[0].record.nodes_joined = 3);
    breaks("nodes joined", |run| run.rungs[0].record.nodes_acknowledged = 3);
    breaks("nodes took part", |run| {
        for row in &mut run.rungs[0].operations {
            row.node = "node-0".to_owned();
        }
    });
}

/// Goal: a generator that lags sends another load than the one drawn.
#[test]
fn lag() {
    breaks("generator lag", |run| run.rungs[0].record.load.lag_p99_us = 26_000);
}

/// Goal: what a busy machine brings about is not refuted where the generator stalled; what counts in the ledger is.
#[test]
fn a_stalled_generator_refutes_no_latency() {
    let stalled = |lag_max_us: u64| {
        let mut run = history(&[(0, 0), (1, 10)]);
        for row in run.rungs[0].operations.iter_mut().skip(400).take(30) {
            (row.sent_us, row.done_us) = (row.sent_us + 3_000_000, row.done_us + 3_000_000);
        }
        run.rungs[0].record.load.lag_max_us = lag_max_us;
        run
    };
    let of = |property: &str, at_most: u64| {
        scenario(LOCK, &format!("property = \"{property}\"\nat_most = {at_most}"))
    };
    for slow in [of("latency_p99_ms", 400), of("goodput_lost_percent", 0)] {
        let slow = Scenario { workload: Workload { request_deadline_ms: 1_000, ..slow.workload }, ..slow };
        assert_eq!(verdict(&slow, &stalled(0)).outcome, Invalid, "the fleet was slow");
        let unknown = verdict(&slow, &stalled(3_000_000));
        assert_eq!(unknown.outcome, Unknown, "{unknown:#?}");
        assert!(
            unknown.why.contains("the generator lagged") && unknown.observed.is_some(),
            "{}",
            unknown.why
        );
    }
    let answered = |lag_max_us: u64| {
        let mut run = stalled(lag_max_us);
        run.rungs[0].operations[400].outcome = herd_history::Outcome::DeadlineExceeded;
        verdict(&scenario(LOCK, "property = \"every_request_answered\""), &run).outcome
    };
    assert_eq!((answered(0), answered(3_000_000)), (Invalid, Unknown));
    assert_eq!(verdict(&scenario(LOCK, CLAIM), &stalled(3_000_000)).outcome, Invalid);
    // Nothing is said of assumptions where all hold.
    assert!(!verdict(&scenario(LOCK, CLAIM), &history(&[(0, 0), (1, 10)])).why.contains("although"));
}

/// Goal: a rung in which most requests fail did not put its load on the origin.
#[test]
fn errors() {
    breaks("requests answered", |run| {
        for row in run.rungs[0].operations.iter_mut().step_by(5) {
            row.outcome = herd_history::Outcome::Unavailable;
        }
    });
}

/// What itself may add to a count leaves nothing refuted, as it leaves nothing confirmed.
#[track_caller]
fn shows_nothing(name: &str, spoil: impl Fn(&mut History)) {
    for herd in [&[(0, 0)][..], &[(0, 0), (1, 10)]] {
        let mut run = history(herd);
        spoil(&mut run);
        let unknown = verdict(&scenario(LOCK, CLAIM), &run);
        assert_eq!(unknown.outcome, Unknown, "{unknown:#?}");
        let said = unknown.why.contains(&format!("\"{name}\": "));
        assert!(said || unknown.why.starts_with("not confirmed"), "{}", unknown.why);
        assert_eq!(said, unknown.observed > Some(1), "{}", unknown.why);
    }
}

/// Goal: answers of an older configuration mix two rungs, of which the other may be bounded by nothing.
#[test]
fn configuration() {
    shows_nothing("one configuration", |run| run.rungs[0].operations[0].config_version = 6);
    shows_nothing("one configuration", |run| run.rungs[0].ledger[1].config_version = 6);
}

/// Goal: a store that does not count an expiry puts two herds into one boundary: that makes no herd of two.
#[test]
fn expiries_that_are_not_counted() {
    let merged = |run: &mut History| {
        let rung = &mut run.rungs[0];
        rung.ledger.iter_mut().filter(|row| row.generation > 1).for_each(|row| row.generation -= 1);
        rung.operations.iter_mut().filter(|row| row.generation > 2).for_each(|row| row.generation -= 1);
    };
    let mut run = history(&[(0, 0)]);
    merged(&mut run);
    let unknown = verdict(&scenario(LOCK, CLAIM), &run);
    assert_eq!((unknown.outcome, unknown.observed), (Unknown, Some(2)), "{unknown:#?}");
    assert!(
        unknown.why.contains("\"each expiry is counted\": time clustering finds two herds"),
        "{}",
        unknown.why
    );
}

/// Goal: fewer boundaries than asked for, or herds cut off by the window's end, do not suffice.
#[test]
fn boundaries() {
    breaks("boundaries", |run| run.rungs[0].record.window_end_us = START_US + 3_000_000);
}

/// Goal: a lock without anybody waiting bounds nothing.
#[test]
fn crowd() {
    breaks("crowd", |run| {
        for row in &mut run.rungs[0].operations {
            row.served = herd_history::Served::Hit;
        }
    });
}

/// Goal: who read another key, or the key at another time, was no reader of the boundary; nor was who was refused, unless refusing is the
/// rung's own way of dealing with a crowd.
#[test]
fn readers_who_were_elsewhere_are_no_crowd() {
    let missed_late = |run: &mut History| {
        for row in &mut run.rungs[0].operations {
            let waited = row.served == Served::Waited;
            // As many misses as before, at times at which nothing is rebuilt.
            let later = (row.sent_us - START_US) / 1_000 % 1_100;
            row.served = if (300..400).contains(&later) { Served::Led } else { Served::Hit };
            assert!(!waited || row.served == Served::Hit);
        }
    };
    breaks("crowd", missed_late);
    breaks("crowd", |run| {
        let waited = |row: &&mut herd_history::OperationRecord| row.served == Served::Waited;
        run.rungs[0].operations.iter_mut().filter(waited).for_each(|row| row.key = "item-2".to_owned());
    });
    let refused = |run: &mut History| {
        let waited = |row: &&mut herd_history::OperationRecord| row.served == Served::Waited;
        run.rungs[0].operations.iter_mut().filter(waited).for_each(|row| {
            row.outcome = herd_history::Outcome::ResourceExhausted;
        });
    };
    breaks("crowd", refused);
    let sheds = changed(LOCK, CLAIM, |scenario| scenario.rungs[0].layers.push(Layer::Shed));
    let mut run = history(&[(0, 0)]);
    refused(&mut run);
    assert_eq!(verdict(&sheds, &run).outcome, Valid, "{:#?}", verdict(&sheds, &run));
}

/// Goal: a ledger with a gap may have lost the very rebuild that matters.
#[test]
fn ledger() {
    breaks("ledger whole", |run| run.rungs[0].record.ledger.last_seq += 1);
    breaks("ledger whole", |run| run.rungs[0].record.ledger.foreign_ends = vec![3]);
    breaks("ledger whole", |run| {
        let ledger = &mut run.rungs[0].ledger;
        let last = ledger.len() - 1;
        ledger[last].end_us = None;
    });
}

/// Goal: an answer that no rebuild of the ledger made means that the ledger is not the truth.
#[test]
fn reconciliation() {
    breaks("records reconcile", |run| run.rungs[0].operations[999].generation = 40);
    breaks("records reconcile", |run| {
        let row = &mut run.rungs[0].operations[231];
        row.served = herd_history::Served::Led;
        row.rebuild_trace = "f".repeat(32);
    });
}

/// Goal: generations that do not match the herds seen by time are not believed.
#[test]
fn counting() {
    breaks("counting agrees", |run| {
        // The last herd claims to have seen the same generation expire as the one before.
        let ledger = &mut run.rungs[0].ledger;
        let last = ledger.len() - 1;
        let herd = ledger[last].start_us - 50_000;
        for row in ledger.iter_mut().filter(|row| row.start_us > herd) {
            row.generation = 0;
        }
    });
}

/// Goal: a node that leaves during the rung, or leaves and comes back, is not passed over.
#[test]
fn membership() {
    let name = "membership stood still during the rung";
    breaks(name, |run| run.rungs[0].record.nodes_joined_end = Some(3));
    breaks(name, |run| run.rungs[0].record.membership_changed = Some(true));
    // Older builds only noted it.
    breaks(name, |run| {
        let record = &mut run.rungs[0].record;
        (record.nodes_joined_end, record.membership_changed) = (None, None);
        record.notes = vec!["the membership changed while the load ran: 4 nodes before, 3 after".to_owned()];
    });
}

/// Goal: a row cannot leave the count by its cache key, which is the caller's own word.
#[test]
fn foreign_rows() {
    let name = "ledger rows belong to the rung";
    let extra = |run: &mut History, key: &str, cache_key: &str| {
        let rung = &mut run.rungs[0];
        let mut row = rung.ledger[1].clone();
        (row.rebuild, row.end_seq) = (rung.record.ledger.last_seq + 1, Some(rung.record.ledger.last_seq + 2));
        rung.record.ledger.last_seq += 2;
        (row.key, row.cache_key) = (key.to_owned(), cache_key.to_owned());
        rung.ledger.push(row);
    };
    breaks(name, |run| extra(run, "item-1", "q:item-1"));
    breaks(name, |run| extra(run, "item-1", "p:item-2"));
    breaks(name, |run| extra(run, "item-2", "p:item-2"));
    let mut run = history(&[(0, 0)]);
    extra(&mut run, "item-1", "q:item-1");
    let why = verdict(&scenario(LOCK, CLAIM), &run).why;
    assert!(why.contains("by node-0 of item-1 under the cache key q:item-1"), "{why}");
}

/// Goal: a lock rung in which rebuilds went past the lock shows nothing about the lock.
#[test]
fn lock_used() {
    for reason in [Reason::FailOpen, Reason::WaitTimeout, Reason::FlightLeader, Reason::Unknown] {
        breaks("lock used", |run| run.rungs[0].ledger[2].reason = reason);
        let mut run = history(&[(0, 0)]);
        run.rungs[0].ledger[2].reason = reason;
        let why = verdict(&scenario(LOCK, CLAIM), &run).why;
        assert!(why.contains(&format!("1 of 4 rebuilds by {}", reason.name())), "{why}");
        assert_eq!(verdict(&scenario(FLIGHT, CLAIM), &run).outcome, Valid, "no lock, no lease");
    }
    breaks("lock used", |run| run.rungs[0].ledger[2].token = 0);
}

/// Goal: a lock that hands out a token twice, or an older one, is not confirmed.
#[test]
fn tokens() {
    breaks("tokens grow", |run| run.rungs[0].ledger[2].token = run.rungs[0].ledger[1].token);
    breaks("tokens grow", |run| run.rungs[0].ledger[1].token = 1_000);
    breaks("tokens grow", |run| run.rungs[0].ledger[1].epoch = 2);
    let mut restarted = history(&[(0, 0)]);
    for row in restarted.rungs[0].ledger.iter_mut().skip(2) {
        (row.epoch, row.token) = (2, row.token - 4);
    }
    assert_eq!(verdict(&scenario(LOCK, CLAIM), &restarted).outcome, Valid, "a new epoch may count anew");
}

/// Goal: a cross-check that could not be made does not count as made; who led a rebuild can stand in for it.
#[test]
fn counting_without_time() {
    let mut short = scenario(LOCK, CLAIM);
    short.policy.ttl_ms = 200;
    let silent = history(&[(0, 0)]);
    let unconfirmed = verdict(&short, &silent);
    assert_eq!(unconfirmed.outcome, Unknown, "{unconfirmed:#?}");
    assert!(unconfirmed.why.contains("no client tells who rebuilt"), "{}", unconfirmed.why);

    let mut told = silent.clone();
    let rung = &mut told.rungs[0];
    for rebuild in &rung.ledger {
        let led = rung.operations.iter_mut().find(|row| row.sent_us == rebuild.start_us).unwrap();
        (led.served, led.rebuild_trace) = (herd_history::Served::Led, rebuild.trace.clone());
    }
    assert_eq!(verdict(&short, &told).outcome, Valid);
    let mut other = told.clone();
    other.rungs[0]
        .operations
        .iter_mut()
        .filter(|row| !row.rebuild_trace.is_empty())
        .for_each(|row| row.generation = 1);
    assert_eq!(verdict(&short, &other).outcome, Unknown);

    // One herd under two names: the second expires long before its TTL.
    let mut split = told;
    let ledger = &mut split.rungs[0].ledger;
    ledger[2].start_us = ledger[1].end_us.unwrap() + 10_000;
    assert_eq!(verdict(&short, &split).outcome, Unknown);
}

/// Goal: a fault that did not bite makes its rung unknown.
#[test]
fn faults() {
    breaks("faults took effect", |run| {
        run.faults.push(FaultRecord {
            at_us: START_US,
            rung: "rung".to_owned(),
            fault: "pause".to_owned(),
            target: "node-1".to_owned(),
            phase: FaultPhase::Unconfirmed,
            kind: String::new(),
            turn: 0,
            hit: 0,
            note: String::new(),
        });
    });
}

/// Goal: an origin that was to fail and did not has put no layer to the test.
#[test]
fn failures_that_did_not_come() {
    let mut failing = scenario(LOCK, CLAIM);
    failing.origin.failing = Some(herd_scenario::Failing { at_ms: 1_000, for_ms: 100, share: 1.0 });
    let mut run = history(&[(0, 0)]);
    let unknown = verdict(&failing, &run);
    assert_eq!(unknown.outcome, Unknown, "{unknown:#?}");
    assert!(unknown.why.contains("0 fetches failed"), "{}", unknown.why);
    run.rungs[0].ledger[1].outcome = Some(herd_history::FetchOutcome::Failed);
    run.rungs[0].operations.iter_mut().filter(|row| row.generation == 2).for_each(|row| row.generation = 1);
    let missing = verdict(&failing, &run);
    assert!(missing.why.contains("origin.failing has no record"), "{}", missing.why);
    note_fault(&mut run, "origin.failing", "origin", &[1_000, 1_200, 1_300, 2_000]);
    assert_eq!(verdict(&failing, &run).outcome, Valid);
}

/// Goal: the generator's lag is small beside D: a quarter of it, and no more.
#[test]
fn lag_is_small_beside_the_rebuild() {
    let mut run = history(&[(0, 0)]);
    run.rungs[0].record.load.lag_p99_us = 25_000;
    assert_eq!(verdict(&scenario(LOCK, CLAIM), &run).outcome, Valid);
    run.rungs[0].record.load.lag_p99_us = 25_001;
    assert_eq!(verdict(&scenario(LOCK, CLAIM), &run).outcome, Unknown);
    // A single stall of half a second sends a crowd at once.
    for (max_us, outcome) in [(500_000, Valid), (500_001, Unknown)] {
        (run.rungs[0].record.load.lag_p99_us, run.rungs[0].record.load.lag_max_us) = (1_000, max_us);
        assert_eq!(verdict(&scenario(LOCK, CLAIM), &run).outcome, outcome);
    }
}

/// Goal: who is served stale while a refresh runs saw the generation that the refresh names expire, and says so.
#[test]
fn counting_without_time_where_stale_values_are_served() {
    let short = changed(LOCK, CLAIM, |scenario| {
        scenario.policy.ttl_ms = 200;
        scenario.rungs[0].layers.push(Layer::StaleWhileRevalidate);
        scenario.rungs[0].stale = Some(Stale { grace_ms: 2_000, safe_keys: vec!["*".to_owned()] });
    });
    let mut told = stale_history(&[(0, 0)]);
    let rung = &mut told.rungs[0];
    for rebuild in &rung.ledger {
        let reader = rung.operations.iter_mut().find(|row| row.sent_us == rebuild.start_us).unwrap();
        reader.rebuild_trace.clone_from(&rebuild.trace);
        assert_eq!(reader.served == Served::Stale, rebuild.generation > 0);
    }
    assert_eq!(verdict(&short, &told).outcome, Valid, "{:#?}", verdict(&short, &told));
    let stale = told.rungs[0].operations.iter_mut().rfind(|row| !row.rebuild_trace.is_empty()).unwrap();
    stale.generation -= 1;
    let why = verdict(&short, &told).why;
    assert!(why.contains("got generation 3 from rebuild 9, which names generation 4"), "{why}");
}
