//! What must hold of a rung before anything about it can be called valid: the load came, the fleet was whole, what was planned
//! took place. That the ledger can be believed stands in `ledger_sound`, that the nodes were there in `members_sound`, that each
//! fault bit and was repaired in `faults_sound`, that a layer worked in `lock_used` and `layer_used`.

use std::collections::{BTreeMap, BTreeSet};

use herd_history::{FetchOutcome, OperationRecord, Outcome as Ended, Served, StartRecord};
use herd_scenario::{Layer, OnUnavailable, OnWaitTimeout, Property, Start};
use serde::Serialize;

use crate::Case;
use crate::boundary::{Boundary, own_rows};
use crate::readers::is_miss;
use crate::theory::{ABOUT_AT_LEAST, crowd};
use crate::{faults_sound, hang_ups, layer_used, ledger_sound, lock_used, members_sound};

/// Below this many expected readers a boundary is too small for statements about a crowd.
pub(crate) const CROWD_MIN: f64 = 20.0;

/// The longest lag of a single request, microseconds, where D is not longer.
const STALL_US: u64 = 500_000;

/// Name of the assumption that requests were sent when they were meant to be.
pub(crate) const GENERATOR_LAG: &str = "generator lag";

/// Name of the assumption that every node worked under the rung's own configuration.
const ONE_CONFIGURATION: &str = "one configuration";

/// Whether what fails under this name can add to what a claim counts, and not only hide some of it: a node that goes on under another
/// configuration is bounded by other layers, and two expiries under one number are one herd of twice the size.
pub(crate) fn may_add(name: &str, to: Property) -> bool {
    name == ONE_CONFIGURATION || name == ledger_sound::EACH_COUNTED && to == Property::RebuildsPerBoundary
}

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
        members_sound::joined(case),
        members_sound::stood_still(case),
        members_sound::took_part(case),
        lag(case),
        answered(case),
        configuration(case),
        boundaries(case),
        crowd_came(case),
    ];
    all.extend(ledger_sound::all(case));
    all.push(faults_sound::took_effect(case));
    all.extend(hang_ups::as_planned(case));
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
    let expected = case.scenario.reads_expected(&case.rung.name, seconds);
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

fn lag(case: &Case<'_>) -> Assumption {
    let lag_us = case.history.record.load.lag_p99_us;
    let most_us = u64::from(case.scenario.origin.model.typical_ms()) * 1_000 / 4;
    // One stall of the generator delays a whole crowd.
    let max_us = case.history.record.load.lag_max_us;
    let stall_us = (4 * most_us).max(STALL_US);
    let why = format!(
        "the generator lagged {:.1} ms (p99), at most {:.1} ms; {:.1} ms at worst, at most {:.1} ms",
        ms(lag_us),
        ms(most_us),
        ms(max_us),
        ms(stall_us)
    );
    found(GENERATOR_LAG, lag_us <= most_us && max_us <= stall_us, why)
}

/// Why deadlines that passed show nothing of the fleet: the machine was too busy to send requests on time.
pub(crate) fn lagged(case: &Case<'_>) -> Option<String> {
    Some(lag(case)).filter(|lag| !lag.holds).map(|lag| lag.why)
}

/// A rung in which most requests fail did not put its load on anything. What a layer refuses, or a reader gives up, as the rung
/// has it, is the layer's work and no failure of the run; what fails during a confirmed fault is the fault's. Who hung up wanted no answer.
fn answered(case: &Case<'_>) -> Assumption {
    let heard = || case.history.operations.iter().filter(|row| row.outcome != Ended::HungUp);
    let total = heard().count();
    let (mut good, mut refused, mut gave_up, mut of_fault) = (0_usize, 0_usize, 0_usize, 0_usize);
    for row in heard() {
        if case.rows.is_good(row) {
            good += 1;
        } else if row.outcome == Ended::ResourceExhausted && case.rung.has(Layer::Shed) {
            refused += 1;
        } else if may_give_up(case) && is_error_of_a_part(row) {
            gave_up += 1;
        } else if case.turns.iter().any(|turn| turn.overlaps(row.intended_us, row.done_us)) {
            of_fault += 1;
        }
    }
    let enough = (good + refused + gave_up + of_fault) as f64 >= 0.9 * total as f64 && good > 0;
    let mut why = format!("{good} of {total} requests were answered");
    for (count, what) in [
        (refused, "were refused for load"),
        (gave_up, "ended in an error of the rung's own"),
        (of_fault, "failed during a fault"),
    ] {
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

/// One configuration, or those of a deploy: an announcement of the new prefix where it has one, and the switch.
fn configuration(case: &Case<'_>) -> Assumption {
    let record = &case.history.record;
    let mut known = vec![record.config_version];
    if let Some(deploy) = &record.deploy {
        known.extend(
            [deploy.announced_version, deploy.config_version].into_iter().filter(|version| *version > 0),
        );
    }
    let is_other = |version: u64| !known.contains(&version);
    let operations = case.history.operations.iter().filter(|row| row.outcome == Ended::Answered);
    let other = operations.filter(|row| is_other(row.config_version)).count();
    let rebuilt = own_rows(case.history).filter(|row| is_other(row.config_version)).count();
    let versions: Vec<String> = known.iter().map(ToString::to_string).collect();
    let versions = versions.join(" and ");
    let why = format!("{other} answers and {rebuilt} rebuilds under another configuration than {versions}");
    found(ONE_CONFIGURATION, other == 0 && rebuilt == 0, why)
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
/// nothing. Only early recomputation leaves none; there the load that came is the crowd. Who read another key, or at another time, was
/// not there, however many they were.
fn crowd_came(case: &Case<'_>) -> Assumption {
    let name = "crowd";
    if case.rung.has(Layer::Early) {
        return found(name, true, "values are recomputed before a crowd comes".to_owned());
    }
    let mut least = 0.0;
    // By number: no reader stands in two crowds, though two herds of a key may overlap.
    let mut came: BTreeSet<u64> = BTreeSet::new();
    for boundary in case.boundaries.iter().filter(|boundary| boundary.complete) {
        let expected = crowd(case, boundary.key);
        if expected >= CROWD_MIN {
            least += ABOUT_AT_LEAST * expected;
            came.extend(crowd_of(case, boundary).map(|row| row.seq));
        }
    }
    let why = format!(
        "{} reads missed or got a stale value while their key was rebuilt, at least {least:.0} expected from r*D at each boundary",
        came.len()
    );
    found(name, came.len() as f64 >= least, why)
}

/// Who read a boundary's key while it was rebuilt and found nothing fresh. Who was refused for load put none on the rebuild, unless the rung
/// sheds load: then the refusal is what became of that reader, as a wait is elsewhere.
fn crowd_of<'c>(case: &'c Case<'c>, boundary: &Boundary<'c>) -> impl Iterator<Item = &'c OperationRecord> {
    let last_end_us = boundary.rebuilds.iter().filter_map(|row| row.end_us).max().unwrap_or(0);
    let may_refuse = case.rung.has(Layer::Shed);
    case.readers.between(boundary.key, boundary.first_start_us(), last_end_us).filter(move |row| {
        let refused = row.outcome == Ended::ResourceExhausted && !may_refuse;
        !refused && (is_miss(row) || row.served == Served::Stale)
    })
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
    if let Some(slow) = case.scenario.origin.slow {
        all.push(faults_sound::origin_slowed(case, slow));
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
