//! A handmade run in which a fault bit, twice on two nodes, with a contrast that is refuted.

use std::time::Duration;

use herd_history::{FaultPhase, FaultRecord, History, MembershipRecord, Outcome as Ended};
use herd_judge::{Judgement, Outcome, judge, scenario_of};
use herd_report::{Ran, html, junit, markdown, summary, table};

use crate::made::{self, START_US};

/// What nobody should be able to make markup of.
const EVIL: &str = "state T (stopped) <script>alert('x')</script> | `a`";

fn step(rung: &str, ms: u64, turn: u64, target: &str, phase: FaultPhase, note: &str) -> FaultRecord {
    FaultRecord {
        at_us: START_US + ms * 1_000,
        rung: rung.to_owned(),
        fault: "holder-paused".to_owned(),
        kind: "pause".to_owned(),
        turn,
        target: target.to_owned(),
        phase,
        hit: 0,
        note: note.to_owned(),
    }
}

/// As the scenario planned it, so that the node that left and came back is accounted for.
const PLANNED: &str = r#"
[[fault]]
name = "holder-paused"
rungs = ["lock"]
at_ms = 1200
for_ms = 800
times = 2
every_ms = 1400
kind = "pause"
part = "cache-node"
some = 2
"#;

/// The made ladder; in its rung `lock` nodes are paused, and requests fail meanwhile.
pub(crate) fn run() -> (Judgement, History) {
    let (_, mut history) = made::run([20, 4, 1]);
    let hits = [(0, "node-1", 1_200), (0, "node-2", 1_220), (1, "node-1", 2_600), (1, "node-2", 2_620)];
    for (turn, target, at) in hits {
        let mut push = |ms, phase, note| history.faults.push(step("lock", ms, turn, target, phase, note));
        push(at, FaultPhase::Injected, "pid 4711");
        push(at + 3, FaultPhase::Confirmed, EVIL);
        push(at + 803, FaultPhase::Repaired, "");
        push(at + 1_000, FaultPhase::Recovered, "it answered");
    }
    let lock = &mut history.rungs[2];
    for row in lock
        .operations
        .iter_mut()
        .filter(|row| (1_200..2_000).contains(&((row.intended_us - START_US) / 1_000)))
    {
        if row.seq % 5 == 0 {
            row.outcome = Ended::DeadlineExceeded;
            row.done_us = row.intended_us + 400_000;
        }
    }
    for (at, left) in [(1_900, true), (2_100, false)] {
        let at_us = START_US + at * 1_000;
        lock.record.moved.push(MembershipRecord { at_us, node: "node-1".to_owned(), left });
    }
    history.manifest.scenario_text.push_str(PLANNED);
    let scenario = scenario_of(&history.manifest).unwrap();
    let mut judgement = judge(&scenario, &history);
    for verdict in &mut judgement.verdicts {
        verdict.outcome = Outcome::Valid;
        if verdict.claim == "rebuilds_per_boundary" && verdict.rung == "none" {
            (verdict.expected, verdict.outcome) = ("invalid", Outcome::Invalid);
            verdict.bound_text = "1 for the fleet".to_owned();
        }
        if verdict.claim == "answers_never_go_back" {
            verdict.phase = Some("during".to_owned());
        }
    }
    (judgement.outcome, judgement.as_expected) = (Outcome::Valid, Some(true));
    (judgement, history)
}

/// Goal: what was done, what was seen of it and how the fleet did stand in every form, and foreign text becomes no markup.
#[test]
fn faults_are_told_in_every_form() {
    let (judgement, history) = run();
    insta::assert_snapshot!("faults_of_80", table(&judgement, Some(80)));
    insta::assert_snapshot!("faults_as_markdown", markdown(&judgement, &history));
    let page = html(&judgement, &history);
    assert_eq!(
        page.matches("<rect class=\"shade fault\"").count(),
        2 * 2,
        "turns, not targets; own plot and that of all"
    );
    assert!(page.contains("<title>fault holder-paused on node-1, node-2</title>"));
    assert_eq!(page.matches("The course as a table").count(), 3, "a text for each plot");
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)") && !page.contains("<script"));
    assert!(page.contains("<td>during</td>"));
}

/// Goal: a contrast that is refuted is no failure anywhere; one that is not refuted is.
#[test]
fn contrasts_are_as_expected() {
    let (mut judgement, history) = run();
    assert!(html(&judgement, &history).contains("<span class=\"valid\">refuted, as expected</span>"));
    let cases = junit(&judgement);
    assert!(
        !cases.contains("<failure") && cases.contains("rebuilds_per_boundary (fleet), to be refuted"),
        "{cases}"
    );
    assert!(cases.contains("answers_never_go_back (fleet, during the faults)"));
    judgement.verdicts[0].outcome = Outcome::Valid;
    assert!(junit(&judgement).contains("<failure"));
    assert!(table(&judgement, None).contains("is NOT refuted, as it should be"));
    assert!(!table(&judgement, None).contains("as expected: the rung is a contrast"));
}

/// Goal: a set of scenarios is summed up for people and for machines: as expected, caught, neither, and what was never judged.
#[test]
fn sets_are_summed_up() {
    let (good, history) = run();
    let scenario = scenario_of(&history.manifest).unwrap();
    let took = Duration::from_secs(52);
    let mut broken = good.clone();
    (broken.verdicts[1].outcome, broken.as_expected) = (Outcome::Invalid, Some(false));
    let mut bad = broken.clone();
    (bad.expect, bad.as_expected, bad.outcome) = ("invalid", Some(true), Outcome::Invalid);
    let all = [
        Ran::judged("holder-paused", &scenario, &good, took),
        Ran::judged("redis-emptied", &scenario, &broken, took),
        Ran::judged("no-fence", &scenario, &bad, took * 3),
        Ran::failed("retry-storm", &scenario, "Redis is missing: <install> it", took),
    ];
    let told = summary(&all, &[("long", "its load lasts too long".to_owned())], Some(100));
    insta::assert_snapshot!("set_of_100", told.text);
    insta::assert_snapshot!("set_as_markdown", told.markdown);
    assert_eq!((told.junit.matches("<failure").count(), told.junit.matches("<error").count()), (1, 1));
    assert!(
        told.junit.contains("<skipped") && told.junit.contains("its load lasts too long"),
        "{}",
        told.junit
    );
    assert!(summary(&all, &[], Some(60)).text.lines().all(|line| line.chars().count() <= 60));
}
