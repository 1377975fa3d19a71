//! Property: how many writes the store took for one generation of a key, by its own record.
//!
//! Values, absences and deletions count alike: each opens the generation that it names, and a fence lets one of them do so. The
//! bound is 1 whatever the rung's guard, since it is what a fence promises.

use std::collections::BTreeMap;

use herd_history::{StoreWriteRecord, StoreWriteVerdict};
use herd_scenario::Claim;

use crate::Case;
use crate::limit::Limit;
use crate::verdict::Verdict;
use crate::witness::Witness;
use crate::worst::counted;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let mut taken: BTreeMap<(&str, &str, u64), Vec<&StoreWriteRecord>> = BTreeMap::new();
    for write in accepted(case) {
        taken.entry((&write.prefix, &write.key, write.generation)).or_default().push(write);
    }
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
