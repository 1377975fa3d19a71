//! Removes compose projects, also those that their lab left behind, by what it noted in its state file.

use super::{DOWN_MAX, files};
use crate::{
    command::{command, quiet},
    engine,
    state::{self, FleetRecord, Identity},
};
use bollard::Docker;
use herd_experiment::testbed::TestbedError;
use std::path::Path;

/// How state files of this backend begin.
pub(super) const BACKEND: &str = "compose";
/// Removes containers, networks and volumes with the label `$1`, in this order, without asking them to end.
pub(super) const REMOVE_NOW: &str = r#"
some() { [ $# -gt 2 ] && "$@"; }
some docker rm --force --volumes $(docker ps --all --quiet --filter "label=$1")
some docker network rm $(docker network ls --quiet --filter "label=$1")
some docker volume rm --force $(docker volume ls --quiet --filter "label=$1")
true"#;

/// Removes every compose project that `state_dir` knows, also one whose lab still runs. Gives the lines to print.
///
/// # Errors
/// No engine answers although there is something to remove, or it cannot be removed.
pub async fn sweep(state_dir: &Path) -> Result<Vec<String>, TestbedError> {
    take_down(state_dir, |_| true).await
}

/// The same for projects whose lab is gone, as a crash leaves them. Every testbed does this before it starts one of its own.
///
/// # Errors
/// As [`sweep`].
pub async fn orphans(state_dir: &Path) -> Result<Vec<String>, TestbedError> {
    take_down(state_dir, |owner| !owner.is_alive()).await
}

async fn take_down(
    state_dir: &Path,
    wanted: impl Fn(&Identity) -> bool,
) -> Result<Vec<String>, TestbedError> {
    let io = |source| TestbedError::Io { doing: "reading the state folder".to_owned(), source };
    let mut lines = Vec::new();
    let mut docker = None;
    for (file, record) in state::read_all(state_dir, BACKEND).map_err(io)? {
        let FleetRecord::Compose { project } = &record.fleet else { continue };
        // The state file is only a file: what it names is removed only if it is one of ours.
        if !wanted(&record.owner) || !project.starts_with(files::NAME_PREFIX) {
            continue;
        }
        if docker.is_none() {
            docker = Some(engine::connect().await?);
        }
        let docker = docker.as_ref().expect("connected above");
        let found = engine::containers(docker, &files::label(project)).await?.len();
        remove(docker, project).await?;
        file.remove().map_err(io)?;
        lines.push(format!(
            "removed the compose project {project} of lab {} ({found} containers)",
            record.owner.pid
        ));
        lines.extend(record.undone());
    }
    Ok(lines)
}

/// Removes a project with its networks and volumes: gracefully, then by force, and makes sure that nothing is left.
pub(super) async fn remove(docker: &Docker, project: &str) -> Result<(), TestbedError> {
    let label = files::label(project);
    let containers = engine::containers(docker, &label).await?;
    // A frozen container does not hear that it should end.
    let frozen = containers.iter().filter(|container| container.state == "paused");
    futures::future::join_all(frozen.map(|container| docker.unpause_container(&container.id))).await;
    let down =
        ["compose", "--project-name", project, "down", "--volumes", "--remove-orphans", "--timeout", "3"];
    let gracefully = quiet(command("docker", &down), "taking the compose project down", DOWN_MAX).await;
    quiet(command("sh", &["-c", REMOVE_NOW, "sh", &label]), "removing containers", DOWN_MAX).await?;
    let left = engine::containers(docker, &label).await?.len();
    if left == 0 {
        return Ok(());
    }
    let why = gracefully.err().map_or_else(String::new, |error| format!(": {error}"));
    Err(TestbedError::Other {
        doing: format!("removing the compose project {project}"),
        why: format!("{left} containers are left{why}"),
    })
}
