//! Names that OpenTelemetry's semantic conventions give to what all processes do: calls over gRPC.

use super::{Kind, Span, TraceContext, server};
use tonic::{Code, Status};

/// Begins a server's work on a call, kept if the caller's is. `method` is the full name, such as `herd.v1.Origin/Fetch`.
#[must_use]
pub fn rpc_server(method: &'static str, caller: Option<TraceContext>) -> Span {
    rpc(server(method, caller), method)
}

/// Begins a call to a server as a part of what `of` stands for.
#[must_use]
pub fn rpc_client(of: &Span, method: &'static str) -> Span {
    rpc(of.child(method, Kind::Client), method)
}

/// Says that a span is about a call.
#[must_use]
pub fn rpc(span: Span, method: &'static str) -> Span {
    span.with("rpc.system.name", "grpc").with("rpc.method", method)
}

/// Says how a call ended. At a server only what is its own fault is an error of the span; at a client every error is one.
pub fn rpc_ended(span: &Span, is_server: bool, error: Option<&Status>) {
    let code = error.map_or(Code::Ok, Status::code);
    span.set("rpc.response.status_code", code_name(code));
    if let Some(error) = error
        && (!is_server || is_servers_fault(code))
    {
        span.fail(code_name(code), error.message().to_owned());
    }
}

/// As the conventions for gRPC have it.
const fn is_servers_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// A status code as gRPC spells it.
#[must_use]
pub const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
