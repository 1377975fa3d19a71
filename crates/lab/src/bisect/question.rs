//! What of a run's judgement decides on which side of the tipping point a value lies.

use super::search::Look;
use crate::exit::UsageError;
use herd_judge::{Judgement, Outcome, Verdict};
use herd_scenario::{Claim, Scenario};

/// The question that is put to each run.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// The claim whose verdict decides; without one the run's outcome.
    claim: Option<Claim>,
}

/// The answer, with figures for a person.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) look: Look,
    /// The claim that decided, or the worst one of a run that is not valid, and the rung.
    pub(super) claim: Option<(String, String)>,
    pub(super) observed: Option<u64>,
    pub(super) bound: Option<u64>,
    /// Good answers per second after the last fault, where there is one.
    pub(super) goodput_after_per_s: Option<f64>,
}

impl Question {
    /// About the claim of this number in the file, from 0.
    ///
    /// # Errors
    /// There is no such claim, or it is about another rung than the one that is driven.
    pub(super) fn new(
        scenario: &Scenario,
        claim: Option<usize>,
        rung: Option<&str>,
    ) -> Result<Self, UsageError> {
        let Some(number) = claim else { return Ok(Self { claim: None }) };
        let claims = &scenario.claims;
        let Some(claim) = claims.get(number) else {
            let last = claims.len().saturating_sub(1);
            return Err(UsageError(format!("--claim {number}: {} has claims 0 to {last}", scenario.name)));
        };
        match (&claim.rung, rung) {
            (Some(of), Some(rung)) if of != rung => {
                Err(UsageError(format!("--claim {number} is about rung {of:?}, not {rung:?}")))
            }
            _ => Ok(Self { claim: Some(claim.clone()) }),
        }
    }

    /// What this judgement answers.
    pub(super) fn answer(&self, judgement: &Judgement) -> Answer {
        let about: Vec<&Verdict> =
            judgement.verdicts.iter().filter(|verdict| self.is_about(verdict)).collect();
        let (outcome, shown) = match &self.claim {
            Some(_) => (
                Outcome::of_all(about.iter().map(|verdict| verdict.outcome)),
                about.iter().max_by_key(|verdict| verdict.outcome),
            ),
            None => (
                judgement.outcome,
                about.iter().filter(|verdict| verdict.against_expectation() != Outcome::Valid).max_by_key(
                    |verdict| {
                        (verdict.against_expectation() == judgement.outcome, verdict.against_expectation())
                    },
                ),
            ),
        };
        let why = shown.map_or_else(|| "nothing was judged".to_owned(), |verdict| verdict.why.clone());
        Answer {
            look: Look { outcome, why },
            claim: shown.map(|verdict| (verdict.claim.clone(), verdict.rung.clone())),
            observed: shown.and_then(|verdict| verdict.observed),
            bound: shown.and_then(|verdict| verdict.bound),
            goodput_after_per_s: goodput_after(judgement, shown.map(|verdict| verdict.rung.as_str())),
        }
    }

    fn is_about(&self, verdict: &Verdict) -> bool {
        let Some(claim) = &self.claim else { return true };
        claim.rung.as_ref().is_none_or(|rung| *rung == verdict.rung)
            && verdict.claim == claim.property.name()
            && verdict.scope == claim.scope.name()
            && verdict.phase == claim.phase.map(|phase| phase.to_string())
            && verdict.expected == claim.expect.name()
    }
}

/// Good answers per second from the last repair on, of this rung or else of the last one that has faults.
fn goodput_after(judgement: &Judgement, rung: Option<&str>) -> Option<f64> {
    let mut rungs = judgement.rungs.iter().rev().filter(|figures| !figures.faults.is_empty());
    let figures = rungs.find(|figures| rung.is_none_or(|rung| rung == figures.name))?;
    // A fault of which nothing lies behind its repair says that nothing lies behind them all.
    let afters: Option<Vec<_>> = figures.faults.iter().map(|fault| fault.after).collect();
    let last = afters?.into_iter().max_by(|a, b| a.from_ms.total_cmp(&b.from_ms))?;
    Some(last.goodput_per_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario() -> Scenario {
        crate::pick::preset("ladder-quick").unwrap().scenario
    }

    fn verdict(claim: &Claim, rung: &str, outcome: Outcome, observed: u64) -> Verdict {
        Verdict {
            rung: rung.to_owned(),
            claim: claim.property.to_string(),
            scope: claim.scope.to_string(),
            phase: None,
            expected: "valid",
            bound: Some(1),
            bound_text: "1".to_owned(),
            observed: Some(observed),
            outcome,
            why: format!("{observed} seen"),
            witness: None,
        }
    }

    fn judgement(outcome: Outcome, verdicts: Vec<Verdict>) -> Judgement {
        Judgement {
            name: "made-up".to_owned(),
            backend: "processes".to_owned(),
            nodes: 1,
            seed: 1,
            outcome,
            expect: "valid",
            as_expected: None,
            hypothesis: String::new(),
            rungs: Vec::new(),
            verdicts,
            notes: Vec::new(),
        }
    }

    /// Goal: the claim that is asked for decides, whatever the run's outcome is; one that was not judged is unknown.
    #[test]
    fn a_claim_decides() {
        let scenario = scenario();
        let (asked, other) = (&scenario.claims[0], &scenario.claims[1]);
        assert_ne!((asked.property, asked.scope, &asked.rung), (other.property, other.scope, &other.rung));
        let rung = |claim: &Claim| claim.rung.clone().unwrap_or_else(|| scenario.rungs[0].name.clone());
        let question = Question::new(&scenario, Some(0), None).unwrap();
        let verdicts = vec![
            verdict(other, &rung(other), Outcome::Invalid, 9),
            verdict(asked, &rung(asked), Outcome::Valid, 3),
        ];
        let answer = question.answer(&judgement(Outcome::Invalid, verdicts));
        assert_eq!((answer.look.outcome, answer.observed), (Outcome::Valid, Some(3)));
        assert_eq!(question.answer(&judgement(Outcome::Valid, Vec::new())).look.outcome, Outcome::Unknown);
    }

    /// Goal: without a claim the run's outcome decides, and the claim that made it so is shown.
    #[test]
    fn the_outcome_decides() {
        let scenario = scenario();
        let claim = &scenario.claims[0];
        let question = Question::new(&scenario, None, None).unwrap();
        let verdicts = vec![
            verdict(claim, "none", Outcome::Valid, 1),
            verdict(claim, "lock", Outcome::Invalid, 7),
            verdict(claim, "l1", Outcome::Unknown, 2),
        ];
        let answer = question.answer(&judgement(Outcome::Invalid, verdicts));
        assert_eq!((answer.look.outcome, answer.observed), (Outcome::Invalid, Some(7)));
        assert_eq!(answer.claim.unwrap().1, "lock");
    }

    /// Goal: a claim that is not there, or is about a rung that is not driven, is told before anything runs.
    #[test]
    fn wrong_claims_are_told() {
        let scenario = scenario();
        let wrong = |claim, rung| Question::new(&scenario, Some(claim), rung).unwrap_err().to_string();
        assert!(wrong(10_000, None).contains("has claims 0 to "));
        let of = scenario.claims.iter().position(|claim| claim.rung.is_some()).unwrap();
        assert!(wrong(of, Some("elsewhere")).contains("not \"elsewhere\""));
    }
}
