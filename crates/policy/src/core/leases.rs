//! The fleet's lock in a flight: acquire, renew, release.

use std::sync::Arc;
use std::time::Duration;

use super::answers::{Found, News};
use super::flight::{FlightKey, Held, Op, Purpose, Stage};
use super::{Core, Timer};
use crate::action::{Action, Ending, HolderEnd};
use crate::error::{AbsentBy, Error};
use crate::ids::{Lease, OpId, Owner};
use crate::layer::Step;
use crate::outcome::{Cause, Failure, HolderFailure, LeaseOutcome, RenewOutcome};
use crate::time::Time;

/// Renewals are never closer together than this, however short the expiry.
const RENEWAL_PAUSE_MIN: Duration = Duration::from_millis(1);

impl<V: Clone> Core<V> {
    pub(super) fn acquire(&mut self, now: Time, key: FlightKey) {
        let slack = self.limits.acquire_slack;
        let flight = self.flight_mut(key);
        flight.attempts += 1;
        flight.asked_lock = now;
        let owner = Owner { rebuild: flight.rebuild, attempt: flight.attempts };
        let lock = flight.config.lock.as_ref().expect("only a configured lock is asked for");
        let (expiry, wait, volatile_tokens) = (lock.expiry, lock.wait, lock.volatile_tokens);
        let deadline = now + wait + slack;
        let op = self.start_op(key, deadline, Stage::Acquiring(owner));
        let flight = self.flight(key);
        let (key, rebuild) = (Arc::clone(&flight.key), flight.rebuild);
        self.actions.push_back(Action::Acquire {
            op,
            key,
            rebuild,
            owner,
            expiry,
            wait,
            volatile_tokens,
            deadline,
        });
    }

    pub(super) fn leased(&mut self, now: Time, op: OpId, outcome: &LeaseOutcome) {
        if let Some(Op::Orphan { .. }) = op.slot().and_then(|slot| self.ops.get(slot)) {
            return self.orphan_answered(op, outcome);
        }
        let is_acquire = |stage: &Stage<V>| matches!(stage, Stage::Acquiring(_));
        let Some((key, Stage::Acquiring(owner))) = self.finish_op(op, is_acquire) else { return };
        self.lease_decided(now, key, owner, outcome);
    }

    fn lease_decided(&mut self, now: Time, key: FlightKey, owner: Owner, outcome: &LeaseOutcome) {
        let flight = self.flight_mut(key);
        let waited = now.since(flight.asked_lock);
        flight.lock_waited = Some(flight.lock_waited.unwrap_or_default() + waited);
        match outcome {
            LeaseOutcome::Granted(lease) => self.hold(now, key, owner, *lease),
            // It may have been applied all the same: an orphan lease would keep the fleet waiting until it expires.
            LeaseOutcome::Unknown(_) => self.push_release(key, owner, HolderEnd::Abandoned),
            _ => {}
        }
        let flight = self.flight(key);
        let step = flight.layer.leased(&flight.config, outcome);
        match outcome {
            LeaseOutcome::HolderFailed(HolderFailure::NoSuchRow { generation }) => {
                let news = News::told(Found::Absent(AbsentBy::Origin), *generation);
                self.conclude(now, key, &news, (Ending::Failed, HolderEnd::Abandoned), None);
            }
            _ if flight.waiters.is_empty() && is_in_vain(outcome, flight.purpose) => {
                self.fail(now, key, &Error::WaitTimeout);
            }
            LeaseOutcome::HolderDone if step == Step::Acquire => {
                self.take_again(now, key, step);
            }
            _ => self.take(now, key, step),
        }
    }

    /// The driver never answered an acquire. The flight goes on as if it had been told that nothing is known; a grant
    /// that comes later still is given back.
    pub(super) fn acquire_overdue(&mut self, now: Time, key: FlightKey, owner: Owner) {
        let flight = self.flight_mut(key);
        let (op, _) = flight.under_way.take().expect("an acquire is under way");
        flight.stage = Stage::Idle;
        let unconditional = flight.config.lock.as_ref().is_some_and(|lock| lock.unconditional_release);
        let orphan = Op::Orphan { key: Arc::clone(&flight.key), owner, unconditional };
        let slot = op.slot().and_then(|slot| self.ops.get_mut(slot));
        *slot.expect("an operation under way has its slot") = orphan;
        let failure = Failure::retryable(Cause::DeadlineExceeded, "no answer in time");
        self.lease_decided(now, key, owner, &LeaseOutcome::Unknown(failure));
    }

    fn orphan_answered(&mut self, op: OpId, outcome: &LeaseOutcome) {
        let Some(Op::Orphan { key, owner, unconditional }) = op.slot().and_then(|slot| self.ops.remove(slot))
        else {
            return;
        };
        if let LeaseOutcome::Granted(_) | LeaseOutcome::Unknown(_) = outcome {
            let end = HolderEnd::Abandoned;
            let release = Action::Release { key, rebuild: owner.rebuild, owner, end, unconditional };
            self.actions.push_back(release);
        }
    }

    fn hold(&mut self, now: Time, key: FlightKey, owner: Owner, lease: Lease) {
        let flight = self.flight_mut(key);
        let lock = flight.config.lock.as_ref().expect("only a configured lock is granted");
        let renew_at = lock.renew.then(|| now + renewal_pause(lock.expiry));
        flight.held = Some(Held { owner, lease, renew_at, renewal: None });
        if let Some(at) = renew_at {
            self.timers.insert((at, Timer::Renew(key)));
        }
    }

    /// Extends the lease, and comes back a third of its expiry later. An extension that was not answered until then is
    /// given up for the new one.
    pub(super) fn renew(&mut self, now: Time, key: FlightKey) {
        let flight = self.flight(key);
        let (Some(held), Some(lock)) = (flight.held, flight.config.lock.as_ref()) else { return };
        let expiry = lock.expiry;
        let next = now + renewal_pause(expiry);
        if let Some(unanswered) = held.renewal {
            self.forget_op(unanswered);
        }
        let op = OpId::for_flight(self.ops.insert(Op::Renewal(key)));
        self.timers.insert((next, Timer::Renew(key)));
        let flight = self.flight_mut(key);
        flight.held = Some(Held { renew_at: Some(next), renewal: Some(op), ..held });
        let (key, rebuild) = (Arc::clone(&flight.key), flight.rebuild);
        let Held { owner, lease, .. } = held;
        self.actions.push_back(Action::Renew { op, key, rebuild, owner, lease, expiry, deadline: next });
    }

    pub(super) fn renewed(&mut self, op: OpId, outcome: RenewOutcome) {
        let Some(Op::Renewal(key)) = op.slot().and_then(|slot| self.ops.get(slot)) else { return };
        let key = *key;
        self.forget_op(op);
        let flight = self.flight_mut(key);
        let held = flight.held.as_mut().expect("a renewal's slot goes when the lease does");
        held.renewal = None;
        if outcome == RenewOutcome::Lost {
            // The rebuild goes on: somebody has to, and the write guard knows whose value counts.
            flight.lease_lost = true;
            if let Some(at) = held.renew_at.take() {
                self.timers.remove(&(at, Timer::Renew(key)));
            }
        }
    }

    /// Gives the lease back, if one is held.
    pub(super) fn release(&mut self, key: FlightKey, end: HolderEnd) {
        let Some(held) = self.flight_mut(key).held.take() else { return };
        if let Some(at) = held.renew_at {
            self.timers.remove(&(at, Timer::Renew(key)));
        }
        if let Some(op) = held.renewal {
            self.forget_op(op);
        }
        self.push_release(key, held.owner, end);
    }

    fn push_release(&mut self, key: FlightKey, owner: Owner, end: HolderEnd) {
        let flight = self.flight(key);
        let (key, rebuild) = (Arc::clone(&flight.key), flight.rebuild);
        let unconditional = flight.config.lock.as_ref().is_some_and(|lock| lock.unconditional_release);
        self.actions.push_back(Action::Release { key, rebuild, owner, end, unconditional });
    }
}

/// Whether a flight for which nobody waits has nothing left to do without the lease. Another process rebuilds: then nothing.
/// The lock service is away: then a rebuild is for somebody, or in the place of one for which nobody ever waits.
fn is_in_vain(outcome: &LeaseOutcome, purpose: Purpose) -> bool {
    match outcome {
        LeaseOutcome::WaitTimeout => true,
        LeaseOutcome::Unavailable(_) | LeaseOutcome::Unknown(_) => !purpose.is_background(),
        _ => false,
    }
}

fn renewal_pause(expiry: Duration) -> Duration {
    (expiry / 3).max(RENEWAL_PAUSE_MIN)
}
