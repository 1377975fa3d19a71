//! Handmade runs: four nodes, one key, 200 reads a second, D = 100 ms, TTL = 1 s, three boundaries in 5 s.

use herd_history::{
    FORMAT_VERSION, FaultPhase, FaultRecord, FetchOutcome, History, InsertRecord, LedgerRow, LedgerSpan,
    LoadRecord, Manifest, OperationRecord, Outcome, Reason, RungHistory, RungRecord, Served, StartRecord,
    StoreWriteKind, StoreWriteRecord, StoreWriteVerdict,
};
use herd_judge::{Judgement, Verdict, judge};
use herd_scenario::{Fault, FaultAction, Once, Scenario};

/// Unix microseconds of every window's start.
pub(crate) const START_US: u64 = 1_700_000_000_000_000;
pub(crate) const WINDOW_MS: u64 = 5_000;
pub(crate) const REBUILD_MS: u64 = 100;
/// A value lives for the TTL after its rebuild's end.
pub(crate) const PERIOD_MS: u64 = 1_100;

pub(crate) const NONE: &str = "layers = []";
pub(crate) const FLIGHT: &str = "layers = [\"single-flight\"]";
pub(crate) const LOCK_ALONE: &str = "layers = [\"lock\"]\n[rung.lock]\nexpiry_ms = 1000";
pub(crate) const LOCK: &str = "layers = [\"single-flight\", \"lock\"]\n[rung.lock]\nexpiry_ms = 1000";

/// A scenario of one rung with this rung body and claim body. Its load asks for nothing absent, its origin never fails, and
/// nothing is hurt, but it is read as one in which every property can be claimed: tests then change what they are about.
pub(crate) fn scenario(rung: &str, claim: &str) -> Scenario {
    let which = if rung.contains("\"lock\"") { "holder" } else { "all" };
    let text = format!(
        "name = \"made\"\nhypothesis = \"h\"\n[fleet]\nnodes = 4\n[origin]\nlatency_ms = {REBUILD_MS}\n\
         [origin.failing]\nat_ms = 1\nfor_ms = 1\n[workload]\nrate_per_s = 200\nboundaries = 3\n\
         insert_every_ms = 1000\n[workload.absent]\nshare = 0.1\nids = \"fixed\"\ncount = 20\n[policy]\nttl_ms = 1000\n[[rung]]\nname = \"rung\"\n{rung}\n[[claim]]\n{claim}\n\
         [[fault]]\nat_ms = 1\nfor_ms = 1\nkind = \"pause\"\npart = \"cache-node\"\nwhich = \"{which}\"\n"
    );
    let mut scenario = Scenario::parse("made.toml", &text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    scenario.workload.absent = None;
    scenario.workload.insert_every_ms = None;
    scenario.origin.failing = None;
    scenario.faults.clear();
    scenario
}

/// The same, changed as the test needs it.
pub(crate) fn changed(rung: &str, claim: &str, change: impl FnOnce(&mut Scenario)) -> Scenario {
    let mut scenario = scenario(rung, claim);
    change(&mut scenario);
    scenario
}

/// The body of a claim at theory's bound.
pub(crate) fn claim(property: &str, scope: &str) -> String {
    format!("property = \"{property}\"\nscope = \"{scope}\"")
}

/// One rebuild of a herd: the node, and its start after the boundary in milliseconds.
pub(crate) type Start = (usize, u64);

/// A run in which every boundary but the cold fill has this herd, and clients see what follows from it.
pub(crate) fn history(herd: &[Start]) -> History {
    History {
        manifest: Manifest {
            format_version: FORMAT_VERSION,
            herd_version: "0".to_owned(),
            name: "made".to_owned(),
            scenario_file: "made.toml".to_owned(),
            scenario_text: String::new(),
            seed: 1,
            backend: "processes".to_owned(),
            nodes: 4,
            rungs: vec!["rung".to_owned()],
            started_us: START_US,
            options: std::collections::BTreeMap::new(),
        },
        rungs: vec![rung(herd)],
        faults: Vec::new(),
        traced: None,
        notes: Vec::new(),
    }
}

fn rung(herd: &[Start]) -> RungHistory {
    let mut ledger = vec![row(1, 0, 0, 0)];
    for (generation, boundary_ms) in (1..).zip(boundaries_ms()) {
        for (node, offset_ms) in herd {
            ledger.push(row(ledger.len() as u64 * 2 + 1, generation, *node, boundary_ms + offset_ms));
        }
    }
    let operations: Vec<OperationRecord> = (0..WINDOW_MS / 5).map(operation).collect();
    let sent = operations.len() as u64;
    let record = RungRecord {
        name: "rung".to_owned(),
        layers: Vec::new(),
        prefix: "p:".to_owned(),
        config_version: 7,
        window_start_us: START_US,
        window_end_us: START_US + WINDOW_MS * 1_000,
        nodes_expected: 4,
        nodes_joined: 4,
        nodes_acknowledged: 4,
        nodes_joined_end: Some(4),
        membership_changed: Some(false),
        start: StartRecord::Warm,
        membership: Vec::new(),
        moved: Vec::new(),
        deploy: None,
        writes_complete: true,
        load: LoadRecord {
            offered: sent,
            sent,
            offered_per_s: 200.0,
            sent_per_s: 200.0,
            lag_p99_us: 1_000,
            ..LoadRecord::default()
        },
        ledger: LedgerSpan { first_seq: 1, last_seq: ledger.len() as u64 * 2, foreign_ends: Vec::new() },
        notes: Vec::new(),
    };
    RungHistory { record, operations, ledger, writes: Vec::new(), inserts: Vec::new() }
}

/// When generation 1, 2, 3 expires, milliseconds after the window's start; the cold fill is at 0.
pub(crate) fn boundaries_ms() -> impl Iterator<Item = u64> {
    (1..).map(|g| g * PERIOD_MS).take_while(|at| at + 2 * REBUILD_MS < WINDOW_MS)
}

/// A rebuild that takes exactly D, with adjacent start and end events.
pub(crate) fn row(seq: u64, generation: u64, node: usize, start_ms: u64) -> LedgerRow {
    LedgerRow {
        rebuild: seq,
        end_seq: Some(seq + 1),
        key: "item-1".to_owned(),
        cache_key: "p:item-1".to_owned(),
        generation,
        node: format!("node-{node}"),
        // As under the lock; a rung without it does not look.
        reason: Reason::LeaseHolder,
        token: seq,
        epoch: 1,
        config_version: 7,
        trace: format!("{seq:032x}"),
        start_us: START_US + start_ms * 1_000,
        end_us: Some(START_US + (start_ms + REBUILD_MS) * 1_000),
        outcome: Some(FetchOutcome::Fetched),
        version: 1,
        queued_us: 0,
        worked_us: REBUILD_MS * 1_000,
        gate_us: 0,
    }
}

/// Request number `n` every 5 ms: it waits if it arrives within a rebuild, else it hits.
fn operation(n: u64) -> OperationRecord {
    let at_ms = n * 5;
    let expired = at_ms / PERIOD_MS;
    let rebuilding = at_ms % PERIOD_MS < REBUILD_MS && expired * PERIOD_MS + 2 * REBUILD_MS < WINDOW_MS;
    let done_ms = if rebuilding { expired * PERIOD_MS + REBUILD_MS } else { at_ms };
    OperationRecord {
        seq: n,
        key: "item-1".to_owned(),
        intended_us: START_US + at_ms * 1_000,
        sent_us: START_US + at_ms * 1_000,
        done_us: START_US + done_ms * 1_000 + 500,
        outcome: Outcome::Answered,
        served: if rebuilding { Served::Waited } else { Served::Hit },
        generation: expired + 1,
        version: 1,
        age_ms: if rebuilding { 0 } else { (at_ms % PERIOD_MS).saturating_sub(REBUILD_MS) },
        config_version: 7,
        node: format!("node-{}", n % 4),
        reference: format!("{n:032x}"),
        rebuild_trace: String::new(),
        error: String::new(),
        attempts: 1,
    }
}

/// One start on each of four nodes.
pub(crate) const ONE_EACH: &[Start] = &[(0, 0), (1, 5), (2, 10), (3, 15)];

/// Twenty starts within D: r*D.
pub(crate) fn crowd() -> Vec<Start> {
    (0..20).map(|n| (n % 4, n as u64 * 5)).collect()
}

/// Judges a run of one rung with one claim; its only verdict.
pub(crate) fn verdict(scenario: &Scenario, history: &History) -> Verdict {
    let judgement: Judgement = judge(scenario, history);
    assert_eq!(judgement.verdicts.len(), 1, "{judgement:?}");
    judgement.verdicts[0].clone()
}

/// Judges, and compares outcome and count.
#[track_caller]
pub(crate) fn expect(
    scenario: &Scenario,
    history: &History,
    outcome: herd_judge::Outcome,
    observed: u64,
) -> Verdict {
    let verdict = verdict(scenario, history);
    assert_eq!((verdict.outcome, verdict.observed), (outcome, Some(observed)), "{verdict:#?}");
    verdict
}

/// Judges, and looks for these words in why nothing can be said.
#[track_caller]
pub(crate) fn expect_unknown(scenario: &Scenario, history: &History, words: &str) {
    let verdict = verdict(scenario, history);
    assert_eq!(verdict.outcome, herd_judge::Outcome::Unknown, "{verdict:#?}");
    assert!(verdict.why.contains(words), "{}", verdict.why);
}

/// Numbers the ledger's events anew, in order of the rows, and states their span.
pub(crate) fn renumber(rung: &mut RungHistory) {
    for (index, row) in rung.ledger.iter_mut().enumerate() {
        row.rebuild = index as u64 * 2 + 1;
        row.end_seq = Some(row.rebuild + 1);
        row.token = row.rebuild;
        row.trace = format!("{:032x}", row.rebuild);
    }
    rung.record.ledger.last_seq = rung.ledger.len() as u64 * 2;
}

/// Numbers the requests anew and states that all were sent.
pub(crate) fn recount(rung: &mut RungHistory) {
    for (index, row) in rung.operations.iter_mut().enumerate() {
        row.seq = index as u64;
    }
    let sent = rung.operations.len() as u64;
    (rung.record.load.offered, rung.record.load.sent) = (sent, sent);
}

/// Adds what a fenced store recorded: the first value of each generation taken at its rebuild's end, the others refused.
pub(crate) fn with_writes(mut history: History) -> History {
    for rung in &mut history.rungs {
        let mut ledger = rung.ledger.clone();
        ledger.sort_by_key(|row| (row.end_us, row.rebuild));
        let mut taken = std::collections::BTreeSet::new();
        rung.writes = ledger
            .iter()
            .filter(|row| matches!(row.outcome, Some(FetchOutcome::Fetched | FetchOutcome::NoSuchRow)))
            .map(|row| {
                let first = taken.insert((row.cache_key.clone(), row.generation));
                let verdict =
                    if first { StoreWriteVerdict::Accepted } else { StoreWriteVerdict::GenerationMoved };
                write(row, verdict)
            })
            .collect();
    }
    history
}

/// The write of what a rebuild fetched.
pub(crate) fn write(row: &LedgerRow, verdict: StoreWriteVerdict) -> StoreWriteRecord {
    let is_value = row.outcome == Some(FetchOutcome::Fetched);
    StoreWriteRecord {
        at_us: row.end_us.unwrap(),
        key: row.key.clone(),
        prefix: "p:".to_owned(),
        generation: row.generation + 1,
        token: row.token,
        epoch: row.epoch,
        version: row.version,
        trace: row.trace.clone(),
        node: row.node.clone(),
        kind: if is_value { StoreWriteKind::Value } else { StoreWriteKind::Absence },
        verdict,
    }
}

/// The insertion of a row, acknowledged after 2 ms.
pub(crate) fn insert(seq: u64, key: &str, at_ms: u64) -> InsertRecord {
    InsertRecord {
        seq,
        key: key.to_owned(),
        sent_us: START_US + at_ms * 1_000,
        done_us: START_US + (at_ms + 2) * 1_000,
        outcome: Outcome::Answered,
        version: 1,
        error: String::new(),
    }
}

/// A run in which expired values are served while one rebuild refreshes them: nobody waits but at the cold start.
pub(crate) fn stale_history(herd: &[Start]) -> History {
    let mut history = history(herd);
    let rung = &mut history.rungs[0];
    for row in rung.ledger.iter_mut().skip(1) {
        row.reason = Reason::Refresh;
    }
    for row in rung.operations.iter_mut().skip_while(|row| row.generation == 1) {
        if row.served == Served::Waited {
            (row.served, row.generation) = (Served::Stale, row.generation - 1);
            row.done_us = row.sent_us + 500;
            row.age_ms = 1_000 + (row.sent_us - START_US) / 1_000 % PERIOD_MS;
        }
    }
    history
}

/// Plans a fault for the only rung, a short one: what a run holds for longer is told by its own steps.
pub(crate) fn plan(scenario: &mut Scenario, name: &str, action: FaultAction) {
    scenario.faults.push(Fault {
        name: name.to_owned(),
        rungs: None,
        at_ms: 1_000,
        once: Once::Now,
        for_ms: 100,
        times: 1,
        every_ms: 0,
        action,
    });
}

/// Notes the steps that a fault took at one target, milliseconds after the window's start: injected, confirmed, repaired,
/// recovered, as many as there are.
pub(crate) fn note_fault(history: &mut History, name: &str, target: &str, steps_ms: &[u64]) {
    note_turn(history, name, target, 0, steps_ms);
}

/// The same for one of several turns.
pub(crate) fn note_turn(history: &mut History, name: &str, target: &str, turn: u64, steps_ms: &[u64]) {
    let phases = [FaultPhase::Injected, FaultPhase::Confirmed, FaultPhase::Repaired, FaultPhase::Recovered];
    for (phase, at_ms) in phases.into_iter().zip(steps_ms) {
        history.faults.push(FaultRecord {
            at_us: START_US + at_ms * 1_000,
            rung: "rung".to_owned(),
            fault: name.to_owned(),
            kind: String::new(),
            turn,
            target: target.to_owned(),
            phase,
            hit: 0,
            note: String::new(),
        });
    }
}

/// Chance with a seed: splitmix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Uniform from 0 to below 1.
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Exponential with this mean.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.uniform()).ln() * mean
    }
}
