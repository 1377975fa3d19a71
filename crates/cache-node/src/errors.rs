//! What a client is told when a lookup got no value, and what the core is told when a part failed.

use crate::node::PutError;
use crate::store::StoreError;
use herd_policy::{Cause, Error, Failure, Limit, Part};
use herd_service::rpc::peer_status;
use herd_service::trace::Span;
use herd_wire::error::{ErrorSource, status};
use tonic::{Code, Status};

/// The status of a lookup that got no value.
#[must_use]
pub fn status_of(error: &Error) -> Status {
    let code = match error {
        Error::NotFound { .. } => Code::NotFound,
        Error::Deadline => Code::DeadlineExceeded,
        Error::Overloaded { limit: Limit::Lookups | Limit::Flights | Limit::Waiters } => {
            Code::ResourceExhausted
        }
        // However they failed: to a client, the part is away.
        Error::Cache(_) | Error::Lock(_) => Code::Unavailable,
        Error::Origin(failure) => code_of(failure.cause),
        _ => Code::Unavailable,
    };
    status(code, source_of(error.source_part()), error.to_string())
}

fn code_of(cause: Cause) -> Code {
    match cause {
        Cause::Unavailable => Code::Unavailable,
        Cause::DeadlineExceeded => Code::DeadlineExceeded,
        Cause::Overloaded => Code::ResourceExhausted,
        Cause::Invalid | Cause::Internal => Code::Internal,
    }
}

fn source_of(part: Part) -> ErrorSource {
    match part {
        Part::Client => ErrorSource::Client,
        Part::Node => ErrorSource::Peer,
        Part::Cache => ErrorSource::Cache,
        Part::Lock => ErrorSource::Lock,
        Part::Origin => ErrorSource::Origin,
    }
}

/// What the core is told when Redis failed.
#[must_use]
pub fn store_failure(error: &StoreError) -> Failure {
    let cause = match error {
        StoreError::TimedOut => Cause::DeadlineExceeded,
        StoreError::Away(_) | StoreError::Contended { .. } => Cause::Unavailable,
        StoreError::Address(_) | StoreError::Protocol { .. } => Cause::Internal,
    };
    Failure::retryable(cause, error.to_string())
}

/// A kind of failure as spans name it (`error.type`).
#[must_use]
pub const fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Unavailable => "unavailable",
        Cause::DeadlineExceeded => "deadline_exceeded",
        Cause::Overloaded => "overloaded",
        Cause::Invalid => "invalid",
        Cause::Internal => "internal",
    }
}

/// Says in the span of an operation that it failed.
pub fn note_failure(span: &Span, failure: &Failure) {
    if span.is_recording() {
        span.fail(cause_name(failure.cause), failure.detail.to_string());
    }
}

/// The status of a request that failed at the store itself.
#[must_use]
pub fn store_status(error: &StoreError) -> Status {
    status(Code::Unavailable, ErrorSource::Cache, error.to_string())
}

/// The status of a row that was not written, or not wholly.
#[must_use]
pub fn put_status(error: PutError) -> Status {
    let said = error.to_string();
    match error {
        PutError::NotConfigured(_) | PutError::Lost => status(Code::Unavailable, ErrorSource::Peer, said),
        PutError::Overloaded => status(Code::ResourceExhausted, ErrorSource::Peer, said),
        PutError::Origin(error) => {
            let pushback = herd_wire::error::pushback(&error);
            let mut status = peer_status(*error, ErrorSource::Origin);
            if let Some(wait) = pushback {
                herd_wire::error::set_pushback(&mut status, wait);
            }
            status
        }
        PutError::NotCleared { why, .. } => {
            status(Code::Unavailable, ErrorSource::Cache, format!("{said}: {why}"))
        }
    }
}

/// What the core is told when a call to another process failed.
#[must_use]
pub fn peer_failure(error: Status, source: ErrorSource) -> Failure {
    let error = peer_status(error, source);
    let cause = match error.code() {
        Code::Unavailable | Code::Aborted => Cause::Unavailable,
        Code::DeadlineExceeded => Cause::DeadlineExceeded,
        Code::ResourceExhausted => Cause::Overloaded,
        Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented => Cause::Invalid,
        _ => Cause::Internal,
    };
    let retryable = herd_wire::error::is_retryable(&error);
    Failure { cause, retryable, detail: error.message().into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herd_policy::AbsentBy;

    /// Each part that may be away has a status of its own, and says whether a retry makes sense.
    #[test]
    fn statuses() {
        let away = Failure::retryable(Cause::Unavailable, "away");
        let late = Failure::retryable(Cause::DeadlineExceeded, "late");
        for (error, code, source, retryable) in [
            (Error::NotFound { by: AbsentBy::Sentinel }, Code::NotFound, ErrorSource::Origin, false),
            (Error::Deadline, Code::DeadlineExceeded, ErrorSource::Client, true),
            (Error::Overloaded { limit: Limit::Flights }, Code::ResourceExhausted, ErrorSource::Peer, true),
            (Error::Cache(late.clone()), Code::Unavailable, ErrorSource::Cache, true),
            (Error::Lock(away.clone()), Code::Unavailable, ErrorSource::Lock, true),
            (Error::Lock(late.clone()), Code::Unavailable, ErrorSource::Lock, true),
            (Error::WaitTimeout, Code::Unavailable, ErrorSource::Lock, true),
            (Error::Origin(away), Code::Unavailable, ErrorSource::Origin, true),
            (Error::Origin(late), Code::DeadlineExceeded, ErrorSource::Origin, true),
            (Error::RebuildLost, Code::Unavailable, ErrorSource::Peer, true),
        ] {
            let status = status_of(&error);
            assert_eq!((status.code(), ErrorSource::of(&status)), (code, Some(source)), "{error}");
            assert_eq!(herd_wire::error::is_retryable(&status), retryable, "{error}");
        }
    }
}
