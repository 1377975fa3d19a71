//! Assumptions about the ledger: it is whole, it is this rung's, and the clients' records agree with it.

use std::collections::BTreeSet;

use herd_history::{FetchOutcome, Outcome as Ended, Served};

use crate::Case;
use crate::assumptions::{Assumption, found};
use crate::boundary::{own_rows, prefix_of, prefix_of_answer};
use crate::cluster::{Clusters, clusters_of, confirmed_by_clients, in_order};
use crate::theory::explains_loss;
use herd_scenario::Layer;

/// Name of the assumption that the store counts every expiry, where it fails.
pub(crate) const EACH_COUNTED: &str = "each expiry is counted";

/// How long after a fault a rebuild may still begin that it held up: what a silent call takes to be given up.
const LATE_US: u64 = 1_500_000;

/// All of them, in a fixed order.
pub(crate) fn all(case: &Case<'_>) -> Vec<Assumption> {
    vec![whole(case), of_rung(case), reconciles(case), counting_agrees(case)]
}

fn whole(case: &Case<'_>) -> Assumption {
    let span = &case.history.record.ledger;
    let mut numbers: Vec<u64> =
        case.history.ledger.iter().flat_map(|row| [Some(row.rebuild), row.end_seq]).flatten().collect();
    numbers.extend(&span.foreign_ends);
    numbers.sort_unstable();
    let total = numbers.len() as u64;
    numbers.dedup();
    let whole = numbers.len() as u64 == total
        && total == span.last_seq.saturating_add(1).saturating_sub(span.first_seq)
        && numbers.first().is_none_or(|first| *first == span.first_seq)
        && numbers.last().is_none_or(|last| *last == span.last_seq);
    let open = || case.history.ledger.iter().filter(|row| row.end_us.is_none());
    let explained = open().filter(|row| explains_loss(case, row)).count();
    let open = open().count() - explained;
    let mut why = format!(
        "{total} ledger events for sequence numbers {} to {}, {open} rebuilds without an end",
        span.first_seq, span.last_seq
    );
    if explained > 0 {
        why = format!("{why}, and {explained} that ended with the origin");
    }
    found("ledger whole", whole && open == 0, why)
}

/// A row under a foreign cache key is counted nowhere, and its cache key is the caller's own word: whoever asked the origin
/// during the rung for anything but the rung's own keys may hide a herd there.
fn of_rung(case: &Case<'_>) -> Assumption {
    let name = "ledger rows belong to the rung";
    let mut own = BTreeSet::new();
    own.extend(own_rows(case.history).filter(|row| case.rows.is_known(&row.key)).map(|row| row.rebuild));
    let mut strangers = case.history.ledger.iter().filter(|row| !own.contains(&row.rebuild));
    let Some(first) = strangers.next() else {
        return found(name, true, format!("all {} rebuilds are of the rung's own keys", own.len()));
    };
    let why = format!(
        "{} rebuilds of foreign cache keys; first: rebuild {} by {} of {} under the cache key {}",
        strangers.count() + 1,
        first.rebuild,
        first.node,
        first.key,
        first.cache_key
    );
    found(name, false, why)
}

/// What clients were given must have come from rebuilds that the ledger knows.
fn reconciles(case: &Case<'_>) -> Assumption {
    let name = "records reconcile";
    let mut made: BTreeSet<(&str, &str, u64)> = BTreeSet::new();
    let mut traces: BTreeSet<&str> = BTreeSet::new();
    for row in own_rows(case.history) {
        traces.insert(&row.trace);
        if row.outcome == Some(FetchOutcome::Fetched) {
            made.insert((prefix_of(row), &row.key, row.generation.saturating_add(1)));
        }
    }
    let answers = case.history.operations.iter().filter(|row| row.outcome == Ended::Answered);
    for row in answers {
        let place = (prefix_of_answer(case.history, row), row.key.as_str(), row.generation);
        if row.generation > 0 && !made.contains(&place) {
            let why = format!(
                "request {} got generation {} of {}, which no rebuild of the ledger made",
                row.seq, row.generation, row.key
            );
            return found(name, false, why);
        }
        let led = matches!(row.served, Served::Led | Served::Uncoordinated);
        if led && !row.rebuild_trace.is_empty() && !traces.contains(row.rebuild_trace.as_str()) {
            let why =
                format!("request {} led rebuild {}, which is not in the ledger", row.seq, row.rebuild_trace);
            return found(name, false, why);
        }
    }
    found(
        name,
        true,
        format!("every answer came from one of {} rebuilt generations in the ledger", made.len()),
    )
}

/// The generations that callers name are their own word. Time tells herds apart without it, where values live for a TTL; where
/// they are recomputed early, no herd can have seen a generation before it was made. That the store did not count an expiry is told under
/// a name of its own: the two herds then stand in one boundary.
fn counting_agrees(case: &Case<'_>) -> Assumption {
    let name = "counting agrees";
    let life_us =
        (f64::from(case.scenario.policy.ttl_ms) * 1e3 * (1.0 - case.rung.jitter.unwrap_or(0.0))) as u64;
    let ordered = || match in_order(case) {
        Ok(herds) => (true, format!("each of {herds} herds began after the value that it replaced was made")),
        Err(why) => (false, why),
    };
    if case.rung.has(Layer::Early) {
        let (holds, why) = ordered();
        return found(name, holds, why);
    }
    let stretched = |from_us: u64, to_us| {
        case.turns.iter().any(|turn| turn.overlaps(from_us.saturating_sub(LATE_US), to_us))
    };
    let is_row = |key: &str| case.rows.is_row(key);
    let by_time = clusters_of(case.scenario, case.history, life_us, &case.stores, is_row, stretched);
    let (holds, why) = match by_time {
        Clusters::Agree { herds } => (true, format!("time clustering finds the same {herds} herds")),
        Clusters::Differ { why, merged: true } => return found(EACH_COUNTED, false, why),
        Clusters::Differ { why, merged: false } => (false, why),
        Clusters::Indistinct => match confirmed_by_clients(case, life_us) {
            Ok(answers) => (
                true,
                format!("TTL too short to cluster by time, but {answers} answers of rebuilders confirm it"),
            ),
            Err(why) => (false, format!("TTL too short beside D for the cross-check by time, and {why}")),
        },
    };
    found(name, holds, why)
}
