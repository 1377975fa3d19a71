//! What cannot be meant: each impossible combination, where it is told and how.

use herd_scenario::{Overrides, Scenario};

use crate::SMALL;

/// The small scenario without its rung, which the text begins with.
fn rung(layers: &str, tables: &str) -> String {
    let old = "[[rung]]\nname = \"lock\"\nlayers = [\"single-flight\", \"lock\"]\n";
    let new = format!("[[rung]]\nname = \"lock\"\nlayers = [{layers}]\n{tables}\n");
    SMALL.replace(old, &new)
}

fn with(section: &str, more: &str) -> String {
    SMALL.replace(&format!("[{section}]"), &format!("[{section}]\n{more}"))
}

/// Exactly this mistake: `line: place: message`.
fn check(text: &str, mistake: &str) {
    assert_ne!(text, SMALL);
    let found = Scenario::parse("t.toml", text).err().map_or_else(|| "none".to_owned(), |m| m.to_string());
    assert_eq!(found, format!("t.toml: 1 mistake\n  t.toml:{mistake}"));
}

/// Goal: a table whose layer is not named is a mistake, for every layer that has one.
#[test]
fn tables_without_their_layer() {
    for (table, layer) in [
        ("lock = { renew = true }", "lock"),
        ("waiter = { wait_ms = 1 }", "waiter-timeout"),
        ("jitter = { spread = 0.1 }", "jitter"),
        ("negative = { ttl_ms = 1 }", "negative"),
        ("xfetch = { beta = 1 }", "xfetch"),
        ("shed.edge = { in_flight_max = 1 }", "shed"),
        ("l1 = { ttl_ms = 1 }", "l1"),
        ("pre-warm = { top = 1 }", "pre-warm"),
    ] {
        let name = table.split([' ', '.']).next().unwrap();
        check(&rung("", table), &format!("17: rung[1].{name}: the rung's layers do not name {layer:?}"));
    }
    check(
        &rung("\"waiter-timeout\"", "waiter = { wait_ms = 1 }\nstale = { safe_keys = [\"item-1\"] }"),
        "18: rung[1].stale: nothing in this rung serves stale values: neither \"stale-while-revalidate\", \
         \"stale-if-error\" nor the end of a wait",
    );
}

/// Goal: what serves stale values says which rows are safe for that: there is no default.
#[test]
fn stale_values_need_their_table() {
    for (layers, tables) in [
        ("\"stale-while-revalidate\"", ""),
        ("\"stale-if-error\"", ""),
        ("\"waiter-timeout\"", "waiter = { wait_ms = 1, then = \"stale\" }"),
        ("\"single-flight\", \"lock\"", "lock = { on_wait_timeout = \"stale\" }"),
    ] {
        check(&rung(layers, tables), "14: rung[1].stale.safe_keys: is missing");
    }
    let safe = |keys: &str| rung("\"stale-if-error\"", &format!("stale = {{ safe_keys = {keys} }}"));
    check(
        &safe("[\"itme-*\"]"),
        "17: rung[1].stale.safe_keys: \"itme-*\" matches no row; the keys are item-1 to item-1",
    );
    check(&safe("[\"*-1\"]"), "17: rung[1].stale.safe_keys: \"*-1\": a \"*\" stands only at the end");
    check(&safe("[]"), "17: rung[1].stale.safe_keys: must be a list of 1 to 64 texts, not []");
    check(&safe("[1]"), "17: rung[1].stale.safe_keys: must be texts of 1 to 128 bytes, not 1");
}

/// Goal: what is about a flight needs single-flight.
#[test]
fn knobs_of_a_flight_need_one() {
    for knob in
        ["flight_second_look = true", "flight_until = \"written\"", "on_origin_error = \"serial-retry\""]
    {
        let name = knob.split(' ').next().unwrap();
        check(&rung("", knob), &format!("17: rung[1].{name}: only a rung with \"single-flight\" has it"));
    }
    check(
        &rung("\"waiter-timeout\"", "waiter = { wait_ms = 1, then = \"origin\" }"),
        "17: rung[1].waiter.then: without \"single-flight\" or \"lock\" every reader is at the origin already",
    );
    check(&rung("\"waiter-timeout\"", ""), "14: rung[1].waiter.wait_ms: is missing");
}

/// Goal: pre-warming is a start of its own.
#[test]
fn a_prewarmed_rung_begins_in_one_way() {
    for start in ["cold", "warm"] {
        check(
            &rung("\"pre-warm\"", &format!("start = {start:?}")),
            "17: rung[1].start: \"pre-warm\" says how the rung begins; leave it out",
        );
    }
}

/// Goal: gates admit and queue, or are none.
#[test]
fn gates_that_do_nothing() {
    check(
        &rung("\"shed\"", ""),
        "14: rung[1].shed: \"shed\" needs a gate: [rung.shed.edge], [rung.shed.origin] or both",
    );
    check(
        &rung("\"shed\"", "shed.edge = { in_flight_max = 1, queue_max = 2 }"),
        "17: rung[1].shed.edge.queue_max: nobody can wait in a queue without queue_wait_ms",
    );
    check(
        &rung("\"shed\"", "shed.origin = { in_flight_max = 1, queue_wait_ms = 2 }"),
        "17: rung[1].shed.origin.queue_wait_ms: there is no queue to wait in without queue_max",
    );
    check(&rung("\"shed\"", "shed.origin = {}"), "17: rung[1].shed.origin.in_flight_max: is missing");
}

/// Goal: ranges of the layers' numbers.
#[test]
fn numbers_out_of_range() {
    check(
        &rung("\"jitter\"", "jitter = { spread = 0.95 }"),
        "17: rung[1].jitter.spread: must be a number above 0 up to 0.9, not 0.95",
    );
    check(
        &rung("\"xfetch\"", "xfetch = { beta = 0 }"),
        "17: rung[1].xfetch.beta: must be a number above 0 up to 10, not 0",
    );
    check(
        &rung("\"pre-warm\"", "pre-warm = { hit_rate = 1.1 }"),
        "17: rung[1].pre-warm.hit_rate: must be a number above 0 up to 1, not 1.1",
    );
}

/// Goal: what happens in the middle of a rung happens within its window, to nodes that are there.
#[test]
fn events_lie_within_the_window() {
    // 5 * (500 + 5 + 200) + 100 ms, a twentieth more, and a second.
    let end = "is not within the window, which ends after 4807 ms";
    check(&rung("", "deploy = { at_ms = 4807 }"), &format!("17: rung[1].deploy.at_ms: 4807 ms {end}"));
    check(
        &rung("", "membership = [{ at_ms = 5000, owner_of = \"item-1\" }]"),
        &format!("17: rung[1].membership[1].at_ms: 5000 ms {end}"),
    );
    check(
        &with("origin", "failing = { at_ms = 9000, for_ms = 1 }"),
        "6: origin.failing.at_ms: 9000 ms is not within the window, which ends after 4808 ms",
    );
    check(
        &rung("", "deploy = { at_ms = 1, fill_per_s = 9 }"),
        "17: rung[1].deploy.fill_per_s: only strategy = \"versioned\" fills",
    );
    let late = "[{ at_ms = 2, owner_of = \"item-1\" }, { at_ms = 1, owner_of = \"item-1\" }]";
    check(
        &rung("", &format!("membership = {late}")),
        "17: rung[1].membership[2].at_ms: comes before the change above it; changes stand in order of time",
    );
    check(
        &rung("", "membership = [{ at_ms = 1, owner_of = \"item-2\" }]"),
        "17: rung[1].membership[1].owner_of: nobody reads \"item-2\"; the keys are item-1 to item-1",
    );
}

/// Goal: somebody stays, in the file and on the command line.
#[test]
fn not_all_nodes_may_leave() {
    let text = rung("", "membership = [{ at_ms = 1, owner_of = \"item-1\" }]");
    let alone = text.replace("[origin]", "[fleet]\nnodes = 1\n[origin]");
    check(&alone, "19: rung[1].membership: 1 of 1 nodes may leave at once: at least one has to stay");
    let mut scenario = Scenario::parse("t.toml", &text).unwrap();
    let overrides = Overrides { nodes: Some(1), ..Overrides::default() };
    let mistakes = scenario.apply(&overrides).unwrap_err().to_string();
    assert!(mistakes.contains("nodes: rung \"lock\": 1 of 1 nodes may leave"), "{mistakes}");
}

/// Goal: a load that cannot be meant is told before anything is started.
#[test]
fn loads_that_cannot_be_meant() {
    check(
        &with("workload", "boundaries = 0"),
        "9: workload.boundaries: 0 boundaries say nothing of how long the load runs; give window_ms",
    );
    check(
        &with("workload", "window_ms = 2000"),
        "9: workload.window_ms: no 5 boundaries fit into it: values live 500 ms or longer",
    );
    check(
        &with("workload", "popularity = \"hot\"\nhot_share = 0.5"),
        "9: workload.popularity: \"hot\" needs other keys beside the hot one, but keys = 1",
    );
    check(
        &with("workload", "keys = 2\npopularity = \"hot\"\nhot_share = 1.0"),
        "11: workload.hot_share: must be below 1, or nobody reads the other keys",
    );
    check(&with("workload", "keys = 2\npopularity = \"hot\""), "8: workload.hot_share: is missing");
    check(&with("workload", "hot_share = 0.5"), "9: workload.hot_share: only popularity = \"hot\" has it");
    check(
        &with("workload", "absent = { share = 0.5, ids = \"random\", count = 2 }"),
        "9: workload.absent.count: random ids are all different; only ids = \"fixed\" has it",
    );
    for absent in ["", "absent = { share = 0.5, ids = \"random\" }"] {
        check(
            &with("workload", &format!("insert_every_ms = 50\n{absent}")),
            "9: workload.insert_every_ms: the rows that are inserted are those of [workload.absent] with \
             ids = \"fixed\"",
        );
    }
}

/// Goal: retries have what their policy needs, and nothing else; an unknown policy is told alone.
#[test]
fn retries_that_cannot_be_meant() {
    let retry = |table: &str| with("workload", &format!("retry = {{ {table} }}"));
    check(
        &retry("policy = \"never\", attempts = 3"),
        "9: workload.retry.attempts: who never comes again has it not",
    );
    check(
        &retry("policy = \"fixed\", backoff_ms_max = 300"),
        "9: workload.retry.backoff_ms_max: only \"exponential\" and \"budget\" have it",
    );
    check(
        &retry("policy = \"exponential\", share = 0.1"),
        "9: workload.retry.share: only policy = \"budget\" has it",
    );
    check(
        &retry("policy = \"budget\", backoff_ms = 100, backoff_ms_max = 50"),
        "9: workload.retry.backoff_ms_max: must be a whole number from 100 to 60000, not 50",
    );
    check(
        &retry("policy = \"budgte\", share = 0.1"),
        "9: workload.retry.policy: must be one of \"never\", \"fixed\", \"exponential\" or \"budget\", not \
         \"budgte\"; did you mean \"budget\"?",
    );
    check(&rung("", "retry = {}"), "17: rung[1].retry.policy: is missing");
}

/// Goal: a claim about something that never happens is told, instead of found to hold.
#[test]
fn claims_that_count_nothing() {
    let claim = |property: &str| SMALL.replace("rebuilds_per_boundary", property);
    for (property, lacks) in [
        ("negative_queries", "no [workload.absent] with ids = \"fixed\""),
        ("absent_key_queries", "neither [workload.absent] nor a fault of kind \"flood\""),
        ("absence_outlives_insert", "no insert_every_ms in [workload]"),
        ("rebuilds_while_failing", "no [origin.failing]"),
        ("early_rebuilds_per_window", "the rung's layers do not name \"xfetch\""),
    ] {
        check(&claim(property), &format!("20: claim[1].property: {property} counts nothing here: {lacks}"));
    }
}

/// Goal: a claim without a scope counts over the first that its property has.
#[test]
fn scopes_have_defaults() {
    for property in herd_scenario::Property::ALL {
        let text = with("workload", "absent = { share = 0.1 }\ninsert_every_ms = 100");
        let text = text.replace("[origin]", "[origin]\nfailing = { at_ms = 1, for_ms = 1 }");
        let text = text.replace("\"lock\"]", "\"lock\", \"xfetch\"]");
        let text = text.replace("rebuilds_per_boundary\"", &format!("{property}\"\nat_most = 1"));
        let fault =
            "[[fault]]\nkind = \"kill\"\npart = \"cache-node\"\nwhich = \"holder\"\nat_ms = 0\nfor_ms = 1\n";
        let text = format!("{text}{fault}");
        let scenario = Scenario::parse("t.toml", &text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert_eq!(scenario.claims[0].scope, property.scopes()[0]);
    }
}
