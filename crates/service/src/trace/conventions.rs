//! Names that OpenTelemetry's semantic conventions give to what all processes do: calls over gRPC.

use super::{Kind, Span, TraceContext, server};
use crate::rpc::PeerUrl;
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

/// Says whom a client calls.
pub fn rpc_to(span: &Span, server: &PeerUrl) {
    if span.is_recording() {
        span.set("server.address", server.host());
        span.set("server.port", u32::from(server.port()));
    }
}

/// Says how a call ended. At a server only what is its own fault is an error of the span; at a client every error is one, but
/// that there is no such thing: whoever asks for rows that may not exist was answered.
pub fn rpc_ended(span: &Span, is_server: bool, error: Option<&Status>) {
    let code = error.map_or(Code::Ok, Status::code);
    span.set("rpc.response.status_code", code_name(code));
    if let Some(error) = error
        && (is_servers_fault(code) || (!is_server && code != Code::NotFound))
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

#[cfg(test)]
mod tests {
    use super::super::span::tests::undecided;
    use super::*;
    use opentelemetry::trace::Status as SpanStatus;

    /// Goal: a client's span says whom it called and how that ended. At a server only its own fault is an error; at a client every
    /// error is one but the answer that there is no such row.
    #[test]
    fn whose_error_it_is() {
        for (code, at_client, at_server) in [
            (Code::NotFound, false, false),
            (Code::ResourceExhausted, true, false),
            (Code::Cancelled, true, false),
            (Code::DeadlineExceeded, true, true),
            (Code::Unavailable, true, true),
        ] {
            let (root, held) = undecided();
            let error = Status::new(code, "why");
            let client = rpc_client(&root, "herd.v1.Origin/Fetch");
            rpc_to(&client, &"http://origin:7401".parse().unwrap());
            rpc_ended(&client, false, Some(&error));
            drop(client);
            let server = root.child("server", Kind::Server);
            rpc_ended(&server, true, Some(&error));
            drop(server);
            let spans = held.decide(true);
            let failed = |at: usize| matches!(spans[at].status, SpanStatus::Error { .. });
            assert_eq!((failed(0), failed(1)), (at_client, at_server), "{code:?}");
            let said = |key: &str| {
                let found = spans[0].attributes.iter().find(|attribute| attribute.key.as_str() == key);
                found.map(|attribute| attribute.value.to_string())
            };
            assert_eq!(said("server.address").as_deref(), Some("origin"));
            assert_eq!(said("server.port").as_deref(), Some("7401"));
            assert_eq!(said("rpc.response.status_code").as_deref(), Some(code_name(code)));
        }
    }
}
