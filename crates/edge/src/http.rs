//! The edge over HTTP/JSON, for curl, load generators and browsers.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /v1/items/{key}` | the value and how it was served |
//! | `PUT /v1/items/{key}` | the body, at most 1 MiB, is the row's new value; no cache serves an older one any more |
//! | `DELETE /v1/items/{key}` | the cached value is deleted everywhere |
//! | `GET /v1/members` | the cache nodes this edge knows |
//!
//! `x-request-timeout-ms` sets a request's deadline, `traceparent` its trace. Every answer carries `herd-reference`. An error is
//! `{"error":{code,message,source,retryable,reference}}`; for a row that does not exist, `served` says how that is known. Who is
//! refused for load is told by 503 and `retry-after` when to come back.

mod answer;

use crate::forward::{Forwarder, VALUE_BYTES_MAX, with_reference};
use crate::spans;
use answer::{Item, error, error_with, json};
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, PathRejection};
use axum::extract::{self, DefaultBodyLimit, FromRequest as _, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use herd_service::rpc::Deadline;
use herd_service::trace::{Call, TraceContext};
use herd_wire::error::{ErrorSource, status};
use herd_wire::v1::{InvalidateRequest, PutRequest, PutResponse};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::{Code, Status};

/// Header with a request's deadline in milliseconds, 1 to 600,000.
pub const TIMEOUT_HEADER: &str = "x-request-timeout-ms";

const TIMEOUT_MS_MAX: u64 = 600_000;

type Key = Result<Path<String>, PathRejection>;

pub(crate) fn router(forwarder: Arc<Forwarder>) -> Router {
    Router::new()
        .route("/v1/items/{key}", get(get_item).put(put_item).delete(delete_item))
        .route("/v1/items/", get(no_key).put(no_key).delete(no_key))
        .route("/v1/members", get(members))
        .fallback(async |headers: HeaderMap| {
            refuse(&headers, StatusCode::NOT_FOUND, "there is nothing at this path")
        })
        .method_not_allowed_fallback(async |headers: HeaderMap| {
            refuse(
                &headers,
                StatusCode::METHOD_NOT_ALLOWED,
                "this path knows GET and, for items, PUT and DELETE",
            )
        })
        .layer(DefaultBodyLimit::max(VALUE_BYTES_MAX))
        .with_state(forwarder)
}

async fn get_item(State(forwarder): State<Arc<Forwarder>>, headers: HeaderMap, key: Key) -> Response {
    let key = key_of(key);
    let caller = TraceContext::extract_http(&headers);
    let call = Call::begin(spans::GET_ITEM, key.as_deref().unwrap_or_default(), caller);
    let context = call.context();
    let (key, budget) = match wanted(key, &headers, forwarder.default_deadline) {
        Ok(wanted) => wanted,
        Err(bad) => return refused(call, *bad),
    };
    let result = forwarder.get(key.clone(), budget, &context).await;
    let response = match &result {
        Ok(answer) => json(StatusCode::OK, &Item::new(&key, answer), &context),
        Err(failed) => error(failed, &context),
    };
    spans::got(call, &result, Some(response.status()));
    response
}

#[derive(Serialize)]
struct Written<'a> {
    key: &'a str,
    version: u64,
    generation: u64,
    reference: String,
}

async fn put_item(State(forwarder): State<Arc<Forwarder>>, key: Key, request: extract::Request) -> Response {
    let key = key_of(key);
    let caller = TraceContext::extract_http(request.headers());
    let call = Call::begin_kept(spans::PUT_ITEM, key.as_deref().unwrap_or_default(), caller);
    let context = call.context();
    let (key, budget) = match wanted(key, request.headers(), forwarder.default_deadline) {
        Ok(wanted) => wanted,
        Err(bad) => return refused(call, *bad),
    };
    let deadline = Deadline::after(budget);
    let value = match body_of(request, deadline).await {
        Ok(value) => value.to_vec(),
        Err((http_status, bad)) => {
            let bad = with_reference(*bad, &context);
            spans::ended(call, Some(&bad), Some(http_status));
            return error_with(http_status, &bad, &context);
        }
    };
    let message = PutRequest { key: key.clone(), value };
    let result = forwarder.pass(message, deadline.remaining(), &context).await;
    let response = match &result {
        Ok(PutResponse { version, generation }) => {
            let (version, generation) = (*version, *generation);
            let written = Written { key: &key, version, generation, reference: context.trace_id() };
            json(StatusCode::OK, &written, &context)
        }
        Err(failed) => error(failed, &context),
    };
    spans::ended(call, result.as_ref().err(), Some(response.status()));
    response
}

#[derive(Serialize)]
struct Deleted<'a> {
    key: &'a str,
    generation: u64,
    reference: String,
}

async fn delete_item(State(forwarder): State<Arc<Forwarder>>, headers: HeaderMap, key: Key) -> Response {
    let key = key_of(key);
    let caller = TraceContext::extract_http(&headers);
    let call = Call::begin_kept(spans::DELETE_ITEM, key.as_deref().unwrap_or_default(), caller);
    let context = call.context();
    let (key, budget) = match wanted(key, &headers, forwarder.default_deadline) {
        Ok(wanted) => wanted,
        Err(bad) => return refused(call, *bad),
    };
    let message = InvalidateRequest { key: key.clone() };
    let result = forwarder.pass(message, budget, &context).await;
    let response = match &result {
        Ok(answer) => {
            let deleted = Deleted { key: &key, generation: answer.generation, reference: context.trace_id() };
            json(StatusCode::OK, &deleted, &context)
        }
        Err(failed) => error(failed, &context),
    };
    spans::ended(call, result.as_ref().err(), Some(response.status()));
    response
}

async fn no_key(headers: HeaderMap) -> Response {
    let context = context_of(&headers);
    let why = herd_wire::key::KeyError::Empty.to_string();
    error(&with_reference(status(Code::InvalidArgument, ErrorSource::Client, why), &context), &context)
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

/// The answer to a request that this port does not know.
fn refuse(headers: &HeaderMap, http_status: StatusCode, message: &str) -> Response {
    let code = if http_status == StatusCode::NOT_FOUND { Code::NotFound } else { Code::Unimplemented };
    let context = context_of(headers);
    error_with(http_status, &with_reference(status(code, ErrorSource::Client, message), &context), &context)
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

/// The answer to a request that asks for nonsense.
fn refused(call: Call, bad: Status) -> Response {
    let context = call.context();
    let bad = with_reference(bad, &context);
    let response = error(&bad, &context);
    spans::ended(call, Some(&bad), Some(response.status()));
    response
}

/// The key and the time that a request has.
fn wanted(
    key: Result<String, Box<Status>>,
    headers: &HeaderMap,
    default: Duration,
) -> Result<(String, Duration), Box<Status>> {
    key.and_then(|key| Ok((key, budget(headers, default)?)))
}

/// The body, if it comes in time and is not too long.
async fn body_of(request: extract::Request, deadline: Deadline) -> Result<Bytes, (StatusCode, Box<Status>)> {
    let bad =
        |http_status, code, why: &str| Err((http_status, Box::new(status(code, ErrorSource::Client, why))));
    match tokio::time::timeout_at(deadline.instant().into(), Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)))) => {
            let why = format!("the body is longer than the {VALUE_BYTES_MAX} bytes that a value may have");
            bad(StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidArgument, &why)
        }
        Ok(Err(_)) => bad(StatusCode::BAD_REQUEST, Code::InvalidArgument, "the body broke off"),
        Err(_) => bad(
            StatusCode::REQUEST_TIMEOUT,
            Code::DeadlineExceeded,
            "the body did not come before the deadline",
        ),
    }
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
