//! Fields read and changed by their path.

use herd_scenario::{EditError, PRESETS, Scenario, get_field, set_field};
use proptest::prelude::*;

const TEXT: &str = r#"# A comment.
name = "small" # of the file
hypothesis = "h"

[workload]
rate_per_s = 1_000 # reads
retry = { policy = "fixed", attempts = 3 }

[[rung]]
name = "a"
layers = []
membership = [{ at_ms = 1, owner_of = "item-1" }]

# The second.
[[rung]]
name = "b" # it is
layers = ["single-flight", "lock"]

[rung.lock]
expiry_ms = 200   # short

[[fault]]
kind = "kill"
part = "redis"

[[fault]]
name = "second"
kind = "kill"
for_ms = 7

[[claim]]
property = "origin_queries"
"#;

fn refused(path: &str) -> String {
    set_field(TEXT, path, "1").unwrap_err().to_string()
}

/// Goal: only the value changes; comments, order and spaces stay.
#[test]
fn only_the_value_changes() {
    for (path, old, value, new) in [
        ("workload.rate_per_s", "1_000", "250", "250"),
        ("workload.retry.attempts", "attempts = 3", "4", "attempts = 4"),
        ("rung.b.lock.expiry_ms", "200   #", "150", "150   #"),
        ("rung.1.lock.expiry_ms", "200   #", "150", "150   #"),
        ("rung.a.membership.0.at_ms", "at_ms = 1", "9", "at_ms = 9"),
        ("rung.b.layers", r#"["single-flight", "lock"]"#, "[]", "[]"),
        ("fault.second.for_ms", "for_ms = 7", "0", "for_ms = 0"),
        ("fault.kill.part", r#""redis""#, "origin", r#""origin""#),
        ("fault.0.part", r#""redis""#, r#""origin""#, r#""origin""#),
        ("name", r#""small""#, "5", r#""5""#),
        ("hypothesis", r#""h""#, "a \"b\"", r#"'a "b"'"#),
    ] {
        assert_eq!(set_field(TEXT, path, value).unwrap(), TEXT.replacen(old, new, 1), "{path}");
    }
}

/// Goal: a field or a table of a field that the file leaves out is written where it belongs.
#[test]
fn what_is_left_out_is_written() {
    let text = set_field(TEXT, "claim.0.at_most", "5").unwrap();
    assert_eq!(text, format!("{TEXT}at_most = 5\n"));
    let text = set_field(TEXT, "rung.a.shed.origin.in_flight_max", "64").unwrap();
    assert_eq!(get_field(&text, "rung.a.shed.origin.in_flight_max").unwrap(), "64");
    let text = set_field(TEXT, "fleet.nodes", "7").unwrap();
    assert_eq!(get_field(&text, "fleet.nodes").unwrap(), "7");
    let text = set_field(TEXT, "rung.a.write_guard", "fenced").unwrap();
    assert_eq!(text, TEXT.replacen("\n# The second", "write_guard = \"fenced\"\n\n# The second", 1));
}

/// Goal: what leads nowhere is told with what was probably meant.
#[test]
fn what_leads_nowhere() {
    assert_eq!(
        refused("wrokload.rate_per_s"),
        "wrokload: there is no such table; did you mean \"workload\"?"
    );
    assert_eq!(
        refused("rung.a.lokc.expiry_ms"),
        "rung.a.lokc: there is no such table; did you mean \"lock\"?"
    );
    assert_eq!(refused("rung.c.layers"), "rung: there is no \"c\", only \"a\" or \"b\"");
    assert_eq!(
        refused("fault.secnd.for_ms"),
        "fault: there is no \"secnd\", only \"kill\" or \"second\"; did you mean \"second\"?"
    );
    assert_eq!(refused("claim.1.at_most"), "claim: there is no \"1\", only 1 of them, counted from 0");
    assert_eq!(refused("rung"), "rung: is a table, not a field");
    assert_eq!(refused("workload"), "workload: is a table, not a field");
    assert_eq!(refused("name.x"), "name: is a field, not a table");
    for path in ["", ".", "workload.", "a.b.c.d.e.f.g.h.i"] {
        assert_eq!(set_field(TEXT, path, "1"), Err(EditError::Path(path.to_owned())));
    }
    assert!(matches!(set_field("a = ", "a", "1"), Err(EditError::Toml(_))));
    let missing = get_field(TEXT, "workload.rate_per_sec").unwrap_err().to_string();
    assert_eq!(missing, "workload.rate_per_sec: is not given; did you mean \"rate_per_s\"?");
    assert_eq!(get_field(TEXT, "fleet.nodes").unwrap_err().to_string(), "fleet: the file has no such table");
}

/// Goal: values are read as they would be written on a command line.
#[test]
fn values_are_read() {
    for (path, value) in [
        ("name", "small"),
        ("workload.rate_per_s", "1_000"),
        ("rung.b.layers", r#"["single-flight", "lock"]"#),
        ("fault.kill.part", "redis"),
    ] {
        assert_eq!(get_field(TEXT, path).unwrap(), value);
    }
}

/// Goal: any shipped scenario can be changed, and what it becomes is parsed as such.
#[test]
fn shipped_scenarios_can_be_changed() {
    for preset in PRESETS {
        let text = set_field(preset.text, "workload.rate_per_s", "321").unwrap();
        let scenario = Scenario::parse(preset.file, &text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert_eq!(scenario.workload.rate_per_s, 321);
        assert_eq!(text.lines().count(), preset.text.lines().count());
    }
}

proptest! {
    /// Goal: no path and no value is a crash, and what was set is read back.
    #[test]
    fn any_path_and_value_are_answered(path in "[a-z_.0-3-]{0,24}", value in ".{0,12}") {
        let _ = get_field(TEXT, &path);
        let _ = set_field(TEXT, &path, &value);
        for path in ["hypothesis", "rung.1.name"] {
            let text = set_field(TEXT, path, &format!("x{value}")).unwrap();
            prop_assert_eq!(get_field(&text, path).unwrap(), format!("x{value}"));
        }
    }
}
