//! What must hold of a rung before anything about it can be called valid.

use std::collections::{BTreeMap, BTreeSet};

use herd_history::{FaultPhase, FetchOutcome, History, OperationRecord, Outcome as Ended, Served};
use herd_scenario::{KeyId, Routing};
use serde::Serialize;

use crate::Case;
use crate::boundary::own_rows;
use crate::cluster::{Clusters, clusters, confirmed_by_clients};
use crate::lock_used;
use crate::theory::{ABOUT_AT_LEAST, crowd};

/// Below this many expected readers a boundary is too small for statements about a crowd.
const CROWD_MIN: f64 = 20.0;

/// One thing that was checked before the claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Assumption {
    /// A short fixed name.
    pub name: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// What was found.
    pub why: String,
}

/// Checks them all, in a fixed order.
pub(crate) fn all(case: &Case<'_>, run: &History) -> Vec<Assumption> {
    let mut all = vec![
        offered(case),
        sent(case),
        joined(case),
        stood_still(case),
        took_part(case),
        lag(case),
        answered(case),
        configuration(case),
        boundaries(case),
        crowd_came(case),
        ledger_whole(case),
        ledger_of_rung(case),
        reconciles(case),
        counting_agrees(case),
        faults_took_effect(case, run),
    ];
    all.extend(lock_used::all(case));
    all
}

pub(crate) fn found(name: &'static str, holds: bool, why: String) -> Assumption {
    Assumption { name, holds, why }
}

fn offered(case: &Case<'_>) -> Assumption {
    let record = &case.history.record;
    let seconds = record.window_end_us.saturating_sub(record.window_start_us) as f64 / 1e6;
    let expected = f64::from(case.scenario.workload.rate_per_s) * seconds;
    // Five standard deviations of a Poisson count, and rounding at the window's edges.
    let least = expected - 5.0 * expected.sqrt() - 1.0;
    let why = format!("{} reads offered in {seconds:.1} s, {expected:.0} expected", record.load.offered);
    found("load offered", record.load.offered as f64 >= least && expected >= 1.0, why)
}

fn sent(case: &Case<'_>) -> Assumption {
    let load = &case.history.record.load;
    let recorded = case.history.operations.len() as u64;
    let enough = load.sent as f64 >= 0.99 * load.offered as f64 && recorded as f64 >= 0.99 * load.sent as f64;
    let why = format!("{} of {} offered reads were sent, {recorded} recorded", load.sent, load.offered);
    found("load sent", enough, why)
}

fn joined(case: &Case<'_>) -> Assumption {
    let record = &case.history.record;
    let wanted = case.scenario.fleet.nodes;
    let all = record.nodes_joined >= wanted && record.nodes_acknowledged >= record.nodes_joined;
    let why = format!(
        "{} of {wanted} nodes joined, {} acknowledged the configuration",
        record.nodes_joined, record.nodes_acknowledged
    );
    found("nodes joined", all, why)
}

/// A node that leaves takes its flights with it, and one that comes was not counted in the bound.
fn stood_still(case: &Case<'_>) -> Assumption {
    let record = &case.history.record;
    let changed = record.has_changed_membership();
    let why = match (changed, record.nodes_joined_end) {
        (true, Some(end)) => {
            format!(
                "the membership changed during the rung: {} nodes before, {end} after",
                record.nodes_joined
            )
        }
        (true, None) => "the membership changed during the rung".to_owned(),
        (false, Some(end)) => {
            format!("{} nodes before, {end} after, nobody came or went", record.nodes_joined)
        }
        (false, None) => "an older record, which notes no change of the membership".to_owned(),
    };
    found("membership stood still during the rung", !changed, why)
}

fn took_part(case: &Case<'_>) -> Assumption {
    let wanted = case.scenario.fleet.nodes as usize;
    let nodes: BTreeSet<&str> = case.history.operations.iter().map(|row| row.node.as_str()).collect();
    let seen = nodes.iter().filter(|node| !node.is_empty()).count();
    match case.scenario.fleet.routing {
        Routing::Owner => {
            found("nodes took part", seen >= 1, format!("{seen} nodes answered under owner routing"))
        }
        Routing::Spread | Routing::Random => {
            found("nodes took part", seen == wanted, format!("{seen} of {wanted} nodes answered requests"))
        }
    }
}

fn lag(case: &Case<'_>) -> Assumption {
    let lag_us = case.history.record.load.lag_p99_us;
    let most_us = u64::from(case.scenario.origin.model.typical_ms()) * 1_000 / 4;
    let why = format!("the generator lagged {:.1} ms (p99), at most {:.1} ms", ms(lag_us), ms(most_us));
    found("generator lag", lag_us <= most_us, why)
}

fn answered(case: &Case<'_>) -> Assumption {
    let operations = &case.history.operations;
    let good = operations.iter().filter(|row| row.outcome == Ended::Answered).count();
    let enough = good as f64 >= 0.9 * operations.len() as f64;
    found("requests answered", enough, format!("{good} of {} requests were answered", operations.len()))
}

fn configuration(case: &Case<'_>) -> Assumption {
    let version = case.history.record.config_version;
    let operations = case.history.operations.iter().filter(|row| row.outcome == Ended::Answered);
    let other = operations.filter(|row| row.config_version != version).count();
    let rebuilt = own_rows(case.history).filter(|row| row.config_version != version).count();
    let why = format!("{other} answers and {rebuilt} rebuilds under another configuration than {version}");
    found("one configuration", other == 0 && rebuilt == 0, why)
}

fn boundaries(case: &Case<'_>) -> Assumption {
    let wanted = case.scenario.workload.boundaries as usize;
    // The key that is read most has the most boundaries.
    let mut complete: BTreeMap<&str, usize> = BTreeMap::new();
    for boundary in case.boundaries.iter().filter(|boundary| boundary.complete) {
        *complete.entry(boundary.key).or_default() += 1;
    }
    let most = complete.into_values().max().unwrap_or(0);
    found("boundaries", most >= wanted, format!("{most} complete boundaries, {wanted} wanted"))
}

/// Every layer leaves the readers of a boundary waiting or rebuilding: without that crowd a small count shows nothing.
fn crowd_came(case: &Case<'_>) -> Assumption {
    let name = "crowd";
    let mut least = 0.0;
    for boundary in case.boundaries.iter().filter(|boundary| boundary.complete) {
        let expected = crowd(case, boundary.key);
        if expected >= CROWD_MIN {
            least += ABOUT_AT_LEAST * expected;
        }
    }
    let missed = case.history.operations.iter().filter(|row| is_miss(row)).count();
    let why = format!("{missed} reads missed, at least {least:.0} expected from r*D at each boundary");
    found(name, missed as f64 >= least, why)
}

/// Whether a request found nothing fresh at its first look.
pub(crate) fn is_miss(row: &OperationRecord) -> bool {
    row.outcome != Ended::Answered || !row.served.is_hit()
}

fn ledger_whole(case: &Case<'_>) -> Assumption {
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
    let open = own_rows(case.history).filter(|row| row.end_us.is_none()).count();
    let why = format!(
        "{total} ledger events for sequence numbers {} to {}, {open} rebuilds without an end",
        span.first_seq, span.last_seq
    );
    found("ledger whole", whole && open == 0, why)
}

/// A row under a foreign cache key is counted nowhere, and its cache key is the caller's own word: whoever asked the origin
/// during the rung for anything but the rung's own keys may hide a herd there.
fn ledger_of_rung(case: &Case<'_>) -> Assumption {
    let name = "ledger rows belong to the rung";
    let workload = &case.scenario.workload;
    let keys: BTreeSet<String> = (0..workload.keys).map(|key| workload.key_name(KeyId::Row(key))).collect();
    let mut own = BTreeSet::new();
    own.extend(own_rows(case.history).filter(|row| keys.contains(&row.key)).map(|row| row.rebuild));
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
    let mut made: BTreeSet<(&str, u64)> = BTreeSet::new();
    let mut traces: BTreeSet<&str> = BTreeSet::new();
    for row in own_rows(case.history) {
        traces.insert(&row.trace);
        if row.outcome == Some(FetchOutcome::Fetched) {
            made.insert((&row.key, row.generation.saturating_add(1)));
        }
    }
    let answers = case.history.operations.iter().filter(|row| row.outcome == Ended::Answered);
    for row in answers {
        if row.generation > 0 && !made.contains(&(row.key.as_str(), row.generation)) {
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

fn counting_agrees(case: &Case<'_>) -> Assumption {
    let (holds, why) = match clusters(case.scenario, case.history) {
        Clusters::Agree { herds } => (true, format!("time clustering finds the same {herds} herds")),
        Clusters::Differ { why } => (false, why),
        Clusters::Indistinct => match confirmed_by_clients(case.scenario, case.history) {
            Ok(answers) => (
                true,
                format!("TTL too short to cluster by time, but {answers} answers of rebuilders confirm it"),
            ),
            Err(why) => (false, format!("TTL too short beside D for the cross-check by time, and {why}")),
        },
    };
    found("counting agrees", holds, why)
}

fn faults_took_effect(case: &Case<'_>, run: &History) -> Assumption {
    let of_rung = run.faults.iter().filter(|fault| fault.rung == case.rung.name);
    let missed: Vec<&str> = of_rung
        .filter(|fault| fault.phase == FaultPhase::Unconfirmed)
        .map(|fault| fault.fault.as_str())
        .collect();
    let why = if missed.is_empty() {
        "no fault failed to take effect".to_owned()
    } else {
        format!("faults did not take effect: {}", missed.join(", "))
    };
    found("faults took effect", missed.is_empty(), why)
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}
