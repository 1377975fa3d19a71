//! Several cores against models of the store, the lock service and the origin. Every operation is applied at one moment
//! and answered at another, in whatever order a test or a property draws; what must hold always is checked at each action.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use herd_policy::{
    Action, Cause, Coalescing, Config, Core, Error, Failure, FetchOutcome, Lease, LeaseOutcome, Limits,
    LookupId, OpId, Owner, ReadOutcome, Reason, RebuildId, Refusal, RenewOutcome, Serve, Time, WriteGuard,
    WriteOutcome,
};

type Key = Arc<str>;

/// What goes wrong with one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It is not applied, and the caller is told so.
    Refused,
    /// It is applied, and the answer is lost: the caller learns of a time-out.
    Unanswered,
    /// Its task vanishes.
    Lost,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Start {
    pub(crate) node: usize,
    pub(crate) key: Key,
    pub(crate) generation: u64,
    pub(crate) reason: Reason,
}

pub(crate) struct Fleet {
    pub(crate) now: Time,
    pub(crate) nodes: Vec<Core<u64>>,
    config: Arc<Config>,
    pending: Vec<Pending>,
    pub(crate) store: BTreeMap<Key, Row>,
    store_epoch: Option<u64>,
    locks: BTreeMap<Key, Holder>,
    epochs: u64,
    tokens: u64,
    /// The origin's version of every row.
    pub(crate) version: u64,
    pub(crate) latency: Duration,
    pub(crate) ledger: Vec<Start>,
    pub(crate) accepted: Vec<(Key, u64, Option<Lease>)>,
    pub(crate) refused: Vec<Refusal>,
    pub(crate) lookups: BTreeMap<(usize, LookupId), Lookup>,
    live: BTreeMap<(usize, Key), RebuildId>,
    held: BTreeMap<(usize, RebuildId), Lease>,
    owners: BTreeSet<(usize, Owner)>,
    to_release: BTreeSet<(usize, Owner)>,
    /// Released at least once.
    given_up: BTreeSet<(usize, Owner)>,
    floor: BTreeMap<Key, Floor>,
    store_lost: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    value: Option<(u64, Time)>,
    pub(crate) generation: u64,
    token: u64,
}

struct Holder {
    owner: (usize, Owner),
    token: u64,
    expires: Time,
}

struct Pending {
    node: usize,
    sent: Time,
    action: Action<u64>,
    answer: Option<Answer>,
    /// An acquire whose holder finished meanwhile.
    holder_done: bool,
}

enum Answer {
    Read(OpId, ReadOutcome<u64>),
    Lease(OpId, LeaseOutcome),
    Renew(OpId, RenewOutcome),
    Fetch(OpId, FetchOutcome<u64>),
    Write(OpId, WriteOutcome),
}

#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    key: Key,
    floor: Floor,
    pub(crate) served: Option<Result<herd_policy::Answer<u64>, Error>>,
    cancelled: bool,
}

/// The newest that was shown of a key. Its version counts only what the store had taken: a value that is marked as not
/// cached may be newer than one that another process fetched earlier and writes later.
#[derive(Debug, Clone, Copy, Default)]
struct Floor {
    generation: u64,
    version: u64,
}

fn failure() -> Failure {
    Failure::retryable(Cause::Unavailable, "drawn")
}

impl Fleet {
    pub(crate) fn new(nodes: usize, config: Config) -> Self {
        let config = Arc::new(config);
        let core = || Core::new(Arc::clone(&config), Limits::default());
        Fleet {
            now: Time::ZERO,
            nodes: (0..nodes).map(|_| core()).collect(),
            config: Arc::clone(&config),
            pending: Vec::new(),
            store: BTreeMap::new(),
            store_epoch: Some(1),
            locks: BTreeMap::new(),
            epochs: 1,
            tokens: 0,
            version: 1,
            latency: Duration::ZERO,
            ledger: Vec::new(),
            accepted: Vec::new(),
            refused: Vec::new(),
            lookups: BTreeMap::new(),
            live: BTreeMap::new(),
            held: BTreeMap::new(),
            owners: BTreeSet::new(),
            to_release: BTreeSet::new(),
            given_up: BTreeSet::new(),
            floor: BTreeMap::new(),
            store_lost: false,
        }
    }

    pub(crate) fn look_up(&mut self, node: usize, key: &str, wait: Duration) -> LookupId {
        let key: Key = key.into();
        let id = self.nodes[node].handle_lookup(self.now, Arc::clone(&key), self.now + wait);
        let floor = self.floor.get(&key).copied().unwrap_or_default();
        let before = self.lookups.insert((node, id), Lookup { key, floor, served: None, cancelled: false });
        assert!(before.is_none(), "a lookup's id is used twice");
        self.absorb(node);
        id
    }

    pub(crate) fn cancel(&mut self, node: usize, id: LookupId) {
        self.nodes[node].handle_cancel(self.now, id);
        let lookup = self.lookups.get_mut(&(node, id)).expect("a lookup of this fleet");
        lookup.cancelled |= lookup.served.is_none();
        self.absorb(node);
    }

    /// The stored value of `key` turns stale now.
    pub(crate) fn expire(&mut self, key: &str) {
        if let Some((_, until)) = self.store.get_mut(key).and_then(|row| row.value.as_mut()) {
            *until = self.now;
        }
    }

    /// Deletes the value of `key`: a tombstone of the next generation.
    pub(crate) fn invalidate(&mut self, key: &str) {
        let row = self.store.entry(key.into()).or_default();
        row.value = None;
        row.generation += 1;
    }

    /// The store restarts with nothing on disk; leases lived there as well.
    pub(crate) fn lose_store(&mut self) {
        self.store.clear();
        self.locks.clear();
        self.store_epoch = None;
        self.store_lost = true;
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn pass(&mut self, wait: Duration) {
        self.now = self.now + wait;
        let now = self.now;
        self.locks.retain(|_, holder| holder.expires > now);
        for node in 0..self.nodes.len() {
            if self.nodes[node].poll_timeout().is_some_and(|at| at <= now) {
                self.nodes[node].handle_timeout(now);
                self.absorb(node);
            }
        }
    }

    /// Applies the operation at `place`, or answers it if it was applied before. False if it cannot go on yet.
    pub(crate) fn advance(&mut self, place: usize, fault: Fault) -> bool {
        let mut pending = self.pending.remove(place);
        if let Some(answer) = pending.answer.take() {
            if let Action::Acquire { rebuild, owner, .. } = pending.action {
                self.note_lease(pending.node, rebuild, owner, &answer);
            }
            self.deliver(pending.node, answer);
            return true;
        }
        if let Action::Release { key, owner, value_written, .. } = &pending.action {
            if fault == Fault::None {
                self.apply_release((pending.node, *owner), key, *value_written);
            }
            return true;
        }
        pending.answer = self.apply(&pending, fault);
        let goes_on = pending.answer.is_some();
        self.pending.insert(place, pending);
        goes_on
    }

    /// Lets everything happen in order and without faults until nothing is left, time included.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            // The first that can go on; a release goes on by vanishing.
            let progress = (0..self.pending.len()).any(|place| self.advance(place, Fault::None));
            if progress {
                continue;
            }
            if self.pending.is_empty() && self.next_timeout().is_none() {
                return self.assert_idle();
            }
            let wait = self.next_event().map_or(Duration::from_millis(1), |at| at.since(self.now));
            self.pass(wait.max(Duration::from_micros(1)));
        }
        panic!("the fleet does not come to rest");
    }

    fn next_timeout(&self) -> Option<Time> {
        self.nodes.iter().filter_map(Core::poll_timeout).min()
    }

    fn next_event(&self) -> Option<Time> {
        let of_locks = self.locks.values().map(|holder| holder.expires);
        let of_pending = self.pending.iter().filter_map(|pending| match &pending.action {
            Action::Fetch { .. } => Some(pending.sent + self.latency),
            Action::Acquire { wait, .. } => Some(pending.sent + *wait),
            _ => None,
        });
        of_locks.chain(of_pending).chain(self.next_timeout()).min()
    }

    fn assert_idle(&self) {
        for core in &self.nodes {
            let left = (core.lookups(), core.flights(), core.waiting(), core.operations());
            assert_eq!(left, (0, 0, 0, 0), "something leaked");
        }
        for (id, lookup) in &self.lookups {
            assert!(lookup.cancelled || lookup.served.is_some(), "{id:?} was never served");
        }
        assert!(self.to_release.is_empty(), "granted and never released: {:?}", self.to_release);
        assert!(self.live.is_empty(), "never ended: {:?}", self.live);
    }

    fn apply(&mut self, pending: &Pending, fault: Fault) -> Option<Answer> {
        let now = self.now;
        Some(match &pending.action {
            Action::Read { op, key, .. } => Answer::Read(*op, self.apply_read(key, fault)),
            Action::Acquire { op, key, owner, expiry, wait, .. } => {
                let owner = (pending.node, *owner);
                let over = now >= pending.sent + *wait;
                let outcome = self.apply_acquire(owner, key, *expiry, pending.holder_done, over, fault)?;
                Answer::Lease(*op, outcome)
            }
            Action::Renew { op, key, owner, expiry, .. } => {
                let holder = self.locks.get_mut(key).filter(|holder| holder.owner == (pending.node, *owner));
                Answer::Renew(
                    *op,
                    match (holder, fault) {
                        (Some(holder), Fault::None) => {
                            holder.expires = now + *expiry;
                            RenewOutcome::Held
                        }
                        (None, Fault::None) => RenewOutcome::Lost,
                        _ => RenewOutcome::Unavailable,
                    },
                )
            }
            Action::Fetch { op, .. } => {
                if now < pending.sent + self.latency {
                    return None;
                }
                Answer::Fetch(
                    *op,
                    match fault {
                        Fault::None => FetchOutcome::Fetched(self.version),
                        Fault::Lost => FetchOutcome::Lost,
                        Fault::Refused => FetchOutcome::NotFound,
                        Fault::Unanswered => FetchOutcome::Failed(failure()),
                    },
                )
            }
            Action::Write { op, key, value, guard, generation, lease, ttl, .. } => {
                let until = now + *ttl;
                Answer::Write(*op, self.apply_write(key, (*value, until), *guard, *generation, *lease, fault))
            }
            Action::Release { .. } | Action::Serve(_) | Action::Ended(_) => unreachable!("has no answer"),
        })
    }

    fn apply_read(&self, key: &Key, fault: Fault) -> ReadOutcome<u64> {
        if fault != Fault::None {
            return ReadOutcome::Failed(failure());
        }
        match self.store.get(key) {
            None => ReadOutcome::Absent { generation: 0 },
            Some(Row { value: None, generation, .. }) => ReadOutcome::Absent { generation: *generation },
            Some(Row { value: Some((value, until)), generation, .. }) if *until > self.now => {
                ReadOutcome::Fresh { value: *value, generation: *generation }
            }
            Some(Row { value: Some((value, _)), generation, .. }) => {
                ReadOutcome::Expired { value: *value, generation: *generation }
            }
        }
    }

    fn apply_acquire(
        &mut self,
        owner: (usize, Owner),
        key: &Key,
        expiry: Duration,
        holder_done: bool,
        over: bool,
        fault: Fault,
    ) -> Option<LeaseOutcome> {
        if fault == Fault::Refused {
            return Some(LeaseOutcome::Unavailable(failure()));
        }
        let held_by_other = self.locks.get(key).is_some_and(|holder| holder.owner != owner);
        let outcome = if holder_done {
            LeaseOutcome::HolderDone
        } else if held_by_other {
            if !over && fault == Fault::None {
                return None;
            }
            LeaseOutcome::WaitTimeout
        } else {
            if self.store_epoch.is_none() {
                self.epochs += 1;
                self.store_epoch = Some(self.epochs);
            }
            self.tokens += 1;
            let (token, epoch) = (self.tokens, self.epochs);
            self.locks.insert(Arc::clone(key), Holder { owner, token, expires: self.now + expiry });
            LeaseOutcome::Granted(Lease { token, epoch })
        };
        Some(if fault == Fault::None { outcome } else { LeaseOutcome::Unknown(failure()) })
    }

    fn apply_release(&mut self, owner: (usize, Owner), key: &Key, value_written: bool) {
        if self.locks.get(key).is_none_or(|holder| holder.owner != owner) {
            return;
        }
        assert!(self.locks.remove(key).is_some_and(|holder| holder.token <= self.tokens));
        for pending in self.pending.iter_mut().filter(|_| value_written) {
            if matches!(&pending.action, Action::Acquire { key: wanted, .. } if wanted == key)
                && pending.answer.is_none()
            {
                pending.holder_done = true;
            }
        }
    }

    fn apply_write(
        &mut self,
        key: &Key,
        value: (u64, Time),
        guard: WriteGuard,
        observed: u64,
        lease: Option<Lease>,
        fault: Fault,
    ) -> WriteOutcome {
        match fault {
            Fault::Refused => {
                return WriteOutcome::Uncacheable;
            }
            Fault::Lost => {
                return WriteOutcome::Failed(failure());
            }
            Fault::None | Fault::Unanswered => {}
        }
        let epoch = self.store_epoch;
        let row = self.store.entry(Arc::clone(key)).or_default();
        if guard == WriteGuard::Fenced {
            let refusal = match lease {
                Some(_) if epoch.is_none() => Some(Refusal::EpochMissing),
                Some(lease) if epoch != Some(lease.epoch) => Some(Refusal::EpochOld),
                _ if row.generation != observed => Some(Refusal::GenerationMoved),
                Some(lease) if lease.token <= row.token => Some(Refusal::TokenOld),
                _ => None,
            };
            if let Some(refusal) = refusal {
                self.refused.push(refusal);
                return WriteOutcome::Refused(refusal);
            }
        }
        row.token = lease.map_or(row.token, |lease| lease.token);
        row.generation = row.generation.max(observed + 1);
        row.value = Some(value);
        self.accepted.push((Arc::clone(key), observed, lease));
        let generation = row.generation;
        if fault == Fault::Unanswered {
            return WriteOutcome::Failed(failure());
        }
        WriteOutcome::Written { generation }
    }

    /// From now on a release is owed.
    fn note_lease(&mut self, node: usize, rebuild: RebuildId, owner: Owner, answer: &Answer) {
        match answer {
            Answer::Lease(_, LeaseOutcome::Granted(lease)) => {
                self.to_release.insert((node, owner));
                // A grant that comes after the core gave up is given back, never used.
                if !self.given_up.contains(&(node, owner)) {
                    self.held.insert((node, rebuild), *lease);
                }
            }
            Answer::Lease(_, LeaseOutcome::Unknown(_)) => {
                self.to_release.insert((node, owner));
            }
            _ => {}
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

    /// Takes a core's actions, and checks each against what must hold always.
    fn absorb(&mut self, node: usize) {
        while let Some(action) = self.nodes[node].poll_action() {
            match &action {
                Action::Serve(serve) => {
                    self.check_serve(node, serve);
                    continue;
                }
                Action::Ended(summary) => {
                    let of_this =
                        |(at, owner): &&(usize, Owner)| (*at, owner.rebuild) == (node, summary.rebuild);
                    let left = self.to_release.iter().find(of_this);
                    assert_eq!(left, None, "a flight ended without releasing");
                    self.held.remove(&(node, summary.rebuild));
                    self.live.remove(&(node, Arc::clone(&summary.key)));
                    continue;
                }
                Action::Read { key, rebuild, .. } => {
                    if let Some(rebuild) = rebuild {
                        self.check_live(node, key, *rebuild);
                    }
                }
                Action::Acquire { key, rebuild, owner, .. } => {
                    self.check_live(node, key, *rebuild);
                    assert!(self.owners.insert((node, *owner)), "an owner's name is used twice");
                }
                Action::Renew { .. } => {}
                Action::Release { owner, .. } => {
                    self.to_release.remove(&(node, *owner));
                    self.given_up.insert((node, *owner));
                    self.held.remove(&(node, owner.rebuild));
                }
                Action::Fetch { key, rebuild, generation, reason, lease, .. } => {
                    self.check_live(node, key, *rebuild);
                    let (key, generation, reason) = (Arc::clone(key), *generation, *reason);
                    self.ledger.push(Start { node, key, generation, reason });
                    assert_eq!(*lease, self.held.get(&(node, *rebuild)).copied(), "the lease that it holds");
                }
                Action::Write { key, rebuild, lease, .. } => {
                    self.check_live(node, key, *rebuild);
                    assert_eq!(*lease, self.held.get(&(node, *rebuild)).copied(), "the lease that it holds");
                }
            }
            self.pending.push(Pending { node, sent: self.now, action, answer: None, holder_done: false });
        }
    }

    /// Never two live flights for a key.
    fn check_live(&mut self, node: usize, key: &Key, rebuild: RebuildId) {
        if self.config.coalescing == Coalescing::SingleFlight {
            let live = *self.live.entry((node, Arc::clone(key))).or_insert(rebuild);
            assert_eq!(live, rebuild, "two live flights for {key} at node {node}");
        }
    }

    /// Exactly one answer for each lookup, and nothing older than what was shown before the lookup began.
    fn check_serve(&mut self, node: usize, serve: &Serve<u64>) {
        // A lookup over the limit is served before its id is known; none of the fleets in here is that full.
        let lookup = self.lookups.get_mut(&(node, serve.lookup)).expect("a lookup of this fleet");
        assert!(lookup.served.is_none(), "served twice");
        assert!(!lookup.cancelled, "served after it was cancelled");
        lookup.served = Some(serve.result.clone());
        let Ok(answer) = &serve.result else { return };
        let floor = self.floor.entry(Arc::clone(&lookup.key)).or_default();
        let guarded = self.config.write_guard == WriteGuard::Fenced
            && self.config.coalescing == Coalescing::SingleFlight
            && !self.store_lost;
        if guarded {
            assert!(answer.generation >= lookup.floor.generation, "{answer:?} after {:?}", lookup.floor);
            assert!(answer.value >= lookup.floor.version, "{answer:?} after {:?}", lookup.floor);
        }
        floor.generation = floor.generation.max(answer.generation);
        if answer.cached {
            floor.version = floor.version.max(answer.value);
        }
    }
}
