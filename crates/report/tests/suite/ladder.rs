//! A handmade run of every layer, as large as the ladder gets, with all that can happen to a rung. The judge's own words are made up.

use herd_history::{
    DeployRecord, FaultPhase, FaultRecord, History, MembershipRecord, RungHistory, StartRecord,
};
use herd_judge::{Judgement, Outcome, RungFigures, Verdict};

use crate::made::{self, START_US};

/// Name, further layers over single-flight, herd, and the verdict of what the layer bounds: claim, scope, bound, seen.
type Made = (&'static str, &'static [&'static str], u64, [&'static str; 3], u64);

const FLIGHT: &str = "single-flight";
const FLEET: [&str; 2] = ["rebuilds_per_boundary", "fleet"];

#[rustfmt::skip]
const RUNGS: [Made; 17] = [
    ("none", &[], 450, [FLEET[0], FLEET[1], "about r*D = 450 (readers then: 462)"], 450),
    ("single-flight", &[FLIGHT], 50, [FLEET[0], FLEET[1], "N = 50"], 50),
    ("lock", &[FLIGHT, "lock"], 1, [FLEET[0], FLEET[1], "1 for the fleet"], 1),
    ("lock-expires", &[FLIGHT, "lock"], 3, [FLEET[0], FLEET[1], "ceil(D/E) = 3"], 3),
    ("waiter-timeout", &[FLIGHT, "lock", "waiter-timeout"], 1, ["longest_wait_ms", "wait", "W = 200 ms"], 187),
    ("stale-per-process", &[FLIGHT, "stale-while-revalidate"], 50, ["readers_waited", "wait", "0"], 0),
    ("stale-while-revalidate", &[FLIGHT, "lock", "stale-while-revalidate"], 1, ["readers_waited", "wait", "0"], 0),
    ("stale-if-error", &[FLIGHT, "lock", "stale-if-error"], 1, ["rebuilds_while_failing", "process", "ceil(window/D) = 7"], 7),
    ("jitter", &[FLIGHT, "lock", "jitter"], 1, ["highest_bucket", "keys", "about 52"], 48),
    ("negative", &[FLIGHT, "lock", "negative"], 1, ["negative_queries", "negative", "1"], 1),
    ("key-filter", &[FLIGHT, "lock", "negative", "key-filter"], 1, ["absent_key_queries", "negative", "about 12 (1 % of 1,203)"], 9),
    ("xfetch", &[FLIGHT, "lock", "xfetch"], 3, ["early_rebuilds_per_window", "fleet", "e^(1/beta) = 2.72 (99 %: 2.1 to 3.4)"], 281),
    ("shed", &[FLIGHT, "shed"], 50, ["origin_in_flight", "overload", "16"], 16),
    ("owner-routing", &[FLIGHT, "owner-routing"], 2, [FLEET[0], FLEET[1], "1 + 1 membership change"], 2),
    ("pre-warm", &[FLIGHT, "lock", "pre-warm"], 1, ["miss_percent", "keys", "30"], 4),
    ("l1", &[FLIGHT, "lock", "l1"], 1, [FLEET[0], FLEET[1], "1 for the fleet"], 1),
    ("full", &[FLIGHT, "lock", "negative", "key-filter", "jitter", "l1", "stale-if-error", "stale-while-revalidate", "xfetch"], 1,
        ["sawtooth", "fleet", "0.30"], 4),
];

/// The run; its rung `owner-routing` is refuted, its rung `shed` unknown.
pub(crate) fn run() -> (Judgement, History) {
    let (small, mut history) = made::run([20, 4, 1]);
    history.rungs = RUNGS.iter().map(|(name, layers, herd, ..)| made::rung(name, layers, *herd)).collect();
    events(&mut history);
    let base = &small.rungs[2];
    let judgement = Judgement {
        name: "ladder".to_owned(),
        nodes: 50,
        outcome: Outcome::Invalid,
        as_expected: Some(false),
        rungs: RUNGS.iter().map(|made| figures(base, made)).collect(),
        verdicts: RUNGS.iter().flat_map(|made| verdicts(&small.verdicts[0], made)).collect(),
        ..small
    };
    (judgement, history)
}

/// The run of one of its rungs alone.
pub(crate) fn run_of(name: &str) -> (Judgement, History) {
    let (mut judgement, mut history) = run();
    judgement.rungs.retain(|rung| rung.name == name);
    judgement.verdicts.retain(|verdict| verdict.rung == name);
    history.rungs.retain(|rung| rung.record.name == name);
    (judgement, history)
}

fn figures(base: &RungFigures, (name, layers, herd, ..): &Made) -> RungFigures {
    let mut rung = base.clone();
    rung.name = (*name).to_owned();
    rung.layers = layers.iter().map(ToString::to_string).collect();
    rung.requests = 18_000;
    rung.origin_queries_per_boundary.max = *herd;
    rung.origin_queries_per_boundary.mean = *herd as f64 * 0.98;
    rung.peak_concurrent_rebuilds = *herd;
    rung.latency_ms.p99 = if name.starts_with("stale") || *name == "full" { 1.4 } else { 301.0 };
    rung.latency_ms.max = rung.latency_ms.p99 + 9.0;
    rung.stale_served = if name.starts_with("stale") { 2_250 } else { 0 };
    rung.waited = if rung.stale_served > 0 || *name == "full" { 0 } else { 1_900 };
    rung.local_hits = if *name == "l1" { 16_200 } else { 0 };
    rung.absent_queries = 40;
    rung.goodput_per_s = 1_447.0;
    rung.refused = if *name == "shed" { 1_912 } else { 0 };
    rung.errors = if *name == "shed" { 1_912 } else { 0 };
    if *name == "shed" {
        rung.assumptions[1].holds = false;
        rung.assumptions[1].why = "40 of 18,000 arrivals were not sent".to_owned();
    }
    for boundary in &mut rung.herds {
        boundary.rebuilds = *herd;
    }
    rung
}

fn verdicts(base: &Verdict, (name, _, herd, [claim, scope, bound], seen): &Made) -> Vec<Verdict> {
    let outcome = match *name {
        "owner-routing" => Outcome::Invalid,
        "shed" => Outcome::Unknown,
        _ => Outcome::Valid,
    };
    let why = match outcome {
        Outcome::Valid => format!("at worst {seen}, the bound is {bound}"),
        Outcome::Unknown => "not confirmed: 40 of 18,000 arrivals were not sent".to_owned(),
        Outcome::Invalid => {
            format!("2 rebuilds from 2 processes for generation 3 of item-1; the bound is {bound}")
        }
    };
    let verdict = |claim: &str, scope: &str, bound: &str, seen: u64| Verdict {
        rung: (*name).to_owned(),
        claim: claim.to_owned(),
        scope: scope.to_owned(),
        bound: Some(seen),
        bound_text: bound.to_owned(),
        observed: Some(seen),
        outcome,
        why: why.clone(),
        ..base.clone()
    };
    let mut all = vec![verdict(claim, scope, bound, *seen)];
    if *claim != FLEET[0] {
        all.push(verdict(FLEET[0], FLEET[1], "1 for the fleet", *herd));
    }
    all
}

/// A warm start, a deploy, a node that leaves and comes back, a fault that is repaired and one that never took effect.
fn events(history: &mut History) {
    let at = |ms: u64| START_US + ms * 1_000;
    let rung = |history: &mut History, name: &str, change: &dyn Fn(&mut RungHistory)| {
        change(history.rungs.iter_mut().find(|rung| rung.record.name == name).expect("the rung is made"));
    };
    rung(history, "pre-warm", &|rung| {
        rung.record.start = StartRecord::Prewarmed {
            keys: 1_000,
            filled: 981,
            hit_rate: 0.962,
            wanted: 0.7,
            opened: true,
            why: "962 of 1,000 reads of the log would hit".to_owned(),
            took_ms: 1_840,
        };
        rung.record.deploy = Some(DeployRecord {
            strategy: "versioned".to_owned(),
            prefix: "p2:".to_owned(),
            announced_version: 0,
            config_version: 7,
            fill_began_us: Some(at(1_500)),
            switched_us: Some(at(2_900)),
            retired_us: Some(at(3_100)),
            fill_keys: 1_000,
            filled: 1_000,
            pauses: 2,
            why: "filled, compared, switched".to_owned(),
        });
    });
    rung(history, "owner-routing", &|rung| {
        let change = |ms, left| MembershipRecord { at_us: at(ms), node: "node-7".to_owned(), left };
        rung.record.membership = vec![change(2_000, true), change(3_500, false)];
        rung.record.notes = vec!["node-7 owned item-1".to_owned()];
    });
    let step = |rung: &str, ms, phase, note: &str| FaultRecord {
        at_us: at(ms),
        rung: rung.to_owned(),
        fault: "origin-fails".to_owned(),
        target: "origin".to_owned(),
        phase,
        kind: String::new(),
        turn: 0,
        hit: 0,
        note: note.to_owned(),
    };
    history.faults = vec![
        step("stale-if-error", 1_100, FaultPhase::Injected, "every fetch"),
        step("stale-if-error", 1_250, FaultPhase::Confirmed, "3 fetches failed"),
        step("stale-if-error", 3_400, FaultPhase::Repaired, ""),
        step("stale-if-error", 3_600, FaultPhase::Recovered, "a fetch succeeded"),
        step("shed", 1_000, FaultPhase::Injected, ""),
        step("shed", 2_000, FaultPhase::Unconfirmed, "no fetch failed"),
    ];
}
