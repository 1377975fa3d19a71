//! What the program says without starting anything.

use crate::{herd, text};

/// Goal: a rung is explained with the scenario's numbers as the command line changes them, and nothing is started or written.
#[test]
fn a_rung_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let output = herd(&["ladder", "--nodes", "7", "--explain", "single-flight"], folder.path());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    for part in ["bounds the herd of one process", "at most N = 7 for the fleet", "What breaks it"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
}

/// Goal: a layer's name leads to a rung that has it, and a known-bad scenario says that it shows the layer broken.
#[test]
fn a_scenario_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    // The bare name leads to the same.
    for name in ["regression/lock-without-second-look", "lock-without-second-look"] {
        let output = herd(&["run", name, "--explain", "lock"], folder.path());
        let stdout = text(&output.stdout);
        let words: Vec<&str> = stdout.split_whitespace().collect();
        let stdout = words.join(" ");
        assert!(stdout.contains("Known bad: who is granted the lease"), "{stdout}");
        assert!(stdout.contains("chaos/regression/lock-without-second-look.toml"), "{stdout}");
    }
}

/// Goal: without a name the rungs are listed, each with the herd that it bounds.
#[test]
fn rungs_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let output = herd(&["ladder", "--quick", "--explain"], folder.path());
    let stdout = text(&output.stdout);
    for name in ["none ", "single-flight ", "lock "] {
        assert!(
            stdout.lines().any(|line| line.starts_with(name) && line.contains("bounds ")),
            "{name}: {stdout}"
        );
    }
}

/// Goal: every shipped scenario stands in the list with what is expected of it and what it shows.
#[test]
fn scenarios_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let output = herd(&["list"], folder.path());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    for preset in herd_scenario::PRESETS {
        let line = stdout.lines().find(|line| line.starts_with(&format!("{} ", preset.name)));
        let line = line.unwrap_or_else(|| panic!("{} is not listed: {stdout}", preset.name));
        let scenario = herd_scenario::Scenario::parse(preset.file, preset.text).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let (rungs, faults) = (scenario.rungs.len().to_string(), scenario.faults.len().to_string());
        assert_eq!(words[1..4], [scenario.expect.name(), rungs.as_str(), faults.as_str()], "{line}");
        assert!(line.contains(herd_report::summary_of(preset.text)), "{line}");
    }
}

/// Goal: every command that a newcomer starts with shows how by examples.
#[test]
fn help_has_examples() {
    let folder = tempfile::tempdir().unwrap();
    for command in
        ["ladder", "run", "check", "report", "list", "chaos", "zoo", "bisect", "explore", "repair", "prewarm"]
    {
        let output = herd(&[command, "--help"], folder.path());
        assert_eq!(output.status.code(), Some(0));
        let stdout = text(&output.stdout);
        assert!(stdout.contains("Examples:") && stdout.contains(&format!("herd {command}")), "{stdout}");
    }
}
