//! History and claims to verdicts: valid, invalid or unknown, with the worst case as witness.
//!
//! [`judge`] takes a [`Scenario`] and the [`History`] of its run and says of every claim what the origin's ledger and the
//! clients' records say of it. The bound is computed here from the scenario's own parameters, and the ledger decides
//! how large a herd was, never a node's own word. Assumptions come first: a rung with too little load, missing
//! nodes, a lagging generator or a ledger with gaps can refute a claim, and then says so, but never confirm one; and what a
//! machine can bring about that is too busy to send requests on time is not even refuted where the generator lagged.
//!
//! What it never does: share code with what it judges (no policy, no wire protocol), touch files, read a clock. The same
//! history always gets the same verdicts, so that a run can be judged again from disk.
//!
//! Map: `verdict` what is said, `witness` what shows it · `theory` the bounds on herds, `limit` a bound, `chance` what luck may
//! do · `assumptions`, `ledger_sound`, `members_sound`, `faults_sound` with `fault_plan`, `hang_ups`,
//! `lock_used`, `layer_used` what must hold before anything is valid · `boundary` counting by
//! generation, `cluster` the cross-check by time, `overlap` rebuilds at the same instant, `lives` when each value began to live,
//! `readers` who may have started a rebuild, `rows` which rows exist, `worst` the worst of many counts · `measures` the figures of a
//! rung, `fault_figures` those of its faults · `turns` what was done to the fleet, `phases` before, during and after, `stores` when
//! Redis lost what it held · and one file per property:
//!
//! | property | file |
//! | --- | --- |
//! | herds | `rebuilds_per_boundary`, `concurrent_rebuilds`, `cold_fills`, `origin_queries`, `while_failing`, `early_rebuilds` |
//! | values | `never_go_back`, `stale_beyond_bound`, `accepted_writes`, `stale_writes` |
//! | readers | `every_request`, `readers_waited`, `longest_wait`, `latency_p99`, `miss_percent` |
//! | absent rows | `negative_queries`, `absent_key_queries`, `absence_outlives_insert` |
//! | many keys, and time | `highest_bucket`, `sawtooth` |
//! | overload | `origin_in_flight`, `edge_in_flight`, `sends`, `goodput`, `recovery` |
//! | leases | `repeated_tokens`, `takeover` |
//! | the records themselves | `records_disagree` |

mod absence_outlives_insert;
mod absent_key_queries;
mod accepted_writes;
mod assumptions;
mod boundary;
mod chance;
mod cluster;
mod cold_fills;
mod concurrent_rebuilds;
mod early_rebuilds;
mod edge_in_flight;
mod every_request;
mod fault_figures;
mod fault_plan;
mod faults_sound;
mod goodput;
mod hang_ups;
mod highest_bucket;
mod latency_p99;
mod layer_used;
mod ledger_sound;
mod limit;
mod lives;
mod lock_used;
mod longest_wait;
mod measures;
mod members_sound;
mod miss_percent;
mod negative_queries;
mod never_go_back;
mod origin_in_flight;
mod origin_queries;
mod overlap;
mod phases;
mod readers;
mod readers_waited;
mod rebuilds_per_boundary;
mod records_disagree;
mod recovery;
mod repeated_tokens;
mod rows;
mod sawtooth;
mod sends;
mod stale_beyond_bound;
mod stale_writes;
mod stores;
mod takeover;
mod theory;
mod turns;
mod verdict;
mod while_failing;
mod witness;
mod worst;

use std::panic::{AssertUnwindSafe, catch_unwind};

use herd_history::{FaultRecord, History, Manifest, RungHistory, TracedRecord};
use herd_scenario::{Claim, Expect, Mistakes, Overrides, Property, Rung, Scenario, Shares};

use phases::Phases;
use readers::Readers;
use rows::Rows;
use stores::Stores;
use turns::Turn;

pub use assumptions::Assumption;
pub use boundary::{Boundary, boundaries};
pub use cluster::{Clusters, clusters};
pub use fault_figures::{FaultFigures, FaultTurn, PhaseFigures};
pub use measures::{HerdFigures, LatencyFigures, LoadFigures, PerBoundary, RungFigures, percentile};
pub use overlap::peak_overlap;
pub use verdict::{Judgement, Outcome, Verdict};
pub use witness::{Witness, WitnessOperation, WitnessRebuild, WitnessWrite};

/// Everything that a checker may look at: one rung of one run.
pub(crate) struct Case<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) rung: &'a Rung,
    pub(crate) history: &'a RungHistory,
    /// The history's format.
    pub(crate) format: u32,
    /// The fetches of the whole run that its traces tell of, where they tell of all.
    pub(crate) traced: Option<&'a [TracedRecord]>,
    pub(crate) shares: Shares,
    pub(crate) boundaries: Vec<Boundary<'a>>,
    /// Whoever started a rebuild is among them.
    pub(crate) readers: Readers<'a>,
    pub(crate) rows: Rows<'a>,
    /// The faults of this rung.
    pub(crate) faults: Vec<&'a FaultRecord>,
    /// The same, put together by turn and target.
    pub(crate) turns: Vec<Turn<'a>>,
    pub(crate) stores: Stores,
    /// Absent without a fault.
    pub(crate) phases: Option<Phases>,
    pub(crate) assumptions: Vec<Assumption>,
}

/// The scenario of a run as it was driven: the text in the manifest, with the manifest's overrides applied.
///
/// # Errors
/// The text has mistakes: it was written by another version, or changed.
pub fn scenario_of(manifest: &Manifest) -> Result<Scenario, Mistakes> {
    let mut scenario = Scenario::parse(&manifest.scenario_file, &manifest.scenario_text)?;
    scenario.apply(&Overrides {
        nodes: Some(manifest.nodes),
        seed: Some(manifest.seed),
        rungs: Some(manifest.rungs.clone()),
    })?;
    Ok(scenario)
}

/// Judges one run.
///
/// A scenario that expects `invalid` is as expected only if its first claim is refuted, in any rung that the claim is about:
/// the first claim is the one that has to catch the bad strategy, and a run that fails for another reason has not caught it. Rungs
/// that it is not about are its control: their claims have to come out as their author expects, or it would catch anybody.
#[must_use]
pub fn judge(scenario: &Scenario, history: &History) -> Judgement {
    let mut verdicts = Vec::new();
    let mut of_first = Vec::new();
    let mut judged = |claim: &Claim, verdict: Verdict| {
        if scenario.claims.first().is_some_and(|first| std::ptr::eq(first, claim)) {
            of_first.push(verdict.outcome);
        }
        verdict
    };
    let mut rungs = Vec::new();
    for rung in &scenario.rungs {
        let claims =
            scenario.claims.iter().filter(|claim| claim.rung.as_ref().is_none_or(|name| *name == rung.name));
        let driven = history.rungs.iter().find(|driven| driven.record.name == rung.name);
        let Some(driven) = driven else {
            let why = "the rung was not driven to its end";
            verdicts.extend(claims.map(|claim| judged(claim, Verdict::unknown(rung, claim, why))));
            continue;
        };
        let faults: Vec<&FaultRecord> =
            history.faults.iter().filter(|fault| fault.rung == rung.name).collect();
        let turns = turns::turns(&scenario.faults, &faults);
        let stores = Stores::of(&turns, driven);
        let boundaries = boundary::boundaries_in(scenario, driven, &stores);
        let mut case = Case {
            scenario,
            rung,
            history: driven,
            format: history.manifest.format_version,
            traced: history.traced.as_deref(),
            shares: scenario.workload.shares(),
            boundaries,
            readers: Readers::of(driven),
            rows: Rows::of(scenario, driven),
            phases: Phases::of(&driven.record, turns.iter()),
            faults,
            turns,
            stores,
            assumptions: Vec::new(),
        };
        case.assumptions = assumptions::all(&case);
        verdicts.extend(claims.map(|claim| judged(claim, check_guarded(&case, claim))));
        rungs.push(measures::figures(&case));
    }
    let outcome = Outcome::of_all(verdicts.iter().map(Verdict::against_expectation));
    let as_expected = match scenario.expect {
        Expect::Valid => (outcome != Outcome::Unknown).then_some(outcome == Outcome::Valid),
        Expect::Invalid => {
            let caught_in = scenario.claims.first().and_then(|first| first.rung.as_ref());
            let is_control = |verdict: &&Verdict| caught_in.is_some_and(|rung| *rung != verdict.rung);
            let control = verdicts.iter().filter(is_control).map(Verdict::against_expectation).max();
            match (Outcome::of_all(of_first), control.unwrap_or(Outcome::Valid)) {
                (Outcome::Invalid, Outcome::Valid) => Some(true),
                (Outcome::Valid, _) | (Outcome::Invalid, Outcome::Invalid) => Some(false),
                (Outcome::Unknown, _) | (Outcome::Invalid, Outcome::Unknown) => None,
            }
        }
    };
    Judgement {
        name: scenario.name.clone(),
        backend: history.manifest.backend.clone(),
        nodes: scenario.fleet.nodes,
        seed: scenario.seed,
        outcome,
        expect: scenario.expect.name(),
        as_expected,
        hypothesis: scenario.hypothesis.clone(),
        rungs,
        verdicts,
        notes: history.notes.clone(),
    }
}

/// A checker that crashes has proved nothing: unknown.
fn check_guarded(case: &Case<'_>, claim: &Claim) -> Verdict {
    catch_unwind(AssertUnwindSafe(|| check(case, claim)))
        .unwrap_or_else(|_| Verdict::unknown(case.rung, claim, "the checker crashed"))
}

fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    if let Err(why) = case.time_of(claim) {
        return Verdict::unknown(case.rung, claim, &why);
    }
    let verdict = match claim.property {
        Property::RebuildsPerBoundary => rebuilds_per_boundary::check(case, claim),
        Property::ConcurrentRebuilds => concurrent_rebuilds::check(case, claim),
        Property::AnswersNeverGoBack => never_go_back::check(case, claim),
        Property::EveryRequestAnswered => every_request::check(case, claim),
        Property::AcceptedWritesPerGeneration => accepted_writes::check(case, claim),
        Property::StaleWrites => stale_writes::check(case, claim),
        Property::StaleBeyondBound => stale_beyond_bound::check(case, claim),
        Property::ReadersWaited => readers_waited::check(case, claim),
        Property::LongestWaitMs => longest_wait::check(case, claim),
        Property::NegativeQueries => negative_queries::check(case, claim),
        Property::AbsentKeyQueries => absent_key_queries::check(case, claim),
        Property::AbsenceOutlivesInsert => absence_outlives_insert::check(case, claim),
        Property::HighestBucket => highest_bucket::check(case, claim),
        Property::EarlyRebuildsPerWindow => early_rebuilds::check(case, claim),
        Property::OriginInFlight => origin_in_flight::check(case, claim),
        Property::EdgeInFlight => edge_in_flight::check(case, claim),
        Property::SendsPerHundredRequests => sends::check(case, claim),
        Property::Sawtooth => sawtooth::check(case, claim),
        Property::ColdFills => cold_fills::check(case, claim),
        Property::OriginQueries => origin_queries::check(case, claim),
        Property::RebuildsWhileFailing => while_failing::check(case, claim),
        Property::MissPercent => miss_percent::check(case, claim),
        Property::RecordsDisagree => records_disagree::check(case, claim),
        Property::GoodputLostPercent => goodput::check(case, claim),
        Property::LatencyP99Ms => latency_p99::check(case, claim),
        Property::RecoveryMs => recovery::check(case, claim),
        Property::RepeatedTokens => repeated_tokens::check(case, claim),
        Property::TakeoverMs => takeover::check(case, claim),
    };
    verdict.under(claim, &case.assumptions)
}
