//! Property: what one of the records of a run (clients, the origin's ledger, the store's writes, the traces) has and another contradicts
//! or lacks. Each of them is kept by another process.
//!
//! | counted | records |
//! | --- | --- |
//! | a request with two answers | clients |
//! | an answer out of the cache without a generation, but for rows that were inserted | clients |
//! | an answer of a generation that no fetch made | clients, ledger |
//! | an answer that names a rebuild which the ledger lacks, or has for another key or generation | clients, ledger |
//! | an accepted value or absence whose fetch the ledger lacks, has with another outcome, key or generation, or has end later | store, ledger |
//! | a second accepted write of one generation, where the rung's writes are fenced | store |
//! | a fetched row of which the store was never asked to take the value | ledger, store |
//! | a fetch that the traces tell of and the ledger lacks, or has in another trace | traces, ledger |
//! | a rebuild that ended and of which the traces do not tell | ledger, traces |
//!
//! Traces count where none is known to be lost, and up to the last of the rung that they tell of; where they do not, the verdict says so. Fills on command are traced by ratio
//! alone, and a process that a fault ended may not have sent its last: so rungs with faults need not be told of whole.
//!
//! An answer served stale names the refresh that runs meanwhile, which need not have asked the origin yet. What is said of second and
//! missing writes needs the store's record; while that is not complete the claim is not confirmed.

use std::collections::{BTreeMap, BTreeSet};

use herd_history::{
    FetchOutcome, LedgerRow, OperationRecord, Outcome as Ended, Reason, Served, StoreWriteKind,
    StoreWriteRecord, StoreWriteVerdict, TracedRecord,
};
use herd_scenario::{Claim, WriteGuard};

use crate::Case;
use crate::accepted_writes::{by_generation, incomplete};
use crate::boundary::{own_rows, prefix_of, prefix_of_answer};
use crate::limit::Limit;
use crate::readers::CLOCK_SLACK_US;
use crate::verdict::Verdict;
use crate::witness::Witness;

/// The ledger, by what others name.
struct Ledger<'a> {
    /// A flight that asks twice does so in one trace.
    traces: BTreeMap<&'a str, Vec<&'a LedgerRow>>,
    rebuilds: usize,
    /// Prefix, key and generation of every value that a fetch made.
    made: BTreeSet<(&'a str, &'a str, u64)>,
}

pub(crate) fn check<'a>(case: &Case<'a>, claim: &Claim) -> Verdict {
    let ledger = Ledger::of(case);
    let mut seen = BTreeSet::new();
    let mut answers: Vec<(&OperationRecord, String)> = Vec::new();
    for row in &case.history.operations {
        if !seen.insert(row.seq) {
            answers.push((row, "a second record of the same request".to_owned()));
        } else if let Some(what) = ledger.contradicts_answer(case, row) {
            answers.push((row, what));
        }
    }
    let mut writes: Vec<(&StoreWriteRecord, &str)> = Vec::new();
    for write in &case.history.writes {
        writes.extend(ledger.contradicts_write(write).map(|what| (write, what)));
    }
    if case.rung.write_guard == WriteGuard::Fenced {
        let again = |taken: Vec<&'a StoreWriteRecord>| taken.into_iter().skip(1);
        let twice = by_generation(case).into_values().flat_map(again);
        writes
            .extend(twice.map(|write| (write, "a second accepted write of this generation behind a fence")));
    }
    let unwritten = if case.history.record.writes_complete { ledger.unwritten(case) } else { Vec::new() };
    let traces = Traces::of(case);
    let told_otherwise = traces.as_ref().map_or_else(Vec::new, |traces| traces.contradict(case));
    let only_traced = traces.as_ref().map_or_else(Vec::new, |traces| traces.lacking(case));
    let of_rebuilds = unwritten.len() + told_otherwise.len() + only_traced.len();
    let observed = (answers.len() + writes.len() + of_rebuilds) as u64;
    let why = format!(
        "{} of {} answers, {} of {} writes and {of_rebuilds} of {} rebuilds disagree with another record",
        answers.len(),
        case.history.operations.len(),
        writes.len(),
        case.history.writes.len(),
        ledger.rebuilds
    );
    let first = answers
        .first()
        .map(|(row, what)| format!("request {}: {what}", row.seq))
        .or_else(|| writes.first().map(|(write, what)| format!("a write of {}: {what}", write.key)))
        .or_else(|| {
            unwritten.first().map(|row| format!("rebuild {} was fetched, never written", row.rebuild))
        })
        .or_else(|| {
            let (row, what) = told_otherwise.first()?;
            Some(format!("rebuild {}: {what}", row.rebuild))
        })
        .or_else(|| {
            only_traced.first().map(|number| format!("rebuild {number} is in the traces, not in the ledger"))
        });
    let why = first.as_ref().map_or(why.clone(), |first| format!("{why}; first: {first}"));
    let why = match traces {
        Some(_) => why,
        None => format!("{why}; traces were not compared: the run kept no record of all of them"),
    };
    let witness = first.map(|first| {
        let of_writes: Vec<&StoreWriteRecord> = writes.iter().map(|(write, _)| *write).collect();
        let mut witness = Witness::of_operations(first, answers.len() as u64, &answers);
        let rows = unwritten.iter().copied().chain(told_otherwise.iter().map(|(row, _)| *row));
        let rows: Vec<&LedgerRow> = rows.collect();
        let listed = Witness::of_rebuilds(String::new(), &rows);
        (witness.rebuilds_total, witness.rebuilds) = (listed.rebuilds_total, listed.rebuilds);
        witness.rebuilds_omitted = listed.rebuilds_omitted;
        let listed = Witness::of_writes(String::new(), &of_writes);
        (witness.writes_total, witness.writes) = (listed.writes_total, listed.writes);
        let others = of_writes.first().map(|write| &write.key).or(rows.first().map(|row| &row.key));
        witness.key = witness.key.or(others.cloned());
        witness
    });
    let sent = case.history.record.load.sent;
    let lost = sent.saturating_sub(seen.len() as u64);
    let missing = (lost > 0).then(|| format!("{lost} of {sent} requests have no record"));
    let limit = Limit::of(claim, Limit::none);
    Verdict::counted(case, claim, &limit, observed, why, witness).unless(missing.or_else(|| incomplete(case)))
}

impl<'a> Ledger<'a> {
    fn of(case: &Case<'a>) -> Self {
        let history = case.history;
        let mut traces: BTreeMap<&str, Vec<&LedgerRow>> = BTreeMap::new();
        let (mut made, mut rebuilds) = (BTreeSet::new(), 0);
        for row in own_rows(history) {
            rebuilds += 1;
            if !row.trace.is_empty() {
                traces.entry(row.trace.as_str()).or_default().push(row);
            }
            if row.outcome == Some(FetchOutcome::Fetched) {
                made.insert((prefix_of(row), row.key.as_str(), row.generation.saturating_add(1)));
            }
        }
        Self { traces, rebuilds, made }
    }

    fn contradicts_answer(&self, case: &Case<'_>, row: &OperationRecord) -> Option<String> {
        if row.outcome != Ended::Answered {
            return None;
        }
        let from_cache = matches!(row.served, Served::Hit | Served::HitLocal | Served::Stale);
        // A row that was inserted meanwhile may be cached without a rebuild.
        let inserted = case.rows.acknowledged_us(&row.key).is_some() && !case.rows.is_row(&row.key);
        if row.generation == 0 && from_cache && !inserted {
            return Some(format!("an answer out of the cache without a generation of {}", row.key));
        }
        let prefix = prefix_of_answer(case.history, row);
        if row.generation > 0 && !self.made.contains(&(prefix, row.key.as_str(), row.generation)) {
            return Some(format!("no fetch made generation {} of {}", row.generation, row.key));
        }
        if row.rebuild_trace.is_empty() {
            return None;
        }
        let waited =
            matches!(row.served, Served::Led | Served::Uncoordinated | Served::Waited | Served::WaitedFleet);
        let Some(rebuilds) = self.traces.get(row.rebuild_trace.as_str()) else {
            return waited.then(|| format!("rebuild {} is not in the ledger", row.rebuild_trace));
        };
        if rebuilds.iter().all(|rebuild| rebuild.key != row.key) {
            return Some(format!("rebuild {} was of {}", rebuilds[0].rebuild, rebuilds[0].key));
        }
        let made = |rebuild: &&LedgerRow| rebuild.generation.saturating_add(1) == row.generation;
        (waited && row.generation > 0 && !rebuilds.iter().any(made)).then(|| {
            let named = rebuilds[0].generation;
            format!("generation {} from rebuild {}, which names {named}", row.generation, rebuilds[0].rebuild)
        })
    }

    fn contradicts_write(&self, write: &StoreWriteRecord) -> Option<&'static str> {
        let made_by = match write.kind {
            _ if write.verdict != StoreWriteVerdict::Accepted => return None,
            StoreWriteKind::Deletion => return None,
            StoreWriteKind::Value => FetchOutcome::Fetched,
            StoreWriteKind::Absence => FetchOutcome::NoSuchRow,
        };
        if write.trace.is_empty() {
            let known = self.made.contains(&(&*write.prefix, &*write.key, write.generation));
            return (made_by == FetchOutcome::Fetched && !known).then_some("no fetch made this generation");
        }
        let Some(rebuilds) = self.traces.get(write.trace.as_str()) else {
            return Some("its rebuild is not in the ledger");
        };
        let lacks = |holds: &dyn Fn(&LedgerRow) -> bool| !rebuilds.iter().any(|row| holds(row));
        if lacks(&|row| row.key == write.key && prefix_of(row) == write.prefix) {
            return Some("its rebuild was of another key");
        }
        if lacks(&|row| row.generation.saturating_add(1) == write.generation) {
            return Some("its rebuild names another generation");
        }
        if lacks(&|row| row.outcome == Some(made_by)) {
            return Some("its rebuild did not fetch that");
        }
        let taken_us = write.at_us.saturating_add(CLOCK_SLACK_US);
        lacks(&|row| row.end_us.is_some_and(|end_us| end_us <= taken_us))
            .then_some("it was taken before its rebuild ended")
    }

    /// Fetched rows of which the store decided nothing.
    fn unwritten(&self, case: &Case<'_>) -> Vec<&'a LedgerRow> {
        let written: BTreeSet<&str> = case.history.writes.iter().map(|write| write.trace.as_str()).collect();
        let mut rows: Vec<&LedgerRow> = self
            .traces
            .values()
            .flatten()
            .filter(|row| row.outcome == Some(FetchOutcome::Fetched) && !written.contains(row.trace.as_str()))
            .copied()
            .collect();
        rows.sort_by_key(|row| row.rebuild);
        rows
    }
}

/// What the traces tell of this rung's fetches, by number in the ledger.
struct Traces<'a> {
    told: BTreeMap<u64, &'a str>,
    /// Until when they tell of all: a process exports in the order in which its spans end, and what it lost on the way it says with
    /// the next that gets through. What it could not send at its own end it cannot say.
    until_us: u64,
    /// Whose rebuilds they tell of at all.
    nodes: BTreeSet<&'a str>,
}

impl<'a> Traces<'a> {
    fn of(case: &Case<'a>) -> Option<Self> {
        let span = &case.history.record.ledger;
        let own = |fetch: &&TracedRecord| (span.first_seq..=span.last_seq).contains(&fetch.rebuild);
        let own = case.traced?.iter().filter(own);
        let until_us = own.clone().map(|fetch| fetch.done_us).max().unwrap_or(0);
        let told: BTreeMap<u64, &str> = own.map(|fetch| (fetch.rebuild, fetch.trace.as_str())).collect();
        let of_told = case.history.ledger.iter().filter(|row| told.contains_key(&row.rebuild));
        let nodes = of_told.map(|row| row.node.as_str()).collect();
        Some(Self { told, until_us, nodes })
    }

    /// Rebuilds of which they tell otherwise, or nothing.
    fn contradict(&self, case: &Case<'a>) -> Vec<(&'a LedgerRow, &'static str)> {
        let must_be_told = |row: &LedgerRow| {
            case.turns.is_empty()
                && row.end_us.is_some_and(|us| us.saturating_add(CLOCK_SLACK_US) < self.until_us)
                && is_always_traced(row.reason)
                && !row.trace.is_empty()
                && self.nodes.contains(row.node.as_str())
        };
        let what = |row: &LedgerRow| match self.told.get(&row.rebuild) {
            Some(trace) => (*trace != row.trace).then_some("the traces have it in another trace"),
            None => must_be_told(row).then_some("the traces do not tell of it"),
        };
        case.history.ledger.iter().filter_map(|row| Some((row, what(row)?))).collect()
    }

    /// Numbers of fetches of which only they tell.
    fn lacking(&self, case: &Case<'a>) -> Vec<u64> {
        let known: BTreeSet<u64> = case.history.ledger.iter().map(|row| row.rebuild).collect();
        self.told.keys().copied().filter(|number| !known.contains(number)).collect()
    }
}

/// Fills on command are traced by ratio, and may go on for one of the other reasons.
const fn is_always_traced(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::FlightLeader | Reason::LeaseHolder | Reason::Uncoordinated | Reason::Refresh | Reason::Early
    )
}
