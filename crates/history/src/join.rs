//! Joins the start and end events of the origin's ledger to one row a rebuild.

use std::collections::BTreeMap;

use crate::record::{FetchOutcome, LedgerRow, LedgerSpan};

/// Foreign ends that a span lists; further ones show as gaps.
const FOREIGN_ENDS_MAX: usize = 1_000;

/// What an end event adds to a rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Sequence number of the end event.
    pub seq: u64,
    /// Sequence number of the start event.
    pub rebuild: u64,
    /// Unix microseconds.
    pub at_us: u64,
    /// How it ended.
    pub outcome: FetchOutcome,
    /// The row's version.
    pub version: u64,
    /// Waited for a pool connection, microseconds.
    pub queued_us: u64,
    /// From start to end, microseconds.
    pub worked_us: u64,
    /// Of that, waited at the gate, microseconds.
    pub gate_us: u64,
}

/// Joins events of one span of the ledger, in any order of ends after their starts.
#[derive(Debug)]
pub struct LedgerJoiner {
    rows: BTreeMap<u64, LedgerRow>,
    span: LedgerSpan,
}

impl LedgerJoiner {
    /// Starts a span at this sequence number (inclusive).
    #[must_use]
    pub fn new(first_seq: u64) -> Self {
        let span = LedgerSpan { first_seq, last_seq: first_seq.saturating_sub(1), foreign_ends: Vec::new() };
        Self { rows: BTreeMap::new(), span }
    }

    /// A start event: a row without its end.
    pub fn started(&mut self, row: LedgerRow) {
        self.span.last_seq = self.span.last_seq.max(row.rebuild);
        self.rows.insert(row.rebuild, row);
    }

    /// An end event.
    pub fn ended(&mut self, end: Ended) {
        self.span.last_seq = self.span.last_seq.max(end.seq);
        match self.rows.get_mut(&end.rebuild) {
            Some(row) => {
                row.end_seq = Some(end.seq);
                row.end_us = Some(end.at_us);
                row.outcome = Some(end.outcome);
                row.version = end.version;
                row.queued_us = end.queued_us;
                row.worked_us = end.worked_us;
                row.gate_us = end.gate_us;
            }
            None if self.span.foreign_ends.len() < FOREIGN_ENDS_MAX => self.span.foreign_ends.push(end.seq),
            None => {}
        }
    }

    /// Rebuilds that have no end yet.
    #[must_use]
    pub fn open(&self) -> usize {
        self.rows.values().filter(|row| row.end_seq.is_none()).count()
    }

    /// The rows in order of their starts, and the span that they fill.
    #[must_use]
    pub fn finish(self) -> (Vec<LedgerRow>, LedgerSpan) {
        (self.rows.into_values().collect(), self.span)
    }
}
