//! Who is granted a lease next, who is told to read, and who gives up: bounded waiting, sans-I/O.
//!
//! The arbiter holds the calls that wait for leases and says what to do: ask the store ([`Action::Try`],
//! [`Action::Look`], [`Action::Undo`]) or answer a caller ([`Action::Reply`]). The driver performs the actions and
//! comes back with what happened, when a timer is due, and when a caller hung up.
//!
//! - Calls of one owner for one name share an *attempt*. Attempts of a name queue in order of arrival; only the head
//!   asks the store for the lease, so a release does not wake a herd.
//! - A release with a value written answers every waiter at once: they read. So does one whose holder failed: they share
//!   its failure, once; also one who outlived its lease ([`Arbiter::handle_outlived`]). Any other release lets the head
//!   try.
//! - A dead holder costs no more than its lease: the head tries again when the lease that it saw ends. It also looks
//!   again every [`Settings::recheck_ms`], which is how a release through another instance of the service is noticed.
//! - A lease that was granted to nobody (its callers hung up, or the store's answer was lost) is taken back.
//! - A waiter rides out a short absence of the store; a new caller is told at once.

mod attempts;
#[cfg(test)]
mod interleavings;
mod late;
mod state;
#[cfg(test)]
mod tests;

use crate::ending::{HolderEnd, HolderFailure};
use crate::id::{Time, Token};
use crate::store::{Grant, LeaseView};
use state::{Attempt, Call, Name};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Limits and time constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// the most names that calls wait for
    pub names_max: usize,
    /// the most owners that wait for one name
    pub waiters_max: usize,
    /// the most calls in the service
    pub calls_max: usize,
    /// the most calls of one owner for one name
    pub calls_per_owner_max: usize,
    /// the head of a queue asks the store at least this often, milliseconds
    pub recheck_ms: u32,
    /// pause before the store is asked again after it gave no answer, milliseconds
    pub retry_ms: u32,
    /// how long waiters ride out a store that gives no answer, milliseconds
    pub patience_ms: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            names_max: 100_000,
            waiters_max: 10_000,
            calls_max: 100_000,
            calls_per_owner_max: 16,
            recheck_ms: 500,
            retry_ms: 50,
            patience_ms: 2_000,
        }
    }
}

/// One call of [`Arbiter::handle_acquire`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(u64);

/// One operation on the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(u64);

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the store for the lease; answer with [`Arbiter::handle_tried`].
    Try {
        /// to be named in the answer
        op: OpId,
        /// the lease
        name: Arc<str>,
        /// who asks
        owner: Arc<str>,
        /// how long the lease shall last, milliseconds
        expiry_ms: u32,
        /// the token of an earlier try whose outcome is unknown; to be used again, so that both are one acquire
        token: Option<Token>,
    },
    /// Ask the store who holds the lease; answer with [`Arbiter::handle_looked`].
    Look {
        /// to be named in the answer
        op: OpId,
        /// the lease
        name: Arc<str>,
    },
    /// Revoke the token; answer with [`Arbiter::handle_undone`].
    Undo {
        /// to be named in the answer
        op: OpId,
        /// the lease
        name: Arc<str>,
        /// who may hold it
        owner: Arc<str>,
        /// under this token
        token: Token,
    },
    /// Answer a call. A grant is then confirmed by [`Arbiter::handle_delivered`] or [`Arbiter::handle_cancel`].
    Reply {
        /// the call
        call: CallId,
        /// its answer
        reply: Reply,
        /// how long the call waited, milliseconds
        waited_ms: u32,
    },
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The owner holds the lease.
    Granted(Grant),
    /// The holder finished and wrote a value while the call waited.
    HolderDone,
    /// The holder failed while the call waited, and the call shares that.
    HolderFailed(HolderFailure),
    /// Still held by somebody else when the call's wait ran out.
    WaitTimeout {
        /// who holds it
        holder: String,
        /// what was left of the lease at the reply, milliseconds
        expires_in_ms: u32,
    },
    /// No answer could be had.
    Failed(Failure),
}

/// Why no answer could be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The lease store is away.
    #[error("{0}")]
    StoreAway(String),
    /// No token is left, and none could be reserved.
    #[error("{0}")]
    TokensAway(String),
    /// The lease store is full.
    #[error("{0}")]
    StoreFull(String),
    /// The store answered something that makes no sense.
    #[error("{0}")]
    StoreFailed(String),
    /// The service is stopping.
    #[error("the lock service is stopping")]
    Draining,
}

/// What the store said to [`Action::Try`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The owner holds the lease.
    Granted(Grant),
    /// Somebody else does.
    Held(LeaseView),
    /// No answer. `doubt` is the token of an acquire that may have been applied, or may yet be.
    Failed {
        /// why
        failure: Failure,
        /// the token in doubt
        doubt: Option<Token>,
    },
}

/// Why a call is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overloaded {
    /// Calls wait for too many names.
    #[error("calls wait for {0} names, and no more are allowed")]
    Names(usize),
    /// Too many owners wait for this name.
    #[error("{0} owners wait for this name, and no more are allowed")]
    Waiters(usize),
    /// Too many calls are in the service.
    #[error("{0} calls are in the service, and no more are allowed")]
    Calls(usize),
    /// Too many calls of this owner for this name.
    #[error("{0} calls of this owner wait for this name, and no more are allowed")]
    CallsPerOwner(usize),
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// index of a call whose wait runs out
    Call(CallId),
    /// serial number of a name whose head shall try
    Name(u64),
    /// an undo that shall be tried again
    Undo(u64),
}

/// The pure core of the lock service; see the [module's page](self).
#[derive(Debug)]
pub struct Arbiter {
    settings: Settings,
    names: BTreeMap<Arc<str>, Name>,
    /// where a call waits, or waits to be confirmed
    calls: BTreeMap<CallId, Place>,
    ops: BTreeMap<OpId, Place>,
    alarms: BTreeSet<(Time, Alarm)>,
    /// whom a name's or an undo's alarm is for
    alarm_places: BTreeMap<u64, Place>,
    actions: VecDeque<Action>,
    next_id: u64,
    draining: bool,
}

/// An attempt, by name and owner.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    name: Arc<str>,
    owner: Arc<str>,
}

impl Arbiter {
    /// An arbiter without calls.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self {
            settings,
            names: BTreeMap::new(),
            calls: BTreeMap::new(),
            ops: BTreeMap::new(),
            alarms: BTreeSet::new(),
            alarm_places: BTreeMap::new(),
            actions: VecDeque::new(),
            next_id: 0,
            draining: false,
        }
    }

    /// A caller asks for a lease and waits up to `wait_ms` milliseconds for it. Its answer comes as [`Action::Reply`].
    ///
    /// # Errors
    /// [`Overloaded`] names the limit that is reached.
    pub fn handle_acquire(
        &mut self,
        now: Time,
        name: &str,
        owner: &str,
        expiry_ms: u32,
        wait_ms: u32,
    ) -> Result<CallId, Overloaded> {
        self.check_limits(name, owner)?;
        let id = CallId(self.fresh_id());
        let place = Place { name: name.into(), owner: owner.into() };
        if self.draining {
            self.reply(id, now, now, Reply::Failed(Failure::Draining));
            return Ok(id);
        }
        let deadline = now.plus_ms(wait_ms.into());
        let attempts = &mut self.names.entry(Arc::clone(&place.name)).or_default().attempts;
        let attempt = attempts.entry(Arc::clone(&place.owner)).or_insert_with(|| Attempt::new(expiry_ms));
        attempt.expiry_ms = expiry_ms;
        attempt.calls.push(Call { id, began: now, deadline });
        self.calls.insert(id, place.clone());
        self.alarms.insert((deadline, Alarm::Call(id)));
        self.enqueue(now, &place);
        Ok(id)
    }

    /// The caller hung up, or its grant could not be delivered. A call that is over is ignored.
    pub fn handle_cancel(&mut self, now: Time, call: CallId) {
        let Some(place) = self.calls.remove(&call) else { return };
        let Some(attempt) = self.attempt(&place) else { return };
        attempt.unconfirmed.remove(&call);
        if let Some(at) = attempt.calls.iter().position(|waiting| waiting.id == call) {
            let waiting = attempt.calls.remove(at);
            self.alarms.remove(&(waiting.deadline, Alarm::Call(call)));
        }
        self.settle(now, &place);
    }

    /// The caller has got its grant.
    pub fn handle_delivered(&mut self, now: Time, call: CallId) {
        let Some(place) = self.calls.remove(&call) else { return };
        let Some(attempt) = self.attempt(&place) else { return };
        let taken = attempt.unconfirmed.remove(&call);
        if taken.is_some() && taken == attempt.fresh {
            attempt.confirmed = true;
        }
        self.settle(now, &place);
    }

    /// The store answered a release: `freed` says whether the lease was freed by it. Whoever waits now is told how the
    /// holder ended, and it is forgotten then.
    ///
    /// A value that was written counts also when the lease had ended before: waiters only read. A failure counts here only
    /// if the lease was held; else see [`handle_outlived`](Self::handle_outlived).
    pub fn handle_released(&mut self, now: Time, name: &str, freed: bool, end: &HolderEnd) {
        let Some((name, state)) = self.names.get_key_value(name) else { return };
        let name = Arc::clone(name);
        let waiting: Vec<Arc<str>> = state.queue.iter().cloned().collect();
        if freed && let Some(state) = self.names.get_mut(&name) {
            if let Some((holder, _)) = state.holder.take() {
                state.holders.retain(|(known, _)| *known != holder);
            }
            state.moved = state.trying.is_some();
        }
        let told = match end {
            HolderEnd::ValueWritten => Some(Reply::HolderDone),
            HolderEnd::Failed(failure) if freed => Some(Reply::HolderFailed(failure.clone())),
            HolderEnd::Failed(_) | HolderEnd::Abandoned => None,
        };
        if let Some(told) = told {
            self.tell_waiting(now, &name, waiting, &told);
        }
        if freed {
            self.set_next_try(&name, now);
        }
        self.advance(now, &name);
    }

    /// The service stops: every waiting call is answered, new ones are refused, leases granted to nobody are taken back.
    pub fn handle_drain(&mut self, now: Time) {
        self.draining = true;
        let places: Vec<Place> = self.calls.values().cloned().collect();
        for place in places {
            self.reply_all(now, &place, &Reply::Failed(Failure::Draining));
            self.settle(now, &place);
        }
    }

    /// Time has come to [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some((at, alarm)) = self.alarms.first().copied()
            && at <= now
        {
            self.alarms.pop_first();
            match alarm {
                Alarm::Call(call) => {
                    if let Some(place) = self.calls.get(&call).cloned() {
                        self.time_out_calls(now, &place);
                        self.settle(now, &place);
                    }
                }
                Alarm::Name(serial) => {
                    if let Some(place) = self.alarm_places.remove(&serial) {
                        self.advance(now, &place.name);
                    }
                }
                Alarm::Undo(serial) => {
                    if let Some(place) = self.alarm_places.remove(&serial) {
                        self.settle(now, &place);
                    }
                }
            }
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if nothing else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// How many calls wait for a name.
    #[must_use]
    pub fn waiters(&self, name: &str) -> usize {
        self.names
            .get(name)
            .map_or(0, |state| state.attempts.values().map(|attempt| attempt.calls.len()).sum())
    }

    /// How many calls are in the arbiter.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// How many operations on the store were asked for and have not been answered.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.ops.len()
    }

    /// Whether nothing is waited for, by callers or by us.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.names.is_empty() && self.calls.is_empty() && self.ops.is_empty() && self.actions.is_empty()
    }

    fn check_limits(&self, name: &str, owner: &str) -> Result<(), Overloaded> {
        let limits = &self.settings;
        if self.calls.len() >= limits.calls_max {
            return Err(Overloaded::Calls(limits.calls_max));
        }
        let Some(state) = self.names.get(name) else {
            let full = self.names.len() >= limits.names_max;
            return if full { Err(Overloaded::Names(limits.names_max)) } else { Ok(()) };
        };
        match state.attempts.get(owner) {
            Some(attempt)
                if attempt.calls.len() + attempt.unconfirmed.len() >= limits.calls_per_owner_max =>
            {
                Err(Overloaded::CallsPerOwner(limits.calls_per_owner_max))
            }
            None if state.attempts.len() >= limits.waiters_max => {
                Err(Overloaded::Waiters(limits.waiters_max))
            }
            _ => Ok(()),
        }
    }
}
