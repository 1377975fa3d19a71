//! The lives of the store: what Redis held is gone after a fault that was seen to empty it, and generations of a key count anew.
//!
//! A store that is emptied at once ends the life of every key: what starts after it belongs to the next, and so does what names no
//! generation while it goes on. One that comes back with less than it had (an append-only file, a replica, an eviction) ends
//! only the lives of the keys whose generation is seen to step back.
//!
//! Evictions are counted by the store itself. A key that was stored and then filled from nothing once more was evicted meanwhile; of more
//! such fills than evictions some were not, whichever they are. How many fills at least some key then had in one life is `evictions`'s sum.

mod evictions;

use std::collections::BTreeMap;

use herd_history::{LedgerRow, RungHistory};

use crate::boundary::rows_of_keys;
use crate::readers::CLOCK_SLACK_US;
use crate::turns::Turn;
use evictions::{Stored, fills_per_life};

/// One confirmed loss. Times are Unix microseconds.
#[derive(Debug, Clone, Copy)]
struct Loss {
    from_us: u64,
    until_us: u64,
    /// Everything at once.
    whole: bool,
    /// Key by key, all the time.
    repeats: bool,
}

/// The losses of a rung's store, in order of time.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    losses: Vec<Loss>,
    /// What the store is known to have taken, where it evicted.
    stored: Stored,
    /// How many fills from nothing of a stored key one life is taken to have: more than 1 only where the evictions do not suffice for fewer;
    /// 0 as 1.
    fills_per_life: u64,
}

/// The life in which a rebuild began, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Life {
    /// How often the whole store had been emptied.
    whole: u64,
    /// How often the key's generation had stepped back by what is not counted.
    part: u64,
    /// How often since then an eviction explains that the key was filled from nothing once more.
    evicted: u64,
}

/// What is known of one key within one life of the whole store.
#[derive(Default)]
struct Part {
    number: u64,
    evicted: u64,
    generation: u64,
    cold_end_us: u64,
    /// Losses that began a new part, by their place in the list.
    spent: Vec<usize>,
}

impl Stores {
    pub(crate) fn of(turns: &[Turn<'_>], history: &RungHistory) -> Self {
        let mut losses: Vec<Loss> = Vec::new();
        for turn in turns.iter().filter(|turn| turn.loses_store()) {
            let (Some(from_us), Some(_)) = (turn.injected_us, turn.confirmed_us) else { continue };
            let whole = matches!(turn.kind, "redis-restart-empty" | "redis-flush");
            let until_us = turn.over_us().unwrap_or(u64::MAX);
            losses.push(Loss { from_us, until_us, whole, repeats: turn.kind == "redis-evict" });
        }
        losses.sort_by_key(|loss| loss.from_us);
        let mut stores = Self { losses, ..Self::default() };
        if stores.losses.iter().any(|loss| loss.repeats) {
            stores.stored = Stored::of(history);
            let evictions = turns.iter().filter(|turn| turn.kind == "redis-evict").map(|turn| turn.hit).sum();
            let keys = rows_of_keys(history).into_values();
            let evicted = keys.flat_map(|rows| Self::evicted(&stores.known_lives(&rows)).into_values());
            stores.fills_per_life = fills_per_life(&evicted.collect::<Vec<u64>>(), evictions);
        }
        stores
    }

    /// Whether the store may have lost something between these times, ends included.
    pub(crate) fn lost_between(&self, from_us: u64, to_us: u64) -> bool {
        self.losses.iter().any(|loss| loss.from_us <= to_us && loss.until_us >= from_us)
    }

    /// The life of the whole store in which something surely happened that lasted from `from_us` to `to_us`, where what the store held
    /// may still be met for `after_us` after a loss; `None` where it may have been the one before a loss or the one after.
    pub(crate) fn sure_life(&self, from_us: u64, to_us: u64, after_us: u64) -> Option<usize> {
        let over = |loss: &&Loss| loss.until_us.saturating_add(after_us) < from_us;
        let begun = |loss: &&Loss| loss.from_us <= to_us;
        let (least, most) =
            (self.losses.iter().filter(over).count(), self.losses.iter().filter(begun).count());
        (least == most).then_some(most)
    }

    /// The life in which each of these rebuilds of one key began, 0 before the first loss: equal numbers, equal lives. `rows` are in
    /// order of their starts.
    pub(crate) fn lives(&self, rows: &[&LedgerRow]) -> Vec<u64> {
        let mut lives = self.known_lives(rows);
        let fills = self.fills_per_life.max(1);
        if fills > 1 {
            let evicted = Self::evicted(&lives);
            // Fills from nothing that no eviction explains belong to one life: that of the last of them.
            for (life, _) in lives.iter_mut().zip(rows).filter(|(_, row)| row.generation == 0) {
                let last = evicted.get(&(life.whole, life.part)).copied().unwrap_or_default();
                life.evicted = (life.evicted / fills * fills + fills - 1).min(last);
            }
        }
        let first = Life { whole: 0, part: 0, evicted: 0 };
        let mut known: Vec<Life> = lives.iter().copied().chain([first]).collect();
        known.sort_unstable();
        known.dedup();
        lives.iter().map(|life| known.partition_point(|other| other < life) as u64).collect()
    }

    /// The same, as if there were evictions enough.
    fn known_lives(&self, rows: &[&LedgerRow]) -> Vec<Life> {
        let mut parts: BTreeMap<u64, Part> = BTreeMap::new();
        let life = |row: &&LedgerRow| {
            let whole = self.whole_at(row.start_us, row.generation == 0);
            let part = parts.entry(whole).or_default();
            if let Some(loss) = self.steps_back(part, row) {
                let spent = std::mem::take(&mut part.spent);
                let (number, evicted) = if self.losses[loss].repeats && self.was_stored(part, row) {
                    (part.number, part.evicted + 1)
                } else {
                    (part.number + 1, 0)
                };
                *part = Part { number, evicted, spent, ..Part::default() };
                part.spent.push(loss);
            }
            part.generation = part.generation.max(row.generation);
            if row.generation == 0 {
                part.cold_end_us = part.cold_end_us.max(row.end_us.unwrap_or(u64::MAX));
            }
            Life { whole, part: part.number, evicted: part.evicted }
        };
        rows.iter().map(life).collect()
    }

    /// How many evictions explain the fills of one key, in each part of its life.
    fn evicted(lives: &[Life]) -> BTreeMap<(u64, u64), u64> {
        let mut evicted: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        for life in lives {
            let most = evicted.entry((life.whole, life.part)).or_default();
            *most = life.evicted.max(*most);
        }
        evicted
    }

    /// Whether this fill from nothing follows one whose value the store is known to have taken, and not to have dropped for its age.
    fn was_stored(&self, part: &Part, row: &LedgerRow) -> bool {
        row.generation == 0 && part.cold_end_us > 0 && self.stored.is_fresh(&row.cache_key, row.start_us)
    }

    /// How often the whole store had been emptied.
    fn whole_at(&self, at_us: u64, is_cold: bool) -> u64 {
        let after = |loss: &&Loss| {
            let from_us = if is_cold {
                loss.from_us.saturating_sub(CLOCK_SLACK_US)
            } else {
                loss.until_us.saturating_add(CLOCK_SLACK_US)
            };
            loss.whole && at_us >= from_us
        };
        self.losses.iter().filter(after).count() as u64
    }

    /// The loss in part that explains why this rebuild names an older generation than one before it, or none once more.
    fn steps_back(&self, part: &Part, row: &LedgerRow) -> Option<usize> {
        let cold_again = row.generation == 0 && part.cold_end_us > 0 && row.start_us >= part.cold_end_us;
        if row.generation >= part.generation && !cold_again {
            return None;
        }
        let explains = |(place, loss): &(usize, &Loss)| {
            let goes_on = loss.repeats && row.start_us <= loss.until_us;
            let is_after = row.start_us.saturating_add(CLOCK_SLACK_US) >= loss.from_us;
            !loss.whole && is_after && (goes_on || !part.spent.contains(place))
        };
        self.losses.iter().enumerate().find(explains).map(|(place, _)| place)
    }
}
