//! Where things are kept.

use crate::exit::UsageError;
use anyhow::Context;
use herd_history::{HistoryError, Manifest, Writer};
use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Where the targets of fleets of local processes stand, a file a lab: `dashboards/prometheus/processes.yml` looks there.
const TARGETS: &str = "runs/targets";
/// How many names are tried for one run.
const NAMES_MAX: u32 = 100;
/// How the folders of kept fleets' logs begin; a process id follows.
const LOGS: &str = "logs-";

/// The folder where fleets note what they started, the same for every lab of this user: `HERD_STATE_DIR`, else
/// `herdproof` under the user's state folder.
#[must_use]
pub(crate) fn state_dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("HERD_STATE_DIR")
        .or_else(|| set("XDG_STATE_HOME").map(|dir| dir.join("herdproof")))
        .or_else(|| set("HOME").map(|dir| dir.join(".local/state/herdproof")))
        .unwrap_or_else(|| std::env::temp_dir().join("herdproof"))
}

/// Where a run will be written.
#[derive(Clone, Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    /// The user named it: no other name will do.
    asked: bool,
}

/// A run's folder: the one asked for, or `<above>/<time>-<scenario>`. An empty folder that is there already is removed, as
/// the history makes its own.
///
/// # Errors
/// The folder asked for is there and not empty, or an earlier run of that name was cut off, or the name is none.
pub(crate) fn run_dir(asked: Option<&Path>, above: &Path, scenario: &str) -> Result<RunDir, UsageError> {
    let Some(asked) = asked else {
        let path = above.join(format!("{}-{scenario}", utc_stamp(SystemTime::now())));
        return Ok(RunDir { path, asked: false });
    };
    let wrong = |why: String| Err(UsageError(format!("--out {}: {why}", asked.display())));
    let path: PathBuf = asked.components().collect();
    let Some(name) = path.file_name() else {
        return wrong("a run needs a folder with a name of its own".to_owned());
    };
    if path.extension().is_some_and(|extension| extension == "partial") {
        return wrong("names that end in .partial are for runs that were cut off".to_owned());
    }
    let mut partial = name.to_owned();
    partial.push(".partial");
    let partial = path.with_file_name(partial);
    if partial.exists() {
        let partial = partial.display();
        return wrong(format!(
            "{partial} is an earlier run that was cut off; judge it (herd check {partial}), then remove it, or name \
             another folder"
        ));
    }
    if path.exists() && std::fs::remove_dir(&path).is_err() {
        return wrong("there is something already; name another folder, or remove it".to_owned());
    }
    Ok(RunDir { path, asked: true })
}

/// A folder for the folders of several runs, made: the one asked for, or `runs/<time>-<name>`.
///
/// # Errors
/// The folder asked for is there and not empty, or cannot be made.
pub(crate) fn above(asked: Option<&Path>, name: &str) -> anyhow::Result<PathBuf> {
    let path = run_dir(asked, Path::new("runs"), name)?.path;
    std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

/// Replaces a file, whole or not at all.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}

impl RunDir {
    /// Makes the folder. One that nobody asked for gets the next free name (`-2`, `-3`, ...) if another lab was faster.
    ///
    /// # Errors
    /// The folder asked for is there by now (wrong usage), or nothing can be written there.
    pub(crate) fn create(&self, manifest: &Manifest) -> anyhow::Result<Writer> {
        for number in 1..=NAMES_MAX {
            match Writer::create(&self.named(number), manifest) {
                Err(HistoryError::Exists { path }) if self.asked => {
                    let message =
                        format!("--out {}: {} is there by now", self.path.display(), path.display());
                    return Err(UsageError(message).into());
                }
                Err(HistoryError::Exists { .. }) => {}
                made => return Ok(made?),
            }
        }
        anyhow::bail!("{} and {NAMES_MAX} further names are taken", self.path.display())
    }

    fn named(&self, number: u32) -> PathBuf {
        if number == 1 {
            return self.path.clone();
        }
        let mut name = self.path.clone().into_os_string();
        name.push(format!("-{number}"));
        name.into()
    }
}

/// The file that tells a Prometheus whom of a lab's fleet to scrape.
pub(crate) fn targets(lab: u32) -> PathBuf {
    Path::new(TARGETS).join(format!("{lab}.json"))
}

/// Where the parts of a kept fleet log to, one folder a lab.
pub(crate) fn kept_logs(state_dir: &Path, lab: u32) -> PathBuf {
    state_dir.join(format!("{LOGS}{lab}"))
}

/// Removes the logs of kept fleets whose lab was killed. Gives the lines to print. A folder whose number another process
/// has by now stays until that one has ended.
pub(crate) fn sweep_logs(state_dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(state_dir) else { return Vec::new() };
    let mut lines = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let lab = name.to_str().and_then(|name| name.strip_prefix(LOGS)).and_then(|lab| lab.parse().ok());
        let Some(lab) = lab.filter(|lab| !is_alive(*lab)) else { continue };
        lines.push(match std::fs::remove_dir_all(entry.path()) {
            Ok(()) => format!("removed the logs of lab {lab}, which was killed"),
            Err(error) => format!("the logs of lab {lab} stay in {}: {error}", entry.path().display()),
        });
    }
    lines
}

/// In doubt a process lives.
fn is_alive(pid: u32) -> bool {
    if cfg!(target_os = "linux") {
        return Path::new("/proc").join(pid.to_string()).exists();
    }
    let asked = std::process::Command::new("ps").args(["-p", &pid.to_string()]).output();
    asked.map_or(true, |output| output.status.success())
}

/// `20260131T235959Z`
fn utc_stamp(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// The date of a day counted from 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
const fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// What killed labs left is removed; what a living lab or anybody else keeps there is not.
    #[test]
    fn logs_of_dead_labs_are_swept() {
        let state = tempfile::tempdir().unwrap();
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let dead = kept_logs(state.path(), ended.id());
        let others = [kept_logs(state.path(), std::process::id()), state.path().join("logs-of-mine")];
        for folder in others.iter().chain([&dead]) {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("node-0.log"), "x").unwrap();
        }
        assert_eq!(sweep_logs(state.path()).len(), 1);
        assert!(!dead.exists() && others.iter().all(|other| other.is_dir()));
        assert!(sweep_logs(&state.path().join("absent")).is_empty());
    }

    /// Runs of one second get names of their own; a run that was named gets that name or none.
    #[test]
    fn every_run_has_a_folder() {
        use herd_experiment::run::Plan;
        let above = tempfile::tempdir().unwrap();
        let picked = crate::pick::preset("ladder-quick").unwrap();
        let manifest = Plan::new(picked.scenario, &picked.file, &picked.text, "processes").manifest();
        let free = RunDir { path: above.path().join("run"), asked: false };
        let paths: Vec<PathBuf> =
            (0..3).map(|_| free.create(&manifest).unwrap().partial_path().to_path_buf()).collect();
        assert_eq!(paths, ["run.partial", "run-2.partial", "run-3.partial"].map(|n| above.path().join(n)));
        let asked = RunDir { asked: true, ..free };
        assert!(asked.create(&manifest).unwrap_err().is::<UsageError>());
    }

    /// Stamps are right on leap days and sort by time.
    #[test]
    fn stamps() {
        let stamp = |seconds| utc_stamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(stamp(0), "19700101T000000Z");
        assert_eq!(stamp(951_782_400), "20000229T000000Z");
        assert_eq!(stamp(1_772_323_199), "20260228T235959Z");
        assert!(stamp(1_772_323_199) < stamp(1_772_323_200));
    }
}
