//! The worst case of a verdict, with what is needed to look it up in the traces.
//!
//! Of many rebuilds those come first that show what is wrong: of processes that started more than one of a key, then those that overlap
//! another of their key, then the rest.

use std::collections::{BTreeMap, BTreeSet};

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
    /// The most telling of them; those that are alike by start.
    pub rebuilds: Vec<WitnessRebuild>,
    /// Rebuilds involved that are not listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub rebuilds_omitted: u64,
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
        let rebuilds = by_telling(rows).into_iter().take(LISTED_MAX).map(|row| WitnessRebuild {
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
            rebuilds_omitted: rows.len().saturating_sub(LISTED_MAX) as u64,
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

/// The rebuilds in the order in which they tell, among equals in their own.
fn by_telling<'a>(rows: &[&'a LedgerRow]) -> Vec<&'a LedgerRow> {
    let mut starts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for row in rows {
        *starts.entry((&row.cache_key, &row.node)).or_default() += 1;
    }
    let overlapping = overlapping(rows);
    let rank = |row: &&LedgerRow| {
        let is_again =
            starts.get(&(row.cache_key.as_str(), row.node.as_str())).is_some_and(|count| *count > 1);
        match (is_again, overlapping.contains(&row.rebuild)) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        }
    };
    let mut sorted = rows.to_vec();
    sorted.sort_by_key(rank);
    sorted
}

/// The numbers of those that were under way while another of their key was.
fn overlapping(rows: &[&LedgerRow]) -> BTreeSet<u64> {
    let mut sorted = rows.to_vec();
    sorted.sort_by_key(|row| (&row.cache_key, row.start_us, row.rebuild));
    let mut found = BTreeSet::new();
    for of_key in sorted.chunk_by(|a, b| a.cache_key == b.cache_key) {
        // The one before that ends last.
        let mut longest = of_key[0];
        for row in &of_key[1..] {
            let end_us = |row: &LedgerRow| row.end_us.unwrap_or(u64::MAX);
            if end_us(longest) > row.start_us {
                found.extend([longest.rebuild, row.rebuild]);
            }
            if end_us(row) > end_us(longest) {
                longest = row;
            }
        }
    }
    found
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}
