//! Tells a Prometheus whom to scrape: the file of a fleet's targets, in the form of `file_sd_configs`.

use super::part::Process;
use herd_experiment::testbed::Discovery;
use serde::{Deserialize, Serialize};
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// The role and the instance of the lab's own entry.
const LAB: &str = "lab";

/// The file of one fleet.
#[derive(Clone, Debug)]
pub(super) struct Targets {
    file: PathBuf,
    lab: Option<SocketAddr>,
}

/// One target, with the labels that all its series get.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    targets: [String; 1],
    labels: Labels,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Labels {
    role: String,
    instance: String,
}

impl Targets {
    /// Makes the file's folder. Nothing is written yet.
    pub(super) fn new(Discovery { file, lab }: &Discovery) -> io::Result<Self> {
        let file = std::path::absolute(file)?;
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(Self { file, lab: *lab })
    }

    /// Where it is.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Replaces what the file says: these processes, but for those that were asked to end, and the lab.
    pub(super) fn write<'p>(&self, processes: impl Iterator<Item = &'p Process>) -> io::Result<()> {
        let of_process = |process: &Process| {
            let launch = process.launch();
            let admin = launch.admin.filter(|_| !process.was_asked_to_end())?;
            Some(entry(admin, launch.part.as_str(), &launch.name()))
        };
        let lab = self.lab.map(|at| entry(at, LAB, LAB));
        let entries: Vec<Entry> = processes.filter_map(of_process).chain(lab).collect();
        // A name that the pattern `*.json` does not match: a reader never sees half a file.
        let partial = self.file.with_extension("partial");
        std::fs::write(&partial, serde_json::to_vec_pretty(&entries)?)?;
        std::fs::rename(&partial, &self.file)
    }
}

fn entry(at: SocketAddr, role: &str, instance: &str) -> Entry {
    let labels = Labels { role: role.to_owned(), instance: instance.to_owned() };
    Entry { targets: [at.to_string()], labels }
}

/// Removes a file of targets. One that is gone already is as good; one that is something else is left alone, as whoever names
/// it here may be mistaken.
pub(super) fn remove(file: &Path) -> io::Result<()> {
    let text = match std::fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    if serde_json::from_slice::<Vec<Entry>>(&text).is_ok() { std::fs::remove_file(file) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::{launch::Launch, spawner::Spawner};
    use super::*;
    use herd_experiment::testbed::{Part, Signal};

    fn sleeper(part: Part, index: u32, admin: Option<u16>, folder: &Path) -> Launch {
        Launch {
            part,
            index,
            program: "sleep".into(),
            args: vec!["600".into()],
            env: Vec::new(),
            log: folder.join("log"),
            admin: admin.map(|port| SocketAddr::from(([127, 0, 0, 1], port))),
            ends_on: nix::sys::signal::Signal::SIGTERM,
            owner: None,
            folder: None,
        }
    }

    fn roles(file: &Path) -> Vec<String> {
        let entries: Vec<Entry> =
            serde_json::from_slice(&std::fs::read(file).expect("readable")).expect("entries");
        entries.into_iter().map(|entry| format!("{} {}", entry.targets[0], entry.labels.instance)).collect()
    }

    /// Goal: who has an admin port is a target, dead or alive, but for those that were asked to end; the lab is one, too.
    #[tokio::test]
    async fn lists_who_ought_to_answer() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("made/targets.json");
        let lab = Some(SocketAddr::from(([127, 0, 0, 1], 9)));
        let targets = Targets::new(&Discovery { file: file.clone(), lab }).expect("a folder is made");
        let spawner = Spawner::new().expect("a thread");
        let launches = [
            sleeper(Part::Redis, 0, None, folder.path()),
            sleeper(Part::Edge, 0, Some(1), folder.path()),
            sleeper(Part::CacheNode, 7, Some(2), folder.path()),
        ];
        let mut processes = Vec::new();
        for launch in launches {
            processes.push(Process::start(launch, &spawner).await.expect("started").0);
        }
        targets.write(processes.iter()).expect("written");
        assert_eq!(roles(&file), ["127.0.0.1:1 edge", "127.0.0.1:2 cache-node-07", "127.0.0.1:9 lab"]);

        processes[2].signal(Signal::Kill).await.expect("killed");
        targets.write(processes.iter()).expect("written");
        assert_eq!(roles(&file).len(), 3, "an operator must see that it is down");
        processes[1].signal(Signal::Stop).await.expect("stopped");
        targets.write(processes.iter()).expect("written");
        assert_eq!(roles(&file), ["127.0.0.1:2 cache-node-07", "127.0.0.1:9 lab"]);

        let left: Vec<_> = std::fs::read_dir(file.parent().expect("a folder")).expect("readable").collect();
        assert_eq!(left.len(), 1, "nothing half-written stays");
        remove(&file).expect("removed");
        remove(&file).expect("removing twice is as good");
        assert!(!file.exists());
    }

    /// Goal: a note that names some other file does not get that file removed.
    #[test]
    fn removes_only_its_own_kind_of_file() {
        let other = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(other.path(), "[{\"targets\": [\"a:1\"], \"mine\": true}]").expect("written");
        remove(other.path()).expect("left alone");
        assert!(other.path().exists());
    }
}
