//! What the core asks for and needs waiting: each a task with a deadline, whose loss is reported.

use super::flights::{Flight, Flights};
use super::{Node, read_outcome};
use crate::errors::store_failure;
use crate::metrics::write_name;
use crate::peers::{Call, Wanted};
use crate::store::write::{Guard, NewValue, Refusal as StoreRefusal};
use crate::value::Value;
use herd_policy::{
    Action, Cause, Failure, FetchOutcome, HolderEnd, Lease, LeaseOutcome, OpId, Owner, ReadOutcome, Refusal,
    RenewOutcome, Time, WriteGuard, WriteOutcome,
};
use herd_service::trace::TraceContext;
use std::sync::Arc;
use std::time::Duration;
use tracing::{Span, debug, warn};

/// The largest body that is cached, bytes; larger ones are served and fetched again.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;

/// One task, with the flight on whose behalf it runs.
pub(super) struct Work {
    key: Arc<str>,
    flight: Option<Flight>,
    kind: Kind,
}

enum Kind {
    Read { op: OpId },
    Acquire { op: OpId, owner: Owner, expiry: Duration, wait: Duration, deadline: Time },
    Renew { op: OpId, owner: Owner, lease: Lease, expiry: Duration, deadline: Time },
    Release { owner: Owner, end: HolderEnd },
    Fetch { op: OpId, wanted: Wanted, deadline: Time },
    Write { op: OpId, value: Value, guard: Guard, observed: u64, ttl: Duration },
}

impl Work {
    /// What to run for an action; nothing for those that are settled at once.
    pub(super) fn of(action: Action<Value>, flights: &mut Flights) -> Option<Self> {
        let (key, rebuild, kind) = match action {
            Action::Read { op, key, rebuild, .. } => (key, rebuild, Kind::Read { op }),
            Action::Acquire { op, key, rebuild, owner, expiry, wait, deadline } => {
                (key, Some(rebuild), Kind::Acquire { op, owner, expiry, wait, deadline })
            }
            Action::Renew { op, key, rebuild, owner, lease, expiry, deadline } => {
                (key, Some(rebuild), Kind::Renew { op, owner, lease, expiry, deadline })
            }
            Action::Release { key, rebuild, owner, end } => {
                (key, Some(rebuild), Kind::Release { owner, end })
            }
            Action::Fetch { op, key, rebuild, generation, reason, lease, config, deadline } => {
                let wanted = Wanted { cache_key: key.clone(), generation, reason, lease, config };
                (key, Some(rebuild), Kind::Fetch { op, wanted, deadline })
            }
            // The store's own limit is shorter than any deadline of the core.
            Action::Write { op, key, rebuild, value, guard, generation, lease, ttl, deadline: _ } => {
                let guard = match (guard, lease) {
                    (WriteGuard::Unguarded, _) => Guard::Unguarded,
                    (WriteGuard::Fenced, None) => Guard::Generation,
                    (WriteGuard::Fenced, Some(Lease { token, epoch })) => Guard::Token { token, epoch },
                };
                (key, Some(rebuild), Kind::Write { op, value, guard, observed: generation, ttl })
            }
            Action::Serve(_) | Action::Ended(_) => return None,
        };
        let flight = rebuild.map(|rebuild| flights.named(rebuild, &key).clone());
        Some(Self { key, flight, kind })
    }
}

/// Runs one task and tells the core what came of it, also when it panics or is dropped.
pub(super) async fn perform(node: Arc<Node>, work: Work) {
    let Work { key, flight, kind } = work;
    // Only a lookup's own look has no flight, and nobody is told its trace.
    let flight = flight.unwrap_or_else(|| Flight { span: Span::none(), context: TraceContext::root() });
    let call = |deadline: Time| Call { remaining: deadline.since(node.now()), trace: flight.context };
    match kind {
        Kind::Read { op } => {
            let report = Report::new(&node, Outcome::Read(op, ReadOutcome::Failed(lost())));
            let found = node.store.look(&key).await;
            report.send(Outcome::Read(op, read_outcome(found)));
        }
        Kind::Acquire { op, owner, expiry, wait, deadline } => {
            let report = Report::new(&node, Outcome::Lease(op, LeaseOutcome::Unknown(lost())));
            let span = herd_service::span!(parent: &flight.span, "lock.acquire", herd.owner = %owner);
            let leased = node.locks.acquire(&key, owner, (expiry, wait), call(deadline)).await;
            drop(span);
            note_lease(&flight.span, &leased);
            report.send(Outcome::Lease(op, leased));
        }
        Kind::Renew { op, owner, lease, expiry, deadline } => {
            let report = Report::new(&node, Outcome::Renewed(op, RenewOutcome::Unavailable));
            let renewed = node.locks.renew(&key, owner, lease, expiry, call(deadline)).await;
            report.send(Outcome::Renewed(op, renewed));
        }
        Kind::Release { owner, end } => {
            if let Err(status) = node.locks.release(&key, owner, &end, flight.context).await {
                node.metrics.release_failed.inc();
                debug!(%key, code = ?status.code(), "a lease was not released; it ends at its expiry");
            }
        }
        Kind::Fetch { op, wanted, deadline } => {
            let report = Report::new(&node, Outcome::Fetched(op, FetchOutcome::Lost));
            flight.rebuilds();
            flight.span.record("herd.reason", tracing::field::debug(wanted.reason));
            let span = herd_service::span!(parent: &flight.span, "origin.fetch", herd.generation = wanted.generation);
            #[cfg(test)]
            node.panic_if_told();
            let fetched = node.origin.fetch(&wanted, call(deadline)).await;
            drop(span);
            report.send(Outcome::Fetched(op, fetched));
        }
        Kind::Write { op, value, guard, observed, ttl } => {
            let report = Report::new(&node, Outcome::Written(op, WriteOutcome::Failed(lost())));
            let span = herd_service::span!(parent: &flight.span, "cache.write", herd.guard = ?guard);
            let written = write(&node, &key, &value, guard, observed, ttl).await;
            drop(span);
            flight.span.record("herd.write", write_name(&written));
            node.metrics.wrote(&written);
            report.send(Outcome::Written(op, written));
        }
    }
}

async fn write(
    node: &Node,
    key: &str,
    value: &Value,
    guard: Guard,
    observed: u64,
    ttl: Duration,
) -> WriteOutcome {
    if value.body.len() > BODY_BYTES_MAX {
        return WriteOutcome::Uncacheable;
    }
    let new = NewValue {
        observed,
        ttl_ms: u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX),
        version: value.version,
        rebuild_trace: value.maker.trace,
        rebuild_span: value.maker.span,
        body: &value.body,
    };
    match node.store.write(key, new, guard).await {
        Ok(Ok(generation)) => WriteOutcome::Written { generation },
        Ok(Err(refusal)) => {
            debug!(key, refusal = refusal.as_str(), "the store refused a rebuilt value");
            WriteOutcome::Refused(match refusal {
                StoreRefusal::EpochMissing => Refusal::EpochMissing,
                StoreRefusal::EpochOld => Refusal::EpochOld,
                StoreRefusal::GenerationMoved => Refusal::GenerationMoved,
                StoreRefusal::TokenOld => Refusal::TokenOld,
            })
        }
        Err(error) => WriteOutcome::Failed(store_failure(&error)),
    }
}

fn note_lease(span: &Span, leased: &LeaseOutcome) {
    if let LeaseOutcome::Granted(lease) = leased {
        span.record("herd.token", lease.token);
    }
}

fn lost() -> Failure {
    Failure::retryable(Cause::Internal, "the task for it was lost")
}

enum Outcome {
    Read(OpId, ReadOutcome<Value>),
    Lease(OpId, LeaseOutcome),
    Renewed(OpId, RenewOutcome),
    Fetched(OpId, FetchOutcome<Value>),
    Written(OpId, WriteOutcome),
}

/// Owes the core an answer: what [`Report::send`] says or, if the task ends before that, that it was lost.
struct Report<'a> {
    node: &'a Arc<Node>,
    outcome: Option<Outcome>,
    lost: bool,
}

impl<'a> Report<'a> {
    fn new(node: &'a Arc<Node>, if_lost: Outcome) -> Self {
        Self { node, outcome: Some(if_lost), lost: true }
    }

    fn send(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
        self.lost = false;
    }
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if self.lost && std::thread::panicking() {
            warn!("a task of a rebuild panicked");
        }
        let Some(outcome) = self.outcome.take() else { return };
        self.node.tell(|core, now| match outcome {
            Outcome::Read(op, outcome) => core.handle_read(now, op, outcome),
            Outcome::Lease(op, outcome) => core.handle_lease(now, op, outcome),
            Outcome::Renewed(op, outcome) => core.handle_renewed(now, op, outcome),
            Outcome::Fetched(op, outcome) => core.handle_fetched(now, op, outcome),
            Outcome::Written(op, outcome) => core.handle_written(now, op, outcome),
        });
    }
}
