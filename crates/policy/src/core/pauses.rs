//! Keys whose background rebuild failed a moment ago.
//!
//! Nobody waits for a background rebuild, so nobody's wait slows the next one down: while the origin refuses at once, each
//! stale read would set off another, as fast as they come. A pause bounds that to one attempt a pause, key and process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::time::Time;

/// All pauses are equally long, so that they end in the order in which they began.
#[derive(Default)]
pub(super) struct Pauses {
    until: BTreeMap<Arc<str>, Time>,
    order: VecDeque<(Time, Arc<str>)>,
}

impl Pauses {
    /// Pauses `key` until then. Over `keys_max` the oldest is forgotten: it may be tried a little early.
    pub(super) fn begin(&mut self, now: Time, key: Arc<str>, until: Time, keys_max: usize) {
        self.end_due(now);
        if self.order.len() >= keys_max {
            self.end_oldest();
        }
        self.until.insert(Arc::clone(&key), until);
        self.order.push_back((until, key));
    }

    pub(super) fn holds(&mut self, now: Time, key: &str) -> bool {
        if self.order.is_empty() {
            return false;
        }
        self.end_due(now);
        self.until.contains_key(key)
    }

    fn end_due(&mut self, now: Time) {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            self.end_oldest();
        }
    }

    fn end_oldest(&mut self) {
        let Some((until, key)) = self.order.pop_front() else { return };
        // A key that was paused again since is in here a second time, with a later end.
        if self.until.get(&key) == Some(&until) {
            self.until.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    /// Goal: a pause holds its key until its end, also when it was begun anew, and leaves nothing behind.
    #[test]
    fn a_pause_ends() {
        let mut pauses = Pauses::default();
        pauses.begin(at(0), Arc::from("a"), at(10), 9);
        assert!(pauses.holds(at(9), "a") && !pauses.holds(at(9), "b"));
        pauses.begin(at(5), Arc::from("a"), at(15), 9);
        assert!(pauses.holds(at(10), "a"));
        assert!(!pauses.holds(at(15), "a"));
        assert!(pauses.until.is_empty() && pauses.order.is_empty());
    }

    /// Goal: the table is bounded, and the newest pauses are the ones that stay.
    #[test]
    fn too_many_pauses_end_the_oldest() {
        let mut pauses = Pauses::default();
        for key in ["a", "b", "c"] {
            pauses.begin(at(0), Arc::from(key), at(10), 2);
        }
        assert!(!pauses.holds(at(1), "a") && pauses.holds(at(1), "b") && pauses.holds(at(1), "c"));
    }
}
