//! The folder of a run, written and read back, whole and broken.

mod folder;
mod join;

use herd_history::{
    DeployRecord, FORMAT_VERSION, InsertRecord, LedgerRow, Manifest, MembershipRecord, OperationRecord,
    Outcome, Reason, RungRecord, Served, StartRecord, StoreWriteKind, StoreWriteRecord, StoreWriteVerdict,
};

pub(crate) fn manifest() -> Manifest {
    Manifest {
        format_version: FORMAT_VERSION,
        herd_version: "0.1.0".to_owned(),
        name: "t".to_owned(),
        scenario_file: "chaos/t.toml".to_owned(),
        scenario_text: "name = \"t\"\n".to_owned(),
        seed: 7,
        backend: "processes".to_owned(),
        nodes: 3,
        rungs: vec!["none".to_owned(), "lock".to_owned()],
        started_us: 1_700_000_000_000_000,
        options: [("pool".to_owned(), "16".to_owned())].into(),
    }
}

pub(crate) fn record(name: &str) -> RungRecord {
    RungRecord {
        name: name.to_owned(),
        layers: vec!["single-flight".to_owned()],
        prefix: "p:".to_owned(),
        config_version: 2,
        window_start_us: 1,
        window_end_us: 2,
        nodes_expected: 3,
        nodes_joined: 3,
        nodes_acknowledged: 3,
        nodes_joined_end: Some(3),
        membership_changed: Some(false),
        start: StartRecord::Prewarmed {
            keys: 10,
            filled: 9,
            hit_rate: 0.8,
            wanted: 0.7,
            opened: true,
            why: "0.8 of the log's reads hit".to_owned(),
            took_ms: 30,
        },
        membership: vec![MembershipRecord { at_us: 5, node: "node-2".to_owned(), left: true }],
        moved: Vec::new(),
        deploy: Some(DeployRecord {
            strategy: "versioned".to_owned(),
            prefix: "q:".to_owned(),
            announced_version: 0,
            config_version: 3,
            fill_began_us: Some(1),
            switched_us: Some(2),
            retired_us: None,
            fill_keys: 10,
            filled: 10,
            pauses: 0,
            why: "switched".to_owned(),
        }),
        writes_complete: true,
        load: herd_history::LoadRecord::default(),
        ledger: herd_history::LedgerSpan::default(),
        notes: vec!["note".to_owned()],
    }
}

pub(crate) fn operation(seq: u64) -> OperationRecord {
    OperationRecord {
        seq,
        key: "item-1".to_owned(),
        intended_us: 10 + seq,
        sent_us: 11 + seq,
        done_us: 12 + seq,
        outcome: Outcome::Answered,
        served: Served::Hit,
        generation: 3,
        version: 1,
        age_ms: 20,
        config_version: 2,
        node: "node-1".to_owned(),
        reference: "0af7651916cd43dd8448eb211c80319c".to_owned(),
        rebuild_trace: String::new(),
        error: String::new(),
        attempts: 1,
    }
}

pub(crate) fn row(rebuild: u64) -> LedgerRow {
    LedgerRow {
        rebuild,
        end_seq: None,
        key: "item-1".to_owned(),
        cache_key: "p:item-1".to_owned(),
        generation: 2,
        node: "node-1".to_owned(),
        reason: Reason::LeaseHolder,
        token: 9,
        epoch: 1,
        config_version: 2,
        trace: String::new(),
        start_us: 5,
        end_us: None,
        outcome: None,
        version: 0,
        queued_us: 0,
        worked_us: 0,
        gate_us: 0,
    }
}

pub(crate) fn store_write(at_us: u64) -> StoreWriteRecord {
    StoreWriteRecord {
        at_us,
        key: "item-1".to_owned(),
        prefix: "p:".to_owned(),
        generation: 3,
        token: 9,
        epoch: 1,
        version: 1,
        trace: String::new(),
        node: "node-1".to_owned(),
        kind: StoreWriteKind::Value,
        verdict: StoreWriteVerdict::Accepted,
    }
}

pub(crate) fn insert(seq: u64) -> InsertRecord {
    InsertRecord {
        seq,
        key: format!("absent-{}", seq + 1),
        sent_us: 20,
        done_us: 25,
        outcome: Outcome::Answered,
        version: 1,
        error: String::new(),
    }
}
