//! The core itself: its state and the handlers that a driver calls.

mod answers;
mod background;
mod flight;
mod leases;
mod lookups;
mod pauses;
mod steps;
mod waiters;
mod writes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use self::flight::{Flight, FlightKey, Op};
use self::lookups::Lookup;
use self::pauses::Pauses;
use crate::action::Action;
use crate::chance::Chance;
use crate::config::{Config, Limits};
use crate::ids::{LookupId, OpId};
use crate::outcome::{FetchOutcome, LeaseOutcome, ReadOutcome, RenewOutcome, WriteOutcome};
use crate::slab::Slab;
use crate::time::Time;

/// Decides what one process does with its lookups. See the [crate's page](crate) for how to drive it.
///
/// Invariants: at most one live shared flight a key; every lookup is served once or was cancelled; a lookup waits for at
/// most one flight; a flight has exactly one operation under way (and at most one renewal beside it); a lease that was
/// granted, or may have been, is released before its flight ends.
pub struct Core<V> {
    config: Arc<Config>,
    limits: Limits,
    lookups: Slab<Lookup<V>>,
    flights: Slab<Flight<V>>,
    /// The live shared flight of each key. Ordered rather than hashed: misses only, and no seed is needed.
    by_key: BTreeMap<Arc<str>, FlightKey>,
    ops: Slab<Op>,
    timers: BTreeSet<(Time, Timer)>,
    actions: VecDeque<Action<V>>,
    pauses: Pauses,
    waiting: usize,
    rebuilds: u64,
    chance: Chance,
}

/// What is due at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A waiter's own deadline, or the end of its patience.
    Waiter(LookupId),
    /// A flight's operation was not answered.
    Overdue(FlightKey),
    /// A flight's lease is to be extended.
    Renew(FlightKey),
}

impl<V: Clone> Core<V> {
    /// A core that knows no lookup yet. `seed` fixes every number that it draws (jitter, early recomputation).
    pub fn new(config: Arc<Config>, limits: Limits, seed: u64) -> Self {
        Core {
            config,
            limits,
            lookups: Slab::new(),
            flights: Slab::new(),
            by_key: BTreeMap::new(),
            ops: Slab::new(),
            timers: BTreeSet::new(),
            actions: VecDeque::new(),
            pauses: Pauses::default(),
            waiting: 0,
            rebuilds: 0,
            chance: Chance::seeded(seed),
        }
    }

    /// The configuration that the next lookup is decided by.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// A new configuration, for lookups from now on. Lookups and flights under way keep theirs.
    pub fn handle_config(&mut self, _now: Time, config: Arc<Config>) {
        self.config = config;
    }

    /// A request for `key` (the full cache key, prefix included) that wants its answer before `deadline`.
    pub fn handle_lookup(&mut self, _now: Time, key: Arc<str>, deadline: Time) -> LookupId {
        let config = Arc::clone(&self.config);
        self.look_up(key, config, deadline, false)
    }

    /// A request to have `key` in the cache (pre-warm, background fill), under a configuration of its own: its prefix
    /// need not be the current one. Served like a lookup, but that it waits for the rebuild of an expired value rather than be
    /// served it meanwhile; what it rebuilds is rebuilt for [`Reason::Warm`](crate::Reason::Warm).
    pub fn handle_warm(
        &mut self,
        _now: Time,
        key: Arc<str>,
        config: Arc<Config>,
        deadline: Time,
    ) -> LookupId {
        self.look_up(key, config, deadline, true)
    }

    /// The caller of a lookup went away: it will not be served. Unknown or finished lookups are ignored.
    pub fn handle_cancel(&mut self, _now: Time, lookup: LookupId) {
        self.cancel(lookup);
    }

    /// The outcome of a [`Read`](Action::Read).
    pub fn handle_read(&mut self, now: Time, op: OpId, outcome: ReadOutcome<V>) {
        match op.of_lookup() {
            Some(lookup) => self.first_look(now, lookup, outcome),
            None => self.looked_again(now, op, outcome),
        }
    }

    /// The outcome of an [`Acquire`](Action::Acquire).
    #[expect(
        clippy::needless_pass_by_value,
        reason = "an outcome is handed over once, like those with values"
    )]
    pub fn handle_lease(&mut self, now: Time, op: OpId, outcome: LeaseOutcome) {
        self.leased(now, op, &outcome);
    }

    /// The outcome of a [`Renew`](Action::Renew).
    pub fn handle_renewed(&mut self, _now: Time, op: OpId, outcome: RenewOutcome) {
        self.renewed(op, outcome);
    }

    /// The outcome of a [`Fetch`](Action::Fetch).
    pub fn handle_fetched(&mut self, now: Time, op: OpId, outcome: FetchOutcome<V>) {
        self.fetched(now, op, outcome);
    }

    /// The outcome of a [`Write`](Action::Write).
    #[expect(
        clippy::needless_pass_by_value,
        reason = "an outcome is handed over once, like those with values"
    )]
    pub fn handle_written(&mut self, now: Time, op: OpId, outcome: WriteOutcome) {
        self.written(now, op, &outcome);
    }

    /// Does what is due: deadlines and patience of waiters, renewals, overdue operations. Early or superfluous calls do nothing.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(&(at, timer)) = self.timers.first() {
            if at > now {
                return;
            }
            self.timers.pop_first();
            match timer {
                Timer::Waiter(lookup) => self.waiter_due(now, lookup),
                Timer::Overdue(flight) => self.overdue(now, flight),
                Timer::Renew(flight) => self.renew(now, flight),
            }
        }
    }

    /// The next thing to do. Drain it after every `handle_*` call.
    pub fn poll_action(&mut self) -> Option<Action<V>> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Core::handle_timeout) is to be called next, unless something else happens first.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Lookups that are neither served nor cancelled yet.
    pub fn lookups(&self) -> usize {
        self.lookups.len()
    }

    /// Flights under way, uncoordinated rebuilds included.
    pub fn flights(&self) -> usize {
        self.flights.len()
    }

    /// Lookups that wait for shared flights, leaders included: the gauge `singleflight_subscriber_count`.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Operations that the core waits for, first looks excluded. 0 when no flight is left, unless a lease may still be
    /// granted to one that gave up on it.
    pub fn operations(&self) -> usize {
        self.ops.len()
    }
}

impl<V> fmt::Debug for Core<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("config_version", &self.config.version)
            .field("lookups", &self.lookups.len())
            .field("flights", &self.flights.len())
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}
