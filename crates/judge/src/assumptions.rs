//! What must hold of a rung before anything about it can be called valid: the load came, the fleet was whole, what was planned
//! took place. That the ledger can be believed stands in `ledger_sound`, that a layer worked in `lock_used` and `layer_used`.

use std::collections::{BTreeMap, BTreeSet};

use herd_history::{
    FaultPhase, FaultRecord, FetchOutcome, OperationRecord, Outcome as Ended, RungRecord, Served, StartRecord,
};
use herd_scenario::{Layer, OnUnavailable, OnWaitTimeout, Start};
use serde::Serialize;

use crate::Case;
use crate::boundary::own_rows;
use crate::readers::is_miss;
use crate::theory::{ABOUT_AT_LEAST, by_owner, crowd};
use crate::{layer_used, ledger_sound, lock_used};

/// Below this many expected readers a boundary is too small for statements about a crowd.
pub(crate) const CROWD_MIN: f64 = 20.0;

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
pub(crate) fn all(case: &Case<'_>) -> Vec<Assumption> {
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
    ];
    all.extend(ledger_sound::all(case));
    all.push(faults_took_effect(case));
    all.extend(as_planned(case));
    all.extend(lock_used::all(case));
    all.extend(layer_used::all(case));
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

/// A node that leaves takes its flights with it, and one that comes was not counted in the bound. What the scenario planned
/// is counted: it is no change in this sense.
fn stood_still(case: &Case<'_>) -> Assumption {
    let name = "membership stood still during the rung";
    let record = &case.history.record;
    let planned = record.membership.len();
    let gone = record.membership.iter().fold(0_i64, |gone, change| gone + if change.left { 1 } else { -1 });
    let before = i64::from(record.nodes_joined);
    let least = before - gone.max(0);
    let counted = record.nodes_joined_end.is_none_or(|end| (least..=before).contains(&i64::from(end)));
    let noted = planned == 0 && record.notes.iter().any(|note| note.starts_with(RungRecord::MEMBERSHIP_NOTE));
    let changed = record.membership_changed == Some(true) || !counted || noted;
    let beside = match planned {
        0 => String::new(),
        planned => format!(" beside {planned} planned changes"),
    };
    let why = match (changed, record.nodes_joined_end) {
        (true, Some(end)) => {
            format!("the membership changed during the rung{beside}: {before} nodes before, {end} after")
        }
        (true, None) => format!("the membership changed during the rung{beside}"),
        (false, Some(end)) => format!("{before} nodes before, {end} after, nobody came or went{beside}"),
        (false, None) => "an older record, which notes no change of the membership".to_owned(),
    };
    found(name, !changed, why)
}

fn took_part(case: &Case<'_>) -> Assumption {
    let wanted = case.scenario.fleet.nodes as usize;
    let nodes: BTreeSet<&str> = case.history.operations.iter().map(|row| row.node.as_str()).collect();
    let seen = nodes.iter().filter(|node| !node.is_empty()).count();
    if by_owner(case) {
        return found("nodes took part", seen >= 1, format!("{seen} nodes answered under owner routing"));
    }
    found("nodes took part", seen == wanted, format!("{seen} of {wanted} nodes answered requests"))
}

fn lag(case: &Case<'_>) -> Assumption {
    let lag_us = case.history.record.load.lag_p99_us;
    let most_us = u64::from(case.scenario.origin.model.typical_ms()) * 1_000 / 4;
    let why = format!("the generator lagged {:.1} ms (p99), at most {:.1} ms", ms(lag_us), ms(most_us));
    found("generator lag", lag_us <= most_us, why)
}

/// A rung in which most requests fail did not put its load on anything. What a layer refuses, or a reader gives up, as the rung
/// has it, is the layer's work and no failure of the run.
fn answered(case: &Case<'_>) -> Assumption {
    let operations = &case.history.operations;
    let (mut good, mut refused, mut gave_up) = (0_usize, 0_usize, 0_usize);
    for row in operations {
        if case.rows.is_good(row) {
            good += 1;
        } else if row.outcome == Ended::ResourceExhausted && case.rung.has(Layer::Shed) {
            refused += 1;
        } else if may_give_up(case) && is_error_of_a_part(row) {
            gave_up += 1;
        }
    }
    let enough = (good + refused + gave_up) as f64 >= 0.9 * operations.len() as f64 && good > 0;
    let mut why = format!("{good} of {} requests were answered", operations.len());
    for (count, what) in
        [(refused, "were refused for load"), (gave_up, "ended in an error of the rung's own")]
    {
        if count > 0 {
            why = format!("{why}, {count} {what}");
        }
    }
    found("requests answered", enough, why)
}

/// Whether the rung means some of its readers to get an error.
fn may_give_up(case: &Case<'_>) -> bool {
    let ends_in_error = |then: OnWaitTimeout| then != OnWaitTimeout::Origin;
    let rebuild_ms = case.scenario.origin.model.longest_ms();
    let of_lock = case.rung.lock.as_ref().is_some_and(|lock| {
        (ends_in_error(lock.on_wait_timeout) && lock.wait_ms < rebuild_ms)
            || lock.on_unavailable == OnUnavailable::FailClosed
    });
    let of_waiter =
        case.rung.waiter.is_some_and(|waiter| ends_in_error(waiter.then) && waiter.wait_ms < rebuild_ms);
    of_lock || of_waiter || case.scenario.origin.failing.is_some()
}

fn is_error_of_a_part(row: &OperationRecord) -> bool {
    matches!(row.outcome, Ended::Unavailable | Ended::DeadlineExceeded | Ended::Failed)
}

/// One configuration, or the two of a deploy.
fn configuration(case: &Case<'_>) -> Assumption {
    let record = &case.history.record;
    let deployed = record.deploy.as_ref().map(|deploy| deploy.config_version);
    let is_other = |version: u64| version != record.config_version && Some(version) != deployed;
    let operations = case.history.operations.iter().filter(|row| row.outcome == Ended::Answered);
    let other = operations.filter(|row| is_other(row.config_version)).count();
    let rebuilt = own_rows(case.history).filter(|row| is_other(row.config_version)).count();
    let versions = deployed.map_or_else(
        || record.config_version.to_string(),
        |next| format!("{} and {next}", record.config_version),
    );
    let why = format!("{other} answers and {rebuilt} rebuilds under another configuration than {versions}");
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

/// Every layer leaves the readers of a boundary waiting, rebuilding or with a stale value: without that crowd a small count shows
/// nothing. Only early recomputation leaves none; there the load that came is the crowd.
fn crowd_came(case: &Case<'_>) -> Assumption {
    let name = "crowd";
    if case.rung.has(Layer::Early) {
        return found(name, true, "values are recomputed before a crowd comes".to_owned());
    }
    let mut least = 0.0;
    for boundary in case.boundaries.iter().filter(|boundary| boundary.complete) {
        let expected = crowd(case, boundary.key);
        if expected >= CROWD_MIN {
            least += ABOUT_AT_LEAST * expected;
        }
    }
    let came = |row: &&OperationRecord| is_miss(row) || row.served == Served::Stale;
    let missed = case.history.operations.iter().filter(came).count();
    let why = format!(
        "{missed} reads missed or got a stale value, at least {least:.0} expected from r*D at each boundary"
    );
    found(name, missed as f64 >= least, why)
}

fn faults_took_effect(case: &Case<'_>) -> Assumption {
    let missed: Vec<&str> = case
        .faults
        .iter()
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

/// What the scenario planned beside the load: none for a rung that planned nothing.
fn as_planned(case: &Case<'_>) -> Vec<Assumption> {
    let record = &case.history.record;
    let mut all = Vec::new();
    if case.rung.start != Start::Warm {
        all.push(began(case));
    }
    if case.rung.deploy.is_some() {
        let why = record.deploy.as_ref().map_or("no deploy was recorded", |deploy| deploy.why.as_str());
        let switched = record.deploy.as_ref().is_some_and(|deploy| deploy.switched_us.is_some());
        all.push(found("deploy took place", switched, why.to_owned()));
    }
    if !case.rung.membership.is_empty() {
        let planned = case.rung.membership.len();
        let left = record.membership.iter().filter(|change| change.left).count();
        let why = format!("{left} of {planned} planned departures took place");
        all.push(found("membership changed as planned", left == planned, why));
    }
    if case.scenario.origin.failing.is_some() {
        let failed = own_rows(case.history).filter(|row| row.outcome == Some(FetchOutcome::Failed)).count();
        all.push(found("origin failed as planned", failed > 0, format!("{failed} fetches failed")));
    }
    if case.scenario.origin.slow.is_some() {
        let slow =
            |fault: &&&FaultRecord| fault.fault == "origin.slow" && fault.phase == FaultPhase::Confirmed;
        let confirmed = case.faults.iter().find(slow);
        let why = confirmed.map_or("no slow fetch was confirmed", |fault| fault.note.as_str());
        all.push(found("origin slowed as planned", confirmed.is_some(), why.to_owned()));
    }
    all
}

fn began(case: &Case<'_>) -> Assumption {
    let name = "keys began as planned";
    match (&case.rung.start, &case.history.record.start) {
        (Start::Prewarmed { .. }, StartRecord::Prewarmed { opened, why, .. }) => {
            found(name, *opened, why.clone())
        }
        (Start::Cold, StartRecord::Cold) => found(name, true, "nothing was cached".to_owned()),
        (planned, recorded) => found(name, false, format!("planned {planned:?}, recorded {recorded:?}")),
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}
