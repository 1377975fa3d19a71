//! Handmade runs: four nodes, one key, 200 reads a second, D = 100 ms, TTL = 1 s, three boundaries in 5 s.

use herd_history::{
    FORMAT_VERSION, FetchOutcome, History, LedgerRow, LedgerSpan, LoadRecord, Manifest, OperationRecord,
    Outcome, Reason, RungHistory, RungRecord, Served, StartRecord,
};
use herd_judge::{Judgement, Verdict, judge};
use herd_scenario::Scenario;

/// Unix microseconds of every window's start.
pub(crate) const START_US: u64 = 1_700_000_000_000_000;
const WINDOW_MS: u64 = 5_000;
const REBUILD_MS: u64 = 100;
const PERIOD_MS: u64 = 1_150;

pub(crate) const NONE: &str = "layers = []";
pub(crate) const FLIGHT: &str = "layers = [\"single-flight\"]";
pub(crate) const LOCK: &str = "layers = [\"single-flight\", \"lock\"]\n[rung.lock]\nexpiry_ms = 1000";

/// A scenario of one rung with this rung body and claim body.
pub(crate) fn scenario(rung: &str, claim: &str) -> Scenario {
    let text = format!(
        "name = \"made\"\nhypothesis = \"h\"\n[fleet]\nnodes = 4\n[origin]\nlatency_ms = {REBUILD_MS}\n[workload]\n\
         rate_per_s = 200\nboundaries = 3\n[policy]\nttl_ms = 1000\n[[rung]]\nname = \"rung\"\n{rung}\n[[claim]]\n{claim}\n"
    );
    Scenario::parse("made.toml", &text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
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
        age_ms: 0,
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
