//! A request under way at a server: its span is made when it is over, if it was sampled or is worth one.

use super::conventions::{code_name, rpc, rpc_ended};
use super::{Kind, Pending, Span, TraceContext, enabled};
use tonic::{Code, Status};

/// What a request is called in its span, as the semantic conventions have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// The full name of a gRPC method, such as `herd.v1.Edge/Get`.
    Rpc(&'static str),
    /// An HTTP method and the route.
    Http {
        /// `GET /v1/items/{key}`
        name: &'static str,
        /// `GET`
        method: &'static str,
        /// `/v1/items/{key}`
        route: &'static str,
    },
}

/// A request under way. Dropped before its end, as its client hung up, it says that.
#[derive(Debug)]
#[must_use = "a request that is dropped was hung up on"]
pub struct Call {
    pending: Pending,
    name: Name,
    /// Empty where nothing is exported.
    key: String,
    ended: bool,
}

impl Call {
    /// Begins a request about `key` whose span is kept if it is sampled, or worth it in the end.
    pub fn begin(name: Name, key: &str, caller: Option<TraceContext>) -> Self {
        Self::of(Pending::begin(caller), name, key)
    }

    /// Begins a request that is kept whatever comes of it.
    pub fn begin_kept(name: Name, key: &str, caller: Option<TraceContext>) -> Self {
        Self::of(Pending::begin_kept(caller), name, key)
    }

    fn of(pending: Pending, name: Name, key: &str) -> Self {
        let key = if enabled() { key.to_owned() } else { String::new() };
        Self { pending, name, key, ended: false }
    }

    /// The context to pass on; its trace is the request's reference.
    #[must_use]
    pub const fn context(&self) -> TraceContext {
        self.pending.context()
    }

    /// It is over: its span, with what the conventions want to know of its end; none if it is not kept. `http`: the status
    /// of an answer over HTTP.
    #[must_use = "the span tells more if it is told more"]
    pub fn end(mut self, worth: bool, error: Option<&Status>, http: Option<u16>) -> Span {
        self.close(worth, error, http)
    }

    fn close(&mut self, worth: bool, error: Option<&Status>, http: Option<u16>) -> Span {
        self.ended = true;
        let name = match self.name {
            Name::Rpc(name) | Name::Http { name, .. } => name,
        };
        let span = self.pending.end(worth, name, Kind::Server);
        if !span.is_recording() {
            return span;
        }
        let key = std::mem::take(&mut self.key);
        span.set("herd.key", key.as_str());
        match self.name {
            Name::Rpc(method) => rpc_ended(&rpc(span.clone(), method), true, error),
            Name::Http { method, route, .. } => {
                span.set("http.request.method", method);
                span.set("http.route", route);
                // As it is spelled where nothing in the key needs an escape; no valid key has anything that does.
                span.set("url.path", route.replace("{key}", &key));
                span.set("url.scheme", "http");
                if let Some(status) = http {
                    span.set("http.response.status_code", u32::from(status));
                }
                if let (500.., Some(error)) = (http.unwrap_or(0), error) {
                    span.fail(code_name(error.code()), error.message().to_owned());
                }
            }
        }
        if let Some(error) = error.filter(|error| error.code() == Code::ResourceExhausted) {
            span.set("herd.served", "shed");
            span.event("herd.request.shed", [("herd.why", error.message().to_owned().into())]);
        }
        span
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            let span = self.close(true, Some(&Status::cancelled("the client hung up")), None);
            span.fail("CANCELLED", "the client hung up");
        }
    }
}
