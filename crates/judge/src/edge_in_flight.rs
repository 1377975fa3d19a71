//! Property: how many requests are inside the edge's gate at once, as far as it can be proved without the edge's own word.
//!
//! Where writes are fenced, whom a rebuild answered in the process that ran it (who led it, and who waited for it there) looked before the
//! store took its value, as they did not find it, and heard afterwards: at that moment all of them are inside. To them come those who
//! led other rebuilds that went on meanwhile. A leader is the oldest of who waits when its rebuild ends; so it counts only if it was
//! sent before its rebuild began and nobody gave up on that key since. Others may be inside as well: hits on their way, and who
//! waits for another process. So the count is never too large: it can refute a bound, and comes close to the gate's own number
//! only where readers who wait fill the gate.

use std::collections::BTreeMap;

use herd_history::{LedgerRow, OperationRecord, Outcome as Ended, Reason, Served};
use herd_scenario::{AtMost, Claim, WriteGuard};

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
    let Some(mut limit) = limit else {
        return Verdict::unknown(case.rung, claim, "the rung has no gate at the edge");
    };
    if case.rung.write_guard == WriteGuard::Unguarded {
        let why = "writes are not fenced, so that readers are answered one by one while a value is written";
        limit.broken_premise = Some(why.to_owned());
    }
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

/// A rebuild, and who was answered when its value was written.
struct Answering<'a> {
    start_us: u64,
    end_us: u64,
    /// When the first of them heard.
    heard_us: u64,
    answered: Vec<&'a OperationRecord>,
    /// The one of them that was inside all the time.
    leader: Option<&'a OperationRecord>,
}

/// In order of their ends.
fn rebuilds<'a>(case: &Case<'a>) -> Vec<Answering<'a>> {
    let mut answered: BTreeMap<&str, Vec<&OperationRecord>> = BTreeMap::new();
    for row in &case.history.operations {
        let waited = matches!(row.served, Served::Led | Served::Waited | Served::Uncoordinated);
        if row.outcome == Ended::Answered && waited && !row.rebuild_trace.is_empty() {
            answered.entry(&row.rebuild_trace).or_default().push(row);
        }
    }
    let gave_up = gave_up(case);
    let with_readers = |row: &'a LedgerRow| {
        let end_us = row.end_us.filter(|_| was_admitted(row))?;
        // Who waited in another process for this one may have come when it was over.
        let in_its_process = |reader: &&&OperationRecord| {
            reader.node == row.node && reader.done_us.saturating_add(CLOCK_SLACK_US) >= end_us
        };
        let answered: Vec<&OperationRecord> =
            answered.get(row.trace.as_str())?.iter().filter(in_its_process).copied().collect();
        let heard_us = answered.iter().map(|reader| reader.done_us).min()?.max(end_us);
        let for_a_reader =
            matches!(row.reason, Reason::FlightLeader | Reason::LeaseHolder | Reason::Uncoordinated);
        let overlaps = |(sent_us, done_us): &(u64, u64)| *sent_us <= end_us && *done_us >= row.start_us;
        let deserted = gave_up.get(row.key.as_str()).is_some_and(|all| all.iter().any(overlaps));
        let leads = |reader: &&&OperationRecord| {
            reader.served != Served::Waited && reader.sent_us.saturating_add(CLOCK_SLACK_US) <= row.start_us
        };
        let leader = answered.iter().find(leads).copied().filter(|_| for_a_reader && !deserted);
        Some(Answering { start_us: row.start_us, end_us, heard_us, answered, leader })
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

/// From when to when those were under way who may have been inside and got no answer, by key.
fn gave_up<'a>(case: &Case<'a>) -> BTreeMap<&'a str, Vec<(u64, u64)>> {
    let mut keys: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    for row in &case.history.operations {
        if !matches!(row.outcome, Ended::Answered | Ended::NotFound | Ended::ResourceExhausted) {
            let until_us = row.done_us.saturating_add(CLOCK_SLACK_US);
            keys.entry(&row.key).or_default().push((row.sent_us, until_us));
        }
    }
    keys
}

/// The requests that were inside when a rebuild's readers were answered, of the moment at which most were.
fn fullest<'a>(rebuilds: &[Answering<'a>]) -> Option<Vec<&'a OperationRecord>> {
    let longest_us = rebuilds.iter().map(|other| other.end_us.saturating_sub(other.start_us)).max()?;
    // In order of their ends: those that lasted until a rebuild's readers had heard come after it.
    let others = |index: usize| {
        let Answering { end_us, heard_us, .. } = rebuilds[index];
        let heard_us = heard_us.saturating_add(CLOCK_SLACK_US);
        let first = rebuilds.partition_point(|other| other.end_us <= heard_us);
        let until_us = end_us.saturating_add(longest_us);
        rebuilds[first..]
            .iter()
            .take_while(move |other| other.end_us <= until_us)
            .filter(move |other| other.start_us <= end_us)
            .filter_map(|other| other.leader)
    };
    let most =
        (0..rebuilds.len()).max_by_key(|index| rebuilds[*index].answered.len() + others(*index).count())?;
    Some(rebuilds[most].answered.iter().copied().chain(others(most)).collect())
}
