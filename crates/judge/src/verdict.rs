//! What the judge says.

use herd_scenario::{AtMost, Claim, Property, Rung};
use serde::Serialize;

use crate::Case;
use crate::assumptions::{Assumption, GENERATOR_LAG, may_add};
use crate::limit::Limit;
use crate::measures::RungFigures;
use crate::witness::Witness;

/// Valid, invalid or unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The claim held, and what was seen suffices to say so.
    Valid,
    /// Nothing can be said: too little was seen, or a premise of the bound did not hold.
    Unknown,
    /// The claim is refuted, with a witness.
    Invalid,
}

impl Outcome {
    /// The name as it stands in `results.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
        }
    }

    /// Of a whole run: invalid if anything is, else unknown if anything is, else valid. Nothing at all is unknown.
    #[must_use]
    pub fn of_all(outcomes: impl IntoIterator<Item = Self>) -> Self {
        outcomes.into_iter().max().unwrap_or(Self::Unknown)
    }
}

/// The whole judgement of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// The scenario's name.
    pub name: String,
    /// `processes`, `compose` or `simulation`.
    pub backend: String,
    /// Cache nodes asked for.
    pub nodes: u32,
    /// The seed.
    pub seed: u64,
    /// Over all verdicts: valid iff each claim came out as its author expects, invalid if one came out as the opposite.
    pub outcome: Outcome,
    /// What the scenario expects: `valid` or `invalid`.
    pub expect: &'static str,
    /// Whether the outcome is the expected one; absent if it is unknown. Where `invalid` is expected, the outcome of the
    /// scenario's first claim decides: another claim that is refuted does not count as catching the bad strategy.
    pub as_expected: Option<bool>,
    /// What the scenario's author expects to see, and why.
    pub hypothesis: String,
    /// The figures of each rung that was driven to its end.
    pub rungs: Vec<RungFigures>,
    /// One per claim and rung, in the scenario's order of rungs.
    pub verdicts: Vec<Verdict>,
    /// What a reader must know about the history.
    pub notes: Vec<String>,
}

impl Judgement {
    /// The exit status that this judgement asks for: 0 as expected, 1 the other, 2 unknown.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self.as_expected {
            Some(true) => 0,
            Some(false) => 1,
            None => 2,
        }
    }
}

/// What is said of one claim in one rung.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The rung.
    pub rung: String,
    /// The property claimed, by its name in scenario files.
    pub claim: String,
    /// Over what it was counted.
    pub scope: String,
    /// The part of the rung that counts, `before`, `during` or `after` its faults; absent for all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The outcome that the claim's author expects: `valid`, or `invalid` in a contrast.
    pub expected: &'static str,
    /// The largest count that the claim allows, in the worst case seen; absent if nothing could be counted.
    pub bound: Option<u64>,
    /// How the bound came about: `1`, `N = 50`, `about r*D = 450 (at most 900)`.
    pub bound_text: String,
    /// The largest count that was seen.
    pub observed: Option<u64>,
    /// What follows.
    pub outcome: Outcome,
    /// In words.
    pub why: String,
    /// The worst case.
    pub witness: Option<Witness>,
}

impl Verdict {
    pub(crate) fn new(rung: &Rung, claim: &Claim) -> Self {
        let bound = match claim.at_most {
            AtMost::Theory => None,
            AtMost::Number(number) => Some(number),
        };
        Self {
            rung: rung.name.clone(),
            claim: claim.property.to_string(),
            scope: claim.scope.to_string(),
            phase: claim.phase.map(|phase| phase.to_string()),
            expected: claim.expect.name(),
            bound,
            bound_text: bound.map_or_else(|| "theory".to_owned(), |number| number.to_string()),
            observed: None,
            outcome: Outcome::Unknown,
            why: String::new(),
            witness: None,
        }
    }

    pub(crate) fn unknown(rung: &Rung, claim: &Claim, why: &str) -> Self {
        Self { why: why.to_owned(), ..Self::new(rung, claim) }
    }

    /// A count against its limit: beyond it the claim is refuted, if the limit's premise held.
    pub(crate) fn counted(
        case: &Case<'_>,
        claim: &Claim,
        limit: &Limit,
        observed: u64,
        why: impl Into<String>,
        witness: Option<Witness>,
    ) -> Self {
        let beyond = observed > limit.at_most;
        let mut why: String = why.into();
        let outcome = match &limit.broken_premise {
            Some(premise) if beyond => {
                why = format!("{why}; the bound is {}, but its premise did not hold: {premise}", limit.text);
                Outcome::Unknown
            }
            _ if beyond => {
                why = format!("{why}; the bound is {}", limit.text);
                Outcome::Invalid
            }
            _ => Outcome::Valid,
        };
        Self {
            bound: Some(limit.at_most),
            bound_text: limit.text.clone(),
            observed: Some(observed),
            outcome,
            why,
            witness,
            ..Self::new(case.rung, claim)
        }
    }

    /// The outcome beside what was expected: valid if it is that, unknown if it is unknown, else invalid.
    #[must_use]
    pub fn against_expectation(&self) -> Outcome {
        match self.outcome {
            Outcome::Unknown => Outcome::Unknown,
            outcome if outcome.name() == self.expected => Outcome::Valid,
            _ => Outcome::Invalid,
        }
    }

    /// What is valid becomes unknown where this, which was needed to say so, is missing.
    pub(crate) fn unless(mut self, missing: Option<String>) -> Self {
        if let Some(missing) = missing.filter(|_| self.outcome == Outcome::Valid) {
            self.outcome = Outcome::Unknown;
            self.why = format!("{missing} ({})", self.why);
        }
        self
    }

    /// What was seen confirms a claim only where every assumption holds. It refutes one whatever is missing, and says what was: less load,
    /// fewer nodes or a ledger with gaps only hide rebuilds, so that there were at least as many as were counted. It refutes none where the
    /// assumption that fails can itself add to the count, nor where a busy machine can have brought about what was seen.
    pub(crate) fn under(mut self, claim: &Claim, assumptions: &[Assumption]) -> Self {
        let failed = || assumptions.iter().filter(|assumption| !assumption.holds);
        let whys: Vec<&str> = failed().map(|assumption| assumption.why.as_str()).collect();
        let lagged = failed().find(|assumption| assumption.name == GENERATOR_LAG);
        let adds = failed().find(|assumption| may_add(assumption.name, claim.property));
        match self.outcome {
            Outcome::Valid if !whys.is_empty() => {
                self.outcome = Outcome::Unknown;
                self.why = format!("not confirmed: {} ({})", whys.join("; "), self.why);
            }
            Outcome::Invalid if grows_with_lag(claim.property) && lagged.is_some() => {
                self.outcome = Outcome::Unknown;
                let lag = lagged.map_or("", |lagged| lagged.why.as_str());
                self.why = format!("neither confirmed nor refuted: {lag} ({})", self.why);
            }
            Outcome::Invalid if adds.is_some() => {
                self.outcome = Outcome::Unknown;
                let adds = adds.map_or(String::new(), |adds| format!("\"{}\": {}", adds.name, adds.why));
                self.why = format!(
                    "neither confirmed nor refuted: an assumption does not hold that can itself add to the count, {adds} ({})",
                    self.why
                );
            }
            Outcome::Invalid if !whys.is_empty() => {
                let those: Vec<String> = failed()
                    .map(|assumption| format!("\"{}\": {}", assumption.name, assumption.why))
                    .collect();
                let number = if those.len() == 1 { "an assumption does" } else { "assumptions do" };
                self.why = format!("{}; although {number} not hold: {}", self.why, those.join("; "));
            }
            _ => {}
        }
        self
    }
}

/// Whether a machine that is too busy to send requests on time can alone bring about what a property counts, by the time that it adds to
/// each request. Where only a part of what is counted is of that kind the check itself heeds it.
fn grows_with_lag(property: Property) -> bool {
    matches!(
        property,
        Property::LatencyP99Ms
            | Property::GoodputLostPercent
            | Property::RecoveryMs
            | Property::LongestWaitMs
    )
}
