use herd_scenario::Scenario;

use crate::SMALL;

fn mistakes(text: &str) -> String {
    Scenario::parse("t.toml", text).expect_err("this text has mistakes").to_string()
}

/// Goal: the base of these tests is itself without mistakes, with the documented defaults.
#[test]
fn the_small_scenario_is_right() {
    let small = Scenario::parse("t.toml", SMALL).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!((small.fleet.nodes, small.workload.boundaries, small.seed), (50, 5, 1));
    let lock = small.rungs[0].lock.as_ref().unwrap();
    assert!(lock.second_look && !lock.renew);
}

/// Goal: one reading reports everything that is wrong, each with its line, in order.
#[test]
fn everything_wrong_is_reported_at_once() {
    let text = r#"nmae = "x"
hypothesis = "h"
expect = "invalide"

[fleet]
nodes = 0
routing = "sprad"

[origin]
latency_ms = "fast"
sigma = 1.0

[workload]
rate_per_s = 0
popularity = "one"
keys = 3

[policy]
ttl_ms = -1
colour = true

[[rung]]
name = "a"
layers = ["lock", "lokc"]

[[rung]]
name = "a"
layers = []
[rung.lock]
expiry = 3

[[claim]]
rung = "b"
property = "rebuilds_per_boundry"
at_most = 1.5

[[claim]]
property = "rebuilds_per_boundary"
scope = "negative"
"#;
    let found = mistakes(text);
    let expected = r#"t.toml: 19 mistakes
  t.toml:1: name: is missing
  t.toml:1: nmae: unknown key; did you mean "name"?
  t.toml:3: expect: must be one of "valid" or "invalid", not "invalide"; did you mean "invalid"?
  t.toml:6: fleet.nodes: must be a whole number from 1 to 500, not 0
  t.toml:7: fleet.routing: must be one of "spread", "random" or "owner", not "sprad"; did you mean "spread"?
  t.toml:10: origin.latency_ms: must be a whole number from 1 to 600000, not "fast"
  t.toml:11: origin.sigma: only a log-normal origin has it; say model = "log-normal"
  t.toml:14: workload.rate_per_s: must be a whole number from 1 to 100000, not 0
  t.toml:15: workload.popularity: "one" reads one key, but keys = 3
  t.toml:19: policy.ttl_ms: must be a whole number from 1 to 86400000, not -1
  t.toml:20: policy.colour: unknown key
  t.toml:24: rung[1].layers: must be one of "single-flight", "lock", "waiter-timeout", "stale-while-revalidate", "stale-if-error", "jitter", "negative", "key-filter", "xfetch", "shed", "owner-routing", "pre-warm" or "l1", not "lokc"; did you mean "lock"?
  t.toml:27: rung[2].name: there is already a rung "a"
  t.toml:29: rung[2].lock: the rung's layers do not name "lock"
  t.toml:30: rung[2].lock.expiry: unknown key; did you mean "expiry_ms"?
  t.toml:33: claim[1].rung: there is no rung "b"
  t.toml:34: claim[1].property: must be one of "rebuilds_per_boundary", "concurrent_rebuilds", "answers_never_go_back", "every_request_answered", "accepted_writes_per_generation", "stale_writes", "stale_beyond_bound", "readers_waited", "longest_wait_ms", "negative_queries", "absent_key_queries", "absence_outlives_insert", "highest_bucket", "early_rebuilds_per_window", "origin_in_flight", "edge_in_flight", "sends_per_hundred_requests", "sawtooth", "cold_fills", "origin_queries", "rebuilds_while_failing", "miss_percent", "records_disagree", "goodput_lost_percent", "latency_p99_ms", "recovery_ms", "repeated_tokens" or "takeover_ms", not "rebuilds_per_boundry"; did you mean "rebuilds_per_boundary"?
  t.toml:35: claim[1].at_most: must be "theory" or a whole number from 0, not 1.5
  t.toml:39: claim[2].scope: rebuilds_per_boundary is counted per "fleet" or "process", not negative"#;
    assert_eq!(found, expected);
}

/// Goal: missing sections are named, at the line of what they miss in.
#[test]
fn an_empty_file_names_every_required_part() {
    let found = mistakes("");
    for part in
        ["name", "hypothesis", "origin.latency_ms", "workload.rate_per_s", "policy.ttl_ms", "rung", "claim"]
    {
        assert!(found.contains(&format!("t.toml:1: {part}: is missing")), "{part} in {found}");
    }
}

/// Goal: text that is no TOML is a mistake with its line, not a crash.
#[test]
fn broken_toml_names_its_line() {
    let found = mistakes("name = \"x\"\nhypothesis = [1,\n");
    assert!(found.starts_with("t.toml: 1 mistake\n  t.toml:"), "{found}");
}

/// Goal: a rebuild that can never end is refused before anything is started.
#[test]
fn a_rebuild_deadline_below_the_latency_is_impossible() {
    let found = mistakes(&SMALL.replace("ttl_ms = 500", "ttl_ms = 500\nrebuild_deadline_ms = 100"));
    assert!(
        found.contains("t.toml:13: policy.rebuild_deadline_ms: no rebuild can end within 100 ms"),
        "{found}"
    );
}

/// Goal: values of the wrong shape are mistakes, not panics.
#[test]
fn wrong_shapes_are_mistakes() {
    for (from, to) in [
        ("[origin]\nlatency_ms = 100", "origin = 3"),
        ("[[rung]]\nname = \"lock\"\nlayers = [\"single-flight\", \"lock\"]", "rung = 3"),
        ("layers = [\"single-flight\", \"lock\"]", "layers = \"lock\""),
        ("layers = [\"single-flight\", \"lock\"]", "layers = [1, {}]"),
        ("name = \"small\"", "name = \"../evil\""),
        ("name = \"lock\"", "name = \"lock/../..\""),
    ] {
        let text = SMALL.replace(from, to);
        assert_ne!(text, SMALL);
        assert!(!mistakes(&text).is_empty());
    }
}
