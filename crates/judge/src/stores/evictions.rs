//! How far the evictions that a store counted explain that keys were filled from nothing again and again.

use std::collections::BTreeMap;

use herd_history::{RungHistory, StoreWriteKind, StoreWriteVerdict};

/// Values are kept at least this long after they were written, however short their TTL: what is gone sooner was not dropped for its age.
const KEPT_US: u64 = 60_000_000;

/// What the store took of each cache key, in order of time: when, Unix microseconds, and whether it was a value.
#[derive(Debug, Default)]
pub(super) struct Stored(BTreeMap<String, Vec<(u64, bool)>>);

impl Stored {
    pub(super) fn of(history: &RungHistory) -> Self {
        let mut keys: BTreeMap<String, Vec<(u64, bool)>> = BTreeMap::new();
        let taken = history.writes.iter().filter(|write| write.verdict == StoreWriteVerdict::Accepted);
        for write in taken {
            let of_key = keys.entry(format!("{}{}", write.prefix, write.key)).or_default();
            of_key.push((write.at_us, write.kind == StoreWriteKind::Value));
        }
        keys.values_mut().for_each(|times| times.sort_unstable());
        Self(keys)
    }

    /// Whether the last that the store took of this key before this time was a value, and not so long before that it may have dropped it.
    pub(super) fn is_fresh(&self, cache_key: &str, at_us: u64) -> bool {
        let Some(times) = self.0.get(cache_key) else { return false };
        let before = times.partition_point(|(us, _)| *us < at_us);
        let last = before.checked_sub(1).map(|last| times[last]);
        last.is_some_and(|(us, is_value)| is_value && at_us - us < KEPT_US)
    }
}

/// The smallest number for which this holds: if no life of a key has more fills from nothing than that, the evictions suffice. `evicted`:
/// for each key how many evictions it takes to explain all its fills, one fewer than there are.
pub(super) fn fills_per_life(evicted: &[u64], evictions: u64) -> u64 {
    // n fills in lives of at most `fills` are ceil(n/fills) lives, with an eviction between each two.
    let needed = |fills: u64| evicted.iter().map(|more| more / fills).sum::<u64>();
    let (mut least, mut most) = (1, evicted.iter().max().copied().unwrap_or(0) + 1);
    while least < most {
        let middle = least.midpoint(most);
        if needed(middle) <= evictions {
            most = middle;
        } else {
            least = middle + 1;
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: as few fills a life as the evictions allow for, whichever keys they are spent on.
    #[test]
    fn evictions_are_spent_where_they_help_most() {
        assert_eq!(fills_per_life(&[], 0), 1);
        assert_eq!(fills_per_life(&[3, 2], 5), 1, "each fill has its eviction");
        assert_eq!(fills_per_life(&[3, 2], 4), 2, "4 fills in 2 lives, 3 in 2: 2 evictions");
        assert_eq!(fills_per_life(&[9], 2), 4, "10 fills in 3 lives");
        assert_eq!(fills_per_life(&[9], 0), 10);
        assert_eq!(fills_per_life(&[1; 100], 99), 2, "one of a hundred has no eviction");
    }
}
