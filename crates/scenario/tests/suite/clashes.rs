//! Faults that cannot be in force together, and those that can.

use herd_scenario::{Scenario, draw};

use crate::SMALL;

/// Two rungs, one with the lock, ten nodes, a window of 20 s.
fn base() -> String {
    SMALL
        .replace("[origin]", "[fleet]\nnodes = 10\n[origin]")
        .replace("[workload]", "[workload]\nwindow_ms = 20_000")
        .replace("[[claim]]", "[[rung]]\nname = \"none\"\nlayers = []\n\n[[claim]]")
}

/// What the parser says of two faults, `a` and `b`: nothing where it takes them.
fn told(a: &str, b: &str) -> String {
    let fault = |name: &str, keys: &str| format!("[[fault]]\nname = \"{name}\"\n{keys}\n");
    let text = format!("{}{}{}", base(), fault("a", a), fault("b", b));
    Scenario::parse("t.toml", &text).err().map_or_else(String::new, |mistakes| mistakes.to_string())
}

const PAUSE: &str = "kind = \"pause\"\npart = \"cache-node\"\nindex = [3]\nat_ms = 1000\nfor_ms = 1000";

fn at(keys: &str, at_ms: u32) -> String {
    keys.replace("at_ms = 1000", &format!("at_ms = {at_ms}"))
}

/// Goal: the mistake has its line, says what meets what, and what to do.
#[test]
fn a_clash_is_told_with_what_to_do() {
    let line = base().lines().count() + 7 + 6;
    assert_eq!(
        told(PAUSE, &at(PAUSE, 1_500)),
        format!(
            "t.toml: 1 mistake\n  t.toml:{line}: fault[2].at_ms: it is held from 1500 to 2500 ms and fault \"a\" from 1000 to 2000 ms, \
             both on cache-node 3: the repair of one would undo the other; let one be over before the other begins, or name other \
             rungs, or give each other nodes by index"
        )
    );
}

/// Goal: every clash of a file is told at once.
#[test]
fn all_clashes_are_told() {
    let fault = |name: &str| format!("[[fault]]\nname = \"{name}\"\n{PAUSE}\n");
    let text = format!("{}{}{}{}", base(), fault("a"), fault("b"), fault("c"));
    let mistakes = Scenario::parse("t.toml", &text).unwrap_err();
    assert_eq!(mistakes.list.len(), 3, "{mistakes}");
}

/// Goal: what undoes each other, or cannot be done to what is down, is refused.
#[test]
fn what_clashes() {
    let node = |kind: &str, which: &str| {
        format!("kind = \"{kind}\"\npart = \"cache-node\"\n{which}\nat_ms = 1000\nfor_ms = 1000")
    };
    let one =
        |kind: &str, part: &str| format!("kind = \"{kind}\"\npart = \"{part}\"\nat_ms = 1000\nfor_ms = 1000");
    let link = |to: &str, which: &str| {
        format!("kind = \"link\"\nto = \"{to}\"\nreset = true\n{which}\nat_ms = 1000\nfor_ms = 1000")
    };
    let redis = |kind: &str| format!("kind = \"redis-{kind}\"\nat_ms = 1000\nfor_ms = 1000");
    let evict = format!("{}\nroom_kb = 1", redis("evict"));
    let undo = "would undo the other";
    let down = "what is down can be neither changed nor seen to be put right";
    for (a, b, why) in [
        (node("kill", "index = [3, 4]"), node("pause", "index = [4, 5]"), undo),
        (node("kill", "which = \"all\""), node("stop", "index = [4]"), undo),
        (node("pause", "some = 2"), node("pause", "which = \"minority\""), undo),
        (node("pause", "which = \"leader\""), "kind = \"rolling-restart\"\nat_ms = 1000".to_owned(), undo),
        (node("pause", "index = [7]"), "kind = \"scale-out\"\nfrom = 5\nat_ms = 1500".to_owned(), undo),
        (one("pause", "redis"), redis("restart-empty"), undo),
        (one("pause", "redis"), "kind = \"redis-promote\"\nat_ms = 1500".to_owned(), undo),
        (one("pause", "redis"), "kind = \"redis-flush\"\nat_ms = 1500".to_owned(), down),
        (redis("restart-aof"), evict.clone(), down),
        (evict.clone(), evict, undo),
        (one("kill", "origin"), one("pause", "database"), undo),
        (
            one("stop", "origin"),
            "kind = \"stuck-query\"\nqueries = 1\nat_ms = 1000\nfor_ms = 9".to_owned(),
            down,
        ),
        (
            one("pause", "lock-service"),
            "kind = \"lock-clock\"\nrate = 2\nat_ms = 999\nfor_ms = 9".to_owned(),
            down,
        ),
        (one("pause", "edge"), one("stop", "edge"), undo),
        (link("redis", ""), link("redis", "index = [1]"), undo),
        (link("redis", "index = [1]"), node("kill", "index = [1]"), down),
    ] {
        for (a, b) in [(&a, &b), (&b, &a)] {
            let told = told(a, b);
            assert!(told.starts_with("t.toml: 1 mistake\n") && told.contains(why), "{a}\n{b}\n{told}");
        }
    }
    let told = told(&link("origin", "index = [1]"), &link("origin", "index = [2, 1]"));
    assert!(told.contains("both on the link of cache-node 1 to origin: "), "{told}");
}

/// Goal: what does not touch each other may be in force together.
#[test]
fn what_does_not_clash() {
    let link = |to: &str, which: &str| {
        format!("kind = \"link\"\nto = \"{to}\"\nreset = true\n{which}\nat_ms = 1000\nfor_ms = 1000")
    };
    let more = "kind = \"burst\"\nfactor = 2\nat_ms = 1000\nfor_ms = 1000";
    let flush = "kind = \"redis-flush\"\nat_ms = 1000";
    let pause = |part: &str| format!("kind = \"pause\"\npart = \"{part}\"\nat_ms = 1000\nfor_ms = 1000");
    for (a, b) in [
        (PAUSE.to_owned(), at(PAUSE, 2_000)),
        (PAUSE.to_owned(), PAUSE.replace("[3]", "[4]")),
        (format!("{PAUSE}\nrungs = [\"lock\"]"), format!("{PAUSE}\nrungs = [\"none\"]")),
        // In the gap between two turns.
        (format!("{PAUSE}\ntimes = 2\nevery_ms = 3000"), at(PAUSE, 2_500)),
        (PAUSE.to_owned(), pause("redis")),
        (pause("edge"), pause("origin")),
        (link("redis", ""), link("origin", "")),
        (link("redis", "index = [1]"), link("redis", "index = [2]")),
        (link("redis", "index = [1]"), PAUSE.to_owned()),
        (link("redis", ""), pause("redis")),
        (flush.to_owned(), flush.to_owned()),
        (flush.to_owned(), "kind = \"redis-evict\"\nroom_kb = 1\nat_ms = 1000\nfor_ms = 1000".to_owned()),
        (more.to_owned(), more.to_owned()),
        (more.to_owned(), "kind = \"hang-up\"\nshare = 1\nat_ms = 1500".to_owned()),
        (PAUSE.to_owned(), "kind = \"scale-out\"\nfrom = 5\nat_ms = 1500".to_owned()),
    ] {
        assert_eq!(told(&a, &b), "", "{a}\n{b}");
    }
}

/// Goal: drawn plans keep to the same rule beside faults that the file has.
#[test]
fn drawn_plans_do_not_clash() {
    let text = format!("{}[[fault]]\nname = \"a\"\n{PAUSE}\ntimes = 5\nevery_ms = 3000\n", base());
    for seed in 0..300 {
        draw(&text, seed).unwrap_or_else(|mistakes| panic!("seed {seed}: {mistakes}"));
    }
}
