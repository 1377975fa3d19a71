//! Which shipped scenarios show a layer broken.

use herd_scenario::{Expect, Layer, PRESETS, Preset, Scenario};

use crate::words::summary_of;

/// The shipped known-bad scenarios in which this is the outermost layer of a rung that their first claim is about: that claim is
/// what has to catch them. Each as its file and what it is about.
pub(super) fn broken(outermost: Option<Layer>) -> Vec<String> {
    PRESETS.iter().filter(|preset| breaks(preset, outermost)).map(told).collect()
}

fn breaks(preset: &Preset, outermost: Option<Layer>) -> bool {
    let Ok(scenario) = Scenario::parse(preset.file, preset.text) else { return false };
    let Some(first) = scenario.claims.first().filter(|_| scenario.expect == Expect::Invalid) else {
        return false;
    };
    let about = |name: &str| first.rung.as_ref().is_none_or(|rung| rung == name);
    scenario.rungs.iter().any(|rung| about(&rung.name) && rung.layers.last().copied() == outermost)
}

fn told(preset: &Preset) -> String {
    format!("{}: {}", preset.file, summary_of(preset.text))
}
