//! A time in which the origin's fetches take longer: set off, looked for in the ledger, undone by the origin itself.

use super::Window;
use crate::{fleet_config, ledger::OriginLab, run::rung::Stage};
use herd_history::{FaultPhase, FaultRecord, LedgerRow};
use herd_scenario::{Origin, Slow};
use std::time::Duration;

const FAULT: &str = "origin.slow";
/// The share of the promised slowness that a fetch must show to count as slow.
const SHOWN: f64 = 0.9;

/// Slows the origin at its time, until that is over; the steps that were taken, in order.
pub(super) async fn slow(stage: &Stage<'_>, window: Window, mut origin: OriginLab) -> Vec<FaultRecord> {
    let scenario = &stage.plan.scenario;
    let Some(Slow { at_ms, for_ms, factor }) = scenario.origin.slow else { return Vec::new() };
    let step = |at_us, phase, note| FaultRecord {
        at_us,
        rung: stage.rung.name.clone(),
        fault: FAULT.to_owned(),
        target: "origin".to_owned(),
        phase,
        kind: "origin.slow".to_owned(),
        turn: 0,
        hit: 0,
        note,
    };
    if !window.reach_ms(at_ms).await {
        return vec![step(window.now_us(), FaultPhase::Unconfirmed, "the window ended before".to_owned())];
    }
    let _shown = stage.control.fault_begins(FAULT);
    let usual = fleet_config::latency(&scenario.origin);
    let slowed = herd_wire::v1::Latency { slow_for_ms: for_ms, slow_factor: factor, ..usual };
    let injected_us = window.now_us();
    if let Err(error) = origin.set_latency(slowed).await {
        return vec![step(injected_us, FaultPhase::Unconfirmed, error.to_string())];
    }
    let note = format!("fetches take {factor} times as long for {for_ms} ms");
    let injected = step(injected_us, FaultPhase::Injected, note);
    window.reach(Duration::from_millis(u64::from(at_ms) + u64::from(for_ms))).await;
    // Said again, so that the next rung begins as it should whatever the clocks say.
    match origin.set_latency(usual).await {
        Ok(_) => {
            let note = "fetches take as long as before".to_owned();
            vec![injected, step(window.now_us(), FaultPhase::Repaired, note)]
        }
        Err(error) => {
            tracing::warn!(%error, "the origin's latency was not set back; it ends the slow time by itself");
            vec![injected]
        }
    }
}

/// Adds what the ledger saw of it: whether a fetch that began meanwhile took as long as was asked for, and whether one that began
/// after did not.
pub(super) fn seen_in_ledger(steps: &mut Vec<FaultRecord>, rows: &[LedgerRow], origin: &Origin) {
    let at = |phase| steps.iter().find(|s| s.fault == FAULT && s.phase == phase).map(|s| s.at_us);
    let (Some(injected_us), Some(slow)) = (at(FaultPhase::Injected), origin.slow) else { return };
    let repaired_us = at(FaultPhase::Repaired).unwrap_or(u64::MAX);
    let least_us = f64::from(origin.model.typical_ms()) * 1e3 * slow.factor * SHOWN;
    // A queue makes every fetch long: what was waited for the gate and for a connection does not count.
    let took_us = |row: &LedgerRow| {
        let waits_us = row.queued_us.saturating_add(row.gate_us);
        row.end_us.map(|end_us| end_us.saturating_sub(row.start_us).saturating_sub(waits_us) as f64)
    };
    let is_slow = |row: &&LedgerRow| {
        (injected_us..=repaired_us).contains(&row.start_us)
            && took_us(row).is_some_and(|took_us| took_us >= least_us)
    };
    let slowest: Vec<&LedgerRow> = rows.iter().filter(is_slow).collect();
    let is_usual = |row: &&LedgerRow| {
        row.start_us > repaired_us && took_us(row).is_some_and(|took_us| took_us < least_us)
    };
    let usual = rows.iter().filter(is_usual).min_by_key(|row| row.end_us);
    let injected = steps.iter().find(|s| s.fault == FAULT).expect("it was injected").clone();
    let (phase, at_us, note) = match slowest.first() {
        Some(first) => {
            let note =
                format!("{} fetches were slow; the first was rebuild {}", slowest.len(), first.rebuild);
            (FaultPhase::Confirmed, first.end_us.unwrap_or(injected_us), note)
        }
        None => (FaultPhase::Unconfirmed, injected_us, "no fetch was slow while it lasted".to_owned()),
    };
    if let Some((rebuild, at_us)) = usual.and_then(|row| Some((row.rebuild, row.end_us?))) {
        let note = format!("rebuild {rebuild} was not slow any more");
        steps.push(FaultRecord { at_us, phase: FaultPhase::Recovered, note, ..injected.clone() });
    }
    steps.push(FaultRecord { at_us, phase, note, ..injected });
    steps.sort_by_key(|step| (step.at_us, step.phase));
}
