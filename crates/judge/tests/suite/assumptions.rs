//! Whatever an assumption lacks makes a valid claim unknown, and leaves a refuted one refuted.

use herd_history::{FaultPhase, FaultRecord, History};
use herd_judge::Outcome::{Invalid, Unknown, Valid};

use crate::made::{LOCK, START_US, history, scenario, verdict};

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
    assert_eq!(verdict(&lock, &bad).outcome, Invalid, "a refuted claim stays refuted");
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

/// Goal: a rung in which most requests fail did not put its load on the origin.
#[test]
fn errors() {
    breaks("requests answered", |run| {
        for row in run.rungs[0].operations.iter_mut().step_by(5) {
            row.outcome = herd_history::Outcome::Unavailable;
        }
    });
}

/// Goal: answers of an older configuration mix two rungs.
#[test]
fn configuration() {
    breaks("one configuration", |run| run.rungs[0].operations[0].config_version = 6);
    breaks("one configuration", |run| run.rungs[0].ledger[1].config_version = 6);
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
            note: String::new(),
        });
    });
}
