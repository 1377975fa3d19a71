//! Property: how many writes the store took for one generation of a key, by its own record.
//!
//! Values, absences and deletions count alike: each opens the generation that it names, and a fence lets one of them do so. The
//! bound is 1 in each life of the store, whatever the rung's guard, since it is what a fence promises.

use std::collections::BTreeMap;

use herd_history::{StoreWriteRecord, StoreWriteVerdict};
use herd_scenario::Claim;

use crate::Case;
use crate::limit::Limit;
use crate::verdict::Verdict;
use crate::witness::Witness;
use crate::worst::counted;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let taken = by_generation(case);
    // The first of equals.
    let Some(worst) = taken.values().rev().max_by_key(|writes| writes.len()) else {
        return Verdict::unknown(case.rung, claim, "the store's record holds no accepted write");
    };
    let limit = Limit::of(claim, || Limit::exactly(1, "1 (fenced)"));
    let told = format!(
        "{} for generation {} of {}",
        counted(worst.len() as u64, "accepted write", "accepted writes"),
        worst[0].generation,
        worst[0].key
    );
    let why = format!("at worst of {} generations: {told}", taken.len());
    let witness = Witness::of_writes(told, worst);
    Verdict::counted(case, claim, &limit, worst.len() as u64, why, Some(witness)).unless(incomplete(case))
}

/// A prefix, a key, a life of the store and a generation.
type Slot<'a> = (&'a str, &'a str, usize, u64);

/// What the store took, by what it opened. What it took while it was losing its data is left out: of which life that was is not known.
pub(crate) fn by_generation<'a>(case: &Case<'a>) -> BTreeMap<Slot<'a>, Vec<&'a StoreWriteRecord>> {
    let mut taken: BTreeMap<Slot<'a>, Vec<&'a StoreWriteRecord>> = BTreeMap::new();
    for write in accepted(case) {
        if let Some(life) = case.stores.sure_life(write.at_us, write.at_us, 0) {
            taken.entry((&write.prefix, &write.key, life, write.generation)).or_default().push(write);
        }
    }
    taken
}

/// What the store took, in its order.
pub(crate) fn accepted<'a>(case: &Case<'a>) -> impl Iterator<Item = &'a StoreWriteRecord> + use<'a> {
    let history = case.history;
    history.writes.iter().filter(|write| write.verdict == StoreWriteVerdict::Accepted)
}

/// What a record with gaps lacks.
pub(crate) fn incomplete(case: &Case<'_>) -> Option<String> {
    (!case.history.record.writes_complete)
        .then(|| "the store's record of its writes is not complete".to_owned())
}
