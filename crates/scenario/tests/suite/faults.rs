//! `[[fault]]`: what each kind reads, what it refuses, and what must fit together.

use herd_scenario::{
    Expect, Fault, FaultAction, FaultPart, LinkRule, Once, Overrides, Peer, Phase, Scenario, Target, Which,
};

use crate::SMALL;

/// Two rungs, one with the lock, and three keys in a window of 20 s.
fn base() -> String {
    SMALL
        .replace("[workload]", "[workload]\nkeys = 3\nwindow_ms = 20_000")
        .replace("[[claim]]", "[[rung]]\nname = \"none\"\nlayers = []\n\n[[claim]]")
}

/// The base with faults.
fn with(faults: &str) -> String {
    format!("{}[[fault]]\n{faults}\n", base())
}

fn parsed(text: &str) -> Scenario {
    Scenario::parse("t.toml", text).unwrap_or_else(|mistakes| panic!("{text}\n{mistakes}"))
}

fn fault(keys: &str) -> Fault {
    parsed(&with(keys)).faults.remove(0)
}

/// Exactly this mistake of the fault: `line: key: message`, lines counted from that of `[[fault]]`.
fn check(keys: &str, mistake: &str) {
    let text = with(keys);
    let found = Scenario::parse("t.toml", &text).err().map_or_else(|| "none".to_owned(), |m| m.to_string());
    let (line, rest) = mistake.split_once(": ").unwrap();
    let line = base().lines().count() + 1 + line.parse::<usize>().unwrap();
    assert_eq!(found, format!("t.toml: 1 mistake\n  t.toml:{line}: {rest}"), "{keys}");
}

/// One fault of each kind, as the documents show it.
pub(crate) const EACH: [&str; 19] = [
    "kind = \"pause\"\npart = \"cache-node\"\nwhich = \"minority\"\nat_ms = 1\nfor_ms = 0",
    "kind = \"kill\"\npart = \"redis\"\nat_ms = 1\nfor_ms = 1",
    "kind = \"stop\"\npart = \"edge\"\nwhich = \"all\"\nat_ms = 1\nfor_ms = 1",
    "kind = \"rolling-restart\"\nat_ms = 1",
    "kind = \"scale-out\"\nfrom = 25\nat_ms = 1",
    "kind = \"redis-restart-empty\"\nat_ms = 1\nfor_ms = 1\ntimes = 10\nevery_ms = 50",
    "kind = \"redis-restart-aof\"\nat_ms = 1\nfor_ms = 1",
    "kind = \"redis-flush\"\nat_ms = 1\ntimes = 2\nevery_ms = 1",
    "kind = \"redis-evict\"\nroom_kb = 64\nat_ms = 1\nfor_ms = 1",
    "kind = \"redis-promote\"\nat_ms = 1\nonce = \"rebuild\"",
    "kind = \"link\"\nto = \"redis\"\nblack_hole = true\nsome = 3\nat_ms = 1\nfor_ms = 1",
    "kind = \"link\"\nto = \"lock-service\"\nreset = true\nindex = [0, 4]\nat_ms = 1\nfor_ms = 1",
    "kind = \"link\"\nto = \"origin\"\ndelay_ms = 5\njitter_ms = 2\nat_ms = 1\nfor_ms = 1",
    "kind = \"link\"\nto = \"origin\"\nloss = 0.5\nwhich = \"leader\"\nkey = \"item-3\"\nat_ms = 1\nfor_ms = 1",
    "kind = \"stuck-query\"\nqueries = 2\nat_ms = 1\nfor_ms = 1",
    "kind = \"lock-clock\"\nrate = 4\nat_ms = 1\nfor_ms = 1",
    "kind = \"burst\"\nfactor = 5.0\nat_ms = 1\nfor_ms = 1",
    "kind = \"flood\"\nrate_per_s = 500\nat_ms = 1\nfor_ms = 1",
    "kind = \"hang-up\"\nshare = 1.0\nat_ms = 1",
];

/// Goal: every kind can be written, is named by its kind, and says in one line what it does.
#[test]
fn each_kind_is_read() {
    let read: Vec<Fault> = EACH.iter().map(|keys| fault(keys)).collect();
    for (fault, keys) in read.iter().zip(EACH) {
        assert!(keys.contains(&format!("kind = \"{}\"", fault.action.kind())));
        assert_eq!(fault.name, fault.action.kind().name());
        assert_eq!(keys.contains("for_ms"), fault.action.has_repair(), "{keys}");
    }
    let rules: Vec<LinkRule> = read
        .iter()
        .filter_map(|fault| match fault.action {
            FaultAction::Link { rule, .. } => Some(rule),
            _ => None,
        })
        .collect();
    let delay = LinkRule::Delay { delay_ms: 5, jitter_ms: 2 };
    assert_eq!(rules, [LinkRule::BlackHole, LinkRule::Reset, delay, LinkRule::Loss { share: 0.5 }]);
}

/// Goal: every key of the documents' example arrives.
#[test]
fn every_key_arrives() {
    let holder = fault(
        "name = \"holder-paused\"\nrungs = [\"lock\"]\nat_ms = 2_000\nonce = \"rebuild\"\nafter_ms = 250\nkey = \"item-2\"\n\
         for_ms = 1_500\ntimes = 3\nevery_ms = 4_000\nkind = \"pause\"\npart = \"cache-node\"\nwhich = \"holder\"",
    );
    let key = || "item-2".to_owned();
    let expected = Fault {
        name: "holder-paused".to_owned(),
        rungs: Some(vec!["lock".to_owned()]),
        at_ms: 2_000,
        once: Once::Rebuild { key: key(), after_ms: 250 },
        for_ms: 1_500,
        times: 3,
        every_ms: 4_000,
        action: FaultAction::Pause(Target {
            part: FaultPart::CacheNode,
            which: Which::Holder { key: key() },
        }),
    };
    assert_eq!(holder, expected);
    assert_eq!(holder.ends_ms(), 11_750);
    assert_eq!(holder.holds_ms().last(), Some((10_250, 11_750)));
    assert!(holder.hits("lock") && !holder.hits("none"));
}

/// Goal: every name of every set is accepted where it belongs.
#[test]
fn every_name_is_accepted() {
    for part in FaultPart::ALL {
        fault(&format!("kind = \"stop\"\npart = \"{part}\"\nat_ms = 1\nfor_ms = 1"));
    }
    for peer in Peer::ALL {
        fault(&format!("kind = \"link\"\nto = \"{peer}\"\nreset = true\nat_ms = 1\nfor_ms = 1"));
    }
    for which in ["all", "minority", "holder", "leader"] {
        let keys = "kind = \"kill\"\nrungs = [\"lock\"]\npart = \"cache-node\"\nat_ms = 1\nfor_ms = 1";
        fault(&format!("{keys}\nwhich = \"{which}\""));
    }
    for once in ["now", "rebuild"] {
        fault(&format!("kind = \"redis-flush\"\nat_ms = 1\nonce = \"{once}\""));
    }
    for phase in Phase::ALL {
        let text = with(EACH[1]).replace(
            "property = \"rebuilds_per_boundary\"",
            &format!("property = \"latency_p99_ms\"\nphase = \"{phase}\"\nat_most = 1\nexpect = \"invalid\""),
        );
        let claim = parsed(&text).claims.remove(0);
        assert_eq!((claim.phase, claim.expect), (Some(*phase), Expect::Invalid));
    }
}

/// Goal: a key of another kind is refused with the kinds that have it, once for each.
#[test]
fn keys_of_other_kinds_are_refused() {
    let flush = "kind = \"redis-flush\"\nat_ms = 1\n";
    for (key, kinds) in [
        ("part = \"redis\"", "\"pause\", \"kill\" or \"stop\" have it"),
        ("which = \"all\"", "\"pause\", \"kill\", \"stop\" or \"link\" have it"),
        ("some = 1", "\"pause\", \"kill\", \"stop\" or \"link\" have it"),
        ("index = [1]", "\"pause\", \"kill\", \"stop\" or \"link\" have it"),
        ("from = 1", "\"scale-out\" has it"),
        ("room_kb = 1", "\"redis-evict\" has it"),
        ("to = \"redis\"", "\"link\" has it"),
        ("black_hole = true", "\"link\" has it"),
        ("reset = true", "\"link\" has it"),
        ("delay_ms = 1", "\"link\" has it"),
        ("jitter_ms = 1", "\"link\" has it"),
        ("loss = 0.1", "\"link\" has it"),
        ("queries = 1", "\"stuck-query\" has it"),
        ("rate = 2.0", "\"lock-clock\" has it"),
        ("factor = 2.0", "\"burst\" has it"),
        ("rate_per_s = 1", "\"flood\" has it"),
        ("share = 1.0", "\"hang-up\" has it"),
    ] {
        let name = key.split(' ').next().unwrap();
        check(&format!("{flush}{key}"), &format!("3: fault[1].{name}: only kind = {kinds}"));
    }
    check(
        &format!("{flush}for_ms = 1"),
        "3: fault[1].for_ms: kind = \"redis-flush\" has no repair to wait for",
    );
    let why = "only once = \"rebuild\" and which = \"holder\" or \"leader\" look at a row";
    check(&format!("{flush}key = \"item-1\""), &format!("3: fault[1].key: {why}"));
}

/// Goal: what a kind needs is asked for, one mistake each.
#[test]
fn required_keys() {
    for keys in EACH {
        for line in keys.lines() {
            let name = line.split(' ').next().unwrap();
            let is_optional = ["which", "some", "index", "once", "key", "jitter_ms", "times"].contains(&name);
            let is_way = ["black_hole", "reset", "delay_ms", "loss", "kind"].contains(&name);
            if is_optional || is_way {
                continue;
            }
            let without: Vec<&str> = keys.lines().filter(|other| *other != line).collect();
            check(&without.join("\n"), &format!("0: fault[1].{name}: is missing"));
        }
    }
    check(
        "kind = \"link\"\nto = \"redis\"\nat_ms = 1\nfor_ms = 1",
        "0: fault[1]: does not say how the link goes bad: give one of black_hole = true, reset = true, delay_ms or loss",
    );
    check("at_ms = 1\npart = \"redis\"\nloss = 3\nfor_ms = 7", "0: fault[1].kind: is missing");
}

/// Goal: impossible values and combinations of one fault.
#[test]
fn what_one_fault_cannot_mean() {
    let kill = "kind = \"kill\"\nat_ms = 1\nfor_ms = 50\npart = \"cache-node\"\n";
    for (key, why) in [
        ("some = 51", "some: there are 50 nodes, not 51"),
        ("index = [1, 50]", "index: there is no node 50: 50 nodes are counted from 0 to 49"),
        ("index = []", "index: must be a list of whole numbers from 0 to 499, not []"),
        ("index = [1, 1]", "index: names 1 twice"),
        (
            "which = \"holder\"",
            "which: nobody holds a lock in rung \"none\": name in rungs those with \"lock\"",
        ),
        (
            "which = \"some\"",
            "which: must be one of \"all\", \"minority\", \"holder\" or \"leader\", not \"some\"",
        ),
        ("rungs = [\"lokc\"]", "rungs: there is no rung \"lokc\"; did you mean \"lock\"?"),
        ("rungs = [\"lock\", \"lock\"]", "rungs: names \"lock\" twice"),
        ("every_ms = 60", "every_ms: only what happens more than once has it: give times"),
        ("name = \"A b\"", "name: must be 1 to 40 characters of [a-z0-9-], not \"A b\""),
    ] {
        check(&format!("{kill}{key}"), &format!("5: fault[1].{why}"));
    }
    check(
        &format!("{kill}times = 2\nevery_ms = 49"),
        "6: fault[1].every_ms: the next would begin within the 50 ms that this one is held for",
    );
    check(
        &format!("{kill}some = 2\nindex = [1]"),
        "6: fault[1].index: which, some and index say the same in three ways: give one of them",
    );
    check(
        "kind = \"kill\"\nat_ms = 1\nfor_ms = 50\npart = \"redis\"\nsome = 1",
        "5: fault[1].some: there is one redis: only cache nodes are chosen from",
    );
    check(
        "kind = \"redis-flush\"\nat_ms = 1\nonce = \"rebuild\"\nkey = \"item-4\"",
        "4: fault[1].key: nobody reads \"item-4\"; the keys are item-1 to item-3",
    );
    let waits = "kind = \"redis-flush\"\nat_ms = 1\nonce = \"rebuild\"\n";
    fault(&format!("{waits}after_ms = 0"));
    check(
        &format!("{waits}after_ms = 60_001"),
        "4: fault[1].after_ms: must be a whole number from 0 to 60000, not 60001",
    );
    check(
        &format!("{waits}after_ms = 19_999"),
        "2: fault[1].at_ms: it is over after 20000 ms, but the window ends after 20000 ms",
    );
    check(
        &format!("{}after_ms = 0", waits.replace("rebuild", "now")),
        "4: fault[1].after_ms: only once = \"rebuild\" has something to come after",
    );
    check(
        "kind = \"burst\"\nfactor = 1\nat_ms = 1\nfor_ms = 1",
        "2: fault[1].factor: must be a number above 1 up to 100, not 1",
    );
    check(
        "kind = \"burst\"\nfactor = 2\nat_ms = 1\nfor_ms = 1\nonce = \"rebuild\"",
        "5: fault[1].once: the load is drawn beforehand: it waits for nothing",
    );
    check(
        "kind = \"scale-out\"\nfrom = 50\nat_ms = 1",
        "2: fault[1].from: the fleet has 50 nodes in the end: it begins with fewer, not with 50",
    );
    check(
        "kind = \"scale-out\"\nfrom = 5\nat_ms = 1\ntimes = 2",
        "4: fault[1].times: kind = \"scale-out\" happens once",
    );
    let none = "rungs = [\"none\"]\nat_ms = 1\nfor_ms = 1\n";
    let why = "no rung that it happens in has \"lock\": nobody would notice";
    check(&format!("{none}kind = \"lock-clock\"\nrate = 2"), &format!("4: fault[1].kind: {why}"));
    let clock = "kind = \"lock-clock\"\nat_ms = 1\nfor_ms = 1\n";
    let right = "4: fault[1].rate: changes nothing: 1 is the rate of a clock that is right";
    for rate in ["1", "1.0"] {
        check(&format!("{clock}rate = {rate}"), right);
    }
    for rate in ["0.99", "1.01"] {
        fault(&format!("{clock}rate = {rate}"));
    }
    check(&format!("{none}kind = \"stop\"\npart = \"lock-service\""), &format!("5: fault[1].part: {why}"));
    let link = "kind = \"link\"\nat_ms = 1\nfor_ms = 1\nto = \"redis\"\n";
    check(
        &format!("{link}loss = 0.1\nreset = true"),
        "5: fault[1].loss: a link goes bad in one way: give one of black_hole = true, reset = true, delay_ms or loss",
    );
    check(
        &format!("{link}reset = false"),
        "5: fault[1].reset: does nothing as false: give one of black_hole = true, reset = true, delay_ms or loss",
    );
    check(
        &format!("{link}loss = 0.1\njitter_ms = 1"),
        "6: fault[1].jitter_ms: varies a delay: only a link with delay_ms has it",
    );
}

/// Goal: an unknown kind is told alone, with the nearest.
#[test]
fn an_unknown_kind_is_told_alone() {
    let text = with("kind = \"puase\"\npart = \"cache-node\"\nat_ms = 1\nfor_ms = 1\nloss = true");
    let found = Scenario::parse("t.toml", &text).unwrap_err().to_string();
    assert!(found.starts_with("t.toml: 1 mistake\n"), "{found}");
    assert!(found.ends_with("not \"puase\"; did you mean \"pause\"?"), "{found}");
}

/// Goal: faults that cannot stand beside each other, or beside what else the rungs do.
#[test]
fn what_several_faults_cannot_mean() {
    let flush = "kind = \"redis-flush\"\nat_ms = 1";
    check(
        &format!("{flush}\n[[fault]]\n{flush}"),
        "3: fault[2]: there is already a fault \"redis-flush\": give each a name",
    );
    let promote = "kind = \"redis-promote\"\nat_ms = 1";
    let two = |rungs: &str| format!("{promote}\n[[fault]]\nname = \"b\"\n{promote}\nrungs = [\"{rungs}\"]");
    let why = "there is another fault of kind = \"redis-promote\" in the same rung";
    check(&two("none"), &format!("3: fault[2]: {why}"));
    parsed(&with(&format!("rungs = [\"lock\"]\n{}", two("none"))));
    let text = with("kind = \"scale-out\"\nfrom = 25\nat_ms = 1");
    let text =
        text.replace("layers = []", "layers = []\nmembership = [{ at_ms = 1, owner_of = \"item-1\" }]");
    let found = Scenario::parse("t.toml", &text).unwrap_err().to_string();
    assert!(
        found.ends_with("the membership of rung \"none\" changes by [[rung.membership]] already"),
        "{found}"
    );
    let many: String = (0..33).map(|n| format!("[[fault]]\nname = \"f{n}\"\n{flush}\n")).collect();
    let found = Scenario::parse("t.toml", &format!("{}\n{many}", base())).unwrap_err().to_string();
    assert!(found.contains("fault: must be 1 to 32 tables [[fault]]"), "{found}");
}

/// Goal: a fault is over within the window, with a second left where a claim looks back on it.
#[test]
fn faults_lie_within_the_window() {
    let kill = |at_ms: u32| format!("kind = \"kill\"\npart = \"redis\"\nat_ms = {at_ms}\nfor_ms = 1000");
    let twice = |at_ms: u32| format!("{}\ntimes = 2\nevery_ms = 3000", kill(at_ms));
    fault(&kill(18_999));
    check(&kill(19_000), "3: fault[1].at_ms: it is over after 20000 ms, but the window ends after 20000 ms");
    fault(&twice(15_999));
    check(&twice(16_000), "3: fault[1].at_ms: it is over after 20000 ms, but the window ends after 20000 ms");
    for claim in
        ["property = \"recovery_ms\"\nat_most = 1", "property = \"origin_queries\"\nphase = \"after\""]
    {
        let late = |at_ms: u32| with(&kill(at_ms)).replace("property = \"rebuilds_per_boundary\"", claim);
        parsed(&late(18_000));
        let found = Scenario::parse("t.toml", &late(18_001)).unwrap_err().to_string();
        assert!(
            found.starts_with("t.toml: 1 mistake\n") && found.ends_with("for which 1000 ms must be left")
        );
    }
}

/// Goal: claims about faults need the faults, and numbers where theory has none.
#[test]
fn claims_about_faults_need_them() {
    let claim = |fault: &str, claim: &str| {
        let text = if fault.is_empty() { base() } else { with(fault) };
        let text = text.replace("property = \"rebuilds_per_boundary\"", claim);
        let found = Scenario::parse("t.toml", &text).err().map_or_else(String::new, |m| m.to_string());
        found.split_once("claim[1].").map_or_else(String::new, |(_, mistake)| mistake.to_owned())
    };
    let none = "no [[fault]] happens in these rungs";
    let kill = "kind = \"kill\"\npart = \"cache-node\"\nat_ms = 1\nfor_ms = 1\n";
    let phase = "property = \"origin_queries\"\nphase = \"during\"";
    assert_eq!(claim("", phase), format!("phase: {none}"));
    assert_eq!(claim(&format!("{kill}rungs = [\"none\"]"), phase), format!("phase: {none}"));
    assert_eq!(claim(kill, phase), "");
    let recovery = "property = \"recovery_ms\"\nat_most = 5";
    assert_eq!(claim("", recovery), format!("property: {none}"));
    assert_eq!(claim(kill, recovery), "");
    assert_eq!(
        claim(kill, "property = \"stale_writes\"\nphase = \"after\""),
        "phase: stale_writes is counted over the whole rung"
    );
    let takeover = "property = \"takeover_ms\"";
    let lacks = "property: takeover_ms counts nothing here: no [[fault]] pauses, kills, stops or cuts off which = \
                 \"holder\" in these rungs";
    assert_eq!(claim(kill, takeover), lacks);
    assert_eq!(claim(&format!("{kill}rungs = [\"lock\"]\nwhich = \"holder\""), takeover), "");
    let link =
        "kind = \"link\"\nrungs = [\"lock\"]\nto = \"redis\"\nwhich = \"holder\"\nat_ms = 1\nfor_ms = 1\n";
    assert_eq!(claim(&format!("{link}reset = true"), takeover), "");
    assert_eq!(claim(&format!("{link}delay_ms = 1"), takeover), lacks);
    for property in ["goodput_lost_percent", "latency_p99_ms", "recovery_ms"] {
        for at_most in ["", "\nat_most = \"theory\""] {
            let found = claim(kill, &format!("property = \"{property}\"{at_most}"));
            let why = format!("at_most: must be a whole number from 0: theory gives no bound of {property}");
            assert_eq!(found, why);
        }
    }
}

/// Goal: what the command line changes is held against the faults again; those of dropped rungs are harmless.
#[test]
fn overrides_are_held_against_the_faults() {
    let nodes = |keys: &str, nodes: u32| {
        let mut scenario = parsed(&with(keys));
        scenario.apply(&Overrides { nodes: Some(nodes), ..Overrides::default() }).err().map(|m| m.to_string())
    };
    let kill = "kind = \"kill\"\npart = \"cache-node\"\nat_ms = 1\nfor_ms = 1\n";
    for (key, enough, why) in [
        ("some = 5", 5, "there are 4 nodes, not 5"),
        ("index = [0, 4]", 5, "there is no node 4: 4 nodes are counted from 0 to 3"),
        ("which = \"minority\"", 3, "less than half of 2 nodes is none"),
    ] {
        assert_eq!(nodes(&format!("{kill}{key}"), enough), None);
        let found = nodes(&format!("{kill}{key}"), enough - 1).unwrap();
        assert!(found.ends_with(&format!("nodes: fault \"kill\": {why}")), "{found}");
    }
    assert!(nodes(EACH[4], 25).unwrap().contains("begins with fewer, not with 25"));
    let lock_only = format!("{kill}rungs = [\"lock\"]\nsome = 40");
    let mut scenario = parsed(&with(&lock_only).replace("rung = \"lock\"", ""));
    let overrides =
        Overrides { nodes: Some(4), rungs: Some(vec!["none".to_owned()]), ..Overrides::default() };
    scenario.apply(&overrides).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(scenario.live_faults().count(), 0);
    assert!(!scenario.has_link_faults());
}
