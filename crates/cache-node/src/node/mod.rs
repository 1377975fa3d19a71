//! The driver: one core, the requests that wait for it, and the work that it asks for.
//!
//! The core stands behind a mutex that is never held across an await. A request's first look runs inside the request's own
//! future; everything else that the core asks for is a task with a deadline ([`work`]) that outlives the request, because a
//! flight belongs to the process and not to whoever began it. A request that goes away cancels its lookup, nothing more.

mod flights;
mod seats;
mod work;

pub use seats::Answered;

use crate::metrics::NodeMetrics;
use crate::peers::{Locks, Origin};
use crate::store::{Look, Store, StoreError};
use crate::value::Value;
use flights::Flights;
use herd_policy::{Action, Config, Core, Limits, LookupId, OpId, ReadOutcome, Serve, Time};
use herd_service::rpc::Deadline;
use seats::Seats;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use work::Work;

/// The limits of the core in a node. Lookups, and with them seats, grow to what was needed once.
pub fn limits() -> Limits {
    Limits { store_deadline: Duration::from_secs(1), ..Limits::default() }
}

/// An answer that comes too late is none: the core gives up this much before the caller does, so that the caller hears why.
const ANSWER_TAKES: Duration = Duration::from_millis(3);

/// One node. Shared by all its requests and tasks.
pub struct Node {
    state: Mutex<State>,
    /// The deadline of the core moved closer.
    earlier: Notify,
    started: Instant,
    store: Store,
    locks: Locks,
    origin: Origin,
    metrics: NodeMetrics,
    #[cfg(test)]
    panics: std::sync::atomic::AtomicU32,
}

struct State {
    core: Core<Value>,
    configured: bool,
    seats: Seats,
    flights: Flights,
    /// When the timer will look at the core next.
    armed: Option<Time>,
    /// Where cache keys are put together.
    scratch: String,
}

/// A look at the store that the request does itself.
type OwnLook = (OpId, Arc<str>);

/// No configuration was received yet, so nothing is known about keys and layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node has received no configuration yet")]
pub struct NotConfigured;

impl Node {
    /// A node without a configuration. Run [`Node::keep_time`] beside it.
    #[must_use]
    pub fn new(store: Store, locks: Locks, origin: Origin, metrics: NodeMetrics) -> Arc<Self> {
        let state = State {
            core: Core::new(Arc::default(), limits()),
            configured: false,
            seats: Seats::default(),
            flights: Flights::default(),
            armed: None,
            scratch: String::new(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            earlier: Notify::new(),
            started: Instant::now(),
            store,
            locks,
            origin,
            metrics,
            #[cfg(test)]
            panics: std::sync::atomic::AtomicU32::new(0),
        })
    }

    /// Decides lookups by this configuration from now on. Flights under way keep theirs.
    pub fn configure(self: &Arc<Self>, config: Arc<Config>) {
        self.tell(|core, now| core.handle_config(now, config));
        self.lock().configured = true;
    }

    /// Gets a row's value. `key` was checked. Dropping the future gives the lookup up and nothing else.
    ///
    /// # Errors
    /// [`NotConfigured`]; every other failure is in the answer.
    pub async fn lookup(self: &Arc<Self>, key: &str, deadline: Deadline) -> Result<Answered, NotConfigured> {
        let (waiting, look) = self.begin(key, deadline)?;
        if let Some((op, cache_key)) = look {
            let found = self.store.look_within(&cache_key, time_left(deadline)).await;
            if let Some(answered) = self.tell_of_look(&waiting, op, found) {
                return Ok(waiting.done(answered));
            }
        }
        let answered = poll_fn(|context| waiting.poll(context)).await;
        Ok(waiting.done(answered))
    }

    /// Deletes the cached value of a row. Returns the generation that the deletion opened.
    ///
    /// # Errors
    /// [`NotConfigured`], or what the store said.
    pub async fn invalidate(&self, key: &str) -> Result<Result<u64, StoreError>, NotConfigured> {
        let cache_key = self.lock().cache_key(key)?;
        Ok(self.store.invalidate(&cache_key).await)
    }

    /// Lookups that are not answered yet, and flights under way.
    #[must_use]
    pub fn busy(&self) -> (usize, usize) {
        let state = self.lock();
        (state.core.lookups(), state.core.flights())
    }

    /// Calls the core whenever its next deadline comes. Runs as long as the node does.
    pub async fn keep_time(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                state.armed = state.core.poll_timeout();
                state.armed
            };
            let Some(next) = next else {
                self.earlier.notified().await;
                continue;
            };
            let at = self.started + Duration::from_micros(next.as_micros());
            tokio::select! {
                () = tokio::time::sleep_until(at.into()) => self.tell(|core, now| core.handle_timeout(now)),
                () = self.earlier.notified() => {}
            }
        }
    }

    /// Begins a lookup; its first look, if the core wants one, is the request's own work.
    fn begin(
        self: &Arc<Self>,
        key: &str,
        deadline: Deadline,
    ) -> Result<(Waiting<'_>, Option<OwnLook>), NotConfigured> {
        let now = self.now();
        let deadline = now + time_left(deadline);
        let mut state = self.lock();
        let cache_key = state.cache_key(key)?;
        let lookup = state.core.handle_lookup(now, cache_key, deadline);
        let mut look = None;
        let jobs = self.drain(&mut state, |action| match action {
            Action::Read { op, key, rebuild: None, .. } if look.is_none() => {
                look = Some((op, key));
                None
            }
            other => Some(other),
        });
        drop(state);
        self.start(jobs);
        Ok((Waiting { node: self, lookup, served: false }, look))
    }

    /// Tells the core what a request's own look found. The hit path: the answer comes straight back, no seat is taken.
    fn tell_of_look(
        self: &Arc<Self>,
        waiting: &Waiting<'_>,
        op: OpId,
        found: Result<Look, StoreError>,
    ) -> Option<Answered> {
        let now = self.now();
        let mut state = self.lock();
        state.core.handle_read(now, op, read_outcome(found));
        let mut mine = None;
        let jobs = self.drain(&mut state, |action| match action {
            Action::Serve(serve) if serve.lookup == waiting.lookup => {
                mine = Some(serve);
                None
            }
            other => Some(other),
        });
        let mine = mine.map(|serve| self.answered(&state, serve));
        drop(state);
        self.start(jobs);
        mine
    }

    /// Tells the core something and does what it says.
    fn tell(self: &Arc<Self>, what: impl FnOnce(&mut Core<Value>, Time)) {
        let now = self.now();
        let mut state = self.lock();
        what(&mut state.core, now);
        let jobs = self.drain(&mut state, Some);
        drop(state);
        self.start(jobs);
    }

    /// Settles what the core asks for, but for what `keep` takes out, and gives back what is to be started. The list stays
    /// without an allocation where there is nothing to start, as after a hit.
    fn drain(
        &self,
        state: &mut State,
        mut keep: impl FnMut(Action<Value>) -> Option<Action<Value>>,
    ) -> Vec<Work> {
        let mut jobs = Vec::new();
        while let Some(action) = state.core.poll_action() {
            if let Some(action) = keep(action) {
                jobs.extend(self.settle(state, action));
            }
        }
        self.rearm(state);
        jobs
    }

    /// Does at once what needs no waiting, and gives back the rest.
    fn settle(&self, state: &mut State, action: Action<Value>) -> Option<Work> {
        match action {
            Action::Serve(serve) => {
                let answered = self.answered(state, serve);
                state.seats.answer(answered);
                None
            }
            Action::Ended(summary) => {
                let trace = state.flights.end(&summary);
                if summary.fetches > 0 {
                    self.metrics.six.observe_rebuild(self.now().since(summary.began), trace.as_ref());
                }
                if let Some(waited) = summary.lock_waited {
                    self.metrics.six.observe_lock_wait(waited, trace.as_ref());
                }
                None
            }
            other => Work::of(other, &mut state.flights),
        }
    }

    fn answered(&self, state: &State, serve: Serve<Value>) -> Answered {
        if serve.missed {
            self.metrics.six.cache_miss.inc();
        }
        let flight = serve.rebuild.and_then(|rebuild| state.flights.context(rebuild));
        Answered { serve, flight }
    }

    /// Sees to it that the timer wakes in time, and shows how many wait.
    fn rearm(&self, state: &mut State) {
        self.metrics
            .six
            .singleflight_subscribers
            .set(i64::try_from(state.core.waiting()).unwrap_or(i64::MAX));
        if let Some(next) = state.core.poll_timeout()
            && state.armed.is_none_or(|armed| next < armed)
        {
            state.armed = Some(next);
            self.earlier.notify_one();
        }
    }

    /// After the lock was let go: a task that is dropped at once (the runtime ends) reports to the core.
    fn start(self: &Arc<Self>, jobs: Vec<Work>) {
        for job in jobs {
            tokio::spawn(work::perform(self.clone(), job));
        }
    }

    fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the core does not panic while it holds the lock")
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("store", &self.store).finish_non_exhaustive()
    }
}

impl State {
    fn cache_key(&mut self, key: &str) -> Result<Arc<str>, NotConfigured> {
        if !self.configured {
            return Err(NotConfigured);
        }
        self.scratch.clear();
        self.scratch.push_str(&self.core.config().key_prefix);
        self.scratch.push_str(key);
        Ok(self.scratch.as_str().into())
    }
}

/// A request that waits for its answer; dropped before it has one, it gives the lookup up.
struct Waiting<'a> {
    node: &'a Arc<Node>,
    lookup: LookupId,
    served: bool,
}

impl Waiting<'_> {
    fn poll(&self, context: &Context<'_>) -> Poll<Answered> {
        self.node.lock().seats.poll(self.lookup, context)
    }

    fn done(mut self, answered: Answered) -> Answered {
        self.served = true;
        answered
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.served {
            return;
        }
        let lookup = self.lookup;
        self.node.lock().seats.leave(lookup);
        self.node.tell(|core, now| core.handle_cancel(now, lookup));
    }
}

fn time_left(deadline: Deadline) -> Duration {
    deadline.remaining().saturating_sub(ANSWER_TAKES)
}

/// What the core is told about a look at the store.
fn read_outcome(found: Result<crate::store::Look, StoreError>) -> ReadOutcome<Value> {
    match found {
        Ok(Look::Fresh { stored, age_ms }) => {
            ReadOutcome::Fresh { generation: stored.header.generation, value: Value::stored(stored, age_ms) }
        }
        Ok(Look::Expired { stored, age_ms }) => ReadOutcome::Expired {
            generation: stored.header.generation,
            value: Value::stored(stored, age_ms),
        },
        Ok(Look::Absent { generation }) => ReadOutcome::Absent { generation },
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "a look at the cache failed");
            ReadOutcome::Failed(crate::errors::store_failure(&error))
        }
    }
}

#[cfg(test)]
impl Node {
    /// Makes the next `times` calls to the origin panic before they are made.
    fn panic_next(&self, times: u32) {
        self.panics.store(times, std::sync::atomic::Ordering::Relaxed);
    }

    fn panic_if_told(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        let told = self.panics.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        assert!(!told, "told to panic");
    }
}

#[cfg(test)]
mod tests;
