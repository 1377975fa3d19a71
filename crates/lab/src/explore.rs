//! `herd explore`: fault plans drawn at random, and the smallest that fails.
//!
//! `shrink` reduces, `record` keeps each run. Plans are drawn and made smaller by the scenario's crate.

mod record;
mod shrink;

use crate::{
    backend,
    cli::ExploreArgs,
    exit::{Exit, UsageError},
    out,
    pick::{self, Picked},
    place,
    trial::{Trial, trial},
};
use herd_judge::{Judgement, Outcome};
use herd_scenario::{Overrides, Scenario, UnderAnyFaults, draw, set_field, smaller, under_any_faults};
use record::{Record, Try};
use shrink::{Ended, Smallest, shrink};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Draws, runs, and reduces the first plan that fails.
///
/// # Errors
/// The scenario is wrong, no plan can be drawn for it, or there is no place for the runs.
pub(crate) async fn explore(args: &ExploreArgs, stop: &CancellationToken) -> anyhow::Result<Exit> {
    let (base, left_out) = base(args)?;
    drawn(&base, args, args.seed)?;
    backend::check_choice(args.fleet.backend, &base.file, &base.scenario).await?;
    let above = place::above(args.out.as_deref(), "explore")?;
    for claim in &left_out {
        out::warn(format_args!("not judged, as faults may refute it without anybody's mistake: {claim}"));
    }
    let record = Record::new(&above, args, left_out);
    let ends = Instant::now() + Duration::from_secs(60 * u64::from(args.minutes));
    let mut exploration = Exploration { args, base, above, record, ends, stop };
    let exit = Box::pin(exploration.all()).await?;
    let (fail, unknown, all) = exploration.record.counts();
    let plans = if all == 1 { "plan" } else { "plans" };
    out::say(format_args!(
        "\n{all} {plans} run: {} as expected, {fail} not, {unknown} unknown",
        all - fail - unknown
    ));
    if all > 0 {
        out::say(format_args!("record    {}", exploration.record.file().display()));
    }
    // A run that was cut off is no plan that ran: it comes again.
    let next = args.seed.saturating_add(all as u64);
    out::say(format_args!("go on     herd explore {} --seed {next}{}", args.scenario, same_fleet(args)));
    Ok(exit)
}

/// The scenario to draw for, for the fleet that is asked for, with those of its claims alone that hold under any faults, and the
/// others in words.
fn base(args: &ExploreArgs) -> Result<(Picked, Vec<String>), UsageError> {
    let picked = pick::file_or_preset(&args.scenario)?;
    let UnderAnyFaults { text, left_out } = under_any_faults(&picked.text)?;
    if left_out.len() == picked.scenario.claims.len() {
        let none = "none of its claims can hold under any faults (herd explore --help says which can)";
        return Err(UsageError(format!("{}: {none}", picked.file)));
    }
    // Plans are drawn for so many nodes as there will be: a node of a larger fleet would be none to hurt.
    let text = match args.fleet.nodes {
        Some(nodes) => set_field(&text, "fleet.nodes", &nodes.to_string())
            .map_err(|error| UsageError(format!("{}: {error}", picked.file)))?,
        None => text,
    };
    Ok((picked.rewritten(&text, &Overrides::default())?, left_out))
}

/// A scenario with the plan of this seed.
fn drawn(base: &Picked, args: &ExploreArgs, seed: u64) -> Result<Picked, UsageError> {
    let text = draw(&base.text, seed).map_err(UsageError::from)?;
    base.rewritten(&text, &overrides(args))
}

fn overrides(args: &ExploreArgs) -> Overrides {
    Overrides { nodes: args.fleet.nodes, ..Overrides::default() }
}

/// The options that make the fleet of another command the same.
fn same_fleet(args: &ExploreArgs) -> String {
    args.fleet.nodes.map_or_else(String::new, |nodes| format!(" --nodes {nodes}"))
}

struct Exploration<'a> {
    args: &'a ExploreArgs,
    base: Picked,
    above: PathBuf,
    record: Record,
    /// No run begins later.
    ends: Instant,
    stop: &'a CancellationToken,
}

impl Exploration<'_> {
    async fn all(&mut self) -> anyhow::Result<Exit> {
        let mut any_unknown = false;
        for number in 0..self.args.runs {
            let seed = self.args.seed.saturating_add(number.into());
            if self.is_over() {
                out::warn("the time is up");
                break;
            }
            let picked = drawn(&self.base, self.args, seed)?;
            out::warn(format_args!("\nplan {} of {}, seed {seed}:", number + 1, self.args.runs));
            let text = picked.text.clone();
            match self.run(picked, seed, None).await? {
                Ended::Stop => return Ok(Exit::Interrupted),
                Ended::Fails => return self.reduce(seed, text).await,
                Ended::Passes => {}
                Ended::Unknown => any_unknown = true,
            }
        }
        Ok(if any_unknown { Exit::Unknown } else { Exit::Expected })
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.ends
    }

    /// Reduces the plan of this seed, which fails, and writes the smallest.
    async fn reduce(&mut self, seed: u64, text: String) -> anyhow::Result<Exit> {
        let faults = faults_of(&text);
        out::warn(format_args!("\nreducing the plan of seed {seed}, {} runs at most", self.args.shrink_runs));
        let smallest = shrink(text, self.args.shrink_runs, smaller, async |text| {
            // A text that the command line does not fit is no candidate.
            let Ok(picked) = self.base.rewritten(text, &overrides(self.args)) else {
                return Ok(Ended::Unknown);
            };
            if self.is_over() {
                out::warn("the time is up");
                return Ok(Ended::Stop);
            }
            let number = self.record.candidates() + 1;
            out::warn(format_args!("\ncandidate {number} of {} at most:", self.args.shrink_runs));
            self.run(picked, seed, Some(number)).await
        });
        let smallest = Box::pin(smallest).await?;
        let file = self.above.join(format!("seed-{seed}-smallest.toml"));
        place::write_whole(&file, &explained(&smallest, seed, self.args, &file))?;
        self.record.smallest(seed, &file, smallest.minimal)?;
        out::say(said(&smallest, &faults, seed));
        out::say(format_args!("plan      {}", file.display()));
        out::say(format_args!("again     herd run {}{}", file.display(), same_fleet(self.args)));
        Ok(if self.stop.is_cancelled() { Exit::Interrupted } else { Exit::Other })
    }

    /// One run, recorded. What is kept of it is what somebody may want to look at: of a candidate that passes nothing.
    async fn run(&mut self, picked: Picked, seed: u64, candidate: Option<u32>) -> anyhow::Result<Ended> {
        let faults = told_faults(&picked.scenario);
        faults.iter().for_each(|fault| out::warn(format_args!("  {fault}")));
        let name = candidate
            .map_or_else(|| format!("seed-{seed}"), |candidate| format!("seed-{seed}-candidate-{candidate}"));
        let place = place::run_dir(Some(&self.above.join(&name)), &self.above, &name)?;
        let began = Instant::now();
        let tried = match trial(picked, self.args.fleet.backend, &place, self.stop).await {
            Ok(None) => return Ok(Ended::Stop),
            Ok(Some(Trial { judgement, dir, .. })) => {
                let is_dull = candidate.is_some() && judgement.as_expected == Some(true);
                let gone = is_dull && std::fs::remove_dir_all(&dir).is_ok();
                let Judgement { outcome, as_expected, .. } = judgement;
                let (why, dir) = (worst(&judgement), (!gone).then_some(dir));
                Try { seed, candidate, faults, outcome, as_expected, why, took_s: 0.0, dir }
            }
            Err(error) => {
                let (outcome, why) = (Outcome::Unknown, format!("{error:#}"));
                Try { seed, candidate, faults, outcome, as_expected: None, why, took_s: 0.0, dir: None }
            }
        };
        let tried = Try { took_s: began.elapsed().as_secs_f64(), ..tried };
        let told = match tried.as_expected {
            Some(true) => "as expected".to_owned(),
            Some(false) => format!("NOT as expected: {}", tried.why),
            None => format!("unknown: {}", tried.why),
        };
        out::say(format_args!("{name}: {told}, {:.0} s", tried.took_s));
        let ended = match tried.as_expected {
            Some(true) => Ended::Passes,
            Some(false) => Ended::Fails,
            None => Ended::Unknown,
        };
        self.record.add(tried)?;
        Ok(ended)
    }
}

fn told_faults(scenario: &Scenario) -> Vec<String> {
    scenario.faults.iter().map(ToString::to_string).collect()
}

fn faults_of(text: &str) -> Vec<String> {
    Scenario::parse("plan", text).map(|scenario| told_faults(&scenario)).unwrap_or_default()
}

/// The verdict that tells most, in a line.
fn worst(judgement: &Judgement) -> String {
    let odd = judgement.verdicts.iter().filter(|verdict| verdict.against_expectation() != Outcome::Valid);
    odd.max_by_key(|verdict| verdict.against_expectation()).map_or_else(
        || "every claim came out as expected".to_owned(),
        |verdict| format!("{}: {} ({}): {}", verdict.rung, verdict.claim, verdict.scope, verdict.why),
    )
}

fn said(smallest: &Smallest, before: &[String], seed: u64) -> String {
    let left = faults_of(&smallest.text);
    let how = if smallest.minimal {
        "every smaller plan passed twice"
    } else {
        "not every smaller plan was tried, or could be judged"
    };
    let mut said = format!(
        "\nthe plan of seed {seed} fails; {} of its {} faults are left after {} runs ({how}):",
        left.len(),
        before.len(),
        smallest.runs
    );
    left.iter().for_each(|fault| said.push_str(&format!("\n  {fault}")));
    said
}

/// The smallest plan as a scenario of its own, which says what it is.
fn explained(smallest: &Smallest, seed: u64, args: &ExploreArgs, file: &Path) -> String {
    let minimal =
        if smallest.minimal { "the smallest that fails" } else { "reduced as far as the runs went" };
    format!(
        "# A fault plan that fails, {minimal}; drawn for {} with seed {seed}.\n# Run it: herd run {}{}\n# What it was drawn for:\n{}",
        args.scenario,
        file.display(),
        same_fleet(args),
        smallest.text
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{BackendChoice, EachFleet};
    use herd_scenario::Claim;

    fn args(nodes: Option<u32>) -> ExploreArgs {
        ExploreArgs {
            scenario: "ladder-quick".to_owned(),
            seed: 7,
            runs: 1,
            shrink_runs: 1,
            minutes: 1,
            fleet: EachFleet { backend: BackendChoice::Processes, nodes },
            out: None,
        }
    }

    /// Goal: what faults may refute without anybody's mistake is not judged, and is named; a scenario of nothing else is refused.
    #[test]
    fn claims_that_faults_may_refute_are_left_out() {
        let of = |scenario: &str| base(&ExploreArgs { scenario: scenario.to_owned(), ..args(None) });
        let (picked, left_out) = of("leaders-hang-up").unwrap();
        assert!(!left_out.is_empty() && picked.scenario.claims.iter().all(Claim::holds_under_any_faults));
        let error = of("overload").map(drop).unwrap_err().to_string();
        assert!(
            error.starts_with("chaos/overload.toml: none of its claims can hold under any faults"),
            "{error}"
        );
    }

    /// Goal: plans are drawn for shipped scenarios, the same for the same seed, and the smallest is a scenario that says how to run it.
    #[test]
    fn plans_are_drawn_and_written_whole() {
        let base = pick::preset("ladder-quick").unwrap();
        let plan = drawn(&base, &args(None), 7).unwrap();
        assert!(!plan.scenario.faults.is_empty());
        assert_eq!(plan.text, drawn(&base, &args(None), 7).unwrap().text);
        let smallest = Smallest { text: plan.text.clone(), runs: 3, minimal: true };
        let text = explained(&smallest, 7, &args(Some(9)), Path::new("out/seed-7-smallest.toml"));
        assert!(text.contains("# Run it: herd run out/seed-7-smallest.toml --nodes 9"), "{text}");
        assert_eq!(Scenario::parse("again", &text).unwrap().faults, plan.scenario.faults);
        let told = said(&smallest, &faults_of(&plan.text), 7);
        assert_eq!(told.lines().count(), 2 + plan.scenario.faults.len(), "{told}");
        assert!(told.contains("every smaller plan passed twice"), "{told}");
    }
}
