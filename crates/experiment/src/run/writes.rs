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

/// How much later than the rung's window a record may seem to have begun, microseconds: two clocks.
const CLOCK_SLACK_US: u64 = 100_000;

/// Reads the record of each prefix; that of the first began before `window_start_us`, unless the store lost its data since. Returns the writes, and whether they are all that the store decided; why not is noted.
pub(super) async fn read(
    edge: &str,
    prefixes: &[&str],
    window_start_us: u64,
    notes: &mut Vec<String>,
) -> Result<(Vec<StoreWriteRecord>, bool), RunError> {
    tokio::time::sleep(SETTLE).await;
    let edge = EdgeLab::new(edge, READ_LIMIT)?;
    let (mut writes, mut unread) = (Vec::new(), 0_u64);
    let mut complete = true;
    for (at, prefix) in prefixes.iter().enumerate() {
        let each = |write| match record(prefix, write) {
            Some(record) if writes.len() < WRITES_MAX => writes.push(record),
            _ => unread += 1,
        };
        let missing = match edge.writes((*prefix).to_owned(), each).await {
            Err(status) => Some(format!("{} ({:?})", status.message(), status.code())),
            Ok(None) => Some("it says nothing of its extent".to_owned()),
            Ok(Some(extent)) if extent.trimmed => Some("the oldest writes were dropped".to_owned()),
            Ok(Some(extent)) if extent.began_us == 0 => Some("there is none: the store lost it".to_owned()),
            Ok(Some(extent))
                if at == 0 && extent.began_us > window_start_us.saturating_add(CLOCK_SLACK_US) =>
            {
                Some("it began after the load did: the store lost what was before".to_owned())
            }
            Ok(Some(_)) => None,
        };
        if let Some(why) = missing {
            complete = false;
            notes.push(format!("the store's record of {prefix} is not whole: {why}"));
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
