//! What the core asks for and needs waiting: each a task with a deadline, whose loss is reported.

use super::Node;
use super::flights::{Flight, Flights, News};
use super::lookups::read_outcome;
use crate::errors::{cause_name, note_failure, store_failure};
use crate::metrics::write_name;
use crate::peers::{Call, Fetched, Wanted};
use crate::store::write::{Guard, NewValue, Refusal as StoreRefusal};
use crate::store::{Place, redis_span};
use crate::value::{Maker, Value};
use herd_policy::{
    Action, Cause, Config, Failure, FetchOutcome, HolderEnd, HolderFailure, Lease, LeaseOutcome, OpId, Owner,
    ReadOutcome, RebuildId, Refusal, RenewOutcome, Time, WriteGuard, WriteOutcome,
};
use herd_service::trace::conventions::rpc_client;
use herd_service::trace::{self, Span};
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, warn};

/// The largest body that is cached, bytes; larger ones are served and fetched again.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;

/// One task, with the flight on whose behalf it runs.
pub(super) struct Work {
    key: Arc<str>,
    rebuild: Option<RebuildId>,
    flight: Option<Flight>,
    kind: Kind,
}

enum Kind {
    Read {
        op: OpId,
    },
    Acquire {
        op: OpId,
        rebuild: RebuildId,
        owner: Owner,
        times: (Duration, Duration),
        volatile_tokens: bool,
        deadline: Time,
    },
    Renew {
        op: OpId,
        rebuild: RebuildId,
        owner: Owner,
        lease: Lease,
        expiry: Duration,
        deadline: Time,
    },
    Release {
        owner: Owner,
        end: HolderEnd,
        unconditional: bool,
    },
    Fetch {
        op: OpId,
        rebuild: RebuildId,
        wanted: Wanted,
        deadline: Time,
    },
    Write {
        op: OpId,
        write: Write,
    },
}

/// What a flight has Redis keep.
struct Write {
    /// `None`: that the row does not exist.
    value: Option<Value>,
    guard: Guard,
    observed: u64,
    ttl: Duration,
    took: Duration,
    config: Arc<Config>,
}

impl Work {
    /// What to run for an action; nothing for those that are settled at once.
    pub(super) fn of(action: Action<Value>, flights: &mut Flights) -> Option<Self> {
        let (key, rebuild, kind) = match action {
            Action::Read { op, key, rebuild, .. } => (key, rebuild, Kind::Read { op }),
            Action::Acquire { op, key, rebuild, owner, expiry, wait, volatile_tokens, deadline } => {
                let times = (expiry, wait);
                (key, Some(rebuild), Kind::Acquire { op, rebuild, owner, times, volatile_tokens, deadline })
            }
            Action::Renew { op, key, rebuild, owner, lease, expiry, deadline } => {
                (key, Some(rebuild), Kind::Renew { op, rebuild, owner, lease, expiry, deadline })
            }
            Action::Release { key, rebuild, owner, end, unconditional } => {
                (key, Some(rebuild), Kind::Release { owner, end, unconditional })
            }
            Action::Fetch { op, key, rebuild, generation, reason, lease, config, deadline } => {
                flights.named(rebuild, &key).config = Some(config.clone());
                let wanted = Wanted { cache_key: key.clone(), generation, reason, lease, config };
                (key, Some(rebuild), Kind::Fetch { op, rebuild, wanted, deadline })
            }
            // The store's own limit is shorter than any deadline of the core.
            Action::Write {
                op,
                key,
                rebuild,
                value,
                guard,
                generation,
                lease,
                ttl,
                rebuild_took,
                deadline: _,
            } => {
                let guard = match (guard, lease) {
                    (WriteGuard::Unguarded, _) => Guard::Unguarded,
                    (WriteGuard::Fenced, None) => Guard::Generation,
                    (WriteGuard::Fenced, Some(Lease { token, epoch })) => Guard::Token { token, epoch },
                };
                let config =
                    flights.named(rebuild, &key).config.clone().expect("fetched before it is written");
                let write = Write { value, guard, observed: generation, ttl, took: rebuild_took, config };
                (key, Some(rebuild), Kind::Write { op, write })
            }
            Action::Serve(_) | Action::Ended(_) => return None,
        };
        let flight = match &kind {
            // A lease that was granted late is given back when its flight is over: nothing would ever end another one.
            Kind::Release { .. } => {
                rebuild.and_then(|rebuild| flights.get(rebuild)).map(|known| known.flight.clone())
            }
            _ => rebuild.map(|rebuild| flights.named(rebuild, &key).flight.clone()),
        };
        Some(Self { key, rebuild, flight, kind })
    }
}

/// Runs one task and tells the core what came of it, also when it panics or is dropped.
pub(super) async fn perform(node: Arc<Node>, work: Work) {
    let Work { key, rebuild: of, flight, kind } = work;
    // A lookup's own look has no flight, and a release after the flight's end.
    let flight = flight.unwrap_or_else(Flight::none);
    let call = |deadline: Time, span: &Span| Call {
        remaining: deadline.since(node.now()),
        trace: flight.continued_by(span),
        span: span.clone(),
    };
    let owes = |if_lost: Outcome| Report::new(&node, of, if_lost);
    match kind {
        Kind::Read { op } => {
            let report = owes(Outcome::Read(op, ReadOutcome::Failed(lost())));
            let span = redis_span(flight.span.child("GET", trace::Kind::Client), "GET");
            let found = node.store.look(&key).await;
            // The filter of existing keys has its say at a lookup's own look; a flight has set out to find out.
            let found = read_outcome(found, || true);
            if let ReadOutcome::Failed(failure) = &found {
                note_failure(&span, failure);
            }
            drop(span);
            report.send(Outcome::Read(op, found));
        }
        Kind::Acquire { op, rebuild, owner, times, volatile_tokens, deadline } => {
            let report = owes(Outcome::Lease(op, LeaseOutcome::Unknown(lost())));
            let span = rpc_client(&flight.span, "herd.v1.LockService/Acquire");
            let leased = node.locks.acquire(&key, owner, times, volatile_tokens, call(deadline, &span)).await;
            note_lease(&span, &leased);
            drop(span);
            node.lock().flights.leased(rebuild, &leased, times.0);
            report.send(Outcome::Lease(op, leased));
        }
        Kind::Renew { op, rebuild, owner, lease, expiry, deadline } => {
            let report = owes(Outcome::Renewed(op, RenewOutcome::Unavailable));
            let span = rpc_client(&flight.span, "herd.v1.LockService/Renew");
            let renewed = node.locks.renew(&key, owner, lease, expiry, call(deadline, &span)).await;
            drop(span);
            node.lock().flights.renewed(rebuild, &renewed, expiry);
            report.send(Outcome::Renewed(op, renewed));
        }
        Kind::Release { owner, end, unconditional } => {
            let span = rpc_client(&flight.span, "herd.v1.LockService/Release");
            let trace = flight.continued_by(&span);
            let released = node.locks.release(&key, owner, &end, unconditional, trace, span).await;
            if let Err(status) = released {
                node.metrics.release_failed.inc();
                debug!(%key, code = ?status.code(), "a lease was not released; it ends at its expiry");
            }
        }
        Kind::Fetch { op, rebuild, wanted, deadline } => {
            let report = owes(Outcome::Fetched(op, FetchOutcome::Lost));
            flight.rebuilds(wanted.row(), wanted.reason, &wanted.config);
            let span = rpc_client(&flight.span, "herd.v1.Origin/Fetch");
            #[cfg(test)]
            node.panic_if_told();
            let maker = Maker::of(&flight.context);
            let Fetched { outcome, pushback } =
                node.origin.fetch(&wanted, maker, call(deadline, &span)).await;
            drop(span);
            node.lock().flights.push_back(rebuild, pushback);
            report.send(Outcome::Fetched(op, outcome));
        }
        Kind::Write { op, write } => {
            let report = owes(Outcome::Written(op, WriteOutcome::Failed(lost())));
            let span = redis_span(flight.span.child("EVALSHA guarded_write", trace::Kind::Client), "EVALSHA")
                .with("db.stored_procedure.name", "guarded_write");
            let written = keep(&node, &key, &write, Maker::of(&flight.context)).await;
            span.set("herd.write.outcome", write_name(&written));
            if let WriteOutcome::Failed(failure) = &written {
                note_failure(&span, failure);
            }
            drop(span);
            flight.wrote(&written);
            node.metrics.wrote(&written);
            report.send(Outcome::Written(op, written));
        }
    }
}

async fn keep(node: &Node, key: &str, write: &Write, flight: Maker) -> WriteOutcome {
    let Write { value, guard, observed, ttl, took, config } = write;
    if value.as_ref().is_some_and(|value| value.body.len() > BODY_BYTES_MAX) {
        return WriteOutcome::Uncacheable;
    }
    let maker = value.as_ref().map_or(flight, |value| value.maker);
    let grace = config.stale.as_ref().map_or(Duration::ZERO, |stale| stale.grace);
    let new = NewValue {
        observed: *observed,
        ttl_ms: millis(*ttl),
        grace_ms: if value.is_some() { millis(grace) } else { 0 },
        version: value.as_ref().map_or(0, |value| value.version),
        rebuild_trace: maker.trace,
        rebuild_span: maker.span,
        rebuild_took_us: u32::try_from(took.as_micros()).unwrap_or(u32::MAX),
        body: value.as_ref().map(|value| &*value.body),
    };
    let place = Place { prefix: &config.key_prefix, cache_key: key };
    match node.store.write(place, new, *guard).await {
        Ok(Ok(generation)) => {
            // Redis will say so too, a little later.
            node.forget(key);
            WriteOutcome::Written { generation }
        }
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

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn note_lease(span: &Span, leased: &LeaseOutcome) {
    match leased {
        LeaseOutcome::Granted(lease) => {
            span.set("herd.lock.outcome", "granted");
            span.set("herd.fencing_token", lease.token);
        }
        LeaseOutcome::HolderDone => span.set("herd.lock.outcome", "holder_done"),
        LeaseOutcome::HolderFailed(_) => span.set("herd.lock.outcome", "holder_failed"),
        LeaseOutcome::WaitTimeout => span.set("herd.lock.outcome", "wait_timeout"),
        // How the call ended says it all.
        LeaseOutcome::Unavailable(_) | LeaseOutcome::Unknown(_) => {}
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

impl Outcome {
    /// What it means for the end of its flight, if anything.
    fn news(&self) -> Option<News> {
        let failed = |failure: &Failure| News::Failed(cause_name(failure.cause), failure.detail.clone());
        Some(match self {
            Self::Read(_, ReadOutcome::Negative { .. }) | Self::Fetched(_, FetchOutcome::NotFound) => {
                News::NoSuchRow
            }
            Self::Lease(_, LeaseOutcome::HolderFailed(HolderFailure::NoSuchRow { .. })) => News::NoSuchRow,
            Self::Lease(_, LeaseOutcome::WaitTimeout) => {
                News::Failed("wait_timeout", "the wait for the lease ran out".into())
            }
            Self::Read(_, ReadOutcome::Failed(failure))
            | Self::Lease(
                _,
                LeaseOutcome::Unavailable(failure)
                | LeaseOutcome::Unknown(failure)
                | LeaseOutcome::HolderFailed(HolderFailure::Failed(failure)),
            )
            | Self::Fetched(_, FetchOutcome::Failed(failure))
            | Self::Written(_, WriteOutcome::Failed(failure)) => failed(failure),
            Self::Fetched(_, FetchOutcome::Lost) => {
                News::Failed("lost", "the task of the rebuild was lost".into())
            }
            Self::Fetched(_, FetchOutcome::Fetched(_)) => News::Row,
            Self::Written(_, WriteOutcome::Refused(_)) => News::Refused,
            _ => return None,
        })
    }
}

/// Owes the core an answer: what [`Report::send`] says or, if the task ends before that, that it was lost.
struct Report<'a> {
    node: &'a Arc<Node>,
    rebuild: Option<RebuildId>,
    outcome: Option<Outcome>,
    lost: bool,
}

impl<'a> Report<'a> {
    fn new(node: &'a Arc<Node>, rebuild: Option<RebuildId>, if_lost: Outcome) -> Self {
        Self { node, rebuild, outcome: Some(if_lost), lost: true }
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
        if let (Some(rebuild), Some(news)) = (self.rebuild, outcome.news()) {
            self.node.lock().flights.heard(rebuild, news);
        }
        self.node.tell(|core, now| match outcome {
            Outcome::Read(op, outcome) => core.handle_read(now, op, outcome),
            Outcome::Lease(op, outcome) => core.handle_lease(now, op, outcome),
            Outcome::Renewed(op, outcome) => core.handle_renewed(now, op, outcome),
            Outcome::Fetched(op, outcome) => core.handle_fetched(now, op, outcome),
            Outcome::Written(op, outcome) => core.handle_written(now, op, outcome),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herd_policy::{Core, Limits};

    /// Goal: a lease that was granted late and is given back after its flight's end opens no flight, which nothing would end.
    #[test]
    fn a_late_release_opens_no_flight() {
        let mut core = Core::<Value>::new(Arc::default(), Limits::default(), 1);
        let soon = Time::ZERO + Duration::from_secs(1);
        core.handle_lookup(Time::ZERO, "p:a".into(), soon);
        let Some(Action::Read { op, key, .. }) = core.poll_action() else { panic!("it looks first") };
        core.handle_read(Time::ZERO, op, ReadOutcome::Absent { generation: 0, may_exist: true });
        let Some(again @ Action::Read { rebuild: Some(rebuild), .. }) = core.poll_action() else {
            panic!("its flight looks again")
        };
        let release = || Action::Release {
            key: key.clone(),
            rebuild,
            owner: Owner { rebuild, attempt: 1 },
            end: HolderEnd::Abandoned,
            unconditional: false,
        };
        let mut flights = Flights::default();
        assert!(Work::of(release(), &mut flights).is_some_and(|work| work.flight.is_none()));
        assert!(flights.get(rebuild).is_none(), "it is under way for ever");
        // One that is under way is the release's own.
        assert!(Work::of(again, &mut flights).is_some());
        assert!(Work::of(release(), &mut flights).is_some_and(|work| work.flight.is_some()));
    }
}
