//! A time in which the origin's fetches fail: set off, looked for in the ledger, undone.

use super::Window;
use crate::{ledger::OriginLab, run::rung::Stage};
use herd_history::{FaultPhase, FaultRecord, FetchOutcome, LedgerRow};
use herd_scenario::Failing;
use std::time::Duration;

const FAULT: &str = "origin.failing";
const TARGET: &str = "origin";

/// Makes the origin fail at its time, and repairs it after; the steps that were taken, in order.
pub(super) async fn fail(stage: &Stage<'_>, window: Window, mut origin: OriginLab) -> Vec<FaultRecord> {
    let Some(Failing { at_ms, for_ms, share }) = stage.plan.scenario.origin.failing else {
        return Vec::new();
    };
    let step = |at_us, phase, note| FaultRecord {
        at_us,
        rung: stage.rung.name.clone(),
        fault: FAULT.to_owned(),
        target: TARGET.to_owned(),
        phase,
        kind: "origin.failing".to_owned(),
        turn: 0,
        hit: 0,
        note,
    };
    if !window.reach_ms(at_ms).await {
        return vec![step(window.now_us(), FaultPhase::Unconfirmed, "the window ended before".to_owned())];
    }
    let _shown = stage.control.fault_begins(FAULT);
    // From before the call to after the one that ends it: no fetch can fail outside.
    let injected_us = window.now_us();
    let mut steps = Vec::new();
    match origin.set_failures(share, for_ms).await {
        Ok(_) => {
            let note = format!("{:.0} % of the fetches fail for {for_ms} ms", share * 100.0);
            steps.push(step(injected_us, FaultPhase::Injected, note));
        }
        Err(error) => return vec![step(injected_us, FaultPhase::Unconfirmed, error.to_string())],
    }
    window.reach(Duration::from_millis(u64::from(at_ms) + u64::from(for_ms))).await;
    match origin.set_failures(0.0, 0).await {
        Ok(_) => {
            let note = "no fetch is made to fail any more".to_owned();
            steps.push(step(window.now_us(), FaultPhase::Repaired, note));
        }
        // The origin ends it by itself, and the next rung begins with another repair.
        Err(error) => tracing::warn!(%error, "the origin's failures were not ended early"),
    }
    steps
}

/// Adds what the ledger saw of the fault: whether a fetch failed while it lasted, and whether one succeeded after.
pub(super) fn seen_in_ledger(steps: &mut Vec<FaultRecord>, rows: &[LedgerRow]) {
    let at =
        |phase| steps.iter().find(|step| step.fault == FAULT && step.phase == phase).map(|step| step.at_us);
    let Some(injected_us) = at(FaultPhase::Injected) else {
        return;
    };
    let repaired_us = at(FaultPhase::Repaired).unwrap_or(u64::MAX);
    let lasted = |row: &&LedgerRow| {
        row.end_us.is_some_and(|end_us| end_us >= injected_us) && row.start_us <= repaired_us
    };
    let ended = |outcome| move |row: &&LedgerRow| row.outcome == Some(outcome);
    let failed: Vec<&LedgerRow> = rows.iter().filter(lasted).filter(ended(FetchOutcome::Failed)).collect();
    let witness = failed.iter().min_by_key(|row| row.end_us).map(|row| (row.rebuild, row.end_us));
    let after = rows.iter().filter(|row| row.start_us > repaired_us).filter(ended(FetchOutcome::Fetched));
    let recovered = after.min_by_key(|row| row.end_us).map(|row| (row.rebuild, row.end_us));
    let injected = steps.iter().find(|step| step.fault == FAULT).expect("it was injected").clone();
    let mut add = |phase, at_us: Option<u64>, note| {
        let at_us = at_us.unwrap_or(injected_us);
        steps.push(FaultRecord { at_us, phase, note, ..injected.clone() });
    };
    match witness {
        Some((rebuild, at_us)) => {
            let note = format!("{} fetches failed; the first was rebuild {rebuild}", failed.len());
            add(FaultPhase::Confirmed, at_us, note);
        }
        None => add(FaultPhase::Unconfirmed, None, "no fetch failed while it lasted".to_owned()),
    }
    if let Some((rebuild, at_us)) = recovered {
        add(FaultPhase::Recovered, at_us, format!("rebuild {rebuild} succeeded"));
    }
    steps.sort_by_key(|step| (step.at_us, step.phase));
}
