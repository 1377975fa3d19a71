//! Property: how many rebuilds the origin started for one boundary.

use herd_scenario::{Claim, Scope};

use crate::Case;
use crate::limit::Limit;
use crate::theory;
use crate::verdict::{Outcome, Verdict};
use crate::worst::{Count, counted, worst_of};

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let counts: Vec<Count<'_>> = case
        .boundaries_of(claim)
        .map(|boundary| {
            Count::of_boundary(boundary, claim.scope, |rows| {
                Limit::of(claim, || theory::rebuilds(case, boundary.key, rows, claim.scope))
            })
        })
        .collect();
    let verdict = worst_of(case, claim, &counts, "boundaries", "no boundary was seen", |worst| {
        let rebuilds = counted(worst.count, "rebuild", "rebuilds");
        let of = format!("for generation {} of {}", worst.generation, worst.key);
        match claim.scope {
            Scope::Process => format!("{} started {rebuilds} {of}", worst.whose(claim.scope)),
            _ => {
                let mut nodes: Vec<&str> = worst.rows.iter().map(|row| row.node.as_str()).collect();
                nodes.sort_unstable();
                nodes.dedup();
                format!("{rebuilds} from {} {of}", counted(nodes.len() as u64, "process", "processes"))
            }
        }
    });
    never_formed(&counts, verdict)
}

/// A herd that stayed far below what theory says must come shows nothing about what bounds it.
fn never_formed(counts: &[Count<'_>], verdict: Verdict) -> Verdict {
    let complete: Vec<&Count<'_>> = counts.iter().filter(|count| count.complete).collect();
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
