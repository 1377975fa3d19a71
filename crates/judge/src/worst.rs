//! Counts of many herds against their bounds: the worst one decides.

use herd_history::LedgerRow;
use herd_scenario::{Claim, Scope};

use crate::Case;
use crate::boundary::Boundary;
use crate::limit::Limit;
use crate::verdict::{Outcome, Verdict};
use crate::witness::Witness;

/// What one herd (or one process's part of it) shows.
pub(crate) struct Count<'a> {
    pub(crate) key: &'a str,
    pub(crate) generation: u64,
    /// Whether the herd had the time to form fully.
    pub(crate) complete: bool,
    pub(crate) rows: Vec<&'a LedgerRow>,
    pub(crate) count: u64,
    pub(crate) limit: Limit,
}

impl<'a> Count<'a> {
    /// All of a boundary; in scope `process` the worst process of it.
    pub(crate) fn of_boundary(
        boundary: &Boundary<'a>,
        scope: Scope,
        limit: impl Fn(&[&'a LedgerRow]) -> Limit,
    ) -> Self {
        let of = |rows: Vec<&'a LedgerRow>| Self {
            key: boundary.key,
            generation: boundary.generation,
            complete: boundary.complete,
            count: rows.len() as u64,
            limit: limit(&rows),
            rows,
        };
        if scope != Scope::Process {
            return of(boundary.rebuilds.clone());
        }
        let mut nodes: std::collections::BTreeMap<&str, Vec<&'a LedgerRow>> =
            std::collections::BTreeMap::new();
        for row in &boundary.rebuilds {
            nodes.entry(&row.node).or_default().push(row);
        }
        Self::worst(nodes.into_values().map(of)).expect("a boundary has at least one rebuild")
    }

    /// The first of the worst.
    pub(crate) fn worst(counts: impl DoubleEndedIterator<Item = Self>) -> Option<Self> {
        counts.rev().max_by_key(rank)
    }

    /// Who did it: the process, or the fleet.
    pub(crate) fn whose(&self, scope: Scope) -> &'a str {
        match scope {
            Scope::Process => self.rows.first().map_or("nobody", |row| row.node.as_str()),
            _ => "the fleet",
        }
    }
}

/// How bad a count is: by how much it is beyond its own limit, and how large.
fn rank(count: &Count<'_>) -> (bool, u64, u64) {
    let excess = count.count.saturating_sub(count.limit.at_most);
    (excess > 0 && count.limit.broken_premise.is_none(), excess, count.count)
}

/// The verdict of the worst count: the one furthest beyond its limit with its premise intact, else the one furthest beyond it, else the largest.
/// `unit` says what the counts are of, `nothing` what is said where there are none.
pub(crate) fn worst_of<'a>(
    case: &Case<'_>,
    claim: &Claim,
    counts: &'a [Count<'a>],
    unit: &str,
    nothing: &str,
    tell: impl Fn(&Count<'a>) -> String,
) -> Verdict {
    // The first of equals: later boundaries do not displace it.
    let Some(worst) = counts.iter().rev().max_by_key(|count| rank(count)) else {
        return Verdict::unknown(case.rung, claim, nothing);
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

/// `1 rebuild`, `2 rebuilds`.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
