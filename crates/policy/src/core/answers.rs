//! What a flight's waiters get.

use super::Core;
use super::flight::{Flight, FlightKey, Purpose};
use super::waiters::Waiting;
use crate::action::{Answer, Ending, HolderEnd, Served};
use crate::error::{AbsentBy, Error};
use crate::ids::LookupId;
use crate::layer::stale;
use crate::outcome::HolderFailure;
use crate::time::Time;

/// What a flight found out.
pub(super) struct News<V> {
    pub(super) found: Found<V>,
    /// The generation that it is as new as.
    pub(super) generation: u64,
    /// Which of the flight's looks and fetches it comes from.
    pub(super) sent: u32,
}

pub(super) enum Found<V> {
    /// `leader`: how the leader is said to be served. `cached`: the store holds it.
    Value { value: V, leader: Served, cached: bool },
    /// There is no such row.
    Absent(AbsentBy),
}

impl<V: Clone> News<V> {
    /// What the flight's latest look found.
    pub(super) fn looked(flight: &Flight<V>, found: Found<V>, generation: u64) -> Self {
        News { found, generation, sent: flight.sent }
    }

    /// What the flight's latest fetch brought.
    pub(super) fn fetched(flight: &Flight<V>, found: Found<V>, generation: u64) -> Self {
        News { found, generation, sent: flight.fetch_sent }
    }

    /// What another process found out, at a time of which only the generation is known.
    pub(super) fn told(found: Found<V>, generation: u64) -> Self {
        News { found, generation, sent: 0 }
    }

    /// Not to somebody who saw something newer. Who waited before the store or the origin was asked saw nothing newer
    /// than its answer, whatever the numbers say: they start over in a store that lost its data.
    fn is_for<W>(&self, waiting: &Waiting<W>) -> bool {
        waiting.joined < self.sent || waiting.seen <= self.generation
    }

    fn result(&self, is_leader: bool) -> Result<Answer<V>, Error> {
        match &self.found {
            Found::Value { value, leader, cached } => Ok(Answer {
                value: value.clone(),
                served: if is_leader { *leader } else { Served::Waited },
                // Neither the number that it would have got, which may be somebody else's now, nor the one that it was to
                // replace, which may be a sentinel's or a deletion's.
                generation: if *cached { self.generation } else { 0 },
                cached: *cached,
            }),
            Found::Absent(by) => Err(Error::NotFound { by: *by }),
        }
    }
}

impl<V: Clone> Core<V> {
    /// Serves everybody whom the news is for; the leader learns how it was served, the others that they waited. Returns
    /// the newest generation that was seen by those who wait on.
    pub(super) fn tell(&mut self, key: FlightKey, news: &News<V>) -> Option<u64> {
        let mut is_leader = true;
        let mut newest_seen = None;
        for id in std::mem::take(&mut self.flight_mut(key).waiters) {
            let waiting = self.waiter(id);
            let seen = waiting.seen;
            if !news.is_for(waiting) {
                newest_seen = newest_seen.max(Some(seen));
                self.flight_mut(key).waiters.push_back(id);
                continue;
            }
            self.settle(id, key, news.result(is_leader));
            is_leader = false;
        }
        newest_seen
    }

    /// Tells the news and ends the flight; but if some saw something newer, it starts over with them, from the generation
    /// `newer` that the store holds now, as far as that is known.
    pub(super) fn conclude(
        &mut self,
        now: Time,
        key: FlightKey,
        news: &News<V>,
        (ending, end): (Ending, HolderEnd),
        newer: Option<u64>,
    ) {
        let Some(newest_seen) = self.tell(key, news) else {
            return self.end_flight(now, key, ending, end);
        };
        self.release(key, end);
        let flight = self.flight_mut(key);
        flight.generation = newer.unwrap_or(newest_seen);
        if flight.purpose.is_background() {
            flight.purpose = Purpose::Demand;
        }
        let step = flight.layer.begin(&flight.config);
        self.take_again(now, key, step);
    }

    /// Ends a flight in an error, shared once with everybody who waits now, in other processes too if the origin is where
    /// it arose. Nothing is cached: the next lookup leads anew.
    pub(super) fn fail(&mut self, now: Time, key: FlightKey, error: &Error) {
        for id in std::mem::take(&mut self.flight_mut(key).waiters) {
            self.settle_failed(now, id, key, error);
        }
        self.end_flight(now, key, Ending::Failed, holder_end(error));
    }

    /// Gives a waiter that was taken out of its flight's queue the error, or in its place the expired value that it saw.
    pub(super) fn settle_failed(&mut self, now: Time, id: LookupId, key: FlightKey, error: &Error) {
        let own = self.lookups.get(id.0).map(|lookup| &lookup.config).expect("a waiter is live");
        let stale_instead = stale::in_place_of(error, own, &self.flight(key).config);
        let kept = if stale_instead { self.take_kept(now, id) } else { None };
        self.settle(id, key, kept.ok_or_else(|| error.clone()));
    }

    /// Serves a waiter that was taken out of its flight's queue.
    fn settle(&mut self, id: LookupId, key: FlightKey, result: Result<Answer<V>, Error>) {
        let flight = self.flight(key);
        let (rebuild, version, shared) = (flight.rebuild, flight.config.version, flight.shared);
        self.stop_waiting(id, shared);
        self.free(id);
        self.serve(id, result, Some(rebuild), version, true);
    }
}

/// What others who wait for the flight's lease have of its error. The origin's word is good for all of them; what befell
/// this process or its way to the store says nothing to the next.
fn holder_end(error: &Error) -> HolderEnd {
    match error {
        Error::Origin(failure) => HolderEnd::Failed(HolderFailure::Failed(failure.clone())),
        _ => HolderEnd::Abandoned,
    }
}
