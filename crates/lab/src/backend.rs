//! From a choice of backend to a testbed.

use crate::{cli::BackendChoice, exit::UsageError, place, spans::SpanChoice};
use herd_cluster::{Choice, binaries, compose, processes};
use herd_experiment::able;
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

/// Whether all faults of a scenario can be done to a fleet of this kind (`None`: one that others brought up): asked before it starts.
///
/// # Errors
/// Each that cannot be done, with the reason.
pub(crate) fn check_able(
    backend: Option<Backend>,
    file: &str,
    scenario: &Scenario,
) -> Result<(), UsageError> {
    let refused = able::refused(backend, scenario);
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
        observe: false,
        env,
        discovery: None,
    }
}

/// The same fleet with what the faults of an experiment need: a second Redis, nodes whose links can go bad.
#[must_use]
pub(crate) fn with_faults(mut spec: FleetSpec, scenario: &Scenario) -> FleetSpec {
    spec.redis_replica = scenario.needs_redis_replica();
    if scenario.has_link_faults() {
        spec.env.push(("HERD_LINK_FAULTS".to_owned(), "true".to_owned()));
    }
    spec
}

/// Takes down every fleet that is noted, and says what was done.
///
/// # Errors
/// Something could not be removed.
pub(crate) async fn sweep() -> anyhow::Result<Vec<String>> {
    let state_dir = place::state_dir();
    let mut lines = processes::sweep(&state_dir).await?;
    lines.extend(compose::sweep(&state_dir).await?);
    Ok(lines)
}

/// The same for fleets whose lab is gone.
///
/// # Errors
/// As [`sweep`].
pub(crate) async fn repair() -> anyhow::Result<Vec<String>> {
    let state_dir = place::state_dir();
    let mut lines = processes::orphans(&state_dir).await?;
    lines.extend(compose::orphans(&state_dir).await?);
    Ok(lines)
}
