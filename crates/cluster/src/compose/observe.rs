//! Prometheus, Jaeger and Grafana beside a fleet: which of them can be had on this machine, and what shows the same where
//! one cannot. A fleet never waits for them, and runs the same without.

use super::files::HOST;
use crate::images;
use futures::future::join_all;
use herd_experiment::testbed::Progress;
use serde_json::json;
use std::{fs, io, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path};

/// A service of `compose.yaml` that people look at. Each is a profile of its own, by the same name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Console {
    /// As people call it.
    pub(super) name: &'static str,
    pub(super) service: &'static str,
    pub(super) image: &'static str,
    /// Of its pages, inside the container.
    pub(super) port: u16,
    /// What shows the same without it.
    instead: &'static str,
}

/// Where the traces go.
pub(super) const JAEGER: Console = Console {
    name: "Jaeger",
    service: "jaeger",
    image: "jaegertracing/jaeger:2.20.0",
    port: 16686,
    instead: "`herd trace` prints trees of a recorded run, and the spans file in the run's folder can be uploaded to any Jaeger",
};

/// All of them.
pub(super) static CONSOLES: [Console; 3] = [
    Console {
        name: "Prometheus",
        service: "prometheus",
        image: images::PROMETHEUS,
        port: 9090,
        instead: "every process serves /metrics, and the reports draw the same curves",
    },
    JAEGER,
    Console {
        name: "Grafana",
        service: "grafana",
        image: "grafana/grafana:12.4.2",
        port: 3000,
        instead: "Prometheus draws graphs on its own page; dashboards/README.md has the queries",
    },
];

/// The path of a file below `dashboards/`, and what is in it.
macro_rules! mounted {
    ($path:literal) => {
        (concat!("dashboards/", $path), include_str!(concat!("../../../../dashboards/", $path)))
    };
}

/// What is mounted into the containers, by its path in the repository. A lab is one file, so it carries them.
const FILES: [(&str, &str); 9] = [
    mounted!("prometheus/prometheus.yml"),
    mounted!("prometheus/rules.yml"),
    mounted!("grafana/provisioning/dashboards/herdproof.yml"),
    mounted!("grafana/provisioning/datasources/herdproof.yml"),
    mounted!("grafana/boards/herd.json"),
    mounted!("grafana/boards/ladder.json"),
    mounted!("grafana/boards/lock.json"),
    mounted!("grafana/boards/node.json"),
    mounted!("grafana/boards/origin.json"),
];

/// One of the files in which `prometheus.yml` looks for a lab.
const LAB_TARGET: &str = "dashboards/prometheus/targets/lab.json";

/// Makes sure of the images, all at once. Gives the consoles that can be had; a line says of each other one that it is left
/// out, why, and what shows the same.
pub(super) async fn obtain(progress: &dyn Progress) -> Vec<&'static Console> {
    let obtained = join_all(CONSOLES.iter().map(|console| async move {
        let made = match console.image {
            images::PROMETHEUS => images::ensure(&[console.image], progress).await,
            upstream => images::pull_if_absent(upstream, progress).await,
        };
        (console, made)
    }));
    let mut there = Vec::new();
    for (console, made) in obtained.await {
        match made {
            Ok(()) => there.push(console),
            Err(error) => progress.note(&left_out(console, &error.to_string())),
        }
    }
    there
}

fn left_out(console: &Console, why: &str) -> String {
    let why = why.lines().next().unwrap_or_default();
    format!("left out: {} ({why}). Instead: {}", console.name, console.instead)
}

/// Writes what the containers read; where a lab on this host shows what it does is told to Prometheus.
pub(super) fn lay_out(folder: &Path, lab: Option<SocketAddr>) -> io::Result<()> {
    for (path, content) in FILES {
        write(folder, path, content)?;
    }
    let Some(lab) = lab else { return Ok(()) };
    let target = json!([{ "targets": [format!("{HOST}:{}", lab.port())] }]);
    write(folder, LAB_TARGET, &target.to_string())
}

/// So that containers can read it, whatever rights new files have here.
fn write(folder: &Path, path: &str, content: &str) -> io::Result<()> {
    let path = folder.join(path);
    let above = path.parent().unwrap_or(folder);
    fs::create_dir_all(above)?;
    fs::write(&path, content)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    for made in above.ancestors().take_while(|made| *made != folder) {
        fs::set_permissions(made, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, path::PathBuf};

    fn below(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
    }

    /// Goal: a board or a rule that is added to the repository is not forgotten here.
    #[test]
    fn carries_every_file_that_is_mounted() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut there = BTreeSet::new();
        for folder in ["dashboards/prometheus", "dashboards/grafana"] {
            there.extend(below(&root.join(folder)));
        }
        // promtool's own, for the checks of the rules; and what a Prometheus beside local processes reads.
        there.retain(|path| !path.ends_with("rules_test.yml") && !path.ends_with("processes.yml"));
        let carried: BTreeSet<_> = FILES.iter().map(|(path, _)| root.join(path)).collect();
        assert_eq!(carried, there);
    }

    /// Goal: containers, whose users are not ours, can read all of it.
    #[test]
    fn lays_out_what_others_can_read() {
        let folder = tempfile::tempdir().expect("a folder");
        lay_out(folder.path(), Some(([0, 0, 0, 0], 9).into())).expect("laid out");
        let written = below(folder.path());
        assert_eq!(written.len(), FILES.len() + 1);
        let target = fs::read_to_string(folder.path().join(LAB_TARGET)).expect("written");
        assert_eq!(target, r#"[{"targets":["host.docker.internal:9"]}]"#);
        for path in written {
            let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
            assert_eq!((mode(&path), mode(path.parent().expect("a folder"))), (0o644, 0o755), "{path:?}");
        }
    }

    /// Goal: who is left out is named with the reason and a way around, in one line.
    #[test]
    fn names_who_is_left_out() {
        let line = left_out(&JAEGER, "no registry\nand much more");
        assert!(line.starts_with("left out: Jaeger (no registry). Instead: `herd trace`"), "{line}");
        assert_eq!(line.lines().count(), 1);
    }
}
