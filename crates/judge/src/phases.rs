//! The parts of a rung: before the first fault was injected, until the last one was over, and from then on.
//!
//! What lasts belongs to the time of the faults as soon as it reaches into it: a herd that the first fault hit in its middle was not
//! left alone, and a request that began before and ended meanwhile was not answered before.

use std::ops::Range;

use herd_history::{OperationRecord, RungRecord};
use herd_scenario::{Claim, Phase};

use crate::Case;
use crate::boundary::Boundary;
use crate::turns::Turn;

/// When the faults of a rung began and ended, Unix microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Phases {
    start_us: u64,
    first_us: u64,
    /// `None`: one of them was never over.
    last_us: Option<u64>,
}

impl Phases {
    /// Of these turns; `None` if none was injected.
    pub(crate) fn of<'t, 'a: 't>(
        record: &RungRecord,
        turns: impl Iterator<Item = &'t Turn<'a>> + Clone,
    ) -> Option<Self> {
        let injected = turns.filter(|turn| turn.injected_us.is_some());
        let first_us = injected.clone().filter_map(|turn| turn.injected_us).min()?;
        let over: Option<Vec<u64>> = injected.map(Turn::over_us).collect();
        let last_us = over.and_then(|over| over.into_iter().max()).map(|last_us| last_us.max(first_us));
        Some(Self { start_us: record.window_start_us, first_us, last_us })
    }

    /// The time of a phase; `None` for one that never came.
    pub(crate) fn range_us(&self, phase: Phase) -> Option<Range<u64>> {
        match phase {
            Phase::Before => Some(self.start_us..self.first_us.max(self.start_us)),
            Phase::During => Some(self.first_us..self.last_us.unwrap_or(u64::MAX)),
            Phase::After => self.last_us.map(|last_us| last_us..u64::MAX),
        }
    }

    /// The phase of what lasted from and until then; `None` for an end that did not come.
    fn of_span(&self, from_us: u64, until_us: Option<u64>) -> Phase {
        if until_us.is_some_and(|until_us| until_us < self.first_us) {
            Phase::Before
        } else if self.last_us.is_some_and(|last_us| from_us >= last_us) {
            Phase::After
        } else {
            Phase::During
        }
    }

    /// When the first fault was injected.
    pub(crate) fn first_us(&self) -> u64 {
        self.first_us
    }

    /// When the last fault was over.
    pub(crate) fn last_us(&self) -> Option<u64> {
        self.last_us
    }
}

impl<'a> Case<'a> {
    /// The time that a claim is about: all of it without a phase, warm-up included.
    ///
    /// # Errors
    /// Why there is none: the rung had no fault, or it was never over.
    pub(crate) fn time_of(&self, claim: &Claim) -> Result<Range<u64>, String> {
        let Some(phase) = claim.phase else { return Ok(0..u64::MAX) };
        if !claim.property.has_phases() {
            return Err(format!("{} cannot be counted {phase} the faults alone", claim.property));
        }
        let phases = self.phases.ok_or("no fault was injected: the rung has no phases")?;
        let range = phases.range_us(phase);
        range.filter(|range| !range.is_empty()).ok_or_else(|| format!("there was no time {phase} the faults"))
    }

    /// The requests that a claim is about: those whose life, from the intended time to the answer, lies in its phase, and for the time
    /// of the faults those that reach into it. Call it for claims whose phase came.
    pub(crate) fn operations_of(&self, claim: &Claim) -> impl Iterator<Item = &'a OperationRecord> + use<'a> {
        let within = self.within(claim);
        let history = self.history;
        history.operations.iter().filter(move |row| within(row.intended_us, Some(row.done_us)))
    }

    /// The boundaries that a claim is about, the same way: from their first rebuild's start to their last one's end.
    pub(crate) fn boundaries_of(&self, claim: &Claim) -> impl Iterator<Item = &Boundary<'a>> {
        let within = self.within(claim);
        self.boundaries.iter().filter(move |boundary| {
            let ends: Option<Vec<u64>> = boundary.rebuilds.iter().map(|row| row.end_us).collect();
            within(boundary.first_start_us(), ends.and_then(|ends| ends.into_iter().max()))
        })
    }

    /// Whether what lasted from and until then is what a claim is about.
    pub(crate) fn within(&self, claim: &Claim) -> impl Fn(u64, Option<u64>) -> bool + use<> {
        let time = self.time_of(claim).unwrap_or(0..0);
        let phases = self.phases.zip(claim.phase);
        move |from_us, until_us| match phases {
            Some((phases, phase)) => {
                // What was meant to be sent before the window is nobody's.
                !time.is_empty() && from_us >= phases.start_us && phases.of_span(from_us, until_us) == phase
            }
            None => time.contains(&from_us),
        }
    }
}
