//! The driver: performs what the arbiter asks for, over a lease store and durable counters.
//!
//! Operations on the store run in tasks of their own. A caller that hangs up drops its future, which tells the arbiter;
//! nothing that was sent to the store is forgotten by it.

mod attempt;
pub mod clock;

use crate::counters::Counters;
use crate::metrics::LockMetrics;
use crate::tokens::TokenSource;
use attempt::Repairs;
use clock::Clock;
use herd_lease::arbiter::{Action, Arbiter, CallId, Failure, Overloaded, Reply, Settings};
use herd_lease::id::{self, Malformed};
use herd_lease::store::StoreError;
use herd_lease::{HolderEnd, HolderFailure, LeaseStore, LeaseView, Time, Token};
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Name and owner of the lease that is asked for at the start, to see that leases can be granted.
const PREPARE_NAME: &str = "lock-service.start";

/// Pause between attempts to prepare.
const PREPARE_PAUSE: Duration = Duration::from_millis(50);

/// The lock service's decisions at work. Cloning shares it.
pub struct Locks<S, C> {
    inner: Arc<Inner<S, C>>,
}

struct Inner<S, C> {
    store: S,
    tokens: Arc<TokenSource<C>>,
    desk: Mutex<Desk>,
    /// the next timer may have changed
    rearm: Notify,
    /// nothing is waited for any more
    idle: Notify,
    repairs: Repairs,
    began: Instant,
    try_max: Duration,
    clock: Clock,
    tasks: TaskTracker,
    stopped: CancellationToken,
    metrics: LockMetrics,
}

struct Desk {
    arbiter: Arbiter,
    waiting: HashMap<CallId, oneshot::Sender<Answer>>,
    /// the time that the timer task sleeps towards
    armed: Option<Time>,
}

/// The answer to an acquire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// what became of it
    pub reply: Reply,
    /// how long the call waited here, milliseconds
    pub waited_ms: u32,
}

/// How the driver works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// tokens reserved at a time, at least 1
    pub token_block: u32,
    /// a try for a lease is answered within this time; a step that is under way then may still be applied
    pub try_max: Duration,
    /// limits and time constants of the arbiter
    pub settings: Settings,
}

impl Default for Options {
    fn default() -> Self {
        Self { token_block: 1_000, try_max: Duration::from_millis(450), settings: Settings::default() }
    }
}

/// What a caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// the lease
    pub name: &'a str,
    /// who asks; unique to one attempt to lead
    pub owner: &'a str,
    /// how long the lease shall last, milliseconds
    pub expiry_ms: u32,
    /// how long to wait for it, milliseconds
    pub wait_ms: u32,
}

/// A lease as seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// who holds it, if anybody
    pub lease: Option<LeaseView>,
    /// how many calls wait for it in this instance of the service
    pub waiters: u32,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocksError {
    /// The caller's request breaks a limit.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Too many wait.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// No answer could be had.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl<S, C> Clone for Locks<S, C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<S: LeaseStore, C: Counters> Locks<S, C> {
    /// Starts the driver. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(store: S, counters: C, options: Options, metrics: LockMetrics) -> Self {
        let desk = Desk { arbiter: Arbiter::new(options.settings), waiting: HashMap::new(), armed: None };
        let inner = Inner {
            store,
            tokens: TokenSource::new(counters, options.token_block),
            desk: Mutex::new(desk),
            rearm: Notify::new(),
            idle: Notify::new(),
            repairs: Repairs::default(),
            began: Instant::now(),
            try_max: options.try_max,
            clock: Clock::default(),
            tasks: TaskTracker::new(),
            stopped: CancellationToken::new(),
            metrics,
        };
        let locks = Self { inner: Arc::new(inner) };
        let (stopped, tokens) = (locks.inner.stopped.clone(), Arc::clone(&locks.inner.tokens));
        tokio::spawn(async move { stopped.run_until_cancelled(tokens.refill()).await });
        let (stopped, timer) = (locks.inner.stopped.clone(), locks.clone());
        tokio::spawn(async move { stopped.run_until_cancelled(timer.run_timer()).await });
        locks
    }

    /// Waits for a lease. Dropping the future is hanging up: the place in the queue is given up, and a grant that
    /// nobody took is taken back.
    ///
    /// # Errors
    /// The request is malformed, or a limit is reached. What the store did is in the answer.
    pub async fn acquire(&self, wanted: Wanted<'_>) -> Result<Answer, LocksError> {
        id::check_name(wanted.name)?;
        id::check_owner(wanted.owner)?;
        id::check_expiry(wanted.expiry_ms)?;
        id::check_wait(wanted.wait_ms)?;
        let (tell, told) = oneshot::channel();
        let call = {
            let mut desk = self.desk();
            let Wanted { name, owner, expiry_ms, wait_ms } = wanted;
            let id = desk.arbiter.handle_acquire(self.now(), name, owner, expiry_ms, wait_ms)?;
            desk.waiting.insert(id, tell);
            Call { locks: self, id }
        };
        self.pump();
        let answer = told.await.map_err(|_| Failure::Draining)?;
        call.delivered();
        Ok(answer)
    }

    /// Sets the remaining time of a lease that `owner` holds under `token`; says whether it did.
    ///
    /// # Errors
    /// The request is malformed, or the store is away.
    pub async fn renew(
        &self,
        name: &str,
        owner: &str,
        token: Token,
        expiry_ms: u32,
    ) -> Result<bool, LocksError> {
        id::check_name(name)?;
        id::check_owner(owner)?;
        id::check_expiry(expiry_ms)?;
        let expiry_ms = self.inner.clock.by_store(expiry_ms);
        let renewed = self.inner.store.renew(name, owner, token, expiry_ms).await;
        Ok(renewed.map_err(|error| self.store_failure(&error))?)
    }

    /// Frees a lease that `owner` holds; says whether it did. Everybody who waits now is told how the holder
    /// ended: to read a value that was written, or its failure; if it just left, the oldest is granted next. Works on even if the caller hangs up.
    ///
    /// # Errors
    /// The request is malformed, or the store is away.
    pub async fn release(&self, name: &str, owner: &str, end: HolderEnd) -> Result<bool, LocksError> {
        id::check_name(name)?;
        id::check_owner(owner)?;
        let (locks, freed, owner) = (self.clone(), name.to_owned(), owner.to_owned());
        let late = owner.clone();
        self.free_by(name, Some(late), end, async move { locks.store().release(&freed, &owner).await }).await
    }

    /// Tells the queue of a lease that `free` frees in the name of `owner`, if any. Goes on if the caller hangs up.
    pub(crate) async fn free_by(
        &self,
        name: &str,
        owner: Option<String>,
        end: HolderEnd,
        free: impl Future<Output = Result<bool, StoreError>> + Send + 'static,
    ) -> Result<bool, LocksError> {
        let (locks, name) = (self.clone(), name.to_owned());
        let release = self.inner.tasks.spawn(async move {
            let freed = free.await?;
            locks.desk().arbiter.handle_released(locks.now(), &name, freed, &end);
            locks.pump();
            if let (false, Some(owner), HolderEnd::Failed(failure)) = (freed, owner, &end) {
                locks.tell_outlived(&name, &owner, failure).await;
            }
            Ok(freed)
        });
        let freed = release.await.map_err(|error| Failure::StoreFailed(error.to_string()))?;
        Ok(freed.map_err(|error: StoreError| self.store_failure(&error))?)
    }

    /// Shares the failure of a holder that outlived its lease with those who wait here, if anybody does. A store that
    /// gives no answer leaves them waiting for the holder that they have.
    async fn tell_outlived(&self, name: &str, owner: &str, failure: &HolderFailure) {
        if self.desk().arbiter.waiters(name) == 0 {
            return;
        }
        if let Ok(Some(holding)) = self.inner.store.inspect(name).await {
            self.desk().arbiter.handle_outlived(self.now(), name, owner, &holding, failure);
            self.pump();
        }
    }

    /// Who holds a lease now, and how many wait for it here.
    ///
    /// # Errors
    /// The request is malformed, or the store is away.
    pub async fn inspect(&self, name: &str) -> Result<Inspected, LocksError> {
        id::check_name(name)?;
        let lease = self.inner.store.inspect(name).await.map_err(|error| self.store_failure(&error))?;
        let waiters = u32::try_from(self.desk().arbiter.waiters(name)).unwrap_or(u32::MAX);
        Ok(Inspected { lease, waiters })
    }

    /// Answers every waiter that the service stops, refuses new calls, and returns when what was granted to nobody
    /// was taken back.
    pub async fn drain(&self) {
        self.desk().arbiter.handle_drain(self.now());
        self.pump();
        self.idle().await;
    }

    /// Waits until nothing is waited for, by callers or by the service itself.
    pub async fn idle(&self) {
        loop {
            let mut idle = std::pin::pin!(self.inner.idle.notified());
            idle.as_mut().enable();
            if self.desk().arbiter.is_idle() {
                return;
            }
            idle.await;
        }
    }

    /// How many operations on the store are under way.
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) fn operations(&self) -> usize {
        self.desk().arbiter.operations()
    }

    /// Ends the tasks beside the calls. Calls that are made afterwards are not answered.
    pub fn stop(&self) {
        self.inner.stopped.cancel();
    }

    /// The clock by which leases end.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// The durable counters.
    #[must_use]
    pub fn counters(&self) -> &C {
        self.inner.tokens.counters()
    }

    /// Returns when a lease can be granted: tokens are reserved, the lease store answers, and what it needed first was
    /// done. The first caller then need not wait for that.
    pub async fn prepare(&self) {
        loop {
            let wanted = Wanted { name: PREPARE_NAME, owner: PREPARE_NAME, expiry_ms: 1, wait_ms: 0 };
            let answer = self.acquire(wanted).await;
            if answer.is_ok_and(|answer| !matches!(answer.reply, Reply::Failed(_))) {
                return;
            }
            tokio::time::sleep(PREPARE_PAUSE).await;
        }
    }

    /// Updates the metrics that stand for a state.
    pub(crate) fn observe_state(&self) {
        let calls = self.desk().arbiter.calls();
        self.inner.metrics.set_state(calls, self.inner.tokens.known_epoch(), self.inner.tokens.remaining());
    }

    /// Performs what the arbiter asks for.
    fn pump(&self) {
        let mut operations = Vec::new();
        let mut desk = self.desk();
        while let Some(action) = desk.arbiter.poll_action() {
            if let Action::Reply { call, reply, waited_ms } = action {
                // If nobody listens any more, the call's own drop tells the arbiter.
                if let Some(tell) = desk.waiting.remove(&call) {
                    let _ = tell.send(Answer { reply, waited_ms });
                }
            } else {
                operations.push(action);
            }
        }
        let earlier = match (desk.arbiter.poll_timeout(), desk.armed) {
            (Some(next), Some(armed)) => next < armed,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let idle = desk.arbiter.is_idle();
        drop(desk);
        if idle {
            self.inner.idle.notify_waiters();
        }
        if earlier {
            self.inner.rearm.notify_one();
        }
        for operation in operations {
            let locks = self.clone();
            self.inner.tasks.spawn(async move { locks.perform(operation).await });
        }
        self.observe_state();
    }

    async fn perform(self, operation: Action) {
        match operation {
            Action::Try { op, name, owner, expiry_ms, token } => {
                let tried = self.try_acquire(&name, &owner, expiry_ms, token).await;
                self.desk().arbiter.handle_tried(self.now(), op, tried);
            }
            Action::Look { op, name } => {
                let looked = self.inner.store.inspect(&name).await;
                let looked = looked.map_err(|error| self.store_failure(&error));
                self.desk().arbiter.handle_looked(self.now(), op, looked);
            }
            Action::Undo { op, name, owner, token } => {
                let undone = self.inner.store.revoke(&name, &owner, token).await;
                if let Ok(true) = undone {
                    tracing::info!(%name, %owner, %token, "a lease that nobody waited for any more was taken back");
                }
                self.desk().arbiter.handle_undone(self.now(), op, undone.is_ok());
            }
            Action::Reply { .. } => unreachable!("replies are sent where they are found"),
        }
        self.pump();
    }

    async fn run_timer(&self) {
        loop {
            let next = {
                let mut desk = self.desk();
                desk.armed = desk.arbiter.poll_timeout();
                desk.armed
            };
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(self.instant(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.inner.rearm.notified() => {}
            }
            self.desk().arbiter.handle_timeout(self.now());
            self.pump();
        }
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.inner.began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn instant(&self, at: Time) -> Instant {
        self.inner.began + Duration::from_micros(at.0)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.inner.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lease store.
    pub(crate) fn store(&self) -> &S {
        &self.inner.store
    }

    pub(crate) fn store_failure(&self, error: &StoreError) -> Failure {
        self.inner.metrics.count_store_error();
        match error {
            StoreError::Away(_) | StoreError::Unknown(_) => Failure::StoreAway(error.to_string()),
            StoreError::Full(_) => Failure::StoreFull(error.to_string()),
            StoreError::Failed(_) => Failure::StoreFailed(error.to_string()),
        }
    }
}

/// A call that waits. Dropped before it was delivered, it has hung up.
struct Call<'a, S: LeaseStore, C: Counters> {
    locks: &'a Locks<S, C>,
    id: CallId,
}

impl<S: LeaseStore, C: Counters> Call<'_, S, C> {
    fn delivered(self) {
        // What is cancelled after it was delivered is ignored by the arbiter, so the drop that follows does no harm.
        self.locks.desk().arbiter.handle_delivered(self.locks.now(), self.id);
        // The drop pumps.
    }
}

impl<S: LeaseStore, C: Counters> Drop for Call<'_, S, C> {
    fn drop(&mut self) {
        let mut desk = self.locks.desk();
        desk.waiting.remove(&self.id);
        desk.arbiter.handle_cancel(self.locks.now(), self.id);
        drop(desk);
        self.locks.pump();
    }
}
