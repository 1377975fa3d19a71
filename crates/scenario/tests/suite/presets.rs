use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use herd_scenario::{
    AtMost, Claim, Expect, FaultKind, Layer, Lock, Overrides, PRESETS, Preset, Scenario, Start, WriteGuard,
};

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

/// The rungs of the whole ladder, in teaching order.
const LADDER: [&str; 17] = [
    "none",
    "single-flight",
    "lock",
    "lock-short",
    "lock-renewed",
    "waiter-timeout",
    "swr",
    "swr-lock",
    "jitter",
    "negative",
    "key-filter",
    "xfetch",
    "xfetch-lock",
    "shed",
    "owner",
    "l1",
    "full-stack",
];

/// Goal: both ladders teach the same rungs in the same order, the herd is larger than the fleet, and no layer is left out.
#[test]
fn both_ladders_have_every_layer_and_a_herd_larger_than_the_fleet() {
    for (name, least) in [("ladder", 5), ("ladder-quick", 4)] {
        let ladder = parsed(name);
        let names: Vec<&str> = ladder.rungs.iter().map(|rung| rung.name.as_str()).collect();
        assert_eq!(names, LADDER, "{name}");
        let named: BTreeSet<Layer> = ladder.rungs.iter().flat_map(|rung| rung.layers.clone()).collect();
        for layer in Layer::ALL {
            assert!(named.contains(layer), "{name} has no rung with {layer}");
        }
        assert!(ladder.workload.boundaries >= least, "{name}");
        let hot = f64::from(ladder.workload.rate_per_s) * ladder.workload.shares().of_most_read();
        let herd = hot * f64::from(ladder.origin.model.typical_ms()) / 1e3;
        assert!(herd > 2.0 * f64::from(ladder.fleet.nodes), "{name}: {herd} readers at a boundary");
        for rung in &ladder.rungs {
            let about = |claim: &&Claim| claim.rung.as_deref() == Some(&rung.name);
            assert!(
                ladder.claims.iter().any(|claim| about(&claim)),
                "{name}: nothing is claimed of {}",
                rung.name
            );
        }
    }
}

/// Goal: writes are compared exactly where a layer promises something about what is written, or the rung says so.
#[test]
fn guards_of_the_ladder() {
    let ladder = parsed("ladder");
    let unguarded: Vec<&str> = ladder
        .rungs
        .iter()
        .filter(|rung| rung.write_guard == WriteGuard::Unguarded)
        .map(|rung| rung.name.as_str())
        .collect();
    assert_eq!(unguarded, ["none", "xfetch", "shed"]);
}

/// Goal: a lease that ends before the rebuild lets in as many as the ladder says, and the same lease is renewed in the next rung.
#[test]
fn the_short_lease_and_the_renewed_one_differ_in_renewal_alone() {
    for (name, rounds) in [("ladder", 3), ("ladder-quick", 2)] {
        let ladder = parsed(name);
        let lock = |rung: &str| {
            let rung = ladder.rungs.iter().find(|other| other.name == rung).expect("a rung of the ladder");
            rung.lock.clone().expect("it has a lock")
        };
        let short = lock("lock-short");
        assert_eq!(ladder.origin.model.longest_ms().div_ceil(short.expiry_ms), rounds, "{name}");
        assert_eq!(Lock { renew: true, ..short }, lock("lock-renewed"), "{name}");
    }
}

/// Goal: XFetch's formula holds where it is claimed: the first early reader comes long after the value was written.
#[test]
fn early_recomputation_has_the_room_that_its_formula_needs() {
    for name in ["ladder", "ladder-quick", "xfetch"] {
        let scenario = parsed(name);
        let rate = f64::from(scenario.workload.rate_per_s) * scenario.workload.shares().of_most_read();
        let rebuild_s = f64::from(scenario.origin.model.typical_ms()) / 1e3;
        let ttl_s = f64::from(scenario.policy.ttl_ms) / 1e3;
        for rung in &scenario.rungs {
            let Some(beta) = rung.early_beta else { continue };
            // Readers who would come early already when the value is written.
            let at_once = rate * beta * rebuild_s * (-ttl_s / (beta * rebuild_s)).exp();
            assert!(at_once < 0.05, "{name}, {}: {at_once}", rung.name);
            assert!(rate * beta * rebuild_s > 10.0, "{name}, {}", rung.name);
        }
    }
}

/// Goal: the number that a slow origin exceeds is one that a steady one does not.
#[test]
fn the_bound_of_a_slow_origin_is_that_of_a_steady_one() {
    let scenario = parsed("regression/xfetch-slow-origin");
    let mean = (1.0 / scenario.rungs[0].early_beta.unwrap()).exp();
    let beyond = |count: i32| 30.0 * (1.0 - 1.0 / mean).powi(count);
    let least = (1..).find(|count| beyond(*count) <= 0.001).unwrap();
    assert_eq!(scenario.claims[0].at_most, AtMost::Number(u64::try_from(least).unwrap()));
}

/// Goal: the ladders leave time for bringing up the fleet and switching rungs within their minutes.
#[test]
fn ladders_take_minutes_not_hours() {
    for (name, seconds_max) in [("ladder-quick", 130), ("ladder", 320)] {
        let ladder = parsed(name);
        let driven = ladder.rung_duration() * u32::try_from(ladder.rungs.len()).unwrap();
        assert!(driven < Duration::from_secs(seconds_max), "{name}: {driven:?}");
    }
}

/// Goal: known-bad strategies are caught within seconds and faults within little more than a minute, which ten restarts of a container
/// take, so that all of them can be run in one sitting.
#[test]
fn regressions_are_quick() {
    for preset in PRESETS.iter().filter(|preset| preset.name.starts_with("regression/")) {
        let scenario = parsed(preset.name);
        let driven = scenario.rung_duration() * u32::try_from(scenario.rungs.len()).unwrap();
        let most = if scenario.faults.is_empty() { 20 } else { 80 };
        assert!(driven < Duration::from_secs(most), "{}: {driven:?}", preset.name);
        let scales = scenario.faults.iter().any(|fault| fault.action.kind() == FaultKind::ScaleOut);
        assert!(scenario.fleet.nodes <= 10 || scales, "{}", preset.name);
    }
}

/// Goal: every scenario is told in chaos/README.md, with the verdict that is expected.
#[test]
fn the_folder_page_tells_every_scenario() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../chaos/README.md");
    let page = std::fs::read_to_string(page).unwrap();
    for preset in PRESETS {
        let line = page.lines().find(|line| line.contains(&format!("`{}`", preset.file)));
        let line = line.unwrap_or_else(|| panic!("chaos/README.md does not tell {}", preset.file));
        if !preset.name.starts_with("exploratory/") {
            let expected = parsed(preset.name).expect.name();
            assert!(line.trim_end().ends_with(&format!("| {expected} |")), "{line}");
        }
    }
}

/// Goal: the arithmetic that a late release of another's lease rests on: more than the expiry alone allows for.
#[test]
fn late_releases_let_in_one_more_than_the_expiry() {
    let scenario = parsed("regression/unconditional-release");
    let lock = scenario.rungs[0].lock.as_ref().unwrap();
    let (rebuild, ttl) = (scenario.origin.model.longest_ms(), scenario.policy.ttl_ms);
    assert!(ttl < lock.expiry_ms && lock.expiry_ms < rebuild);
    assert_eq!((rebuild.div_ceil(lock.expiry_ms), (rebuild + ttl).div_ceil(lock.expiry_ms)), (3, 4));
}

/// Goal: the number claimed of a fleet without jitter is what jitter would give.
#[test]
fn the_bound_without_jitter_is_that_of_jitter() {
    let scenario = parsed("regression/no-jitter");
    let mean = f64::from(scenario.workload.keys) / (2.0 * 0.25 * f64::from(scenario.policy.ttl_ms) / 1e3);
    let seconds = scenario.rung_duration().as_secs_f64();
    let highest = mean + (2.0 * mean * seconds.ln()).sqrt();
    assert_eq!(scenario.claims[0].at_most, AtMost::Number(highest.round() as u64));
}

/// Goal: 5,000 reads are injected, and not one of them can be a hit.
#[test]
fn the_injection_is_of_5000_misses() {
    let scenario = parsed("inject-5000-misses");
    let window = scenario.rung_duration();
    let reads = scenario.workload.arrivals(scenario.seed);
    let reads = reads.take_while(|read| u128::from(read.at_us) < window.as_micros()).count();
    assert!((4_999..=5_000).contains(&reads), "{reads}");
    assert!(Duration::from_millis(scenario.origin.model.typical_ms().into()) > window);
    assert!(scenario.rungs.iter().all(|rung| rung.start == Start::Cold));
}

/// Goal: the lesson's figures come out of the preset's own parameters.
#[test]
fn the_lesson_preset_computes_to_4000() {
    let lesson = parsed("ladder-4000-50-1");
    assert_eq!(lesson.workload.rate_per_s * lesson.origin.model.typical_ms() / 1_000, 4_000);
    assert_eq!(lesson.fleet.nodes, 50);
}

/// Goal: a regression is a known-bad strategy that says so, or attacks the fleet; what it attacks with is told from what it claims.
#[test]
fn regressions_are_bad_or_attacked() {
    for preset in PRESETS.iter().filter(|preset| preset.name.starts_with("regression/")) {
        let scenario = parsed(preset.name);
        assert!(scenario.expect == Expect::Invalid || !scenario.faults.is_empty(), "{}", preset.name);
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
