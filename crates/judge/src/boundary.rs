//! Boundaries, counted by the generation that each rebuild's caller saw expire.

use std::collections::BTreeMap;

use herd_history::{FetchOutcome, LedgerRow, OperationRecord, RungHistory};
use herd_scenario::Scenario;

use crate::stores::Stores;

/// One expiry of one key in one rung: every rebuild whose caller named this generation. A fetch that the origin's gate
/// refused is none: no work was done.
#[derive(Debug, Clone)]
pub struct Boundary<'a> {
    /// The row's key.
    pub key: &'a str,
    /// The full key in the cache: a deploy in the middle of a rung gives a key two lives at once.
    pub cache_key: &'a str,
    /// The life of the store in which it began: 0 until a fault emptied the store, and generations count anew.
    pub life: u64,
    /// The generation that expired, from 1; 0 for the first herd after the store lost the value.
    pub generation: u64,
    /// The herd: at least one rebuild, in order of their starts.
    pub rebuilds: Vec<&'a LedgerRow>,
    /// The herd had the time to form fully under load: it began within the rung's window, every rebuild ended, and the load went on
    /// until a later generation expired or for one rebuild time after the last end.
    pub complete: bool,
}

impl Boundary<'_> {
    /// The herd's size.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.rebuilds.len() as u64
    }

    /// First start, Unix microseconds.
    #[must_use]
    pub fn first_start_us(&self) -> u64 {
        self.rebuilds.first().map_or(0, |row| row.start_us)
    }

    /// The longest rebuild that ended, microseconds.
    #[must_use]
    pub fn longest_us(&self) -> u64 {
        let took = |row: &&LedgerRow| row.end_us.map(|end_us| end_us.saturating_sub(row.start_us));
        self.rebuilds.iter().filter_map(took).max().unwrap_or(0)
    }

    /// Rebuilds by node, in order of node names.
    #[must_use]
    pub fn by_node(&self) -> BTreeMap<&str, Vec<&LedgerRow>> {
        let mut nodes: BTreeMap<&str, Vec<&LedgerRow>> = BTreeMap::new();
        for row in &self.rebuilds {
            nodes.entry(&row.node).or_default().push(row);
        }
        nodes
    }
}

/// The rung's own key prefixes: two, if a deploy changed it in the middle.
pub(crate) fn prefixes(history: &RungHistory) -> impl Iterator<Item = &str> {
    let deployed = history.record.deploy.as_ref().map(|deploy| deploy.prefix.as_str());
    [Some(history.record.prefix.as_str()), deployed].into_iter().flatten()
}

/// The rows of a rung's ledger that belong to it: those of its own key prefixes.
pub(crate) fn own_rows(history: &RungHistory) -> impl Iterator<Item = &LedgerRow> {
    let own = |row: &LedgerRow| {
        prefixes(history).any(|prefix| row.cache_key.strip_prefix(prefix) == Some(row.key.as_str()))
    };
    history.ledger.iter().filter(move |row| own(row))
}

/// The prefix of an own row.
pub(crate) fn prefix_of(row: &LedgerRow) -> &str {
    row.cache_key.strip_suffix(row.key.as_str()).unwrap_or_default()
}

/// The prefix under which an answer was given: its configuration tells.
pub(crate) fn prefix_of_answer<'a>(history: &'a RungHistory, row: &OperationRecord) -> &'a str {
    match &history.record.deploy {
        Some(deploy) if deploy.config_version == row.config_version => &deploy.prefix,
        _ => &history.record.prefix,
    }
}

/// Whether the origin worked on it, or was asked to: whatever its gate did not refuse.
pub(crate) fn was_admitted(row: &LedgerRow) -> bool {
    row.outcome != Some(FetchOutcome::Rejected)
}

/// Every boundary of a rung whose store never lost anything, ordered by first start. Cold fills (generation 0) are none.
#[must_use]
pub fn boundaries<'a>(scenario: &Scenario, history: &'a RungHistory) -> Vec<Boundary<'a>> {
    boundaries_in(scenario, history, &Stores::default())
}

/// The admitted rebuilds of each cache key, in order of their starts, each with the life of the store in which it began.
pub(crate) fn rows_in_lives<'a>(
    history: &'a RungHistory,
    stores: &Stores,
) -> BTreeMap<&'a str, Vec<(u64, &'a LedgerRow)>> {
    let with_lives = rows_of_keys(history)
        .into_iter()
        .map(|(key, rows)| (key, stores.lives(&rows).into_iter().zip(rows).collect()));
    with_lives.collect()
}

/// The admitted rebuilds of each cache key, in order of their starts.
pub(crate) fn rows_of_keys(history: &RungHistory) -> BTreeMap<&str, Vec<&LedgerRow>> {
    let mut keys: BTreeMap<&str, Vec<&LedgerRow>> = BTreeMap::new();
    for row in own_rows(history).filter(|row| was_admitted(row)) {
        keys.entry(&row.cache_key).or_default().push(row);
    }
    keys.values_mut().for_each(|rows| rows.sort_by_key(|row| (row.start_us, row.rebuild)));
    keys
}

/// The same, each life of the store by itself. After a loss every reader of a key may miss: its next cold fill is a boundary.
pub(crate) fn boundaries_in<'a>(
    scenario: &Scenario,
    history: &'a RungHistory,
    stores: &Stores,
) -> Vec<Boundary<'a>> {
    let mut herds: BTreeMap<(&str, u64, u64), Vec<&LedgerRow>> = BTreeMap::new();
    for (key, rows) in rows_in_lives(history, stores) {
        for (life, row) in rows {
            if (life, row.generation) > (0, 0) {
                herds.entry((key, life, row.generation)).or_default().push(row);
            }
        }
    }
    let mut newest: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (key, life, generation) in herds.keys() {
        let place = (*life, *generation);
        newest.entry(key).and_modify(|known| *known = place.max(*known)).or_insert(place);
    }
    let rebuild_us = u64::from(scenario.origin.model.longest_ms()) * 1_000;
    let window_us = history.record.window_start_us..history.record.window_end_us;
    let mut all: Vec<Boundary<'a>> = herds
        .into_iter()
        .map(|((cache_key, life, generation), rebuilds)| {
            let began_inside = window_us.contains(&rebuilds[0].start_us);
            let ends: Option<Vec<u64>> = rebuilds.iter().map(|row| row.end_us).collect();
            let last_end_us = ends.and_then(|ends| ends.into_iter().max());
            let complete = began_inside
                && last_end_us.is_some_and(|end_us| {
                    (life, generation) < newest[cache_key]
                        || end_us.saturating_add(rebuild_us) <= window_us.end
                });
            Boundary { key: &rebuilds[0].key, cache_key, life, generation, rebuilds, complete }
        })
        .collect();
    all.sort_by_key(|boundary| {
        (boundary.first_start_us(), boundary.cache_key, boundary.life, boundary.generation)
    });
    all
}
