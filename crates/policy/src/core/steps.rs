//! A flight's way from leadership to the origin: the steps that its layer names, and what their outcomes lead to.

use std::sync::Arc;

use super::Core;
use super::answers::{Found, News};
use super::flight::{FlightKey, Stage};
use crate::action::{Action, Ending, HolderEnd, Reason, Served};
use crate::config::OnOriginError;
use crate::error::{AbsentBy, Error};
use crate::ids::OpId;
use crate::layer::{Look, Step};
use crate::outcome::{Cause, Failure, FetchOutcome, ReadOutcome, WriteOutcome};
use crate::time::Time;

impl<V: Clone> Core<V> {
    /// The flight's first step.
    pub(super) fn depart(&mut self, now: Time, key: FlightKey) {
        let flight = self.flight(key);
        let step = flight.layer.begin(&flight.config);
        self.take(now, key, step);
    }

    /// Takes the step that the flight's layer named.
    pub(super) fn take(&mut self, now: Time, key: FlightKey, step: Step) {
        match step {
            Step::Look(look) => self.look_again(now, key, Stage::Looking(look)),
            Step::Acquire => self.acquire(now, key),
            Step::Fetch(reason) => self.fetch(now, key, reason),
            Step::Fail(error) => self.fail(now, key, &error),
        }
    }

    /// Starts over, as often as the limit allows.
    pub(super) fn take_again(&mut self, now: Time, key: FlightKey, step: Step) {
        let rounds = self.limits.rounds;
        let flight = self.flight_mut(key);
        flight.rounds += 1;
        if flight.rounds > rounds {
            return self.fail(now, key, &Error::Contended);
        }
        self.take(now, key, step);
    }

    pub(super) fn look_again(&mut self, now: Time, key: FlightKey, stage: Stage<V>) {
        let deadline = now + self.limits.store_deadline;
        let op = self.start_op(key, deadline, stage);
        let flight = self.flight_mut(key);
        flight.sent += 1;
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
        let flight = self.flight(key);
        match outcome {
            ReadOutcome::Fresh { generation, .. } if flight.knows(generation) => {
                self.found_nothing_new(now, key, look, generation);
            }
            ReadOutcome::Fresh { value, generation, .. } => {
                let leader = match look {
                    Look::Leadership | Look::Grant => Served::SecondLook,
                    Look::HolderDone => Served::WaitedFleet,
                };
                let news = News::looked(flight, Found::Value { value, leader, cached: true }, generation);
                self.conclude(now, key, &news, (Ending::FoundFresh, HolderEnd::ValueWritten), None);
            }
            ReadOutcome::Negative { generation } => {
                let news = News::looked(flight, Found::Absent(AbsentBy::Sentinel), generation);
                self.conclude(now, key, &news, (Ending::Failed, HolderEnd::ValueWritten), None);
            }
            ReadOutcome::Expired { generation, .. } | ReadOutcome::Absent { generation, .. } => {
                self.found_nothing_new(now, key, look, generation);
            }
            ReadOutcome::Failed(failure) => self.fail(now, key, &Error::Cache(failure)),
        }
    }

    fn found_nothing_new(&mut self, now: Time, key: FlightKey, look: Look, generation: u64) {
        let flight = self.flight_mut(key);
        flight.generation = generation;
        let step = flight.layer.looked(&flight.config, look);
        match look {
            Look::Leadership | Look::Grant => self.take(now, key, step),
            Look::HolderDone => self.take_again(now, key, step),
        }
    }

    fn fetch(&mut self, now: Time, key: FlightKey, reason: Reason) {
        let flight = self.flight_mut(key);
        let deadline = now + flight.config.rebuild_deadline;
        flight.fetch_deadline = Some(deadline);
        let reason = flight.purpose.reason(reason);
        self.fetch_by(now, key, reason, deadline);
    }

    fn fetch_by(&mut self, now: Time, key: FlightKey, reason: Reason, deadline: Time) {
        let op = self.start_op(key, deadline, Stage::Fetching);
        let flight = self.flight_mut(key);
        flight.sent += 1;
        flight.fetch_sent = flight.sent;
        flight.asked_origin = now;
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
            FetchOutcome::Fetched(value) => self.rebuilt(now, key, value),
            FetchOutcome::NotFound => self.no_such_row(now, key),
            FetchOutcome::Failed(failure) => self.fetch_failed(now, key, &Error::Origin(failure)),
            FetchOutcome::Lost => self.retry_lost(now, key),
        }
    }

    fn fetch_failed(&mut self, now: Time, key: FlightKey, error: &Error) {
        let flight = self.flight_mut(key);
        if flight.config.on_origin_error == OnOriginError::SerialRetry {
            if let Some(leader) = flight.waiters.pop_front() {
                self.settle_failed(now, leader, key, error);
            }
            if !self.flight(key).waiters.is_empty() {
                return self.fetch(now, key, Reason::Retry);
            }
        }
        self.fail(now, key, error);
    }

    /// A vanished rebuild says nothing about the origin, so that one more is worth it; a second one would be a serial herd.
    fn retry_lost(&mut self, now: Time, key: FlightKey) {
        let flight = self.flight_mut(key);
        let again = !std::mem::replace(&mut flight.retried, true);
        match flight.fetch_deadline {
            Some(deadline) if again && now < deadline => self.fetch_by(now, key, Reason::Retry, deadline),
            _ => self.fail(now, key, &Error::RebuildLost),
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
