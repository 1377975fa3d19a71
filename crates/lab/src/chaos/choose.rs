//! Which scenarios of the regression set run, and how long that takes.

use crate::{
    backend::means,
    cli::{BackendChoice, SetArgs},
    exit::UsageError,
    list,
    pick::{self, Picked, REGRESSION},
};
use herd_experiment::{able::Means, testbed::Backend};
use herd_scenario::{Expect, Overrides, PRESETS, Scenario};
use std::time::Duration;

/// A longer load is driven only if it is asked for.
pub(crate) const QUICK: Duration = Duration::from_secs(25);
/// What a rung takes beside its load: its keys are filled, its history written, its verdicts found.
const BESIDE_LOAD: Duration = Duration::from_secs(3);

/// A part of the regression set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// All of it.
    Regression,
    /// Those that expect to be caught.
    KnownBad,
}

impl Family {
    /// The command.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Regression => "chaos",
            Self::KnownBad => "zoo",
        }
    }

    fn has(self, scenario: &Scenario) -> bool {
        self == Self::Regression || scenario.expect == Expect::Invalid
    }
}

/// A scenario of the set.
#[derive(Clone, Debug)]
pub(super) struct One {
    /// Without what all names begin with.
    pub(super) name: &'static str,
    /// What the command line changes is applied.
    pub(super) picked: Picked,
}

/// What runs, in the order in which it is shipped, and what does not.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) taken: Vec<One>,
    /// For their time alone.
    pub(super) left_out: Vec<One>,
    /// What the backend cannot do, with the reason.
    pub(super) unable: Vec<(One, String)>,
    /// As it was asked for.
    pub(super) backend: BackendChoice,
}

/// The scenarios to run.
///
/// # Errors
/// A name is wrong, or a scenario cannot be run with what the command line changes; all such scenarios are told.
///
/// `backend` is what runs them. One that it cannot run is left out, unless it was asked for by name.
pub(super) fn chosen(family: Family, args: &SetArgs, backend: Backend) -> Result<Chosen, UsageError> {
    let mut all = members(family)?;
    if !args.names.is_empty() {
        let wanted = wanted(family, &all, &args.names)?;
        all.retain(|one| wanted.contains(&one.name));
    }
    let overrides = Overrides { nodes: args.fleet.nodes, ..Overrides::default() };
    let is_taken =
        |one: &One| args.all || !args.names.is_empty() || list::load_time(&one.picked.scenario) <= QUICK;
    let (mut taken, left_out): (Vec<One>, Vec<One>) = all.into_iter().partition(is_taken);
    let mut mistakes = Vec::new();
    for one in &mut taken {
        if let Err(error) = one.picked.scenario.apply(&overrides) {
            mistakes.push(format!("{}: {error}", one.name));
        }
    }
    let (taken, unable) = able(taken, means(Some(backend)));
    if !args.names.is_empty() {
        mistakes.extend(unable.iter().map(|(one, why)| format!("{}: {why}", one.name)));
    }
    if !mistakes.is_empty() {
        return Err(UsageError(mistakes.join("\n")));
    }
    Ok(Chosen { taken, left_out, unable, backend: args.fleet.backend })
}

/// Those whose faults can be done, and those that have one which cannot, with the reason.
fn able(all: Vec<One>, means: Means) -> (Vec<One>, Vec<(One, String)>) {
    let (mut able, mut unable) = (Vec::new(), Vec::new());
    for one in all {
        let refused = herd_experiment::able::refused(means, &one.picked.scenario);
        if refused.is_empty() {
            able.push(one);
        } else {
            unable.push((one, refused.join("; ")));
        }
    }
    (able, unable)
}

fn members(family: Family) -> Result<Vec<One>, UsageError> {
    let mut all = Vec::new();
    for preset in PRESETS {
        let Some(name) = preset.name.strip_prefix(REGRESSION) else { continue };
        let picked = pick::preset(preset.name)?;
        if family.has(&picked.scenario) {
            all.push(One { name, picked });
        }
    }
    Ok(all)
}

/// The short forms of these names.
fn wanted<'n>(family: Family, all: &[One], names: &'n [String]) -> Result<Vec<&'n str>, UsageError> {
    let known: Vec<&str> = all.iter().map(|one| one.name).collect();
    let short = |name: &'n String| name.strip_prefix(REGRESSION).unwrap_or(name);
    let wanted: Vec<&str> = names.iter().map(short).collect();
    let wrong: Vec<String> = wanted
        .iter()
        .filter(|name| !known.contains(*name))
        .map(|name| format!("{name:?}{}", pick::nearest(name, &known)))
        .collect();
    if wrong.is_empty() {
        return Ok(wanted);
    }
    let what = match family {
        Family::Regression => "scenario of the regression set",
        Family::KnownBad => "known-bad strategy",
    };
    Err(UsageError(format!("no {what} is called {}; there are: {}", wrong.join(" or "), known.join(", "))))
}

/// About how long they take, fleets included. Containers start more slowly; in doubt that is what is said.
pub(super) fn estimate(scenarios: &[One], backend: BackendChoice) -> Duration {
    let fleet = Duration::from_secs(if backend == BackendChoice::Processes { 4 } else { 30 });
    let of = |one: &One| {
        let rungs = u32::try_from(one.picked.scenario.rungs.len()).unwrap_or(u32::MAX);
        list::load_time(&one.picked.scenario) + BESIDE_LOAD * rungs + fleet
    };
    scenarios.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::EachFleet;

    fn args(names: &[&str], all: bool) -> SetArgs {
        SetArgs {
            names: names.iter().map(ToString::to_string).collect(),
            all,
            keep_going: false,
            until_failure: false,
            fleet: EachFleet { backend: BackendChoice::Processes, nodes: None },
            out: None,
        }
    }

    fn names(family: Family, args: &SetArgs) -> Result<Vec<&'static str>, String> {
        let chosen = chosen(family, args, Backend::Processes).map_err(|error| error.to_string())?;
        Ok(chosen.taken.into_iter().map(|one| one.name).collect())
    }

    /// Goal: all means each file of the regression set; the zoo is those of them that expect to be caught.
    #[test]
    fn all_are_found() {
        let all = names(Family::Regression, &args(&[], true)).unwrap();
        assert_eq!(all.len(), PRESETS.iter().filter(|preset| preset.name.starts_with(REGRESSION)).count());
        let bad = names(Family::KnownBad, &args(&[], true)).unwrap();
        assert!(bad.contains(&"no-coalescing") && bad.iter().all(|name| all.contains(name)));
        for name in all {
            let scenario = pick::preset(&format!("{REGRESSION}{name}")).unwrap().scenario;
            assert_eq!(bad.contains(&name), scenario.expect == Expect::Invalid, "{name}");
        }
    }

    /// Goal: one is found by either of its names, in the shipped order, and every wrong name is told with the nearest right one.
    #[test]
    fn names_are_found() {
        let two = ["no-jitter", "regression/lock-without-second-look"];
        let found = names(Family::Regression, &args(&two, false)).unwrap();
        assert_eq!(found, ["lock-without-second-look", "no-jitter"]);
        let wrong = names(Family::KnownBad, &args(&["lock-without-second-loko", "zzz"], false)).unwrap_err();
        assert!(
            wrong.contains("did you mean \"lock-without-second-look\"? or \"zzz\"; there are"),
            "{wrong}"
        );
    }

    /// Goal: without names the quick ones run and the others are known; together they are all, and take as long.
    #[test]
    fn the_quick_ones_are_those_of_a_short_load() {
        let quick = chosen(Family::Regression, &args(&[], false), Backend::Compose).unwrap();
        let all = chosen(Family::Regression, &args(&[], true), Backend::Compose).unwrap();
        assert!(!quick.taken.is_empty());
        assert!(quick.taken.iter().all(|one| list::load_time(&one.picked.scenario) <= QUICK));
        assert!(quick.left_out.iter().all(|one| list::load_time(&one.picked.scenario) > QUICK));
        let time = |all: &[One]| estimate(all, BackendChoice::Processes);
        assert_eq!(time(&quick.taken) + time(&quick.left_out), time(&all.taken));
        assert!(estimate(&all.taken, BackendChoice::Compose) > time(&all.taken));
    }

    /// Goal: what a backend cannot do is told apart with its reason; the others keep their order.
    #[test]
    fn what_a_backend_cannot_do_is_left_out() {
        let mut all = members(Family::Regression).unwrap();
        let fault =
            "[[fault]]\nname = \"frozen\"\nkind = \"pause\"\npart = \"database\"\nat_ms = 1000\nfor_ms = 5\n";
        let hurt = all.iter_mut().find(|one| one.name == "no-jitter").unwrap();
        let text = format!("{}\n{fault}", hurt.picked.text);
        hurt.picked = hurt.picked.rewritten(&text, &Overrides::default()).unwrap();
        let hurt = ["no-jitter", "database-away"];
        let names: Vec<&str> = all.iter().map(|one| one.name).filter(|name| !hurt.contains(name)).collect();
        let count = all.len();
        let (able_too, unable) = able(all.clone(), Means::Containers);
        assert!(unable.is_empty() && able_too.len() == count);
        let (taken, unable) = able(all, Means::Processes { postgres: false });
        assert_eq!(taken.iter().map(|one| one.name).collect::<Vec<_>>(), names);
        assert_eq!(unable.iter().map(|(one, _)| one.name).collect::<Vec<_>>(), hurt);
        assert!(unable[0].1.contains("fault \"frozen\" (pause database) cannot be done"), "{}", unable[0].1);
    }

    /// Goal: what the command line changes is held against every scenario before one runs.
    #[test]
    fn an_impossible_fleet_is_told_at_once() {
        let mut args = args(&["no-jitter", "no-coalescing"], false);
        args.fleet.nodes = Some(7);
        let seven = chosen(Family::Regression, &args, Backend::Processes).unwrap();
        assert!(seven.taken.iter().all(|one| one.picked.scenario.fleet.nodes == 7));
        args.fleet.nodes = Some(0);
        let wrong = names(Family::Regression, &args).unwrap_err();
        assert!(wrong.contains("no-jitter: ") && wrong.contains("no-coalescing: "), "{wrong}");
    }
}
