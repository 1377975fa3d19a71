//! What became of the known-bad strategies: one line each, for a terminal and for a page.

use herd_judge::{Judgement, Outcome, Verdict};

use crate::herds::{bound, observed};
use crate::markdown::{escaped, row};
use crate::wrap::wrapped;

/// One known-bad strategy after its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracked {
    /// Its name.
    pub strategy: String,
    /// What it is, in one line.
    pub about: String,
    /// Whether it was caught; `None` if nothing can be said.
    pub caught: Option<bool>,
    /// What caught it, or why it was not.
    pub why: String,
    /// How long it took, seconds.
    pub took_s: u64,
}

impl Tracked {
    /// From the judgement of its run. The scenario's first claim (`property`, `scope`) is the one that has to catch it.
    #[must_use]
    pub fn new(
        strategy: &str,
        about: &str,
        judgement: &Judgement,
        first_claim: (&str, &str),
        took_s: u64,
    ) -> Self {
        let (claim, scope) = first_claim;
        let first = |verdict: &&Verdict| verdict.claim == claim && verdict.scope == scope;
        let worst = judgement.verdicts.iter().filter(first).max_by_key(|verdict| verdict.outcome);
        let why = match worst {
            None => "nothing was judged".to_owned(),
            Some(verdict) if verdict.outcome == Outcome::Invalid && verdict.observed > verdict.bound => {
                format!("{claim} ({scope}): {} seen, bound {}", observed(verdict), bound(verdict))
            }
            // Refuted by something else than the count.
            Some(verdict) if verdict.outcome == Outcome::Invalid => {
                format!("{claim} ({scope}): {}", verdict.why)
            }
            Some(verdict) => format!("{claim} ({scope}) is {}: {}", verdict.outcome.name(), verdict.why),
        };
        Self {
            strategy: strategy.to_owned(),
            about: about.to_owned(),
            caught: judgement.as_expected,
            why,
            took_s,
        }
    }

    /// Of a run that failed before it could be judged.
    #[must_use]
    pub fn failed(strategy: &str, about: &str, why: &str, took_s: u64) -> Self {
        let (strategy, about) = (strategy.to_owned(), about.to_owned());
        Self { strategy, about, caught: None, why: why.to_owned(), took_s }
    }

    /// `caught`, `NOT caught` or `unknown`.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self.caught {
            Some(true) => "caught",
            Some(false) => "NOT caught",
            None => "unknown",
        }
    }
}

/// The table for a terminal of this width in characters; without one nothing is broken. Ends in a line's end.
#[must_use]
pub fn track_record(all: &[Tracked], width: Option<usize>) -> String {
    let width = width.unwrap_or(usize::MAX);
    let names = all.iter().map(|one| one.strategy.chars().count()).chain([8]).max().unwrap_or(0);
    let mut text = format!("{:<names$}  outcome       time  caught by, or why not\n", "strategy");
    for one in all {
        let first = format!("{:<names$}  {:<10}  {:>4} s  ", one.strategy, one.outcome(), one.took_s);
        text.push_str(&wrapped(&first, &one.why, width));
    }
    text.push_str(&format!("\n{}\n", summary(all)));
    text
}

/// The same as Markdown, with what each strategy is.
#[must_use]
pub fn track_record_markdown(all: &[Tracked]) -> String {
    let mut text = "# Track record\n\n".to_owned();
    row(
        &mut text,
        &["strategy", "what it is", "outcome", "caught by, or why not", "time"].map(str::to_owned),
    );
    row(&mut text, &["---"; 5].map(str::to_owned));
    for one in all {
        let cells = [&one.strategy, &one.about, one.outcome(), &one.why, &format!("{} s", one.took_s)];
        row(&mut text, &cells.map(str::to_owned));
    }
    text.push_str(&format!("\n{}\n", escaped(&summary(all))));
    text
}

fn summary(all: &[Tracked]) -> String {
    let of = |caught| all.iter().filter(|one| one.caught == caught).count();
    let strategies = if all.len() == 1 { "strategy" } else { "strategies" };
    format!(
        "{} of {} known-bad {strategies} caught, {} not caught, {} unknown",
        of(Some(true)),
        all.len(),
        of(Some(false)),
        of(None)
    )
}
