//! Which claims are held against plans that were drawn at random.

use toml_edit::{DocumentMut, Item, Value};

use crate::claim::{AtMost, Claim, Property};
use crate::mistakes::Mistakes;
use crate::model::{Expect, Scenario};

/// A scenario whose every claim can hold under any faults, and what was taken out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderAnyFaults {
    /// Its text; all else as it was written.
    pub text: String,
    /// The claims that were taken out, in words and in their order.
    pub left_out: Vec<String>,
}

impl Claim {
    /// Whether it can hold whatever faults happen: what must never happen at all, and the sizes of herds where theory bounds them, which takes
    /// the faults that were seen into its bound.
    ///
    /// Not so what faults may harm without anybody's mistake: whether and how fast readers are answered, what is sent and missed, how old a
    /// value is that a frozen process hands out; nor a number as the bound of a herd, a claim about a part of the rung, or a contrast.
    #[must_use]
    pub fn holds_under_any_faults(&self) -> bool {
        let holds = match self.property {
            Property::AnswersNeverGoBack
            | Property::AcceptedWritesPerGeneration
            | Property::StaleWrites
            | Property::AbsenceOutlivesInsert
            | Property::RepeatedTokens => true,
            Property::RebuildsPerBoundary | Property::ConcurrentRebuilds => self.at_most == AtMost::Theory,
            _ => false,
        };
        holds && self.phase.is_none() && self.expect == Expect::Valid
    }
}

/// The scenario with those of its claims alone that hold under any faults ([`Claim::holds_under_any_faults`]); the first one too where the
/// scenario is known to be bad and is to be caught by it. If no claim is left the text has none, and is no scenario any more.
///
/// # Errors
/// If the text is no scenario, with all that is wrong with it.
pub fn under_any_faults(text: &str) -> Result<UnderAnyFaults, Mistakes> {
    let scenario = Scenario::parse("the scenario to draw for", text)?;
    let catches = |index: usize| index == 0 && scenario.expect == Expect::Invalid;
    let stays: Vec<bool> = (scenario.claims.iter().enumerate())
        .map(|(index, claim)| claim.holds_under_any_faults() || catches(index))
        .collect();
    let left_out = scenario
        .claims
        .iter()
        .zip(&stays)
        .filter(|(_, stays)| !**stays)
        .map(|(claim, _)| told(claim))
        .collect();
    let mut document: DocumentMut = match text.parse() {
        Ok(document) => document,
        // It was parsed just now.
        Err(_) => return Ok(UnderAnyFaults { text: text.to_owned(), left_out: Vec::new() }),
    };
    let mut next = stays.iter();
    let mut keep = || next.next().copied().unwrap_or(true);
    let is_empty = match document.get_mut("claim") {
        Some(Item::ArrayOfTables(tables)) => {
            tables.retain(|_| keep());
            tables.is_empty()
        }
        Some(Item::Value(Value::Array(tables))) => {
            tables.retain(|_| keep());
            tables.is_empty()
        }
        _ => false,
    };
    if is_empty {
        document.remove("claim");
    }
    Ok(UnderAnyFaults { text: document.to_string(), left_out })
}

/// `goodput_lost_percent (overload) of "bare", after its faults`.
fn told(claim: &Claim) -> String {
    let mut told = format!("{} ({})", claim.property, claim.scope);
    if let Some(rung) = &claim.rung {
        told.push_str(&format!(" of {rung:?}"));
    }
    if let Some(phase) = claim.phase {
        told.push_str(&format!(", {phase} its faults"));
    }
    told
}
