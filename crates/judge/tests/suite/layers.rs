//! The bound of each layer and of layers on top of each other, at the bound and one above; and the known-bad ways around them.

use herd_history::{History, MembershipRecord, Reason, Served};
use herd_judge::Outcome::{Invalid, Unknown, Valid};
use herd_judge::judge;
use herd_scenario::{
    FaultAction, FaultPart, FlightUntil, Gate, Layer, Local, MembershipChange, OnOriginError, OnUnavailable,
    Routing, Scenario, Shed, Stale, Target, Which,
};

use crate::made::{
    FLIGHT, LOCK, LOCK_ALONE, NONE, ONE_EACH, START_US, Start, changed, claim, crowd, expect, expect_unknown,
    history, note_fault, plan, renumber, row, scenario, stale_history, verdict,
};

pub(crate) const FLEET: &str = "property = \"rebuilds_per_boundary\"";
pub(crate) const PROCESS: &str = "property = \"rebuilds_per_boundary\"\nscope = \"process\"";
const AT_ONCE: &str = "property = \"concurrent_rebuilds\"";

pub(crate) fn with(rung: &str, claim: &str, layer: Layer) -> Scenario {
    changed(rung, claim, |scenario| {
        scenario.rungs[0].layers.push(layer);
        match layer {
            Layer::StaleWhileRevalidate | Layer::StaleIfError => {
                scenario.rungs[0].stale = Some(Stale { grace_ms: 500, safe_keys: vec!["*".to_owned()] });
            }
            Layer::Early => scenario.rungs[0].early_beta = Some(1.0),
            Layer::Jitter => scenario.rungs[0].jitter = Some(0.05),
            Layer::Negative => scenario.rungs[0].negative_ttl_ms = Some(1_000),
            Layer::Shed => {
                let gate = Gate { in_flight_max: 9, queue_max: 0, queue_wait_ms: 0, retry_after_ms: 1 };
                scenario.rungs[0].shed = Some(Shed { edge: None, origin: Some(gate) });
            }
            Layer::Local => {
                let local = Local { ttl_ms: 100, entries_max: 10, incoherent: false };
                scenario.rungs[0].local = Some(local);
            }
            _ => {}
        }
    })
}

const TWO: &[Start] = &[(0, 0), (1, 20)];
const FIVE: &[Start] = &[(0, 0), (1, 5), (2, 10), (3, 15), (0, 90)];

/// The same run with the mark that the layer leaves where it works.
fn used(layer: Layer, mut run: herd_history::History) -> herd_history::History {
    if layer == Layer::Local {
        let hit = run.rungs[0].operations.iter_mut().find(|row| row.served == Served::Hit);
        hit.expect("some reads hit").served = Served::HitLocal;
    }
    run
}

/// Goal: a bound that holds while its layer did nothing is not confirmed: the rung does not show the layer.
#[test]
fn a_layer_that_did_nothing_confirms_nothing() {
    let one = history(&[(0, 0)]);
    expect_unknown(&with(LOCK, FLEET, Layer::Local), &one, "0 answers came from the process's own tier");
    expect_unknown(&with(LOCK, FLEET, Layer::Early), &one, "0 rebuilds were early");
}

/// Goal: a layer that does not coalesce changes nothing in the bound of those that do.
#[test]
fn layers_that_do_not_coalesce() {
    let layers =
        [Layer::StaleIfError, Layer::Jitter, Layer::Negative, Layer::Shed, Layer::KeyFilter, Layer::Local];
    for layer in layers {
        let history = |herd: &[Start]| used(layer, history(herd));
        expect(&with(LOCK, FLEET, layer), &history(&[(0, 0)]), Valid, 1);
        expect(&with(LOCK, FLEET, layer), &history(TWO), Invalid, 2);
        expect(&with(FLIGHT, FLEET, layer), &history(ONE_EACH), Valid, 4);
        expect(&with(FLIGHT, FLEET, layer), &history(FIVE), Invalid, 5);
        expect(&with(FLIGHT, PROCESS, layer), &history(ONE_EACH), Valid, 1);
        expect(&with(NONE, FLEET, layer), &history(&crowd()), Valid, 20);
    }
}

/// Goal: refreshes of stale values are bounded as rebuilds are: one for the fleet, one per process, one a reader; nobody waits, and
/// those who were served stale are the crowd.
#[test]
fn stale_while_revalidate() {
    let layer = Layer::StaleWhileRevalidate;
    expect(&with(LOCK, FLEET, layer), &stale_history(&[(0, 0)]), Valid, 1);
    expect(&with(LOCK, FLEET, layer), &stale_history(TWO), Invalid, 2);
    expect(&with(FLIGHT, FLEET, layer), &stale_history(ONE_EACH), Valid, 4);
    expect(&with(FLIGHT, FLEET, layer), &stale_history(FIVE), Invalid, 5);
    expect(&with(FLIGHT, PROCESS, layer), &stale_history(FIVE), Invalid, 2);
    expect(&with(NONE, FLEET, layer), &stale_history(&crowd()), Valid, 20);
    let more: Vec<Start> = crowd().into_iter().chain([(0, 95)]).collect();
    expect(&with(NONE, FLEET, layer), &stale_history(&more), Invalid, 21);
    // Without those who got a stale value nobody was there.
    let mut alone = stale_history(&[(0, 0)]);
    for row in alone.rungs[0].operations.iter_mut().filter(|row| row.served == Served::Stale) {
        row.served = Served::Hit;
    }
    expect_unknown(&with(LOCK, FLEET, layer), &alone, "got a stale value");
    assert_eq!(judge(&with(LOCK, FLEET, layer), &stale_history(&[(0, 0)])).rungs[0].stale_served, 80);
}

/// Goal: a refresh, an early rebuild or a fill under the lock holds a lease; one without is a way around it.
#[test]
fn every_reason_needs_a_lease_under_the_lock() {
    for reason in [Reason::Refresh, Reason::Early, Reason::Warm, Reason::Retry] {
        let mut run = history(&[(0, 0)]);
        run.rungs[0].ledger.iter_mut().for_each(|row| row.reason = reason);
        expect(&scenario(LOCK, FLEET), &run, Valid, 1);
        run.rungs[0].ledger[2].token = 0;
        expect_unknown(&scenario(LOCK, FLEET), &run, &format!("{} without a token", reason.name()));
    }
}

/// Goal: early recomputation without coalescing is geometric around e^(1/beta), and a slow origin breaks its premise.
#[test]
fn early_recomputation() {
    let early = with(NONE, FLEET, Layer::Early);
    let lives = |each: u64, slow_ms: u64| {
        let mut run = history(&(0..each).map(|n| ((n % 4) as usize, n)).collect::<Vec<Start>>());
        let rung = &mut run.rungs[0];
        // Twice as many reads as rebuilds can need.
        rung.operations.iter_mut().for_each(|row| (row.served, row.attempts) = (Served::Hit, 3));
        rung.ledger.iter_mut().for_each(|row| row.reason = Reason::Early);
        rung.ledger.iter_mut().for_each(|row| row.end_us = row.end_us.map(|us| us + slow_ms * 1_000));
        run
    };
    // (1 - 1/e)^19 is below 0.001 / 4, and nobody missed.
    let good = expect(&early, &lives(19, 0), Valid, 19);
    assert_eq!(good.bound, Some(19), "{good:#?}");
    expect(&early, &lives(20, 0), Invalid, 20);
    // Half as long again as usual: e^1.5 = 4.48, of which (1 - 1/4.48)^33 is below 0.001 / 4. Longer breaks the premise.
    expect(&early, &lives(33, 50), Valid, 33);
    expect(&early, &lives(34, 50), Invalid, 34);
    expect_unknown(&early, &lives(60, 51), "early recomputation knows only the last one");
    // However slow it is, what is counted must be more than an origin that was not slow explains; and it sets no bound of its own.
    assert_eq!(verdict(&early, &lives(20, 900)).bound, Some(19));
    // e^(1/beta) may be any number: a rebuild needs a read all the same. Reads come every 5 ms, from 105 ms before to 5 ms after.
    let mut tiny = early.clone();
    tiny.rungs[0].early_beta = Some(0.1);
    let mut few = lives(40, 0);
    few.rungs[0].operations.iter_mut().for_each(|row| row.attempts = 1);
    let refuted = expect(&tiny, &few, Invalid, 40);
    assert!(refuted.bound.unwrap() < 35, "{refuted:#?}");
    assert!(refuted.bound_text.contains("reads then"), "{refuted:#?}");
    // Who missed may rebuild, too.
    let mut missed = lives(20, 0);
    let at_boundary = |row: &&mut herd_history::OperationRecord| row.sent_us == START_US + 1_110_000;
    missed.rungs[0].operations.iter_mut().find(at_boundary).unwrap().served = Served::Uncoordinated;
    let worst = verdict(&early, &missed);
    assert_eq!((worst.outcome, worst.bound), (Invalid, Some(19)), "the other boundaries had no such reader");
    expect(&with(FLIGHT, FLEET, Layer::Early), &lives(4, 0), Valid, 4);
    expect(&with(LOCK, FLEET, Layer::Early), &lives(2, 0), Invalid, 2);
}

fn planned(scenario: &mut Scenario) {
    scenario.rungs[0].layers.push(Layer::OwnerRouting);
    scenario.rungs[0].membership =
        vec![MembershipChange { at_ms: 1_150, for_ms: 0, owner_of: "item-1".to_owned() }];
}

fn left(run: &mut History, at_ms: u64) {
    let at_us = START_US + at_ms * 1_000;
    let left = MembershipRecord { at_us, node: "node-0".to_owned(), left: true };
    run.rungs[0].record.membership.push(left);
}

/// Goal: one rebuild without any lock while the membership stands still, one more for each change during the herd, and only then.
#[test]
fn owner_routing() {
    let stable = changed(FLIGHT, FLEET, |scenario| scenario.rungs[0].layers.push(Layer::OwnerRouting));
    expect(&stable, &history(&[(0, 0)]), Valid, 1);
    expect(&stable, &history(TWO), Invalid, 2);
    let by_fleet = changed(FLIGHT, FLEET, |scenario| scenario.fleet.routing = Routing::Owner);
    expect(&by_fleet, &history(TWO), Invalid, 2);

    // One herd of two, the others of one.
    let moved = |at_ms: u64, herd: &[Start]| {
        let mut run = history(&[(0, 0)]);
        let more: Vec<_> = herd.iter().map(|(node, ms)| crate::made::row(1, 1, *node, 1_100 + ms)).collect();
        run.rungs[0].ledger.splice(1..2, more);
        crate::made::renumber(&mut run.rungs[0]);
        left(&mut run, at_ms);
        run
    };
    let change = changed(FLIGHT, FLEET, planned);
    let found = expect(&change, &moved(1_150, TWO), Valid, 2);
    assert!(found.bound_text.contains("1 + 1 changes"), "{}", found.bound_text);
    expect(&change, &moved(1_150, &[(0, 0), (1, 20), (2, 30)]), Invalid, 3);
    // Half a second before the herd edges may still route by the old membership; after its end nothing splits it.
    expect(&change, &moved(600, TWO), Valid, 2);
    expect(&change, &moved(599, TWO), Invalid, 2);
    expect(&change, &moved(1_220, TWO), Valid, 2);
    expect(&change, &moved(1_221, TWO), Invalid, 2);
    expect_unknown(&change, &history(&[(0, 0)]), "0 of 1 planned departures");
    // Whoever else came or went was not planned.
    let mut crashed = moved(1_150, TWO);
    crashed.rungs[0].record.membership_changed = Some(true);
    expect_unknown(&change, &crashed, "the membership changed during the rung");
    let mut gone = moved(1_150, TWO);
    gone.rungs[0].record.nodes_joined_end = Some(3);
    expect(&change, &gone, Valid, 2);
    gone.rungs[0].record.nodes_joined_end = Some(2);
    expect_unknown(&change, &gone, "the membership changed during the rung");
}

/// Goal: fail-open allows one per process only where a confirmed fault took the lock away; a node's word for it proves nothing.
#[test]
fn fail_open() {
    let mut run = history(ONE_EACH);
    for row in &mut run.rungs[0].ledger {
        row.reason = Reason::FailOpen;
    }
    expect_unknown(&scenario(LOCK, FLEET), &run, "which no fault explains");
    let away = |scenario: &mut Scenario| {
        let target = Target { part: FaultPart::LockService, which: Which::All };
        plan(scenario, "away", FaultAction::Stop(target));
        scenario.faults[0].for_ms = 3_700;
    };
    let open = changed(LOCK, FLEET, away);
    let steps = [1_000, 1_010, 4_700, 4_800];
    note_fault(&mut run, "away", "lock-service", &steps);
    run.faults.iter_mut().for_each(|fault| fault.rung = "other".to_owned());
    assert_eq!(verdict(&open, &run).bound, Some(1));
    note_fault(&mut run, "away", "lock-service", &steps);
    let found = expect(&open, &run, Valid, 4);
    assert_eq!(found.bound_text, "N = 4: the lock was away, and it fails open");
    // It was back a second before the last herd.
    for (back_ms, bound) in [(3_400, 4), (3_399, 1)] {
        let mut short = run.clone();
        short.faults.retain(|fault| fault.rung == "rung");
        short.rungs[0].ledger.retain(|row| row.generation == 0 || row.generation == 4);
        short.faults[2].at_us = START_US + (back_ms - 10) * 1_000;
        short.faults[3].at_us = START_US + back_ms * 1_000;
        assert_eq!(verdict(&open, &short).bound, Some(bound));
    }
    // Nobody may begin where it fails closed.
    let closed = changed(LOCK, FLEET, |scenario| {
        away(scenario);
        scenario.rungs[0].lock.as_mut().unwrap().on_unavailable = OnUnavailable::FailClosed;
    });
    let refuted = verdict(&closed, &run);
    assert_eq!((refuted.outcome, refuted.bound), (Invalid, Some(0)), "{refuted:#?}");
    // Who does not claim that it was away is held to the lock.
    expect(&scenario(LOCK, FLEET), &history(ONE_EACH), Invalid, 4);
}

/// Goal: the lock bounds the fleet with single-flight under it or without; only where it is away does it matter what is under it.
#[test]
fn a_lock_alone() {
    for claim in [FLEET, AT_ONCE] {
        expect(&scenario(LOCK_ALONE, claim), &history(&[(0, 0)]), Valid, 1);
        expect(&scenario(LOCK_ALONE, claim), &history(TWO), Invalid, 2);
    }
    expect(&scenario(LOCK_ALONE, PROCESS), &history(&[(0, 0), (0, 20)]), Invalid, 2);
    let away = |scenario: &mut Scenario| {
        let target = Target { part: FaultPart::LockService, which: Which::All };
        plan(scenario, "away", FaultAction::Stop(target));
        scenario.faults[0].for_ms = 3_700;
    };
    let mut run = history(&crowd());
    note_fault(&mut run, "away", "lock-service", &[1_000, 1_010, 4_700, 4_800]);
    let found = expect(&changed(LOCK_ALONE, FLEET, away), &run, Valid, 20);
    assert_eq!(found.bound_text, "about r*D = 20 (readers then: 20): the lock was away, and it fails open");
    let refuted = expect(&changed(LOCK, FLEET, away), &run, Invalid, 20);
    assert_eq!(refuted.bound, Some(4));
}

/// Goal: a known-bad way of doing a layer's work is held to what the layer promises.
#[test]
fn known_bad_strategies_get_no_allowance() {
    let bad: [fn(&mut Scenario); 6] = [
        |scenario| scenario.rungs[0].flight_until = FlightUntil::Fetched,
        |scenario| scenario.rungs[0].on_origin_error = OnOriginError::SerialRetry,
        |scenario| scenario.rungs[0].flight_second_look = false,
        |scenario| scenario.rungs[0].lock.as_mut().unwrap().second_look = false,
        |scenario| scenario.rungs[0].lock.as_mut().unwrap().volatile_tokens = true,
        |scenario| scenario.rungs[0].lock.as_mut().unwrap().unconditional_release = true,
    ];
    for spoil in bad {
        expect(&changed(LOCK, FLEET, spoil), &history(TWO), Invalid, 2);
        expect(&changed(LOCK, AT_ONCE, spoil), &history(TWO), Invalid, 2);
    }
    expect(&changed(FLIGHT, PROCESS, bad[0]), &history(FIVE), Invalid, 2);
}

/// Goal: with jitter the shortest life is what tells herds apart, and early recomputation is checked by the order of things.
#[test]
fn counting_under_jitter_and_early_recomputation() {
    let mut run = history(&[(0, 0)]);
    for (index, row) in run.rungs[0].ledger.iter_mut().enumerate() {
        let shift_us = index as u64 * 600_000;
        (row.start_us, row.end_us) = (row.start_us - shift_us, row.end_us.map(|us| us - shift_us));
    }
    let named = |scenario: &Scenario, run: &History| {
        let judgement = judge(scenario, run);
        let found = judgement.rungs[0].assumptions.iter().find(|a| a.name == "counting agrees").unwrap();
        (found.holds, found.why.clone())
    };
    // Lives of 400 ms: too short for a TTL of a second, long enough with a jitter of 0.6.
    assert!(!named(&scenario(LOCK, FLEET), &run).0);
    let jitter = changed(LOCK, FLEET, |scenario| scenario.rungs[0].jitter = Some(0.6));
    assert!(named(&jitter, &run).0, "{}", named(&jitter, &run).1);
    let early = with(LOCK, FLEET, Layer::Early);
    assert!(named(&early, &run).0, "{}", named(&early, &run).1);
    // Nobody sees a generation before it was made.
    run.rungs[0].ledger[2].start_us = run.rungs[0].ledger[1].end_us.unwrap() - 5_001;
    let (holds, why) = named(&early, &run);
    assert!(!holds && why.contains("which no rebuild had made yet"), "{why}");
    run.rungs[0].ledger[2].start_us += 1;
    assert!(named(&early, &run).0);
}

/// Goal: a herd cannot be hidden among cold fills: who names no generation long after one was made contradicts the ledger, whatever
/// way of counting the rung has, but for what a loss of the store explains.
#[test]
fn cold_fills_come_first() {
    let hidden = |at_ms: u64| {
        let mut run = history(&[(0, 0)]);
        let rung = &mut run.rungs[0];
        rung.ledger.push(row(1, 0, 1, at_ms));
        renumber(rung);
        run
    };
    let early = with(LOCK, FLEET, Layer::Early);
    for at_ms in [2_250, 3_400] {
        expect_unknown(&early, &hidden(at_ms), "names no generation of item-1");
    }
    // The first value was made at 100 ms: who had looked before may start a little later.
    let named = |at_ms: u64| {
        let judgement = judge(&early, &hidden(at_ms));
        judgement.rungs[0].assumptions.iter().find(|a| a.name == "counting agrees").unwrap().holds
    };
    assert!(named(350) && !named(351));
    // Where the TTL is too short for time to tell, clients confirm the generations, and none of a hidden herd.
    let short = changed(LOCK, FLEET, |scenario| scenario.policy.ttl_ms = 190);
    expect_unknown(&short, &hidden(3_400), "names no generation of item-1");
    // A store that lost the value explains it.
    let mut lost = hidden(2_500);
    let flushed = changed(LOCK, FLEET, |scenario| {
        scenario.rungs[0].layers.push(Layer::Early);
        plan(scenario, "flush", herd_scenario::FaultAction::RedisFlush);
    });
    note_fault(&mut lost, "flush", "redis", &[2_400, 2_401, 2_401, 2_402]);
    let judgement = judge(&flushed, &lost);
    let found = judgement.rungs[0].assumptions.iter().find(|a| a.name == "counting agrees").unwrap();
    assert!(!found.why.contains("names no generation"), "{}", found.why);
}

/// Goal: without a wanted number of boundaries none is needed, and nothing is confirmed of what was not seen.
#[test]
fn no_boundaries_wanted() {
    let none = changed(LOCK, FLEET, |scenario| scenario.workload.boundaries = 0);
    let found = verdict(&none, &history(&[]));
    assert_eq!((found.outcome, found.observed), (Unknown, None));
    let answered = changed(LOCK, &claim("every_request_answered", "fleet"), |scenario| {
        scenario.workload.boundaries = 0;
    });
    let mut one_life = history(&[]);
    one_life.rungs[0].operations.iter_mut().for_each(|row| row.generation = 1);
    expect(&answered, &one_life, Valid, 0);
}
