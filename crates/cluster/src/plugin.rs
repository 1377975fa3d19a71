//! Provides `docker compose`, version 2, where the Docker client came without it.
//!
//! Debian 12 packages only the first version; the package of Debian's next release works on its engine. It is fetched
//! from the mirror that this machine uses already, with its signature checked, by an apt that is kept apart from the
//! machine's own (nothing is installed, no source is added), and the plugin is put into the user's own folder.

use crate::{
    command::{command, quiet},
    packages,
};
use herd_experiment::testbed::{Progress, TestbedError};
use std::{
    env,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The release whose package is taken.
const RELEASE: &str = "trixie";
const PLUGIN: &str = "usr/libexec/docker/cli-plugins/docker-compose";
/// The list of packages is all that is needed; the software catalogue beside it is half as large again.
const NO_CATALOGUE: &str = "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false";
const ASK_MAX: Duration = Duration::from_secs(20);
const FETCH_MAX: Duration = Duration::from_secs(180);

/// Makes sure that `docker compose` works.
///
/// # Errors
/// It does not and cannot be provided; the message says what to install.
pub async fn ensure(progress: &dyn Progress) -> Result<(), TestbedError> {
    if works().await {
        return Ok(());
    }
    let folder = plugin_folder()?;
    progress.note(&format!(
        "the Docker client lacks compose v2: taking the plugin from Debian {RELEASE}'s package docker-compose into {}",
        folder.display()
    ));
    let fetched = fetch(&folder).await;
    if works().await {
        return Ok(());
    }
    let why = fetched.err().map_or_else(String::new, |error| format!(" ({error})"));
    Err(TestbedError::Missing {
        what: "docker compose, version 2".to_owned(),
        remedy: format!(
            "install Docker's compose plugin{why}, or run without containers: --backend processes"
        ),
    })
}

async fn works() -> bool {
    quiet(command("docker", &["compose", "version", "--short"]), "docker compose", ASK_MAX).await.is_ok()
}

fn plugin_folder() -> Result<PathBuf, TestbedError> {
    let set = env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = || env::home_dir().map(|home| home.join(".docker"));
    set.or_else(home).map(|config| config.join("cli-plugins")).ok_or_else(|| TestbedError::Missing {
        what: "a home folder".to_owned(),
        remedy: "set HOME or DOCKER_CONFIG".to_owned(),
    })
}

async fn fetch(folder: &Path) -> Result<(), TestbedError> {
    let io =
        |source| TestbedError::Io { doing: "taking the compose plugin from its package".to_owned(), source };
    let mirror = packages::sources().await?.mirror;
    let apart = tempfile::tempdir().map_err(io)?;
    let keys = packages::DEBIAN_KEYS;
    let sources = apart.path().join("sources.list");
    std::fs::write(&sources, format!("deb [signed-by={keys}] {mirror} {RELEASE} main\n")).map_err(io)?;
    for inner in ["lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(apart.path().join(inner)).map_err(io)?;
    }
    let apt_get = |action: &[&str]| {
        let mut apt = command(
            "apt-get",
            &["-q", "-o", "Dir::Etc::SourceParts=-", "-o", "APT::Sandbox::User=", "-o", NO_CATALOGUE],
        );
        let option = |name: &str, value: &Path| format!("{name}={}", value.display());
        apt.arg("-o").arg(option("Dir::Etc::SourceList", &sources));
        apt.arg("-o").arg(option("Dir::State::Lists", &apart.path().join("lists")));
        apt.arg("-o").arg(option("Dir::Cache", &apart.path().join("cache")));
        apt.args(action).current_dir(apart.path());
        apt
    };
    quiet(apt_get(&["update"]), "a list of packages", FETCH_MAX).await?;
    quiet(apt_get(&["download", "docker-compose"]), "the package docker-compose", FETCH_MAX).await?;
    let entries =
        std::fs::read_dir(apart.path()).map_err(io)?.filter_map(|entry| entry.ok().map(|e| e.path()));
    let package = entries
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| io(std::io::ErrorKind::NotFound.into()))?;
    let unpacked = apart.path().join("unpacked");
    let mut unpack = command("dpkg-deb", &["-x"]);
    unpack.arg(&package).arg(&unpacked);
    quiet(unpack, "unpacking docker-compose", FETCH_MAX).await?;
    install(&unpacked.join(PLUGIN), folder).map_err(io)
}

/// Puts the plugin in place as a whole: another lab may be doing the same.
fn install(plugin: &Path, folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let partial = tempfile::NamedTempFile::new_in(folder)?;
    std::fs::copy(plugin, partial.path())?;
    std::fs::set_permissions(partial.path(), std::fs::Permissions::from_mode(0o755))?;
    partial.persist(folder.join("docker-compose")).map_err(|error| error.error)?;
    Ok(())
}
