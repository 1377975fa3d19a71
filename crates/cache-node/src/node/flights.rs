//! The trace of each flight under way: a trace of its own, whoever began it and whoever waits for it.

use herd_policy::{Config, Ending, RebuildId, Summary};
use herd_service::trace::{self, TraceContext};
use opentelemetry::trace::TraceContextExt as _;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// A flight's span and the context that goes to lock service and origin.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    /// Disabled without an exporter.
    pub(super) span: Span,
    /// Always there.
    pub(super) context: TraceContext,
}

impl Flight {
    /// From now on it is a rebuild, not only a wait for somebody else's: its span says so in its name.
    pub(super) fn rebuilds(&self) {
        if !self.span.is_disabled() {
            self.span.context().span().update_name("rebuild");
        }
    }
}

/// What the driver notes about a flight under way.
pub(super) struct Known {
    pub(super) flight: Flight,
    /// The configuration under which it began, from its first fetch on: what it goes on to write needs it.
    pub(super) config: Option<Arc<Config>>,
    /// What the origin, refusing for load, said last.
    pub(super) pushback: Option<Duration>,
}

/// The flights under way; the core limits how many.
#[derive(Default)]
pub(super) struct Flights(HashMap<RebuildId, Known>);

impl Flights {
    /// The flight, whose trace begins when it is first named.
    pub(super) fn named(&mut self, rebuild: RebuildId, key: &str) -> &mut Known {
        self.0.entry(rebuild).or_insert_with(|| {
            let span = herd_service::span!(
                parent: None,
                "flight",
                herd.key = key,
                herd.generation = tracing::field::Empty,
                herd.reason = tracing::field::Empty,
                herd.token = tracing::field::Empty,
                herd.write = tracing::field::Empty,
                herd.ending = tracing::field::Empty,
                herd.fetches = tracing::field::Empty,
                herd.waiters_max = tracing::field::Empty,
                herd.lease_lost = tracing::field::Empty,
            );
            let context = trace::begin(&span, None);
            Known { flight: Flight { span, context }, config: None, pushback: None }
        })
    }

    /// A flight, if it was named.
    pub(super) fn get(&self, rebuild: RebuildId) -> Option<&Known> {
        self.0.get(&rebuild)
    }

    /// Notes how long the origin told a flight to wait.
    pub(super) fn push_back(&mut self, rebuild: RebuildId, wait: Option<Duration>) {
        if let Some(known) = self.0.get_mut(&rebuild) {
            known.pushback = wait;
        }
    }

    /// Ends a flight's span.
    pub(super) fn end(&mut self, summary: &Summary) -> Option<TraceContext> {
        let Known { flight, .. } = self.0.remove(&summary.rebuild)?;
        let span = &flight.span;
        span.record("herd.ending", ending_name(summary.ending));
        span.record("herd.generation", summary.generation);
        span.record("herd.fetches", summary.fetches);
        span.record("herd.waiters_max", summary.waiters_max);
        span.record("herd.lease_lost", summary.lease_lost);
        Some(flight.context)
    }
}

const fn ending_name(ending: Ending) -> &'static str {
    match ending {
        Ending::Rebuilt => "rebuilt",
        Ending::FoundFresh => "found_fresh",
        Ending::Uncached => "uncached",
        Ending::Failed => "failed",
    }
}
