//! What must hold at every action of every core, whatever happened before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use herd_policy::{
    Action, Answer, Coalescing, Config, Error, Lease, LeaseOutcome, LookupId, Owner, RebuildId, Serve,
    Summary, WriteGuard,
};

use crate::models::{Key, Who};

pub(crate) struct Checks {
    single_flight: bool,
    /// What is shown of a key never goes back.
    ordered: bool,
    lookups: BTreeMap<(usize, LookupId), Lookup>,
    /// The live flight of each node and key.
    live: BTreeMap<(usize, Key), RebuildId>,
    owners: BTreeSet<Who>,
    held: BTreeMap<(usize, RebuildId), Lease>,
    /// Granted, or perhaps, and not given back yet.
    to_release: BTreeSet<Who>,
    /// Given back at least once.
    released: BTreeSet<Who>,
    floors: BTreeMap<Key, Floor>,
}

struct Lookup {
    key: Key,
    floor: Floor,
    served: Option<Result<Answer<u64>, Error>>,
    cancelled: bool,
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
        let single_flight = config.coalescing == Coalescing::SingleFlight;
        Checks {
            single_flight,
            ordered: single_flight && config.write_guard == WriteGuard::Fenced,
            lookups: BTreeMap::new(),
            live: BTreeMap::new(),
            owners: BTreeSet::new(),
            held: BTreeMap::new(),
            to_release: BTreeSet::new(),
            released: BTreeSet::new(),
            floors: BTreeMap::new(),
        }
    }

    /// A store that lost its data may show anything.
    pub(crate) fn store_lost(&mut self) {
        self.ordered = false;
    }

    pub(crate) fn looked_up(&mut self, node: usize, id: LookupId, key: Key) {
        let floor = self.floors.get(&key).copied().unwrap_or_default();
        let before = self.lookups.insert((node, id), Lookup { key, floor, served: None, cancelled: false });
        assert!(before.is_none(), "a lookup's id is used twice");
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
            Action::Ended(summary) => self.ended(node, summary),
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
            Action::Fetch { key, rebuild, lease, .. } | Action::Write { key, rebuild, lease, .. } => {
                self.works(node, key, *rebuild);
                assert_eq!(*lease, self.held.get(&(node, *rebuild)).copied(), "the lease that it holds");
            }
        }
    }

    /// All has settled.
    pub(crate) fn end(&self) {
        for (id, lookup) in &self.lookups {
            assert!(lookup.cancelled || lookup.served.is_some(), "{id:?} was never served");
        }
        assert!(self.to_release.is_empty(), "granted and never released: {:?}", self.to_release);
        assert!(self.live.is_empty(), "never ended: {:?}", self.live);
    }

    /// Never two live flights for a key.
    fn works(&mut self, node: usize, key: &Key, rebuild: RebuildId) {
        if self.single_flight {
            let live = *self.live.entry((node, Arc::clone(key))).or_insert(rebuild);
            assert_eq!(live, rebuild, "two live flights for {key} at node {node}");
        }
    }

    fn ended(&mut self, node: usize, summary: &Summary) {
        let of_this = |(at, owner): &&Who| (*at, owner.rebuild) == (node, summary.rebuild);
        let left = self.to_release.iter().find(of_this);
        assert_eq!(left, None, "a flight ended without releasing");
        self.live.remove(&(node, Arc::clone(&summary.key)));
    }

    /// Exactly one answer for each lookup, and nothing older than what was shown before the lookup began.
    fn served(&mut self, node: usize, serve: &Serve<u64>) {
        let lookup = self.lookups.get_mut(&(node, serve.lookup)).expect("a lookup of this fleet");
        assert!(lookup.served.is_none(), "served twice");
        assert!(!lookup.cancelled, "served after it was cancelled");
        lookup.served = Some(serve.result.clone());
        let Ok(answer) = &serve.result else { return };
        if self.ordered {
            assert!(answer.generation >= lookup.floor.generation, "{answer:?} after {:?}", lookup.floor);
            assert!(answer.value >= lookup.floor.version, "{answer:?} after {:?}", lookup.floor);
        }
        let floor = self.floors.entry(Arc::clone(&lookup.key)).or_default();
        floor.generation = floor.generation.max(answer.generation);
        if answer.cached {
            floor.version = floor.version.max(answer.value);
        }
    }
}
