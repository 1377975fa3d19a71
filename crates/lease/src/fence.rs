//! The rule that guards writes to the store of values, and a store in memory that obeys it.
//!
//! The rule is what a real store runs as one atomic script: epoch, generation and token are compared where the value
//! stands, so a writer whose lease was lost is refused by the store itself, also by one that came back empty.

use crate::id::{Epoch, Token};
use std::collections::BTreeMap;

/// What the store remembers of a key apart from its value; kept longer than any writer can be paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// rebuilds and deletions written so far
    pub generation: u64,
    /// the largest token accepted
    pub token: Token,
    /// the epoch of that token
    pub epoch: Epoch,
}

/// How a writer identifies itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Plain overwrite: never refused. A control arm.
    Unguarded,
    /// Only the generation is compared: single-flight without a lease, or fail-open.
    Generation,
    /// Epoch, generation and token are compared.
    Lease {
        /// the token of the grant
        token: Token,
        /// the epoch of the grant
        epoch: Epoch,
    },
}

/// Why a write is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// The store has no epoch, or an older one than the writer's: it lost its data.
    #[error("the store has lost the writer's epoch")]
    EpochMissing,
    /// The writer's lease is from an older epoch than the store's.
    #[error("the lease is from an older epoch")]
    EpochOld,
    /// Somebody wrote or deleted since the writer looked.
    #[error("the generation has moved")]
    GenerationMoved,
    /// A writer with a token at least as large was accepted already.
    #[error("a newer token was accepted already")]
    TokenOld,
}

impl Refusal {
    /// The name that stands in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EpochMissing => "epoch_missing",
            Self::EpochOld => "epoch_old",
            Self::GenerationMoved => "generation_moved",
            Self::TokenOld => "token_old",
        }
    }
}

/// Judges a write by someone who saw `observed` as the key's generation; a missing slot counts as generation 0.
/// Accepted, it answers the slot as it is afterwards.
///
/// # Errors
/// The first reason to refuse, in the order of [`Refusal`].
pub fn judge_write(
    store_epoch: Option<Epoch>,
    slot: Option<Slot>,
    observed: u64,
    guard: Guard,
) -> Result<Slot, Refusal> {
    let slot = slot.unwrap_or_default();
    let next = observed.saturating_add(1);
    if let Guard::Lease { epoch, .. } = guard {
        match store_epoch {
            Some(current) if current == epoch => {}
            Some(current) if current > epoch => return Err(Refusal::EpochOld),
            _ => return Err(Refusal::EpochMissing),
        }
    }
    if guard != Guard::Unguarded && slot.generation != observed {
        return Err(Refusal::GenerationMoved);
    }
    match guard {
        Guard::Unguarded => Ok(Slot { generation: slot.generation.max(next), ..slot }),
        Guard::Generation => Ok(Slot { generation: next, ..slot }),
        Guard::Lease { token, .. } if token <= slot.token => Err(Refusal::TokenOld),
        Guard::Lease { token, epoch } => Ok(Slot { generation: next, token, epoch }),
    }
}

/// What a reader finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<V> {
    /// A value and its generation.
    Value {
        /// the value
        value: V,
        /// its generation
        generation: u64,
    },
    /// Nothing, and the generation that a rebuild must name.
    Absent {
        /// rebuilds and deletions written so far
        generation: u64,
    },
}

/// A store of values in memory that guards its writes.
#[derive(Clone, Debug)]
pub struct FenceStore<V> {
    epoch: Option<Epoch>,
    keys: BTreeMap<String, (Slot, Stored<V>)>,
    keys_max: usize,
}

/// A value and its generation, unless it expired or was deleted.
type Stored<V> = Option<(u64, V)>;

/// The store holds as many keys as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} keys are stored, and no more are allowed")]
pub struct StoreFull(pub usize);

impl<V: Clone> FenceStore<V> {
    /// An empty store without an epoch.
    #[must_use]
    pub const fn new(keys_max: usize) -> Self {
        Self { epoch: None, keys: BTreeMap::new(), keys_max }
    }

    /// Sets the epoch if it is greater than the store's.
    pub fn set_epoch(&mut self, epoch: Epoch) {
        self.epoch = self.epoch.max(Some(epoch));
    }

    /// Writes the value of generation `observed + 1`.
    ///
    /// # Errors
    /// [`StoreFull`] for a new key over the limit; otherwise the inner result says whether the guard accepted.
    pub fn write(
        &mut self,
        key: &str,
        value: V,
        observed: u64,
        guard: Guard,
    ) -> Result<Result<Slot, Refusal>, StoreFull> {
        let slot = self.keys.get(key).map(|(slot, _)| *slot);
        let judged = judge_write(self.epoch, slot, observed, guard);
        if let Ok(slot) = judged {
            self.check_room(key)?;
            self.keys.insert(key.to_owned(), (slot, Some((observed.saturating_add(1), value))));
        }
        Ok(judged)
    }

    /// Deletes the value and moves the generation, so that a rebuild under way is refused, the first one of a key
    /// too. Answers the new generation.
    ///
    /// # Errors
    /// [`StoreFull`] for a new key over the limit.
    pub fn invalidate(&mut self, key: &str) -> Result<u64, StoreFull> {
        self.check_room(key)?;
        let (slot, value) = self.keys.entry(key.to_owned()).or_default();
        slot.generation += 1;
        *value = None;
        Ok(slot.generation)
    }

    /// Drops the value, as physical expiry does; the slot stays.
    pub fn expire(&mut self, key: &str) {
        if let Some((_, value)) = self.keys.get_mut(key) {
            *value = None;
        }
    }

    /// Looks a key up.
    #[must_use]
    pub fn read(&self, key: &str) -> Found<V> {
        match self.keys.get(key) {
            Some((_, Some((generation, value)))) => {
                Found::Value { value: value.clone(), generation: *generation }
            }
            Some((slot, None)) => Found::Absent { generation: slot.generation },
            None => Found::Absent { generation: 0 },
        }
    }

    /// Forgets everything.
    pub fn lose_data(&mut self) {
        self.keys.clear();
        self.epoch = None;
    }

    fn check_room(&self, key: &str) -> Result<(), StoreFull> {
        let room = self.keys.len() < self.keys_max || self.keys.contains_key(key);
        if room { Ok(()) } else { Err(StoreFull(self.keys_max)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const E1: Epoch = Epoch(1);
    const E2: Epoch = Epoch(2);

    fn lease(token: u64, epoch: Epoch) -> Guard {
        Guard::Lease { token: Token(token), epoch }
    }

    /// Each reason to refuse is named, and the first in order wins.
    #[test]
    fn refusals_are_named_in_order() {
        let slot = Some(Slot { generation: 3, token: Token(7), epoch: E1 });
        let judge = |epoch, observed, guard| judge_write(epoch, slot, observed, guard);
        assert_eq!(judge(None, 9, lease(1, E1)), Err(Refusal::EpochMissing));
        assert_eq!(judge(Some(E1), 3, lease(8, E2)), Err(Refusal::EpochMissing));
        assert_eq!(judge(Some(E2), 9, lease(1, E1)), Err(Refusal::EpochOld));
        assert_eq!(judge(Some(E1), 2, lease(1, E1)), Err(Refusal::GenerationMoved));
        assert_eq!(judge(Some(E1), 3, lease(7, E1)), Err(Refusal::TokenOld));
        assert_eq!(judge(Some(E1), 3, lease(8, E1)), Ok(Slot { generation: 4, token: Token(8), epoch: E1 }));
        assert_eq!(judge(None, 2, Guard::Generation), Err(Refusal::GenerationMoved));
        assert_eq!(judge(None, 3, Guard::Generation), Ok(Slot { generation: 4, token: Token(7), epoch: E1 }));
        assert_eq!(judge(None, 1, Guard::Unguarded).map(|slot| slot.generation), Ok(3));
    }

    /// Failure mode 10, as a rule: an empty slot does not let a writer in whose lease is from before the loss. The
    /// generation alone would: both are 0.
    #[test]
    fn an_empty_slot_does_not_let_an_old_writer_in() {
        let mut store = FenceStore::new(10);
        store.set_epoch(E1);
        store.lose_data();
        assert_eq!(store.write("k", "old", 0, lease(5, E1)), Ok(Err(Refusal::EpochMissing)));
        store.set_epoch(E2);
        assert_eq!(store.write("k", "old", 0, lease(5, E1)), Ok(Err(Refusal::EpochOld)));
        assert!(store.write("k", "old", 0, Guard::Generation).unwrap().is_ok(), "the cure is the epoch");
    }

    /// A deletion during a rebuild is not overwritten by the old value.
    #[test]
    fn an_invalidation_refuses_the_rebuild_under_way() {
        let mut store = FenceStore::new(10);
        store.set_epoch(E1);
        store.write("k", "v1", 0, lease(1, E1)).unwrap().unwrap();
        assert_eq!(store.invalidate("k"), Ok(2));
        assert_eq!(store.write("k", "v2 from before", 1, lease(2, E1)), Ok(Err(Refusal::GenerationMoved)));
        assert_eq!(store.read("k"), Found::Absent { generation: 2 });
        assert_eq!(store.invalidate("never written"), Ok(1));
        assert_eq!(store.write("never written", "first", 0, lease(3, E1)), Ok(Err(Refusal::GenerationMoved)));
        assert!(
            store.write("k", "overwritten", 1, Guard::Unguarded).unwrap().is_ok(),
            "the control arm is not cured"
        );
    }

    proptest! {
        /// Of any writers with leases who saw the same generation, exactly the first to arrive is accepted, in
        /// whatever order they arrive.
        #[test]
        fn one_write_is_accepted_per_generation(tokens in prop::collection::vec(1_u64..100, 1..20)) {
            let mut store = FenceStore::new(10);
            store.set_epoch(E1);
            let accepted = tokens
                .iter()
                .filter(|token| store.write("k", **token, 0, lease(**token, E1)).unwrap().is_ok())
                .count();
            prop_assert_eq!(accepted, 1);
            prop_assert_eq!(store.read("k"), Found::Value { value: tokens[0], generation: 1 });
        }
    }
}
