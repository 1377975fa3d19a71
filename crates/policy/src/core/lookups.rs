//! A lookup's life: first look, then served from what the cache holds, or off to a flight.

use std::sync::Arc;

use super::Core;
use super::background::SetOff;
use super::flight::{FlightKey, Purpose};
use super::waiters::{Kept, Waiting};
use crate::action::{Action, Answer, Serve, Served};
use crate::config::Config;
use crate::error::{AbsentBy, Error, Limit};
use crate::ids::{LookupId, OpId, RebuildId};
use crate::layer::{self, Admission, key_filter, stale};
use crate::outcome::{Life, ReadOutcome};
use crate::time::Time;

/// A request that is not served yet.
pub(super) struct Lookup<V> {
    pub(super) key: Arc<str>,
    pub(super) config: Arc<Config>,
    pub(super) deadline: Time,
    /// It wants the key in the cache rather than the value: what is stale or about to be will not do.
    pub(super) warm: bool,
    pub(super) state: State<V>,
}

pub(super) enum State<V> {
    /// Its first look is under way.
    Looking,
    /// It waits for a flight. Boxed: the hit path's slots stay small.
    Waiting(Box<Waiting<V>>),
}

impl<V: Clone> Core<V> {
    pub(super) fn look_up(
        &mut self,
        key: Arc<str>,
        config: Arc<Config>,
        deadline: Time,
        warm: bool,
    ) -> LookupId {
        let full = self.lookups.len() >= self.limits.lookups;
        let lookup = Lookup { key: Arc::clone(&key), config, deadline, warm, state: State::Looking };
        let id = LookupId(self.lookups.insert(lookup));
        if full {
            self.serve_at_once(id, Err(Error::Overloaded { limit: Limit::Lookups }), None, false);
        } else {
            self.actions.push_back(Action::Read { op: OpId::for_lookup(id), key, rebuild: None, deadline });
        }
        id
    }

    /// The outcome of a lookup's own read. The hit path: one comparison, one slot freed, one action queued.
    pub(super) fn first_look(&mut self, now: Time, id: LookupId, outcome: ReadOutcome<V>) {
        // A cancelled lookup's read comes back to a slot that is free or someone else's; one answered twice, too.
        let Some(Lookup { state: State::Looking, config, .. }) = self.lookups.get(id.0) else { return };
        match outcome {
            ReadOutcome::Fresh { value, generation, life } => {
                if config.early.is_some() {
                    let set_off = self.recompute_early(now, id, generation, life);
                    return self.serve_and_depart(now, id, value, Served::Hit, generation, set_off);
                }
                let answer = Answer { value, served: Served::Hit, generation, cached: true };
                self.serve_at_once(id, Ok(answer), None, false);
            }
            ReadOutcome::Expired { value, generation, life } => {
                self.expired(now, id, value, generation, life);
            }
            ReadOutcome::Negative { .. } => self.not_found(id, AbsentBy::Sentinel),
            ReadOutcome::Absent { generation, may_exist } => {
                if key_filter::rules_out(config, generation, may_exist) {
                    self.not_found(id, AbsentBy::Filter);
                } else {
                    self.missed(now, id, generation, None);
                }
            }
            ReadOutcome::Failed(failure) => self.serve_at_once(id, Err(Error::Cache(failure)), None, false),
        }
    }

    fn expired(&mut self, now: Time, id: LookupId, value: V, generation: u64, life: Life) {
        let lookup = self.lookups.get(id.0).expect("checked by the caller");
        let Some(left) = stale::servable_for(&lookup.config, &lookup.key, life) else {
            return self.missed(now, id, generation, None);
        };
        if stale::while_revalidate(&lookup.config) && !lookup.warm {
            let set_off = self.set_off(now, id, generation, Purpose::Refresh);
            return self.serve_and_depart(now, id, value, Served::Stale, generation, set_off);
        }
        // A warm-up that were served the old value would count a key as filled that is not.
        let kept = (!lookup.warm).then_some(Kept { value, until: now + left });
        self.missed(now, id, generation, kept);
    }

    fn missed(&mut self, now: Time, id: LookupId, seen: u64, kept: Option<Kept<V>>) {
        let lookup = self.lookups.get(id.0).expect("checked by the caller");
        let (key, config) = (Arc::clone(&lookup.key), Arc::clone(&lookup.config));
        if lookup.deadline <= now {
            return self.turn_away(id, Error::Deadline);
        }
        let purpose = if lookup.warm { Purpose::Warm } else { Purpose::Demand };
        let layer = layer::of(&config);
        let live = match layer.admission() {
            Admission::Alone => None,
            Admission::Shared => self.by_key.get(&key).copied(),
        };
        if let Some(flight) = live {
            return self.join(now, id, flight, seen, kept);
        }
        if self.flights.len() >= self.limits.flights {
            return self.turn_away(id, Error::Overloaded { limit: Limit::Flights });
        }
        let flight = self.begin_flight(now, key, config, layer, seen, purpose);
        self.wait_for(now, id, flight, seen, kept);
        self.depart(now, flight);
    }

    fn join(&mut self, now: Time, id: LookupId, key: FlightKey, seen: u64, kept: Option<Kept<V>>) {
        let flight = self.flight(key);
        if let Some((value, generation)) = flight.already_serving().filter(|(_, of)| seen <= *of) {
            // The value is there and only its write is still under way.
            let answer = Answer { value: value.clone(), served: Served::Waited, generation, cached: true };
            let (rebuild, version) = (flight.rebuild, flight.config.version);
            self.free(id);
            return self.serve(id, Ok(answer), Some(rebuild), version, true);
        }
        if flight.waiters.len() >= self.limits.waiters_per_flight {
            return self.turn_away(id, Error::Overloaded { limit: Limit::Waiters });
        }
        self.wait_for(now, id, key, seen, kept);
    }

    fn not_found(&mut self, id: LookupId, by: AbsentBy) {
        self.serve_at_once(id, Err(Error::NotFound { by }), None, false);
    }

    /// A miss that ends without a flight.
    fn turn_away(&mut self, id: LookupId, error: Error) {
        self.serve_at_once(id, Err(error), None, true);
    }

    /// Serves what the cache holds, and then lets the flight depart that this set off: the reader does not wait for it.
    fn serve_and_depart(
        &mut self,
        now: Time,
        id: LookupId,
        value: V,
        served: Served,
        generation: u64,
        set_off: SetOff,
    ) {
        let answer = Answer { value, served, generation, cached: true };
        self.serve_at_once(id, Ok(answer), set_off.rebuild, false);
        if let Some(flight) = set_off.departs {
            self.depart(now, flight);
        }
    }

    /// Ends a lookup that never waited for a flight.
    fn serve_at_once(
        &mut self,
        id: LookupId,
        result: Result<Answer<V>, Error>,
        rebuild: Option<RebuildId>,
        missed: bool,
    ) {
        let version = self.free(id).config.version;
        self.serve(id, result, rebuild, version, missed);
    }

    pub(super) fn cancel(&mut self, id: LookupId) {
        match self.lookups.get(id.0).map(|lookup| &lookup.state) {
            None => {}
            Some(State::Looking) => {
                self.free(id);
            }
            Some(State::Waiting(_)) => {
                self.leave(id);
                self.free(id);
            }
        }
    }

    /// Frees the slot of a lookup that is about to be served or forgotten.
    pub(super) fn free(&mut self, id: LookupId) -> Lookup<V> {
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
