//! Property: how many rebuilds the origin started for one boundary.

use herd_history::LedgerRow;
use herd_scenario::{AtMost, Claim, Scope};

use crate::Case;
use crate::boundary::Boundary;
use crate::theory::{self, Limit};
use crate::verdict::{Outcome, Verdict};
use crate::witness::Witness;

/// What one boundary (or one process's part of it) shows.
pub(crate) struct Count<'a> {
    pub(crate) boundary: &'a Boundary<'a>,
    pub(crate) rows: Vec<&'a LedgerRow>,
    pub(crate) count: u64,
    pub(crate) limit: Limit,
}

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let counts: Vec<Count<'_>> =
        case.boundaries.iter().map(|boundary| count(case, claim, boundary)).collect();
    let verdict = worst_of(case, claim, &counts, "boundaries", |worst| match claim.scope {
        Scope::Process => format!(
            "{} started {} for generation {} of {}",
            worst.rows.first().map_or("nobody", |row| row.node.as_str()),
            counted(worst.count, "rebuild", "rebuilds"),
            worst.boundary.generation,
            worst.boundary.key
        ),
        _ => format!(
            "{} from {} for generation {} of {}",
            counted(worst.count, "rebuild", "rebuilds"),
            counted(worst.boundary.by_node().len() as u64, "process", "processes"),
            worst.boundary.generation,
            worst.boundary.key
        ),
    });
    never_formed(&counts, verdict)
}

fn count<'a>(case: &Case<'_>, claim: &Claim, boundary: &'a Boundary<'a>) -> Count<'a> {
    let of = |rows: Vec<&'a LedgerRow>| {
        let limit = limit(claim, || theory::rebuilds(case, boundary, &rows, claim.scope));
        Count { boundary, count: rows.len() as u64, rows, limit }
    };
    if claim.scope != Scope::Process {
        return of(boundary.rebuilds.clone());
    }
    let nodes = boundary.by_node().into_values().rev().map(of);
    // The first of the worst, in the fixed order of names.
    nodes.max_by_key(rank).expect("a boundary has at least one rebuild")
}

/// A number that is claimed stands for itself.
pub(crate) fn limit(claim: &Claim, theory: impl FnOnce() -> Limit) -> Limit {
    match claim.at_most {
        AtMost::Theory => theory(),
        AtMost::Number(number) => {
            Limit { at_most: number, at_least: 0.0, text: number.to_string(), broken_premise: None }
        }
    }
}

/// How bad a count is.
fn rank(count: &Count<'_>) -> (bool, bool, u64) {
    let beyond = count.count > count.limit.at_most;
    (beyond && count.limit.broken_premise.is_none(), beyond, count.count)
}

/// The verdict of the worst count: one beyond its limit with its premise intact, else one beyond it, else the largest.
/// `unit` says what the counts are of.
pub(crate) fn worst_of<'a>(
    case: &Case<'_>,
    claim: &Claim,
    counts: &'a [Count<'a>],
    unit: &str,
    tell: impl Fn(&Count<'a>) -> String,
) -> Verdict {
    // The first of equals: later boundaries do not displace it.
    let Some(worst) = counts.iter().rev().max_by_key(|count| rank(count)) else {
        return Verdict::unknown(case.rung, claim, "no boundary was seen");
    };
    let told = tell(worst);
    let beyond = worst.count > worst.limit.at_most;
    let seen = format!("{told}; the bound is {}", worst.limit.text);
    let (outcome, why) = match &worst.limit.broken_premise {
        Some(premise) if beyond => {
            (Outcome::Unknown, format!("{seen}, but its premise did not hold: {premise}"))
        }
        _ if beyond => (Outcome::Invalid, seen),
        _ => (Outcome::Valid, format!("at worst of {} {unit}: {seen}", counts.len())),
    };
    Verdict {
        bound: Some(worst.limit.at_most),
        bound_text: worst.limit.text.clone(),
        observed: Some(worst.count),
        outcome,
        why,
        witness: Some(Witness::of_rebuilds(told, &worst.rows)),
        ..Verdict::new(case.rung, claim)
    }
}

/// A herd that stayed far below what theory says must come shows nothing about what bounds it.
fn never_formed(counts: &[Count<'_>], verdict: Verdict) -> Verdict {
    let complete: Vec<&Count<'_>> = counts.iter().filter(|count| count.boundary.complete).collect();
    if verdict.outcome != Outcome::Valid || complete.is_empty() {
        return verdict;
    }
    let mean = |value: &dyn Fn(&Count<'_>) -> f64| {
        complete.iter().map(|count| value(count)).sum::<f64>() / complete.len() as f64
    };
    let seen = mean(&|count| count.count as f64);
    let least = mean(&|count| count.limit.at_least);
    if seen >= least {
        return verdict;
    }
    let why = format!(
        "the herd never formed: {seen:.1} rebuilds a boundary on average, theory says at least {least:.0}"
    );
    Verdict { outcome: Outcome::Unknown, why, ..verdict }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
