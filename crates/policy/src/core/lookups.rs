//! A lookup's life: first look, then served at once or waiting for a flight.

use std::sync::Arc;

use super::flight::FlightKey;
use super::{Core, Timer};
use crate::action::{Action, Answer, Serve, Served};
use crate::config::Config;
use crate::error::{AbsentBy, Error, Limit};
use crate::ids::{LookupId, OpId, RebuildId};
use crate::layer::{self, Admission};
use crate::outcome::ReadOutcome;
use crate::time::Time;

/// A request that is not served yet.
pub(super) struct Lookup {
    pub(super) key: Arc<str>,
    pub(super) config: Arc<Config>,
    pub(super) deadline: Time,
    pub(super) state: State,
}

pub(super) enum State {
    /// Its first look is under way.
    Looking,
    /// It waits for a flight; `seen` is the generation that its own look found expired.
    Waiting { flight: FlightKey, seen: u64 },
}

impl<V: Clone> Core<V> {
    pub(super) fn look_up(&mut self, key: Arc<str>, deadline: Time) -> LookupId {
        let full = self.lookups.len() >= self.limits.lookups;
        let config = Arc::clone(&self.config);
        let lookup = Lookup { key: Arc::clone(&key), config, deadline, state: State::Looking };
        let id = LookupId(self.lookups.insert(lookup));
        if full {
            let version = self.config.version;
            self.lookups.remove(id.0);
            self.serve(id, Err(Error::Overloaded { limit: Limit::Lookups }), None, version, false);
        } else {
            self.actions.push_back(Action::Read { op: OpId::for_lookup(id), key, rebuild: None, deadline });
        }
        id
    }

    /// The outcome of a lookup's own read. The hit path: one slot freed, one action queued.
    pub(super) fn first_look(&mut self, now: Time, id: LookupId, outcome: ReadOutcome<V>) {
        // A cancelled lookup's read comes back to a slot that is free or someone else's; one answered twice, too.
        let Some(Lookup { state: State::Looking, .. }) = self.lookups.get(id.0) else { return };
        match outcome {
            ReadOutcome::Fresh { value, generation, .. } => {
                let version = self.free(id).config.version;
                let answer = Answer { value, served: Served::Hit, generation, cached: true };
                self.serve(id, Ok(answer), None, version, false);
            }
            ReadOutcome::Negative { .. } => {
                let version = self.free(id).config.version;
                let error = Error::NotFound { by: AbsentBy::Sentinel };
                self.serve(id, Err(error), None, version, false);
            }
            ReadOutcome::Expired { generation, .. } | ReadOutcome::Absent { generation, .. } => {
                self.missed(now, id, generation);
            }
            ReadOutcome::Failed(failure) => {
                let version = self.free(id).config.version;
                self.serve(id, Err(Error::Cache(failure)), None, version, false);
            }
        }
    }

    fn missed(&mut self, now: Time, id: LookupId, seen: u64) {
        let lookup = self.lookups.get(id.0).expect("checked by the caller");
        let (key, config) = (Arc::clone(&lookup.key), Arc::clone(&lookup.config));
        if lookup.deadline <= now {
            return self.turn_away(id, Error::Deadline);
        }
        let layer = layer::of(&config);
        let live = match layer.admission() {
            Admission::Alone => None,
            Admission::Shared => self.by_key.get(&key).copied(),
        };
        if let Some(flight) = live {
            return self.join(id, flight, seen);
        }
        if self.flights.len() >= self.limits.flights {
            return self.turn_away(id, Error::Overloaded { limit: Limit::Flights });
        }
        let flight = self.begin_flight(now, key, config, layer, seen);
        self.wait_for(id, flight, seen);
        let step = layer.begin(&self.flight(flight).config);
        self.take(now, flight, step);
    }

    fn join(&mut self, id: LookupId, key: FlightKey, seen: u64) {
        let flight = self.flight(key);
        if let Some((value, generation)) = flight.already_serving() {
            // The value is there and only its write is still under way.
            let answer = Answer { value: value.clone(), served: Served::Waited, generation, cached: true };
            let (rebuild, version) = (flight.rebuild, flight.config.version);
            self.free(id);
            return self.serve(id, Ok(answer), Some(rebuild), version, true);
        }
        if flight.waiters.len() >= self.limits.waiters_per_flight {
            return self.turn_away(id, Error::Overloaded { limit: Limit::Waiters });
        }
        self.wait_for(id, key, seen);
    }

    fn wait_for(&mut self, id: LookupId, key: FlightKey, seen: u64) {
        let lookup = self.lookups.get_mut(id.0).expect("a lookup that missed is live");
        lookup.state = State::Waiting { flight: key, seen };
        self.timers.insert((lookup.deadline, Timer::Waiter(id)));
        let flight = self.flight_mut(key);
        flight.waiters.push_back(id);
        flight.waiters_max = flight.waiters_max.max(flight.waiters.len());
        if flight.shared {
            self.waiting += 1;
        }
    }

    /// A miss that ends without a flight.
    fn turn_away(&mut self, id: LookupId, error: Error) {
        let version = self.free(id).config.version;
        self.serve(id, Err(error), None, version, true);
    }

    pub(super) fn cancel(&mut self, id: LookupId) {
        match self.lookups.get(id.0).map(|lookup| &lookup.state) {
            None => {}
            Some(State::Looking) => {
                self.free(id);
            }
            Some(&State::Waiting { flight, .. }) => self.leave(id, flight),
        }
    }

    pub(super) fn deadline_passed(&mut self, id: LookupId) {
        let Some(Lookup { state: State::Waiting { flight, .. }, .. }) = self.lookups.get(id.0) else {
            return;
        };
        let key = *flight;
        let (rebuild, version) = (self.flight(key).rebuild, self.flight(key).config.version);
        self.leave(id, key);
        self.serve(id, Err(Error::Deadline), Some(rebuild), version, true);
    }

    /// Takes a waiter out of its flight. The flight itself goes on: it belongs to nobody, and if the leader left, the
    /// oldest waiter is the leader now, simply because it comes first.
    fn leave(&mut self, id: LookupId, key: FlightKey) {
        let flight = self.flight_mut(key);
        let place = flight.waiters.iter().position(|waiter| *waiter == id);
        flight.waiters.remove(place.expect("a waiter stands in its flight's queue"));
        if flight.shared {
            self.waiting -= 1;
        }
        let deadline = self.free(id).deadline;
        self.timers.remove(&(deadline, Timer::Waiter(id)));
    }

    /// Frees the slot of a lookup that is about to be served or forgotten.
    pub(super) fn free(&mut self, id: LookupId) -> Lookup {
        self.lookups.remove(id.0).expect("only live lookups are freed")
    }

    pub(super) fn serve(
        &mut self,
        lookup: LookupId,
        result: Result<Answer<V>, Error>,
        rebuild: Option<RebuildId>,
        config_version: u64,
        missed: bool,
    ) {
        self.actions.push_back(Action::Serve(Serve { lookup, result, rebuild, config_version, missed }));
    }
}
