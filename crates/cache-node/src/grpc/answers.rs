//! From what the core said to what the client hears.

use super::CacheNodeService;
use crate::errors::status_of;
use crate::metrics::{HIT_LOCAL, absent_name, served_name};
use crate::node::Answered;
use crate::value::Value;
use herd_policy::{AbsentBy, Answer, Cause, Error, Failure, Served};
use herd_service::trace::{self, TraceContext};
use herd_wire::v1::{GetResponse, Served as WireServed, WarmResponse};
use herd_wire::{absent, error::set_pushback};
use tonic::Status;
use tracing::Span;

impl CacheNodeService {
    pub(super) fn answer(
        &self,
        answered: Answered,
        span: &Span,
        context: &TraceContext,
    ) -> Result<GetResponse, Status> {
        let (config_version, local) = (answered.serve.config_version, answered.local);
        let answer = self.found(answered, span)?;
        let hit = answer.served == Served::Hit;
        Ok(GetResponse {
            version: answer.value.version,
            age_ms: answer.value.age_ms,
            served: wire_served(answer.served, local).into(),
            generation: answer.generation,
            config_version,
            node: self.instance.as_ref().to_owned(),
            reference: context.trace_id(),
            rebuild_trace: if hit { String::new() } else { answer.value.maker.trace_id() },
            value: answer.value.body,
        })
    }

    /// To whoever warms, that there is no such row is an answer like any other: there is nothing to have in the cache.
    pub(super) fn warmed(&self, answered: Answered, span: &Span) -> Result<WarmResponse, Status> {
        let absent = match &answered.serve.result {
            Err(Error::NotFound { by: AbsentBy::Filter }) => Some(WireServed::Filtered),
            Err(Error::NotFound { by: AbsentBy::Sentinel | AbsentBy::Origin }) => Some(WireServed::Negative),
            _ => None,
        };
        let seen = answered.seen;
        match (self.found(answered, span), absent) {
            (Ok(answer), _) => {
                let served = wire_served(answer.served, false).into();
                Ok(WarmResponse { served, generation: answer.generation })
            }
            (Err(_), Some(served)) => Ok(WarmResponse { served: served.into(), generation: seen }),
            (Err(status), None) => Err(status),
        }
    }

    /// The value, or why there is none; counted, and noted in the request's span.
    fn found(&self, answered: Answered, span: &Span) -> Result<Answer<Value>, Status> {
        let Answered { serve, flight, pushback, seen, local } = answered;
        let answer = match serve.result {
            Ok(answer) => answer,
            Err(error) => {
                if let Some(flight) = flight {
                    link(span, &flight);
                }
                let mut status = status_of(&error);
                match &error {
                    Error::NotFound { by } => {
                        self.metrics.absent(*by);
                        span.record("herd.served", absent_name(*by));
                        let served = served_absent(*by);
                        absent::describe(&mut status, served, &self.instance, serve.config_version, seen);
                    }
                    // The origin's own word on when to come back.
                    Error::Origin(Failure { cause: Cause::Overloaded, .. }) => {
                        if let Some(wait) = pushback {
                            set_pushback(&mut status, wait);
                        }
                    }
                    _ => {}
                }
                return Err(status);
            }
        };
        self.metrics.served(answer.served, local);
        if !span.is_disabled() {
            span.record("herd.served", if local { HIT_LOCAL } else { served_name(answer.served) });
            span.record("herd.generation", answer.generation);
            if let Some(maker) = answer.value.maker.context().filter(|_| answer.served != Served::Hit) {
                link(span, &maker);
            }
        }
        Ok(answer)
    }
}

/// Jaeger shows links and does not draw them: the attribute makes a waiter findable from the rebuild.
fn link(span: &Span, rebuild: &TraceContext) {
    if !span.is_disabled() {
        trace::link(span, rebuild);
        span.record("herd.rebuild.trace_id", rebuild.trace_id());
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

const fn served_absent(by: AbsentBy) -> WireServed {
    match by {
        AbsentBy::Origin => WireServed::Led,
        AbsentBy::Sentinel => WireServed::Negative,
        AbsentBy::Filter => WireServed::Filtered,
    }
}
