//! Believing a filter of existing keys: what bounds a flood of distinct keys that do not exist, each of which a sentinel
//! would meet for the first time.
//!
//! A filter never denies a key that it was told of, but it is told late of keys that other processes insert. An insert
//! leaves a generation in the store, and the store's word counts more than the filter's.

use crate::config::Config;

/// Whether a key that is not there is known not to exist anywhere.
pub(crate) fn rules_out(config: &Config, generation: u64, may_exist: bool) -> bool {
    config.key_filter && !may_exist && generation == 0
}
