//! Drills for who is on call (`dashboards/drills/`), run as a person runs them, with a real Prometheus that finds the fleet by itself.

use crate::{
    architecture::root,
    prometheus::{Prometheus, Series},
    rules::{self, in_less_time},
    turn::{self, Turn},
};
use herd_cluster::binaries::{self, Binaries};
use herd_experiment::testbed::Silent;
use herd_history::Reader;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// What times in the rules are divided by: a drill lasts a tenth of what it would in life.
pub(crate) const FASTER: u64 = 10;
/// How long what a drill waits for may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How long a whole drill may take.
const DRILL_MAX: Duration = Duration::from_secs(120);
/// How often something that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A fleet that is driven through a drill while a Prometheus watches it.
pub(crate) struct Drill {
    pub(crate) prometheus: Prometheus,
    /// Where the lab runs: its runs, its targets, its state.
    folder: tempfile::TempDir,
    herd: Child,
    // One drill at a time: they measure time on few cores.
    _turn: Turn,
}

/// When a rung's load ran, Unix seconds.
#[derive(Clone, Debug)]
pub(crate) struct Rung {
    pub(crate) name: String,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

impl Drill {
    /// Starts the drill of this name.
    pub(crate) fn start(name: &str) -> Self {
        let programs = programs();
        let turn = turn::taken_blocking();
        let folder = tempfile::tempdir().expect("a folder");
        let prometheus = Prometheus::start(&watch(folder.path()), &config(folder.path()));
        let program = programs.path("herd");
        let herd = Command::new(program)
            .arg("run")
            .arg(root().join(format!("dashboards/drills/{name}.toml")))
            .args(["--backend", "processes", "--out", "run"])
            .current_dir(folder.path())
            .env("HERD_STATE_DIR", folder.path().join("state"))
            .env("HERD_BIN_DIR", program.parent().expect("programs stand in a folder"))
            .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
            .stdout(said(folder.path()))
            .stderr(said(folder.path()))
            .spawn()
            .expect("herd starts");
        Self { prometheus, folder, herd, _turn: turn }
    }

    /// The file in which the lab names its fleet.
    pub(crate) fn targets_file(&self) -> PathBuf {
        self.folder.path().join(format!("runs/targets/{}.json", self.herd.id()))
    }

    /// The entries of that file, once it is there: address, role, instance.
    pub(crate) fn listed(&self) -> Vec<(String, String, String)> {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let entry = |entry: &Value| {
            let labels = &entry["labels"];
            (text(&entry["targets"][0]), text(&labels["role"]), text(&labels["instance"]))
        };
        let Ok(written) = fs::read(self.targets_file()) else { return Vec::new() };
        let entries: Vec<Value> = serde_json::from_slice(&written).expect("never half a file");
        entries.iter().map(entry).collect()
    }

    /// Waits until `holds`.
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let limit = Instant::now() + LIMIT;
        while !holds() {
            assert!(Instant::now() < limit, "not within {LIMIT:?}: {what}\n{}", self.told());
            sleep(LOOK_EVERY);
        }
    }

    /// Waits for the end of the drill; when its rungs' loads ran. What the judge says of it is not asked here.
    pub(crate) fn finish(&mut self) -> Vec<Rung> {
        let limit = Instant::now() + DRILL_MAX;
        let status = loop {
            if let Some(status) = self.herd.try_wait().expect("its state can be asked for") {
                break status;
            }
            assert!(Instant::now() < limit, "the drill does not end\n{}", self.told());
            sleep(LOOK_EVERY);
        };
        // 0: as expected; 2: unknown, as on a machine that is too busy to carry the claims.
        assert!(matches!(status.code(), Some(0 | 2)), "{status}\n{}", self.told());
        let run = Reader::open(&self.folder.path().join("run")).expect("the run is recorded");
        let seconds = |us: u64| us as f64 / 1e6;
        let rung = |rung: &herd_history::RungRecord| Rung {
            name: rung.name.clone(),
            from: seconds(rung.window_start_us),
            to: seconds(rung.window_end_us),
        };
        run.rungs().iter().map(rung).collect()
    }

    /// When an alert fired between two moments.
    pub(crate) fn fired(&self, alert: &str, rung: &Rung) -> Vec<Series> {
        let query = format!("ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}");
        self.prometheus.range(&query, (rung.from, rung.to), 0.5)
    }

    fn told(&self) -> String {
        fs::read_to_string(self.folder.path().join("said")).unwrap_or_default()
    }
}

impl Drop for Drill {
    fn drop(&mut self) {
        // The fleet dies with its lab.
        let _ = self.herd.kill();
        let _ = self.herd.wait();
    }
}

/// The programs, built as the tests are.
fn programs() -> Binaries {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(binaries::find_or_build(&Silent)).expect("the programs are there")
}

/// The folder of Prometheus, with the rules in less time. Alerts are not kept up there: rungs follow one another faster than one that is
/// kept up ends, and what fires in a rung would be what fired in the rung before.
fn watch(folder: &Path) -> PathBuf {
    let folder = folder.join("prometheus");
    fs::create_dir(&folder).expect("a folder");
    let shipped = fs::read_to_string(rules::folder().join("rules.yml")).expect("the rules are readable");
    let (kept_up, expressions): (Vec<&str>, Vec<&str>) =
        shipped.lines().partition(|line| line.trim().starts_with("keep_firing_for: "));
    assert!(!kept_up.is_empty(), "no alert is kept up");
    let rules = in_less_time(&(expressions.join("\n") + "\n"), FASTER);
    fs::write(folder.join("rules.yml"), rules).expect("the rules are written");
    folder
}

/// The shipped configuration, which finds the fleets of the lab that runs in `folder`, and asks them more often.
fn config(folder: &Path) -> String {
    let shipped = fs::read_to_string(rules::folder().join("processes.yml")).expect("it is readable");
    let targets = folder.join("runs/targets/*.json").display().to_string();
    let mut config = shipped;
    for (there, here) in [
        ("../../runs/targets/*.json", targets.as_str()),
        ("scrape_interval: 1s", "scrape_interval: 200ms"),
        ("scrape_timeout: 1s", "scrape_timeout: 200ms"),
        ("refresh_interval: 2s", "refresh_interval: 500ms"),
    ] {
        assert!(config.contains(there), "{there} is not in the shipped configuration");
        config = config.replace(there, here);
    }
    config
}

fn said(folder: &Path) -> Stdio {
    let file = fs::OpenOptions::new().create(true).append(true).open(folder.join("said"));
    file.expect("a file").into()
}
