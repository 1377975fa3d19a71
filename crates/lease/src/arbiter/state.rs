//! What the arbiter remembers of a name and of an attempt.

use super::{CallId, OpId};
use crate::id::{Epoch, Time, Token};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A name that calls wait for.
#[derive(Debug, Default)]
pub(super) struct Name {
    /// every attempt, by owner: waiting, being confirmed, or being undone
    pub(super) attempts: BTreeMap<Arc<str>, Attempt>,
    /// owners in order of arrival; a queued owner has an attempt
    pub(super) queue: VecDeque<Arc<str>>,
    /// whose try is under way; at most one a name
    pub(super) trying: Option<Arc<str>>,
    /// a release came while the try was under way: its answer may be from before
    pub(super) moved: bool,
    /// who was seen holding it, and when that lease ends
    pub(super) holder: Option<(String, Time)>,
    /// who was seen holding it while calls waited, and in which epoch: the last of them
    pub(super) holders: VecDeque<(String, Epoch)>,
    /// not before this time does the head try
    pub(super) next_try: Time,
    /// since when the store gives no answer
    pub(super) away_since: Option<Time>,
    /// the alarm that is set for the head
    pub(super) alarm: Option<(Time, u64)>,
}

/// How many holders a name remembers: more than outlive their leases at a time, unless the rebuild takes longer than that
/// many leases. A failure of one that is forgotten is shared with nobody.
const HOLDERS_MAX: usize = 16;

impl Name {
    /// Notes who was seen holding the lease.
    pub(super) fn remember_holder(&mut self, owner: &str, epoch: Epoch) {
        if self.holders.iter().any(|(known, of)| known == owner && *of == epoch) {
            return;
        }
        if self.holders.len() == HOLDERS_MAX {
            self.holders.pop_front();
        }
        self.holders.push_back((owner.to_owned(), epoch));
    }

    /// Forgets a holder that told how it ended; says whether it held the lease in this epoch.
    pub(super) fn forget_holder(&mut self, owner: &str, epoch: Epoch) -> bool {
        let held = self.holders.iter().any(|(known, of)| known == owner && *of == epoch);
        self.holders.retain(|(known, _)| known != owner);
        held
    }
}

/// The calls of one owner for one name, and what became of them.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) calls: Vec<Call>,
    /// what the newest call asked for, milliseconds
    pub(super) expiry_ms: u32,
    /// an operation on the store that only this attempt waits for: a look or an undo
    pub(super) busy: Option<OpId>,
    /// somebody else was seen holding the lease
    pub(super) refused: bool,
    /// a value was written while its try was under way
    pub(super) done: bool,
    /// a token granted to this attempt; if nobody took it, it is revoked
    pub(super) fresh: Option<Token>,
    /// a caller has got the grant of `fresh`
    pub(super) confirmed: bool,
    /// calls that were answered with a grant of this token, and have not confirmed it
    pub(super) unconfirmed: BTreeMap<CallId, Token>,
    /// a token whose acquire may have been applied, or may yet be
    pub(super) doubt: Option<Token>,
    /// when to try the undo again, and when to give it up
    pub(super) undo: Option<Undo>,
}

/// An undo that found no answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Undo {
    pub(super) next: Time,
    /// by now the lease has ended by itself
    pub(super) give_up: Time,
}

/// A call that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) id: CallId,
    pub(super) began: Time,
    pub(super) deadline: Time,
}

impl Attempt {
    pub(super) const fn new(expiry_ms: u32) -> Self {
        Self {
            calls: Vec::new(),
            expiry_ms,
            busy: None,
            refused: false,
            done: false,
            fresh: None,
            confirmed: false,
            unconfirmed: BTreeMap::new(),
            doubt: None,
            undo: None,
        }
    }

    /// The token to revoke when nobody is left who could use it.
    pub(super) fn unwanted(&self) -> Option<Token> {
        self.doubt.or(if self.confirmed { None } else { self.fresh })
    }

    /// The unwanted token was revoked, or it is not worth trying any longer.
    pub(super) fn undo_is_over(&mut self) {
        let undone = self.unwanted();
        self.undo = None;
        self.doubt = self.doubt.filter(|token| Some(*token) != undone);
        self.fresh = self.fresh.filter(|token| Some(*token) != undone);
    }
}
