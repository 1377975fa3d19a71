//! Each checker says valid, invalid and unknown.

use herd_history::Outcome as Ended;
use herd_judge::Outcome::{self, Invalid, Unknown, Valid};
use herd_scenario::{AbsentIds, AbsentReads};

use crate::made::{
    FLIGHT, LOCK, NONE, ONE_EACH, START_US, Start, crowd, history, renumber, scenario, verdict, with_writes,
};

const FLEET: &str = "property = \"rebuilds_per_boundary\"";
const PROCESS: &str = "property = \"rebuilds_per_boundary\"\nscope = \"process\"";
const AT_ONCE: &str = "property = \"concurrent_rebuilds\"";
const AT_ONCE_PROCESS: &str = "property = \"concurrent_rebuilds\"\nscope = \"process\"";

#[track_caller]
fn expect(rung: &str, claim: &str, herd: &[Start], outcome: Outcome, observed: u64) {
    let verdict = verdict(&scenario(rung, claim), &history(herd));
    assert_eq!((verdict.outcome, verdict.observed), (outcome, Some(observed)), "{verdict:#?}");
}

/// Goal: the lock's bound is 1 at every boundary, and a second rebuild refutes it with both as witness.
#[test]
fn lock_rebuilds_per_boundary() {
    expect(LOCK, FLEET, &[(2, 0)], Valid, 1);
    expect(LOCK, FLEET, &[(2, 0), (3, 100)], Invalid, 2);
    let verdict = verdict(&scenario(LOCK, FLEET), &history(&[(2, 0), (3, 100)]));
    let witness = verdict.witness.unwrap();
    assert_eq!((witness.generation, witness.rebuilds_total), (Some(1), 2));
    let nodes: Vec<&str> = witness.rebuilds.iter().map(|rebuild| rebuild.node.as_str()).collect();
    assert_eq!(nodes, ["node-2", "node-3"]);
}

/// Goal: one boundary out of many that breaks the bound refutes it; averages do not hide it.
#[test]
fn a_single_bad_boundary_refutes() {
    let mut history = history(&[(0, 0)]);
    let rung = &mut history.rungs[0];
    let mut extra = rung.ledger[2].clone();
    (extra.rebuild, extra.end_seq) = (rung.record.ledger.last_seq + 1, Some(rung.record.ledger.last_seq + 2));
    rung.record.ledger.last_seq += 2;
    extra.start_us += 20_000;
    rung.ledger.push(extra);
    let verdict = verdict(&scenario(LOCK, FLEET), &history);
    assert_eq!((verdict.outcome, verdict.observed, verdict.bound), (Invalid, Some(2), Some(1)));
    assert_eq!(verdict.witness.unwrap().generation, Some(2));
}

/// Goal: single-flight is bounded by the number of nodes and by one per process.
#[test]
fn single_flight_rebuilds_per_boundary() {
    expect(FLIGHT, FLEET, ONE_EACH, Valid, 4);
    expect(FLIGHT, FLEET, &[(0, 0), (1, 5), (2, 10), (3, 15), (0, 110)], Invalid, 5);
    expect(FLIGHT, PROCESS, ONE_EACH, Valid, 1);
    expect(FLIGHT, PROCESS, &[(0, 0), (1, 5), (0, 110)], Invalid, 2);
}

/// Goal: a witness shows what broke the bound however many there are: who started more than one first, then who overlaps another, and how
/// many are not shown.
#[test]
fn witnesses_show_what_broke_the_bound() {
    let nodes = |witness: &herd_judge::Witness| -> Vec<String> {
        witness.rebuilds.iter().map(|row| row.node.clone()).collect()
    };
    // Twenty processes, of which the last one leads twice.
    let twice: Vec<Start> = (0..20).map(|node| (node, node as u64)).chain([(19, 110)]).collect();
    let refuted = verdict(&scenario(FLIGHT, FLEET), &history(&twice));
    assert_eq!(refuted.outcome, Invalid);
    let witness = refuted.witness.unwrap();
    assert_eq!(nodes(&witness)[..3], ["node-19", "node-19", "node-0"]);
    assert_eq!((witness.rebuilds.len(), witness.rebuilds_total, witness.rebuilds_omitted), (12, 21, 9));
    assert_eq!(witness.at_us, START_US + 1_100_000, "when it began, whatever is listed first");
    // One after the other but for two.
    let two: Vec<Start> = (0..9).map(|node| (node, node as u64 * 100)).chain([(9, 810)]).collect();
    let witness = verdict(&scenario(LOCK, FLEET), &history(&two)).witness.unwrap();
    assert_eq!(nodes(&witness)[..3], ["node-8", "node-9", "node-0"]);
    assert_eq!((witness.rebuilds.len(), witness.rebuilds_omitted), (10, 0));
}

/// Goal: without layers the herd is about r*D = 20: far above it is refuted, far below it never formed.
#[test]
fn uncoordinated_rebuilds_per_boundary() {
    expect(NONE, FLEET, &crowd(), Valid, 20);
    let tenfold: Vec<Start> = (0..10).flat_map(|_| crowd()).collect();
    expect(NONE, FLEET, &tenfold, Invalid, 200);
    // Twice the herd: twenty readers cannot have started forty rebuilds.
    let twofold: Vec<Start> = (0..2).flat_map(|_| crowd()).collect();
    expect(NONE, FLEET, &twofold, Invalid, 40);
    let refuted = verdict(&scenario(NONE, FLEET), &history(&twofold));
    assert_eq!((refuted.bound, refuted.bound_text.as_str()), (Some(20), "about r*D = 20 (readers then: 20)"));
    let mut larger = scenario(NONE, FLEET);
    // r*D = 400 readers, of whom only twenty came.
    larger.workload.rate_per_s = 4_000;
    let verdict = verdict(&larger, &history(&crowd()));
    assert_eq!(verdict.outcome, Unknown, "{verdict:#?}");
    assert!(verdict.why.contains("the herd never formed"), "{}", verdict.why);
}

/// Goal: r is the rate of the key that expires: reads for rows that do not exist are taken off once, not twice.
#[test]
fn absent_reads_are_taken_off_the_rate_once() {
    let mut half = scenario(NONE, FLEET);
    half.workload.absent = Some(AbsentReads { share: 0.5, ids: AbsentIds::Fixed { count: 20 } });
    half.workload.rate_per_s *= 2;
    let verdict = verdict(&half, &history(&crowd()));
    assert!(verdict.bound_text.starts_with("about r*D = 20 "), "{}", verdict.bound_text);
}

/// Goal: a request that failed may have started a rebuild, and one without a record too.
#[test]
fn readers_are_counted_conservatively() {
    let mut failed = history(&crowd());
    let waited = |row: &&mut herd_history::OperationRecord| row.served == herd_history::Served::Waited;
    for row in failed.rungs[0].operations.iter_mut().filter(waited).step_by(2) {
        (row.outcome, row.served) = (Ended::Unavailable, herd_history::Served::Unknown);
    }
    expect_of(NONE, &failed, Valid);
    let mut unrecorded = history(&crowd());
    let at =
        unrecorded.rungs[0].operations.iter().position(|row| row.sent_us > START_US + 1_150_000).unwrap();
    unrecorded.rungs[0].operations.remove(at);
    expect_of(NONE, &unrecorded, Unknown);
    // Readers who came after the last start have nothing to do with the herd.
    let early: Vec<Start> = crowd().into_iter().map(|(node, _)| (node, 0)).collect();
    expect_of(NONE, &history(&early), Invalid);
}

#[track_caller]
fn expect_of(rung: &str, history: &herd_history::History, outcome: Outcome) {
    let verdict = verdict(&scenario(rung, FLEET), history);
    assert_eq!(verdict.outcome, outcome, "{verdict:#?}");
}

/// Goal: in one process, too, a rebuild needs a reader of its own.
#[test]
fn uncoordinated_rebuilds_per_process() {
    let of_readers = |herd: &[Start]| {
        let mut run = history(herd);
        let rung = &mut run.rungs[0];
        for row in &rung.ledger {
            let reader = rung.operations.iter_mut().find(|read| read.sent_us == row.start_us).unwrap();
            reader.node.clone_from(&row.node);
        }
        verdict(&scenario(NONE, PROCESS), &run)
    };
    let good = of_readers(&crowd());
    assert_eq!((good.outcome, good.observed), (Valid, Some(5)), "{good:#?}");
    let again = crowd().into_iter().filter(|(node, _)| *node == 2);
    let bad = of_readers(&crowd().into_iter().chain(again).collect::<Vec<Start>>());
    assert_eq!((bad.outcome, bad.observed), (Invalid, Some(10)), "{bad:#?}");
}

/// Goal: no rebuild at all is unknown, not zero rebuilds.
#[test]
fn nothing_seen_is_unknown() {
    let mut nothing = history(&[]);
    nothing.rungs[0].ledger.clear();
    renumber(&mut nothing.rungs[0]);
    for claim in [FLEET, PROCESS, AT_ONCE, AT_ONCE_PROCESS] {
        let verdict = verdict(&scenario(LOCK, claim), &nothing);
        assert_eq!((verdict.outcome, verdict.observed), (Unknown, None), "{verdict:#?}");
    }
}

/// Goal: a lease that runs out before the rebuild ends allows ceil(D/E) starts and no more.
#[test]
fn lock_shorter_than_the_rebuild() {
    let short = LOCK.replace("1000", "40");
    expect(&short, FLEET, &[(0, 0), (1, 40), (2, 80)], Valid, 3);
    expect(&short, FLEET, &[(0, 0), (1, 40), (2, 80), (3, 90)], Invalid, 4);
    let renewed = format!("{short}\nrenew = true");
    expect(&renewed, FLEET, &[(0, 0), (1, 40)], Invalid, 2);
}

/// Goal: a lock that excludes nobody is no lock of a short lease: rebuilds that begin at nearly the same time are refuted, though one
/// of them is slow at the origin.
#[test]
fn leases_follow_each_other() {
    let short = LOCK.replace("1000", "40");
    let herd: &[Start] = &[(0, 0), (1, 10), (2, 20), (3, 30)];
    let slow = |mut run: herd_history::History, last_ms: u64| {
        for rows in run.rungs[0].ledger[1..].chunks_mut(herd.len()) {
            rows[herd.len() - 1].end_us = Some(rows[0].start_us + last_ms * 1_000);
        }
        run
    };
    let judged = |run: &herd_history::History| verdict(&scenario(&short, FLEET), run);
    let refuted = judged(&slow(history(herd), 800));
    assert_eq!(
        (refuted.outcome, refuted.observed, refuted.bound),
        (Invalid, Some(4), Some(2)),
        "{refuted:#?}"
    );
    assert!(refuted.why.contains("began E apart"), "{}", refuted.why);
    // E apart, and still too many: nobody begins after the first value was taken.
    let late: &[Start] = &[(0, 0), (1, 40), (2, 80), (3, 130)];
    for run in [slow(history(late), 800), with_writes(slow(history(late), 800))] {
        let refuted = judged(&run);
        assert_eq!((refuted.outcome, refuted.bound), (Invalid, Some(3)), "{refuted:#?}");
    }
    // Where the store's record says that it took the first value later, they are in time.
    let mut in_time = with_writes(slow(history(late), 800));
    in_time.rungs[0].writes.iter_mut().for_each(|write| write.at_us += 25_000);
    assert_eq!(judged(&in_time).outcome, Valid);
    // A node that holds its write back does not lengthen the time without end.
    in_time.rungs[0].writes.iter_mut().for_each(|write| write.at_us += 3_000_000);
    assert_eq!(judged(&in_time).bound, Some(4));
}

/// Goal: waiters that give up before D and go to the origin fall back to one per process.
#[test]
fn waiters_that_give_up() {
    let impatient = format!("{LOCK}\nwait_ms = 50\non_wait_timeout = \"origin\"");
    expect(&impatient, FLEET, &[(0, 0), (1, 50), (2, 50), (3, 50)], Valid, 4);
    expect(&impatient, FLEET, &[(0, 0), (1, 50), (2, 50), (3, 50), (1, 60)], Invalid, 5);
}

/// Goal: a rebuild that outlived a lease meant to be long enough is a broken premise, not a refutation.
#[test]
fn a_broken_premise_is_unknown() {
    let mut history = history(&[(0, 0), (1, 90)]);
    for row in &mut history.rungs[0].ledger {
        row.end_us = row.end_us.map(|end_us| end_us + 50_000);
    }
    let long_enough = LOCK.replace("1000", "120");
    let verdict = verdict(&scenario(&long_enough, FLEET), &history);
    assert_eq!(verdict.outcome, Unknown, "{verdict:#?}");
    assert!(verdict.why.contains("longer than the lease"), "{}", verdict.why);
}

/// Goal: rebuilds one after the other are not at once; rebuilds that overlap are.
#[test]
fn concurrent_rebuilds() {
    expect(LOCK, AT_ONCE, &[(0, 0)], Valid, 1);
    expect(LOCK, AT_ONCE, &[(0, 0), (1, 100)], Valid, 1);
    expect(LOCK, AT_ONCE, &[(0, 0), (1, 99)], Invalid, 2);
    expect(FLIGHT, AT_ONCE_PROCESS, ONE_EACH, Valid, 1);
    expect(FLIGHT, AT_ONCE_PROCESS, &[(0, 0), (1, 0), (0, 50)], Invalid, 2);
}

/// Goal: an older answer counts only if it was asked for after the newer one was there.
#[test]
fn answers_never_go_back() {
    let claim = "property = \"answers_never_go_back\"";
    expect(LOCK, claim, &[(0, 0)], Valid, 0);

    let mut back = history(&[(0, 0)]);
    back.rungs[0].operations[600].generation = 1;
    let refuted = verdict(&scenario(LOCK, claim), &back);
    assert_eq!((refuted.outcome, refuted.observed), (Invalid, Some(1)), "{refuted:#?}");
    assert_eq!(refuted.witness.unwrap().operations[1].seq, 600);

    // Sent while the newer answer was on its way: either order is right.
    let mut overlapping = history(&[(0, 0)]);
    let operations = &mut overlapping.rungs[0].operations;
    let first_newer = operations.iter().position(|row| row.generation == 2).unwrap();
    operations[first_newer + 1].generation = 1;
    operations[first_newer + 1].sent_us = operations[first_newer].done_us;
    assert_eq!(verdict(&scenario(LOCK, claim), &overlapping).outcome, Valid);

    let mut version = history(&[(0, 0)]);
    version.rungs[0].operations[10].version = 2;
    assert_eq!(verdict(&scenario(LOCK, claim), &version).outcome, Invalid);

    let mut silent = history(&[(0, 0)]);
    for row in &mut silent.rungs[0].operations {
        (row.generation, row.version) = (0, 0);
    }
    assert_eq!(verdict(&scenario(LOCK, claim), &silent).outcome, Unknown);
    // A value without a generation is as old as its version.
    let mut inserted = history(&[(0, 0)]);
    inserted.rungs[0].operations.iter_mut().skip(500).for_each(|row| row.version = 2);
    inserted.rungs[0].operations[600].generation = 0;
    assert_eq!(verdict(&scenario(LOCK, claim), &inserted).observed, Some(0));
    inserted.rungs[0].operations[600].version = 1;
    assert_eq!(verdict(&scenario(LOCK, claim), &inserted).observed, Some(1));
}

/// Goal: errors and double answers refute, records that are missing leave it unknown.
#[test]
fn every_request_answered() {
    let claim = "property = \"every_request_answered\"";
    expect(LOCK, claim, &[(0, 0)], Valid, 0);

    let mut failed = history(&[(0, 0)]);
    failed.rungs[0].operations[3].outcome = Ended::DeadlineExceeded;
    failed.rungs[0].operations[4].outcome = Ended::Unavailable;
    let refuted = verdict(&scenario(LOCK, claim), &failed);
    assert_eq!((refuted.outcome, refuted.observed), (Invalid, Some(2)), "{refuted:#?}");
    assert!(refuted.why.contains("1 deadline exceeded, 1 unavailable"), "{}", refuted.why);
    assert_eq!(verdict(&scenario(LOCK, &format!("{claim}\nat_most = 2")), &failed).outcome, Valid);

    let mut twice = history(&[(0, 0)]);
    twice.rungs[0].operations[3].seq = 2;
    assert_eq!(verdict(&scenario(LOCK, claim), &twice).outcome, Invalid);

    let mut missing = history(&[(0, 0)]);
    missing.rungs[0].operations.truncate(999);
    assert_eq!(verdict(&scenario(LOCK, claim), &missing).outcome, Unknown);
}

/// Goal: rebuilds under another prefix are not counted here, and do not vanish either: the claim is not confirmed.
#[test]
fn rows_of_another_prefix_are_not_counted() {
    let mut history = history(&[(0, 0)]);
    let rung = &mut history.rungs[0];
    let mut stranger = rung.ledger[1].clone();
    (stranger.rebuild, stranger.end_seq) =
        (rung.record.ledger.last_seq + 1, Some(rung.record.ledger.last_seq + 2));
    stranger.cache_key = "old:item-1".to_owned();
    stranger.start_us = START_US;
    rung.record.ledger.last_seq += 2;
    rung.ledger.push(stranger);
    let verdict = verdict(&scenario(LOCK, FLEET), &history);
    assert_eq!((verdict.outcome, verdict.observed), (Unknown, Some(1)), "{verdict:#?}");
}
