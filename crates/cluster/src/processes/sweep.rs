//! Takes down local fleets that their lab left behind, by what it noted in its state file.

use super::{children, io_error, targets};
use crate::state::{self, FleetRecord, Identity};
use herd_experiment::testbed::TestbedError;
use nix::sys::signal::Signal as Unix;
use std::{path::Path, time::Duration};
use tokio::time::{Instant, sleep};

/// How state files of this backend begin.
pub(super) const BACKEND: &str = "processes";
/// How the folders of databases begin; nothing else is ever removed.
pub(super) const DATA_PREFIX: &str = "herdproof-data-";
/// How long a process may take to end when asked.
const GRACE: Duration = Duration::from_secs(4);

/// Takes down every local fleet that `state_dir` knows, also one whose lab still runs. Gives the lines to print.
///
/// # Errors
/// The folder cannot be read or a state file not be removed.
pub async fn sweep(state_dir: &Path) -> Result<Vec<String>, TestbedError> {
    take_down(state_dir, |_| true).await
}

/// The same for fleets whose lab is gone, as a crash leaves them. Every testbed does this before it starts one of its own.
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
    let mut lines = Vec::new();
    for (file, record) in state::read_all(state_dir, BACKEND).map_err(io_error("reading the state folder"))? {
        let FleetRecord::Processes { processes, data_dir, targets } = &record.fleet else { continue };
        if !wanted(&record.owner) {
            continue;
        }
        let alive: Vec<&Identity> =
            processes.iter().map(|(_, identity)| identity).filter(|identity| identity.is_alive()).collect();
        end(&alive).await;
        remove_data(data_dir);
        if let Some(targets) = targets {
            targets::remove(targets).map_err(io_error("removing the scrape targets"))?;
        }
        file.remove().map_err(io_error("removing a state file"))?;
        lines.push(format!(
            "took down a fleet of processes of lab {} ({} still ran)",
            record.owner.pid,
            alive.len()
        ));
        lines.extend(record.undone());
    }
    Ok(lines)
}

/// Asks, waits, forces.
async fn end(processes: &[&Identity]) {
    let send = |signal| children::send(processes.iter().copied(), signal);
    send(Unix::SIGTERM);
    send(Unix::SIGCONT);
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline && processes.iter().any(|identity| identity.is_alive()) {
        sleep(Duration::from_millis(20)).await;
    }
    send(Unix::SIGKILL);
}

/// Removes a fleet's databases. The state file is only a file: what it names is removed only if it is one of ours.
fn remove_data(folder: &Path) {
    let ours =
        folder.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(DATA_PREFIX));
    if ours && folder.is_absolute() {
        let _ = std::fs::remove_dir_all(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::StateFile;
    use nix::{sys::signal::kill, unistd::Pid};

    /// Goal: after a crash the noted processes are ended, paused ones too, their data removed and the note forgotten.
    #[tokio::test]
    async fn ends_what_was_noted() {
        let state_dir = tempfile::tempdir().expect("a folder");
        let data = tempfile::Builder::new().prefix(DATA_PREFIX).tempdir().expect("a folder");
        let mut child =
            tokio::process::Command::new("sleep").arg("600").kill_on_drop(true).spawn().expect("started");
        let identity = Identity::of(child.id().expect("runs")).expect("runs");
        kill(Pid::from_raw(i32::try_from(identity.pid).expect("a pid")), Unix::SIGSTOP).expect("paused");
        let mut file = StateFile::new(state_dir.path(), BACKEND).expect("a file");
        file.faults = vec!["pause of edge".to_owned()];
        let processes = vec![("edge".to_owned(), identity.clone())];
        let targets = state_dir.path().join("targets/1.json");
        std::fs::create_dir(targets.parent().expect("a folder")).expect("made");
        std::fs::write(&targets, "[]").expect("written");
        let data_dir = data.path().to_owned();
        file.write(FleetRecord::Processes { processes, data_dir, targets: Some(targets.clone()) })
            .expect("written");

        assert!(orphans(state_dir.path()).await.expect("swept").is_empty(), "its owner, this test, lives");
        assert!(identity.is_alive());
        let (lines, status) = tokio::join!(sweep(state_dir.path()), child.wait());
        assert!(!status.expect("ended").success());
        let lines = lines.expect("swept");
        assert!(lines.len() == 2 && lines[1] == "undone with it: pause of edge", "{lines:?}");
        assert!(!data.path().exists() && !targets.exists());
        assert!(sweep(state_dir.path()).await.expect("swept").is_empty(), "nothing is left to sweep");
    }

    /// Goal: a state file that names some other folder does not get that folder removed.
    #[test]
    fn removes_only_its_own_kind_of_folder() {
        let other = tempfile::tempdir().expect("a folder");
        remove_data(other.path());
        assert!(other.path().exists());
    }
}
