//! A bound, and what a count beyond or below it means.

use herd_scenario::{AtMost, Claim};

/// A bound on one count.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Limit {
    pub(crate) at_most: u64,
    /// Below it, on average over complete boundaries, the herd never formed and nothing is shown.
    pub(crate) at_least: f64,
    pub(crate) text: String,
    /// A premise of the bound that did not hold in this case: exceeding the bound then shows nothing.
    pub(crate) broken_premise: Option<String>,
}

impl Limit {
    pub(crate) fn exactly(at_most: u64, text: impl Into<String>) -> Self {
        Self { at_most, at_least: 0.0, text: text.into(), broken_premise: None }
    }

    /// Nothing at all.
    pub(crate) fn none() -> Self {
        Self::exactly(0, "0")
    }

    /// So many more, each `what`; as it is for none.
    pub(crate) fn and(self, more: u64, what: &str) -> Self {
        if more == 0 {
            return self;
        }
        let text = format!("{}, plus {more} {what}", self.text);
        Self { at_most: self.at_most.saturating_add(more), text, ..self }
    }

    /// This limit, or the other, with its premise, where that allows for less.
    pub(crate) fn no_more_than(self, other: Self) -> Self {
        if self.at_most <= other.at_most {
            return self;
        }
        Self {
            at_most: other.at_most,
            at_least: self.at_least.min(0.75 * other.at_most as f64),
            text: format!("{}, at most {}", self.text, other.text),
            broken_premise: other.broken_premise,
        }
    }

    /// The claim's bound: a number that is claimed stands for itself.
    pub(crate) fn of(claim: &Claim, theory: impl FnOnce() -> Self) -> Self {
        match claim.at_most {
            AtMost::Theory => theory(),
            AtMost::Number(number) => Self::exactly(number, number.to_string()),
        }
    }

    /// The same where theory may have nothing to say.
    pub(crate) fn of_some(claim: &Claim, theory: impl FnOnce() -> Option<Self>) -> Option<Self> {
        match claim.at_most {
            AtMost::Theory => theory(),
            AtMost::Number(number) => Some(Self::exactly(number, number.to_string())),
        }
    }
}
