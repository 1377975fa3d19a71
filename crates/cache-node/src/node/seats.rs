//! Where requests wait for their answers.
//!
//! A hit takes no seat: its answer comes back in the same breath. Any other answer lies ready under the lookup's full id until
//! the request collects it: the core gives a lookup's place to the next one as soon as it is served, which may well be
//! before the request was woken.

use crate::value::Value;
use herd_policy::{LookupId, Serve};
use herd_service::trace::TraceContext;
use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// An answer, and the flight behind it.
#[derive(Clone, Debug)]
pub struct Answered {
    /// What the core said.
    pub serve: Serve<Value>,
    /// The trace of the flight that the request led or waited for.
    pub flight: Option<TraceContext>,
    /// How long the origin, refusing for load, told that flight to wait before it asks again.
    pub pushback: Option<Duration>,
    /// The newest generation that the request's own look saw; 0: none.
    pub seen: u64,
    /// The process itself had the value: Redis was not asked.
    pub local: bool,
    /// When the request's own look at Redis began and ended, where spans are exported.
    pub looked: Option<(Instant, Instant)>,
    /// The key that it looked for, where spans are exported.
    pub cache_key: Option<Arc<str>>,
}

/// All of them. Seats grow to the most lookups that were ever live at once, which the core limits.
#[derive(Default)]
pub(super) struct Seats {
    /// By the lookup's index.
    wakers: Vec<Option<(LookupId, Waker)>>,
    /// Not yet collected.
    answers: HashMap<LookupId, Answered>,
}

impl Seats {
    /// Leaves the answer for the request and wakes it.
    pub(super) fn answer(&mut self, answered: Answered) {
        let lookup = answered.serve.lookup;
        if let Some(waker) = self.stand_up(lookup) {
            waker.wake();
        }
        self.answers.insert(lookup, answered);
    }

    /// Takes the answer, or sees to it that the request is woken when there is one.
    pub(super) fn poll(&mut self, lookup: LookupId, context: &Context<'_>) -> Poll<Answered> {
        if let Some(answered) = self.collect(lookup) {
            return Poll::Ready(answered);
        }
        let at = lookup.index();
        if at >= self.wakers.len() {
            self.wakers.resize_with(at + 1, || None);
        }
        match &mut self.wakers[at] {
            Some((sitting, waker)) if *sitting == lookup => waker.clone_from(context.waker()),
            seat => *seat = Some((lookup, context.waker().clone())),
        }
        Poll::Pending
    }

    /// Clears up after a request that went away.
    pub(super) fn leave(&mut self, lookup: LookupId) {
        self.stand_up(lookup);
        self.collect(lookup);
    }

    fn stand_up(&mut self, lookup: LookupId) -> Option<Waker> {
        let seat = self.wakers.get_mut(lookup.index())?;
        seat.take_if(|(sitting, _)| *sitting == lookup).map(|(_, waker)| waker)
    }

    fn collect(&mut self, lookup: LookupId) -> Option<Answered> {
        if self.answers.is_empty() { None } else { self.answers.remove(&lookup) }
    }
}
