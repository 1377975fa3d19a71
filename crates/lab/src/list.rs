//! `herd list`: the scenarios that the program carries.

use crate::{chaos, exit::Exit, out, pick};
use herd_scenario::{PRESETS, Preset, Scenario};
use std::time::Duration;

/// Lists them: name, expected outcome, rungs, faults and time, what each shows.
///
/// # Errors
/// A shipped scenario has mistakes.
pub(crate) fn list() -> anyhow::Result<Exit> {
    let mut shipped = Vec::new();
    for preset in PRESETS {
        shipped.push((preset, pick::preset(preset.name)?.scenario));
    }
    out::say(table(&shipped, out::width().unwrap_or(usize::MAX)).trim_end());
    Ok(Exit::Expected)
}

/// How long the load of all rungs of a scenario lasts; bringing the fleet up and down comes on top.
pub(crate) fn load_time(scenario: &Scenario) -> Duration {
    scenario.rung_duration() * u32::try_from(scenario.rungs.len()).unwrap_or(u32::MAX)
}

/// `45 s`, `3 min`.
pub(crate) fn about(time: Duration) -> String {
    match time.as_secs_f64().ceil() {
        seconds if seconds < 100.0 => format!("{seconds:.0} s"),
        seconds => format!("{:.0} min", (seconds / 60.0).ceil()),
    }
}

fn table(shipped: &[(&Preset, Scenario)], columns: usize) -> String {
    let width = shipped.iter().map(|(preset, _)| preset.name.len()).max().unwrap_or(0);
    let mut text = format!("{:<width$}  expected  rungs  faults    load  what it shows\n", "scenario");
    for (preset, scenario) in shipped {
        let first = format!(
            "{:<width$}  {:<8}  {:>5}  {:>6}  {:>6}  ",
            preset.name,
            scenario.expect.name(),
            scenario.rungs.len(),
            scenario.faults.len(),
            about(load_time(scenario))
        );
        text.push_str(&herd_report::wrapped(&first, herd_report::summary_of(preset.text), columns));
    }
    let set = format!(
        "run one: herd run NAME · its rungs: herd run NAME --explain\n\
         the regression set: herd chaos (load up to {}), herd chaos --all · the known-bad ones of it: herd zoo\n",
        about(chaos::QUICK)
    );
    text + "\n" + &set
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: times are told as people tell them.
    #[test]
    fn times() {
        let told = |ms| about(Duration::from_millis(ms));
        assert_eq!([told(900), told(45_100), told(99_000)], ["1 s", "46 s", "99 s"]);
        assert_eq!([told(100_000), told(600_500)], ["2 min", "11 min"]);
    }

    /// Goal: every shipped scenario has a line that says what it shows.
    #[test]
    fn every_scenario_says_what_it_shows() {
        for preset in PRESETS {
            let summary = herd_report::summary_of(preset.text);
            assert!(summary.len() > 20, "{} opens without a comment that says what it shows", preset.name);
        }
    }
}
