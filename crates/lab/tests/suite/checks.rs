//! How `herd check` and `herd report` end: 64 where there is nothing to judge, 2 where nothing can be said.

use crate::{cut_off, herd, text};
use std::fs;
use std::path::Path;

/// What each ends with, and what is said on stderr.
fn ends(command: &str, dir: &Path, name: &str) -> (Option<i32>, String) {
    let output = herd(&[command, name], dir);
    (output.status.code(), text(&output.stderr))
}

/// Goal: what is no run's folder is wrong usage, whichever way it is none.
#[test]
fn what_is_no_run_is_64() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    fs::create_dir_all(folder.path().join("other/run")).unwrap();
    fs::write(folder.path().join("other/report.md"), "x").unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    for command in ["check", "report"] {
        for (name, said) in [
            ("absent", "there is no run at absent"),
            ("file", "there is no run at file"),
            ("empty", "empty is no run's folder: it has no manifest.json"),
            ("other", "other is no run's folder: it has no manifest.json"),
        ] {
            let (status, stderr) = ends(command, folder.path(), name);
            assert!(status == Some(64) && stderr.contains(said), "{command} {name}: {status:?} {stderr}");
        }
        for args in [&[command][..], &[command, "run", "again"], &[command, "--bogus", "run"]] {
            let output = herd(args, folder.path());
            assert_eq!(output.status.code(), Some(64), "{args:?}: {}", text(&output.stderr));
        }
    }
    let left: Vec<_> = fs::read_dir(folder.path().join("empty")).unwrap().collect();
    assert!(left.is_empty(), "nothing is written: {left:?}");
}

/// What is done to a run's folder.
type Damage = fn(&Path);

/// A rung as the list of rungs has it.
fn rungs(name: &str) -> String {
    let rung = serde_json::json!([{
        "name": name, "layers": [], "prefix": "p:", "config_version": 1, "window_start_us": 1, "window_end_us": 2,
        "nodes_expected": 1, "nodes_joined": 1, "nodes_acknowledged": 1,
        "load": herd_history::LoadRecord::default(), "ledger": herd_history::LedgerSpan::default(),
    }]);
    rung.to_string()
}

/// Goal: of a damaged run nothing can be said, and it is told what is wrong and where.
#[test]
fn what_is_damaged_is_2() {
    let damage: [(&str, Damage, &str); 8] = [
        (
            "a cut manifest",
            |run| fs::write(run.join("manifest.json"), "{\"format_v").unwrap(),
            "manifest.json:1: malformed",
        ),
        ("no manifest", |run| fs::remove_file(run.join("manifest.json")).unwrap(), "manifest.json"),
        ("no rungs", |run| fs::remove_file(run.join("rungs.json")).unwrap(), "rungs.json"),
        ("other rungs", |run| fs::write(run.join("rungs.json"), "{}").unwrap(), "rungs.json:1: malformed"),
        (
            "a rung without rows",
            |run| fs::write(run.join("rungs.json"), rungs("none")).unwrap(),
            "operations-none.jsonl",
        ),
        (
            "a row that is none",
            |run| {
                fs::write(run.join("rungs.json"), rungs("none")).unwrap();
                fs::write(run.join("operations-none.jsonl"), "{\"seq\": \"x\"}\n{}\n").unwrap();
            },
            "operations-none.jsonl:1: malformed",
        ),
        (
            "a newer format",
            |run| fs::write(run.join("manifest.json"), "{\"format_version\": 999}").unwrap(),
            "format version 999",
        ),
        (
            "a scenario that is none",
            |run| {
                let manifest = fs::read_to_string(run.join("manifest.json")).unwrap();
                let mut manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
                manifest["scenario_text"] = "nmae = 3".into();
                fs::write(run.join("manifest.json"), manifest.to_string()).unwrap();
            },
            "the scenario in its manifest",
        ),
    ];
    for (what, hurt, said) in damage {
        let folder = cut_off();
        hurt(&folder.path().join("run.partial"));
        for command in ["check", "report"] {
            let (status, stderr) = ends(command, folder.path(), "run");
            assert!(status == Some(2) && stderr.contains(said), "{what}: {command}: {status:?} {stderr}");
            assert!(
                stderr.contains("cannot be judged, its outcome is unknown"),
                "{what}: {command}: {stderr}"
            );
        }
    }
}
