//! `herd chaos` and `herd zoo`: scenarios of the regression set one after the other, a fleet for each, and what became of them.
//!
//! `choose` says which run and how long they take, `record` keeps what became of them.

mod choose;
mod record;

use crate::{
    backend,
    cli::SetArgs,
    exit::{Exit, UsageError},
    list::about,
    out, place,
    trial::{Trial, trial},
};
use choose::{Chosen, One};
use herd_experiment::testbed::Silent;
use herd_report::Ran;
use record::{End, Record};
use std::{path::Path, time::Instant};
use tokio_util::sync::CancellationToken;

pub(crate) use choose::{Family, QUICK};

/// Runs scenarios of a family and sums up what became of them.
///
/// # Errors
/// A name is wrong, a scenario does not fit the command line, or there is no place for the runs. A run that fails is told and
/// counts as unknown.
pub(crate) async fn run(family: Family, args: &SetArgs, stop: &CancellationToken) -> anyhow::Result<Exit> {
    // Which backend it is decides what can be run. It is told with each run.
    let backend = backend::testbed(args.fleet.backend, &Silent).await?.backend();
    let chosen = choose::chosen(family, args, backend)?;
    announce(&chosen, family);
    if chosen.taken.is_empty() {
        return Err(UsageError(format!("there is nothing that fleets of {backend} can run")).into());
    }
    let above = place::above(args.out.as_deref(), family.name())?;
    let mut record = Record::new(&above, &chosen);
    let mut end = End::Whole;
    for (done, one) in chosen.taken.iter().enumerate() {
        let (of, to_go) = (chosen.taken.len(), choose::estimate(&chosen.taken[done..], args.fleet.backend));
        out::warn(format_args!("\n{} of {of}: {} ({} to go)", done + 1, one.name, about(to_go)));
        let Some(ran) = run_one(one, args, &above, stop, &mut record).await? else {
            end = End::Interrupted;
            break;
        };
        if ran != Some(true) && args.until_failure && done + 1 < of {
            end = End::AtFailure;
            break;
        }
    }
    record.close(end)?;
    Ok(record.exit(end))
}

fn announce(chosen: &Chosen, family: Family) {
    let Chosen { taken, left_out, unable, backend } = chosen;
    let time = |all: &[One]| about(choose::estimate(all, *backend));
    let scenarios = if taken.len() == 1 { "scenario" } else { "scenarios" };
    out::warn(format_args!("{} {scenarios}, about {}", taken.len(), time(taken)));
    for (one, why) in unable {
        out::warn(format_args!("left out: {}: {why}", one.name));
    }
    if left_out.is_empty() {
        return;
    }
    let names: Vec<&str> = left_out.iter().map(|one| one.name).collect();
    out::warn(format_args!(
        "left out, as the load lasts longer than {}: {} (herd {} --all takes about {})",
        about(QUICK),
        names.join(", "),
        family.name(),
        about(choose::estimate(taken, *backend) + choose::estimate(left_out, *backend)),
    ));
}

/// One scenario: driven, judged, reported, recorded. `None` if it was interrupted, else whether it came out as expected.
async fn run_one(
    one: &One,
    args: &SetArgs,
    above: &Path,
    stop: &CancellationToken,
    record: &mut Record,
) -> anyhow::Result<Option<Option<bool>>> {
    let place = place::run_dir(Some(&above.join(one.name)), above, one.name)?;
    let began = Instant::now();
    let (ran, dir) = match trial(one.picked.clone(), args.fleet.backend, &place, stop).await {
        Ok(None) => return Ok(None),
        Ok(Some(Trial { scenario, judgement, dir })) => {
            (Ran::judged(one.name, &scenario, &judgement, began.elapsed()), Some(dir))
        }
        Err(error) => {
            let why = format!("{error:#}");
            (Ran::failed(one.name, &one.picked.scenario, &why, began.elapsed()), None)
        }
    };
    out::warn(format_args!("{}: {}: {}", ran.name, ran.told(), ran.why));
    let as_expected = ran.as_expected;
    record.add(ran, dir)?;
    Ok(Some(as_expected))
}
