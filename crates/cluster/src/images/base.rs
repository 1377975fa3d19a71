//! A base image of the release that this machine runs, made from its packages, for machines that reach no registry.

use super::{BUILD_MAX, INPUTS, labelled};
use crate::{
    command::{command, quiet, run},
    hash::ContentHash,
    packages::{self, Sources},
};
use bollard::Docker;
use herd_experiment::testbed::{Progress, TestbedError};
use std::{fs, io, path::Path};

const BASE: &str = "herdproof/base:dev";
/// Nobody reads manuals in a container, and an image that was cut off in the making is thrown away anyway.
const DPKG_SETTINGS: &str = "force-unsafe-io\n\
     path-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\n";
/// Makes the tree and imports it in one pipe.
const IMPORT: &str = r#"set -e
tar -C "$1" -c . | docker import --change "LABEL $2" --change "ENV LANG=C.UTF-8" - "$3""#;

/// Makes sure that the base image exists.
pub(super) async fn ensure(docker: &Docker, progress: &dyn Progress) -> Result<(), TestbedError> {
    let sources = packages::sources().await?;
    let hash = ContentHash::default()
        .bytes("sources", sources.sources_list.as_bytes())
        .bytes("settings", sources.settings.as_bytes())
        .bytes("dpkg", DPKG_SETTINGS.as_bytes())
        .finish();
    if labelled(docker, BASE).await.as_ref() == Some(&hash) {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(TestbedError::Missing {
            what: "the right to make a base image".to_owned(),
            remedy: "no image registry can be reached; run this once as root, or without containers: \
                     --backend processes"
                .to_owned(),
        });
    }
    debootstrap_installed(progress).await?;
    make(&sources, &hash, progress).await
}

async fn debootstrap_installed(progress: &dyn Progress) -> Result<(), TestbedError> {
    if quiet(command("debootstrap", &["--version"]), "debootstrap", BUILD_MAX).await.is_ok() {
        return Ok(());
    }
    progress.note("installing the package debootstrap, which makes base images");
    let apt_get = |args: &[&str]| {
        let mut apt = command("apt-get", args);
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        quiet(apt, "the package debootstrap", BUILD_MAX)
    };
    let install = ["install", "-y", "-q", "--no-install-recommends", "debootstrap"];
    if apt_get(&install).await.is_err() {
        apt_get(&["update", "-q"]).await?;
        apt_get(&install).await?;
    }
    Ok(())
}

async fn make(sources: &Sources, hash: &str, progress: &dyn Progress) -> Result<(), TestbedError> {
    let io = |source| TestbedError::Io { doing: format!("laying out {BASE}"), source };
    let what = format!("making a base image of {}", sources.release);
    progress.step(&what, 0, 0);
    let folder = tempfile::tempdir().map_err(io)?;
    let root = folder.path().join("root");
    let mut debootstrap = command("debootstrap", &["--variant=minbase", &sources.release]);
    debootstrap.arg(&root).arg(&sources.mirror);
    debootstrap.env("DEBIAN_FRONTEND", "noninteractive");
    run(debootstrap, BASE, BUILD_MAX, |line| progress.step(&format!("{what}: {line}"), 0, 0)).await?;
    configure(&root, sources).map_err(io)?;
    let mut import = command("sh", &["-c", IMPORT, "sh"]);
    import.arg(&root).arg(format!("{INPUTS}={hash}")).arg(BASE);
    quiet(import, BASE, BUILD_MAX).await.map(drop)
}

/// What apt and dpkg need inside the image.
fn configure(root: &Path, sources: &Sources) -> io::Result<()> {
    let put = |path: &str, content: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(path, content)
    };
    put("etc/apt/sources.list", &sources.sources_list)?;
    put("etc/apt/apt.conf.d/90host", &sources.settings)?;
    put("etc/dpkg/dpkg.cfg.d/container", DPKG_SETTINGS)?;
    // The archives that the base was made from.
    let archives = root.join("var/cache/apt/archives");
    for entry in fs::read_dir(archives)?.flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "deb") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
