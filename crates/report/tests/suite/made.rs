//! A handmade ladder: four nodes, one key, 200 reads a second, D = 100 ms, TTL = 1 s, three boundaries in 5 s.

use herd_history::{
    FORMAT_VERSION, FetchOutcome, History, LedgerRow, LedgerSpan, LoadRecord, Manifest, OperationRecord,
    Outcome, Reason, RungHistory, RungRecord, Served, StartRecord,
};
use herd_judge::{Judgement, judge, scenario_of};

pub(crate) const START_US: u64 = 1_700_000_000_000_000;
const WINDOW_MS: u64 = 5_000;
const PERIOD_MS: u64 = 1_150;
const REBUILD_MS: u64 = 100;

const SCENARIO: &str = r#"
name = "made"
hypothesis = "Each layer bounds <one> herd."
[fleet]
nodes = 4
[origin]
latency_ms = 100
[workload]
rate_per_s = 200
boundaries = 3
[policy]
ttl_ms = 1000
[[rung]]
name = "none"
layers = []
[[rung]]
name = "single-flight"
layers = ["single-flight"]
[[rung]]
name = "lock"
layers = ["single-flight", "lock"]
[[claim]]
property = "rebuilds_per_boundary"
[[claim]]
rung = "single-flight"
property = "rebuilds_per_boundary"
scope = "process"
[[claim]]
rung = "lock"
property = "answers_never_go_back"
"#;

/// A ladder whose herds have these sizes at every boundary, spread over four nodes.
pub(crate) fn run(herds: [u64; 3]) -> (Judgement, History) {
    let layers: [&[&str]; 3] = [&[], &["single-flight"], &["single-flight", "lock"]];
    let names = ["none", "single-flight", "lock"];
    let manifest = Manifest {
        format_version: FORMAT_VERSION,
        herd_version: "0".to_owned(),
        name: "made".to_owned(),
        scenario_file: "made.toml".to_owned(),
        scenario_text: SCENARIO.to_owned(),
        seed: 1,
        backend: "processes".to_owned(),
        nodes: 4,
        rungs: names.map(str::to_owned).to_vec(),
        started_us: START_US,
        options: std::collections::BTreeMap::new(),
    };
    let rungs = (0..3).map(|index| rung(names[index], layers[index], herds[index])).collect();
    let history = History { manifest, rungs, faults: Vec::new(), traced: None, notes: Vec::new() };
    let scenario = scenario_of(&history.manifest).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    (judge(&scenario, &history), history)
}

/// One rung whose herds have this size.
pub(crate) fn rung(name: &str, layers: &[&str], herd: u64) -> RungHistory {
    let mut ledger = vec![row(1, 0, 0, 0)];
    for generation in 1..=4 {
        for n in 0..herd {
            let seq = ledger.len() as u64 * 2 + 1;
            let row = row(seq, generation, n % 4, generation * PERIOD_MS + n * 100 / herd);
            let leased = LedgerRow { reason: Reason::LeaseHolder, token: seq, epoch: 1, ..row.clone() };
            ledger.push(if layers.contains(&"lock") { leased } else { row });
        }
    }
    let operations: Vec<OperationRecord> = (0..WINDOW_MS / 5).map(operation).collect();
    let sent = operations.len() as u64;
    let load = LoadRecord {
        offered: sent,
        sent,
        offered_per_s: 200.0,
        sent_per_s: 200.0,
        lag_p99_us: 1_500,
        ..LoadRecord::default()
    };
    let record = RungRecord {
        name: name.to_owned(),
        layers: layers.iter().map(ToString::to_string).collect(),
        prefix: "p:".to_owned(),
        config_version: 1,
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
        writes_complete: false,
        load,
        ledger: LedgerSpan { first_seq: 1, last_seq: ledger.len() as u64 * 2, foreign_ends: Vec::new() },
        notes: Vec::new(),
    };
    RungHistory { record, operations, ledger, writes: Vec::new(), inserts: Vec::new() }
}

fn row(seq: u64, generation: u64, node: u64, start_ms: u64) -> LedgerRow {
    LedgerRow {
        rebuild: seq,
        end_seq: Some(seq + 1),
        key: "item-1".to_owned(),
        cache_key: "p:item-1".to_owned(),
        generation,
        node: format!("node-{node}"),
        reason: Reason::FlightLeader,
        token: 0,
        epoch: 0,
        config_version: 1,
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

fn operation(n: u64) -> OperationRecord {
    let at_ms = n * 5;
    let waits = at_ms % PERIOD_MS < REBUILD_MS;
    let done_ms = if waits { at_ms - at_ms % PERIOD_MS + REBUILD_MS } else { at_ms };
    OperationRecord {
        seq: n,
        key: "item-1".to_owned(),
        intended_us: START_US + at_ms * 1_000,
        sent_us: START_US + at_ms * 1_000,
        done_us: START_US + done_ms * 1_000 + 500,
        outcome: Outcome::Answered,
        served: if waits { Served::Waited } else { Served::Hit },
        generation: at_ms / PERIOD_MS + 1,
        version: 1,
        age_ms: 0,
        config_version: 1,
        node: format!("node-{}", n % 4),
        reference: format!("{n:032x}"),
        rebuild_trace: String::new(),
        error: String::new(),
        attempts: 1,
    }
}
