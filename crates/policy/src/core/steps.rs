//! A flight's way from leadership to its end: the steps that its layer names, and what their outcomes lead to.

use std::sync::Arc;

use super::Core;
use super::flight::{FlightKey, Stage};
use crate::action::{Action, Ending, HolderEnd, Reason, Served};
use crate::error::{AbsentBy, Error};
use crate::ids::OpId;
use crate::layer::{Look, Step};
use crate::outcome::{Cause, Failure, FetchOutcome, ReadOutcome, WriteOutcome};
use crate::time::Time;

impl<V: Clone> Core<V> {
    /// Takes the step that the flight's layer named.
    pub(super) fn take(&mut self, now: Time, key: FlightKey, step: Step) {
        match step {
            Step::Look(look) => self.look_again(now, key, Stage::Looking(look)),
            Step::Acquire => self.acquire(now, key),
            Step::Fetch(reason) => self.fetch(now, key, reason),
            Step::Fail(error) => self.fail(key, &error),
        }
    }

    /// Starts over, as often as the limit allows.
    pub(super) fn take_again(&mut self, now: Time, key: FlightKey, step: Step) {
        let rounds = self.limits.rounds;
        let flight = self.flight_mut(key);
        flight.rounds += 1;
        if flight.rounds > rounds {
            return self.fail(key, &Error::Contended);
        }
        self.take(now, key, step);
    }

    fn look_again(&mut self, now: Time, key: FlightKey, stage: Stage<V>) {
        let deadline = now + self.limits.store_deadline;
        let op = self.start_op(key, deadline, stage);
        let flight = self.flight(key);
        let read = Action::Read { op, key: Arc::clone(&flight.key), rebuild: Some(flight.rebuild), deadline };
        self.actions.push_back(read);
    }

    pub(super) fn looked_again(&mut self, now: Time, op: OpId, outcome: ReadOutcome<V>) {
        let is_read = |stage: &Stage<V>| matches!(stage, Stage::Looking(_) | Stage::Rereading { .. });
        match self.finish_op(op, is_read) {
            Some((key, Stage::Looking(look))) => self.second_look(now, key, look, outcome),
            Some((key, Stage::Rereading { value })) => self.reread(now, key, value, outcome),
            _ => {}
        }
    }

    fn second_look(&mut self, now: Time, key: FlightKey, look: Look, outcome: ReadOutcome<V>) {
        match outcome {
            ReadOutcome::Fresh { value, generation, .. } => {
                let leader = match look {
                    Look::Leadership | Look::Grant => Served::SecondLook,
                    Look::HolderDone => Served::WaitedFleet,
                };
                self.serve_all(key, &value, leader, generation);
                self.end_flight(key, Ending::FoundFresh, HolderEnd::ValueWritten);
            }
            ReadOutcome::Negative { .. } => self.fail(key, &Error::NotFound { by: AbsentBy::Sentinel }),
            ReadOutcome::Expired { generation, .. } | ReadOutcome::Absent { generation, .. } => {
                let flight = self.flight_mut(key);
                flight.generation = generation;
                let step = flight.layer.looked(&flight.config, look);
                match look {
                    Look::Leadership | Look::Grant => self.take(now, key, step),
                    Look::HolderDone => self.take_again(now, key, step),
                }
            }
            ReadOutcome::Failed(failure) => self.fail(key, &Error::Cache(failure)),
        }
    }

    fn fetch(&mut self, now: Time, key: FlightKey, reason: Reason) {
        let flight = self.flight_mut(key);
        let deadline = now + flight.config.rebuild_deadline;
        flight.fetch_deadline = Some(deadline);
        self.fetch_by(key, reason, deadline);
    }

    fn fetch_by(&mut self, key: FlightKey, reason: Reason, deadline: Time) {
        let op = self.start_op(key, deadline, Stage::Fetching);
        let flight = self.flight_mut(key);
        flight.fetches += 1;
        let fetch = Action::Fetch {
            op,
            key: Arc::clone(&flight.key),
            rebuild: flight.rebuild,
            generation: flight.generation,
            reason,
            lease: flight.lease(),
            config: Arc::clone(&flight.config),
            deadline,
        };
        self.actions.push_back(fetch);
    }

    pub(super) fn fetched(&mut self, now: Time, op: OpId, outcome: FetchOutcome<V>) {
        let is_fetch = |stage: &Stage<V>| matches!(stage, Stage::Fetching);
        let Some((key, _)) = self.finish_op(op, is_fetch) else { return };
        match outcome {
            FetchOutcome::Fetched(value) => self.write(now, key, value),
            FetchOutcome::NotFound => self.fail(key, &Error::NotFound { by: AbsentBy::Origin }),
            FetchOutcome::Failed(failure) => self.fail(key, &Error::Origin(failure)),
            FetchOutcome::Lost => self.retry_lost(now, key),
        }
    }

    /// A vanished rebuild says nothing about the origin, so that one more is worth it; a second one would be a serial herd.
    fn retry_lost(&mut self, now: Time, key: FlightKey) {
        let flight = self.flight_mut(key);
        let again = !std::mem::replace(&mut flight.retried, true);
        match flight.fetch_deadline {
            Some(deadline) if again && now < deadline => self.fetch_by(key, Reason::Retry, deadline),
            _ => self.fail(key, &Error::RebuildLost),
        }
    }

    fn write(&mut self, now: Time, key: FlightKey, value: V) {
        let flight = self.flight(key);
        let served = flight.layer.serves_before_write(&flight.config);
        if served {
            let (leader, generation) = (flight.layer.led(), flight.generation + 1);
            self.serve_all(key, &value, leader, generation);
        }
        let deadline = now + self.limits.store_deadline;
        let op = self.start_op(key, deadline, Stage::Writing { value: value.clone(), served });
        let flight = self.flight(key);
        let write = Action::Write {
            op,
            key: Arc::clone(&flight.key),
            rebuild: flight.rebuild,
            value: Some(value),
            guard: flight.config.write_guard,
            generation: flight.generation,
            lease: flight.lease(),
            ttl: flight.config.ttl,
            rebuild_took: std::time::Duration::ZERO,
            deadline,
        };
        self.actions.push_back(write);
    }

    pub(super) fn written(&mut self, now: Time, op: OpId, outcome: &WriteOutcome) {
        let is_write = |stage: &Stage<V>| matches!(stage, Stage::Writing { .. });
        let Some((key, Stage::Writing { value, served })) = self.finish_op(op, is_write) else { return };
        match outcome {
            WriteOutcome::Written { generation } => {
                let leader = self.flight(key).layer.led();
                self.serve_all(key, &value, leader, *generation);
                self.end_flight(key, Ending::Rebuilt, HolderEnd::ValueWritten);
            }
            WriteOutcome::Refused(_) if !served => self.look_again(now, key, Stage::Rereading { value }),
            WriteOutcome::Refused(_) | WriteOutcome::Uncacheable | WriteOutcome::Failed(_) => {
                self.serve_uncached(now, key, &value, None);
            }
        }
    }

    /// What the store holds after it refused the flight's write.
    fn reread(&mut self, now: Time, key: FlightKey, value: V, outcome: ReadOutcome<V>) {
        match outcome {
            ReadOutcome::Fresh { value: newer, generation, .. } => {
                self.serve_all(key, &newer, Served::SecondLook, generation);
                self.end_flight(key, Ending::Uncached, HolderEnd::ValueWritten);
            }
            ReadOutcome::Negative { .. } => self.fail(key, &Error::NotFound { by: AbsentBy::Sentinel }),
            ReadOutcome::Expired { generation, .. } | ReadOutcome::Absent { generation, .. } => {
                self.serve_uncached(now, key, &value, Some(generation));
            }
            ReadOutcome::Failed(_) => self.serve_uncached(now, key, &value, None),
        }
    }

    /// The driver did not answer in time: the core answers in its stead.
    pub(super) fn overdue(&mut self, now: Time, key: FlightKey) {
        let flight = self.flight(key);
        let (op, _) = flight.under_way.expect("only a flight with an operation can be overdue");
        let failure = Failure::retryable(Cause::DeadlineExceeded, "no answer in time");
        match &flight.stage {
            Stage::Idle => {}
            Stage::Looking(_) | Stage::Rereading { .. } => {
                self.looked_again(now, op, ReadOutcome::Failed(failure));
            }
            &Stage::Acquiring(owner) => self.acquire_overdue(now, key, owner),
            Stage::Fetching => self.fetched(now, op, FetchOutcome::Failed(failure)),
            Stage::Writing { .. } => self.written(now, op, &WriteOutcome::Failed(failure)),
        }
    }
}
