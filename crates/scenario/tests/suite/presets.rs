use std::path::Path;
use std::time::Duration;

use herd_scenario::{Expect, Layer, OriginModel, Overrides, PRESETS, Preset, Scenario, WriteGuard};

fn parsed(name: &str) -> Scenario {
    let preset = Preset::named(name).expect("a shipped preset");
    Scenario::parse(preset.file, preset.text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// Goal: no file in chaos/ is broken, none is missing from the embedded list, and each is named after its file.
#[test]
fn every_file_in_chaos_parses_and_is_embedded() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../chaos");
    let mut found = Vec::new();
    for folder in ["", "regression", "exploratory"] {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else { continue };
        for path in entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension() == Some("toml".as_ref()))
        {
            let text = std::fs::read_to_string(&path).unwrap();
            let scenario = Scenario::parse(&path.display().to_string(), &text);
            let scenario = scenario.unwrap_or_else(|mistakes| panic!("{mistakes}"));
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            assert_eq!(scenario.name, stem, "a scenario is named after its file");
            found.push(if folder.is_empty() { stem } else { format!("{folder}/{stem}") });
        }
    }
    found.sort();
    let mut embedded: Vec<String> = PRESETS.iter().map(|preset| preset.name.to_owned()).collect();
    embedded.sort();
    assert_eq!(found, embedded);
}

/// Goal: the default ladder is what the README says it is.
#[test]
fn the_default_ladder_has_three_rungs_and_a_herd_in_the_hundreds() {
    let ladder = parsed("ladder");
    let names: Vec<&str> = ladder.rungs.iter().map(|rung| rung.name.as_str()).collect();
    assert_eq!(names, ["none", "single-flight", "lock"]);
    assert_eq!(ladder.fleet.nodes, 50);
    assert_eq!(ladder.origin.model, OriginModel::Fixed { latency_ms: 300 });
    assert!(ladder.workload.boundaries >= 5);
    assert_eq!(ladder.workload.rate_per_s * ladder.origin.model.typical_ms() / 1_000, 450);
    assert_eq!(ladder.rungs[2].layers, [Layer::SingleFlight, Layer::Lock]);
    assert_eq!(ladder.rungs[2].write_guard, WriteGuard::Fenced);
    assert_eq!(ladder.rungs[0].write_guard, WriteGuard::Unguarded);
}

/// Goal: the quick ladder leaves time for bringing up the fleet within its minute.
#[test]
fn the_quick_ladder_drives_load_for_less_than_35_seconds() {
    let quick = parsed("ladder-quick");
    let driven = quick.rung_duration() * u32::try_from(quick.rungs.len()).unwrap();
    assert!(driven < Duration::from_secs(35), "{driven:?}");
}

/// Goal: the lesson's figures come out of the preset's own parameters.
#[test]
fn the_lesson_preset_computes_to_4000() {
    let lesson = parsed("ladder-4000-50-1");
    assert_eq!(lesson.workload.rate_per_s * lesson.origin.model.typical_ms() / 1_000, 4_000);
    assert_eq!(lesson.fleet.nodes, 50);
}

/// Goal: known-bad strategies say so.
#[test]
fn regressions_expect_invalid() {
    for preset in PRESETS.iter().filter(|preset| preset.name.starts_with("regression/")) {
        assert_eq!(parsed(preset.name).expect, Expect::Invalid, "{}", preset.name);
    }
}

/// Goal: dropping rungs on the command line drops the claims about them, and names what does not exist.
#[test]
fn overrides_keep_claims_and_rungs_together() {
    let mut ladder = parsed("ladder");
    let keep = |names: &[&str]| Overrides {
        rungs: Some(names.iter().map(ToString::to_string).collect()),
        nodes: Some(4),
        seed: Some(9),
    };
    ladder.apply(&keep(&["lock"])).unwrap();
    assert_eq!((ladder.rungs.len(), ladder.fleet.nodes, ladder.seed), (1, 4, 9));
    assert!(ladder.claims.iter().all(|claim| claim.rung.as_deref().is_none_or(|rung| rung == "lock")));

    let mistakes = parsed("ladder").apply(&keep(&["lokc"])).unwrap_err();
    assert!(mistakes.to_string().contains("did you mean \"lock\"?"), "{mistakes}");
}
