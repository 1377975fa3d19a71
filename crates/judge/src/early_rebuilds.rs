//! Property: how many rebuilds a life of the hot key has under early recomputation (XFetch), on average, in hundredths.
//!
//! Every rebuild that names the generation counts, whatever reason its caller gives. Without coalescing the number is e^(1/beta)
//! on average: the first reader who recomputes comes when one such reader is expected, and while it rebuilds their rate grows
//! by e^(1/beta) (Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", 2015, for the rule). Each
//! count is geometric, and so is known how their sum is spread: a mean is refuted where the sum of all lives lies above what it is
//! in all but half a percent of runs of that mean, and theory is confirmed where it lies in the middle 99 %. Fewer rebuilds than theory
//! says are no refutation of a bound, but no confirmation of the theory.
//!
//! Readers go on recomputing until the store has taken the new value, a little longer than the rebuild took: the count is then
//! e^(D/(beta*Delta)) with D up to the store's word and Delta the rebuild alone, both measured. What lies between that and
//! e^(1/beta) is theory's, too, as long as the store takes the value within half a rebuild time: beyond that who writes late would
//! set its own bound.
//!
//! Where rebuilds are coalesced the bound is that of the coalescing layer for each single life.

use herd_history::LedgerRow;
use herd_scenario::{AtMost, Claim, Layer, OriginModel, Popularity, Scope};

use crate::Case;
use crate::boundary::{Boundary, prefix_of};
use crate::chance::{SUM_CONFIDENCE, geometric_sum_within};
use crate::limit::Limit;
use crate::lives::Lives;
use crate::theory::{self, EARLY_CROWD_MIN};
use crate::verdict::{Outcome, Verdict};
use crate::witness::Witness;

/// Lives below which a mean says too little to confirm anything.
const LIVES_MIN: usize = 30;

/// How many times as long as the rebuild it may take until the store has its value, on average over the lives.
const TAKEN_MAX: f64 = 1.5;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let Some(key) = hot_key(case) else {
        return Verdict::unknown(case.rung, claim, "no key is read more than the others");
    };
    let lives: Vec<&Boundary<'_>> =
        case.boundaries.iter().filter(|boundary| boundary.complete && boundary.key == key).collect();
    // The first of the worst.
    let Some(worst) = lives.iter().rev().max_by_key(|life| life.count()) else {
        return Verdict::unknown(case.rung, claim, "no life of the hot key was seen whole");
    };
    let told = format!("{} rebuilds for generation {} of {key}", worst.count(), worst.generation);
    let witness = Some(Witness::of_rebuilds(told.clone(), &worst.rebuilds));
    if claim.at_most == AtMost::Theory && (case.rung.has(Layer::SingleFlight) || case.rung.has(Layer::Lock)) {
        return coalesced(case, claim, worst, &format!("at worst of {} lives: {told}", lives.len()), witness);
    }
    let theory = match (claim.at_most, case.rung.early_beta) {
        (AtMost::Number(number), _) => Ok(Expected::exactly(number as f64 / 100.0)),
        (AtMost::Theory, Some(beta)) => premise(case, key, beta, &lives).and_then(|()| {
            let most = (taken_in_time(case, &lives)? / beta).exp();
            Ok(Expected { mean: (1.0 / beta).exp(), most })
        }),
        (AtMost::Theory, None) => Err("no layer of the rung recomputes early".to_owned()),
    };
    let expected = match theory {
        Ok(expected) => expected,
        Err(why) => {
            return Verdict { witness, ..Verdict::unknown(case.rung, claim, &format!("{why}; {told}")) };
        }
    };
    let found = Found { lives: lives.len() as u64, sum: lives.iter().map(|life| life.count()).sum() };
    let (_, sum_most) = geometric_sum_within(found.lives, expected.most);
    let (outcome, why) = decide(claim, found, expected);
    let bound = hundredths(sum_most, found.lives);
    let of_theory = if claim.at_most == AtMost::Theory { "e^(1/beta) = " } else { "" };
    Verdict {
        bound: Some(bound),
        bound_text: format!(
            "{of_theory}{:.2} on average, {:.2} of {} lives at {SUM_CONFIDENCE}",
            expected.mean,
            bound as f64 / 100.0,
            found.lives
        ),
        observed: Some(hundredths(found.sum, found.lives)),
        outcome,
        why,
        witness,
        ..Verdict::new(case.rung, claim)
    }
}

/// The rebuilds of a number of lives, 1 or more.
#[derive(Debug, Clone, Copy)]
struct Found {
    lives: u64,
    sum: u64,
}

fn hundredths(sum: u64, lives: u64) -> u64 {
    (sum as f64 * 100.0 / lives as f64).round() as u64
}

/// The mean that is expected, and the largest one that the store's share of the time explains.
#[derive(Debug, Clone, Copy)]
struct Expected {
    mean: f64,
    most: f64,
}

impl Expected {
    fn exactly(mean: f64) -> Self {
        Self { mean, most: mean }
    }
}

/// What the sum of all lives says of the mean.
fn decide(claim: &Claim, found: Found, expected: Expected) -> (Outcome, String) {
    let Found { lives, sum } = found;
    let Expected { mean: bound, most } = expected;
    let mean = |sum: u64| sum as f64 / lives as f64;
    let (least_sum, _) = geometric_sum_within(lives, bound);
    let (_, most_sum) = geometric_sum_within(lives, most);
    let seen = format!("{:.2} on average of {lives} lives", mean(sum));
    let within = format!("{:.2} to {:.2} at {SUM_CONFIDENCE}", mean(least_sum), mean(most_sum));
    let is_theory = claim.at_most == AtMost::Theory;
    if sum > most_sum {
        return (Outcome::Invalid, format!("{seen}: above {most:.2}, so many lives of which have {within}"));
    }
    if lives < LIVES_MIN as u64 {
        return (Outcome::Unknown, format!("{lives} lives are too few, {LIVES_MIN} needed: {seen}"));
    }
    if is_theory && sum < least_sum {
        let why = format!("{seen}: below {bound:.2}, so many lives of which have {within}");
        return (Outcome::Unknown, format!("{why}: theory is not confirmed"));
    }
    if !is_theory && mean(sum) > bound {
        return (Outcome::Unknown, format!("{seen}: above {bound:.2}, but by luck perhaps"));
    }
    let theory = format!("theory: {bound:.2}, {most:.2} with the time that the store took");
    let why = if is_theory { format!("{seen}; {theory}; {within}") } else { seen };
    (Outcome::Valid, why)
}

/// The same where it is short enough for e^(1/beta).
fn taken_in_time(case: &Case<'_>, lives: &[&Boundary<'_>]) -> Result<f64, String> {
    let ratio = until_taken(case, lives);
    if ratio > TAKEN_MAX {
        return Err(format!(
            "the store took values {ratio:.2} times as long after the start as the rebuild took, at most {TAKEN_MAX}: \
             readers recomputed for longer than early recomputation knows"
        ));
    }
    Ok(ratio)
}

/// How much longer it takes until the store has the value than the rebuild took, from 1, on average over the lives.
fn until_taken(case: &Case<'_>, lives: &[&Boundary<'_>]) -> f64 {
    let began = Lives::of(case.history);
    let of_life = |life: &&Boundary<'_>| {
        let first = life.rebuilds.iter().filter(|row| row.end_us.is_some()).min_by_key(|row| row.end_us)?;
        let taken = began.of_value((prefix_of(first), &first.key), life.generation + 1)?;
        let took_us = first.end_us?.saturating_sub(first.start_us).max(1);
        Some(taken.first_us.saturating_sub(first.start_us) as f64 / took_us as f64)
    };
    let ratios: Vec<f64> = lives.iter().filter_map(of_life).collect();
    (ratios.iter().sum::<f64>() / ratios.len().max(1) as f64).max(1.0)
}

/// Each single life, against the layer that coalesces.
fn coalesced(
    case: &Case<'_>,
    claim: &Claim,
    worst: &Boundary<'_>,
    why: &str,
    witness: Option<Witness>,
) -> Verdict {
    let limit = theory::rebuilds(case, worst.key, &worst.rebuilds, Scope::Fleet);
    let hundredths = Limit { at_most: limit.at_most.saturating_mul(100), ..limit };
    Verdict::counted(case, claim, &hundredths, worst.count() * 100, why, witness)
}

/// What e^(1/beta) supposes: many readers during a rebuild, and rebuilds that take alike.
fn premise(case: &Case<'_>, key: &str, beta: f64, lives: &[&Boundary<'_>]) -> Result<(), String> {
    let OriginModel::Fixed { latency_ms } = case.scenario.origin.model else {
        return Err(
            "e^(1/beta) holds where every rebuild takes alike, and this origin's time varies".to_owned()
        );
    };
    let readers = theory::crowd(case, key) * beta;
    if readers < EARLY_CROWD_MIN {
        let why = "readers during a rebuild are too few for e^(1/beta)";
        return Err(format!("r*beta*D = {readers:.1}: {why}"));
    }
    let took = |row: &&LedgerRow| row.end_us.map(|end_us| end_us.saturating_sub(row.start_us) / 1_000);
    let longest_ms =
        lives.iter().flat_map(|life| life.rebuilds.iter().copied()).filter_map(|row| took(&row)).max();
    match longest_ms {
        Some(longest_ms) if 2 * longest_ms > 3 * u64::from(latency_ms) => Err(format!(
            "a rebuild took {longest_ms} ms instead of {latency_ms} ms: a slow origin defeats early recomputation"
        )),
        _ => Ok(()),
    }
}

/// The key that is read most, if one is.
pub(crate) fn hot_key(case: &Case<'_>) -> Option<&'static str> {
    let workload = &case.scenario.workload;
    (workload.keys == 1 || workload.popularity != Popularity::Uniform).then_some("item-1")
}
