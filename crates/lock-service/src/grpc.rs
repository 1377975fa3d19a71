//! The gRPC service over [`Locks`].

use crate::counters::Counters;
use crate::known_bad::KnownBad;
use crate::locks::{Answer, Locks, LocksError, Wanted};
use crate::metrics::{LockMetrics, outcome_name};
use herd_lease::arbiter::{Failure, Reply};
use herd_lease::{HolderEnd, HolderFailure, Token};
use herd_service::trace::conventions::{rpc_ended, rpc_server};
use herd_service::trace::{Span, TraceContext};
use herd_wire::error::{ErrorSource, status};
use herd_wire::v1::acquire_response::Outcome;
use herd_wire::v1::lock_admin_server::{LockAdmin, LockAdminServer};
use herd_wire::v1::lock_service_server::{LockService, LockServiceServer};
use herd_wire::v1::{
    self, AcquireRequest, AcquireResponse, Grant, HolderDone, HolderFailed, InspectRequest, InspectResponse,
    LockClock, ReleaseRequest, ReleaseResponse, RenewRequest, RenewResponse, WaitTimeout,
};
use std::time::{Duration, Instant};
use tonic::{Code, Request, Response, Status};

/// `herd.v1.LockService`. Cloning shares it.
pub struct LockGrpc<S, C> {
    locks: Locks<S, C>,
    metrics: LockMetrics,
}

impl<S: KnownBad, C: Counters> LockGrpc<S, C> {
    /// Serves `locks`.
    pub const fn new(locks: Locks<S, C>, metrics: LockMetrics) -> Self {
        Self { locks, metrics }
    }

    /// The service for a server.
    pub fn into_service(self) -> LockServiceServer<Self> {
        LockServiceServer::new(self)
    }

    /// The laboratory's side of it, for the same server.
    pub fn admin(&self) -> LockAdminServer<LockLab<S, C>> {
        LockAdminServer::new(LockLab(self.locks.clone()))
    }

    async fn answer(&self, request: &AcquireRequest, span: &Span) -> Result<Answer, LocksError> {
        let began = Instant::now();
        let AcquireRequest { name, owner, expiry_ms, wait_ms, volatile_token } = request;
        let wanted = Wanted { name, owner, expiry_ms: *expiry_ms, wait_ms: *wait_ms };
        let mut answer = self.locks.acquire(wanted).await;
        if *volatile_token && let Ok(good) = answer {
            answer = self.locks.with_volatile_token(name, owner, good).await;
        }
        let outcome = match &answer {
            Ok(answer) => outcome_name(&answer.reply),
            Err(LocksError::Malformed(_)) => "malformed",
            Err(LocksError::Overloaded(_)) => "overloaded",
            Err(LocksError::Failed(_)) => "failed",
        };
        self.metrics.count_acquire(outcome, began.elapsed());
        span.set("herd.lock.outcome", outcome);
        if let Ok(Answer { reply, waited_ms }) = &answer {
            span.set("herd.lock.wait_ms", Duration::from_millis((*waited_ms).into()));
            if let Reply::Granted(grant) = reply {
                span.set("herd.fencing_token", grant.token.0);
                span.set("herd.epoch", grant.epoch.0);
            }
        }
        answer
    }
}

#[tonic::async_trait]
impl<S: KnownBad, C: Counters> LockService for LockGrpc<S, C> {
    async fn acquire(&self, request: Request<AcquireRequest>) -> Result<Response<AcquireResponse>, Status> {
        let span = span_of("herd.v1.LockService/Acquire", &request, &request.get_ref().name);
        span.set("herd.lease.owner", request.get_ref().owner.as_str());
        let request = request.into_inner();
        let answer = self.answer(&request, &span).await;
        let answer = answer.map_err(|error| locks_status(&error)).and_then(acquired);
        rpc_ended(&span, true, answer.as_ref().err());
        answer.map(Response::new)
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let span = span_of("herd.v1.LockService/Renew", &request, &request.get_ref().name);
        let RenewRequest { name, owner, token, expiry_ms } = request.into_inner();
        let renewed = self.locks.renew(&name, &owner, Token(token), expiry_ms).await;
        let renewed = renewed.map_err(|error| locks_status(&error));
        rpc_ended(&span, true, renewed.as_ref().err());
        let held = renewed?;
        if !held {
            span.event("herd.lease.expired", [("herd.known_by", "lock service".into())]);
        }
        Ok(Response::new(RenewResponse { held }))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        let span = span_of("herd.v1.LockService/Release", &request, &request.get_ref().name);
        let request = request.into_inner();
        let end = holder_end(&request);
        let ReleaseRequest { name, owner, unconditional, .. } = request;
        let freed = if unconditional {
            self.locks.release_unconditionally(&name, end).await
        } else {
            self.locks.release(&name, &owner, end).await
        };
        let freed = freed.map_err(|error| locks_status(&error));
        rpc_ended(&span, true, freed.as_ref().err());
        let released = freed?;
        self.metrics.count_release(released);
        Ok(Response::new(ReleaseResponse { released }))
    }

    async fn inspect(&self, request: Request<InspectRequest>) -> Result<Response<InspectResponse>, Status> {
        let inspected = self.locks.inspect(&request.into_inner().name).await;
        let inspected = inspected.map_err(|error| locks_status(&error))?;
        let waiters = inspected.waiters;
        Ok(Response::new(match inspected.lease {
            None => InspectResponse { waiters, ..InspectResponse::default() },
            Some(lease) => InspectResponse {
                held: true,
                owner: lease.owner,
                token: lease.token.0,
                epoch: lease.epoch.0,
                expires_in_ms: lease.expires_in_ms,
                waiters,
            },
        }))
    }
}

/// `herd.v1.LockAdmin`.
pub struct LockLab<S, C>(Locks<S, C>);

#[tonic::async_trait]
impl<S: KnownBad, C: Counters> LockAdmin for LockLab<S, C> {
    async fn set_clock(&self, request: Request<LockClock>) -> Result<Response<LockClock>, Status> {
        let clock = self.0.clock();
        let set = clock.set(request.into_inner().rate);
        set.map_err(|bad| status(Code::InvalidArgument, ErrorSource::Client, bad.to_string()))?;
        tracing::info!(rate = clock.rate(), "the clock by which leases end is set");
        Ok(Response::new(LockClock { rate: clock.rate() }))
    }
}

/// The span of a call about a lease, in the trace of whoever asks for it.
fn span_of<T>(method: &'static str, request: &Request<T>, lease: &str) -> Span {
    let span = rpc_server(method, TraceContext::extract(request.metadata()));
    span.set("herd.lease.name", lease);
    span
}

/// An end that this build does not know leaves the next waiter to find out.
fn holder_end(request: &ReleaseRequest) -> HolderEnd {
    match request.end() {
        v1::HolderEnd::Abandoned => HolderEnd::Abandoned,
        v1::HolderEnd::ValueWritten => HolderEnd::ValueWritten,
        v1::HolderEnd::NoSuchRow => {
            HolderEnd::Failed(HolderFailure::NoSuchRow { generation: request.generation })
        }
        v1::HolderEnd::Failed => {
            HolderEnd::Failed(HolderFailure::failed(request.retryable, request.message.clone()))
        }
    }
}

/// What came of an acquire, or the status of one that failed.
fn acquired(Answer { reply, waited_ms }: Answer) -> Result<AcquireResponse, Status> {
    let outcome = match reply {
        Reply::Granted(grant) => Outcome::Granted(Grant {
            token: grant.token.0,
            epoch: grant.epoch.0,
            expiry_ms: grant.expires_in_ms,
            repeated: grant.repeated,
        }),
        Reply::HolderDone => Outcome::HolderDone(HolderDone {}),
        Reply::HolderFailed(failure) => Outcome::HolderFailed(told(failure)),
        Reply::WaitTimeout { holder, expires_in_ms } => {
            Outcome::WaitTimeout(WaitTimeout { holder, expires_in_ms })
        }
        Reply::Failed(failure) => return Err(failure_status(&failure)),
    };
    Ok(AcquireResponse { outcome: Some(outcome), waited_ms })
}

fn told(failure: HolderFailure) -> HolderFailed {
    match failure {
        HolderFailure::NoSuchRow { generation } => {
            HolderFailed { end: v1::HolderEnd::NoSuchRow.into(), generation, ..HolderFailed::default() }
        }
        HolderFailure::Failed { retryable, message } => {
            HolderFailed { end: v1::HolderEnd::Failed.into(), retryable, message, ..HolderFailed::default() }
        }
    }
}

fn locks_status(error: &LocksError) -> Status {
    match error {
        LocksError::Malformed(error) => status(Code::InvalidArgument, ErrorSource::Client, error.to_string()),
        LocksError::Overloaded(error) => {
            status(Code::ResourceExhausted, ErrorSource::Lock, error.to_string())
        }
        LocksError::Failed(failure) => failure_status(failure),
    }
}

fn failure_status(failure: &Failure) -> Status {
    let code =
        if matches!(failure, Failure::StoreFull(_)) { Code::ResourceExhausted } else { Code::Unavailable };
    status(code, ErrorSource::Lock, failure.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an acquire that the arbiter fails is an error before its span ends, whose fault and which code as the caller hears it.
    #[test]
    fn a_failed_reply_is_a_status() {
        let failed = |failure| acquired(Answer { reply: Reply::Failed(failure), waited_ms: 3 }).unwrap_err();
        assert_eq!(failed(Failure::StoreAway("away".to_owned())).code(), Code::Unavailable);
        assert_eq!(failed(Failure::StoreFull("full".to_owned())).code(), Code::ResourceExhausted);
        assert_eq!(ErrorSource::of(&failed(Failure::Draining)), Some(ErrorSource::Lock));
        let done = acquired(Answer { reply: Reply::HolderDone, waited_ms: 3 }).unwrap();
        assert_eq!((done.waited_ms, done.outcome), (3, Some(Outcome::HolderDone(HolderDone {}))));
    }
}
