//! From what the core said to what the client hears.

use super::CacheNodeService;
use crate::errors::{note_failure, status_of};
use crate::metrics::{HIT_LOCAL, served_name};
use crate::node::Answered;
use crate::store::redis_span;
use crate::value::Value;
use herd_policy::{AbsentBy, Answer, Cause, Error, Failure, Served};
use herd_service::trace::{Call, Kind, Span, TraceContext};
use herd_wire::v1::{GetResponse, Served as WireServed, WarmResponse};
use herd_wire::{absent, error::set_pushback};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Status;

impl CacheNodeService {
    pub(super) fn answer(
        &self,
        call: Call,
        answered: Result<Answered, Status>,
    ) -> Result<GetResponse, Status> {
        let reference = call.context();
        let plain = answered.as_ref().is_ok_and(is_plain_hit);
        let told = answered.as_ref().ok().map(|told| (told.serve.config_version, told.local, told.flight));
        let (config_version, local, flight) = told.unwrap_or_default();
        let answer = self.found(call, !plain, answered);
        let answer = answer.inspect_err(|status| self.metrics.refused(status))?;
        let rebuild_trace = match answer.served {
            Served::Hit => String::new(),
            Served::Stale => flight.map(|refresh| refresh.trace_id()).unwrap_or_default(),
            _ => answer.value.maker.trace_id(),
        };
        Ok(GetResponse {
            version: answer.value.version,
            age_ms: answer.value.age_ms,
            served: wire_served(answer.served, local).into(),
            generation: answer.generation,
            config_version,
            node: self.instance.as_ref().to_owned(),
            reference: reference.trace_id(),
            rebuild_trace,
            value: answer.value.body,
        })
    }

    /// To whoever warms, that there is no such row is an answer like any other: there is nothing to have in the cache.
    pub(super) fn warmed(
        &self,
        call: Call,
        answered: Result<Answered, Status>,
    ) -> Result<WarmResponse, Status> {
        let absent = match &answered {
            Ok(Answered { serve, seen, .. }) => match &serve.result {
                Err(Error::NotFound { by: AbsentBy::Filter }) => Some((WireServed::Filtered, *seen)),
                Err(Error::NotFound { by: AbsentBy::Sentinel | AbsentBy::Origin }) => {
                    Some((WireServed::Negative, *seen))
                }
                _ => None,
            },
            Err(_) => None,
        };
        // Fills are many, and nobody waits for them: those that failed are kept.
        let failed = match &answered {
            Ok(answered) => answered.serve.result.is_err() && absent.is_none(),
            Err(_) => true,
        };
        match (self.found(call, failed, answered), absent) {
            (Ok(answer), _) => {
                let served = wire_served(answer.served, false).into();
                Ok(WarmResponse { served, generation: answer.generation })
            }
            (Err(_), Some((served, generation))) => Ok(WarmResponse { served: served.into(), generation }),
            (Err(status), None) => {
                self.metrics.refused(&status);
                Err(status)
            }
        }
    }

    /// The value, or why there is none; counted, and noted in the request's span, which is kept if it is `worth` it.
    fn found(
        &self,
        call: Call,
        worth: bool,
        answered: Result<Answered, Status>,
    ) -> Result<Answer<Value>, Status> {
        let Answered { serve, flight, pushback, seen, local, looked, cache_key } = match answered {
            Ok(answered) => answered,
            Err(status) => {
                drop(call.end(worth, Some(&status), None));
                return Err(status);
            }
        };
        let config_version = serve.config_version;
        // Without a flight it was the request's own look that failed.
        let look_failed = match &serve.result {
            Err(Error::Cache(failure)) if serve.rebuild.is_none() => Some(failure.clone()),
            _ => None,
        };
        let look = Looked { cache_key, times: looked, failure: look_failed };
        let answer = match serve.result {
            Ok(answer) => answer,
            Err(error) => {
                let status = self.no_value(&error, config_version, seen, pushback);
                let span = call.end(worth, Some(&status), None);
                if let Error::NotFound { by } = &error {
                    span.set("herd.served", absent_in_spans(*by));
                }
                tell_of_look(&span, &look, config_version, seen);
                if let Some(flight) = flight {
                    link(&span, &flight);
                }
                return Err(status);
            }
        };
        self.metrics.served(answer.served, local);
        let span = call.end(worth, None, None);
        if span.is_recording() {
            span.set("herd.served", if local { HIT_LOCAL } else { served_name(answer.served) });
            tell_of_look(&span, &look, config_version, answer.generation);
            let maker = match answer.served {
                Served::Hit => None,
                // Not what made the old value: the refresh that was set off, or the rebuild that failed.
                Served::Stale => flight,
                _ => answer.value.maker.context(),
            };
            if let Some(maker) = maker {
                link(&span, &maker);
                // Who led its process and waited for another's rebuild did so in a flight of its own.
                if let Some(flight) = flight.filter(|flight| flight.trace_bytes() != maker.trace_bytes()) {
                    span.link(&flight);
                }
            }
        }
        Ok(answer)
    }

    /// What a client is told that gets no value.
    fn no_value(&self, error: &Error, config_version: u64, seen: u64, pushback: Option<Duration>) -> Status {
        let mut status = status_of(error);
        match error {
            Error::NotFound { by } => {
                self.metrics.absent(*by);
                absent::describe(&mut status, served_absent(*by), &self.instance, config_version, seen);
            }
            // The origin's own word on when to come back.
            Error::Origin(Failure { cause: Cause::Overloaded, .. }) => {
                if let Some(wait) = pushback {
                    set_pushback(&mut status, wait);
                }
            }
            _ => {}
        }
        status
    }
}

/// Whether nobody rebuilt or waited, and nothing old was served. The edge concludes the same from the answer.
fn is_plain_hit(answered: &Answered) -> bool {
    match &answered.serve.result {
        Ok(answer) => wire_served(answer.served, answered.local).is_plain_hit(),
        Err(Error::NotFound { by }) => served_absent(*by).is_plain_hit(),
        Err(_) => false,
    }
}

/// A request's own look at the cache.
struct Looked {
    cache_key: Option<Arc<str>>,
    /// When Redis was asked.
    times: Option<(Instant, Instant)>,
    failure: Option<Failure>,
}

/// What a request's own look took and came to, and what it was decided by.
fn tell_of_look(span: &Span, look: &Looked, config_version: u64, generation: u64) {
    span.set("herd.config.version", config_version);
    span.set("herd.generation", generation);
    if let Some(cache_key) = look.cache_key.as_deref().filter(|_| span.is_recording()) {
        span.set("herd.cache_key", cache_key);
    }
    if let Some(times) = look.times {
        let asked = redis_span(span.past("GET", Kind::Client, times), "GET");
        if let Some(failure) = &look.failure {
            note_failure(&asked, failure);
        }
    }
}

/// Jaeger shows links and does not draw them: the attribute makes a waiter findable from the rebuild.
fn link(span: &Span, rebuild: &TraceContext) {
    if span.is_recording() {
        span.link(rebuild);
        span.set("herd.rebuild.trace_id", rebuild.trace_id());
    }
}

const fn wire_served(served: Served, local: bool) -> WireServed {
    match served {
        Served::Hit if local => WireServed::HitLocal,
        Served::Hit => WireServed::Hit,
        Served::Led => WireServed::Led,
        Served::Waited => WireServed::Waited,
        Served::WaitedFleet => WireServed::WaitedFleet,
        Served::SecondLook => WireServed::SecondLook,
        Served::Uncoordinated => WireServed::Uncoordinated,
        Served::Stale => WireServed::Stale,
    }
}

/// As the edge has it, which knows only what the node's answer says.
const fn absent_in_spans(by: AbsentBy) -> &'static str {
    match by {
        AbsentBy::Origin => "led",
        AbsentBy::Sentinel => "negative",
        AbsentBy::Filter => "filtered",
    }
}

const fn served_absent(by: AbsentBy) -> WireServed {
    match by {
        AbsentBy::Origin => WireServed::Led,
        AbsentBy::Sentinel => WireServed::Negative,
        AbsentBy::Filter => WireServed::Filtered,
    }
}
