//! Property: how many requests are inside the edge's gate at once, as far as it can be proved without the edge's own word.
//!
//! All that one rebuild answered in the process that ran it, who led it and who waited for it there, are answered together, when its
//! value is written: just before that all of them are inside, between the gate and their answers. To them come those who led other
//! rebuilds that were under way all that time, for a leader is inside from before its rebuild's start until after its end. Others may be inside
//! as well: hits on their way, and who waits for another process. So the count is never too large: it can refute
//! a bound, and reaches the gate's own number only where a herd fills the gate.

use std::collections::BTreeMap;

use herd_history::{LedgerRow, OperationRecord, Outcome as Ended, Served};
use herd_scenario::{AtMost, Claim};

use crate::Case;
use crate::boundary::was_admitted;
use crate::limit::Limit;
use crate::readers::CLOCK_SLACK_US;
use crate::verdict::Verdict;
use crate::witness::Witness;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let shed = case.rung.shed;
    let limit = Limit::of_some(claim, || {
        let gate = shed?.edge?;
        Some(Limit::exactly(u64::from(gate.in_flight_max), format!("the gate's {}", gate.in_flight_max)))
    });
    let Some(limit) = limit else {
        return Verdict::unknown(case.rung, claim, "the rung has no gate at the edge");
    };
    let rebuilds = rebuilds(case);
    let Some(fullest) = fullest(&rebuilds) else {
        return Verdict::unknown(case.rung, claim, "nobody led a rebuild or waited for one in its process");
    };
    let inside: Vec<(&OperationRecord, String)> =
        fullest.iter().map(|row| (*row, format!("{:?}", row.served))).collect();
    let observed = inside.len() as u64;
    let refused =
        case.history.operations.iter().filter(|row| row.outcome == Ended::ResourceExhausted).count();
    let why = format!("at least {observed} requests inside at once, {refused} refused for load");
    // Where the origin has a gate, too, its refusals are told to readers alike.
    let of_edge = if shed.is_some_and(|shed| shed.origin.is_some()) { 0 } else { refused };
    let untried = claim.at_most == AtMost::Theory && of_edge == 0 && observed < limit.at_most;
    let missing = untried.then(|| "the gate was never full".to_owned());
    let what = "requests inside the edge's gate at one moment".to_owned();
    let witness = Witness::of_operations(what, observed, &inside);
    Verdict::counted(case, claim, &limit, observed, why, Some(witness)).unless(missing)
}

/// A rebuild, and who was answered when its value was written, its leader first.
struct Answering<'a> {
    start_us: u64,
    end_us: u64,
    /// When the first of them heard.
    heard_us: u64,
    answered: Vec<&'a OperationRecord>,
}

/// In order of their ends. A leader who was not answered with it, as it lost patience, may not have been inside any more.
fn rebuilds<'a>(case: &Case<'a>) -> Vec<Answering<'a>> {
    let mut answered: BTreeMap<&str, Vec<&OperationRecord>> = BTreeMap::new();
    for row in &case.history.operations {
        let of_its_process = matches!(row.served, Served::Led | Served::Waited | Served::Uncoordinated);
        if row.outcome == Ended::Answered && of_its_process && !row.rebuild_trace.is_empty() {
            answered.entry(&row.rebuild_trace).or_default().push(row);
        }
    }
    let with_readers = |row: &'a LedgerRow| {
        let end_us = row.end_us.filter(|_| was_admitted(row))?;
        let mut answered = answered.get(row.trace.as_str())?.clone();
        let was_inside = |reader: &&OperationRecord| {
            reader.sent_us <= end_us.saturating_add(CLOCK_SLACK_US)
                && reader.done_us.saturating_add(CLOCK_SLACK_US) >= end_us
        };
        answered.retain(was_inside);
        answered.sort_by_key(|reader| (reader.served == Served::Waited, reader.seq));
        let heard_us = answered.iter().map(|reader| reader.done_us).min()?.max(end_us);
        Some(Answering { start_us: row.start_us, end_us, heard_us, answered })
    };
    // A flight that asked the origin twice answered its readers when the second call ended.
    let mut last: BTreeMap<&str, Answering<'_>> = BTreeMap::new();
    for row in &case.history.ledger {
        if let Some(rebuild) = with_readers(row) {
            last.insert(&row.trace, rebuild);
        }
    }
    let mut all: Vec<Answering<'_>> = last.into_values().collect();
    all.sort_by_key(|rebuild| rebuild.end_us);
    all
}

/// The requests that were inside when a rebuild's readers were answered, of the moment at which most were.
fn fullest<'a>(rebuilds: &[Answering<'a>]) -> Option<Vec<&'a OperationRecord>> {
    let longest_us = rebuilds.iter().map(|other| other.end_us.saturating_sub(other.start_us)).max()?;
    // In order of their ends: those that lasted until a rebuild's readers had heard come after it.
    let others = |index: usize| {
        let Answering { end_us, heard_us, .. } = rebuilds[index];
        let first = rebuilds.partition_point(|other| other.end_us <= heard_us);
        let until_us = end_us.saturating_add(longest_us);
        rebuilds[first..]
            .iter()
            .take_while(move |other| other.end_us <= until_us)
            .filter(move |other| other.start_us <= end_us)
            .map(|other| other.answered[0])
            .filter(|reader| reader.served != Served::Waited)
    };
    let most =
        (0..rebuilds.len()).max_by_key(|index| rebuilds[*index].answered.len() + others(*index).count())?;
    Some(rebuilds[most].answered.iter().copied().chain(others(most)).collect())
}
