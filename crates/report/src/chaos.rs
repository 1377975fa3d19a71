//! What became of a set of scenarios that were run one after the other: for a terminal, for a page, for a machine.

use std::time::Duration;

use herd_judge::{Judgement, Outcome, Verdict};
use herd_scenario::Scenario;
use quick_junit::{Report, TestCase, TestCaseStatus, TestSuite};

use crate::expected::{is_as_expected, name, told};
use crate::herds::{bound, observed};
use crate::junit::status;
use crate::markdown::{escaped, row};
use crate::words::{count, first_sentence, seconds};
use crate::wrap::wrapped;

/// One scenario of a set after its run.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    /// Its name, as the user would name it to run it alone.
    pub name: String,
    /// The first sentence of its hypothesis.
    pub about: String,
    /// What its author expects: `valid` or `invalid`.
    pub expect: &'static str,
    /// What the judge says.
    pub outcome: Outcome,
    /// Whether that is what was expected; `None` if nothing can be said.
    pub as_expected: Option<bool>,
    /// What caught it, or the worst that was seen, or why nothing can be said.
    pub why: String,
    /// How long it took, the fleet's start and end included.
    pub took: Duration,
}

impl Ran {
    /// From the judgement of its run.
    #[must_use]
    pub fn judged(name: &str, scenario: &Scenario, judgement: &Judgement, took: Duration) -> Self {
        Self {
            name: name.to_owned(),
            about: first_sentence(&scenario.hypothesis),
            expect: judgement.expect,
            outcome: judgement.outcome,
            as_expected: judgement.as_expected,
            why: why(scenario, judgement),
            took,
        }
    }

    /// Of a run that failed before it could be judged.
    #[must_use]
    pub fn failed(name: &str, scenario: &Scenario, why: &str, took: Duration) -> Self {
        Self {
            name: name.to_owned(),
            about: first_sentence(&scenario.hypothesis),
            expect: scenario.expect.name(),
            outcome: Outcome::Unknown,
            as_expected: None,
            why: why.to_owned(),
            took,
        }
    }

    /// The outcome in a word or a few: `valid`, `caught`, `NOT caught`.
    #[must_use]
    pub fn told(&self) -> &'static str {
        match (self.expect, self.as_expected) {
            (_, None) => "unknown",
            ("invalid", Some(true)) => "caught",
            ("invalid", Some(false)) => "NOT caught",
            (_, Some(true)) => "valid",
            (_, Some(false)) => "INVALID",
        }
    }
}

/// A set's summary in every form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// For a terminal; ends in a line's end.
    pub text: String,
    /// `summary.md`.
    pub markdown: String,
    /// `junit.xml`: one case a scenario. What is not as expected is a failure, what is unknown an error, what was not run is skipped.
    pub junit: String,
}

/// Sums up the scenarios of a set in the order in which they ran, and in JUnit those, with the reason, that were `not_run`. `width` is
/// that of the terminal in characters; without one no line is broken.
#[must_use]
pub fn summary(all: &[Ran], not_run: &[(&str, String)], width: Option<usize>) -> Summary {
    let text = text(all, width.unwrap_or(usize::MAX));
    Summary { text, markdown: markdown(all), junit: junit(all, not_run) }
}

/// Room for the longest word of [`Ran::told`].
const OUTCOME_WIDTH: usize = 10;

fn text(all: &[Ran], width: usize) -> String {
    let names = all.iter().map(|one| one.name.chars().count()).chain([8]).max().unwrap_or(0);
    let times = all.iter().map(|one| seconds(one.took).chars().count()).chain([4]).max().unwrap_or(0);
    let titles =
        format!("{:<names$}  expected  {:<OUTCOME_WIDTH$}  {:>times$}", "scenario", "outcome", "time");
    let room = width.saturating_sub(titles.chars().count() + 2);
    let last = if room >= WHY_WIDTH_MIN { "  caught by, or the worst that was seen" } else { "" };
    let mut text = format!("{titles}{last}\n");
    for one in all {
        let (expect, told, took) = (one.expect, one.told(), seconds(one.took));
        let first = format!("{:<names$}  {expect:<8}  {told:<OUTCOME_WIDTH$}  {took:>times$}  ", one.name);
        // Where little room is left beside the names the reason goes under them.
        if width.saturating_sub(first.chars().count()) >= WHY_WIDTH_MIN {
            text.push_str(&wrapped(&first, &one.why, width));
        } else {
            text.push_str(&format!("{}\n{}", first.trim_end(), wrapped("    ", &one.why, width)));
        }
    }
    text.push_str(&format!("\n{}", wrapped("", &sum(all), width)));
    text
}

/// A reason that is broken into narrower lines is hard to read.
const WHY_WIDTH_MIN: usize = 38;

fn markdown(all: &[Ran]) -> String {
    let mut text = "# Scenarios\n\n".to_owned();
    let titles =
        ["scenario", "hypothesis", "expected", "outcome", "caught by, or the worst that was seen", "time"];
    row(&mut text, &titles.map(str::to_owned));
    row(&mut text, &["---"; 6].map(str::to_owned));
    for one in all {
        let cells = [&one.name, &one.about, one.expect, one.told(), &one.why, &seconds(one.took)];
        row(&mut text, &cells.map(str::to_owned));
    }
    text.push_str(&format!("\n{}\n", escaped(&sum(all))));
    text
}

fn junit(all: &[Ran], not_run: &[(&str, String)]) -> String {
    let mut suite = TestSuite::new("scenarios");
    for one in all {
        let outcome = match one.as_expected {
            Some(true) => Outcome::Valid,
            Some(false) => Outcome::Invalid,
            None => Outcome::Unknown,
        };
        let why = format!("expected {}, {}: {}", one.expect, one.told(), one.why);
        let mut case = TestCase::new(&one.name, status(outcome, &why));
        case.set_classname(format!("expects {}", one.expect));
        case.set_time(one.took);
        suite.add_test_case(case);
    }
    for (name, why) in not_run {
        let mut skipped = TestCaseStatus::skipped();
        skipped.set_message(why.as_str());
        suite.add_test_case(TestCase::new(*name, skipped));
    }
    suite.set_time(total(all));
    let mut report = Report::new("herd chaos");
    report.set_time(total(all));
    report.add_test_suite(suite);
    report.to_string().expect("a report of plain text can be written to memory")
}

fn sum(all: &[Ran]) -> String {
    let of = |as_expected| all.iter().filter(|one| one.as_expected == as_expected).count() as u64;
    let scenarios = if all.len() == 1 { "scenario" } else { "scenarios" };
    format!(
        "{} of {} {scenarios} as expected, {} not as expected, {} unknown, in {}",
        count(of(Some(true))),
        count(all.len() as u64),
        count(of(Some(false))),
        count(of(None)),
        seconds(total(all))
    )
}

fn total(all: &[Ran]) -> Duration {
    all.iter().map(|one| one.took).sum()
}

/// The line that a reader looks for: of a known-bad strategy what its first claim says, else what is not as expected; where all is, what
/// was refuted as a contrast, and how much held.
fn why(scenario: &Scenario, judgement: &Judgement) -> String {
    if judgement.expect == "invalid" {
        return first_claim(scenario, judgement).map_or_else(|| "nothing was judged".to_owned(), shown);
    }
    let not_as_expected = judgement.verdicts.iter().filter(|verdict| is_as_expected(verdict) != Some(true));
    let worst =
        not_as_expected.max_by_key(|verdict| (is_as_expected(verdict) == Some(false), verdict.outcome));
    if let Some(worst) = worst {
        return shown(worst);
    }
    let refuted: Vec<&Verdict> =
        judgement.verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Invalid).collect();
    let held = count((judgement.verdicts.len() - refuted.len()) as u64);
    match refuted.first() {
        None if judgement.verdicts.is_empty() => "nothing was judged".to_owned(),
        None => format!("every claim held ({held})"),
        Some(first) => {
            let more = match refuted.len() - 1 {
                0 => String::new(),
                more => format!(" and {} more", count(more as u64)),
            };
            format!("{}{more}; {held} held", shown(first))
        }
    }
}

/// The worst verdict on the claim that has to catch a known-bad strategy.
fn first_claim<'a>(scenario: &Scenario, judgement: &'a Judgement) -> Option<&'a Verdict> {
    let first = scenario.claims.first()?;
    let about = |verdict: &&Verdict| {
        verdict.claim == first.property.name()
            && verdict.scope == first.scope.name()
            && verdict.phase.as_deref() == first.phase.map(|phase| phase.name())
            && first.rung.as_ref().is_none_or(|rung| *rung == verdict.rung)
    };
    judgement.verdicts.iter().filter(about).max_by_key(|verdict| verdict.outcome)
}

/// One verdict in a line.
fn shown(verdict: &Verdict) -> String {
    let what = if verdict.outcome == Outcome::Invalid && verdict.observed > verdict.bound {
        format!("{} seen, bound {}", observed(verdict), bound(verdict))
    } else {
        verdict.why.clone()
    };
    format!("{}: {} is {}: {what}", verdict.rung, name(verdict), told(verdict))
}
