//! Which nodes came and went by themselves, and when.

use std::{
    collections::VecDeque,
    time::{SystemTime, UNIX_EPOCH},
};

/// Moves that are remembered; older ones are forgotten.
const MOVES_MAX: usize = 20_000;

/// A node that joined or left by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// When its session began or ended, Unix microseconds.
    pub at_us: u64,
    /// The node.
    pub node: String,
    /// Whether it left.
    pub left: bool,
}

/// The log of moves.
#[derive(Debug, Default)]
pub(super) struct Moves {
    log: VecDeque<Move>,
    forgotten: u64,
}

impl Moves {
    pub(super) fn push(&mut self, node: &str, left: bool) {
        if self.log.len() == MOVES_MAX {
            self.log.pop_front();
            self.forgotten += 1;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        self.log.push_back(Move { at_us, node: node.to_owned(), left });
    }

    /// Those after the first `count`, as far as they are remembered.
    pub(super) fn since(&self, count: u64) -> Vec<Move> {
        let skipped = usize::try_from(count.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        self.log.iter().skip(skipped).cloned().collect()
    }
}
