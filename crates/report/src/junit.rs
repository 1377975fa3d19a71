//! The verdicts as JUnit test cases, for machines that show test results.

use herd_judge::{Judgement, Outcome};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::expected;

/// `junit.xml`: one suite per rung, one case per claim. Claims that came out as the opposite of what their author expects are
/// failures (a contrast that is refuted is none), unknown ones errors. A run whose scenario
/// expects `invalid` gets one case: whether the known-bad strategy was caught.
#[must_use]
pub fn junit(judgement: &Judgement) -> String {
    let mut report = Report::new(&judgement.name);
    if judgement.expect == "invalid" {
        report.add_test_suite(caught(judgement));
    } else {
        let mut suites: Vec<TestSuite> = Vec::new();
        for verdict in &judgement.verdicts {
            let mut name = expected::name(verdict);
            if verdict.expected == "invalid" {
                name.push_str(", to be refuted");
            }
            let case = case(&name, &verdict.rung, verdict.against_expectation(), &expected::why(verdict));
            match suites.iter_mut().find(|suite| suite.name.as_str() == verdict.rung) {
                Some(suite) => {
                    suite.add_test_case(case);
                }
                None => {
                    let mut suite = TestSuite::new(&verdict.rung);
                    suite.add_test_case(case);
                    suites.push(suite);
                }
            }
        }
        report.add_test_suites(suites);
    }
    report.to_string().expect("a report of plain text can be written to memory")
}

fn caught(judgement: &Judgement) -> TestSuite {
    let outcome = match judgement.as_expected {
        Some(true) => Outcome::Valid,
        Some(false) => Outcome::Invalid,
        None => Outcome::Unknown,
    };
    let why = format!("the judge says {} of a known-bad strategy", judgement.outcome.name());
    let mut suite = TestSuite::new("known-bad");
    suite.add_test_case(case("the judge says invalid", "known-bad", outcome, &why));
    suite
}

fn case(name: &str, class: &str, outcome: Outcome, why: &str) -> TestCase {
    let mut case = TestCase::new(name, status(outcome, why));
    case.set_classname(class);
    case
}

/// `valid` is success, `invalid` a failure, `unknown` an error.
pub(crate) fn status(outcome: Outcome, why: &str) -> TestCaseStatus {
    let mut status = match outcome {
        Outcome::Valid => TestCaseStatus::success(),
        Outcome::Invalid => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Outcome::Unknown => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    if outcome != Outcome::Valid {
        status.set_type(outcome.name());
        status.set_message(why);
    }
    status
}
