//! `herd bisect`: the value of a scenario's field at which its outcome tips.
//!
//! `search` halves, `number` is what it halves, `question` says on which side a run lies, `record` keeps each try.

mod number;
mod question;
mod record;
mod search;

use crate::{
    backend,
    cli::BisectArgs,
    exit::{Exit, UsageError},
    out,
    pick::{self, Picked},
    place,
    trial::{Trial, trial},
};
use herd_judge::Outcome;
use herd_scenario::{Overrides, get_field, set_field};
use number::Number;
use question::{Answer, Question};
use record::{Record, Try};
use search::{Found, Look, search};
use std::{path::Path, time::Instant};
use tokio_util::sync::CancellationToken;

/// Searches and says what was found.
///
/// # Errors
/// The field, an end, the rung or the claim is wrong, or there is no place for the runs.
pub(crate) async fn bisect(args: &BisectArgs, stop: &CancellationToken) -> anyhow::Result<Exit> {
    let picked = pick::file_or_preset(&args.scenario)?;
    let ends = Number::ends(&args.from, &args.to)?;
    let question = Question::new(&picked.scenario, args.claim, args.rung.as_deref())?;
    is_numeric(&picked, args)?;
    // Whatever is wrong with either end is told before anything is started.
    for end in [ends.0, ends.1] {
        let picked = with(&picked, args, end)?;
        backend::check_choice(args.fleet.backend, &picked.file, &picked.scenario).await?;
    }
    let above = place::above(args.out.as_deref(), "bisect")?;
    let mut record = Record::new(&above, args);
    out::warn(format_args!(
        "{} of {}, {} to {}: {} runs at most, and one more for each of which nothing can be said",
        args.over,
        args.scenario,
        ends.0,
        ends.1,
        u32::from(args.steps) + 2
    ));
    let found = search(ends, args.steps, async |value, asked| {
        one(with(&picked, args, value)?, args, (value, asked), &question, &above, stop, &mut record).await
    });
    let found = Box::pin(found).await?;
    record.close(&found)?;
    out::say(told(&found, &args.over));
    out::say(format_args!("record    {}", record.file().display()));
    Ok(exit(&found))
}

/// A field that is no number now has no values between which could be searched, even if it would take some.
fn is_numeric(picked: &Picked, args: &BisectArgs) -> Result<(), UsageError> {
    // A field that is not given has its default, and what is wrong with its path is told where it is set.
    let Ok(now) = get_field(&picked.text, &args.over) else { return Ok(()) };
    if Number::is(&now) {
        return Ok(());
    }
    Err(UsageError(format!("--over {}: it is {now:?} now, and no number that could be varied", args.over)))
}

/// The scenario with this value in its field.
fn with(picked: &Picked, args: &BisectArgs, value: Number) -> Result<Picked, UsageError> {
    let text = set_field(&picked.text, &args.over, &value.to_string())
        .map_err(|error| UsageError(format!("--over {}: {error}", args.over)))?;
    let rungs = args.rung.clone().map(|rung| vec![rung]);
    let overrides = Overrides { nodes: args.fleet.nodes, seed: args.seed, rungs };
    picked
        .rewritten(&text, &overrides)
        .map_err(|error| UsageError(format!("with {} = {value}: {error}", args.over)))
}

/// One run. A run that fails is one of which nothing can be said.
async fn one(
    picked: Picked,
    args: &BisectArgs,
    (value, asked): (Number, u32),
    question: &Question,
    above: &Path,
    stop: &CancellationToken,
    record: &mut Record,
) -> anyhow::Result<Option<Look>> {
    let again = if asked > 1 { ", again" } else { "" };
    out::warn(format_args!("\nrun {}: {} = {value}{again}", record.tries() + 1, args.over));
    let name = format!("{:02}-at-{value}", record.tries() + 1);
    let place = place::run_dir(Some(&above.join(&name)), above, &name)?;
    let began = Instant::now();
    let (answer, dir) = match trial(picked, args.fleet.backend, &place, stop).await {
        Ok(None) => return Ok(None),
        Ok(Some(Trial { judgement, dir, .. })) => (question.answer(&judgement), Some(dir)),
        Err(error) => (failed(&error), None),
    };
    let look = answer.look.clone();
    let tried = Try::new(value, &answer, began.elapsed(), dir);
    out::say(tried.told(&args.over));
    record.add(tried)?;
    Ok(Some(look))
}

fn failed(error: &anyhow::Error) -> Answer {
    let look = Look { outcome: Outcome::Unknown, why: format!("{error:#}") };
    Answer { look, claim: None, observed: None, bound: None, goodput_after_per_s: None }
}

fn told(found: &Found, field: &str) -> String {
    let point = |(value, outcome): &search::Point| format!("{} at {value}", outcome.name());
    let within = |within: &Option<(search::Point, search::Point)>| match within {
        Some((before, after)) => format!("; by then: {}, {}", point(before), point(after)),
        None => String::new(),
    };
    match found {
        Found::Tips { before, after, close } => {
            let wide = if *close { "" } else { " (the steps are used up; --steps for more)" };
            let (a, b) = (point(before), point(after));
            format!("\n{field} tips between {} and {}: {a}, {b}{wide}", before.0, after.0)
        }
        Found::Alike(outcome) => format!(
            "\n{field}: both ends are {}: no tipping point can be searched between them",
            outcome.name()
        ),
        Found::Unknown { at, why, within: by_then } => {
            format!("\n{field} = {at} is unknown, twice: {why}{}", within(by_then))
        }
        Found::Interrupted { within: by_then } => format!("\ninterrupted{}", within(by_then)),
    }
}

fn exit(found: &Found) -> Exit {
    match found {
        Found::Tips { .. } => Exit::Expected,
        Found::Alike(_) => Exit::Other,
        Found::Unknown { .. } => Exit::Unknown,
        Found::Interrupted { .. } => Exit::Interrupted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each way in which a search ends has its words and its exit status.
    #[test]
    fn ends() {
        let (before, after) = ((Number::Whole(662), Outcome::Valid), (Number::Whole(718), Outcome::Invalid));
        let tips = Found::Tips { before, after, close: true };
        assert_eq!(told(&tips, "a.b"), "\na.b tips between 662 and 718: valid at 662, invalid at 718");
        let alike = Found::Alike(Outcome::Invalid);
        assert!(told(&alike, "a.b").contains("both ends are invalid"));
        let why = "too little load".to_owned();
        let unknown = Found::Unknown { at: Number::Real(0.5), why, within: Some((before, after)) };
        assert!(
            told(&unknown, "a.b")
                .contains("a.b = 0.5 is unknown, twice: too little load; by then: valid at 662")
        );
        let interrupted = Found::Interrupted { within: None };
        assert_eq!(
            [&tips, &alike, &unknown, &interrupted].map(exit),
            [Exit::Expected, Exit::Other, Exit::Unknown, Exit::Interrupted]
        );
    }
}
