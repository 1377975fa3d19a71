//! A trace of which it is decided when it is over whether it is kept: its spans wait here for that.

use opentelemetry_sdk::trace::SpanData;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Spans of one trace that wait at most; later ones are let go. A flight has a dozen, and one more each time it extends its lease.
const SPANS_MAX: usize = 256;

/// Where the spans of such a trace go when they end.
pub(super) struct Held(Mutex<State>);

enum State {
    Undecided(Vec<SpanData>),
    Decided { kept: bool },
}

impl Default for Held {
    fn default() -> Self {
        Self(Mutex::new(State::Undecided(Vec::new())))
    }
}

impl Held {
    /// A span has ended; given back where its trace is known to be kept.
    pub(super) fn take(&self, span: impl FnOnce() -> SpanData) -> Option<SpanData> {
        match &mut *self.state() {
            State::Undecided(spans) => {
                if spans.len() < SPANS_MAX {
                    spans.push(span());
                }
                None
            }
            State::Decided { kept } => kept.then(span),
        }
    }

    /// Decides, once: what has ended until now, if it is kept.
    pub(super) fn decide(&self, kept: bool) -> Vec<SpanData> {
        let mut state = self.state();
        if matches!(*state, State::Decided { .. }) {
            return Vec::new();
        }
        match std::mem::replace(&mut *state, State::Decided { kept }) {
            State::Undecided(spans) if kept => spans,
            _ => Vec::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
