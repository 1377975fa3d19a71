//! History and claims to verdicts: valid, invalid or unknown, with the worst case as witness.
//!
//! [`judge`] takes a [`Scenario`] and the [`History`] of its run and says of every claim what the origin's ledger and the
//! clients' records say of it. The bound is computed here from the scenario's own parameters, and the ledger decides
//! how large a herd was, never a node's own word. Assumptions come first: a rung with too little load, missing
//! nodes, a lagging generator or a ledger with gaps can refute a claim, but never confirm one.
//!
//! What it never does: share code with what it judges (no policy, no wire protocol), touch files, read a clock. The same
//! history always gets the same verdicts, so that a run can be judged again from disk.
//!
//! Map: `verdict` what is said · `boundary` counting by generation · `cluster` the cross-check by time · `overlap` rebuilds at
//! the same instant · `assumptions` what must hold before anything is valid · `theory` the bounds · `measures` the figures of a
//! rung · one file per property: `rebuilds_per_boundary`, `concurrent_rebuilds`, `never_go_back`, `every_request` · `witness`.

mod assumptions;
mod boundary;
mod cluster;
mod concurrent_rebuilds;
mod every_request;
mod measures;
mod never_go_back;
mod overlap;
mod rebuilds_per_boundary;
mod theory;
mod verdict;
mod witness;

use std::panic::{AssertUnwindSafe, catch_unwind};

use herd_history::{History, Manifest, RungHistory};
use herd_scenario::{Claim, Expect, Mistakes, Overrides, Property, Rung, Scenario, Shares};

pub use assumptions::Assumption;
pub use boundary::{Boundary, boundaries};
pub use cluster::{Clusters, clusters};
pub use measures::{HerdFigures, LatencyFigures, LoadFigures, PerBoundary, RungFigures, percentile};
pub use overlap::peak_overlap;
pub use verdict::{Judgement, Outcome, Verdict};
pub use witness::{Witness, WitnessOperation, WitnessRebuild};

/// Everything that a checker may look at: one rung of one run.
pub(crate) struct Case<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) rung: &'a Rung,
    pub(crate) history: &'a RungHistory,
    pub(crate) shares: Shares,
    pub(crate) boundaries: Vec<Boundary<'a>>,
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
#[must_use]
pub fn judge(scenario: &Scenario, history: &History) -> Judgement {
    let mut verdicts = Vec::new();
    let mut rungs = Vec::new();
    for rung in &scenario.rungs {
        let claims =
            scenario.claims.iter().filter(|claim| claim.rung.as_ref().is_none_or(|name| *name == rung.name));
        let driven = history.rungs.iter().find(|driven| driven.record.name == rung.name);
        let Some(driven) = driven else {
            verdicts.extend(
                claims.map(|claim| Verdict::unknown(rung, claim, "the rung was not driven to its end")),
            );
            continue;
        };
        let boundaries = boundaries(scenario, driven);
        let mut case = Case {
            scenario,
            rung,
            history: driven,
            shares: scenario.workload.shares(),
            boundaries,
            assumptions: Vec::new(),
        };
        case.assumptions = assumptions::all(&case, history);
        verdicts.extend(claims.map(|claim| check_guarded(&case, claim)));
        rungs.push(measures::figures(&case));
    }
    let outcome = Outcome::of_all(verdicts.iter().map(|verdict| verdict.outcome));
    let as_expected = match (outcome, scenario.expect) {
        (Outcome::Unknown, _) => None,
        (outcome, Expect::Valid) => Some(outcome == Outcome::Valid),
        (outcome, Expect::Invalid) => Some(outcome == Outcome::Invalid),
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
    let verdict = match claim.property {
        Property::RebuildsPerBoundary => rebuilds_per_boundary::check(case, claim),
        Property::ConcurrentRebuilds => concurrent_rebuilds::check(case, claim),
        Property::AnswersNeverGoBack => never_go_back::check(case, claim),
        Property::EveryRequestAnswered => every_request::check(case, claim),
    };
    verdict.under(&case.assumptions)
}
