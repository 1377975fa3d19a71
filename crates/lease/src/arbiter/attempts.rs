//! The life of an attempt: queue, look, try, reply, and undo what nobody took.

use super::state::{Attempt, Call, Undo};
use super::{Action, Alarm, Arbiter, CallId, Failure, OpId, Place, Reply, Tried};
use crate::id::{Epoch, Time};
use crate::store::{Grant, LeaseView};
use std::sync::Arc;

/// How long an undo is tried beyond the lease's own length: an acquire that is still on its way is applied by then.
const UNDO_SLACK_MS: u64 = 10_000;

impl Arbiter {
    /// The store answered [`Action::Try`].
    pub fn handle_tried(&mut self, now: Time, op: OpId, tried: Tried) {
        let Some(place) = self.ops.remove(&op) else { return };
        let Some(state) = self.names.get_mut(&place.name) else { return };
        state.trying = None;
        let moved = std::mem::take(&mut state.moved);
        match tried {
            Tried::Granted(grant) => {
                state.away_since = None;
                self.granted(now, &place, grant);
                self.refuse_queue(now, &place);
            }
            Tried::Held(view) => {
                state.away_since = None;
                self.held(now, &place, view);
                self.refuse_queue(now, &place);
                if self.attempt(&place).is_some_and(|attempt| std::mem::take(&mut attempt.done)) {
                    self.reply_all(now, &place, &Reply::HolderDone);
                }
            }
            Tried::Failed { failure, doubt } => {
                if let Some(attempt) = self.attempt(&place) {
                    attempt.doubt = doubt.or(attempt.doubt);
                }
                self.try_failed(now, &place, &failure);
            }
        }
        if moved {
            self.set_next_try(&place.name, now);
        }
        self.time_out_calls(now, &place);
        self.settle(now, &place);
        self.advance(now, &place.name);
    }

    /// The store answered [`Action::Look`], or could not.
    pub fn handle_looked(&mut self, now: Time, op: OpId, looked: Result<Option<LeaseView>, Failure>) {
        let Some(place) = self.ops.remove(&op) else { return };
        let Some(attempt) = self.attempt(&place) else { return };
        attempt.busy = None;
        match looked {
            Ok(Some(view)) if *view.owner == *place.owner => {
                let LeaseView { token, epoch, expires_in_ms, .. } = view;
                self.granted(now, &place, Grant { token, epoch, expires_in_ms, repeated: true });
            }
            Ok(Some(view)) => self.held(now, &place, view),
            Ok(None) => {}
            Err(failure) if !attempt.refused => self.reply_all(now, &place, &Reply::Failed(failure)),
            Err(_) => {}
        }
        // A call that came after the others hung up found the look under way, and no place in the queue.
        self.enqueue(now, &place);
        self.time_out_calls(now, &place);
        self.settle(now, &place);
        self.advance(now, &place.name);
    }

    /// The store answered [`Action::Undo`]; `undone` says whether it did.
    pub fn handle_undone(&mut self, now: Time, op: OpId, undone: bool) {
        let Some(place) = self.ops.remove(&op) else { return };
        let retry_ms = u64::from(self.settings.retry_ms);
        let Some(attempt) = self.attempt(&place) else { return };
        attempt.busy = None;
        if undone {
            attempt.undo_is_over();
            // Whoever waits behind it need not wait for the lease to end.
            self.set_next_try(&place.name, now);
        } else {
            let give_up = now.plus_ms(u64::from(attempt.expiry_ms) + UNDO_SLACK_MS);
            let undo = attempt.undo.get_or_insert(Undo { next: now, give_up });
            undo.next = now.plus_ms(retry_ms * 4);
            let next = undo.next;
            if next >= undo.give_up {
                attempt.undo_is_over();
            } else {
                let serial = self.fresh_id();
                self.alarm_places.insert(serial, place.clone());
                self.alarms.insert((next, Alarm::Undo(serial)));
            }
        }
        self.enqueue(now, &place);
        self.settle(now, &place);
        self.advance(now, &place.name);
    }

    /// Puts an attempt that has calls into its queue. A newcomer behind others only looks whether it is the holder:
    /// to try would be to overtake.
    pub(super) fn enqueue(&mut self, now: Time, place: &Place) {
        let Some(state) = self.names.get_mut(&place.name) else { return };
        let Some(attempt) = state.attempts.get_mut(&place.owner) else { return };
        let trying = state.trying.as_ref() == Some(&place.owner);
        if attempt.busy.is_some() || attempt.calls.is_empty() || state.queue.contains(&place.owner) {
            return;
        }
        state.queue.push_back(Arc::clone(&place.owner));
        if trying {
            return;
        }
        let alone = state.queue.len() == 1 && state.trying.is_none();
        if alone {
            let name = Arc::clone(&place.name);
            self.set_next_try(&name, now);
            self.advance(now, &name);
        } else {
            let op = OpId(self.fresh_id());
            if let Some(attempt) = self.attempt(place) {
                attempt.busy = Some(op);
            }
            self.ops.insert(op, place.clone());
            self.actions.push_back(Action::Look { op, name: Arc::clone(&place.name) });
        }
    }

    /// Lets the head of a queue try if it is time, else sets the alarm for it; forgets a name that nobody needs.
    pub(super) fn advance(&mut self, now: Time, name: &Arc<str>) {
        let Some(state) = self.names.get_mut(name) else { return };
        if let Some((at, serial)) = state.alarm.take() {
            self.alarms.remove(&(at, Alarm::Name(serial)));
            self.alarm_places.remove(&serial);
        }
        if state.attempts.is_empty() {
            self.names.remove(name);
            return;
        }
        let Some(owner) = state.queue.front().cloned() else { return };
        let Some(attempt) = state.attempts.get(&owner) else { return };
        if state.trying.is_some() || attempt.busy.is_some() {
            return; // the answer comes back here
        }
        let (expiry_ms, token, next_try) = (attempt.expiry_ms, attempt.doubt, state.next_try);
        let place = Place { name: Arc::clone(name), owner: Arc::clone(&owner) };
        if next_try <= now {
            state.trying = Some(Arc::clone(&owner));
            let op = OpId(self.fresh_id());
            self.ops.insert(op, place);
            self.actions.push_back(Action::Try { op, name: Arc::clone(name), owner, expiry_ms, token });
        } else {
            let serial = self.fresh_id();
            self.alarm_places.insert(serial, place);
            self.alarms.insert((next_try, Alarm::Name(serial)));
            if let Some(state) = self.names.get_mut(name) {
                state.alarm = Some((next_try, serial));
            }
        }
    }

    /// Ends an attempt that nobody waits for: takes back what was granted to nobody, then forgets it.
    pub(super) fn settle(&mut self, now: Time, place: &Place) {
        let Some(state) = self.names.get_mut(&place.name) else { return };
        let Some(attempt) = state.attempts.get_mut(&place.owner) else { return };
        if !attempt.calls.is_empty() {
            return;
        }
        state.queue.retain(|owner| *owner != place.owner);
        let trying = state.trying.as_ref() == Some(&place.owner);
        if trying || attempt.busy.is_some() || !attempt.unconfirmed.is_empty() {
            return;
        }
        match attempt.unwanted() {
            Some(_) if attempt.undo.is_some_and(|undo| undo.next > now) => {}
            Some(token) => {
                self.next_id += 1;
                let op = OpId(self.next_id);
                attempt.busy = Some(op);
                self.ops.insert(op, place.clone());
                let Place { name, owner } = place.clone();
                self.actions.push_back(Action::Undo { op, name, owner, token });
            }
            None => {
                state.attempts.remove(&place.owner);
            }
        }
        self.advance(now, &place.name);
    }

    /// Answers the calls of an attempt whose wait ran out, once somebody else was seen holding the lease.
    pub(super) fn time_out_calls(&mut self, now: Time, place: &Place) {
        let Some(state) = self.names.get_mut(&place.name) else { return };
        let Some(attempt) = state.attempts.get_mut(&place.owner) else { return };
        if !attempt.refused {
            return; // the first answer is under way, and the store has its own time-out
        }
        let (over, waiting): (Vec<Call>, Vec<Call>) =
            attempt.calls.iter().copied().partition(|call| call.deadline <= now);
        attempt.calls = waiting;
        let reply = match (state.away_since, &state.holder) {
            (Some(_), _) => Reply::Failed(Failure::StoreAway("the lease store is away".to_owned())),
            (None, Some((holder, ends))) => {
                Reply::WaitTimeout { holder: holder.clone(), expires_in_ms: now.ms_until(*ends) }
            }
            (None, None) => Reply::WaitTimeout { holder: String::new(), expires_in_ms: 0 },
        };
        for call in over {
            self.end_call(&call);
            self.reply(call.id, now, call.began, reply.clone());
        }
    }

    /// Tells the owners how the holder ended.
    pub(super) fn tell_waiting(&mut self, now: Time, name: &Arc<str>, owners: Vec<Arc<str>>, told: &Reply) {
        let trying = self.names.get(name).and_then(|state| state.trying.clone());
        for owner in owners {
            let place = Place { name: Arc::clone(name), owner };
            if *told == Reply::HolderDone && trying.as_ref() == Some(&place.owner) {
                // Its answer decides: granted it leads (and looks again), refused it reads.
                if let Some(attempt) = self.attempt(&place) {
                    attempt.done = true;
                }
            } else {
                // A failure is told at once: nothing is there to read. A grant under way is taken back.
                self.reply_all(now, &place, told);
                self.settle(now, &place);
            }
        }
    }

    /// Answers every call of an attempt that waits. A grant is remembered until it is confirmed.
    pub(super) fn reply_all(&mut self, now: Time, place: &Place, reply: &Reply) {
        let Some(attempt) = self.attempt(place) else { return };
        let calls = std::mem::take(&mut attempt.calls);
        if let Reply::Granted(grant) = reply {
            attempt.unconfirmed.extend(calls.iter().map(|call| (call.id, grant.token)));
        }
        for call in calls {
            self.end_call(&call);
            if let Reply::Granted(_) = reply {
                self.calls.insert(call.id, place.clone());
            }
            self.reply(call.id, now, call.began, reply.clone());
        }
    }

    pub(super) fn reply(&mut self, call: CallId, now: Time, began: Time, reply: Reply) {
        let waited_ms = u32::try_from(now.ms_since(began)).unwrap_or(u32::MAX);
        self.actions.push_back(Action::Reply { call, reply, waited_ms });
    }

    pub(super) fn attempt(&mut self, place: &Place) -> Option<&mut Attempt> {
        self.names.get_mut(&place.name)?.attempts.get_mut(&place.owner)
    }

    pub(super) fn set_next_try(&mut self, name: &Arc<str>, at: Time) {
        if let Some(state) = self.names.get_mut(name) {
            state.next_try = at;
        }
    }

    pub(super) const fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn end_call(&mut self, call: &Call) {
        self.calls.remove(&call.id);
        self.alarms.remove(&(call.deadline, Alarm::Call(call.id)));
    }

    fn granted(&mut self, now: Time, place: &Place, grant: Grant) {
        self.note_holder(now, &place.name, place.owner.to_string(), grant.epoch, grant.expires_in_ms);
        let Some(attempt) = self.attempt(place) else { return };
        if !grant.repeated || attempt.doubt == Some(grant.token) {
            // New to this attempt. An older acquire of its own can no longer be applied: the store is beyond its token.
            (attempt.fresh, attempt.confirmed, attempt.doubt) = (Some(grant.token), false, None);
        }
        attempt.done = false;
        self.reply_all(now, place, &Reply::Granted(grant));
    }

    fn held(&mut self, now: Time, place: &Place, view: LeaseView) {
        self.note_holder(now, &place.name, view.owner, view.epoch, view.expires_in_ms);
        if let Some(attempt) = self.attempt(place) {
            attempt.refused = true;
        }
    }

    /// Whoever queues behind an attempt whose try was answered knows by it that the lease is held.
    fn refuse_queue(&mut self, now: Time, tried: &Place) {
        let Some(state) = self.names.get(&tried.name) else { return };
        let others: Vec<_> = state.queue.iter().filter(|owner| **owner != tried.owner).cloned().collect();
        for owner in others {
            let place = Place { name: Arc::clone(&tried.name), owner };
            if let Some(attempt) = self.attempt(&place)
                && !std::mem::replace(&mut attempt.refused, true)
            {
                self.time_out_calls(now, &place);
                self.settle(now, &place);
            }
        }
    }

    /// Remembers who holds the lease, and lets the head try when it ends. The store rounds what is left to whole
    /// milliseconds: one more, and the lease is surely over.
    fn note_holder(&mut self, now: Time, name: &Arc<str>, owner: String, epoch: Epoch, expires_in_ms: u32) {
        let recheck = now.plus_ms(self.settings.recheck_ms.into());
        if let Some(state) = self.names.get_mut(name) {
            state.remember_holder(&owner, epoch);
            state.holder = Some((owner, now.plus_ms(expires_in_ms.into())));
            state.next_try = now.plus_ms(u64::from(expires_in_ms) + 1).min(recheck);
        }
    }

    /// A waiter rides it out for a while; a newcomer is told at once.
    fn try_failed(&mut self, now: Time, place: &Place, failure: &Failure) {
        let (retry_ms, patience_ms) = (self.settings.retry_ms.into(), self.settings.patience_ms.into());
        let Some(state) = self.names.get_mut(&place.name) else { return };
        let away_since = *state.away_since.get_or_insert(now);
        state.next_try = now.plus_ms(retry_ms);
        let refused = state.attempts.get(&place.owner).is_some_and(|attempt| attempt.refused);
        let reply = Reply::Failed(failure.clone());
        if !refused {
            self.reply_all(now, place, &reply);
        } else if now.ms_since(away_since) >= patience_ms {
            let queue: Vec<_> = state.queue.iter().cloned().collect();
            for owner in queue {
                let place = Place { name: Arc::clone(&place.name), owner };
                self.reply_all(now, &place, &reply);
                self.settle(now, &place);
            }
        }
    }
}
