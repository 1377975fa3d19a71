//! The rebuilt value, or the sentinel in its place, on its way into the store and to those who wait.

use std::sync::Arc;
use std::time::Duration;

use super::Core;
use super::answers::{Found, News};
use super::flight::{FlightKey, Stage};
use crate::action::{Action, Ending, HolderEnd, Served};
use crate::config::FlightUntil;
use crate::error::AbsentBy;
use crate::ids::OpId;
use crate::layer::{jitter, negative};
use crate::outcome::{ReadOutcome, WriteOutcome};
use crate::time::Time;

impl<V: Clone> Core<V> {
    /// The origin answered with a value.
    pub(super) fn rebuilt(&mut self, now: Time, key: FlightKey, value: V) {
        let flight = self.flight(key);
        let (ttl, spread) = (flight.config.ttl, flight.config.jitter);
        let served = flight.layer.serves_before_write(&flight.config);
        if served {
            let found = Found::Value { value: value.clone(), leader: flight.layer.led(), cached: true };
            let news = News::fetched(flight, found, flight.generation + 1);
            self.tell(key, &news);
        }
        self.answered_by_origin(key);
        let ttl = jitter::draw(ttl, spread, &mut self.chance);
        self.write(now, key, Some(value), ttl, served);
    }

    /// The origin answered that there is no such row.
    pub(super) fn no_such_row(&mut self, now: Time, key: FlightKey) {
        let flight = self.flight(key);
        let Some(ttl) = negative::sentinel_ttl(&flight.config) else {
            return self.unwritten(now, key, None, None);
        };
        // The sentinel first: who is told before it stands could be followed by a reader who asks the origin again.
        let served = flight.config.flight_until == FlightUntil::Fetched;
        if served {
            let news = News::fetched(flight, Found::Absent(AbsentBy::Origin), flight.generation);
            self.tell(key, &news);
        }
        self.answered_by_origin(key);
        self.write(now, key, None, ttl, served);
    }

    /// A flight that lasts until the origin's answer cannot be joined any more.
    fn answered_by_origin(&mut self, key: FlightKey) {
        if self.flight(key).config.flight_until == FlightUntil::Fetched {
            self.close_flight(key);
        }
    }

    fn write(&mut self, now: Time, key: FlightKey, value: Option<V>, ttl: Duration, served: bool) {
        let deadline = now + self.limits.store_deadline;
        let op = self.start_op(key, deadline, Stage::Writing { value: value.clone(), served });
        let flight = self.flight(key);
        let write = Action::Write {
            op,
            key: Arc::clone(&flight.key),
            rebuild: flight.rebuild,
            value,
            guard: flight.config.write_guard,
            generation: flight.generation,
            lease: flight.lease(),
            ttl,
            rebuild_took: now.since(flight.asked_origin),
            deadline,
        };
        self.actions.push_back(write);
    }

    pub(super) fn written(&mut self, now: Time, op: OpId, outcome: &WriteOutcome) {
        let is_write = |stage: &Stage<V>| matches!(stage, Stage::Writing { .. });
        let Some((key, Stage::Writing { value, served })) = self.finish_op(op, is_write) else { return };
        match outcome {
            WriteOutcome::Written { generation } => self.taken(now, key, value, *generation),
            WriteOutcome::Refused(_) if !served => self.look_again(now, key, Stage::Rereading { value }),
            WriteOutcome::Refused(_) | WriteOutcome::Uncacheable | WriteOutcome::Failed(_) => {
                self.unwritten(now, key, value, None);
            }
        }
    }

    /// The store took it.
    fn taken(&mut self, now: Time, key: FlightKey, value: Option<V>, generation: u64) {
        let flight = self.flight(key);
        let (found, ended) = match value {
            Some(value) => (
                Found::Value { value, leader: flight.layer.led(), cached: true },
                (Ending::Rebuilt, HolderEnd::ValueWritten),
            ),
            None => {
                (Found::Absent(AbsentBy::Origin), (Ending::Failed, negative::holder_end(true, generation)))
            }
        };
        let news = News::fetched(flight, found, generation);
        self.conclude(now, key, &news, ended, None);
    }

    /// The store did not take it. It goes to those who saw no newer generation than the one it replaces: for the others
    /// it may be older than what they, or someone before them, were shown.
    fn unwritten(&mut self, now: Time, key: FlightKey, value: Option<V>, newer: Option<u64>) {
        let flight = self.flight(key);
        let (found, ended) = match value {
            Some(value) => (
                Found::Value { value, leader: flight.layer.led(), cached: false },
                (Ending::Uncached, HolderEnd::Abandoned),
            ),
            // Refused since the row was written meanwhile: whoever waits must look, not share an absence that is over.
            None if newer.is_some_and(|newer| newer != flight.generation) => {
                (Found::Absent(AbsentBy::Origin), (Ending::Failed, HolderEnd::Abandoned))
            }
            None => (
                Found::Absent(AbsentBy::Origin),
                (Ending::Failed, negative::holder_end(false, flight.generation)),
            ),
        };
        let news = News::fetched(flight, found, flight.generation);
        self.conclude(now, key, &news, ended, newer);
    }

    /// What the store holds after it refused the flight's write.
    pub(super) fn reread(&mut self, now: Time, key: FlightKey, value: Option<V>, outcome: ReadOutcome<V>) {
        let flight = self.flight(key);
        match outcome {
            ReadOutcome::Fresh { value: newer, generation, .. } => {
                let found = Found::Value { value: newer, leader: Served::SecondLook, cached: true };
                let news = News::looked(flight, found, generation);
                self.conclude(now, key, &news, (Ending::Uncached, HolderEnd::ValueWritten), None);
            }
            ReadOutcome::Negative { generation } => {
                let news = News::looked(flight, Found::Absent(AbsentBy::Sentinel), generation);
                self.conclude(now, key, &news, (Ending::Failed, HolderEnd::ValueWritten), None);
            }
            ReadOutcome::Expired { generation, .. } | ReadOutcome::Absent { generation, .. } => {
                self.unwritten(now, key, value, Some(generation));
            }
            ReadOutcome::Failed(_) => self.unwritten(now, key, value, None),
        }
    }
}
