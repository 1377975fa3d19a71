//! Plans of faults drawn from a seed, and reduced.

use std::collections::BTreeSet;

use herd_scenario::{FaultAction, FaultKind, PRESETS, Property, Scenario, draw, smaller, under_any_faults};
use proptest::prelude::*;

use crate::SMALL;

fn parsed(text: &str) -> Scenario {
    Scenario::parse("plan", text).unwrap_or_else(|mistakes| panic!("{text}\n{mistakes}"))
}

fn drawn(text: &str, seed: u64) -> String {
    draw(text, seed).unwrap_or_else(|mistakes| panic!("seed {seed}: {mistakes}"))
}

/// Two rungs, and a claim that more load cannot refute.
fn base() -> String {
    SMALL
        .replace("rebuilds_per_boundary", "answers_never_go_back")
        .replace("[workload]", "[workload]\nwindow_ms = 60_000")
        .replace("[[claim]]", "[[rung]]\nname = \"none\"\nlayers = []\n\n[[claim]]")
}

/// Goal: every drawn plan is a scenario with 1 to 4 more faults, over in time; the seeds draw every kind that may be drawn.
#[test]
fn every_plan_is_a_scenario() {
    let mut kinds = BTreeSet::new();
    let mut counts = BTreeSet::new();
    for seed in 0..500 {
        let plan = parsed(&drawn(&base(), seed));
        counts.insert(plan.faults.len());
        for fault in &plan.faults {
            assert!(fault.ends_ms() <= 59_000, "seed {seed}: {fault}");
            kinds.insert(fault.action.kind());
        }
    }
    assert!(counts.iter().all(|count| (1..=4).contains(count)) && counts.len() == 4, "{counts:?}");
    let never = [FaultKind::ScaleOut, FaultKind::RedisPromote];
    let every: BTreeSet<FaultKind> =
        FaultKind::ALL.iter().copied().filter(|kind| !never.contains(kind)).collect();
    assert_eq!(kinds, every);
}

/// Goal: whatever the scenario: those that are shipped, and a short one.
#[test]
fn any_scenario_can_be_drawn_for() {
    let short = SMALL.replace("[workload]", "[workload]\nboundaries = 0\nwindow_ms = 100");
    let alone = SMALL.replace("[origin]", "[fleet]\nnodes = 1\n[origin]");
    for text in [short.as_str(), alone.as_str()].into_iter().chain(PRESETS.iter().map(|preset| preset.text)) {
        let before = parsed(text).faults.len();
        for seed in 0..20 {
            let after = parsed(&drawn(text, seed)).faults.len();
            assert!((before..=before + 4).contains(&after));
        }
    }
}

/// Goal: the same seed draws the same text, another one another; the scenario before the faults stays as it is written.
#[test]
fn plans_come_from_the_seed() {
    let texts: BTreeSet<String> = (0..50).map(|seed| drawn(&base(), seed)).collect();
    assert_eq!(texts.len(), 50);
    for text in &texts {
        assert!(text.starts_with(&base()));
    }
    assert_eq!(drawn(&base(), 7), drawn(&base(), 7));
    let twice = drawn(&drawn(&base(), 7), 8);
    assert!(parsed(&twice).faults.len() > parsed(&drawn(&base(), 7)).faults.len());
}

/// Goal: a load that a claim is about is not changed.
#[test]
fn claims_about_the_load_are_left_alone() {
    let base = base().replace("answers_never_go_back", "rebuilds_per_boundary");
    for seed in 0..200 {
        let changes_load =
            |action: &FaultAction| matches!(action, FaultAction::Burst { .. } | FaultAction::Flood { .. });
        assert!(!parsed(&drawn(&base, seed)).faults.iter().any(|fault| changes_load(&fault.action)));
    }
}

/// Goal: a text that is no scenario is told as such, and has nothing smaller.
#[test]
fn no_scenario_no_plan() {
    assert!(draw("name = 3", 1).unwrap_err().to_string().contains("name: must be text"));
    assert!(smaller("name = 3").is_empty());
    assert!(smaller(SMALL).is_empty());
}

/// Goal: each way to make a plan smaller, in their order, with all else as it was written.
#[test]
fn what_is_smaller() {
    let base = base();
    let first = "# The first.\n[[fault]]\nkind = \"redis-restart-empty\"\nat_ms = 1\nfor_ms = 100\ntimes = 3\nevery_ms = 200\n";
    let second = "[[fault]]\nkind = \"pause\"\npart = \"cache-node\"\nsome = 5\nat_ms = 1\nfor_ms = 30\n";
    let found = smaller(&format!("{base}\n{first}\n{second}"));
    let once = first.replace("times = 3\nevery_ms = 200\n", "");
    let expected = [
        format!("{base}\n{first}"),
        format!("{base}\n{second}"),
        format!("{base}\n{once}\n{second}"),
        format!("{base}\n{}\n{second}", first.replace("for_ms = 100", "for_ms = 50")),
        format!("{base}\n{first}\n{}", second.replace("some = 5", "some = 1")),
    ];
    assert_eq!(found, expected);
    let one = |which: &str| {
        let text = format!("{base}\n{}", second.replace("some = 5\n", which));
        let plans: Vec<Scenario> = smaller(&text).iter().map(|text| parsed(text)).collect();
        plans.last().and_then(|plan| plan.faults.last().map(ToString::to_string)).unwrap_or_default()
    };
    assert!(one("").contains("(1 drawn)") && one("which = \"minority\"\n").contains("(1 drawn)"));
    assert!(one("index = [4, 2]\n").contains("(number 4)"));
    assert_eq!(one("index = [4]\n"), "");
}

/// Goal: a candidate that lacks what a claim needs is none.
#[test]
fn candidates_that_are_no_scenario_are_left_out() {
    let base = base().replace("answers_never_go_back\"", "recovery_ms\"\nat_most = 1");
    let text = format!("{base}\n[[fault]]\nkind = \"redis-flush\"\nat_ms = 1\n");
    parsed(&text);
    assert!(smaller(&text).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Goal: reduction comes to an end, whichever candidates go on failing; and what always fails loses all its faults.
    #[test]
    fn reduction_ends(seed: u64, picks in prop::collection::vec(0_usize..20, 1..80)) {
        let mut text = drawn(&base(), seed);
        let mut steps = 0;
        loop {
            let candidates = smaller(&text);
            let Some(next) = candidates.get(picks[steps % picks.len()] % candidates.len().max(1)) else { break };
            text = next.clone();
            steps += 1;
            prop_assert!(steps <= 4 * (1 + 1 + 12 + 1), "{text}");
        }
        prop_assert!(parsed(&text).faults.is_empty());
    }
}

/// Goal: what faults may refute without anybody's mistake is taken out and named; the rest stays as it was written.
#[test]
fn claims_that_hold_under_any_faults() {
    let kill = "\n[[fault]]\nkind = \"kill\"\npart = \"redis\"\nat_ms = 1000\nfor_ms = 100\n";
    let claims = "\n# What must never be.\n[[claim]]\nproperty = \"stale_writes\" # none\n\n[[claim]]\nproperty = \"latency_p99_ms\"\nat_most = 5\n\
                  \n[[claim]]\nrung = \"lock\"\nproperty = \"rebuilds_per_boundary\"\nat_most = 1\n\
                  \n[[claim]]\nproperty = \"origin_queries\"\nphase = \"after\"\n\
                  \n[[claim]]\nproperty = \"repeated_tokens\"\nexpect = \"invalid\"\n";
    let text = format!("{}{kill}{claims}", base());
    let found = under_any_faults(&text).unwrap();
    let left: Vec<Property> = parsed(&found.text).claims.iter().map(|claim| claim.property).collect();
    assert_eq!(left, [Property::AnswersNeverGoBack, Property::StaleWrites]);
    assert!(
        found.text.contains("# What must never be.\n[[claim]]\nproperty = \"stale_writes\" # none"),
        "{}",
        found.text
    );
    assert_eq!(
        found.left_out,
        [
            "latency_p99_ms (wait)",
            "rebuilds_per_boundary (fleet) of \"lock\"",
            "origin_queries (fleet), after its faults",
            "repeated_tokens (fleet)"
        ]
    );
    // The claim that has to catch a known-bad strategy stays, whatever it is.
    let bad = SMALL.replace("name = \"small\"", "name = \"small\"\nexpect = \"invalid\"");
    let bad = bad.replace("property = \"rebuilds_per_boundary\"", "property = \"miss_percent\"\nat_most = 1");
    assert_eq!(under_any_faults(&bad).unwrap().text, bad);
    // Nothing is left of a scenario of nothing else.
    let none =
        SMALL.replace("property = \"rebuilds_per_boundary\"", "property = \"miss_percent\"\nat_most = 1");
    let none = under_any_faults(&none).unwrap();
    assert!(!none.text.contains("[[claim]]") && none.left_out == ["miss_percent (keys) of \"lock\""]);
}

/// Goal: the scenario to be explored is judged by all that it claims, and some of the plans drawn for it fit.
#[test]
fn exploratory_scenarios_can_be_explored() {
    let preset = herd_scenario::Preset::named("exploratory/volatile-tokens").expect("it is shipped");
    assert_eq!(under_any_faults(preset.text).unwrap().left_out, [""; 0]);
    for seed in 0..100 {
        parsed(&drawn(preset.text, seed));
    }
}
