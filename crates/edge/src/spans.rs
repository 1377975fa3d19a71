//! What a request leaves in its trace.

use axum::http::StatusCode;
use herd_service::trace::{Call, Name};
use herd_wire::absent;
use herd_wire::served::is_plain_absence;
use herd_wire::v1::{GetResponse, Served};
use tonic::Status;

pub(crate) const GET_ITEM: Name = item("GET /v1/items/{key}", "GET");
pub(crate) const PUT_ITEM: Name = item("PUT /v1/items/{key}", "PUT");
pub(crate) const DELETE_ITEM: Name = item("DELETE /v1/items/{key}", "DELETE");

const fn item(name: &'static str, method: &'static str) -> Name {
    Name::Http { name, method, route: "/v1/items/{key}" }
}

/// A read is over: kept if it was no plain hit, and told how it was served.
pub(crate) fn got(call: Call, result: &Result<GetResponse, Status>, http: Option<StatusCode>) {
    let span = call.end(!is_plain(result), result.as_ref().err(), http.map(|status| status.as_u16()));
    if !span.is_recording() {
        return;
    }
    match result {
        Ok(answer) => {
            span.set("herd.served", served_in_spans(answer.served()));
            span.set("herd.node", answer.node.as_str());
            span.set("herd.generation", answer.generation);
            span.set("herd.config.version", answer.config_version);
            if !answer.rebuild_trace.is_empty() {
                span.set("herd.rebuild.trace_id", answer.rebuild_trace.as_str());
            }
        }
        Err(error) => {
            if let Some(absent) = absent::read(error) {
                span.set("herd.served", served_in_spans(absent.served));
                span.set("herd.node", absent.node);
                span.set("herd.generation", absent.generation);
                span.set("herd.config.version", absent.config_version);
            }
        }
    }
}

/// Whether a read was a plain hit, or was plainly told that there is no such row. Of these only a share is kept.
pub(crate) fn is_plain(result: &Result<GetResponse, Status>) -> bool {
    match result {
        Ok(answer) => answer.served().is_plain_hit(),
        Err(error) => is_plain_absence(error),
    }
}

/// A request that is no read is over: kept if it was begun so, or failed.
pub(crate) fn ended(call: Call, error: Option<&Status>, http: Option<StatusCode>) {
    drop(call.end(error.is_some(), error, http.map(|status| status.as_u16())));
}

/// How an answer came about, as spans and the labels of metrics spell it.
fn served_in_spans(served: Served) -> String {
    served_name(served).replace('-', "_")
}

/// How an answer came about, as JSON spells it.
pub(crate) const fn served_name(served: Served) -> &'static str {
    match served {
        Served::Unspecified => "unspecified",
        Served::Hit => "hit",
        Served::Led => "led",
        Served::Waited => "waited",
        Served::WaitedFleet => "waited-fleet",
        Served::SecondLook => "second-look",
        Served::Uncoordinated => "uncoordinated",
        Served::Stale => "stale",
        Served::Negative => "negative",
        Served::Filtered => "filtered",
        Served::HitLocal => "hit-local",
    }
}
