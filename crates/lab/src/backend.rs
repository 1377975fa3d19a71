//! From a choice of backend to a testbed.

use crate::{cli::BackendChoice, exit::UsageError, out, place, spans::SpanChoice};
use herd_cluster::{Choice, binaries, compose, processes};
use herd_experiment::able::{self, Means};
use herd_experiment::testbed::{Backend, FleetSpec, Progress, Silent, Testbed, TestbedError};
use herd_scenario::Scenario;
use std::path::PathBuf;

/// Rows that the origin of a fleet to look at is seeded with.
pub(crate) const ORIGIN_ROWS: u32 = 100_000;

/// Settings that a person makes for the whole fleet and that every process reads from its environment.
const PASSED_ON: [&str; 4] =
    ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "HERD_SAMPLE_HITS"];

/// How a fleet is made, whether the consoles come up beside it, and which spans of its run are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) backend: BackendChoice,
    pub(crate) observe: bool,
    pub(crate) spans: SpanChoice,
}

impl Made {
    /// With nothing beside it, and the spans that are kept by default.
    pub(crate) fn bare(backend: BackendChoice) -> Self {
        Self { backend, observe: false, spans: SpanChoice::default() }
    }
}

/// The testbed of the choice; for `auto` a line says what was taken and why.
///
/// # Errors
/// Containers were asked for and no engine answers.
pub(crate) async fn testbed(
    choice: BackendChoice,
    progress: &dyn Progress,
) -> Result<Box<dyn Testbed>, TestbedError> {
    let choice = match choice {
        BackendChoice::Auto => Choice::Auto,
        BackendChoice::Compose => Choice::Compose,
        BackendChoice::Processes => Choice::Processes,
    };
    herd_cluster::choose(choice, progress).await
}

/// What faults can be done with there.
#[must_use]
pub(crate) fn means(backend: Option<Backend>) -> Means {
    match backend {
        Some(Backend::Processes) => Means::Processes { postgres: herd_cluster::postgres::is_there() },
        Some(Backend::Compose) => Means::Containers,
        None => Means::Others,
    }
}

/// Whether all faults of a scenario can be done to a fleet of this kind (`None`: one that others brought up): asked before it starts.
///
/// # Errors
/// Each that cannot be done, with the reason.
pub(crate) fn check_able(
    backend: Option<Backend>,
    file: &str,
    scenario: &Scenario,
) -> Result<(), UsageError> {
    let refused = able::refused(means(backend), scenario);
    if refused.is_empty() {
        return Ok(());
    }
    Err(UsageError(refused.iter().map(|why| format!("{file}: {why}")).collect::<Vec<_>>().join("\n")))
}

/// The same for the backend that a command with many runs will use for each.
///
/// # Errors
/// As [`check_able`]; or containers were asked for and no engine answers.
pub(crate) async fn check_choice(
    choice: BackendChoice,
    file: &str,
    scenario: &Scenario,
) -> anyhow::Result<()> {
    let backend = testbed(choice, &Silent).await?.backend();
    Ok(check_able(Some(backend), file, scenario)?)
}

/// Builds the programs ahead, so that bringing a fleet up takes as long as bringing a fleet up takes. Containers need no
/// programs of the host where images can be had otherwise, so they build what they need themselves.
///
/// # Errors
/// They do not build.
pub(crate) async fn prepare(testbed: &dyn Testbed, progress: &dyn Progress) -> Result<(), TestbedError> {
    if testbed.backend() == Backend::Processes {
        binaries::find_or_build(progress).await?;
    }
    Ok(())
}

/// The fleet that is asked for, with nothing beside it. `rows`: what its load reads and no more, since each node's filter of
/// existing keys reads all of them, again and again.
#[must_use]
pub(crate) fn fleet_spec(nodes: u32, rows: u32, origin_pool: u32, log_dir: PathBuf) -> FleetSpec {
    let env = PASSED_ON
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    FleetSpec {
        nodes,
        origin_rows: rows,
        origin_pool,
        state_dir: place::state_dir(),
        log_dir,
        redis_replica: false,
        postgres: false,
        observe: false,
        env,
        discovery: None,
    }
}

/// Takes down every fleet that is noted, and says what was done.
pub(crate) async fn sweep() -> Swept {
    let state_dir = place::state_dir();
    Swept::of([processes::sweep(&state_dir).await, compose::sweep(&state_dir).await])
}

/// The same for fleets whose lab is gone.
pub(crate) async fn repair() -> Swept {
    let state_dir = place::state_dir();
    Swept::of([processes::orphans(&state_dir).await, compose::orphans(&state_dir).await])
}

/// What was taken down, in lines to print; and what could not be.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    lines: Vec<String>,
    errors: Vec<String>,
}

impl Swept {
    /// One backend that cannot be reached keeps nobody from saying what was done to the other.
    fn of(backends: [Result<Vec<String>, TestbedError>; 2]) -> Self {
        let mut swept = Self::default();
        for backend in backends {
            match backend {
                Ok(lines) => swept.lines.extend(lines),
                Err(error) => swept.errors.push(format!("{:#}", anyhow::Error::new(error))),
            }
        }
        swept
    }

    /// Prints what was done, also to logs that are nobody's any more; `nothing` where there was nothing to do.
    ///
    /// # Errors
    /// Something could not be taken down.
    pub(crate) fn told(self, nothing: &str) -> anyhow::Result<()> {
        // After the fleets, which write there.
        let lines: Vec<String> =
            self.lines.into_iter().chain(place::sweep_logs(&place::state_dir())).collect();
        for line in &lines {
            out::say(line);
        }
        anyhow::ensure!(self.errors.is_empty(), "{}", self.errors.join("\n"));
        if lines.is_empty() {
            out::say(nothing);
        }
        Ok(())
    }
}
