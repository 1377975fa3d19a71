//! Spans as plain data: made only where they will be kept, exported when their last holder lets go of them.

use super::held::Held;
use super::{EXPORTING, RECORDER, TraceContext};
use opentelemetry::trace::{Event, Link, SpanId, Status};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

pub use opentelemetry::trace::SpanKind as Kind;

/// A span carries no more links, events, attributes than this; what is over is counted in it.
const LINKS_MAX: usize = 128;
const EVENTS_MAX: usize = 64;
const ATTRIBUTES_MAX: usize = 64;

/// A span that will be kept, or none at all, on which everything costs nothing. Cloning shares it; it ends when the last clone
/// is dropped.
#[derive(Clone, Default)]
pub struct Span(Option<Arc<Open>>);

struct Open {
    context: TraceContext,
    parent: Option<TraceContext>,
    /// The parent is another process's.
    remote: bool,
    kind: Kind,
    start: SystemTime,
    began: Instant,
    told: Mutex<Told>,
    /// Where it goes when it ends, if it is not decided yet whether its trace is kept.
    held: Option<Arc<Held>>,
}

#[derive(Default)]
struct Told {
    name: Cow<'static, str>,
    attributes: Vec<KeyValue>,
    events: Vec<Event>,
    links: Vec<Link>,
    status: Status,
    /// Attributes, events, links beyond the limits.
    over: [u32; 3],
    ended: Option<Instant>,
}

/// Work whose span, if it turns out to be worth one, is made when it is over.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    context: TraceContext,
    parent: Option<TraceContext>,
    /// `None` where nothing is exported.
    start: Option<(SystemTime, Instant)>,
}

impl Pending {
    /// Begins work for a caller, or without one a trace. Its context says whether it is kept whatever comes of it.
    #[must_use]
    pub fn begin(parent: Option<TraceContext>) -> Self {
        let context = parent.map_or_else(TraceContext::root, |parent| parent.child());
        if !EXPORTING.load(Ordering::Relaxed) {
            return Self { context, parent, start: None };
        }
        let sampled = match parent {
            Some(parent) => parent.sampled(),
            None => RECORDER.get().is_some_and(|recorder| recorder.sampling.keeps(&context)),
        };
        Self { context: context.with_sampled(sampled), parent, start: Some(now()) }
    }

    /// Begins work that is kept whatever comes of it.
    #[must_use]
    pub fn begin_kept(parent: Option<TraceContext>) -> Self {
        let begun = Self::begin(parent);
        let kept = begun.start.is_some() || begun.context.sampled();
        Self { context: begun.context.with_sampled(kept), ..begun }
    }

    /// The context to pass on and to answer with.
    #[must_use]
    pub const fn context(&self) -> TraceContext {
        self.context
    }

    /// The work is over: its span, which is kept if it was sampled from the beginning or is `worth` it now.
    #[must_use]
    pub fn end(self, worth: bool, name: impl Into<Cow<'static, str>>, kind: Kind) -> Span {
        let Some(start) = self.start.filter(|_| worth || self.context.sampled()) else { return Span::none() };
        Span::open(self.context, self.parent.map(|parent| (parent, true)), name.into(), kind, start, None)
    }
}

/// Begins a server's work in the trace of its caller, kept if the caller's is.
#[must_use]
pub fn server(name: &'static str, caller: Option<TraceContext>) -> Span {
    let Some(caller) = caller.filter(|caller| caller.sampled() && EXPORTING.load(Ordering::Relaxed)) else {
        return Span::none();
    };
    Span::open(caller.child(), Some((caller, true)), name.into(), Kind::Server, now(), None)
}

/// Begins a part of work in this process whose own span is made when it is over; no span, unless it is sampled by now.
#[must_use]
pub fn part(name: &'static str, of: &TraceContext, kind: Kind) -> Span {
    if !(of.sampled() && EXPORTING.load(Ordering::Relaxed)) {
        return Span::none();
    }
    Span::open(of.child(), Some((*of, false)), name.into(), kind, now(), None)
}

/// Begins a trace of its own, and gives the context to pass on. `always`: it is kept; otherwise by the ratio of hits, or if
/// [`Span::decide`] says so when it is over. Until then other processes are told that it is not sampled, and theirs is lost.
#[must_use]
pub fn root(name: &'static str, kind: Kind, always: bool) -> (Span, TraceContext) {
    let pending = if always { Pending::begin_kept(None) } else { Pending::begin(None) };
    let span = match pending.start {
        Some(start) if !pending.context.sampled() => {
            Span::open(pending.context, None, name.into(), kind, start, Some(Arc::default()))
        }
        _ => pending.end(false, name, kind),
    };
    (span, pending.context)
}

impl Span {
    /// No span.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Whether it is one that will be kept. Ask before doing work that only a span needs.
    #[must_use]
    pub const fn is_recording(&self) -> bool {
        self.0.is_some()
    }

    /// Its context, if it is kept.
    #[must_use]
    pub fn context(&self) -> Option<TraceContext> {
        self.0.as_ref().map(|open| open.context)
    }

    /// Begins a part of its work; no span, if this is none.
    #[must_use]
    pub fn child(&self, name: &'static str, kind: Kind) -> Self {
        self.child_from(name, kind, now())
    }

    /// A part of its work that is over, `began` and `ended` by the clock that never goes back.
    #[must_use]
    pub fn past(&self, name: &'static str, kind: Kind, (began, ended): (Instant, Instant)) -> Self {
        let Some(open) = &self.0 else { return Self::none() };
        let child = self.child_from(name, kind, (open.wall(began), began));
        child.tell(|told| told.ended = Some(ended));
        child
    }

    /// Says something about it. A key that was said before is said anew.
    #[must_use]
    pub fn with(self, key: &'static str, value: impl IntoValue) -> Self {
        self.set(key, value);
        self
    }

    /// As [`Self::with`].
    pub fn set(&self, key: &'static str, value: impl IntoValue) {
        self.tell(|told| {
            let value = value.into_value();
            if let Some(there) = told.attributes.iter_mut().find(|there| there.key.as_str() == key) {
                there.value = value;
            } else if told.attributes.len() < ATTRIBUTES_MAX {
                told.attributes.push(KeyValue::new(key, value));
            } else {
                told.over[0] += 1;
            }
        });
    }

    /// Whether its trace is kept, where that was left open ([`root`]): says so of all its spans in this process.
    pub fn decide(&self, kept: bool) {
        let Some(held) = self.0.as_ref().and_then(|open| open.held.as_ref()) else { return };
        held.decide(kept).into_iter().for_each(offer);
    }

    /// It is over now, also if others hold on to it for a while.
    pub fn end(&self) {
        self.tell(|told| told.ended = Some(Instant::now()));
    }

    /// Gives it another name.
    pub fn rename(&self, name: &'static str) {
        self.tell(|told| told.name = name.into());
    }

    /// Something happened in it, now.
    pub fn event<const N: usize>(&self, name: &'static str, about: [(&'static str, Value); N]) {
        self.event_at(name, Instant::now(), about);
    }

    /// Something happened in it.
    pub fn event_at<const N: usize>(
        &self,
        name: &'static str,
        at: Instant,
        about: [(&'static str, Value); N],
    ) {
        let Some(open) = &self.0 else { return };
        self.tell(|told| {
            if told.events.len() < EVENTS_MAX {
                let about = about.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
                told.events.push(Event::new(name, open.wall(at), about, 0));
            } else {
                told.over[1] += 1;
            }
        });
    }

    /// Links it to another one, as a waiter to the rebuild that it waited for.
    pub fn link(&self, to: &TraceContext) {
        self.tell(|told| {
            if told.links.len() < LINKS_MAX {
                told.links.push(Link::new(to.to_otel(), Vec::new(), 0));
            } else {
                told.over[2] += 1;
            }
        });
    }

    /// It failed: `kind` for machines (`error.type`), `why` for people.
    pub fn fail(&self, kind: &'static str, why: impl Into<Cow<'static, str>>) {
        self.set("error.type", kind);
        self.tell(|told| told.status = Status::error(why.into()));
    }

    fn open(
        context: TraceContext,
        parent: Option<(TraceContext, bool)>,
        name: Cow<'static, str>,
        kind: Kind,
        (start, began): (SystemTime, Instant),
        held: Option<Arc<Held>>,
    ) -> Self {
        let (parent, remote) = parent.map_or((None, false), |(parent, remote)| (Some(parent), remote));
        let told = Mutex::new(Told { name, ..Told::default() });
        let context = context.with_sampled(held.is_none());
        Self(Some(Arc::new(Open { context, parent, remote, kind, start, began, told, held })))
    }

    fn child_from(&self, name: &'static str, kind: Kind, start: (SystemTime, Instant)) -> Self {
        match &self.0 {
            Some(open) => {
                let (context, parent) = (open.context.child(), Some((open.context, false)));
                Self::open(context, parent, name.into(), kind, start, open.held.clone())
            }
            None => Self::none(),
        }
    }

    fn tell(&self, what: impl FnOnce(&mut Told)) {
        if let Some(open) = &self.0 {
            what(&mut open.told());
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.context()).finish()
    }
}

impl Open {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clock's time at an instant, counted from the span's start, so that a clock that is set does not bend it.
    fn wall(&self, at: Instant) -> SystemTime {
        match at.checked_duration_since(self.began) {
            Some(after) => self.start + after,
            None => self.start - self.began.duration_since(at),
        }
    }

    fn data(&self) -> SpanData {
        let told = std::mem::take(&mut *self.told());
        let [dropped_attributes_count, events_over, links_over] = told.over;
        let mut events = SpanEvents::default();
        (events.events, events.dropped_count) = (told.events, events_over);
        let mut links = SpanLinks::default();
        (links.links, links.dropped_count) = (told.links, links_over);
        SpanData {
            span_context: self.context.with_sampled(true).to_otel(),
            parent_span_id: self.parent.map_or(SpanId::INVALID, |parent| parent.to_otel().span_id()),
            parent_span_is_remote: self.remote,
            span_kind: self.kind.clone(),
            name: told.name,
            start_time: self.start,
            end_time: self.wall(told.ended.unwrap_or_else(Instant::now)).max(self.start),
            attributes: told.attributes,
            dropped_attributes_count,
            events,
            links,
            status: told.status,
            instrumentation_scope: InstrumentationScope::builder("herdproof").build(),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let ended = match &self.held {
            Some(held) => held.take(|| self.data()),
            None => RECORDER.get().map(|_| self.data()),
        };
        ended.into_iter().for_each(offer);
    }
}

fn offer(span: SpanData) {
    if let Some(recorder) = RECORDER.get() {
        recorder.queue.offer(span);
    }
}

/// What an attribute may be given.
pub trait IntoValue {
    /// As OpenTelemetry has it.
    fn into_value(self) -> Value;
}

impl IntoValue for Value {
    fn into_value(self) -> Value {
        self
    }
}

impl IntoValue for &str {
    fn into_value(self) -> Value {
        self.to_owned().into()
    }
}

impl IntoValue for String {
    fn into_value(self) -> Value {
        self.into()
    }
}

impl IntoValue for bool {
    fn into_value(self) -> Value {
        self.into()
    }
}

/// OpenTelemetry knows signed integers only: what is larger than they can be is told as the largest.
impl IntoValue for u64 {
    fn into_value(self) -> Value {
        i64::try_from(self).unwrap_or(i64::MAX).into()
    }
}

impl IntoValue for u32 {
    fn into_value(self) -> Value {
        i64::from(self).into()
    }
}

impl IntoValue for usize {
    fn into_value(self) -> Value {
        i64::try_from(self).unwrap_or(i64::MAX).into()
    }
}

/// Milliseconds with their fraction.
impl IntoValue for Duration {
    fn into_value(self) -> Value {
        (self.as_secs_f64() * 1e3).into()
    }
}

fn now() -> (SystemTime, Instant) {
    (SystemTime::now(), Instant::now())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A span that is there without an exporter, and what holds its trace.
    pub(in super::super) fn undecided() -> (Span, Arc<Held>) {
        let held = Arc::<Held>::default();
        let root =
            Span::open(TraceContext::root(), None, "root".into(), Kind::Internal, now(), Some(held.clone()));
        (root, held)
    }

    /// Goal: a trace that is not decided yet asks nobody else to keep it, and its spans wait; it is kept whole, or not at all.
    #[test]
    fn a_trace_is_decided_at_its_end() {
        let (root, held) = undecided();
        let child = root.child("child", Kind::Client);
        assert!(
            root.is_recording() && !root.context().unwrap().sampled() && !child.context().unwrap().sampled()
        );
        drop(child);
        let kept = held.decide(true);
        assert_eq!(kept.iter().map(|span| &*span.name).collect::<Vec<_>>(), ["child"]);
        assert!(kept[0].span_context.is_sampled());
        assert!(held.decide(false).is_empty(), "it is decided once");
        assert!(held.take(|| kept[0].clone()).is_some(), "what ends later goes straight out");

        let (root, held) = undecided();
        drop(root.child("child", Kind::Client));
        root.decide(false);
        assert!(held.take(|| kept[0].clone()).is_none());
        assert!(held.decide(true).is_empty());
    }
}
