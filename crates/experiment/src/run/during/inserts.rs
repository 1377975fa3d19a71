//! Rows that are inserted while the load runs.

use super::Window;
use crate::{
    edge::EdgeLab,
    load::ending,
    run::{RunError, rung::Stage},
};
use futures::{StreamExt, stream::FuturesUnordered};
use herd_history::{InsertRecord, Outcome};
use herd_scenario::{AbsentIds, KeyId, Workload};
use std::time::Duration;

/// Characters of an error that are kept.
const ERROR_CHARS_MAX: usize = 200;

/// Inserts the absent rows one after the other, each at its time whether or not the one before is answered; those that
/// were sent, in order.
pub(super) async fn insert(stage: &Stage<'_>, window: Window) -> Result<Vec<InsertRecord>, RunError> {
    let workload = &stage.plan.scenario.workload;
    let Some(every_ms) = workload.insert_every_ms else {
        return Ok(Vec::new());
    };
    let deadline = Duration::from_millis(workload.request_deadline_ms.into());
    let edge = EdgeLab::new(&stage.endpoints.edge_grpc, deadline)?;
    let mut inserted = Vec::new();
    let mut under_way = FuturesUnordered::new();
    for row in 0..rows(workload) {
        let due = Duration::from_millis(u64::from(every_ms) * (u64::from(row) + 1));
        let mut time = std::pin::pin!(window.reach(due));
        let reached = loop {
            tokio::select! {
                reached = &mut time => break reached,
                Some(record) = under_way.next() => inserted.push(record),
            }
        };
        if !reached {
            break;
        }
        under_way.push(one(&edge, window, row, workload.key_name(KeyId::Absent(row))));
    }
    inserted.extend(under_way.collect::<Vec<InsertRecord>>().await);
    inserted.sort_by_key(|record| record.seq);
    Ok(inserted)
}

/// How many rows there are to insert; the window may end before the last.
fn rows(workload: &Workload) -> u32 {
    match workload.absent.map(|absent| absent.ids) {
        Some(AbsentIds::Fixed { count }) => count,
        Some(AbsentIds::Random) | None => u32::MAX,
    }
}

async fn one(edge: &EdgeLab, window: Window, row: u32, key: String) -> InsertRecord {
    let sent_us = window.now_us();
    let put = edge.put(key.clone(), format!("inserted {key}").into_bytes()).await;
    let done_us = window.now_us();
    let (outcome, version, error) = match put {
        Ok(put) => (Outcome::Answered, put.version, String::new()),
        Err(status) => {
            let error = status.message().chars().take(ERROR_CHARS_MAX).collect();
            (ending::outcome(status.code()), 0, error)
        }
    };
    InsertRecord { seq: row.into(), key, sent_us, done_us, outcome, version, error }
}
