//! Answers over HTTP: items, errors, headers.

use crate::forward::REFERENCE_HEADER;
use crate::grpc::absence_served;
use crate::metrics::CODE_NAMES;
use crate::spans::served_name;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use herd_service::trace::TraceContext;
use herd_wire::error::{ErrorSource, is_retryable};
use herd_wire::v1::GetResponse;
use serde::Serialize;
use serde_json::value::RawValue;
use tonic::{Code, Status};

#[derive(Serialize)]
pub(super) struct Item<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    /// a value that is text but not JSON
    #[serde(skip_serializing_if = "Option::is_none")]
    value_text: Option<&'a str>,
    /// a value that is not even text, in hexadecimal digits
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
    version: u64,
    age_ms: u64,
    served: &'static str,
    generation: u64,
    config_version: u64,
    node: &'a str,
    reference: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    rebuild_trace: &'a str,
}

impl<'a> Item<'a> {
    pub(super) fn new(key: &'a str, answer: &'a GetResponse) -> Self {
        let text = std::str::from_utf8(&answer.value).ok();
        let json = text.and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
        Self {
            key,
            value: json,
            value_text: text.filter(|_| json.is_none()),
            value_hex: text
                .is_none()
                .then(|| answer.value.iter().map(|byte| format!("{byte:02x}")).collect()),
            version: answer.version,
            age_ms: answer.age_ms,
            served: served_name(answer.served()),
            generation: answer.generation,
            config_version: answer.config_version,
            node: &answer.node,
            reference: &answer.reference,
            rebuild_trace: &answer.rebuild_trace,
        }
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorDetail<'a>,
}

#[derive(Serialize)]
struct ErrorDetail<'a> {
    code: &'static str,
    message: &'a str,
    source: &'static str,
    retryable: bool,
    reference: String,
    /// of an absent row: how that is known
    #[serde(skip_serializing_if = "Option::is_none")]
    served: Option<&'a str>,
}

/// The answer for a status that already says whose fault it is.
pub(super) fn error(failed: &Status, context: &TraceContext) -> Response {
    let source = ErrorSource::of(failed).unwrap_or(ErrorSource::Peer);
    error_with(http_status(failed.code(), source), failed, context)
}

/// The same, where HTTP has a status that says more than the code does.
pub(super) fn error_with(http_status: StatusCode, failed: &Status, context: &TraceContext) -> Response {
    let detail = ErrorDetail {
        code: CODE_NAMES[failed.code() as usize],
        message: failed.message(),
        source: ErrorSource::of(failed).unwrap_or(ErrorSource::Peer).as_str(),
        retryable: is_retryable(failed),
        reference: context.trace_id(),
        served: absence_served(failed),
    };
    let mut response = json(http_status, &ErrorBody { error: detail }, context);
    if matches!(http_status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        response.headers_mut().insert(header::RETRY_AFTER, retry_after(failed));
    }
    response
}

/// Whole seconds, rounded up: HTTP knows no others, and nobody shall come too early.
fn retry_after(refusal: &Status) -> HeaderValue {
    let millis = herd_wire::error::pushback(refusal).map_or(0, |pushback| pushback.as_millis());
    HeaderValue::from(u64::try_from(millis.div_ceil(1_000)).unwrap_or(u64::MAX).max(1))
}

const fn http_status(code: Code, source: ErrorSource) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::FailedPrecondition => StatusCode::PRECONDITION_FAILED,
        // Over a limit: the caller's own, or one of ours.
        Code::ResourceExhausted if matches!(source, ErrorSource::Client) => StatusCode::TOO_MANY_REQUESTS,
        Code::ResourceExhausted | Code::Unavailable | Code::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

pub(super) fn json(http_status: StatusCode, body: &impl Serialize, context: &TraceContext) -> Response {
    // Structs of plain fields and valid JSON: nothing in them can fail to serialise.
    let text = serde_json::to_vec(body).unwrap_or_default();
    let reference = HeaderValue::try_from(context.trace_id()).expect("hexadecimal digits are a header value");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (HeaderName::from_static(REFERENCE_HEADER), reference),
    ];
    (http_status, headers, text).into_response()
}
