//! What must hold at every action of every core, whatever happened before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use herd_policy::{
    Action, Answer, Coalescing, Config, Error, FlightUntil, Lease, LeaseOutcome, Life, LookupId,
    OnWaitTimeout, Owner, ReadOutcome, Reason, RebuildId, Serve, Served, Summary, Time, WriteGuard,
};

use crate::models::{Key, Who};

pub(crate) struct Checks {
    config: Config,
    now: Time,
    /// What is shown of a key never goes back.
    ordered: bool,
    /// Nobody is told that a row does not exist who asked after its insert was acknowledged.
    inserts_seen: bool,
    lookups: BTreeMap<(usize, LookupId), Lookup>,
    /// The live flight of each node and key.
    live: BTreeMap<(usize, Key), RebuildId>,
    /// Flights that were seen and did not end yet, and those that may have company: they can be joined by nobody.
    open: BTreeSet<(usize, RebuildId)>,
    alone: BTreeSet<(usize, RebuildId)>,
    ended: BTreeSet<(usize, RebuildId)>,
    owners: BTreeSet<Who>,
    held: BTreeMap<(usize, RebuildId), Lease>,
    /// Granted, or perhaps, and not given back yet.
    to_release: BTreeSet<Who>,
    /// Given back at least once.
    released: BTreeSet<Who>,
    floors: BTreeMap<Key, Floor>,
    /// Rows that exist for certain.
    existing: BTreeSet<Key>,
}

struct Lookup {
    key: Key,
    floor: Floor,
    /// Its row exists for certain, since before it began.
    exists: bool,
    deadline: Time,
    /// A warm-up, which has no patience to lose.
    warm: bool,
    seen: Option<Seen>,
    served: Option<Result<Answer<u64>, Error>>,
    cancelled: bool,
}

/// What a lookup's own look found, and when.
#[derive(Clone, Copy)]
struct Seen {
    at: Time,
    generation: u64,
    expired: Option<(u64, Life)>,
}

/// The newest that was shown of a key. Its version counts only what the store had taken: a value that is marked as not
/// cached may be newer than one that another process fetched earlier and writes later.
#[derive(Debug, Clone, Copy, Default)]
struct Floor {
    generation: u64,
    version: u64,
}

impl Checks {
    pub(crate) fn new(config: &Config) -> Self {
        let fenced = config.write_guard == WriteGuard::Fenced;
        let single_flight = config.coalescing == Coalescing::SingleFlight;
        let to_the_write = config.flight_until == FlightUntil::Written;
        Checks {
            config: config.clone(),
            now: Time::ZERO,
            ordered: single_flight && fenced && to_the_write,
            inserts_seen: fenced,
            lookups: BTreeMap::new(),
            live: BTreeMap::new(),
            open: BTreeSet::new(),
            alone: BTreeSet::new(),
            ended: BTreeSet::new(),
            owners: BTreeSet::new(),
            held: BTreeMap::new(),
            to_release: BTreeSet::new(),
            released: BTreeSet::new(),
            floors: BTreeMap::new(),
            existing: BTreeSet::new(),
        }
    }

    pub(crate) fn at(&mut self, now: Time) {
        self.now = now;
    }

    /// A store that lost its data may show anything.
    pub(crate) fn store_lost(&mut self) {
        self.ordered = false;
        self.inserts_seen = false;
    }

    pub(crate) fn inserted(&mut self, key: &str) {
        self.existing.insert(key.into());
    }

    /// The row is about to be removed: nothing is certain any more for those who ask for it now.
    pub(crate) fn removed(&mut self, key: &str) {
        self.existing.remove(key);
        for lookup in self.lookups.values_mut().filter(|lookup| &*lookup.key == key) {
            lookup.exists = false;
        }
    }

    pub(crate) fn looked_up(&mut self, node: usize, id: LookupId, key: Key, deadline: Time, warm: bool) {
        let floor = self.floors.get(&key).copied().unwrap_or_default();
        let exists = self.existing.contains(&key);
        let lookup =
            Lookup { key, floor, exists, deadline, warm, seen: None, served: None, cancelled: false };
        let before = self.lookups.insert((node, id), lookup);
        assert!(before.is_none(), "a lookup's id is used twice");
    }

    /// A lookup's first look is about to be answered.
    pub(crate) fn looked(&mut self, node: usize, id: LookupId, outcome: &ReadOutcome<u64>) {
        let lookup = self.lookups.get_mut(&(node, id)).expect("a lookup of this fleet");
        let (generation, expired) = match *outcome {
            ReadOutcome::Fresh { generation, .. }
            | ReadOutcome::Negative { generation }
            | ReadOutcome::Absent { generation, .. } => (generation, None),
            ReadOutcome::Expired { generation, value, life } => (generation, Some((value, life))),
            ReadOutcome::Failed(_) => return,
        };
        lookup.seen = Some(Seen { at: self.now, generation, expired });
    }

    pub(crate) fn cancelled(&mut self, node: usize, id: LookupId) {
        let lookup = self.lookups.get_mut(&(node, id)).expect("a lookup of this fleet");
        lookup.cancelled |= lookup.served.is_none();
    }

    pub(crate) fn answers(&self) -> impl Iterator<Item = &Result<Answer<u64>, Error>> {
        self.lookups.values().filter_map(|lookup| lookup.served.as_ref())
    }

    /// A lock service's answer is about to be delivered.
    pub(crate) fn leased(&mut self, node: usize, owner: Owner, outcome: &LeaseOutcome) {
        match outcome {
            LeaseOutcome::Granted(lease) => {
                self.to_release.insert((node, owner));
                // A grant that comes after the core gave up is given back, never used.
                if !self.released.contains(&(node, owner)) {
                    self.held.insert((node, owner.rebuild), *lease);
                }
            }
            LeaseOutcome::Unknown(_) => {
                self.to_release.insert((node, owner));
            }
            _ => {}
        }
    }

    pub(crate) fn action(&mut self, node: usize, action: &Action<u64>) {
        match action {
            Action::Serve(serve) => self.served(node, serve),
            Action::Ended(summary) => self.flight_ended(node, summary),
            Action::Read { key, rebuild: Some(rebuild), .. } => self.works(node, key, *rebuild),
            Action::Read { .. } | Action::Renew { .. } => {}
            Action::Acquire { key, owner, .. } => {
                self.works(node, key, owner.rebuild);
                assert!(self.owners.insert((node, *owner)), "an owner's name is used twice");
            }
            Action::Release { owner, .. } => {
                self.to_release.remove(&(node, *owner));
                self.released.insert((node, *owner));
                self.held.remove(&(node, owner.rebuild));
            }
            Action::Fetch { key, rebuild, lease, reason, .. } => {
                let is_first = !self.open.contains(&(node, *rebuild));
                if is_first && *reason == Reason::WaitTimeout {
                    self.alone.insert((node, *rebuild));
                }
                self.works(node, key, *rebuild);
                assert_eq!(*lease, self.held.get(&(node, *rebuild)).copied(), "the lease that it holds");
            }
            Action::Write { key, rebuild, lease, value, ttl, .. } => {
                self.works(node, key, *rebuild);
                assert_eq!(*lease, self.held.get(&(node, *rebuild)).copied(), "the lease that it holds");
                self.lives(value.is_some(), *ttl);
                if self.config.flight_until == FlightUntil::Fetched {
                    self.alone.insert((node, *rebuild));
                    self.live.remove(&(node, Arc::clone(key)));
                }
            }
        }
    }

    /// All has settled.
    pub(crate) fn end(&self) {
        for (id, lookup) in &self.lookups {
            assert!(lookup.cancelled || lookup.served.is_some(), "{id:?} was never served");
        }
        assert!(self.to_release.is_empty(), "granted and never released: {:?}", self.to_release);
        assert!(self.live.is_empty() && self.open.is_empty(), "never ended: {:?}", self.open);
    }

    /// Never two live flights for a key, and none that goes on after its end.
    fn works(&mut self, node: usize, key: &Key, rebuild: RebuildId) {
        assert!(!self.ended.contains(&(node, rebuild)), "{rebuild:?} works after its end");
        self.open.insert((node, rebuild));
        let shared = self.config.coalescing == Coalescing::SingleFlight;
        if shared && !self.alone.contains(&(node, rebuild)) {
            let live = *self.live.entry((node, Arc::clone(key))).or_insert(rebuild);
            assert_eq!(live, rebuild, "two live flights for {key} at node {node}");
        }
    }

    /// What is written lives as long as it is configured to.
    fn lives(&self, is_value: bool, ttl: Duration) {
        let config = &self.config;
        if !is_value {
            assert_eq!(Some(ttl), config.negative.map(|negative| negative.ttl), "a sentinel's own life");
        } else if config.jitter == 0.0 {
            assert_eq!(ttl, config.ttl);
        } else {
            let (low, high) =
                (config.ttl.mul_f64(1.0 - config.jitter), config.ttl.mul_f64(1.0 + config.jitter));
            let least = Duration::from_millis(1);
            assert!(ttl >= low.max(least) && ttl <= high.max(least), "{ttl:?} of {:?}", config.ttl);
        }
    }

    fn flight_ended(&mut self, node: usize, summary: &Summary) {
        let of_this = |(at, owner): &&Who| (*at, owner.rebuild) == (node, summary.rebuild);
        let left = self.to_release.iter().find(of_this);
        assert_eq!(left, None, "a flight ended without releasing");
        assert!(self.ended.insert((node, summary.rebuild)), "a flight ended twice");
        self.open.remove(&(node, summary.rebuild));
        if self.live.get(&(node, Arc::clone(&summary.key))) == Some(&summary.rebuild) {
            self.live.remove(&(node, Arc::clone(&summary.key)));
        }
    }

    /// Exactly one answer for each lookup.
    fn served(&mut self, node: usize, serve: &Serve<u64>) {
        let lookup = self.lookups.get_mut(&(node, serve.lookup)).expect("a lookup of this fleet");
        assert!(lookup.served.is_none(), "served twice");
        assert!(!lookup.cancelled, "served after it was cancelled");
        lookup.served = Some(serve.result.clone());
        let lookup = &self.lookups[&(node, serve.lookup)];
        self.in_time(lookup, serve.missed);
        match &serve.result {
            Ok(answer) => {
                self.new_enough(lookup, answer);
                if answer.served == Served::Stale {
                    self.stale_enough(lookup, answer);
                }
                let floor = self.floors.entry(Arc::clone(&lookup.key)).or_default();
                floor.generation = floor.generation.max(answer.generation);
                if answer.cached {
                    floor.version = floor.version.max(answer.value);
                }
            }
            Err(Error::NotFound { by }) if self.inserts_seen => {
                assert!(!lookup.exists, "told that it does not exist by {by:?}, after its insert");
            }
            Err(_) => {}
        }
    }

    /// Who waits is served by his deadline, and by the end of his patience unless that sends him to the origin.
    fn in_time(&self, lookup: &Lookup, missed: bool) {
        let Some(seen) = lookup.seen.filter(|_| missed) else { return };
        assert!(self.now <= lookup.deadline.max(seen.at), "served after its deadline");
        let own = self.config.waiter.filter(|_| !lookup.warm);
        if let Some(waiter) = own.filter(|waiter| waiter.then != OnWaitTimeout::Origin) {
            assert!(self.now <= seen.at + waiter.wait, "waited longer than its patience");
        }
    }

    /// Nothing older than what the lookup's own look saw, and nothing older than what anybody was shown before it began.
    /// What is not in the cache has no generation.
    fn new_enough(&self, lookup: &Lookup, answer: &Answer<u64>) {
        assert!(answer.cached || answer.generation == 0, "{answer:?} is not in the cache");
        if !self.ordered {
            return;
        }
        let by_generation = if answer.cached { answer.generation } else { u64::MAX };
        assert!(by_generation >= lookup.floor.generation, "{answer:?} after {:?}", lookup.floor);
        assert!(answer.value >= lookup.floor.version, "{answer:?} after {:?}", lookup.floor);
        let seen = lookup.seen.expect("who gets a value has looked");
        assert!(by_generation >= seen.generation, "{answer:?}, saw generation {}", seen.generation);
        let version = seen.expired.map_or(0, |(version, _)| version);
        assert!(answer.value >= version, "{answer:?}, saw version {version}");
    }

    /// A stale value is the one that the lookup's own look saw, of a key that is safe, and within its grace.
    fn stale_enough(&self, lookup: &Lookup, answer: &Answer<u64>) {
        let stale = self.config.stale.as_ref().expect("only where the layer is on");
        let row = lookup.key.strip_prefix(&*self.config.key_prefix).expect("a key of this prefix");
        let is_safe = |safe: &Arc<str>| match safe.split_once('*') {
            Some((beginning, _)) => row.starts_with(beginning),
            None => &**safe == row,
        };
        assert!(stale.safe_keys.iter().any(is_safe), "{row} is not safe");
        let seen = lookup.seen.expect("it has looked");
        let (value, life) = seen.expired.expect("it saw an expired value");
        assert_eq!((answer.value, answer.generation), (value, seen.generation), "its own look's value");
        let age = life.age + self.now.since(seen.at);
        assert!(age <= life.ttl + stale.grace, "{age:?} old, T {:?}, G {:?}", life.ttl, stale.grace);
    }
}
