//! What a testbed notes on disk about what it has started, so that somebody else can take it down after a crash.
//!
//! One JSON file a fleet in the state folder. A file is replaced as a whole; a half-written one cannot be seen.

use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// Most state files that are read from one folder.
const FILES_MAX: usize = 1_000;

/// A process, told from a later one of the same number by the moment it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The process's number.
    pub(crate) pid: u32,
    /// When it started, in the system's own words (Linux: clock ticks since boot).
    pub(crate) started: String,
}

impl Identity {
    /// The identity of a process that runs now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        started(pid).map(|started| Self { pid, started })
    }

    /// Does this very process still run (zombies do not)?
    pub(crate) fn is_alive(&self) -> bool {
        started(self.pid).is_some_and(|now| now == self.started)
    }
}

/// One fleet's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The lab that owns the fleet.
    pub(crate) owner: Identity,
    /// What it started.
    pub(crate) fleet: FleetRecord,
    /// Which faults are in force, in words.
    #[serde(default)]
    pub(crate) faults: Vec<String>,
}

impl Record {
    /// What ends with the fleet beside the fleet itself, as a line to print.
    pub(crate) fn undone(&self) -> Option<String> {
        (!self.faults.is_empty()).then(|| format!("undone with it: {}", self.faults.join(", ")))
    }
}

/// What was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "backend", rename_all = "kebab-case")]
pub(crate) enum FleetRecord {
    /// Local processes.
    Processes {
        /// Name for a person and identity.
        processes: Vec<(String, Identity)>,
        /// Their databases.
        data_dir: PathBuf,
        /// The file that tells a Prometheus of them, if there is one.
        #[serde(default)]
        targets: Option<PathBuf>,
    },
    /// A compose project.
    Compose {
        /// Its name.
        project: String,
    },
}

/// A state file on disk.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    /// Which faults are in force; they stand in all that is written from now on.
    pub(crate) faults: Vec<String>,
}

impl StateFile {
    /// Names a new file in `dir`, which is made if absent. Nothing is written yet.
    pub(crate) fn new(dir: &Path, backend: &str) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        std::fs::create_dir_all(dir)?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{backend}-{}-{count}.json", std::process::id()));
        Ok(Self { path, faults: Vec::new() })
    }

    /// Replaces what the file says.
    pub(crate) fn write(&self, fleet: FleetRecord) -> io::Result<()> {
        let me = std::process::id();
        let owner = Identity::of(me).unwrap_or(Identity { pid: me, started: String::new() });
        let text = serde_json::to_vec_pretty(&Record { owner, fleet, faults: self.faults.clone() })?;
        let partial = self.path.with_extension("partial");
        std::fs::write(&partial, text)?;
        std::fs::rename(&partial, &self.path)
    }

    /// Forgets the fleet. A file that is gone already is as good.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// All fleets of one backend that a folder knows, in the order of their names. Files that cannot be understood are
/// left alone; a folder that does not exist knows none.
pub(crate) fn read_all(dir: &Path, backend: &str) -> io::Result<Vec<(StateFile, Record)>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.extension().is_some_and(|extension| extension == "json")
                && path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .is_some_and(|name| name.starts_with(backend))
        })
        .take(FILES_MAX)
        .collect();
    paths.sort();
    Ok(paths
        .into_iter()
        .filter_map(|path| {
            let record: Record = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
            Some((StateFile { path, faults: record.faults.clone() }, record))
        })
        .collect())
}

/// When a process started; `None` when there is none, or only its remains.
#[cfg(target_os = "linux")]
fn started(pid: u32) -> Option<String> {
    let fields = stat(&format!("/proc/{pid}/stat"))?;
    (!is_over(fields.first()?)).then(|| fields.get(19).cloned())?
}

/// Is it frozen, by the system's own word? `None` when there is no such process, or only its remains. A process is
/// frozen once each of its threads is.
#[cfg(target_os = "linux")]
pub(crate) fn is_frozen(pid: u32) -> Option<bool> {
    let process = stat(&format!("/proc/{pid}/stat"))?;
    if is_over(process.first()?) {
        return None;
    }
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let states =
        threads.filter_map(|thread| stat(thread.ok()?.path().join("stat").to_str()?)?.into_iter().next());
    // A thread that has ended meanwhile does no more work either.
    Some(states.filter(|state| !is_over(state)).all(|state| state.eq_ignore_ascii_case("t")))
}

/// The fields of a file `stat` behind the program's name, which stands in parentheses and may hold anything: first the
/// state, as the twentieth the moment of the start.
#[cfg(target_os = "linux")]
fn stat(path: &str) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(path).ok()?;
    Some(stat.get(stat.rfind(')')? + 1..)?.split_whitespace().map(ToOwned::to_owned).collect())
}

#[cfg(target_os = "linux")]
fn is_over(state: &str) -> bool {
    matches!(state, "Z" | "X")
}

#[cfg(not(target_os = "linux"))]
fn started(pid: u32) -> Option<String> {
    ps("lstart=", pid)
}

/// Is it frozen, by the system's own word? `None` when there is no such process, or only its remains.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_frozen(pid: u32) -> Option<bool> {
    let state = ps("stat=", pid)?;
    (!state.starts_with('Z')).then(|| state.starts_with('T'))
}

#[cfg(not(target_os = "linux"))]
fn ps(what: &str, pid: u32) -> Option<String> {
    let output = std::process::Command::new("ps").args(["-o", what, "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(project: &str) -> FleetRecord {
        FleetRecord::Compose { project: project.to_owned() }
    }

    /// Goal: what was noted is what is read after a crash, per backend, and forgotten once removed.
    #[test]
    fn notes_and_forgets_fleets() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = StateFile::new(dir.path(), "compose").expect("a file");
        let second = StateFile::new(dir.path(), "processes").expect("a file");
        first.write(fleet("old")).expect("written");
        first.write(fleet("herdproof-1")).expect("replaced");
        let processes = FleetRecord::Processes {
            processes: vec![("redis".to_owned(), Identity { pid: 1, started: "5".to_owned() })],
            data_dir: PathBuf::from("/nowhere"),
            targets: Some(PathBuf::from("/nowhere/targets.json")),
        };
        second.write(processes.clone()).expect("written");

        let composed = read_all(dir.path(), "compose").expect("readable");
        assert_eq!(composed.len(), 1);
        assert_eq!(composed[0].1.fleet, fleet("herdproof-1"));
        assert!(composed[0].1.owner.is_alive(), "this test owns it and lives");
        assert_eq!(read_all(dir.path(), "processes").expect("readable")[0].1.fleet, processes);

        first.remove().expect("removed");
        first.remove().expect("removing twice is as good");
        assert!(read_all(dir.path(), "compose").expect("readable").is_empty());
    }

    /// Goal: faults that are noted stay noted when the fleet is noted again, and a note of an earlier build has none.
    #[test]
    fn notes_faults_in_force() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut file = StateFile::new(dir.path(), "compose").expect("a file");
        file.write(fleet("a")).expect("written");
        assert_eq!(read_all(dir.path(), "compose").expect("readable")[0].1.undone(), None);
        file.faults = vec!["pause of cache-node-07".to_owned(), "kill of redis".to_owned()];
        file.write(fleet("b")).expect("written");
        let line = read_all(dir.path(), "compose").expect("readable")[0].1.undone().expect("a line");
        assert_eq!(line, "undone with it: pause of cache-node-07, kill of redis");
        let earlier = r#"{"owner":{"pid":1,"started":""},"fleet":{"backend":"compose","project":"a"}}"#;
        assert_eq!(serde_json::from_str::<Record>(earlier).expect("understood").faults, Vec::<String>::new());
    }

    /// Goal: damaged files, half-written ones and missing folders do not stop a sweep.
    #[test]
    fn passes_over_what_it_cannot_read() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("compose-1-0.json"), "{").expect("written");
        std::fs::write(dir.path().join("compose-1-1.partial"), "{}").expect("written");
        assert!(read_all(dir.path(), "compose").expect("readable").is_empty());
        assert!(read_all(&dir.path().join("absent"), "compose").expect("readable").is_empty());
    }

    /// Goal: a process number that was given to another process is not taken for the old one.
    #[test]
    fn tells_a_process_from_its_successor() {
        let me = Identity::of(std::process::id()).expect("this process runs");
        assert!(me.is_alive());
        assert!(!Identity { started: format!("{}0", me.started), ..me }.is_alive());
    }

    /// Goal: a process that runs is not frozen, and one that does not exist is neither.
    #[test]
    fn tells_who_is_frozen() {
        assert_eq!(is_frozen(std::process::id()), Some(false));
        assert_eq!(is_frozen(u32::MAX), None);
    }
}
