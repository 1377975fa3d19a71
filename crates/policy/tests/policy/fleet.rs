//! Several cores against models of the store, the lock service and the origin. Every operation is applied at one moment
//! and answered at another, in whatever order a test or a property draws; `checks` watches each action.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use herd_policy::{
    Action, Config, Core, FetchOutcome, HolderEnd, LeaseOutcome, Limits, LookupId, OpId, ReadOutcome, Reason,
    RenewOutcome, Time, WriteOutcome,
};

use crate::checks::Checks;
use crate::models::{Fault, Key, Store, Who, Write, failure};

pub(crate) struct Fleet {
    now: Time,
    nodes: Vec<Core<u64>>,
    pending: Vec<Pending>,
    pub(crate) store: Store,
    /// The origin's version of every row.
    pub(crate) version: u64,
    /// How long the origin works on it.
    pub(crate) latency: Duration,
    /// What the origin says in place of a value.
    pub(crate) refusal: Option<FetchOutcome<u64>>,
    /// A node whose renewals do not arrive, and for which the origin fails.
    pub(crate) ailing: Option<usize>,
    /// Rows that the origin does not have.
    pub(crate) missing: BTreeSet<Key>,
    /// Rows that the origin has now, and whose cached absence is yet to be deleted.
    inserting: BTreeSet<Key>,
    pub(crate) ledger: Vec<Start>,
    pub(crate) checks: Checks,
}

/// One call that the origin received.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Start {
    pub(crate) node: usize,
    pub(crate) key: Key,
    pub(crate) generation: u64,
    pub(crate) reason: Reason,
}

struct Pending {
    node: usize,
    /// The lookup whose first look it is.
    lookup: Option<LookupId>,
    sent: Time,
    action: Action<u64>,
    /// Set once it was applied.
    answer: Option<Answer>,
    /// An acquire whose holder ended meanwhile, and told.
    told: Option<LeaseOutcome>,
}

enum Answer {
    Read(OpId, ReadOutcome<u64>),
    Lease(OpId, LeaseOutcome),
    Renew(OpId, RenewOutcome),
    Fetch(OpId, FetchOutcome<u64>),
    Write(OpId, WriteOutcome),
}

impl Fleet {
    pub(crate) fn new(nodes: usize, config: Config) -> Self {
        Fleet::limited(nodes, config, &Limits::default())
    }

    pub(crate) fn limited(nodes: usize, config: Config, limits: &Limits) -> Self {
        let config = Arc::new(config);
        let core = |seed| Core::new(Arc::clone(&config), limits.clone(), seed);
        Fleet {
            now: Time::ZERO,
            nodes: (0..nodes as u64).map(core).collect(),
            pending: Vec::new(),
            store: Store::default(),
            version: 1,
            latency: Duration::ZERO,
            refusal: None,
            ailing: None,
            missing: BTreeSet::new(),
            inserting: BTreeSet::new(),
            ledger: Vec::new(),
            checks: Checks::new(&config),
        }
    }

    pub(crate) fn look_up(&mut self, node: usize, key: &str, wait: Duration) -> LookupId {
        let key: Key = key.into();
        let id = self.nodes[node].handle_lookup(self.now, Arc::clone(&key), self.now + wait);
        self.begun(node, id, key, self.now + wait, false);
        id
    }

    /// Like a lookup, under the fleet's own configuration.
    pub(crate) fn warm(&mut self, node: usize, key: &str, wait: Duration) -> LookupId {
        let key: Key = key.into();
        let config = Arc::clone(self.nodes[node].config());
        let id = self.nodes[node].handle_warm(self.now, Arc::clone(&key), config, self.now + wait);
        self.begun(node, id, key, self.now + wait, true);
        id
    }

    fn begun(&mut self, node: usize, id: LookupId, key: Key, deadline: Time, warm: bool) {
        self.checks.looked_up(node, id, key, deadline, warm);
        let before = self.pending.len();
        self.absorb(node);
        let is_look = |pending: &&mut Pending| matches!(pending.action, Action::Read { rebuild: None, .. });
        if let Some(look) = self.pending[before..].iter_mut().find(is_look) {
            look.lookup = Some(id);
        }
    }

    /// The first half of an insert: the origin has the row.
    pub(crate) fn insert_begins(&mut self, key: &str) {
        if self.missing.remove(key) {
            self.version += 1;
            self.inserting.insert(key.into());
        }
    }

    /// The second half: what the store remembers of its absence is deleted, and the insert is acknowledged.
    pub(crate) fn insert_ends(&mut self, key: &str) {
        if self.inserting.remove(key) {
            self.store.invalidate(key);
            self.checks.inserted(key);
        }
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.insert_ends(key);
        self.checks.removed(key);
        self.missing.insert(key.into());
        self.store.invalidate(key);
    }

    pub(crate) fn cancel(&mut self, node: usize, id: LookupId) {
        self.nodes[node].handle_cancel(self.now, id);
        self.checks.cancelled(node, id);
        self.absorb(node);
    }

    pub(crate) fn expire(&mut self, key: &str) {
        self.store.expire(key, self.now);
    }

    pub(crate) fn lose_store(&mut self) {
        self.store.lose();
        self.checks.store_lost();
    }

    pub(crate) fn now(&self) -> Time {
        self.now
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Lets time pass, stopping wherever a core wants to be called.
    pub(crate) fn pass(&mut self, wait: Duration) {
        let end = self.now + wait;
        loop {
            let next = self.next_timeout().filter(|at| *at <= end);
            self.now = self.now.max(next.unwrap_or(end));
            self.store.pass(self.now);
            self.checks.at(self.now);
            if next.is_none() {
                return;
            }
            for node in 0..self.nodes.len() {
                self.nodes[node].handle_timeout(self.now);
                self.absorb(node);
            }
        }
    }

    /// Applies the operation at `place`, or answers it if it was applied before. False if it cannot go on yet.
    pub(crate) fn advance(&mut self, place: usize, fault: Fault) -> bool {
        let mut pending = self.pending.remove(place);
        if let Some(answer) = pending.answer.take() {
            if let (Action::Acquire { owner, .. }, Answer::Lease(_, outcome)) = (&pending.action, &answer) {
                self.checks.leased(pending.node, *owner, outcome);
            }
            if let (Some(id), Answer::Read(_, outcome)) = (pending.lookup, &answer) {
                self.checks.looked(pending.node, id, outcome);
            }
            self.deliver(pending.node, answer);
            return true;
        }
        if let Action::Release { key, owner, end, unconditional, .. } = &pending.action {
            // Nobody answers it; with a fault it is lost, and the lease lives until it expires.
            if fault == Fault::None {
                self.release((pending.node, *owner), key, end, *unconditional);
            }
            return true;
        }
        let ails = self.ailing == Some(pending.node)
            && matches!(pending.action, Action::Renew { .. } | Action::Fetch { .. });
        pending.answer = self.apply(&pending, if ails { Fault::Refused } else { fault });
        let goes_on = pending.answer.is_some();
        self.pending.insert(place, pending);
        goes_on
    }

    /// Lets everything happen in order and without faults until nothing is left, time included.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            // The first that can go on; a release goes on by vanishing.
            if (0..self.pending.len()).any(|place| self.advance(place, Fault::None)) {
                continue;
            }
            if self.pending.is_empty() && self.next_timeout().is_none() {
                return self.assert_idle();
            }
            let wait = self.next_event().map_or(Duration::ZERO, |at| at.since(self.now));
            self.pass(wait.max(Duration::from_micros(1)));
        }
        panic!("the fleet does not come to rest");
    }

    fn assert_idle(&self) {
        for core in &self.nodes {
            let left = (core.lookups(), core.flights(), core.waiting(), core.operations());
            assert_eq!(left, (0, 0, 0, 0), "something leaked");
        }
        self.checks.end();
    }

    fn next_timeout(&self) -> Option<Time> {
        self.nodes.iter().filter_map(Core::poll_timeout).min()
    }

    fn next_event(&self) -> Option<Time> {
        let of_pending = self.pending.iter().filter_map(|pending| match &pending.action {
            Action::Fetch { .. } => Some(pending.sent + self.latency),
            Action::Acquire { wait, .. } => Some(pending.sent + *wait),
            _ => None,
        });
        of_pending.chain(self.store.next_expiry()).chain(self.next_timeout()).min()
    }

    fn apply(&mut self, pending: &Pending, fault: Fault) -> Option<Answer> {
        let now = self.now;
        Some(match &pending.action {
            Action::Read { op, key, .. } => Answer::Read(*op, self.store.read(key, now, fault)),
            Action::Acquire { op, key, owner, expiry, wait, .. } => {
                let (who, patient) = ((pending.node, *owner), now < pending.sent + *wait);
                let outcome = match pending.told.clone().filter(|_| fault == Fault::None) {
                    Some(told) => told,
                    None => self.store.acquire(who, key, now + *expiry, patient, fault)?,
                };
                Answer::Lease(*op, outcome)
            }
            Action::Renew { op, key, owner, expiry, .. } => {
                Answer::Renew(*op, self.store.renew((pending.node, *owner), key, now + *expiry, fault))
            }
            Action::Fetch { .. } if now < pending.sent + self.latency => return None,
            Action::Fetch { op, key, .. } => Answer::Fetch(*op, self.fetched(key, fault)),
            Action::Write { op, key, value, guard, generation, lease, ttl, rebuild_took, .. } => {
                let (value, guard, observed, lease) = (*value, *guard, *generation, *lease);
                let (ttl, rebuild_took) = (*ttl, *rebuild_took);
                let write = Write { key, value, now, ttl, rebuild_took, guard, observed, lease };
                Answer::Write(*op, self.store.write(&write, fault))
            }
            Action::Release { .. } | Action::Serve(_) | Action::Ended(_) => unreachable!("has no answer"),
        })
    }

    fn fetched(&self, key: &Key, fault: Fault) -> FetchOutcome<u64> {
        match fault {
            Fault::None if self.missing.contains(key) => FetchOutcome::NotFound,
            Fault::None => self.refusal.clone().unwrap_or(FetchOutcome::Fetched(self.version)),
            Fault::Lost => FetchOutcome::Lost,
            Fault::Refused | Fault::Unanswered => FetchOutcome::Failed(failure()),
        }
    }

    fn release(&mut self, who: Who, key: &Key, end: &HolderEnd, unconditional: bool) {
        let held = self.store.release(who, key, unconditional);
        let told = match end {
            // Each also after the lease's end: they only read, or share what is as new as it says. A known-bad release that is
            // late frees the lease of another, and tells nobody of a failure.
            HolderEnd::ValueWritten => LeaseOutcome::HolderDone,
            HolderEnd::Failed(failure) if held || !unconditional => {
                LeaseOutcome::HolderFailed(failure.clone())
            }
            HolderEnd::Failed(_) | HolderEnd::Abandoned => return,
        };
        for pending in self.pending.iter_mut().filter(|pending| pending.answer.is_none()) {
            if matches!(&pending.action, Action::Acquire { key: wanted, .. } if wanted == key) {
                pending.told = Some(told.clone());
            }
        }
    }

    fn deliver(&mut self, node: usize, answer: Answer) {
        let (core, now) = (&mut self.nodes[node], self.now);
        match answer {
            Answer::Read(op, outcome) => core.handle_read(now, op, outcome),
            Answer::Lease(op, outcome) => core.handle_lease(now, op, outcome),
            Answer::Renew(op, outcome) => core.handle_renewed(now, op, outcome),
            Answer::Fetch(op, outcome) => core.handle_fetched(now, op, outcome),
            Answer::Write(op, outcome) => core.handle_written(now, op, outcome),
        }
        self.absorb(node);
    }

    fn absorb(&mut self, node: usize) {
        while let Some(action) = self.nodes[node].poll_action() {
            self.checks.action(node, &action);
            match &action {
                Action::Serve(_) | Action::Ended(_) => continue,
                Action::Fetch { key, generation, reason, .. } => {
                    let (key, generation, reason) = (Arc::clone(key), *generation, *reason);
                    self.ledger.push(Start { node, key, generation, reason });
                }
                _ => {}
            }
            self.pending.push(Pending {
                node,
                lookup: None,
                sent: self.now,
                action,
                answer: None,
                told: None,
            });
        }
    }
}
