//! Looks at a ledger that grows: what is under way at the origin now.

use super::{LedgerError, OriginLab};
use herd_wire::v1::{LedgerEvent, RebuildStarted, ledger_event::Kind};
use std::collections::{BTreeMap, BTreeSet};

/// The fetches that are under way at the origin, by its own ledger: those that have started and not ended.
#[derive(Debug)]
pub struct UnderWay {
    next_seq: u64,
    open: BTreeSet<u64>,
}

impl UnderWay {
    /// Follows the ledger from this sequence number on. Fetches that started before it are not seen.
    #[must_use]
    pub const fn since(seq: u64) -> Self {
        Self { next_seq: seq, open: BTreeSet::new() }
    }

    /// The sequence number that has not been seen yet.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// How many there are now.
    ///
    /// # Errors
    /// [`LedgerError::Call`].
    pub async fn look(&mut self, origin: &mut OriginLab) -> Result<usize, LedgerError> {
        let Self { next_seq, open } = self;
        let from = *next_seq;
        let each = |event: LedgerEvent| {
            *next_seq = (*next_seq).max(event.seq + 1);
            match event.kind {
                Some(Kind::Started(_)) => open.insert(event.rebuild),
                Some(Kind::Ended(_)) => open.remove(&event.rebuild),
                None => false,
            };
        };
        origin.read(from, each).await?;
        Ok(self.open.len())
    }
}

/// A rebuild that has started and not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuild {
    /// The sequence number of its start.
    pub seq: u64,
    /// The node that asked.
    pub node: String,
}

/// The rebuilds of one row that are under way, by the ledger.
#[derive(Debug)]
pub struct OpenRebuilds {
    key: String,
    next_seq: u64,
    open: BTreeMap<u64, String>,
}

impl OpenRebuilds {
    /// Follows the rebuilds of the row `key` from this sequence number on.
    #[must_use]
    pub const fn since(key: String, seq: u64) -> Self {
        Self { key, next_seq: seq, open: BTreeMap::new() }
    }

    /// Whether a node leads one of them, as far as was read.
    #[must_use]
    pub fn is_led_by(&self, node: &str) -> bool {
        self.open.values().any(|leader| leader == node)
    }

    /// Reads on, and says which of them started last.
    ///
    /// # Errors
    /// [`LedgerError::Call`].
    pub async fn newest(&mut self, origin: &mut OriginLab) -> Result<Option<Rebuild>, LedgerError> {
        let Self { key, next_seq, open } = self;
        let from = *next_seq;
        let each = |event: LedgerEvent| {
            *next_seq = (*next_seq).max(event.seq + 1);
            match event.kind {
                Some(Kind::Started(RebuildStarted { request: Some(request), .. })) if request.key == *key => {
                    open.insert(event.rebuild, request.node);
                }
                Some(Kind::Ended(_)) => {
                    open.remove(&event.rebuild);
                }
                _ => {}
            }
        };
        origin.read(from, each).await?;
        let newest = self.open.last_key_value();
        Ok(newest.map(|(seq, node)| Rebuild { seq: *seq, node: node.clone() }))
    }
}
