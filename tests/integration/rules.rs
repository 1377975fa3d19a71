//! The alerts' rules: promtool's own tests of them, and the same rules with all their times divided.

use crate::architecture::root;
use crate::prometheus::promtool;
use std::{fmt::Write as _, fs, path::PathBuf, process::Output, thread};

/// Goal: rules and configurations are what Prometheus takes, and each alert fires on the series that must fire it and on no other.
#[test]
fn rules_pass_their_own_tests() {
    for args in [
        ["check", "rules", "rules.yml"],
        ["check", "config", "prometheus.yml"],
        ["check", "config", "processes.yml"],
        ["test", "rules", "rules_test.yml"],
    ] {
        let output = promtool(&folder(), &args);
        assert!(output.status.success(), "promtool {args:?}: {}", said(&output));
    }
}

/// What is changed in the rules: the alert, what stands there, what is put in its place.
type Wrong = (&'static str, &'static str, &'static str);

/// Alerts that never fire.
const NEVER: [Wrong; 6] = [
    ("CacheMissRateHigh", "herd:misses:rate30s > 5 *", "herd:misses:rate30s > 500 *"),
    ("OriginQueriesSpike", "> 10 * clamp_min", "> 1000 * clamp_min"),
    ("LockWaitersStarve", "herd:lock_wait_seconds:p99 > (", "herd:lock_wait_seconds:p99 > 100 * ("),
    ("OriginLoadPerRequestHigh", "ratio30s > 3 * avg", "ratio30s > 300 * avg"),
    ("ErrorBudgetBurn", "> 14.4 * 0.001", "> 1444 * 0.001"),
    ("OriginSawtooth", ">= 4", ">= 4000"),
];

/// Alerts that fire where they must not.
const TOO_OFTEN: [Wrong; 6] = [
    ("CacheMissRateHigh", "herd:misses:rate30s > 5 *", "herd:misses:rate30s > 0 *"),
    ("OriginQueriesSpike", "> 10 * clamp_min", "> 0 * clamp_min"),
    ("LockWaitersStarve", "herd:lock_wait_seconds:p99 > (", "herd:lock_wait_seconds:p99 > 0 * ("),
    ("OriginLoadPerRequestHigh", "ratio30s > 3 * avg", "ratio30s > 0 * avg"),
    ("ErrorBudgetBurn", "OK|NOT_FOUND", "OK"),
    ("OriginSawtooth", ">= 4", ">= 0"),
];

/// Alerts without their second half: they would speak up for load alone. And a rebuild that is not a number taken for one.
const HALF: [Wrong; 3] = [
    ("CacheMissRateHigh", "ratio30s > 2 * (1 -", "ratio30s > 0 * (1 -"),
    ("OriginLoadPerRequestHigh", "offset 2m) - 0.1", "offset 2m) + 1"),
    ("LockWaitersStarve", "herd:rebuild_seconds:p99 >= 0)", "herd:rebuild_seconds:p99)"),
];

/// Alerts that end in the middle of an incident, or miss the slow, the total or the hidden one.
const TOO_SHORT: [Wrong; 5] = [
    (
        "CacheMissRateHigh",
        "keep_firing_for: 25m\n        labels: { severity: ticket }",
        "labels: { severity: ticket }",
    ),
    ("LockWaitersStarve", "or vector(0)", "or vector(1000)"),
    (
        "OriginLoadPerRequestHigh",
        "keep_firing_for: 25m\n        labels: { severity: page }",
        "labels: { severity: page }",
    ),
    ("ErrorBudgetBurn", "code!=\"INVALID_ARGUMENT\"", "code!=\"none\""),
    ("OriginSawtooth", "bool[20m]) >= 2", "bool[20m]) >= 2000"),
];

/// Alerts that do not end with the incident, or fire at what is a client's mistake, an edge of a bucket, three deploys within an hour.
const TOO_LONG: [Wrong; 7] = [
    (
        "CacheMissRateHigh",
        "keep_firing_for: 25m\n        labels: { severity: ticket }",
        "keep_firing_for: 60m\n        labels: { severity: ticket }",
    ),
    ("LockWaitersStarve", "herd:lock_wait_seconds:p99 > 0.5", "herd:lock_wait_seconds:p99 > 0"),
    (
        "OriginLoadPerRequestHigh",
        "keep_firing_for: 25m\n        labels: { severity: page }",
        "keep_firing_for: 60m\n        labels: { severity: page }",
    ),
    ("ErrorBudgetBurn", "|INVALID_ARGUMENT", ""),
    ("OriginSawtooth", "bool[20m]) >= 2", "bool[20m]) >= 1"),
    ("OriginSawtooth", "offset 20m) >= 2", "offset 20m) >= 1"),
    ("OriginSawtooth", "offset 40m) >= 2", "offset 40m) >= 1"),
];

/// Goal: an alert that would not fire any more, or one that would fire for nothing, fails those tests.
#[test]
fn rules_that_are_wrong_fail_their_tests() {
    // At the same time: each is a dozen seconds of one core.
    let all = [&NEVER[..], &TOO_OFTEN, &HALF, &TOO_SHORT, &TOO_LONG];
    thread::scope(|scope| {
        for wrongs in all {
            scope.spawn(move || fail_their_tests(wrongs));
        }
    });
}

/// Asserts that the tests tell of each alert that is changed in this way.
fn fail_their_tests(wrongs: &[Wrong]) {
    let read = |name: &str| fs::read_to_string(folder().join(name)).expect("it is readable");
    let here = tempfile::tempdir().expect("a folder");
    let mut rules = read("rules.yml");
    for (alert, there, wrong) in wrongs {
        assert!(rules.contains(there), "{alert}: no {there:?} in the rules");
        rules = rules.replace(there, wrong);
    }
    fs::write(here.path().join("rules.yml"), rules).expect("written");
    fs::write(here.path().join("rules_test.yml"), read("rules_test.yml")).expect("written");
    let output = promtool(here.path(), &["test", "rules", "rules_test.yml"]);
    assert!(!output.status.success(), "{wrongs:?} pass");
    for (alert, _, wrong) in wrongs {
        assert!(said(&output).contains(&format!("alertname: {alert},")), "{alert} with {wrong:?} passes");
    }
}

/// Rules with every time in them divided by `by`: windows, offsets, steps, how long an alert must hold, how often it is looked
/// at. The expressions are the same otherwise; the names of recorded series keep the times that they were named by.
pub(crate) fn in_less_time(rules: &str, by: u64) -> String {
    let mut shorter = String::with_capacity(rules.len());
    let mut rest = rules;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        shorter.push_str(before);
        let digits = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let unit_ends =
            from[digits..].find(|c: char| !c.is_ascii_alphabetic()).map_or(from.len(), |end| digits + end);
        // A second time within brackets is the step of a subquery.
        let is_time = ["[", "offset ", "for: ", "interval: "].iter().any(|lead| before.ends_with(lead))
            || before == ":";
        let unit_ms = match &from[digits..unit_ends] {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        match (is_time, unit_ms, from[..digits].parse::<u64>()) {
            (true, Some(unit_ms), Ok(number)) => {
                let _ = write!(shorter, "{}ms", number * unit_ms / by);
            }
            _ => shorter.push_str(&from[..unit_ends]),
        }
        rest = &from[unit_ends..];
    }
    shorter + rest
}

/// Goal: every kind of time is divided, and nothing else is touched.
#[test]
fn times_are_divided_and_nothing_else() {
    let rules = "interval: 5s\n- record: herd:x:rate5s\n  expr: sum(rate(y_total[30s])) > 14.4 * 0.001\n\
                 and resets((herd:x:rate5s > bool 2 * avg_over_time(herd:x:rate5s[5m] offset 2m))[5m:5s]) >= 4\n\
                 > bool clamp_min(4 * avg_over_time(herd:x:rate5s[1h]), 4)\n for: 15s\n keep_firing_for: 25m\n";
    let shorter = "interval: 500ms\n- record: herd:x:rate5s\n  expr: sum(rate(y_total[3000ms])) > 14.4 * 0.001\n\
                   and resets((herd:x:rate5s > bool 2 * avg_over_time(herd:x:rate5s[30000ms] offset 12000ms))[30000ms:500ms]) >= 4\n\
                   > bool clamp_min(4 * avg_over_time(herd:x:rate5s[360000ms]), 4)\n for: 1500ms\n keep_firing_for: 150000ms\n";
    assert_eq!(in_less_time(rules, 10), shorter);
    let shipped = fs::read_to_string(folder().join("rules.yml")).expect("the rules are readable");
    let here = tempfile::tempdir().expect("a folder");
    fs::write(here.path().join("rules.yml"), in_less_time(&shipped, 10)).expect("written");
    let output = promtool(here.path(), &["check", "rules", "rules.yml"]);
    assert!(output.status.success(), "{}", said(&output));
}

/// Where rules and configurations stand.
pub(crate) fn folder() -> PathBuf {
    root().join("dashboards/prometheus")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
