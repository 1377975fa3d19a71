//! Where requests wait for their answers: one seat a lookup, found by index, never hashed.

use crate::value::Value;
use herd_policy::{LookupId, Serve};
use herd_service::trace::TraceContext;
use std::task::{Context, Poll, Waker};

/// An answer, and the flight behind it.
#[derive(Clone, Debug)]
pub struct Answered {
    /// What the core said.
    pub serve: Serve<Value>,
    /// The trace of the flight that the request led or waited for.
    pub flight: Option<TraceContext>,
}

#[derive(Default)]
enum Seat {
    #[default]
    Empty,
    Waiting(Waker),
    Answered(Box<Answered>),
}

/// All of them. Grows to the most lookups that were ever live at once, which the core limits.
#[derive(Default)]
pub(super) struct Seats(Vec<Seat>);

impl Seats {
    /// Leaves the answer for the request and wakes it.
    pub(super) fn answer(&mut self, answered: Answered) {
        let at = answered.serve.lookup.index();
        if at >= self.0.len() {
            self.0.resize_with(at + 1, Seat::default);
        }
        if let Seat::Waiting(waker) = std::mem::replace(&mut self.0[at], Seat::Answered(Box::new(answered))) {
            waker.wake();
        }
    }

    /// Takes the answer, or sees to it that the request is woken when there is one.
    pub(super) fn poll(&mut self, lookup: LookupId, context: &Context<'_>) -> Poll<Answered> {
        let at = lookup.index();
        if at >= self.0.len() {
            self.0.resize_with(at + 1, Seat::default);
        }
        match std::mem::take(&mut self.0[at]) {
            Seat::Answered(answered) => Poll::Ready(*answered),
            Seat::Waiting(waker) if waker.will_wake(context.waker()) => {
                self.0[at] = Seat::Waiting(waker);
                Poll::Pending
            }
            Seat::Waiting(_) | Seat::Empty => {
                self.0[at] = Seat::Waiting(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Empties a seat; gives what lay there unread.
    pub(super) fn leave(&mut self, lookup: LookupId) -> Option<Answered> {
        match std::mem::take(self.0.get_mut(lookup.index())?) {
            Seat::Answered(answered) => Some(*answered),
            Seat::Waiting(_) | Seat::Empty => None,
        }
    }
}
