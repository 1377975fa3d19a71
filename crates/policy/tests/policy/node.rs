//! One core driven by hand: actions are sorted by kind, and a test answers them in the order that it wants to show.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use herd_policy::{
    Action, Config, Core, Error, FetchOutcome, HolderEnd, Lease, LeaseOutcome, Life, Limits, LockConfig,
    LookupId, OpId, Owner, ReadOutcome, Reason, Serve, Served, Summary, Time, WriteOutcome,
};

pub(crate) const KEY: &str = "p:item-1";

pub(crate) struct Node {
    pub(crate) core: Core<u64>,
    pub(crate) now: Time,
    pub(crate) todo: Vec<Action<u64>>,
    pub(crate) served: BTreeMap<LookupId, Serve<u64>>,
    pub(crate) ended: Vec<Summary>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fetch {
    pub(crate) op: OpId,
    pub(crate) generation: u64,
    pub(crate) reason: Reason,
    pub(crate) lease: Option<Lease>,
    pub(crate) deadline: Time,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Write {
    pub(crate) op: OpId,
    /// `None`: the sentinel of a row that does not exist.
    pub(crate) value: Option<u64>,
    pub(crate) generation: u64,
    pub(crate) lease: Option<Lease>,
    pub(crate) ttl: Duration,
    pub(crate) rebuild_took: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Release {
    pub(crate) owner: Owner,
    pub(crate) end: HolderEnd,
}

impl Node {
    pub(crate) fn new(config: Config) -> Self {
        Node::limited(config, Limits::default())
    }

    pub(crate) fn limited(config: Config, limits: Limits) -> Self {
        Node {
            core: Core::new(Arc::new(config), limits, 1),
            now: Time::ZERO,
            todo: Vec::new(),
            served: BTreeMap::new(),
            ended: Vec::new(),
        }
    }

    pub(crate) fn drain(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Serve(serve) => {
                    let again = self.served.insert(serve.lookup, serve);
                    assert!(again.is_none(), "served twice: {again:?}");
                }
                Action::Ended(summary) => self.ended.push(summary),
                other => self.todo.push(other),
            }
        }
    }

    /// A lookup within 10 s whose first look is still under way.
    pub(crate) fn look(&mut self) -> (LookupId, OpId) {
        self.look_within(Duration::from_secs(10))
    }

    pub(crate) fn look_within(&mut self, wait: Duration) -> (LookupId, OpId) {
        let id = self.core.handle_lookup(self.now, Arc::from(KEY), self.now + wait);
        self.drain();
        (id, self.first_look().unwrap_or_else(|| panic!("{id:?} looks first")))
    }

    /// A lookup within 10 s that finds `generation` expired.
    pub(crate) fn miss(&mut self, generation: u64) -> LookupId {
        self.miss_within(generation, Duration::from_secs(10))
    }

    pub(crate) fn miss_within(&mut self, generation: u64, wait: Duration) -> LookupId {
        let (id, op) = self.look_within(wait);
        self.answer_read(op, expired(generation));
        id
    }

    /// A lookup within 10 s that finds `generation`, value 10, expired just now.
    pub(crate) fn find_expired(&mut self, generation: u64) -> LookupId {
        self.find(expired_for(generation, Duration::ZERO))
    }

    /// A lookup within 10 s whose first look finds that.
    pub(crate) fn find(&mut self, outcome: ReadOutcome<u64>) -> LookupId {
        let (id, op) = self.look();
        self.answer_read(op, outcome);
        id
    }

    /// A warm-up within 10 s whose first look finds that.
    pub(crate) fn warm(&mut self, config: Config, outcome: ReadOutcome<u64>) -> LookupId {
        let deadline = self.now + Duration::from_secs(10);
        let id = self.core.handle_warm(self.now, Arc::from(KEY), Arc::new(config), deadline);
        self.drain();
        let op = self.first_look().expect("it looks first");
        self.answer_read(op, outcome);
        id
    }

    pub(crate) fn cancel(&mut self, id: LookupId) {
        self.core.handle_cancel(self.now, id);
        self.drain();
    }

    pub(crate) fn answer_read(&mut self, op: OpId, outcome: ReadOutcome<u64>) {
        self.core.handle_read(self.now, op, outcome);
        self.drain();
    }

    pub(crate) fn answer_lease(&mut self, op: OpId, outcome: LeaseOutcome) {
        self.core.handle_lease(self.now, op, outcome);
        self.drain();
    }

    pub(crate) fn answer_fetch(&mut self, op: OpId, outcome: FetchOutcome<u64>) {
        self.core.handle_fetched(self.now, op, outcome);
        self.drain();
    }

    pub(crate) fn answer_write(&mut self, op: OpId, outcome: WriteOutcome) {
        self.core.handle_written(self.now, op, outcome);
        self.drain();
    }

    /// Lets time pass, stopping wherever the core wants to be called.
    pub(crate) fn pass(&mut self, wait: Duration) {
        let end = self.now + wait;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.core.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// Takes the first waiting action that `pick` knows.
    fn take<T>(&mut self, pick: impl Fn(&Action<u64>) -> Option<T>) -> Option<T> {
        let (place, taken) =
            self.todo.iter().enumerate().find_map(|(place, action)| Some((place, pick(action)?)))?;
        self.todo.remove(place);
        Some(taken)
    }

    pub(crate) fn first_look(&mut self) -> Option<OpId> {
        self.take(|action| match action {
            Action::Read { op, rebuild: None, .. } => Some(*op),
            _ => None,
        })
    }

    pub(crate) fn read(&mut self) -> Option<OpId> {
        self.take(|action| match action {
            Action::Read { op, .. } => Some(*op),
            _ => None,
        })
    }

    pub(crate) fn acquire(&mut self) -> Option<(OpId, Owner)> {
        self.take(|action| match action {
            Action::Acquire { op, owner, .. } => Some((*op, *owner)),
            _ => None,
        })
    }

    pub(crate) fn renew(&mut self) -> Option<(OpId, Lease)> {
        self.take(|action| match action {
            Action::Renew { op, lease, .. } => Some((*op, *lease)),
            _ => None,
        })
    }

    pub(crate) fn release(&mut self) -> Option<Release> {
        self.take(|action| match action {
            Action::Release { owner, end, .. } => Some(Release { owner: *owner, end: end.clone() }),
            _ => None,
        })
    }

    pub(crate) fn fetch(&mut self) -> Option<Fetch> {
        self.take(|action| match action {
            Action::Fetch { op, generation, reason, lease, deadline, .. } => Some(Fetch {
                op: *op,
                generation: *generation,
                reason: *reason,
                lease: *lease,
                deadline: *deadline,
            }),
            _ => None,
        })
    }

    pub(crate) fn write(&mut self) -> Option<Write> {
        self.take(|action| match action {
            Action::Write { op, value, generation, lease, ttl, rebuild_took, .. } => Some(Write {
                op: *op,
                value: *value,
                generation: *generation,
                lease: *lease,
                ttl: *ttl,
                rebuild_took: *rebuild_took,
            }),
            _ => None,
        })
    }

    /// The leader's flight got the lease: with the lock it looks again, finds `generation` expired, and fetches.
    pub(crate) fn grant(&mut self, token: u64, generation: u64) -> (Owner, Fetch) {
        let (op, owner) = self.acquire().expect("an acquire");
        self.answer_lease(op, LeaseOutcome::Granted(lease(token)));
        let look = self.read().expect("the second look after the grant");
        self.answer_read(look, expired(generation));
        (owner, self.fetch().expect("the rebuild"))
    }

    /// The origin answers with this value, and the store takes it as that generation.
    pub(crate) fn rebuild(&mut self, fetch: OpId, value: u64, generation: u64) {
        self.answer_fetch(fetch, FetchOutcome::Fetched(value));
        let write = self.write().expect("the write");
        self.answer_write(write.op, WriteOutcome::Written { generation });
    }

    /// How a lookup was served, and what.
    pub(crate) fn value_of(&self, id: LookupId) -> (u64, Served) {
        let serve = self.served.get(&id).unwrap_or_else(|| panic!("{id:?} is not served"));
        let answer = serve.result.as_ref().unwrap_or_else(|error| panic!("{id:?} got {error}"));
        (answer.value, answer.served)
    }

    pub(crate) fn error_of(&self, id: LookupId) -> Error {
        let serve = self.served.get(&id).unwrap_or_else(|| panic!("{id:?} is not served"));
        serve.result.clone().expect_err("an error")
    }

    /// Nothing is left: no lookup, flight, operation, timer, action.
    #[track_caller]
    pub(crate) fn assert_idle(&self) {
        let core = &self.core;
        let left = (core.lookups(), core.flights(), core.waiting(), core.operations(), core.poll_timeout());
        assert_eq!(left, (0, 0, 0, 0, None), "something leaked");
        assert_eq!(self.todo, [], "something was not answered");
    }
}

pub(crate) fn expired(generation: u64) -> ReadOutcome<u64> {
    match generation {
        0 => absent(0),
        _ => ReadOutcome::Expired { value: 0, generation, life: Life::default() },
    }
}

/// Value 10, its TTL of 10 s over since then.
pub(crate) fn expired_for(generation: u64, since: Duration) -> ReadOutcome<u64> {
    let ttl = Duration::from_secs(10);
    let life = Life { age: ttl + since, ttl, rebuild_took: Duration::ZERO };
    ReadOutcome::Expired { value: 10, generation, life }
}

pub(crate) fn fresh(value: u64, generation: u64) -> ReadOutcome<u64> {
    ReadOutcome::Fresh { value, generation, life: Life::default() }
}

pub(crate) fn absent(generation: u64) -> ReadOutcome<u64> {
    ReadOutcome::Absent { generation, may_exist: true }
}

pub(crate) fn lease(token: u64) -> Lease {
    Lease { token, epoch: 1 }
}

/// Single-flight without second look, fenced: the shortest way to a fetch.
pub(crate) fn direct() -> Config {
    Config { version: 1, flight_second_look: false, ..Config::default() }
}

/// Single-flight with its second look, fenced.
pub(crate) fn flight() -> Config {
    Config { version: 1, ..Config::default() }
}

/// Single-flight and lock, looking again only after the grant.
pub(crate) fn locked(lock: LockConfig) -> Config {
    Config { version: 2, lock: Some(lock), ..direct() }
}
