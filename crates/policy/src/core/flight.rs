//! A flight: one rebuild and everybody who waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::{Core, Timer};
use crate::action::{Action, Ending, HolderEnd, Reason, Summary};
use crate::config::Config;
use crate::ids::{Lease, LookupId, OpId, Owner, RebuildId};
use crate::layer::{Admission, Layer, Look};
use crate::time::Time;

/// Names a flight's slot.
pub(super) type FlightKey = u64;

/// One rebuild. It is the core's, not its leader's: it ends by its own outcome, whoever waits.
pub(super) struct Flight<V> {
    pub(super) rebuild: RebuildId,
    pub(super) key: Arc<str>,
    pub(super) config: Arc<Config>,
    pub(super) layer: &'static dyn Layer,
    pub(super) purpose: Purpose,
    /// Others may join it.
    pub(super) shared: bool,
    /// In order of arrival; the first one leads.
    pub(super) waiters: VecDeque<LookupId>,
    /// The generation seen expired, by the latest look.
    pub(super) generation: u64,
    pub(super) stage: Stage<V>,
    /// The operation under way and when it is overdue.
    pub(super) under_way: Option<(OpId, Time)>,
    pub(super) held: Option<Held>,
    /// Attempts to get the lock.
    pub(super) attempts: u32,
    /// Times it started over.
    pub(super) rounds: u32,
    pub(super) retried: bool,
    pub(super) fetch_deadline: Option<Time>,
    /// Looks and fetches sent, and which of them the latest fetch was.
    pub(super) sent: u32,
    pub(super) fetch_sent: u32,
    pub(super) asked_origin: Time,
    pub(super) began: Time,
    pub(super) asked_lock: Time,
    pub(super) lock_waited: Option<Duration>,
    pub(super) fetches: u32,
    pub(super) waiters_max: usize,
    pub(super) lease_lost: bool,
}

/// What a flight was begun for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A reader waits for the value.
    Demand,
    /// Somebody waits for it to be in the cache.
    Warm,
    /// Readers are served the expired value meanwhile.
    Refresh,
    /// Readers are served the value meanwhile, which is still fresh.
    Early,
}

impl Purpose {
    /// Nobody waited for it when it was begun.
    pub(super) fn is_background(self) -> bool {
        matches!(self, Purpose::Refresh | Purpose::Early)
    }

    /// Why the origin is asked, where the layers would say that this process leads. Where they say that it does not (the
    /// lock is away, a wait ran out), that is what counts: it names the layer that failed to bound the herd.
    pub(super) fn reason(self, of_layers: Reason) -> Reason {
        match (of_layers, self) {
            (Reason::Uncoordinated | Reason::FlightLeader | Reason::LeaseHolder, purpose) => match purpose {
                Purpose::Demand => of_layers,
                Purpose::Warm => Reason::Warm,
                Purpose::Refresh => Reason::Refresh,
                Purpose::Early => Reason::Early,
            },
            _ => of_layers,
        }
    }
}

/// Which operation a flight waits for.
pub(super) enum Stage<V> {
    /// Between two operations.
    Idle,
    Looking(Look),
    Acquiring(Owner),
    Fetching,
    /// `None`: the sentinel. `served`: readers got the value already, and who joins gets it at once.
    Writing {
        value: Option<V>,
        served: bool,
    },
    /// The write was refused: what does the store hold?
    Rereading {
        value: Option<V>,
    },
}

impl<V> Stage<V> {
    /// The origin was asked, and what became of that is not settled yet.
    pub(super) fn is_rebuilding(&self) -> bool {
        matches!(self, Stage::Fetching | Stage::Writing { .. } | Stage::Rereading { .. })
    }
}

/// The lease that a flight holds.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) owner: Owner,
    pub(super) lease: Lease,
    /// When it is to be extended next, if it is to be.
    pub(super) renew_at: Option<Time>,
    pub(super) renewal: Option<OpId>,
}

/// What an answer belongs to.
pub(super) enum Op {
    /// To the operation that a flight waits for.
    Flight(FlightKey),
    /// To a renewal of the flight's lease.
    Renewal(FlightKey),
    /// To an acquire that its flight gave up on: if the lease is granted after all, it is given back.
    Orphan { key: Arc<str>, owner: Owner, unconditional: bool },
}

impl<V> Flight<V> {
    /// The value that a joiner gets at once, and its generation to be.
    pub(super) fn already_serving(&self) -> Option<(&V, u64)> {
        match &self.stage {
            Stage::Writing { value: Some(value), served: true } => Some((value, self.generation + 1)),
            _ => None,
        }
    }

    /// Whether a fresh value of this generation is no news: it is the very one that is recomputed before it expires.
    pub(super) fn knows(&self, generation: u64) -> bool {
        self.purpose == Purpose::Early && generation <= self.generation
    }

    pub(super) fn lease(&self) -> Option<Lease> {
        self.held.map(|held| held.lease)
    }
}

impl<V: Clone> Core<V> {
    pub(super) fn begin_flight(
        &mut self,
        now: Time,
        key: Arc<str>,
        config: Arc<Config>,
        layer: &'static dyn Layer,
        generation: u64,
        purpose: Purpose,
    ) -> FlightKey {
        self.rebuilds += 1;
        let shared = layer.admission() == Admission::Shared;
        let flight = Flight {
            rebuild: RebuildId(self.rebuilds),
            key: Arc::clone(&key),
            config,
            layer,
            purpose,
            shared,
            waiters: VecDeque::new(),
            generation,
            stage: Stage::Idle,
            under_way: None,
            held: None,
            attempts: 0,
            rounds: 0,
            retried: false,
            fetch_deadline: None,
            sent: 0,
            fetch_sent: 0,
            asked_origin: now,
            began: now,
            asked_lock: now,
            lock_waited: None,
            fetches: 0,
            waiters_max: 0,
            lease_lost: false,
        };
        let flight = self.flights.insert(flight);
        if shared {
            let before = self.by_key.insert(key, flight);
            assert!(before.is_none(), "never two live flights for a key");
        }
        flight
    }

    /// Lets nobody join a flight any more, although it goes on.
    pub(super) fn close_flight(&mut self, key: FlightKey) {
        let flight = self.flights.get_mut(key).expect("a flight lives until it ends");
        if std::mem::replace(&mut flight.shared, false) {
            self.by_key.remove(&flight.key);
            self.waiting -= flight.waiters.len();
        }
    }

    /// Ends a flight that nobody waits for any more.
    pub(super) fn end_flight(&mut self, now: Time, key: FlightKey, ending: Ending, end: HolderEnd) {
        self.release(key, end);
        let flight = self.flights.remove(key).expect("a flight ends once");
        debug_assert!(flight.under_way.is_none(), "a flight ends by an answer, so that none is awaited");
        assert!(flight.waiters.is_empty(), "nobody is left behind by a flight that ends");
        if flight.shared {
            self.by_key.remove(&flight.key);
        }
        self.pause_after(now, &flight, ending);
        self.actions.push_back(Action::Ended(Summary {
            rebuild: flight.rebuild,
            key: flight.key,
            ending,
            generation: flight.generation,
            began: flight.began,
            lock_waited: flight.lock_waited,
            fetches: flight.fetches,
            waiters_max: flight.waiters_max,
            lease_lost: flight.lease_lost,
        }));
    }

    /// A new operation for a flight; the core expects its answer by `deadline`, and gives up a little later.
    pub(super) fn start_op(&mut self, key: FlightKey, deadline: Time, stage: Stage<V>) -> OpId {
        let op = OpId::for_flight(self.ops.insert(Op::Flight(key)));
        let overdue = deadline + self.limits.overdue;
        self.timers.insert((overdue, Timer::Overdue(key)));
        let flight = self.flight_mut(key);
        debug_assert!(flight.under_way.is_none(), "one operation at a time");
        flight.under_way = Some((op, overdue));
        flight.stage = stage;
        op
    }

    /// The flight that an answer belongs to, if its stage is the one that `expected` names. The operation is over then.
    /// Anything else (late, twice, of the wrong kind) is ignored.
    pub(super) fn finish_op(
        &mut self,
        op: OpId,
        expected: fn(&Stage<V>) -> bool,
    ) -> Option<(FlightKey, Stage<V>)> {
        let Some(Op::Flight(key)) = self.ops.get(op.slot()?) else { return None };
        let key = *key;
        let flight = self.flight_mut(key);
        if !expected(&flight.stage) {
            return None;
        }
        let stage = std::mem::replace(&mut flight.stage, Stage::Idle);
        self.stop_waiting_for_op(key);
        Some((key, stage))
    }

    fn stop_waiting_for_op(&mut self, key: FlightKey) {
        if let Some((op, overdue)) = self.flight_mut(key).under_way.take() {
            self.timers.remove(&(overdue, Timer::Overdue(key)));
            self.forget_op(op);
        }
    }

    pub(super) fn forget_op(&mut self, op: OpId) {
        if let Some(slot) = op.slot() {
            self.ops.remove(slot);
        }
    }

    pub(super) fn flight(&self, key: FlightKey) -> &Flight<V> {
        self.flights.get(key).expect("a flight lives until it ends")
    }

    pub(super) fn flight_mut(&mut self, key: FlightKey) -> &mut Flight<V> {
        self.flights.get_mut(key).expect("a flight lives until it ends")
    }
}
