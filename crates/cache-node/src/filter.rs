//! The filter of existing keys: which keys of rows the origin may have.
//!
//! A sentinel bounds what one missing key costs; against a flood of distinct ids only knowledge of the keys that exist helps.
//! This is a Bloom filter of them, read from the origin again before it is older than [`REFRESH`]. It errs in one direction:
//! of the keys that do not exist a share of [`FALSE_POSITIVES`] passes all the same; a key that it does not know was not there
//! when it was loaded. Rows that came since are known to the store (a [`Put`](crate::node::Node::put) leaves a generation
//! behind, and the policy then does not believe the filter), and to the filter of the node that wrote them. A row that was
//! written past the fleet is answered as absent until the next load.

use crate::metrics::NodeMetrics;
use crate::peers::Origin;
use fastbloom::BloomFilter;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tonic::Status;
use tracing::{info, warn};

/// How many of the keys that do not exist pass all the same.
pub const FALSE_POSITIVES: f64 = 0.01;

/// Beyond so many keys the filter says of every key that it may exist.
pub const KEYS_MAX: usize = 5_000_000;

/// How old the filter gets at most before it is loaded again. Each load waits between half of it and all of it, so that the
/// nodes of a fleet, all configured at one moment, do not load in step.
pub const REFRESH: Duration = Duration::from_secs(10);

/// After a load that failed while nothing was loaded yet.
const RETRY: Duration = Duration::from_secs(1);

/// How long one load may take.
const LOAD_MAX: Duration = Duration::from_secs(30);

/// Room for keys that are added between two loads, beside a tenth of those loaded.
const ROOM: usize = 1_000;

/// Which keys may exist.
#[derive(Debug, Default)]
pub struct KeyFilter {
    // Drawn anew by every process: who sends ids cannot aim at the filter.
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: Known,
    /// What was added since the load began that is under way.
    added: Option<Vec<u64>>,
}

#[derive(Debug, Default)]
enum Known {
    #[default]
    NotLoaded,
    Keys(BloomFilter),
    TooMany,
}

impl KeyFilter {
    /// Whether a row of this key may exist: false only where the filter is loaded and does not know it.
    #[must_use]
    pub fn may_exist(&self, key: &str) -> bool {
        match &self.lock().known {
            Known::Keys(keys) => keys.contains_hash(self.hash(key)),
            Known::NotLoaded | Known::TooMany => true,
        }
    }

    /// The row of this key exists from now on; a load that is under way does not forget it.
    pub fn add(&self, key: &str) {
        let hash = self.hash(key);
        let mut state = self.lock();
        if let Known::Keys(keys) = &mut state.known {
            keys.insert_hash(hash);
        }
        if let Some(added) = state.added.as_mut().filter(|added| added.len() <= KEYS_MAX) {
            added.push(hash);
        }
    }

    /// Begins to load all keys; what is known stays until the load [ends](Load::finish).
    #[must_use]
    pub fn load(self: &Arc<Self>) -> Load {
        self.lock().added = Some(Vec::new());
        Load { filter: self.clone(), hashes: Vec::new() }
    }

    fn hash(&self, key: &str) -> u64 {
        self.hasher.hash_one(key)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys of a load that is under way. Dropped, it changes nothing.
#[derive(Debug)]
pub struct Load {
    filter: Arc<KeyFilter>,
    hashes: Vec<u64>,
}

impl Load {
    /// Takes some of the keys; false once they are too many, and the rest is not needed.
    pub fn take(&mut self, keys: &[String]) -> bool {
        self.hashes.extend(keys.iter().map(|key| self.filter.hash(key)));
        self.hashes.len() <= KEYS_MAX
    }

    /// The filter knows these keys from now on, and those that were added meanwhile, and no other. Returns how many were
    /// loaded, or `None` if they are too many.
    pub fn finish(self) -> Option<usize> {
        let loaded = self.hashes.len();
        // Outside the lock: of millions of keys it takes a while.
        let keys = (loaded <= KEYS_MAX).then(|| {
            let mut keys =
                BloomFilter::with_false_pos(FALSE_POSITIVES).expected_items(loaded + loaded / 10 + ROOM);
            for hash in &self.hashes {
                keys.insert_hash(*hash);
            }
            keys
        });
        let mut state = self.filter.lock();
        let added = state.added.take().unwrap_or_default();
        state.known = match keys {
            Some(mut keys) if added.len() <= KEYS_MAX => {
                for hash in added {
                    keys.insert_hash(hash);
                }
                Known::Keys(keys)
            }
            _ => Known::TooMany,
        };
        matches!(state.known, Known::Keys(_)).then_some(loaded)
    }
}

/// Loads the filter from the origin, again and again ([`REFRESH`]). Runs as long as the filter is wanted. While the
/// origin does not answer, the filter goes on with what it knows: an origin in need is not to be sent the flood as well.
pub async fn keep_loaded(filter: Arc<KeyFilter>, origin: Origin, metrics: NodeMetrics) {
    let mut too_many = false;
    let mut pause = RETRY;
    loop {
        match load(&filter, &origin).await {
            Ok(Some(loaded)) => {
                metrics.filter_keys.set(i64::try_from(loaded).unwrap_or(i64::MAX));
                if pause != REFRESH || too_many {
                    info!(keys = loaded, "the filter of existing keys is loaded");
                }
                (pause, too_many) = (REFRESH, false);
            }
            Ok(None) => {
                metrics.filter_keys.set(0);
                // Once, not at every load.
                if !too_many {
                    warn!(max = KEYS_MAX, "more keys than the filter holds: it lets all through");
                }
                (pause, too_many) = (REFRESH, true);
            }
            Err(status) => {
                warn!(code = ?status.code(), why = status.message(), "the filter of existing keys was not loaded");
            }
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..=1.0))).await;
    }
}

async fn load(filter: &Arc<KeyFilter>, origin: &Origin) -> Result<Option<usize>, Status> {
    let mut load = filter.load();
    origin.keys(LOAD_MAX, |keys| load.take(&keys)).await?;
    let finish = tokio::task::spawn_blocking(|| load.finish());
    finish.await.map_err(|_| Status::internal("the filter could not be built"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(filter: &Arc<KeyFilter>, keys: impl Iterator<Item = String>) -> Option<usize> {
        let mut load = filter.load();
        load.take(&keys.collect::<Vec<_>>());
        load.finish()
    }

    /// Every key that was loaded passes, and of those that do not exist about as many as promised.
    #[test]
    fn false_positives_are_rare_and_false_negatives_are_none() {
        let filter = Arc::new(KeyFilter::default());
        let key = |number: u32| format!("item-{number}");
        assert!(filter.may_exist("anything"), "nothing is known before the first load");
        assert_eq!(loaded(&filter, (0..20_000).map(key)), Some(20_000));
        assert!((0..20_000).all(|number| filter.may_exist(&key(number))));
        let passed = (20_000..120_000).filter(|number| filter.may_exist(&key(*number))).count();
        // 1,000 expected of 100,000 at the very most; by chance never half as many again.
        assert!(passed < 1_500, "{passed} of 100,000");
        assert!(passed > 0, "a filter that never errs is no Bloom filter: is it asked at all?");
    }

    /// What was added while a load ran is not forgotten, whether or not the load saw it; an aborted load changes nothing.
    #[test]
    fn additions_survive_a_load() {
        let filter = Arc::new(KeyFilter::default());
        loaded(&filter, std::iter::once("old".to_owned()));
        filter.add("before");
        assert!(filter.may_exist("before"));
        let mut load = filter.load();
        filter.add("during");
        assert!(filter.may_exist("during"));
        load.take(&["new".to_owned()]);
        load.finish();
        assert!(filter.may_exist("during") && filter.may_exist("new"));
        let gone = ["old", "before"].iter().filter(|key| filter.may_exist(key)).count();
        assert!(gone <= 1, "a load replaces what was known (one false positive in a hundred is allowed)");
        let mut aborted = filter.load();
        aborted.take(&["never".to_owned()]);
        drop(aborted);
        assert!(filter.may_exist("new"));
    }

    /// Beyond the limit the filter lets everything through, rather than grow or lie.
    #[test]
    fn too_many_keys_open_the_filter() {
        let filter = Arc::new(KeyFilter::default());
        loaded(&filter, std::iter::once("item".to_owned()));
        assert!(!filter.may_exist("other") || !filter.may_exist("another"));
        let mut load = filter.load();
        load.hashes = vec![0; KEYS_MAX];
        assert!(!load.take(&["one more".to_owned()]));
        assert_eq!(load.finish(), None);
        assert!(filter.may_exist("other") && filter.may_exist("another"));
        assert_eq!(loaded(&filter, std::iter::once("item".to_owned())), Some(1), "and closes again");
    }
}
