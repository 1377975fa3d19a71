//! What is recorded of a fault, and told.

use super::Ground;
use herd_history::{FaultPhase, FaultRecord};
use herd_scenario::Fault;

/// Characters of a note that are kept.
const NOTE_CHARS_MAX: usize = 400;
/// Targets of one step that are told line by line; of more a line says how many.
const TOLD_MAX: usize = 3;

/// The steps of one fault.
pub(super) struct Steps<'a> {
    ground: Ground<'a>,
    fault: &'a Fault,
    turn: u32,
    records: Vec<FaultRecord>,
}

/// What was seen of one target, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) at_us: u64,
    pub(super) target: String,
    pub(super) phase: FaultPhase,
    pub(super) hit: u64,
    pub(super) note: String,
}

impl<'a> Steps<'a> {
    pub(super) const fn new(ground: Ground<'a>, fault: &'a Fault) -> Self {
        Self { ground, fault, turn: 0, records: Vec::new() }
    }

    pub(super) const fn begin(&mut self, turn: u32) {
        self.turn = turn;
    }

    /// Records the same step of several targets, and tells it.
    pub(super) fn add(&mut self, steps: Vec<Step>) {
        let (rung, fault) = (&self.ground.stage().rung.name, self.fault);
        let progress = self.ground.stage().progress;
        for Step { target, note, .. } in steps.iter().take(TOLD_MAX) {
            progress.note(&format!("{rung}: {}: {target} {note}", fault.name));
        }
        if let Some(more) = steps.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
            progress.note(&format!("{rung}: {}: and {more} more", fault.name));
        }
        self.records.extend(steps.into_iter().map(|step| FaultRecord {
            at_us: step.at_us,
            rung: rung.clone(),
            fault: fault.name.clone(),
            kind: fault.action.kind().to_string(),
            turn: self.turn.into(),
            target: step.target,
            phase: step.phase,
            hit: step.hit,
            note: step.note.chars().take(NOTE_CHARS_MAX).collect(),
        }));
    }

    /// The turn did not come about.
    pub(super) fn did_not_happen(&mut self, target: String, why: String) {
        let at_us = self.ground.window.now_us();
        self.add(vec![Step { at_us, target, phase: FaultPhase::Unconfirmed, hit: 0, note: why }]);
    }

    pub(super) fn into_records(self) -> Vec<FaultRecord> {
        self.records
    }
}
