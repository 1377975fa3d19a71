//! What faults allow, and only where they took effect: holders paused and killed, links cut, members that come and go.

use herd_history::{FaultPhase, FetchOutcome, History, Outcome as Ended, Reason};
use herd_judge::Outcome::{Invalid, Valid};
use herd_scenario::{FaultAction, FaultPart, Layer, LinkRule, OnUnavailable, Peer, Scenario, Target, Which};

use crate::layers::FLEET;
use crate::made::{
    FLIGHT, LOCK, LOCK_ALONE, START_US, changed, claim, expect, expect_unknown, history, note_fault, plan,
    renumber, row, verdict,
};

fn node(action: fn(Target) -> FaultAction) -> impl Fn(&mut Scenario) {
    move |scenario| {
        let which = Which::Holder { key: "item-1".to_owned() };
        plan(scenario, "holder", action(Target { part: FaultPart::CacheNode, which }));
        let lock = scenario.rungs[0].lock.as_mut().unwrap();
        (lock.expiry_ms, lock.renew) = (300, true);
    }
}

/// One herd of these rebuilds at 1,100 ms, the others of one.
fn herd(starts: &[(usize, u64)]) -> History {
    let mut run = history(&[(0, 0)]);
    let rows: Vec<_> = starts.iter().map(|(node, ms)| row(1, 1, *node, 1_100 + ms)).collect();
    run.rungs[0].ledger.splice(1..2, rows);
    renumber(&mut run.rungs[0]);
    run
}

/// Goal: a holder paused for longer than E allows for one more rebuild, one paused for less shows nothing, another node none.
#[test]
fn paused_holders() {
    let lock = changed(LOCK, FLEET, node(FaultAction::Pause));
    let paused = |who: &str, until_ms: u64, starts: &[(usize, u64)]| {
        let mut run = herd(starts);
        note_fault(&mut run, "holder", who, &[1_150, 1_151, until_ms, until_ms + 10]);
        run
    };
    const TAKEN: &[(usize, u64)] = &[(0, 0), (1, 350)];
    let found = expect(&lock, &paused("node-0", 1_451, TAKEN), Valid, 2);
    assert_eq!(found.bound_text, "1 for the fleet, plus 1 that faults took away");
    expect_unknown(&lock, &paused("node-0", 1_450, TAKEN), "stalled for more than half of its lease");
    expect(&lock, &paused("node-0", 1_300, TAKEN), Invalid, 2);
    expect(&lock, &paused("node-3", 1_451, TAKEN), Invalid, 2);
    expect(&lock, &paused("node-0", 1_451, &[(0, 0), (1, 350), (2, 360)]), Invalid, 3);
    // Whoever began last took nothing from another.
    expect(&lock, &paused("node-1", 1_451, &[(0, 0), (1, 20)]), Invalid, 2);
}

/// Goal: a holder that was killed allows for its successor, who comes within E.
#[test]
fn killed_holders() {
    let kill = node(FaultAction::Kill);
    let killed = |next_ms: u64| {
        let mut run = herd(&[(0, 0), (1, next_ms)]);
        (run.rungs[0].ledger[1].outcome, run.rungs[0].ledger[1].end_us) =
            (Some(FetchOutcome::Cancelled), Some(START_US + 1_152_000));
        note_fault(&mut run, "holder", "node-0", &[1_150, 1_155, 1_700, 1_900]);
        // Somebody waits for the next one.
        let waits = run.rungs[0].operations.iter_mut().find(|row| row.sent_us == START_US + 1_195_000);
        waits.unwrap().done_us = START_US + 1_900_000;
        run
    };
    expect(&changed(LOCK, FLEET, &kill), &killed(340), Valid, 2);
    let mut quiet = killed(340);
    quiet.faults.clear();
    expect(&changed(LOCK, FLEET, &kill), &quiet, Invalid, 2);
    let takeover = changed(LOCK, &claim("takeover_ms", "fleet"), &kill);
    let found = expect(&takeover, &killed(340), Valid, 290);
    assert!(found.bound_text.starts_with("E = 300 ms"), "{}", found.bound_text);
    // It renews, and may have done so until it was gone, 5 ms later.
    assert_eq!(verdict(&takeover, &killed(556)).bound, Some(506));
    expect(&takeover, &killed(557), Invalid, 507);
    expect_unknown(&takeover, &quiet, "no fault ended a lock holder");
    // One whose rebuild began while it was being killed was a holder, too.
    let mut late = killed(340);
    let injected = late.faults.iter_mut().find(|fault| fault.phase == FaultPhase::Injected).unwrap();
    injected.at_us = START_US + 1_050_000;
    expect(&takeover, &late, Valid, 390);
}

/// Plans that one node's link to a part goes black.
fn one_node_loses(scenario: &mut Scenario, to: Peer) {
    plan(scenario, "cut", FaultAction::Link { nodes: Which::Some(1), to, rule: LinkRule::BlackHole });
}

/// Goal: who cannot reach the lock adds one where it fails open, and nothing where it fails closed.
#[test]
fn partitions() {
    let cut = |then: OnUnavailable| {
        changed(LOCK, FLEET, |scenario| {
            one_node_loses(scenario, Peer::LockService);
            scenario.rungs[0].lock.as_mut().unwrap().on_unavailable = then;
        })
    };
    let run = |starts: &[(usize, u64)]| {
        let mut run = herd(starts);
        note_fault(&mut run, "cut", "node-1", &[1_000, 1_010, 1_300, 1_310]);
        run
    };
    let open = expect(&cut(OnUnavailable::FailOpen), &run(&[(0, 0), (1, 20)]), Valid, 2);
    assert!(open.bound_text.starts_with("1 + 1 nodes"), "{}", open.bound_text);
    expect(&cut(OnUnavailable::FailOpen), &run(&[(0, 0), (1, 20), (2, 30)]), Invalid, 3);
    expect(&cut(OnUnavailable::FailClosed), &run(&[(0, 0), (1, 20)]), Invalid, 2);
    expect(&cut(OnUnavailable::FailClosed), &run(&[(0, 0)]), Valid, 1);
    expect(&cut(OnUnavailable::FailClosed), &run(&[(1, 20)]), Invalid, 1);
}

/// Goal: under a lock without single-flight each reader of a node that is cut off goes alone, and nobody else does.
#[test]
fn a_partition_without_single_flight() {
    let cut = changed(LOCK_ALONE, FLEET, |scenario| one_node_loses(scenario, Peer::LockService));
    let run = |starts: &[(usize, u64)]| {
        let mut run = herd(starts);
        note_fault(&mut run, "cut", "node-1", &[1_000, 1_010, 1_300, 1_310]);
        run
    };
    // One holder, and the five readers that node-1 had then.
    let starts = [(0, 0), (1, 5), (1, 25), (1, 45), (1, 65), (1, 85)];
    let open = expect(&cut, &run(&starts), Valid, 6);
    assert!(open.bound_text.starts_with("1 + 5 readers of 1 nodes"), "{}", open.bound_text);
    expect(&cut, &run(&[starts.as_slice(), &[(2, 90)]].concat()), Invalid, 7);
}

/// Goal: who cannot store what it fetched fetches it again, one rebuild after the other and never two at once.
#[test]
fn cut_off_from_the_store() {
    let cut =
        |rung: &str, claim: &str| changed(rung, claim, |scenario| one_node_loses(scenario, Peer::Redis));
    let run = |starts: &[(usize, u64)]| {
        let mut run = herd(starts);
        note_fault(&mut run, "cut", "node-0", &[1_000, 1_010, 1_500, 1_510]);
        run
    };
    let (after, beside) = (run(&[(0, 0), (0, 100), (0, 200)]), run(&[(0, 0), (0, 50), (0, 200)]));
    for (rung, scope) in [(FLIGHT, "process"), (LOCK, "fleet")] {
        let starts = cut(rung, &claim("rebuilds_per_boundary", scope));
        let at_once = cut(rung, &claim("concurrent_rebuilds", scope));
        expect(&starts, &after, Valid, 3);
        expect(&at_once, &after, Valid, 1);
        expect(&at_once, &beside, Invalid, 2);
    }
}

/// Goal: who gave up a call to a part that was away begins late, and is no herd of its own for that; long after it is one.
#[test]
fn a_late_start_belongs_to_its_herd() {
    let lock = changed(LOCK, FLEET, |scenario| {
        let target = Target { part: FaultPart::LockService, which: Which::All };
        plan(scenario, "away", FaultAction::Kill(target));
    });
    let run = |back_ms: u64| {
        let mut run = history(&[(0, 0)]);
        // More than half a TTL after the first of its herd, at 2,200 ms.
        run.rungs[0].ledger.insert(2, row(1, 2, 1, 2_790));
        renumber(&mut run.rungs[0]);
        note_fault(&mut run, "away", "lock-service", &[100, 110, back_ms - 10, back_ms]);
        run
    };
    expect(&lock, &run(1_260), Valid, 2);
    expect_unknown(&lock, &run(690), "time clustering finds two herds of item-1");
}

/// Goal: the largest overlap need not be the worst: one that a fault allows for does not hide a smaller one that nothing does.
#[test]
fn smaller_overlaps_count_too() {
    let lock = changed(LOCK, &claim("concurrent_rebuilds", "fleet"), |scenario| {
        let target = Target { part: FaultPart::LockService, which: Which::All };
        plan(scenario, "away", FaultAction::Kill(target));
    });
    // Three at once while the lock is away, at the first boundary alone; at the second it may still have been out of reach.
    let run = |second: u64| {
        let mut run = history(&[(0, 0), (1, second)]);
        let rung = &mut run.rungs[0];
        let mut third = rung.ledger[1].clone();
        third.node = "node-2".to_owned();
        rung.ledger[2].start_us = rung.ledger[1].start_us + 10_000;
        rung.ledger.push(third);
        renumber(rung);
        note_fault(&mut run, "away", "lock-service", &[1_000, 1_010, 1_250, 1_260]);
        run
    };
    assert_eq!(verdict(&lock, &run(100)).bound, Some(4), "{:#?}", verdict(&lock, &run(100)));
    let refuted = expect(&lock, &run(50), Invalid, 2);
    assert_eq!((refuted.bound, refuted.witness.unwrap().generation), (Some(1), Some(3)));
}

/// Goal: whatever becomes of leases, the lock allows for no more than single-flight under it: one for each process.
#[test]
fn no_more_than_single_flight() {
    let short = changed(LOCK, FLEET, |scenario| scenario.rungs[0].lock.as_mut().unwrap().expiry_ms = 15);
    let four = [(0, 0), (1, 15), (2, 30), (3, 45)];
    let found = expect(&short, &history(&four), Valid, 4);
    assert_eq!((found.bound, found.bound_text.as_str()), (Some(4), "ceil(D/E) = 7, at most N = 4"));
    expect(&short, &history(&[(0, 0), (1, 15), (2, 30), (3, 45), (0, 60)]), Invalid, 5);
}

/// Goal: over a link that is slow or loses pieces a value is stored all the same; one so bad that nobody can tell shows nothing.
#[test]
fn slow_links_to_the_store() {
    let link = |rule: LinkRule| {
        changed(LOCK, FLEET, |scenario| {
            plan(scenario, "slow", FaultAction::Link { nodes: Which::Some(1), to: Peer::Redis, rule });
            scenario.rungs[0].lock.as_mut().unwrap().renew = true;
        })
    };
    let mut run = herd(&[(0, 0), (1, 20)]);
    note_fault(&mut run, "slow", "node-0", &[1_000, 1_010, 1_300, 1_310]);
    expect(&link(LinkRule::BlackHole), &run, Valid, 2);
    expect(&link(LinkRule::Delay { delay_ms: 50, jitter_ms: 0 }), &run, Invalid, 2);
    expect_unknown(&link(LinkRule::Delay { delay_ms: 500, jitter_ms: 0 }), &run, "may have come too late");
    expect_unknown(&link(LinkRule::Loss { share: 0.5 }), &run, "may have come too late");
    let mut flight = link(LinkRule::Loss { share: 0.5 });
    (flight.rungs[0].layers, flight.rungs[0].lock) = (vec![Layer::SingleFlight], None);
    let mut again = herd(&[(0, 0), (0, 101), (0, 202), (0, 303), (0, 404)]);
    again.faults = run.faults.clone();
    expect_unknown(&flight, &again, "may have come too late");
    // Two faults of one link make it as slow as the slower one: with E = 90 ms a rebuild of 100 and 100 ms outlives two leases.
    let twice = changed(LOCK, FLEET, |scenario| {
        for name in ["slow", "slow-too"] {
            let rule = LinkRule::Delay { delay_ms: 50, jitter_ms: 0 };
            plan(scenario, name, FaultAction::Link { nodes: Which::Some(1), to: Peer::Redis, rule });
        }
        scenario.rungs[0].lock.as_mut().unwrap().expiry_ms = 90;
    });
    note_fault(&mut run, "slow-too", "node-0", &[1_000, 1_010, 1_300, 1_310]);
    assert_eq!(verdict(&twice, &run).bound_text, "ceil(D/E) = 3");
}

/// Goal: where the lock fails closed, who says that it went on without is refuted, even while another could reach it.
#[test]
fn fails_open_where_it_must_not() {
    let closed = changed(LOCK, FLEET, |scenario| {
        let target = Target { part: FaultPart::LockService, which: Which::All };
        plan(scenario, "away", FaultAction::Kill(target));
        scenario.rungs[0].lock.as_mut().unwrap().on_unavailable = OnUnavailable::FailClosed;
    });
    let mut run = herd(&[(0, 0), (1, 30)]);
    note_fault(&mut run, "away", "lock-service", &[1_120, 1_121, 1_400, 1_410]);
    run.rungs[0].ledger[2].reason = Reason::FailOpen;
    let refuted = expect(&closed, &run, Invalid, 2);
    assert_eq!(refuted.bound_text, "0: the lock was away, and it fails closed");
    run.faults.iter_mut().for_each(|fault| fault.at_us += 2_400_000);
    expect_unknown(&closed, &run, "which no fault explains");
}

/// Goal: a token that two flights used is caught, in whatever epoch; a flight's second attempt is the flight's own.
#[test]
fn repeated_tokens() {
    let scenario = changed(LOCK, &claim("repeated_tokens", "fleet"), |_| {});
    let good = history(&[(0, 0)]);
    expect(&scenario, &good, Valid, 0);
    let mut twice = good.clone();
    (twice.rungs[0].ledger[3].token, twice.rungs[0].ledger[3].epoch) = (twice.rungs[0].ledger[1].token, 2);
    let refuted = expect(&scenario, &twice, Invalid, 1);
    assert_eq!(refuted.witness.unwrap().rebuilds_total, 2);
    twice.rungs[0].ledger[3].trace = twice.rungs[0].ledger[1].trace.clone();
    assert_eq!(verdict(&scenario, &twice).observed, Some(0));
    let mut none = good;
    none.rungs[0].ledger.iter_mut().for_each(|row| row.token = 0);
    expect_unknown(&scenario, &none, "no rebuild was made under a lease");
}

/// Goal: what came or went by a confirmed fault was planned; anything else, and a record that is missing, is not.
#[test]
fn members() {
    let moved = |node: &str, at_ms: u64| {
        let mut run = history(&[(0, 0)]);
        note_fault(&mut run, "holder", "node-0", &[1_150, 1_155, 1_700, 1_900]);
        let record = &mut run.rungs[0].record;
        record.membership_changed = Some(true);
        for (left, later_ms) in [(true, 0), (false, 100)] {
            let at_us = START_US + (at_ms + later_ms) * 1_000;
            record.moved.push(herd_history::MembershipRecord { at_us, node: node.to_owned(), left });
        }
        run
    };
    let lock = changed(LOCK, FLEET, node(FaultAction::Kill));
    expect(&lock, &moved("node-0", 1_300), Valid, 1);
    expect_unknown(&lock, &moved("node-1", 1_300), "which no confirmed fault explains");
    expect_unknown(&lock, &moved("node-0", 1_000), "which no confirmed fault explains");
    let mut silent = moved("node-0", 1_300);
    silent.rungs[0].record.nodes_joined_end = None;
    expect_unknown(&lock, &silent, "was not recorded");
    // Errors during the fault are the fault's.
    let mut errors = moved("node-0", 1_300);
    for row in
        errors.rungs[0].operations.iter_mut().filter(|row| row.sent_us > START_US + 1_150_000).take(140)
    {
        row.outcome = Ended::Unavailable;
    }
    assert_eq!(verdict(&lock, &errors).outcome, Valid, "{:#?}", verdict(&lock, &errors));
}

/// Goal: a rebuild without an end is the origin's only where a confirmed fault ended the origin, and the next one is its successor.
#[test]
fn origins_that_ended() {
    let kill = |scenario: &mut Scenario| {
        let target = Target { part: FaultPart::Origin, which: Which::All };
        plan(scenario, "away", FaultAction::Kill(target));
    };
    let mut run = herd(&[(0, 0), (1, 200)]);
    let rung = &mut run.rungs[0];
    (rung.ledger[1].end_us, rung.ledger[1].outcome, rung.ledger[1].end_seq) = (None, None, None);
    for row in rung.ledger.iter_mut().skip(2) {
        (row.rebuild, row.end_seq) = (row.rebuild - 1, row.end_seq.map(|seq| seq - 1));
    }
    rung.record.ledger.last_seq -= 1;
    let lock = changed(LOCK, FLEET, kill);
    let mut unexplained = run.clone();
    note_fault(&mut run, "away", "origin", &[1_150, 1_151, 1_250, 1_290]);
    expect(&lock, &run, Valid, 2);
    note_fault(&mut unexplained, "away", "origin", &[2_150, 2_151, 2_250, 2_290]);
    // It ended after the second had begun, which that does not explain.
    expect(&lock, &unexplained, Invalid, 2);
    unexplained.faults.clear();
    expect(&lock, &unexplained, Invalid, 2);
}

/// Goal: N is the number of nodes that were there: before a scale-out fewer, after it all.
#[test]
fn scaled_out() {
    let scale = changed(crate::made::FLIGHT, FLEET, |scenario| {
        plan(scenario, "more", FaultAction::ScaleOut { from: 2 });
    });
    let run = |starts: &[(usize, u64)]| {
        let mut run = herd(starts);
        note_fault(&mut run, "more", "all", &[2_000, 2_500]);
        let record = &mut run.rungs[0].record;
        (record.nodes_joined, record.nodes_acknowledged) = (2, 2);
        record.membership_changed = Some(true);
        for node in ["node-2", "node-3"] {
            let at_us = START_US + 2_300_000;
            record.moved.push(herd_history::MembershipRecord { at_us, node: node.to_owned(), left: false });
        }
        run
    };
    let found = expect(&scale, &run(&[(0, 0), (1, 10)]), Valid, 2);
    assert_eq!(found.bound, Some(2));
    expect(&scale, &run(&[(0, 0), (1, 10), (2, 20)]), Invalid, 3);
    let mut late = run(&[(0, 0)]);
    for (node, ms) in [(1, 10), (2, 20), (3, 30)] {
        late.rungs[0].ledger.push(row(1, 4, node, 4_400 + ms));
    }
    renumber(&mut late.rungs[0]);
    expect(&scale, &late, Valid, 4);
    late.rungs[0].record.nodes_joined_end = Some(3);
    expect_unknown(&scale, &late, "3 of 4 at the end");
}

/// Goal: while a store evicts, a key that was stored may be filled from nothing again as often as evictions were counted, and no more: a
/// queue of readers that fill it one after the other is refuted, whatever was evicted of others.
#[test]
fn fills_without_an_eviction() {
    let evict = |scenario: &mut Scenario| {
        plan(scenario, "evict", FaultAction::RedisEvict { room_kb: 1 });
        scenario.faults[0].for_ms = 2_600;
    };
    let lock = changed(LOCK, FLEET, evict);
    // Fills one after the other, the first of them at 1,500 ms.
    let filled = |fills: u64, evictions: u64, is_stored: bool| {
        let mut run = history(&[(0, 0)]);
        let rung = &mut run.rungs[0];
        rung.ledger.truncate(2);
        let starts = (0..fills).map(|fill| 1_500 + fill * 110);
        rung.ledger.extend(starts.clone().map(|ms| row(1, 0, 1, ms)));
        renumber(rung);
        // Its readers wait for each fill.
        let filling = |us: u64| rung.ledger.iter().any(|row| row.start_us <= us && row.end_us > Some(us));
        for row in rung.operations.iter_mut().filter(|row| filling(row.sent_us)) {
            row.served = herd_history::Served::Waited;
        }
        // What was filled from nothing is of the first generation again.
        for row in rung.operations.iter_mut().filter(|row| row.generation > 2) {
            row.generation = 1;
        }
        for row in rung.ledger.iter().filter(|row| is_stored && row.generation == 0) {
            let trace = row.trace.clone();
            rung.writes.push(herd_history::StoreWriteRecord {
                at_us: row.end_us.unwrap() + 1_000,
                key: row.key.clone(),
                prefix: "p:".to_owned(),
                generation: 1,
                token: row.token,
                epoch: 1,
                version: 1,
                trace,
                node: row.node.clone(),
                kind: herd_history::StoreWriteKind::Value,
                verdict: herd_history::StoreWriteVerdict::Accepted,
            });
        }
        note_fault(&mut run, "evict", "redis", &[1_300, 1_310, 3_900, 3_910]);
        run.faults.iter_mut().for_each(|fault| fault.hit = evictions);
        run
    };
    expect(&lock, &filled(6, 6, true), Valid, 1);
    let refuted = expect(&lock, &filled(6, 5, true), Invalid, 2);
    assert!(refuted.why.contains("generation 0 of item-1"), "{}", refuted.why);
    expect(&lock, &filled(12, 3, true), Invalid, 4);
    // A value that was never seen to be stored need not have been evicted.
    expect(&lock, &filled(6, 1, false), Valid, 1);
}
