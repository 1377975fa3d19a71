//! How old an answer may be, who waits for a fresh one, and how long.

use herd_history::{History, Outcome as Ended, Served, StoreWriteKind};
use herd_judge::Outcome::{Invalid, Valid};
use herd_scenario::{Gate, Layer, OnWaitTimeout, Scenario, Shed, Stale, Waiter};

use crate::made::{
    FLIGHT, LOCK, PERIOD_MS, START_US, changed, claim, expect, expect_unknown, history, scenario,
    stale_history, with_writes,
};

/// Half a second of grace for every item.
fn serve_stale(scenario: &mut Scenario) {
    scenario.rungs[0].layers.push(Layer::StaleWhileRevalidate);
    scenario.rungs[0].stale = Some(Stale { grace_ms: 500, safe_keys: vec!["item-*".to_owned()] });
}

fn last_hit(history: &mut History) -> &mut herd_history::OperationRecord {
    // The last request before generation 2 expires, 995 ms after its rebuild's end.
    history.rungs[0]
        .operations
        .iter_mut()
        .rfind(|row| row.generation == 2 && row.served == Served::Hit)
        .unwrap()
}

/// Goal: a fresh value is at most T old, by the node's word and by the ledger, at the bound and one beyond it.
#[test]
fn fresh_answers_live_for_the_ttl() {
    let scenario = scenario(LOCK, &claim("stale_beyond_bound", "fleet"));
    let good = with_writes(history(&[(0, 0)]));
    expect(&scenario, &good, Valid, 0);
    for (age_ms, outcome, observed) in [(1_020, Valid, 0), (1_021, Invalid, 1)] {
        let mut told = good.clone();
        last_hit(&mut told).age_ms = age_ms;
        expect(&scenario, &told, outcome, observed);
    }
    // Written at 1,200 ms; T, and 5 ms between two clocks.
    for (sent_us, outcome, observed) in [(2_205_000, Valid, 0), (2_205_001, Invalid, 1)] {
        let mut late = good.clone();
        let row = last_hit(&mut late);
        (row.sent_us, row.done_us) = (START_US + sent_us, START_US + sent_us);
        let found = expect(&scenario, &late, outcome, observed);
        assert_eq!(found.witness.map_or(0, |witness| witness.operations_total), observed);
        // Without the store's record the write may have come later.
        late.rungs[0].writes.clear();
        expect(&scenario, &late, Valid, 0);
        last_hit(&mut late).sent_us += 244_000 + observed * 1_000;
        expect(&scenario, &late, outcome, observed);
    }
    // Without a fence a value may be written twice: it lives from the later one on.
    let mut twice = good.clone();
    let mut again = twice.rungs[0].writes.iter().find(|write| write.generation == 2).unwrap().clone();
    again.at_us += 100_000;
    twice.rungs[0].writes.push(again);
    for (sent_us, outcome, observed) in [(2_305_000, Valid, 0), (2_305_001, Invalid, 1)] {
        let row = last_hit(&mut twice);
        (row.sent_us, row.done_us) = (START_US + sent_us, START_US + sent_us);
        expect(&scenario, &twice, outcome, observed);
    }
    let mut silent = good;
    silent.rungs[0].operations.iter_mut().for_each(|row| row.generation = 0);
    expect_unknown(&scenario, &silent, "no answer carries a generation");
}

/// Goal: jitter lengthens the longest life, and no more than that.
#[test]
fn jitter_lengthens_the_bound() {
    let jitter = changed(LOCK, &claim("stale_beyond_bound", "fleet"), |scenario| {
        scenario.rungs[0].layers.push(Layer::Jitter);
        scenario.rungs[0].jitter = Some(0.1);
    });
    for (age_ms, outcome, observed) in [(1_120, Valid, 0), (1_121, Invalid, 1)] {
        let mut told = with_writes(history(&[(0, 0)]));
        last_hit(&mut told).age_ms = age_ms;
        expect(&jitter, &told, outcome, observed);
    }
}

/// Goal: a stale answer has the grace beside the TTL, and only where the rung says that its key is safe.
#[test]
fn stale_answers_live_for_the_grace() {
    let property = claim("stale_beyond_bound", "fleet");
    let with_grace = changed(LOCK, &property, serve_stale);
    let good = with_writes(stale_history(&[(0, 0)]));
    expect(&with_grace, &good, Valid, 0);
    let stale = good.rungs[0].operations.iter().filter(|row| row.served == Served::Stale).count() as u64;
    assert_eq!(stale, 80);
    for (age_ms, outcome, observed) in [(1_520, Valid, 0), (1_521, Invalid, 1)] {
        let mut old = good.clone();
        old.rungs[0].operations.iter_mut().find(|row| row.served == Served::Stale).unwrap().age_ms = age_ms;
        expect(&with_grace, &old, outcome, observed);
    }
    let unsafe_key = changed(LOCK, &property, |scenario| {
        serve_stale(scenario);
        scenario.rungs[0].stale.as_mut().unwrap().safe_keys = vec!["item-2".to_owned()];
    });
    let refuted = expect(&unsafe_key, &good, Invalid, stale);
    assert!(refuted.why.contains("unsafe key"), "{}", refuted.why);
    expect(&scenario(LOCK, &property), &good, Invalid, stale);
}

/// Goal: with stale values served while they are refreshed nobody waits who could have been served; who could not does not count.
#[test]
fn readers_waited() {
    let property = claim("readers_waited", "wait");
    let swr = changed(LOCK, &property, serve_stale);
    let good = with_writes(stale_history(&[(0, 0)]));
    let found = expect(&swr, &good, Valid, 0);
    // The cold start's readers found nothing.
    assert!(found.why.contains("and 20 others"), "{}", found.why);

    let mut waited = good.clone();
    let row = waited.rungs[0].operations.iter_mut().find(|row| row.served == Served::Stale).unwrap();
    (row.served, row.generation) = (Served::WaitedFleet, row.generation + 1);
    let refuted = expect(&swr, &waited, Invalid, 1);
    assert_eq!(refuted.witness.unwrap().operations_total, 1);
    // A node that calls such an answer stale has not changed what it is: the value was made a moment before.
    let mut renamed = waited.clone();
    let row = renamed.rungs[0].operations.iter_mut().find(|row| row.served == Served::WaitedFleet);
    row.expect("the one above").served = Served::Stale;
    expect(&swr, &renamed, Invalid, 1);
    // The same read does not count if its key is not safe, or if the value had been deleted.
    let unsafe_key = changed(LOCK, &property, |scenario| {
        serve_stale(scenario);
        scenario.rungs[0].stale.as_mut().unwrap().safe_keys = vec!["item-2".to_owned()];
    });
    expect_unknown(&unsafe_key, &waited, "no read counts");
    let mut deleted = waited.clone();
    let mut deletion = deleted.rungs[0].writes[0].clone();
    (deletion.kind, deletion.at_us) = (StoreWriteKind::Deletion, START_US + 500_000);
    deleted.rungs[0].writes.push(deletion);
    expect(&swr, &deleted, Valid, 0);
    // Nor if the grace was over: 1,100 ms after 100 ms, with 100 ms for the first look.
    let impatient = |grace_ms: u32| {
        changed(LOCK, &property, |scenario| {
            serve_stale(scenario);
            scenario.rungs[0].stale.as_mut().unwrap().grace_ms = grace_ms;
        })
    };
    assert_eq!(crate::made::verdict(&impatient(104), &waited).observed, Some(0));
    assert_eq!(crate::made::verdict(&impatient(105), &waited).observed, Some(1));

    // With jitter the shortest TTL counts: 600 ms and 500 ms of grace end 5 ms too early, 610 ms do not.
    let jittered = |jitter: f64| {
        changed(LOCK, &property, |scenario| {
            serve_stale(scenario);
            scenario.rungs[0].jitter = Some(jitter);
        })
    };
    assert_eq!(crate::made::verdict(&jittered(0.4), &waited).observed, Some(0));
    assert_eq!(crate::made::verdict(&jittered(0.39), &waited).observed, Some(1));

    // Nor if the value may just have been written, at 100 ms and 5 ms between two clocks.
    for (sent_us, outcome, observed) in [(105_000, Invalid, 1), (104_999, Valid, 0)] {
        let mut early = good.clone();
        let row = early.rungs[0].operations.iter_mut().find(|row| row.served == Served::Hit).unwrap();
        (row.sent_us, row.served) = (START_US + sent_us, Served::Waited);
        expect(&swr, &early, outcome, observed);
    }

    let mut never = good;
    never.rungs[0].operations.retain(|row| row.served != Served::Stale);
    crate::made::recount(&mut never.rungs[0]);
    expect_unknown(&swr, &never, "no value was read after its expiry");
    expect_unknown(
        &scenario(LOCK, &property),
        &history(&[(0, 0)]),
        "no layer of the rung keeps readers from waiting",
    );
    // A number counts every read of an existing row.
    let number = |at_most: u64| scenario(LOCK, &format!("{property}\nat_most = {at_most}"));
    expect(&number(100), &history(&[(0, 0)]), Valid, 100);
    expect(&number(99), &history(&[(0, 0)]), Invalid, 100);
}

/// Goal: what is said to be stale and took as long as a rebuild waited for it, unless answers that waited for nothing were as slow.
#[test]
fn slow_answers_are_waits_only_where_others_are_quick() {
    let swr = changed(LOCK, &claim("readers_waited", "wait"), serve_stale);
    let slow = |waits: usize, others: usize| {
        let mut run = with_writes(stale_history(&[(0, 0)]));
        let rows = &mut run.rungs[0].operations;
        // The first to come after the expiry: the rebuild ends more than D/2 later.
        let stale = rows.iter_mut().filter(|row| row.served == Served::Stale);
        stale.take(waits).for_each(|row| row.done_us = START_US + 1_200_500);
        // Long before the next expiry.
        let hits = rows.iter_mut().filter(|row| row.sent_us > START_US + 1_400_000);
        hits.take(others).for_each(|row| row.done_us = row.sent_us + 80_000);
        run
    };
    expect(&swr, &slow(5, 0), Invalid, 5);
    // Of some 60 that came through a rebuild 5 are slow; of the others, more than ten times as many, 2 are much rarer and 40 are not.
    expect(&swr, &slow(5, 2), Invalid, 5);
    expect_unknown(&swr, &slow(5, 40), "40 took longer than half of D as well");
    expect(&swr, &slow(0, 40), Valid, 0);
    // What a node says itself needs no clock.
    let mut said = slow(5, 40);
    let row = said.rungs[0].operations.iter_mut().find(|row| row.served == Served::Stale).unwrap();
    (row.served, row.generation) = (Served::WaitedFleet, row.generation + 1);
    expect(&swr, &said, Invalid, 5);

    let longest = changed(LOCK, "property = \"longest_wait_ms\"\nat_most = 90", serve_stale);
    let without_cold_start = |mut run: herd_history::History| {
        run.rungs[0].operations.iter_mut().filter(|row| row.served == Served::Waited).for_each(|row| {
            (row.served, row.done_us) = (Served::Hit, row.sent_us + 500);
        });
        run
    };
    expect(&longest, &without_cold_start(slow(5, 2)), Invalid, 101);
    expect_unknown(&longest, &without_cold_start(slow(5, 40)), "no rebuild can have held up");
}

/// Goal: a wait ends with the rebuild, the lock's wait or the reader's own patience, and with the deadline in any case.
#[test]
fn longest_wait() {
    let property = claim("longest_wait_ms", "wait");
    let with = |wait_ms: u64| {
        let mut run = history(&[(0, 0)]);
        let row = run.rungs[0].operations.iter_mut().find(|row| row.served == Served::Waited).unwrap();
        row.done_us = row.sent_us + wait_ms * 1_000;
        run
    };
    // D = 100 ms, and 100 ms of slack.
    let flight = scenario(FLIGHT, &property);
    expect(&flight, &with(200), Valid, 200);
    let refuted = expect(&flight, &with(201), Invalid, 201);
    assert!(refuted.witness.unwrap().operations[0].what.contains("after 201 ms"));
    // Where a plain hit takes longer than the slack, the machine may have added as much to the wait, and no more.
    let on_a_slow_machine = |wait_ms: u64, hit_ms: u64| {
        let mut run = with(wait_ms);
        // Half a life after the rebuild.
        let is_beside = |row: &&mut herd_history::OperationRecord| {
            row.served == Served::Hit && (row.sent_us - START_US) / 1_000 % PERIOD_MS >= PERIOD_MS / 2
        };
        let hit = run.rungs[0].operations.iter_mut().find(is_beside).unwrap();
        hit.done_us = hit.sent_us + hit_ms * 1_000;
        run
    };
    expect(&flight, &on_a_slow_machine(201, 100), Invalid, 201);
    expect_unknown(&flight, &on_a_slow_machine(301, 101), "the machine is slow");
    expect(&flight, &on_a_slow_machine(302, 101), Invalid, 302);
    let waits = format!("{LOCK}\nwait_ms = 300");
    expect(&scenario(&waits, &property), &with(500), Valid, 500);
    expect(&scenario(&waits, &property), &with(501), Invalid, 501);
    // A wait begins when its request is sent: that the generator sent it late makes no room for a longer one.
    let mut lagged = with(501);
    lagged.rungs[0].record.load.lag_p99_us = 25_000;
    expect(&scenario(&waits, &property), &lagged, Invalid, 501);
    let patient = |then: OnWaitTimeout| {
        changed(&waits, &property, |scenario| {
            scenario.rungs[0].layers.push(Layer::WaiterTimeout);
            scenario.rungs[0].waiter = Some(Waiter { wait_ms: 50, then });
        })
    };
    expect(&patient(OnWaitTimeout::Stale), &with(150), Valid, 150);
    expect(&patient(OnWaitTimeout::Error), &with(151), Invalid, 151);
    expect(&patient(OnWaitTimeout::Origin), &with(500), Valid, 500);
    expect(&patient(OnWaitTimeout::Origin), &with(501), Invalid, 501);
    let queued = changed(FLIGHT, &property, |scenario| {
        let gate = Gate { in_flight_max: 1, queue_max: 1, queue_wait_ms: 50, retry_after_ms: 1 };
        scenario.rungs[0].shed = Some(Shed { edge: Some(gate), origin: None });
    });
    expect(&queued, &with(250), Valid, 250);
    expect(&queued, &with(251), Invalid, 251);
    let hurried = changed(&waits, &property, |scenario| scenario.workload.request_deadline_ms = 150);
    expect(&hurried, &with(250), Valid, 250);
    expect(&hurried, &with(251), Invalid, 251);
    let mut failed = with(202);
    let row = failed.rungs[0].operations.iter_mut().find(|row| row.served == Served::Waited).unwrap();
    (row.outcome, row.served) = (Ended::DeadlineExceeded, Served::Unknown);
    expect(&flight, &failed, Invalid, 202);

    // A request that was sent again, or refused, did not wait for one rebuild.
    for spoil in [
        |row: &mut herd_history::OperationRecord| row.attempts = 2,
        |row: &mut herd_history::OperationRecord| row.outcome = Ended::ResourceExhausted,
    ] {
        let mut again = with(400);
        spoil(again.rungs[0].operations.iter_mut().find(|row| row.served == Served::Waited).unwrap());
        assert_eq!(crate::made::verdict(&flight, &again).observed, Some(101));
    }
    let mut nobody = history(&[(0, 0)]);
    for row in &mut nobody.rungs[0].operations {
        (row.served, row.done_us) = (Served::Hit, row.sent_us + 500);
    }
    expect_unknown(&flight, &nobody, "nobody waited");
    // Who says hit after more than half of D, given what a rebuild made meanwhile, waited whatever it says.
    let mut said = history(&[(0, 0)]);
    said.rungs[0].operations.iter_mut().for_each(|row| row.served = Served::Hit);
    assert_eq!(crate::made::verdict(&flight, &said).observed, Some(101));
}
