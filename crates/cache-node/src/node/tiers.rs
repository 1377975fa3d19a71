//! What a configuration switches on beside the core: the tier in the process, and the filter of existing keys.

use crate::config::{LocalConfig, NodeConfig};
use crate::filter::{self, KeyFilter};
use crate::local::{Local, tracking};
use crate::metrics::NodeMetrics;
use crate::peers::Origin;
use crate::store::Store;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Both, with the tasks that keep them up to date.
#[derive(Default)]
pub(super) struct Tiers {
    local: Option<LocalTier>,
    filter: Option<Filter>,
}

struct LocalTier {
    entries: Arc<Local>,
    prefix: Arc<str>,
    config: LocalConfig,
    _listening: Option<Background>,
}

struct Filter {
    keys: Arc<KeyFilter>,
    prefix: Arc<str>,
    _refreshing: Background,
}

impl Tiers {
    /// Switches them on and off. What stays on as it was keeps what it knows.
    pub(super) fn configure(
        &mut self,
        config: &NodeConfig,
        store: &Store,
        origin: &Origin,
        metrics: &NodeMetrics,
    ) {
        let prefix = &config.policy.key_prefix;
        let wanted = config.local.map(|local| (local, prefix.clone()));
        let running = self.local.as_ref().map(|tier| (tier.config, tier.prefix.clone()));
        if wanted != running {
            self.local = wanted.map(|(config, prefix)| LocalTier::start(config, prefix, store, metrics));
        }
        // Begun anew under another prefix: what protects an inserted row from a filter that was loaded before is the
        // generation that its insertion left in the store, and that stands under the old prefix.
        let wanted = config.policy.key_filter.then(|| prefix.clone());
        let running = self.filter.as_ref().map(|filter| filter.prefix.clone());
        if wanted != running {
            self.filter = wanted.map(|prefix| Filter::start(prefix, origin, metrics));
        }
    }

    /// What a lookup that begins now may ask. Two counts go up where both are on; nothing is done where they are off.
    pub(super) fn for_lookups(&self) -> (Option<Arc<Local>>, Option<Arc<KeyFilter>>) {
        (
            self.local.as_ref().map(|tier| tier.entries.clone()),
            self.filter.as_ref().map(|filter| filter.keys.clone()),
        )
    }
}

impl LocalTier {
    fn start(config: LocalConfig, prefix: Arc<str>, store: &Store, metrics: &NodeMetrics) -> Self {
        let entries = Arc::new(Local::new(prefix.clone(), &config));
        let listening = if config.incoherent {
            entries.open();
            None
        } else {
            let listen = tracking::listen(entries.clone(), store.clone(), metrics.clone());
            Some(Background::spawn(listen))
        };
        Self { entries, prefix, config, _listening: listening }
    }
}

impl Filter {
    fn start(prefix: Arc<str>, origin: &Origin, metrics: &NodeMetrics) -> Self {
        let keys = Arc::new(KeyFilter::default());
        let refreshing =
            Background::spawn(filter::keep_loaded(keys.clone(), origin.clone(), metrics.clone()));
        Self { keys, prefix, _refreshing: refreshing }
    }
}

/// A task that ends with whoever wanted it.
struct Background(JoinHandle<()>);

impl Background {
    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}
