//! The edge over HTTP/JSON, for curl, load generators and browsers.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /v1/items/{key}` | the value and how it was served |
//! | `DELETE /v1/items/{key}` | the cached value is deleted everywhere |
//! | `GET /v1/members` | the cache nodes this edge knows |
//!
//! `x-request-timeout-ms` sets a request's deadline, `traceparent` its trace. Every answer carries `herd-reference`. An error is
//! `{"error":{code,message,source,retryable,reference}}`.

use crate::forward::{Forwarder, REFERENCE_HEADER, with_reference};
use crate::grpc::{get_span, invalidate_span, record_error, record_get, served_name};
use crate::metrics::CODE_NAMES;
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use herd_service::trace::{self, TraceContext};
use herd_wire::error::{ErrorSource, is_retryable, status};
use herd_wire::v1::GetResponse;
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::{Code, Status};
use tracing::Instrument as _;

/// Header with a request's deadline in milliseconds, 1 to 600,000.
pub const TIMEOUT_HEADER: &str = "x-request-timeout-ms";

const TIMEOUT_MS_MAX: u64 = 600_000;

/// Seconds after which a caller that was refused may try again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

type Key = Result<Path<String>, PathRejection>;

pub(crate) fn router(forwarder: Arc<Forwarder>) -> Router {
    Router::new()
        .route("/v1/items/{key}", get(get_item).delete(delete_item))
        .route("/v1/items/", get(no_key).delete(no_key))
        .route("/v1/members", get(members))
        .fallback(async |headers: HeaderMap| {
            refuse(&headers, StatusCode::NOT_FOUND, "there is nothing at this path")
        })
        .method_not_allowed_fallback(async |headers: HeaderMap| {
            refuse(&headers, StatusCode::METHOD_NOT_ALLOWED, "this path knows GET and, for items, DELETE")
        })
        .with_state(forwarder)
}

#[derive(Serialize)]
struct Item<'a> {
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
    fn new(key: &'a str, answer: &'a GetResponse) -> Self {
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

async fn get_item(State(forwarder): State<Arc<Forwarder>>, headers: HeaderMap, key: Key) -> Response {
    let key = key_of(key);
    let span = get_span(key.as_deref().unwrap_or_default(), "http");
    let context = trace::begin(&span, TraceContext::extract_http(&headers));
    let asked = key.and_then(|key| Ok((key, budget(&headers, forwarder.default_deadline)?)));
    let (key, budget) = match asked {
        Ok(asked) => asked,
        Err(bad) => return error(with_reference(*bad, &context), &context),
    };
    let result = forwarder.get(key.clone(), budget, &context).instrument(span.clone()).await;
    record_get(&span, &result);
    match result {
        Ok(answer) => json(StatusCode::OK, &Item::new(&key, &answer), &context),
        Err(failed) => error(failed, &context),
    }
}

#[derive(Serialize)]
struct Deleted<'a> {
    key: &'a str,
    generation: u64,
    reference: String,
}

async fn delete_item(State(forwarder): State<Arc<Forwarder>>, headers: HeaderMap, key: Key) -> Response {
    let key = key_of(key);
    let span = invalidate_span(key.as_deref().unwrap_or_default(), "http");
    let context = trace::begin(&span, TraceContext::extract_http(&headers));
    let asked = key.and_then(|key| Ok((key, budget(&headers, forwarder.default_deadline)?)));
    let (key, budget) = match asked {
        Ok(asked) => asked,
        Err(bad) => return error(with_reference(*bad, &context), &context),
    };
    let result = forwarder.invalidate(key.clone(), budget, &context).instrument(span.clone()).await;
    record_error(&span, result.as_ref().err());
    match result {
        Ok(answer) => {
            let deleted = Deleted { key: &key, generation: answer.generation, reference: context.trace_id() };
            json(StatusCode::OK, &deleted, &context)
        }
        Err(failed) => error(failed, &context),
    }
}

async fn no_key(headers: HeaderMap) -> Response {
    let context = context_of(&headers);
    let why = herd_wire::key::KeyError::Empty.to_string();
    error(with_reference(status(Code::InvalidArgument, ErrorSource::Client, why), &context), &context)
}

#[derive(Serialize)]
struct Members {
    version: u64,
    config_version: u64,
    routing: &'static str,
    members: Vec<MemberNow>,
}

#[derive(Serialize)]
struct MemberNow {
    instance: String,
    address: String,
    in_flight: u32,
    ejected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ejected_for_ms: Option<u64>,
}

async fn members(State(forwarder): State<Arc<Forwarder>>, headers: HeaderMap) -> Response {
    use crate::routing::Candidate as _;
    let view = forwarder.fleet.view();
    let now = Instant::now();
    let members = view.nodes.iter().map(|node| MemberNow {
        instance: node.member.instance.clone(),
        address: node.member.address.clone(),
        in_flight: node.in_flight(),
        ejected: node.is_ejected(),
        ejected_for_ms: node
            .ejected_for(now)
            .map(|spell| u64::try_from(spell.as_millis()).unwrap_or(u64::MAX)),
    });
    let shown = Members {
        version: view.members_version,
        config_version: view.config_version,
        routing: view.routing.as_str_name(),
        members: members.collect(),
    };
    json(StatusCode::OK, &shown, &context_of(&headers))
}

fn context_of(headers: &HeaderMap) -> TraceContext {
    TraceContext::extract_http(headers).map_or_else(TraceContext::root, |caller| caller.child())
}

fn key_of(key: Key) -> Result<String, Box<Status>> {
    key.map(|Path(key)| key).map_err(|_| {
        let why = "the key is not text: it needs 1 to 128 bytes of A-Z a-z 0-9 . _ : -";
        Box::new(status(Code::InvalidArgument, ErrorSource::Client, why))
    })
}

fn budget(headers: &HeaderMap, default: Duration) -> Result<Duration, Box<Status>> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else { return Ok(default) };
    let millis = value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    match millis.filter(|millis| (1..=TIMEOUT_MS_MAX).contains(millis)) {
        Some(millis) => Ok(Duration::from_millis(millis)),
        None => {
            let why = format!("{TIMEOUT_HEADER} must be a number of milliseconds from 1 to {TIMEOUT_MS_MAX}");
            Err(Box::new(status(Code::InvalidArgument, ErrorSource::Client, why)))
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
}

/// The answer for a status that already says whose fault it is.
#[allow(clippy::needless_pass_by_value, reason = "an error ends here")]
fn error(failed: Status, context: &TraceContext) -> Response {
    let source = ErrorSource::of(&failed).unwrap_or(ErrorSource::Peer);
    let http_status = http_status(failed.code(), source);
    error_body(
        http_status,
        CODE_NAMES[failed.code() as usize],
        failed.message(),
        source,
        is_retryable(&failed),
        context,
    )
}

fn refuse(headers: &HeaderMap, http_status: StatusCode, message: &str) -> Response {
    let code = if http_status == StatusCode::NOT_FOUND { Code::NotFound } else { Code::Unimplemented };
    error_body(
        http_status,
        CODE_NAMES[code as usize],
        message,
        ErrorSource::Client,
        false,
        &context_of(headers),
    )
}

fn error_body(
    http_status: StatusCode,
    code: &'static str,
    message: &str,
    source: ErrorSource,
    retryable: bool,
    context: &TraceContext,
) -> Response {
    let detail =
        ErrorDetail { code, message, source: source.as_str(), retryable, reference: context.trace_id() };
    let mut response = json(http_status, &ErrorBody { error: detail }, context);
    if matches!(http_status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    response
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

fn json(http_status: StatusCode, body: &impl Serialize, context: &TraceContext) -> Response {
    // Structs of plain fields and valid JSON: nothing in them can fail to serialise.
    let text = serde_json::to_vec(body).unwrap_or_default();
    let reference = HeaderValue::try_from(context.trace_id()).expect("hexadecimal digits are a header value");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (HeaderName::from_static(REFERENCE_HEADER), reference),
    ];
    (http_status, headers, text).into_response()
}
