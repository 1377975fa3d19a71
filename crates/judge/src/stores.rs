//! The lives of the store: what Redis held is gone after a fault that was seen to empty it, and generations of a key count anew.
//!
//! A store that is emptied at once ends the life of every key: what starts after it belongs to the next, and so does what names no
//! generation while it goes on. One that comes back with less than it had (an append-only file, a replica, an eviction) ends
//! only the lives of the keys whose generation is seen to step back.

use std::collections::BTreeMap;

use herd_history::LedgerRow;

use crate::readers::CLOCK_SLACK_US;
use crate::turns::Turn;

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
}

/// What is known of one key within one life of the whole store.
#[derive(Default)]
struct Part {
    number: u64,
    generation: u64,
    cold_end_us: u64,
    /// Losses that began a new part, by their place in the list.
    spent: Vec<usize>,
}

impl Stores {
    pub(crate) fn of(turns: &[Turn<'_>]) -> Self {
        let mut losses: Vec<Loss> = Vec::new();
        for turn in turns.iter().filter(|turn| turn.loses_store()) {
            let (Some(from_us), Some(_)) = (turn.injected_us, turn.confirmed_us) else { continue };
            let whole = matches!(turn.kind, "redis-restart-empty" | "redis-flush");
            let until_us = turn.over_us().unwrap_or(u64::MAX);
            losses.push(Loss { from_us, until_us, whole, repeats: turn.kind == "redis-evict" });
        }
        losses.sort_by_key(|loss| loss.from_us);
        Self { losses }
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
        let mut parts: BTreeMap<u64, Part> = BTreeMap::new();
        let labels: Vec<(u64, u64)> = rows
            .iter()
            .map(|row| {
                let whole = self.whole_at(row.start_us, row.generation == 0);
                let part = parts.entry(whole).or_default();
                if let Some(loss) = self.steps_back(part, row) {
                    let spent = std::mem::take(&mut part.spent);
                    *part = Part { number: part.number + 1, spent, ..Part::default() };
                    part.spent.push(loss);
                }
                part.generation = part.generation.max(row.generation);
                if row.generation == 0 {
                    part.cold_end_us = part.cold_end_us.max(row.end_us.unwrap_or(u64::MAX));
                }
                (whole, part.number)
            })
            .collect();
        let mut known: Vec<(u64, u64)> = labels.iter().copied().chain([(0, 0)]).collect();
        known.sort_unstable();
        known.dedup();
        labels.iter().map(|label| known.partition_point(|other| other < label) as u64).collect()
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
