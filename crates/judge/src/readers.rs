//! The requests that may have started a rebuild, by key and time: an upper bound on herds that nothing coalesces. And all requests
//! the same way: early recomputation follows a hit.

use std::collections::BTreeMap;

use herd_history::{OperationRecord, Outcome as Ended, RungHistory, Served};

/// How far the clock of the clients' records may lie from the ledger's or the store's: one machine's clock, read by two
/// processes.
pub(crate) const CLOCK_SLACK_US: u64 = 5_000;

/// All requests of a rung, by key; and those of them that are no plain hits. An error may have started a rebuild.
pub(crate) struct Readers<'a> {
    all: BTreeMap<&'a str, OfKey<'a>>,
    keys: BTreeMap<&'a str, OfKey<'a>>,
}

#[derive(Default)]
struct OfKey<'a> {
    /// In order of sending.
    rows: Vec<&'a OperationRecord>,
    /// The longest of them, microseconds.
    longest_us: u64,
}

impl<'a> Readers<'a> {
    pub(crate) fn of(history: &'a RungHistory) -> Self {
        let rows = history.operations.iter();
        Self { all: by_key(rows.clone()), keys: by_key(rows.filter(|row| may_rebuild(row))) }
    }

    /// Those that may have started a rebuild and were under way at some time from `from_us` to `to_us`, give or take
    /// [`CLOCK_SLACK_US`], in order of sending.
    pub(crate) fn between(
        &self,
        key: &str,
        from_us: u64,
        to_us: u64,
    ) -> impl Iterator<Item = &'a OperationRecord> + '_ {
        between(self.keys.get(key), from_us, to_us)
    }

    /// The same of all requests, plain hits too.
    pub(crate) fn all_between(
        &self,
        key: &str,
        from_us: u64,
        to_us: u64,
    ) -> impl Iterator<Item = &'a OperationRecord> + '_ {
        between(self.all.get(key), from_us, to_us)
    }
}

fn by_key<'a>(rows: impl Iterator<Item = &'a OperationRecord>) -> BTreeMap<&'a str, OfKey<'a>> {
    let mut keys: BTreeMap<&str, OfKey<'_>> = BTreeMap::new();
    for row in rows {
        let of_key = keys.entry(&row.key).or_default();
        of_key.rows.push(row);
        of_key.longest_us = of_key.longest_us.max(row.done_us.saturating_sub(row.sent_us));
    }
    for of_key in keys.values_mut() {
        of_key.rows.sort_by_key(|row| (row.sent_us, row.seq));
    }
    keys
}

fn between<'a, 's>(
    of_key: Option<&'s OfKey<'a>>,
    from_us: u64,
    to_us: u64,
) -> impl Iterator<Item = &'a OperationRecord> + use<'a, 's> {
    let from_us = from_us.saturating_sub(CLOCK_SLACK_US);
    let to_us = to_us.saturating_add(CLOCK_SLACK_US);
    let rows = of_key.map_or(&[][..], |of_key| {
        let earliest_us = from_us.saturating_sub(of_key.longest_us);
        let first = of_key.rows.partition_point(|row| row.sent_us < earliest_us);
        let last = of_key.rows.partition_point(|row| row.sent_us <= to_us);
        &of_key.rows[first..last.max(first)]
    });
    rows.iter().copied().filter(move |row| row.done_us >= from_us)
}

/// Whether it may have started a rebuild: it found nothing fresh, or how it went is not known.
fn may_rebuild(row: &OperationRecord) -> bool {
    match row.outcome {
        Ended::Answered => !matches!(row.served, Served::Hit | Served::HitLocal),
        Ended::NotFound => !matches!(row.served, Served::Negative | Served::Filtered),
        _ => true,
    }
}

/// Whether a request found nothing to serve at its first look. What a client hung up tells nothing.
pub(crate) fn is_miss(row: &OperationRecord) -> bool {
    let is_told = matches!(row.outcome, Ended::Answered | Ended::NotFound);
    row.outcome != Ended::HungUp && !(is_told && row.served.is_hit())
}
