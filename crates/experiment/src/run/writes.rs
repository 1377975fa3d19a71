//! The store's own record of what was written in a rung.

use super::RunError;
use crate::edge::EdgeLab;
use herd_history::{StoreWriteKind, StoreWriteRecord, StoreWriteVerdict};
use herd_wire::v1;
use std::time::Duration;

/// Deadline of reading the record of one prefix.
const READ_LIMIT: Duration = Duration::from_secs(60);
/// A write follows its fetch: this long after the last fetch has ended, the writes are in the record.
const SETTLE: Duration = Duration::from_millis(200);
/// Writes of a rung that are kept.
const WRITES_MAX: usize = 5_000_000;

/// Reads the record of each prefix. Returns the writes, and whether they are all that the store decided; why not is noted.
pub(super) async fn read(
    edge: &str,
    prefixes: &[&str],
    notes: &mut Vec<String>,
) -> Result<(Vec<StoreWriteRecord>, bool), RunError> {
    tokio::time::sleep(SETTLE).await;
    let edge = EdgeLab::new(edge, READ_LIMIT)?;
    let (mut writes, mut unread) = (Vec::new(), 0_u64);
    let mut complete = true;
    for prefix in prefixes {
        let each = |write| match record(prefix, write) {
            Some(record) if writes.len() < WRITES_MAX => writes.push(record),
            _ => unread += 1,
        };
        if let Err(status) = edge.writes((*prefix).to_owned(), each).await {
            complete = false;
            let (code, message) = (status.code(), status.message());
            notes.push(format!(
                "the store's record of {prefix} could not be read whole: {message} ({code:?})"
            ));
        }
    }
    if unread > 0 {
        complete = false;
        notes.push(format!(
            "{unread} writes of the store's record are left out: too many, or of an unknown kind"
        ));
    }
    Ok((writes, complete))
}

/// Nothing for a kind or verdict of a newer store.
fn record(prefix: &str, write: v1::StoreWrite) -> Option<StoreWriteRecord> {
    let kind = match write.kind() {
        v1::StoreWriteKind::Unspecified => return None,
        v1::StoreWriteKind::Value => StoreWriteKind::Value,
        v1::StoreWriteKind::Absence => StoreWriteKind::Absence,
        v1::StoreWriteKind::Deletion => StoreWriteKind::Deletion,
    };
    let verdict = match write.verdict() {
        v1::StoreWriteVerdict::Unspecified => return None,
        v1::StoreWriteVerdict::Accepted => StoreWriteVerdict::Accepted,
        v1::StoreWriteVerdict::EpochMissing => StoreWriteVerdict::EpochMissing,
        v1::StoreWriteVerdict::EpochOld => StoreWriteVerdict::EpochOld,
        v1::StoreWriteVerdict::GenerationMoved => StoreWriteVerdict::GenerationMoved,
        v1::StoreWriteVerdict::TokenOld => StoreWriteVerdict::TokenOld,
    };
    Some(StoreWriteRecord {
        at_us: write.at_us,
        key: write.key,
        prefix: prefix.to_owned(),
        generation: write.generation,
        token: write.token,
        epoch: write.epoch,
        version: write.version,
        trace: write.rebuild_trace,
        node: write.node,
        kind,
        verdict,
    })
}
