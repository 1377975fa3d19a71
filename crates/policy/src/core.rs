//! The core itself: its state and the handlers that a driver calls.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::action::Action;
use crate::config::{Config, Limits};
use crate::ids::{LookupId, OpId};
use crate::outcome::{FetchOutcome, LeaseOutcome, ReadOutcome, RenewOutcome, WriteOutcome};
use crate::time::Time;

/// Decides what one process does with its lookups. See the [crate's page](crate) for how to drive it.
pub struct Core<V> {
    config: Arc<Config>,
    limits: Limits,
    actions: VecDeque<Action<V>>,
}

impl<V: Clone> Core<V> {
    /// A core that knows no lookup yet.
    pub fn new(config: Arc<Config>, limits: Limits) -> Self {
        Core { config, limits, actions: VecDeque::new() }
    }

    /// The configuration that the next lookup is decided by.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// A new configuration, for lookups from now on. Flights under way keep theirs.
    pub fn handle_config(&mut self, _now: Time, config: Arc<Config>) {
        self.config = config;
    }

    /// A request for `key` (the full cache key, prefix included) that wants its answer before `deadline`.
    pub fn handle_lookup(&mut self, _now: Time, _key: Arc<str>, _deadline: Time) -> LookupId {
        let _ = &self.limits;
        LookupId(0)
    }

    /// The caller of a lookup went away: it will not be served. Unknown or finished lookups are ignored.
    pub fn handle_cancel(&mut self, _now: Time, _lookup: LookupId) {}

    /// The outcome of a [`Read`](Action::Read).
    pub fn handle_read(&mut self, _now: Time, _op: OpId, _outcome: ReadOutcome<V>) {}

    /// The outcome of an [`Acquire`](Action::Acquire).
    pub fn handle_lease(&mut self, _now: Time, _op: OpId, _outcome: LeaseOutcome) {}

    /// The outcome of a [`Renew`](Action::Renew).
    pub fn handle_renewed(&mut self, _now: Time, _op: OpId, _outcome: RenewOutcome) {}

    /// The outcome of a [`Fetch`](Action::Fetch).
    pub fn handle_fetched(&mut self, _now: Time, _op: OpId, _outcome: FetchOutcome<V>) {}

    /// The outcome of a [`Write`](Action::Write).
    pub fn handle_written(&mut self, _now: Time, _op: OpId, _outcome: WriteOutcome) {}

    /// Does what is due: deadlines of waiters, renewals, overdue operations. Early or superfluous calls do nothing.
    pub fn handle_timeout(&mut self, _now: Time) {}

    /// The next thing to do. Drain it after every `handle_*` call.
    pub fn poll_action(&mut self) -> Option<Action<V>> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Core::handle_timeout) is to be called next, unless something else happens first.
    pub fn poll_timeout(&self) -> Option<Time> {
        None
    }

    /// Lookups that are not served yet.
    pub fn lookups(&self) -> usize {
        0
    }

    /// Flights under way, uncoordinated rebuilds included.
    pub fn flights(&self) -> usize {
        0
    }

    /// Lookups that wait for flights, leaders included: the gauge `singleflight_subscriber_count`.
    pub fn waiting(&self) -> usize {
        0
    }
}
