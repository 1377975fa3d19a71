//! Property: no write is taken after a newer one, by the store's own record and in its order.
//!
//! Newer is: a larger version of the row, a larger epoch and token, or, within one life of the store, a larger generation. A deletion is newer than every write that
//! did not see it: one that claims the same generation overwrote it.

use std::collections::BTreeMap;

use herd_history::{StoreWriteKind, StoreWriteRecord};
use herd_scenario::Claim;

use crate::Case;
use crate::accepted_writes::{accepted, incomplete};
use crate::limit::Limit;
use crate::verdict::Verdict;
use crate::witness::Witness;

/// The newest write of a key by each measure.
#[derive(Default)]
struct Newest<'a> {
    version: Option<&'a StoreWriteRecord>,
    lease: Option<&'a StoreWriteRecord>,
    /// The life of the store that the next two are of.
    life: Option<usize>,
    generation: Option<&'a StoreWriteRecord>,
    deletion: Option<&'a StoreWriteRecord>,
}

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let mut keys: BTreeMap<(&str, &str), Newest<'_>> = BTreeMap::new();
    let mut stale: Vec<(&StoreWriteRecord, &StoreWriteRecord, &str)> = Vec::new();
    let mut compared = 0_u64;
    for write in accepted(case) {
        compared += 1;
        let newest = keys.entry((&write.prefix, &write.key)).or_default();
        newest.live(case.stores.sure_life(write.at_us, write.at_us, 0));
        if let Some((newer, what)) = newest.newer_than(write) {
            stale.push((newer, write, what));
        }
        newest.see(write);
    }
    if compared == 0 {
        return Verdict::unknown(case.rung, claim, "the store's record holds no accepted write");
    }
    let limit = Limit::of(claim, Limit::none);
    let observed = stale.len() as u64;
    let Some((newer, write, what)) = stale.first() else {
        let why = format!("none of {compared} accepted writes came after a newer one");
        return Verdict::counted(case, claim, &limit, 0, why, None).unless(incomplete(case));
    };
    let told = format!("{} wrote {} after {} had written a newer {what}", write.node, write.key, newer.node);
    let why = format!("{observed} of {compared} accepted writes came after a newer one; first: {told}");
    let witness = Witness::of_writes(told, &[newer, write]);
    Verdict::counted(case, claim, &limit, observed, why, Some(witness)).unless(incomplete(case))
}

impl<'a> Newest<'a> {
    /// In another life of the store, or one that is not sure, generations count anew.
    fn live(&mut self, life: Option<usize>) {
        if life.is_none() || life != self.life {
            (self.generation, self.deletion) = (None, None);
        }
        self.life = life;
    }

    /// An earlier write that this one should not have come after, and by what it is newer.
    fn newer_than(&self, write: &StoreWriteRecord) -> Option<(&'a StoreWriteRecord, &'static str)> {
        let is_value = write.kind == StoreWriteKind::Value;
        let version = self.version.filter(|newer| is_value && newer.version > write.version);
        let lease = self.lease.filter(|newer| write.token > 0 && fence(newer) > fence(write));
        let generation = self.generation.filter(|newer| newer.generation > write.generation);
        let deletion = self.deletion.filter(|newer| newer.generation >= write.generation);
        version
            .map(|newer| (newer, "version"))
            .or_else(|| lease.map(|newer| (newer, "token")))
            .or_else(|| deletion.map(|newer| (newer, "deletion")))
            .or_else(|| generation.map(|newer| (newer, "generation")))
    }

    fn see(&mut self, write: &'a StoreWriteRecord) {
        if write.kind == StoreWriteKind::Value
            && self.version.is_none_or(|known| write.version > known.version)
        {
            self.version = Some(write);
        }
        if write.token > 0 && self.lease.is_none_or(|known| fence(write) > fence(known)) {
            self.lease = Some(write);
        }
        if self.generation.is_none_or(|known| write.generation > known.generation) {
            self.generation = Some(write);
        }
        let is_deletion = write.kind == StoreWriteKind::Deletion;
        if is_deletion && self.deletion.is_none_or(|known| write.generation > known.generation) {
            self.deletion = Some(write);
        }
    }
}

fn fence(write: &StoreWriteRecord) -> (u64, u64) {
    (write.epoch, write.token)
}
