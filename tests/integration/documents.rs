//! Documents name only what exists.

use crate::architecture::{root, rust_files};
use std::fs;
use std::path::Path;

const DOCUMENTS: [&str; 5] =
    ["README.md", "chaos/README.md", "dashboards/README.md", "dashboards/METRICS.md", RUNBOOK];
const RUNBOOK: &str = "dashboards/RUNBOOK.md";

/// Goal: a path in a document that no longer exists fails here instead of misleading a reader.
#[test]
fn documents_name_only_paths_that_exist() {
    let root = root();
    let mut wrong = Vec::new();
    for document in DOCUMENTS {
        let text =
            fs::read_to_string(root.join(document)).unwrap_or_else(|_| panic!("{document} is readable"));
        for path in named_paths(&text) {
            if !root.join(&path).exists() {
                wrong.push(format!("{document}: {path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "documents name paths that do not exist: {wrong:#?}");
}

/// Goal: every crate opens with a page that says what it is.
#[test]
fn every_crate_opens_with_its_page() {
    for entry in fs::read_dir(root().join("crates")).expect("crates/ is readable") {
        let page = entry.expect("a folder entry is readable").path().join("src/lib.rs");
        if !page.exists() {
            continue; // a program without a library
        }
        let text = fs::read_to_string(&page).expect("a crate page is readable");
        let lines = text.lines().take_while(|line| line.starts_with("//!")).count();
        assert!(
            lines >= 5,
            "{} says too little: what it is, what it never does, its modules",
            page.display()
        );
    }
}

/// Goal: modules stay small enough to be read in one sitting.
#[test]
fn modules_stay_small() {
    let mut large = Vec::new();
    for file in rust_files(&root().join("crates")) {
        let bytes = fs::metadata(&file).expect("a source file has a size").len();
        if bytes > 20_000 {
            large.push(format!("{} {bytes}", file.display()));
        }
    }
    assert!(large.is_empty(), "modules over 20 kB, each perhaps two rooms in one: {large:#?}");
}

/// Goal: who is paged finds the page: each alert's annotation leads to its section, each section has an alert, says what to do first, and
/// names what shows it and what fires it.
#[test]
fn each_alert_has_its_section_of_the_runbook() {
    let read =
        |file: &str| fs::read_to_string(root().join(file)).unwrap_or_else(|_| panic!("{file} is readable"));
    let (runbook, rules) = (read(RUNBOOK), read("dashboards/prometheus/rules.yml"));
    let after = |line: &str, lead: &str| line.trim().strip_prefix(lead).map(ToOwned::to_owned);
    let alerts: Vec<String> = rules.lines().filter_map(|line| after(line, "- alert: ")).collect();
    let links: Vec<String> = rules.lines().filter_map(|line| after(line, "runbook: ")).collect();
    let anchors: Vec<String> =
        alerts.iter().map(|alert| format!("{RUNBOOK}#{}", alert.to_lowercase())).collect();
    assert_eq!(links, anchors);
    let (_, sections) = runbook.split_once("\n## Alerts\n").expect("there are alerts");
    let (sections, _) = sections.split_once("\n## ").expect("something follows");
    let titles: Vec<&str> = sections.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(titles, alerts);
    for section in sections.split("\n### ").skip(1) {
        let shown = named_paths(section).iter().any(|path| path.starts_with("chaos/"));
        // With the rules as they are, and with their times divided, are two things.
        let fired = section.split("*Fired by:*").nth(1).is_some_and(|by| {
            by.contains("`dashboards/drills/")
                && by.contains("divided,")
                && by.to_lowercase().contains("in life")
        });
        assert!(shown && fired && section.contains("*First:*"), "{section}");
    }
}

/// Goal: every row of the runbook's tables of actions and mitigations names a scenario, every first action the rung that shows it or that
/// it is advice, and every rung that it names is there.
#[test]
fn the_runbook_can_be_tried() {
    let text = fs::read_to_string(root().join(RUNBOOK)).expect("the runbook is readable");
    let rows = text.split("\n## ").filter(|part| part.contains("| tried in |")).flat_map(str::lines);
    let rows: Vec<&str> = rows.filter(|line| line.starts_with("| ")).collect();
    let untried =
        |row: &&&str| named_paths(row).is_empty() && !row.contains("tried in") && !row.contains("---");
    assert!(rows.len() > 12, "{rows:#?}");
    assert_eq!(rows.iter().find(untried), None);
    let (_, actions) = text.split_once("\n## First action\n").expect("there are first actions");
    let (actions, _) = actions.split_once("\n## ").expect("something follows");
    let actions: Vec<&str> = actions.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    let unshown = |action: &&&str| {
        !action.contains("rung `") && !action.contains("rungs `") && !action.contains("advice")
    };
    assert!(actions.len() >= 5, "{actions:#?}");
    assert_eq!(actions.iter().find(unshown), None);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rungs = 0;
    let mut earlier = String::new();
    for named in words.split("rung `").skip(1) {
        let (rung, rest) = named.split_once('`').expect("a name ends");
        let file = rest.strip_prefix(" of `").and_then(|rest| rest.split('`').next()).map(ToOwned::to_owned);
        let file = file.unwrap_or_else(|| {
            assert!(rest.starts_with(" of the same"), "rung {rung} of what? {rest:.40}");
            earlier.clone()
        });
        let scenario =
            fs::read_to_string(root().join(&file)).unwrap_or_else(|_| panic!("{file} is readable"));
        let scenario = herd_scenario::Scenario::parse(&file, &scenario).expect("a scenario");
        assert!(scenario.rungs.iter().any(|there| there.name == rung), "{file} has no rung {rung}");
        (rungs, earlier) = (rungs + 1, file);
    }
    assert!(rungs > 8, "{rungs}");
}

/// Words in backticks or link targets that look like paths of this repository.
fn named_paths(text: &str) -> Vec<String> {
    let tops = ["crates/", "proto/", "compose/", "chaos/", "dashboards/", "tests/", ".ci/", ".cargo/"];
    let words = text.split(|c: char| c.is_whitespace() || "`()[]<>\"',;│|".contains(c));
    let paths = words.filter(|word| tops.iter().any(|top| word.starts_with(top)));
    paths
        .map(|word| word.trim_end_matches(['.', ':', '/']).to_owned())
        .filter(|word| !word.contains(['*', '{', '$']) && Path::new(word).is_relative())
        .collect()
}
