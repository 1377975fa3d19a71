//! What a flight's waiters get.

use super::flight::FlightKey;
use super::lookups::{Lookup, State};
use super::{Core, Timer};
use crate::action::{Answer, Ending, HolderEnd, Served};
use crate::error::Error;
use crate::ids::LookupId;
use crate::outcome::HolderFailure;
use crate::time::Time;

impl<V: Clone> Core<V> {
    /// Serves everybody who waits; the leader learns how it was served, the others that they waited.
    pub(super) fn serve_all(&mut self, key: FlightKey, value: &V, leader: Served, generation: u64) {
        let mut served = leader;
        for id in std::mem::take(&mut self.flight_mut(key).waiters) {
            let value = value.clone();
            self.settle(id, key, Ok(Answer { value, served, generation, cached: true }));
            served = Served::Waited;
        }
    }

    /// Ends a flight in an error, shared once with everybody who waits now, in other processes too if the origin is where
    /// it arose. Nothing is cached: the next lookup leads anew.
    pub(super) fn fail(&mut self, key: FlightKey, error: &Error) {
        for id in std::mem::take(&mut self.flight_mut(key).waiters) {
            self.settle(id, key, Err(error.clone()));
        }
        self.end_flight(key, Ending::Failed, holder_end(error));
    }

    /// Serves a rebuilt value that the cache did not take, but only to readers who saw no newer generation than the one
    /// it replaces: for the others it may be older than what they, or someone before them, were shown. With them the
    /// flight starts over, from the generation `newer` that the store holds now, as far as that is known.
    pub(super) fn serve_uncached(&mut self, now: Time, key: FlightKey, value: &V, newer: Option<u64>) {
        let flight = self.flight_mut(key);
        let generation = flight.generation;
        let mut served = flight.layer.led();
        let mut newest_seen = generation;
        for id in std::mem::take(&mut flight.waiters) {
            let seen = self.seen_by(id);
            if seen > generation {
                newest_seen = newest_seen.max(seen);
                self.flight_mut(key).waiters.push_back(id);
                continue;
            }
            let value = value.clone();
            self.settle(id, key, Ok(Answer { value, served, generation, cached: false }));
            served = Served::Waited;
        }
        if self.flight(key).waiters.is_empty() {
            return self.end_flight(key, Ending::Uncached, HolderEnd::Abandoned);
        }
        self.release(key, HolderEnd::Abandoned);
        let flight = self.flight_mut(key);
        flight.generation = newer.unwrap_or(newest_seen);
        let step = flight.layer.begin(&flight.config);
        self.take_again(now, key, step);
    }

    fn seen_by(&self, id: LookupId) -> u64 {
        match self.lookups.get(id.0) {
            Some(Lookup { state: State::Waiting { seen, .. }, .. }) => *seen,
            _ => unreachable!("who stands in a flight's queue waits for it"),
        }
    }

    /// Serves a waiter that was taken out of its flight's queue.
    fn settle(&mut self, id: LookupId, key: FlightKey, result: Result<Answer<V>, Error>) {
        let flight = self.flight(key);
        let (rebuild, version, shared) = (flight.rebuild, flight.config.version, flight.shared);
        if shared {
            self.waiting -= 1;
        }
        let deadline = self.free(id).deadline;
        self.timers.remove(&(deadline, Timer::Waiter(id)));
        self.serve(id, result, Some(rebuild), version, true);
    }
}

/// What others who wait for the flight's lease have of its error. The origin's word is good for all of them; what befell
/// this process or its way to the store says nothing to the next.
fn holder_end(error: &Error) -> HolderEnd {
    match error {
        Error::NotFound { .. } => HolderEnd::Failed(HolderFailure::NoSuchRow),
        Error::Origin(failure) => HolderEnd::Failed(HolderFailure::Failed(failure.clone())),
        _ => HolderEnd::Abandoned,
    }
}
