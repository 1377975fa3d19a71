//! The most read row changes at the origin, behind the back of every cache, so that an old value can be told from a new one.

use super::Window;
use crate::{ledger::OriginLab, run::rung::Stage};
use herd_scenario::KeyId;
use std::time::Duration;

/// Writes the row at its pace until the window ends; what went wrong, if anything did. The ledger tells which version each
/// rebuild read, so that the writes themselves need no record.
pub(super) async fn update(stage: &Stage<'_>, window: Window, mut origin: OriginLab) -> Option<String> {
    let workload = &stage.plan.scenario.workload;
    let every_ms = workload.update_every_ms?;
    let key = workload.key_name(KeyId::Row(0));
    let (mut failed, mut last) = (0_u32, String::new());
    let mut write = 1_u32;
    while window.reach(Duration::from_millis(u64::from(every_ms) * u64::from(write))).await {
        if let Err(error) = origin.put_row(key.clone(), format!("update {write}").into_bytes()).await {
            failed += 1;
            last = error.to_string();
        }
        write += 1;
    }
    (failed > 0)
        .then(|| format!("{failed} of {} changes of {key} were not made; the last: {last}", write - 1))
}
