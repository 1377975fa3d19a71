//! `herd zoo`: the known-bad strategies, one after the other. A judge that has never said "invalid" has proved nothing.

use crate::{
    cli::ZooArgs,
    exit::{Exit, UsageError},
    experiment, list, out,
    pick::{self, Picked},
    place,
    screen::Screen,
    verdict,
};
use anyhow::Context;
use herd_judge::Judgement;
use herd_report::{Tracked, summary_of, track_record, track_record_markdown};
use herd_scenario::{Expect, PRESETS, Scenario};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How the names of known-bad strategies begin.
const REGRESSION: &str = "regression/";
/// A longer load is driven only if it is asked for.
const QUICK: Duration = Duration::from_secs(120);

/// Runs them and shows the track record.
///
/// # Errors
/// A name is wrong, or there is no place for the runs. A run that fails is told and counts as unknown.
pub(crate) async fn zoo(args: &ZooArgs, stop: &CancellationToken) -> anyhow::Result<Exit> {
    let chosen = chosen(args)?;
    let above = place::above(args.out.as_deref(), "zoo")?;
    let mut record = Vec::new();
    for (done, (name, picked)) in chosen.iter().enumerate() {
        out::warn(format_args!("\n{} of {}: {name}", done + 1, chosen.len()));
        let Some(tracked) = one(name, picked.clone(), args, &above, stop).await? else {
            break;
        };
        out::warn(format_args!("{}: {}: {}", tracked.strategy, tracked.outcome(), tracked.why));
        record.push(tracked);
    }
    if record.is_empty() {
        return Ok(Exit::Interrupted);
    }
    let file = above.join("track-record.md");
    std::fs::write(&file, track_record_markdown(&record))
        .with_context(|| format!("cannot write {}", file.display()))?;
    out::say(format_args!("\n{}", track_record(&record, out::width())));
    out::say(format_args!("record    {}", file.display()));
    if record.len() < chosen.len() {
        return Ok(Exit::Interrupted);
    }
    Ok(exit(&record))
}

/// One strategy: driven, judged, reported. `None` if it was interrupted.
async fn one(
    name: &str,
    picked: Picked,
    args: &ZooArgs,
    above: &Path,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Tracked>> {
    let about = summary_of(&picked.text).to_owned();
    let place = place::run_dir(Some(&above.join(name)), above, name)?;
    let began = Instant::now();
    let driven = experiment::driven(picked, args.backend, &place, &Screen::new(), stop).await;
    let took_s = || began.elapsed().as_secs();
    let driven = match driven {
        Ok(None) => return Ok(None),
        Ok(Some(driven)) => driven,
        Err(error) => return Ok(Some(Tracked::failed(name, &about, &format!("{error:#}"), took_s()))),
    };
    let (judgement, scenario) = match verdict::judge_and_write(&driven.dir) {
        Ok(judged) => judged,
        Err(error) => return Ok(Some(Tracked::failed(name, &about, &format!("{error:#}"), took_s()))),
    };
    Ok(Some(tracked(name, &about, &judgement, &scenario, took_s())))
}

fn tracked(name: &str, about: &str, judgement: &Judgement, scenario: &Scenario, took_s: u64) -> Tracked {
    let first = scenario.claims.first().map_or(("", ""), |claim| (claim.property.name(), claim.scope.name()));
    Tracked::new(name, about, judgement, first, took_s)
}

/// The strategies to run, by their short names, in the order in which they are shipped.
fn chosen(args: &ZooArgs) -> Result<Vec<(&'static str, Picked)>, UsageError> {
    let mut all = Vec::new();
    for preset in PRESETS {
        let Some(name) = preset.name.strip_prefix(REGRESSION) else { continue };
        let picked = pick::preset(preset.name)?;
        if picked.scenario.expect == Expect::Invalid {
            all.push((name, picked));
        }
    }
    if let Some(only) = &args.only {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        let short = |name: &str| name.strip_prefix(REGRESSION).unwrap_or(name).to_owned();
        let only: Vec<String> = only.iter().map(|name| short(name)).collect();
        if let Some(wrong) = only.iter().find(|name| !names.contains(&name.as_str())) {
            let hint = pick::nearest(wrong, &names);
            let names = names.join(", ");
            return Err(UsageError(format!(
                "no known-bad strategy is called {wrong:?}{hint}; there are: {names}"
            )));
        }
        all.retain(|(name, _)| only.iter().any(|one| one == name));
        return Ok(all);
    }
    let (quick, long): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(_, picked)| args.all || list::load_time(&picked.scenario) <= QUICK);
    if !long.is_empty() {
        let names: Vec<&str> = long.iter().map(|(name, _)| *name).collect();
        out::warn(format_args!(
            "left out, as their load lasts longer than two minutes: {} (--all)",
            names.join(", ")
        ));
    }
    Ok(quick)
}

fn exit(record: &[Tracked]) -> Exit {
    if record.iter().any(|one| one.caught == Some(false)) {
        return Exit::Other;
    }
    if record.iter().all(|one| one.caught == Some(true)) { Exit::Expected } else { Exit::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::BackendChoice;

    fn args(only: Option<&[&str]>) -> ZooArgs {
        let only = only.map(|only| only.iter().map(ToString::to_string).collect());
        ZooArgs { backend: BackendChoice::Processes, only, all: true, out: None }
    }

    fn names(only: Option<&[&str]>) -> Result<Vec<&'static str>, String> {
        let chosen = chosen(&args(only)).map_err(|error| error.to_string())?;
        Ok(chosen.into_iter().map(|(name, _)| name).collect())
    }

    /// Goal: every shipped known-bad strategy is run, one is found by either of its names, and a wrong name is told.
    #[test]
    fn strategies_are_found() {
        let all = names(None).unwrap();
        let shipped = PRESETS.iter().filter(|preset| preset.name.starts_with(REGRESSION)).count();
        assert_eq!(all.len(), shipped, "each file in chaos/regression/ expects to be caught");
        for name in ["lock-without-second-look", "regression/lock-without-second-look"] {
            assert_eq!(names(Some(&[name])).unwrap(), ["lock-without-second-look"]);
        }
        let wrong = names(Some(&["lock-without-second-loko"])).unwrap_err();
        assert!(wrong.contains("did you mean \"lock-without-second-look\"?"), "{wrong}");
    }

    /// Goal: one that got away outweighs those that were caught, and one of which nothing can be said is no success.
    #[test]
    fn exit_statuses() {
        let one = |caught| Tracked { caught, ..Tracked::failed("x", "", "", 1) };
        assert_eq!(exit(&[one(Some(true)), one(Some(true))]), Exit::Expected);
        assert_eq!(exit(&[one(Some(true)), one(None)]), Exit::Unknown);
        assert_eq!(exit(&[one(None), one(Some(false)), one(Some(true))]), Exit::Other);
    }
}
