//! The worst case of a verdict, with what is needed to look it up in the traces.

use herd_history::{LedgerRow, OperationRecord, StoreWriteKind, StoreWriteRecord, StoreWriteVerdict};
use serde::Serialize;

/// Rebuilds, requests or writes that a witness lists; the rest is only counted.
const LISTED_MAX: usize = 12;

/// The worst case that was seen.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Witness {
    /// What it shows, in a sentence.
    pub what: String,
    /// The row's key, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The generation that expired, if it is about a boundary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// When, Unix microseconds.
    pub at_us: u64,
    /// Rebuilds involved; at most 12 of them are listed.
    pub rebuilds_total: u64,
    /// The first of them, by start.
    pub rebuilds: Vec<WitnessRebuild>,
    /// Requests involved; at most 12 of them are listed.
    pub operations_total: u64,
    /// The first of them.
    pub operations: Vec<WitnessOperation>,
    /// Writes of the store involved; at most 12 of them are listed.
    pub writes_total: u64,
    /// The first of them, in the store's order.
    pub writes: Vec<WitnessWrite>,
}

/// One write of a witness, as the store recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WitnessWrite {
    /// Unix microseconds, the store's clock.
    pub at_us: u64,
    /// The generation that it became.
    pub generation: u64,
    /// Fencing token; 0 without a lease.
    pub token: u64,
    /// Epoch of the lease; 0 without one.
    pub epoch: u64,
    /// The row's version; 0 for a deletion or an absence.
    pub version: u64,
    /// Who wrote.
    pub node: String,
    /// `value`, `absence` or `deletion`.
    pub kind: &'static str,
    /// `accepted`, or why it was refused.
    pub verdict: &'static str,
    /// Trace of the rebuild.
    pub trace: String,
}

/// One rebuild of a witness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WitnessRebuild {
    /// Its number in the origin's ledger.
    pub rebuild: u64,
    /// Who asked.
    pub node: String,
    /// Why.
    pub reason: &'static str,
    /// The generation that the caller saw expire.
    pub generation: u64,
    /// Fencing token; 0 without a lease.
    pub token: u64,
    /// Unix microseconds.
    pub start_us: u64,
    /// Unix microseconds; absent if it never ended.
    pub end_us: Option<u64>,
    /// Its trace.
    pub trace: String,
}

/// One request of a witness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WitnessOperation {
    /// Its number in the rung.
    pub seq: u64,
    /// Who answered; empty with most errors.
    pub node: String,
    /// What happened to it.
    pub what: String,
    /// Unix microseconds.
    pub sent_us: u64,
    /// Unix microseconds.
    pub done_us: u64,
    /// Its trace.
    pub reference: String,
}

impl Witness {
    pub(crate) fn of_rebuilds(what: String, rows: &[&LedgerRow]) -> Self {
        let rebuilds = rows.iter().take(LISTED_MAX).map(|row| WitnessRebuild {
            rebuild: row.rebuild,
            node: row.node.clone(),
            reason: row.reason.name(),
            generation: row.generation,
            token: row.token,
            start_us: row.start_us,
            end_us: row.end_us,
            trace: row.trace.clone(),
        });
        Self {
            what,
            key: rows.first().map(|row| row.key.clone()),
            generation: rows.first().map(|row| row.generation),
            at_us: rows.first().map_or(0, |row| row.start_us),
            rebuilds_total: rows.len() as u64,
            rebuilds: rebuilds.collect(),
            ..Self::default()
        }
    }

    pub(crate) fn of_operations(what: String, total: u64, rows: &[(&OperationRecord, String)]) -> Self {
        let operations = rows.iter().take(LISTED_MAX).map(|(row, what)| WitnessOperation {
            seq: row.seq,
            node: row.node.clone(),
            what: what.clone(),
            sent_us: row.sent_us,
            done_us: row.done_us,
            reference: row.reference.clone(),
        });
        Self {
            what,
            key: rows.first().map(|(row, _)| row.key.clone()),
            at_us: rows.first().map_or(0, |(row, _)| row.sent_us),
            operations_total: total,
            operations: operations.collect(),
            ..Self::default()
        }
    }

    pub(crate) fn of_writes(what: String, rows: &[&StoreWriteRecord]) -> Self {
        let writes = rows.iter().take(LISTED_MAX).map(|row| WitnessWrite {
            at_us: row.at_us,
            generation: row.generation,
            token: row.token,
            epoch: row.epoch,
            version: row.version,
            node: row.node.clone(),
            kind: match row.kind {
                StoreWriteKind::Value => "value",
                StoreWriteKind::Absence => "absence",
                StoreWriteKind::Deletion => "deletion",
            },
            verdict: match row.verdict {
                StoreWriteVerdict::Accepted => "accepted",
                StoreWriteVerdict::EpochMissing => "epoch_missing",
                StoreWriteVerdict::EpochOld => "epoch_old",
                StoreWriteVerdict::GenerationMoved => "generation_moved",
                StoreWriteVerdict::TokenOld => "token_old",
            },
            trace: row.trace.clone(),
        });
        Self {
            what,
            key: rows.first().map(|row| row.key.clone()),
            generation: rows.first().map(|row| row.generation),
            at_us: rows.first().map_or(0, |row| row.at_us),
            writes_total: rows.len() as u64,
            writes: writes.collect(),
            ..Self::default()
        }
    }
}
