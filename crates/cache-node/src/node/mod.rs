//! The driver: one core, the requests that wait for it, and the work that it asks for.
//!
//! The core stands behind a mutex that is never held across an await. A request's first look runs inside the request's own
//! future ([`lookups`]); everything else that the core asks for is a task with a deadline ([`work`]) that outlives the request,
//! because a flight belongs to the process and not to whoever began it. A request that goes away cancels its lookup, nothing
//! more.

mod flights;
mod lookups;
mod put;
mod seats;
mod tiers;
mod work;

pub use put::{Put, PutError};
pub use seats::Answered;

use crate::config::NodeConfig;
use crate::metrics::NodeMetrics;
use crate::peers::{Locks, Origin};
use crate::store::record::Writes;
use crate::store::{Store, StoreError};
use crate::value::Value;
use flights::Flights;
use herd_policy::{Action, Config, Core, Limits, Serve, Time};
use seats::Seats;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tiers::Tiers;
use tokio::sync::{Notify, Semaphore};
use work::Work;

/// The limits of the core in a node. Lookups, and with them seats, grow to what was needed once.
pub fn limits() -> Limits {
    Limits { store_deadline: Duration::from_secs(1), ..Limits::default() }
}

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
    /// Writes of rows under way, those included whose writers are gone.
    puts: Arc<Semaphore>,
    #[cfg(test)]
    panics: std::sync::atomic::AtomicU32,
}

struct State {
    core: Core<Value>,
    configured: bool,
    /// Where rows that are written are cleared beside the current prefix.
    other_prefix: Option<Arc<str>>,
    seats: Seats,
    flights: Flights,
    tiers: Tiers,
    /// When the timer will look at the core next.
    armed: Option<Time>,
    /// Where cache keys are put together.
    scratch: String,
}

/// No configuration was received yet, so nothing is known about keys and layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node has received no configuration yet")]
pub struct NotConfigured;

impl Node {
    /// A node without a configuration. Run [`Node::keep_time`] beside it.
    #[must_use]
    pub fn new(store: Store, locks: Locks, origin: Origin, metrics: NodeMetrics) -> Arc<Self> {
        let state = State {
            core: Core::new(Arc::default(), limits(), rand::random()),
            configured: false,
            other_prefix: None,
            seats: Seats::default(),
            flights: Flights::default(),
            tiers: Tiers::default(),
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
            puts: Arc::new(Semaphore::new(put::AT_ONCE_MAX)),
            #[cfg(test)]
            panics: std::sync::atomic::AtomicU32::new(0),
        })
    }

    /// Decides lookups by this configuration from now on. Flights under way keep theirs. Call it inside a tokio runtime.
    pub fn configure(self: &Arc<Self>, config: NodeConfig) {
        let mut state = self.lock();
        state.tiers.configure(&config, &self.store, &self.origin, &self.metrics);
        state.other_prefix = config.other_prefix;
        drop(state);
        self.tell(|core, now| core.handle_config(now, config.policy));
        self.lock().configured = true;
    }

    /// Has the store's record of writes begin under the prefixes of a configuration that is about to be applied, where there
    /// is none yet. One that begins later is not whole.
    pub async fn begin_record(&self, config: &NodeConfig) {
        for prefix in std::iter::once(&config.policy.key_prefix).chain(&config.other_prefix) {
            if let Err(error) = self.store.begin_record(prefix).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%prefix, error, "the record of writes may begin late, and so not be whole");
            }
        }
    }

    /// Begins to read what the store recorded of the writes under a key prefix, whether or not it is the current one.
    ///
    /// # Errors
    /// What the store said.
    pub async fn writes(&self, prefix: &str) -> Result<Writes, StoreError> {
        self.store.writes(prefix).await
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

    fn answered(&self, state: &mut State, serve: Serve<Value>) -> Answered {
        let flight = state.flights.answers(&serve);
        Answered {
            flight: flight.map(|known| known.flight.context),
            pushback: flight.and_then(|known| known.pushback),
            serve,
            seen: 0,
            local: false,
            looked: None,
            cache_key: None,
        }
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
    fn config(&self) -> Result<&Arc<Config>, NotConfigured> {
        if self.configured { Ok(self.core.config()) } else { Err(NotConfigured) }
    }

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
