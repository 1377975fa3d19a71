//! Those who wait for a flight: joining its queue, losing patience, leaving.

use std::sync::Arc;

use super::flight::{FlightKey, Purpose};
use super::lookups::State;
use super::{Core, Timer};
use crate::action::{Answer, Served};
use crate::error::{Error, Limit};
use crate::ids::LookupId;
use crate::layer::patience::{self, OwnWay, Parting};
use crate::time::Time;

/// What a lookup that waits brought along.
pub(super) struct Waiting<V> {
    pub(super) flight: FlightKey,
    /// The generation that its own look found.
    pub(super) seen: u64,
    /// How many looks and fetches the flight had sent before it joined: a later one knows what this lookup saw.
    pub(super) joined: u32,
    /// When its timer is due: its patience, or its deadline.
    pub(super) due: Time,
    /// The expired value that its own look found, if it may be served.
    pub(super) kept: Option<Kept<V>>,
}

/// An expired value that may be served.
pub(super) struct Kept<V> {
    pub(super) value: V,
    /// The end of its grace.
    pub(super) until: Time,
}

impl<V: Clone> Core<V> {
    pub(super) fn wait_for(
        &mut self,
        now: Time,
        id: LookupId,
        key: FlightKey,
        seen: u64,
        kept: Option<Kept<V>>,
    ) {
        let joined = self.flight(key).sent;
        let lookup = self.lookups.get_mut(id.0).expect("a lookup that missed is live");
        // Patience is a reader's; a warm-up wants the key in the cache and nothing else.
        let patience = lookup.config.waiter.filter(|_| !lookup.warm).map(|waiter| now + waiter.wait);
        let due = patience.map_or(lookup.deadline, |end| end.min(lookup.deadline));
        lookup.state = State::Waiting(Box::new(Waiting { flight: key, seen, joined, due, kept }));
        self.timers.insert((due, Timer::Waiter(id)));
        let flight = self.flight_mut(key);
        flight.waiters.push_back(id);
        flight.waiters_max = flight.waiters_max.max(flight.waiters.len());
        if flight.shared {
            self.waiting += 1;
        }
    }

    /// A waiter's deadline passed, or its patience ran out.
    pub(super) fn waiter_due(&mut self, now: Time, id: LookupId) {
        let Some(lookup) = self.lookups.get(id.0) else { return };
        let State::Waiting(waiting) = &lookup.state else { return };
        if lookup.deadline <= now {
            return self.part(id, Err(Error::Deadline));
        }
        let Some(waiter) = lookup.config.waiter else { return };
        let flight = self.flight(waiting.flight);
        let rebuilds = flight.waiters.front() == Some(&id) && flight.stage.is_rebuilding();
        match patience::ran_out(&waiter, rebuilds) {
            Parting::Stay => self.stay(id),
            Parting::Error => self.part(id, Err(Error::WaitTimeout)),
            Parting::Stale => {
                let kept = self.take_kept(now, id);
                self.part(id, kept.ok_or(Error::WaitTimeout));
            }
            Parting::Origin => self.go_own_way(now, id),
        }
    }

    /// Waits on until the deadline.
    fn stay(&mut self, id: LookupId) {
        let lookup = self.lookups.get_mut(id.0).expect("checked by the caller");
        let State::Waiting(waiting) = &mut lookup.state else { return };
        waiting.due = lookup.deadline;
        self.timers.insert((waiting.due, Timer::Waiter(id)));
    }

    /// Leaves with an answer that is not the flight's.
    fn part(&mut self, id: LookupId, result: Result<Answer<V>, Error>) {
        let left = self.flight(self.waiter(id).flight);
        let (rebuild, version) = (left.rebuild, left.config.version);
        self.leave(id);
        self.free(id);
        self.serve(id, result, Some(rebuild), version, true);
    }

    /// Leaves for a flight of its own that asks the origin at once.
    fn go_own_way(&mut self, now: Time, id: LookupId) {
        if self.flights.len() >= self.limits.flights {
            return self.part(id, Err(Error::Overloaded { limit: Limit::Flights }));
        }
        let Waiting { seen, kept, .. } = self.leave(id);
        let lookup = self.lookups.get(id.0).expect("who leaves is live");
        let (key, config) = (Arc::clone(&lookup.key), Arc::clone(&lookup.config));
        let own = self.begin_flight(now, key, config, &OwnWay, seen, Purpose::Demand);
        self.wait_for(now, id, own, seen, kept);
        self.depart(now, own);
    }

    /// Takes a waiter out of its flight. The flight itself goes on: it belongs to nobody, and if the leader left, the
    /// oldest waiter is the leader now, simply because it comes first.
    pub(super) fn leave(&mut self, id: LookupId) -> Waiting<V> {
        let flight = self.waiter(id).flight;
        let flight = self.flight_mut(flight);
        let place = flight.waiters.iter().position(|waiter| *waiter == id);
        flight.waiters.remove(place.expect("a waiter stands in its flight's queue"));
        let shared = flight.shared;
        self.stop_waiting(id, shared)
    }

    /// Ends the wait of a lookup that no longer stands in its flight's queue; to be served, or to wait elsewhere.
    pub(super) fn stop_waiting(&mut self, id: LookupId, shared: bool) -> Waiting<V> {
        if shared {
            self.waiting -= 1;
        }
        let lookup = self.lookups.get_mut(id.0).expect("a waiter is live");
        let State::Waiting(waiting) = std::mem::replace(&mut lookup.state, State::Looking) else {
            unreachable!("who stands in a flight's queue waits for it")
        };
        self.timers.remove(&(waiting.due, Timer::Waiter(id)));
        *waiting
    }

    /// The expired value that a waiter brought along, if it may still be served.
    pub(super) fn take_kept(&mut self, now: Time, id: LookupId) -> Option<Answer<V>> {
        let lookup = self.lookups.get_mut(id.0)?;
        let State::Waiting(waiting) = &mut lookup.state else { return None };
        let Kept { value, .. } = waiting.kept.take().filter(|kept| now <= kept.until)?;
        Some(Answer { value, served: Served::Stale, generation: waiting.seen, cached: true })
    }

    pub(super) fn waiter(&self, id: LookupId) -> &Waiting<V> {
        match self.lookups.get(id.0).map(|lookup| &lookup.state) {
            Some(State::Waiting(waiting)) => waiting,
            _ => unreachable!("who stands in a flight's queue waits for it"),
        }
    }
}
