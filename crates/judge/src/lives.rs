//! When each value began to live, from the origin's ledger and, where there is one, the store's own record.
//!
//! The rebuilds that named generation g made generation g + 1. The store's record says when it took which of them, by the clock
//! that counts the TTL; without it a value was written at some time after its rebuild's end.

use std::collections::BTreeMap;

use herd_history::{FetchOutcome, RungHistory, StoreWriteKind, StoreWriteVerdict};

use crate::boundary::{own_rows, prefix_of};
use crate::readers::CLOCK_SLACK_US;

/// How long after a rebuild's end its write may have been taken, where the store's record does not say.
pub(crate) const WRITE_SLACK_US: u64 = 250_000;

/// A prefix and a row's key.
pub(crate) type Place<'a> = (&'a str, &'a str);

/// The lives of one key's values, by generation, and when it was deleted.
#[derive(Debug, Default)]
pub(crate) struct OfKey {
    pub(crate) values: BTreeMap<u64, Life>,
    /// The same, in the order in which they had begun for sure.
    by_time: Vec<Life>,
    /// Deletions that the store took, Unix microseconds, in order of time.
    deleted_us: Vec<u64>,
}

impl OfKey {
    /// The newest value that had begun to live for sure.
    pub(crate) fn newest_at(&self, at_us: u64) -> Option<Life> {
        let begun = self.by_time.partition_point(|life| life.last_us <= at_us);
        begun.checked_sub(1).map(|newest| self.by_time[newest])
    }

    /// Whether the store took a deletion in this time, ends included.
    pub(crate) fn is_deleted_between(&self, from_us: u64, to_us: u64) -> bool {
        let next = self.deleted_us.partition_point(|us| *us < from_us);
        self.deleted_us.get(next).is_some_and(|us| *us <= to_us)
    }
}

/// When a value began to live. Several rebuilds may have written it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    /// Not before, Unix microseconds.
    pub(crate) first_us: u64,
    /// Not after, Unix microseconds: slack included.
    pub(crate) last_us: u64,
}

/// All lives of a rung.
#[derive(Debug, Default)]
pub(crate) struct Lives<'a> {
    keys: BTreeMap<Place<'a>, OfKey>,
}

impl<'a> Lives<'a> {
    pub(crate) fn of(history: &'a RungHistory) -> Self {
        let mut written: BTreeMap<(Place<'a>, u64), Life> = BTreeMap::new();
        let mut keys: BTreeMap<Place<'a>, OfKey> = BTreeMap::new();
        for write in history.writes.iter().filter(|write| write.verdict == StoreWriteVerdict::Accepted) {
            let place = (write.prefix.as_str(), write.key.as_str());
            match write.kind {
                StoreWriteKind::Value => {
                    let life = Life { first_us: write.at_us, last_us: write.at_us + CLOCK_SLACK_US };
                    written.entry((place, write.generation)).and_modify(|w| w.widen(life)).or_insert(life);
                }
                StoreWriteKind::Deletion => keys.entry(place).or_default().deleted_us.push(write.at_us),
                StoreWriteKind::Absence => {}
            }
        }
        for row in own_rows(history).filter(|row| row.outcome == Some(FetchOutcome::Fetched)) {
            let Some(end_us) = row.end_us else { continue };
            let place = (prefix_of(row), row.key.as_str());
            let generation = row.generation.saturating_add(1);
            // What the store says is nearer to the truth than what follows from the rebuild's end.
            let life = written
                .get(&(place, generation))
                .copied()
                .unwrap_or(Life { first_us: end_us, last_us: end_us + WRITE_SLACK_US });
            let values = &mut keys.entry(place).or_default().values;
            values.entry(generation).and_modify(|known| known.widen(life)).or_insert(life);
        }
        for of_key in keys.values_mut() {
            of_key.by_time = of_key.values.values().copied().collect();
            of_key.by_time.sort_unstable_by_key(|life| life.last_us);
            of_key.deleted_us.sort_unstable();
        }
        Self { keys }
    }

    /// The lives of one key.
    pub(crate) fn of_key<'s>(&'s self, place: Place<'s>) -> Option<&'s OfKey> {
        self.keys.get(&place)
    }

    /// One life.
    pub(crate) fn of_value(&self, place: Place<'_>, generation: u64) -> Option<Life> {
        self.of_key(place)?.values.get(&generation).copied()
    }

    /// Every life of every key.
    pub(crate) fn all(&self) -> impl Iterator<Item = Life> + '_ {
        self.keys.values().flat_map(|of_key| of_key.values.values().copied())
    }
}

impl Life {
    fn widen(&mut self, other: Self) {
        self.first_us = self.first_us.min(other.first_us);
        self.last_us = self.last_us.max(other.last_us);
    }
}
