//! One experiment among many: driven, judged, reported, and not shown.

use crate::{
    backend::Made, cli::BackendChoice, experiment, pick::Picked, place::RunDir, screen::Screen, verdict,
};
use herd_judge::{Judgement, Outcome};
use herd_scenario::Scenario;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// What became of it.
pub(crate) struct Trial {
    /// What was run, overrides applied.
    pub(crate) scenario: Scenario,
    /// What the judge says. Of a run that was not driven to its end nothing is confirmed.
    pub(crate) judgement: Judgement,
    /// Its folder.
    pub(crate) dir: PathBuf,
}

/// Runs it on a fleet of its own. `None` if it was interrupted; what is kept then is said.
///
/// # Errors
/// It could not be driven at all, or not be judged, or its reports not be written.
pub(crate) async fn trial(
    picked: Picked,
    backend: BackendChoice,
    place: &RunDir,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Trial>> {
    let driven =
        Box::pin(experiment::driven(picked, Made::bare(backend), place, &Screen::new(), stop)).await?;
    let Some(driven) = driven else { return Ok(None) };
    let (mut judgement, scenario) = verdict::judge_and_write(&driven.dir)?;
    if !driven.is_whole() && judgement.as_expected == Some(true) {
        judgement.as_expected = None;
        judgement.outcome = Outcome::Unknown;
    }
    Ok(Some(Trial { scenario, judgement, dir: driven.dir }))
}
