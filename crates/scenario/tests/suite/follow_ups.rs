//! One mistake is told once: nothing follows from a value that could not be read. And no text is a crash.

use herd_scenario::{PRESETS, Scenario, draw};
use proptest::prelude::*;
use toml_edit::{DocumentMut, Item, TableLike, Value};

use crate::SMALL;

/// Every fault in one file, with claims about them.
fn faults() -> String {
    let base = SMALL
        .replace("[workload]", "[workload]\nwindow_ms = 60_000")
        .replace("rebuilds_per_boundary\"", "takeover_ms\"\nexpect = \"invalid\"");
    let claims = "[[claim]]\nproperty = \"origin_queries\"\nphase = \"after\"\nat_most = 5\n";
    let faults: String = crate::faults::EACH
        .iter()
        .enumerate()
        .map(|(number, keys)| {
            // One after the other: some of them cannot be in force together. The rolling restart takes 15 s.
            let keys = keys.replace("at_ms = 1", &format!("at_ms = {}", 1 + number * 2_500));
            format!("[[fault]]\nname = \"f{number}\"\n{keys}\n")
        })
        .collect();
    let holder = "[[fault]]\nname = \"h\"\nkind = \"kill\"\npart = \"cache-node\"\nwhich = \"holder\"\n\
                  once = \"rebuild\"\nkey = \"item-1\"\nrungs = [\"lock\"]\nat_ms = 50_000\nfor_ms = 5\ntimes = 2\nevery_ms = 9\n";
    let text = format!("{base}\n{claims}\n{faults}\n{holder}");
    text.replace("item-3", "item-1")
}

/// The paths of all fields: numbers for tables of one name.
fn fields(table: &dyn TableLike, path: &[String]) -> Vec<Vec<String>> {
    let step = |key: &str| [path, &[key.to_owned()]].concat();
    let below = |key: &str, tables: Vec<&dyn TableLike>| -> Vec<Vec<String>> {
        let numbered = tables.into_iter().enumerate();
        numbered.flat_map(|(n, table)| fields(table, &[step(key), vec![n.to_string()]].concat())).collect()
    };
    table
        .iter()
        .flat_map(|(key, item)| match item {
            Item::Table(table) => fields(table, &step(key)),
            Item::Value(Value::InlineTable(table)) => fields(table, &step(key)),
            Item::ArrayOfTables(tables) => {
                below(key, tables.iter().map(|table| table as &dyn TableLike).collect())
            }
            _ => vec![step(key)],
        })
        .collect()
}

/// The text with another value in place of one.
fn with(text: &str, path: &[String], value: &str) -> String {
    herd_scenario::set_field(text, &path.join("."), value).unwrap_or_else(|error| panic!("{error}"))
}

fn all_fields(text: &str) -> Vec<Vec<String>> {
    fields(text.parse::<DocumentMut>().unwrap().as_table(), &[])
}

/// Goal: whichever value of a scenario is not what it should be, it alone is told. A date is no value of anything.
#[test]
fn a_bad_value_is_told_alone() {
    let faults = faults();
    Scenario::parse("t.toml", &faults).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    for text in std::iter::once(faults.as_str()).chain(PRESETS.iter().map(|preset| preset.text)) {
        for path in all_fields(text) {
            let mut document = text.parse::<DocumentMut>().unwrap();
            *value_at(document.as_table_mut(), &path) = "1979-05-27".parse().unwrap();
            let found = Scenario::parse("t.toml", &document.to_string());
            let mistakes = found.map(|_| ()).expect_err(&path.join("."));
            assert_eq!(mistakes.list.len(), 1, "{}: {mistakes}", path.join("."));
        }
    }
}

fn value_at<'d>(table: &'d mut dyn TableLike, path: &[String]) -> &'d mut Value {
    let (first, rest) = path.split_first().unwrap();
    match table.get_mut(first).unwrap() {
        Item::Table(table) => value_at(table, rest),
        Item::Value(Value::InlineTable(table)) => value_at(table, rest),
        Item::ArrayOfTables(tables) => {
            value_at(tables.get_mut(rest[0].parse().unwrap()).unwrap(), &rest[1..])
        }
        Item::Value(value) => value,
        Item::None => panic!("{path:?}"),
    }
}

/// Goal: a table that is none is told alone too.
#[test]
fn a_table_that_is_none_is_told_alone() {
    for (from, to) in [
        ("[origin]\nlatency_ms = 100", "[origin]\nlatency_ms = 100\nfailing = 3"),
        ("[workload]", "[workload]\nabsent = 3"),
        ("[workload]", "[workload]\nretry = true"),
        ("layers = [\"single-flight\", \"lock\"]", "layers = [\"single-flight\", \"lock\"]\nlock = 3"),
        ("layers = [\"single-flight\", \"lock\"]", "layers = [\"shed\"]\nshed = 3"),
        (
            "layers = [\"single-flight\", \"lock\"]",
            "layers = [\"jitter\"]\njitter = 3\ndeploy = { at_ms = 1 }",
        ),
        ("layers = [\"single-flight\", \"lock\"]", "layers = []\nmembership = [3]"),
        ("name = \"small\"", "name = \"small\"\nfault = 3"),
        ("name = \"small\"", "name = \"small\"\nfault = [{ kind = \"redis-flush\", at_ms = 1 }, 3]"),
    ] {
        let text = SMALL.replace(from, to);
        let mistakes = Scenario::parse("t.toml", &text).unwrap_err();
        assert_eq!(mistakes.list.len(), 1, "{text}\n{mistakes}");
    }
}

/// Goal: what retries have is known also where nothing says which retries.
#[test]
fn keys_of_retries_are_told_without_their_policy() {
    let text = SMALL.replace("[workload]", "[workload]\nretry = { atempts = 3, backoff_ms = 5 }");
    let found = Scenario::parse("t.toml", &text).unwrap_err().to_string();
    let expected = "t.toml: 2 mistakes\n  t.toml:9: workload.retry.policy: is missing\n  \
                    t.toml:9: workload.retry.atempts: unknown key; did you mean \"attempts\"?";
    assert_eq!(found, expected);
}

/// Goal: a name is offered only where a slip of the hand explains it.
#[test]
fn far_names_are_not_offered() {
    for (found, offered) in [
        ("puase", Some("pause")),
        ("kil", Some("kill")),
        ("redis-restart", Some("redis-restart-aof")),
        ("redis-restart-emtpy", Some("redis-restart-empty")),
        ("rolling", None),
        ("stopped", None),
        ("x", None),
    ] {
        let text = format!("{SMALL}[[fault]]\nkind = \"{found}\"\nat_ms = 1\n");
        let mistakes = Scenario::parse("t.toml", &text).unwrap_err().to_string();
        let hint =
            mistakes.split_once("did you mean ").map(|(_, hint)| hint.trim_matches(['"', '?']).to_owned());
        assert_eq!(hint.as_deref(), offered, "{mistakes}");
    }
}

/// Values of every type, in and out of range.
fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("true".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("[0, 0, 9]".to_owned()),
        Just("nan".to_owned()),
        Just("-inf".to_owned()),
        Just("\"holder\"".to_owned()),
        Just("\"item-1\"".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        (-3_i64..3).prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        "[a-z-]{0,8}".prop_map(|text| format!("{text:?}")),
    ]
}

const KEYS: [&str; 26] = [
    "name",
    "rungs",
    "at_ms",
    "once",
    "key",
    "for_ms",
    "times",
    "every_ms",
    "kind",
    "part",
    "which",
    "some",
    "index",
    "to",
    "black_hole",
    "reset",
    "delay_ms",
    "jitter_ms",
    "loss",
    "from",
    "room_kb",
    "queries",
    "rate",
    "factor",
    "rate_per_s",
    "share",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Goal: no mutation of a fault's table is a crash; what parses can be described, drawn for and driven.
    #[test]
    fn no_fault_table_is_a_crash(
        which in 0..crate::faults::EACH.len(),
        changes in prop::collection::vec((0..KEYS.len(), any_value(), any::<bool>()), 0..4),
    ) {
        let mut fault: DocumentMut = crate::faults::EACH[which].parse().unwrap();
        for (key, value, removes) in &changes {
            fault.remove(KEYS[*key]);
            if let (false, Ok(value)) = (*removes, value.parse::<Value>()) {
                fault.insert(KEYS[*key], Item::Value(value));
            }
        }
        let text = format!("{SMALL}[[fault]]\n{fault}");
        match Scenario::parse("t.toml", &text) {
            Err(mistakes) => prop_assert!(!mistakes.list.is_empty()),
            Ok(scenario) => {
                prop_assert!(scenario.faults[0].to_string().contains(" at "));
                prop_assert!(scenario.reads_expected("lock", 1.0) >= 200.0);
                prop_assert!(scenario.arrivals("lock").take(10).count() == 10);
                prop_assert!(draw(&text, 1).is_ok());
            }
        }
    }

    /// Goal: no value anywhere in a scenario is a crash.
    #[test]
    fn no_value_is_a_crash(number: prop::sample::Index, value in any_value()) {
        let text = faults();
        let paths = all_fields(&text);
        let _ = Scenario::parse("t.toml", &with(&text, &paths[number.index(paths.len())], &value));
    }
}
