//! `herd ladder` and `herd run`: one experiment from its options to its verdict.

use crate::{
    backend::{self, Made},
    cli::{FleetArgs, LadderArgs, RunArgs},
    deaths,
    exit::Exit,
    explain, fleet, out,
    pick::{self, Picked},
    place::{self, RunDir},
    screen::Screen,
    spans::{Heard, Recording},
    told, verdict,
    watched::Page,
};
use herd_experiment::{
    control::ControlPlane,
    run::{self, Fleet, Plan, RunError},
    testbed::{Progress, Testbed, TestbedError},
};
use herd_history::{Reader, Writer};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// `herd ladder`
///
/// # Errors
/// The options are wrong, or something failed on the way.
pub async fn ladder(args: &LadderArgs, stop: &CancellationToken) -> anyhow::Result<Exit> {
    let name = args.preset.as_deref().unwrap_or(if args.quick { "ladder-quick" } else { "ladder" });
    experiment_or_words(pick::preset(name)?.with(&args.fleet)?, &args.fleet, stop).await
}

/// `herd run`
///
/// # Errors
/// As [`ladder`].
pub async fn run(args: &RunArgs, stop: &CancellationToken) -> anyhow::Result<Exit> {
    experiment_or_words(pick::file_or_preset(&args.scenario)?.with(&args.fleet)?, &args.fleet, stop).await
}

async fn experiment_or_words(
    picked: Picked,
    args: &FleetArgs,
    stop: &CancellationToken,
) -> anyhow::Result<Exit> {
    match &args.explain {
        Some(asked) => explain::explain(&picked.scenario, asked.as_deref()),
        // Large: the whole experiment is one future.
        None => Box::pin(experiment(picked, args, stop)).await,
    }
}

async fn experiment(picked: Picked, args: &FleetArgs, stop: &CancellationToken) -> anyhow::Result<Exit> {
    let place = place::run_dir(args.out.as_deref(), Path::new("runs"), &picked.scenario.name)?;
    let made = Made { backend: args.backend, observe: args.observe, spans: args.spans };
    let Some(driven) = Box::pin(driven(picked, made, &place, &Screen::new(), stop)).await? else {
        return Ok(Exit::Interrupted);
    };
    let exit = verdict::judge_write_and_show(&driven.dir)?;
    Ok(driven.whole_or_unknown(exit))
}

/// A run on disk, to be judged.
pub(crate) struct Driven {
    pub(crate) dir: PathBuf,
    /// Every rung was driven to its end.
    whole: bool,
}

impl Driven {
    /// Whether every rung was driven to its end.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Something failed on the way: what is there may refute, but it cannot confirm.
    pub(crate) fn whole_or_unknown(&self, exit: Exit) -> Exit {
        if !self.whole && exit == Exit::Expected { Exit::Unknown } else { exit }
    }
}

/// Brings a fleet up, drives every rung over it, and takes it down again. `None` if it was interrupted; what is kept then is said.
///
/// # Errors
/// There is no testbed, it cannot do one of the faults, or the folder cannot be made. What fails later is said, and leaves a run that is not whole.
pub(crate) async fn driven(
    picked: Picked,
    made: Made,
    place: &RunDir,
    screen: &Screen,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Driven>> {
    let mut testbed = backend::testbed(made.backend, screen).await?;
    backend::check_able(Some(testbed.backend()), &picked.file, &picked.scenario)?;
    let mut plan = Plan::new(picked.scenario, &picked.file, &picked.text, testbed.backend().as_str());
    plan.extra.extend(made.spans.options());
    told::plan(&plan, screen);
    let writer = place.create(&plan.manifest())?;
    let partial = writer.partial_path().to_path_buf();
    let recording =
        Recording::start(made.spans, SocketAddr::new(testbed.control_listen(), 0), &partial, &plan, screen);
    let own = tracing::info_span!(
        "herd.run",
        herd.scenario = %plan.scenario.name,
        herd.backend = testbed.backend().as_str(),
        herd.nodes = plan.scenario.fleet.nodes,
    );
    let measured = tokio::select! {
        () = stop.cancelled() => None,
        measured = measure(&plan, testbed.as_mut(), made, writer, recording.as_ref(), screen).instrument(own) => Some(measured),
    };
    let failed = |error: RunError| screen.note(&format!("error: {:#}", anyhow::Error::new(error)));
    let measured = measured.map(|measured| measured.map_err(failed));
    screen.step("taking the fleet down", 0, 0);
    if let Err(error) = testbed.down().await {
        screen
            .note(&format!("{:#}", anyhow::Error::new(error).context("something of the fleet may be left")));
    }
    // After the fleet, whose processes send their last spans when they end.
    if let Some(recording) = recording {
        recording.finish(&partial, screen).await;
    }
    screen.clear();
    let finished = match measured {
        None => {
            keep_or_remove(&partial);
            return Ok(None);
        }
        Some(Ok(writer)) => finish(writer),
        Some(Err(())) => None,
    };
    let whole = finished.is_some();
    Ok(Some(Driven { dir: finished.unwrap_or(partial), whole }))
}

/// Makes a run whole, or says why it stays partial.
pub(crate) fn finish(writer: Writer) -> Option<PathBuf> {
    match writer.finish() {
        Ok(whole) => Some(whole),
        Err(error) => {
            let error = anyhow::Error::new(error);
            out::warn(format_args!("error: the run is not written whole: {error:#}"));
            None
        }
    }
}

/// After an interruption: a run of which some rungs were finished is kept as it is, one without is removed.
pub(crate) fn keep_or_remove(partial: &Path) {
    let folder = partial.display();
    let line = match Reader::open(partial) {
        Ok(run) if run.rungs().is_empty() => match std::fs::remove_dir_all(partial) {
            Ok(()) => "interrupted before a rung was finished: nothing is kept".to_owned(),
            Err(error) => format!("interrupted before a rung was finished; {folder} is not removed: {error}"),
        },
        Ok(run) => format!(
            "interrupted; {} of {} rungs are kept in {folder}\njudge them with: herd check {folder}",
            run.rungs().len(),
            run.manifest().rungs.len(),
        ),
        Err(error) => format!("interrupted; {folder} cannot be read: {:#}", anyhow::Error::new(error)),
    };
    out::say(line);
}

async fn measure(
    plan: &Plan,
    testbed: &mut dyn Testbed,
    made: Made,
    writer: Writer,
    recording: Option<&Recording>,
    screen: &Screen,
) -> Result<Writer, RunError> {
    let control = ControlPlane::start(SocketAddr::new(testbed.control_listen(), 0)).await?;
    let page = Page::start(&control, testbed).await.map_err(not_shown)?;
    let wanted = &plan.scenario.fleet;
    let mut spec = backend::fleet_spec(
        wanted.nodes,
        plan.scenario.workload.keys,
        wanted.origin_pool,
        log_dir(writer.partial_path()),
    )
    .with_faults_of(&plan.scenario);
    spec.observe = made.observe;
    spec.env.extend(recording.into_iter().flat_map(|recording| recording.env(testbed.lab_host())));
    let spec = page.announced(spec).map_err(not_shown)?;
    backend::prepare(testbed, screen).await?;
    let Fleet { endpoints, ready_after, nodes_joined } =
        run::bring_up(testbed, &spec, &control, screen).await?;
    screen.note(&format!("{} joined after {:.1} s", nodes(nodes_joined), ready_after.as_secs_f64()));
    if made.observe {
        fleet::consoles(&endpoints).iter().for_each(|line| screen.note(line));
    }
    let heard = Heard { screen, recording };
    let driven = run::drive(plan, &endpoints, &control, Some(&mut *testbed), writer, &heard).await;
    for failure in testbed.failures().await.into_iter().take(3) {
        screen.note(&deaths::told(&failure));
    }
    driven
}

fn not_shown(source: std::io::Error) -> RunError {
    TestbedError::Io { doing: "showing the lab's metrics".to_owned(), source }.into()
}

/// `1 node`, `50 nodes`.
pub(crate) fn nodes(number: u32) -> String {
    format!("{number} {}", if number == 1 { "node" } else { "nodes" })
}

/// Where the parts' logs go: into the run's folder, absolute, as the parts may have other working directories.
fn log_dir(partial: &Path) -> PathBuf {
    std::path::absolute(partial).unwrap_or_else(|_| partial.to_path_buf()).join("logs")
}
