//! A rebuild on its way: what it waits for, and its end in the ledger.

use super::{FetchError, Fetcher};
use crate::metrics;
use herd_service::trace::Span;
use herd_wire::v1::{FetchOutcome, RebuildEnded};
use std::time::Duration;
use tokio::time::Instant;

/// A wait that a rebuild may come to.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    NotYet,
    Waiting(Instant),
    Waited(Duration),
}

impl Wait {
    pub(super) fn stop(&mut self) -> Duration {
        *self = Self::Waited(self.so_far());
        self.so_far()
    }

    fn so_far(self) -> Duration {
        match self {
            Self::NotYet => Duration::ZERO,
            Self::Waiting(since) => since.elapsed(),
            Self::Waited(time) => time,
        }
    }
}

/// A rebuild whose start stands in the ledger. It ends exactly once, at the latest when it is dropped.
pub(super) struct Rebuild<'a> {
    fetcher: &'a Fetcher,
    number: u64,
    started: Instant,
    /// For a place inside the gate.
    pub(super) gate: Wait,
    /// For a connection of the pool.
    pub(super) queue: Wait,
    span: &'a Span,
    ended: bool,
}

impl<'a> Rebuild<'a> {
    pub(super) const fn new(fetcher: &'a Fetcher, number: u64, started: Instant, span: &'a Span) -> Self {
        Self { fetcher, number, started, gate: Wait::NotYet, queue: Wait::NotYet, span, ended: false }
    }

    pub(super) const fn span(&self) -> &'a Span {
        self.span
    }

    pub(super) fn end(&mut self, outcome: FetchOutcome, version: u64) -> Result<(), FetchError> {
        self.ended = true;
        let queued_us = microseconds(self.queue.so_far());
        let gate_us = microseconds(self.gate.so_far());
        let worked_us = microseconds(self.started.elapsed());
        self.fetcher.metrics.count_end(outcome);
        self.span.set("herd.ledger.rebuild", self.number);
        self.span.set("herd.origin.outcome", metrics::name(outcome));
        self.span.set("herd.origin.gate_us", gate_us);
        self.span.set("herd.origin.pool_us", queued_us);
        self.span.set("rpc.response.status_code", status_name(outcome));
        if matches!(outcome, FetchOutcome::Failed | FetchOutcome::Cancelled) {
            self.span.fail(status_name(outcome), metrics::name(outcome));
        }
        let ended = RebuildEnded { outcome: outcome.into(), version, queued_us, worked_us, gate_us };
        self.fetcher.ledger.end(self.number, ended).map(drop).map_err(FetchError::Ledger)
    }
}

impl Drop for Rebuild<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let outcome =
                if std::thread::panicking() { FetchOutcome::Failed } else { FetchOutcome::Cancelled };
            // A ledger that is closed or broken has said so; to its readers this rebuild was cut off.
            let _ = self.end(outcome, 0);
        }
    }
}

/// The gRPC status that the caller gets, or would if it were still there.
const fn status_name(outcome: FetchOutcome) -> &'static str {
    match outcome {
        FetchOutcome::Fetched => "OK",
        FetchOutcome::NoSuchRow => "NOT_FOUND",
        FetchOutcome::Rejected => "RESOURCE_EXHAUSTED",
        FetchOutcome::Cancelled => "DEADLINE_EXCEEDED",
        FetchOutcome::Failed | FetchOutcome::Unspecified => "UNAVAILABLE",
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
