use herd_history::StartRecord;
use herd_judge::WitnessWrite;

use crate::ladder;
use crate::made::run;

/// Goal: the terminal's table shows before and after at a glance, and names which herd each layer bounds.
#[test]
fn table_of_a_good_ladder() {
    insta::assert_snapshot!(herd_report::table(&run([20, 4, 1]).0, None));
}

/// Goal: what went wrong stands under the table in words.
#[test]
fn table_of_a_refuted_ladder() {
    insta::assert_snapshot!(herd_report::table(&run([20, 6, 1]).0, None));
}

/// Goal: seventeen rungs stay readable on every terminal: whole where there is room, with the bounds under the table where there is
/// less, and close together on 80 columns.
#[test]
fn tables_of_every_layer() {
    let (judgement, _) = ladder::run();
    for (name, width) in [("wide", None), ("of_120", Some(120)), ("of_80", Some(80))] {
        let table = herd_report::table(&judgement, width);
        let longest = table.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(width.is_none_or(|width| longest <= width), "{longest} of {width:?}");
        insta::assert_snapshot!(format!("table_of_every_layer_{name}"), table);
    }
}

/// Goal: a run of one rung is no table of one row: its figures, its claims, and the worst case of what is refuted.
#[test]
fn one_rung_alone() {
    insta::assert_snapshot!(
        "one_rung_refuted",
        herd_report::table(&ladder::run_of("owner-routing").0, Some(100))
    );
    insta::assert_snapshot!(
        "one_rung_valid",
        herd_report::table(&ladder::run_of("waiter-timeout").0, Some(100))
    );
}

/// Goal: the Markdown report holds the table, the verdicts and their witnesses.
#[test]
fn markdown_of_a_refuted_ladder() {
    let (judgement, history) = run([20, 6, 1]);
    insta::assert_snapshot!(herd_report::markdown(&judgement, &history));
}

/// Goal: the Markdown report tells how the keys began and what was done to a rung, with the clock of its window.
#[test]
fn markdown_of_every_layer() {
    let (judgement, history) = ladder::run();
    insta::assert_snapshot!(herd_report::markdown(&judgement, &history));
}

/// Goal: a gate that stayed shut, a deploy that was stopped and a node that never came back are told as such.
#[test]
fn unhappy_events_are_told() {
    let (judgement, mut history) = ladder::run();
    for rung in &mut history.rungs {
        if let StartRecord::Prewarmed { opened, .. } = &mut rung.record.start {
            *opened = false;
        }
        if let Some(deploy) = &mut rung.record.deploy {
            (deploy.switched_us, deploy.retired_us, deploy.pauses) = (None, None, 1);
        }
        rung.record.membership.truncate(1);
    }
    let text = herd_report::markdown(&judgement, &history);
    for told in [
        "The pre-warm gate stayed SHUT",
        "paused once; it was stopped before the switch",
        "At 2.00 s node-7 left",
    ] {
        assert!(text.contains(told), "{told}");
    }
    assert!(!text.contains("came back"));
    let page = herd_report::html(&judgement, &history);
    assert!(page.contains("<title>node-7 left the membership</title>"), "marked");
}

/// Goal: a witness that consists of the store's writes shows them in every form, with what the store decided.
#[test]
fn writes_of_a_witness_are_listed() {
    let (mut judgement, history) = ladder::run_of("owner-routing");
    let worst = judgement.verdicts[0].witness.as_mut().unwrap();
    worst.rebuilds.clear();
    (worst.rebuilds_total, worst.writes_total) = (0, 14);
    let write = |n: u64, verdict| WitnessWrite {
        at_us: worst.at_us + n * 30_000,
        generation: 3,
        token: 40 + n,
        epoch: 1,
        version: 7,
        node: format!("node-{n}"),
        kind: "value",
        verdict,
        trace: format!("{n:032x}"),
    };
    worst.writes = vec![write(0, "accepted"), write(1, "token_old")];
    let told = [
        "write of a value by node-0: accepted, generation 3, token 40, epoch 1, version 7, 0 ms after the first",
        "write of a value by node-1: token_old, generation 3, token 41, epoch 1, version 7, 30 ms after the first",
        "and 12 more",
    ];
    let (table, markdown) =
        (herd_report::table(&judgement, None), herd_report::markdown(&judgement, &history));
    for line in told {
        assert!(table.contains(line) && markdown.contains(line), "{line}: {table}");
    }
    let page = herd_report::html(&judgement, &history);
    assert!(page.contains("<td>write of a value</td><td>node-1</td><td>token_old</td>"), "{page}");
    assert!(page.contains("and 12 more"));
}

/// Goal: test dashboards show refuted claims as failures and unknown ones as errors.
#[test]
fn junit_of_a_refuted_ladder_without_its_lock_rung() {
    let (_, mut history) = run([20, 6, 1]);
    history.rungs.pop();
    let scenario = herd_judge::scenario_of(&history.manifest).unwrap();
    insta::assert_snapshot!(herd_report::junit(&herd_judge::judge(&scenario, &history)));
}

/// Goal: results.json has every field that is promised, by name.
#[test]
fn results_have_the_promised_fields() {
    let results: serde_json::Value =
        serde_json::from_str(&herd_report::results_json(&run([20, 4, 1]).0)).unwrap();
    for field in ["name", "backend", "nodes", "seed", "outcome", "rungs", "verdicts"] {
        assert!(!results[field].is_null(), "{field}");
    }
    assert_eq!(
        (results["outcome"].as_str(), results["backend"].as_str()),
        (Some("valid"), Some("processes"))
    );
    let rung = &results["rungs"][1];
    for field in [
        "name",
        "layers",
        "boundaries",
        "requests",
        "errors",
        "peak_concurrent_rebuilds",
        "miss_rate",
        "stale_served",
    ] {
        assert!(!rung[field].is_null(), "{field}");
    }
    for (object, fields) in [
        ("origin_queries_per_boundary", ["max", "mean", "min"]),
        ("latency_ms", ["p50", "p99", "max"]),
        ("load", ["offered_per_s", "sent_per_s", "lag_p99_ms"]),
    ] {
        for field in fields {
            assert!(rung[object][field].is_number(), "{object}.{field}");
        }
    }
    let verdict = &results["verdicts"][0];
    for field in ["rung", "claim", "scope", "bound", "observed", "outcome", "why", "witness"] {
        assert!(!verdict[field].is_null(), "{field}");
    }
    assert_eq!(results["rungs"][2]["origin_queries_per_boundary"]["max"], 1);
}
