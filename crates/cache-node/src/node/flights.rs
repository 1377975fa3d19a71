//! The trace of each flight under way: a trace of its own, whoever began it and whoever waits for it.
//!
//! Those that fill the cache on command are most of all flights and no herd. They are kept by the ratio of hits, or if at their end
//! there is something to tell of: a failure, a value that was not taken, a lease that was lost, a reader who came along.

use crate::metrics::write_name;
use crate::value::Value;
use herd_policy::{
    Config, Ending, Lease, LeaseOutcome, LookupId, Reason, RebuildId, RenewOutcome, Serve, Served, Summary,
    WriteOutcome,
};
use herd_service::trace::{self, Kind, Span, TraceContext};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A flight's span and the context that values carry and waiters link to.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    /// None without an exporter.
    pub(super) span: Span,
    /// Always there.
    pub(super) context: TraceContext,
}

impl Flight {
    /// No flight: nobody is told the trace of this.
    pub(super) fn none() -> Self {
        Self { span: Span::none(), context: TraceContext::root() }
    }

    /// From now on it is a rebuild, not only a wait for somebody else's: its span says so in its name.
    pub(super) fn rebuilds(&self, row: &str, reason: Reason, config: &Config) {
        if self.span.is_recording() {
            self.span.rename("rebuild");
            self.span.set("herd.key", row);
            self.span.set("herd.rebuild.reason", reason_name(reason));
            self.span.set("herd.config.version", config.version);
        }
    }

    /// What a call on its behalf continues: the call's own span, or the flight.
    pub(super) fn continued_by(&self, call: &Span) -> TraceContext {
        call.context().unwrap_or(self.context)
    }

    /// Notes what the store said to its value.
    pub(super) fn wrote(&self, written: &WriteOutcome) {
        self.span.set("herd.write.outcome", write_name(written));
        if matches!(written, WriteOutcome::Refused(_)) {
            self.span.event("herd.write.rejected", [("herd.write.outcome", write_name(written).into())]);
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
    /// When the lease that it holds ends by this process's clock, if it is not extended.
    lease_ends: Option<Instant>,
    /// The lookup that began it, if that fills the cache on command.
    filler: Option<LookupId>,
    /// A reader's answer names it.
    joined: bool,
    /// Something went wrong that it may have got over.
    troubled: bool,
    /// What would explain that it ends without a value.
    why: Why,
}

/// What a flight was told last of why there may be no value.
enum Why {
    Nothing,
    NoSuchRow,
    Failed(&'static str, Arc<str>),
}

/// What a flight is told, as far as it explains its end.
pub(super) enum News {
    /// The origin has the row.
    Row,
    /// There is none, says who must know.
    NoSuchRow,
    /// Somebody failed it: in one word, and for people.
    Failed(&'static str, Arc<str>),
    /// The store did not take its value.
    Refused,
}

/// The flights under way; the core limits how many.
#[derive(Default)]
pub(super) struct Flights {
    under_way: HashMap<RebuildId, Known>,
    /// The lookup that begins flights now, if it fills the cache on command.
    pub(super) filling: Option<LookupId>,
}

impl Flights {
    /// The flight, whose trace begins when it is first named.
    pub(super) fn named(&mut self, rebuild: RebuildId, cache_key: &str) -> &mut Known {
        let filler = self.filling;
        self.under_way.entry(rebuild).or_insert_with(|| {
            let (span, context) = trace::root("flight", Kind::Internal, filler.is_none());
            span.set("herd.cache_key", cache_key);
            Known {
                flight: Flight { span, context },
                config: None,
                pushback: None,
                lease_ends: None,
                filler,
                joined: false,
                troubled: false,
                why: Why::Nothing,
            }
        })
    }

    /// A flight, if it was named.
    pub(super) fn get(&self, rebuild: RebuildId) -> Option<&Known> {
        self.under_way.get(&rebuild)
    }

    /// The flight behind an answer. One that a reader's answer names is worth its trace, whoever began it.
    pub(super) fn answers(&mut self, serve: &Serve<Value>) -> Option<&Known> {
        let known = self.under_way.get_mut(&serve.rebuild?)?;
        let is_hit = serve.result.as_ref().is_ok_and(|answer| answer.served == Served::Hit);
        known.joined |= !is_hit && known.filler.is_some_and(|filler| filler != serve.lookup);
        Some(known)
    }

    /// Notes what may explain a flight's end.
    pub(super) fn heard(&mut self, rebuild: RebuildId, news: News) {
        let Some(known) = self.under_way.get_mut(&rebuild) else { return };
        known.troubled |= matches!(news, News::Failed(..) | News::Refused);
        known.why = match (news, &known.why) {
            (News::Row, _) => Why::Nothing,
            (News::NoSuchRow, _) => Why::NoSuchRow,
            // That the absence could not be kept is not why there is no value.
            (News::Refused, _) | (News::Failed(..), Why::NoSuchRow) => return,
            (News::Failed(kind, why), _) => Why::Failed(kind, why),
        };
    }

    /// Notes how long the origin told a flight to wait.
    pub(super) fn push_back(&mut self, rebuild: RebuildId, wait: Option<Duration>) {
        if let Some(known) = self.under_way.get_mut(&rebuild) {
            known.pushback = wait;
        }
    }

    /// Notes what the lock service said when it was asked for a lease of `expiry`.
    pub(super) fn leased(&mut self, rebuild: RebuildId, leased: &LeaseOutcome, expiry: Duration) {
        let Some(known) = self.under_way.get_mut(&rebuild) else { return };
        if let LeaseOutcome::Granted(Lease { token, epoch }) = leased {
            known.flight.span.set("herd.fencing_token", *token);
            known.flight.span.set("herd.epoch", *epoch);
            known.lease_ends = Some(Instant::now() + expiry);
        }
    }

    /// Notes what the lock service said when it was asked to extend the lease to `expiry` from now.
    pub(super) fn renewed(&mut self, rebuild: RebuildId, renewed: &RenewOutcome, expiry: Duration) {
        let Some(known) = self.under_way.get_mut(&rebuild) else { return };
        match renewed {
            RenewOutcome::Held => known.lease_ends = Some(Instant::now() + expiry),
            RenewOutcome::Lost => {
                known.lease_ends = None;
                known.troubled = true;
                known.flight.span.event("herd.lease.expired", [("herd.known_by", "renewal".into())]);
            }
            // The call's own span says so.
            RenewOutcome::Unavailable => known.troubled = true,
        }
    }

    /// Ends a flight's span. Gives its trace, to find it by, unless it is not kept.
    pub(super) fn end(&mut self, summary: &Summary) -> Option<TraceContext> {
        let known = self.under_way.remove(&summary.rebuild)?;
        let Known { flight, lease_ends, filler, joined, mut troubled, why, .. } = known;
        let span = &flight.span;
        if let Some(ended) = lease_ends.filter(|ends| *ends < Instant::now()) {
            troubled = true;
            span.event_at("herd.lease.expired", ended, [("herd.known_by", "clock".into())]);
        }
        // That there is no such row is an answer like any other.
        let failed = summary.ending == Ending::Failed && !matches!(why, Why::NoSuchRow);
        if failed && span.is_recording() {
            match why {
                Why::Failed(kind, why) => span.fail(kind, why.to_string()),
                _ => span.fail("failed", "it came to nothing"),
            }
        }
        span.set("herd.rebuild.ending", ending_name(summary.ending));
        span.set("herd.generation", summary.generation);
        span.set("herd.rebuild.fetches", summary.fetches);
        span.set("herd.rebuild.waiters", summary.waiters_max);
        if let Some(waited) = summary.lock_waited {
            span.set("herd.lock.wait_ms", waited);
        }
        // The release of its lease holds on to it.
        span.end();
        // Who fills waits for it, too.
        let has_waited = joined || summary.waiters_max > 1;
        let kept = filler.is_none() || has_waited || troubled || failed || summary.ending == Ending::Uncached;
        span.decide(kept);
        // Where nothing is exported each is as good as another.
        (kept || flight.context.sampled() || !trace::enabled()).then_some(flight.context)
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

/// As the origin's ledger has it.
const fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::Uncoordinated => "uncoordinated",
        Reason::FlightLeader => "flight_leader",
        Reason::LeaseHolder => "lease_holder",
        Reason::FailOpen => "fail_open",
        Reason::WaitTimeout => "wait_timeout",
        Reason::Retry => "retry",
        Reason::Refresh => "refresh",
        Reason::Early => "early",
        Reason::Warm => "warm",
    }
}
