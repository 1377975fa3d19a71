//! The images that `compose.yaml` and the integration tests use, under the same names on every machine:
//!
//! | image | with a registry | without one |
//! | --- | --- | --- |
//! | [`FLEET`] | the programs built on this host; inside a container where the host is no Linux | the same |
//! | [`REDIS`], [`POSTGRES`], [`PROMETHEUS`] | the upstream images named in `compose/Dockerfile` | from this machine's packages |
//! | others, beside the fleet | as upstream names them | none |
//!
//! Each of ours carries a hash of what went into it and is rebuilt only when that changed.

mod base;

use crate::{
    binaries::{self, Binaries},
    command::{command, quiet, run},
    engine,
    hash::ContentHash,
};
use bollard::{Docker, query_parameters::RemoveImageOptions};
use futures::future::{try_join, try_join_all};
use herd_experiment::testbed::{Progress, TestbedError};
use std::{fs::File, io, path::Path, time::Duration};
use tokio::time::timeout;

/// The programs of the fleet, the lab included.
pub const FLEET: &str = "herdproof/fleet:dev";
/// Redis.
pub const REDIS: &str = "herdproof/redis:dev";
/// PostgreSQL.
pub const POSTGRES: &str = "herdproof/postgres:dev";
/// Prometheus.
pub const PROMETHEUS: &str = "herdproof/prometheus:dev";

/// The label with the hash of an image's inputs.
const INPUTS: &str = "org.herdproof.inputs";
const DOCKERFILE: &str = include_str!("../../../compose/Dockerfile");
const FLEET_DOCKERFILE: &str = include_str!("../../../compose/offline/fleet.Dockerfile");
const POSTGRES_ENTRYPOINT: (&str, &str) =
    ("postgres-entrypoint.sh", include_str!("../../../compose/offline/postgres-entrypoint.sh"));

/// How long a registry may take to say that it is there.
const REGISTRY_MAX: Duration = Duration::from_secs(8);
const PULL_MAX: Duration = Duration::from_secs(10 * 60);
const BUILD_MAX: Duration = Duration::from_secs(20 * 60);
const BUILD_FROM_SOURCE_MAX: Duration = Duration::from_secs(45 * 60);

/// A store's image and both ways to it.
#[derive(Clone, Copy, Debug)]
struct Store {
    image: &'static str,
    /// Its stage in `compose/Dockerfile`.
    stage: &'static str,
    dockerfile: &'static str,
    files: &'static [(&'static str, &'static str)],
}

const STORES: [Store; 3] = [
    Store {
        image: REDIS,
        stage: "redis",
        dockerfile: include_str!("../../../compose/offline/redis.Dockerfile"),
        files: &[],
    },
    Store {
        image: POSTGRES,
        stage: "postgres",
        dockerfile: include_str!("../../../compose/offline/postgres.Dockerfile"),
        files: &[POSTGRES_ENTRYPOINT],
    },
    Store {
        image: PROMETHEUS,
        stage: "prometheus",
        dockerfile: include_str!("../../../compose/offline/prometheus.Dockerfile"),
        files: &[],
    },
];

/// Makes sure that all of `images` ([`FLEET`], [`REDIS`], [`POSTGRES`], [`PROMETHEUS`]) exist and are current. For the fleet's, the
/// programs are built first. Safe to call from several programs at once: they take turns.
///
/// # Errors
/// No engine answers, something cannot be built, or what is needed to build it is missing.
pub async fn ensure(images: &[&str], progress: &dyn Progress) -> Result<(), TestbedError> {
    let docker = engine::connect().await?;
    let _turn = turn("images").await?;
    let inside = builds_inside(&docker).await;
    let programs = async {
        match images.contains(&FLEET) && !inside {
            true => binaries::find_or_build(progress).await.map(Some),
            false => Ok(None),
        }
    };
    // The compiler wants the processors, packages want the network and the disk.
    let ((), programs) = try_join(stores(&docker, images, progress), programs).await?;
    match programs {
        Some(programs) => fleet(&docker, &programs, progress).await,
        None if images.contains(&FLEET) => fleet_from_source(progress).await,
        None => Ok(()),
    }
}

/// Makes sure that an image is here that only upstream can give, under upstream's name.
///
/// # Errors
/// It is not, and no registry can be reached for it, or it cannot be pulled.
pub(crate) async fn pull_if_absent(image: &str, progress: &dyn Progress) -> Result<(), TestbedError> {
    let docker = engine::connect().await?;
    if upstream_reachable(&docker, [image]).await {
        return pull(&docker, image, progress).await;
    }
    Err(TestbedError::Missing {
        what: format!("the image {image}"),
        remedy: "no registry can be reached for it".to_owned(),
    })
}

/// Waits for other labs and tests on this machine that are making the same. The turn ends when the file is closed.
pub(crate) async fn turn(to_make: &'static str) -> Result<File, TestbedError> {
    let doing = "waiting for a turn to make what others make, too";
    let wait = tokio::task::spawn_blocking(move || {
        let file = File::create(std::env::temp_dir().join(format!("herdproof-{to_make}.lock")))?;
        file.lock()?;
        Ok::<_, io::Error>(file)
    });
    let waited = timeout(BUILD_FROM_SOURCE_MAX, wait).await;
    let other = |why: String| TestbedError::Other { doing: doing.to_owned(), why };
    waited
        .map_err(|_| other("it did not come".to_owned()))?
        .map_err(|error| other(error.to_string()))?
        .map_err(|source| TestbedError::Io { doing: doing.to_owned(), source })
}

/// Whether the fleet's programs have to be built in a container: the host's own would not run in one.
async fn builds_inside(docker: &Docker) -> bool {
    let engine = docker.version().await.ok().and_then(|version| version.arch);
    let host = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    !cfg!(target_os = "linux") || engine.is_some_and(|engine| engine != host)
}

/// The hash that an image was labelled with; `None` if there is no such image, an empty one if it has no label.
async fn labelled(docker: &Docker, image: &str) -> Option<String> {
    let labels = docker.inspect_image(image).await.ok()?.config.and_then(|config| config.labels);
    Some(labels.and_then(|mut labels| labels.remove(INPUTS)).unwrap_or_default())
}

// ---- the fleet

async fn fleet(docker: &Docker, binaries: &Binaries, progress: &dyn Progress) -> Result<(), TestbedError> {
    let io = |source| TestbedError::Io { doing: format!("laying out {FLEET}"), source };
    let mut hash = ContentHash::default().bytes("Dockerfile", FLEET_DOCKERFILE.as_bytes());
    for (name, path) in binaries.iter() {
        hash = hash.file(name, path).map_err(io)?;
    }
    let hash = hash.finish();
    if labelled(docker, FLEET).await.as_ref() == Some(&hash) {
        return Ok(());
    }
    progress.step(&format!("building the image {FLEET}"), 0, 0);
    let folder = tempfile::tempdir().map_err(io)?;
    let context = folder.path().join("context");
    for inner in ["data", "runs"] {
        std::fs::create_dir_all(context.join(inner)).map_err(io)?;
    }
    for (name, path) in binaries.iter() {
        strip(path, &context.join(name)).await.map_err(io)?;
    }
    let previous = docker.inspect_image(FLEET).await.ok().and_then(|image| image.id);
    build(FLEET, FLEET_DOCKERFILE, &hash, folder.path(), progress).await?;
    if let Some(previous) = previous {
        // Each build would leave one nameless image behind. Refused while a container uses it, which is as well.
        let _ = docker.remove_image(&previous, None::<RemoveImageOptions>, None).await;
    }
    Ok(())
}

/// Copies a program without its debugging information, with it if there is no `strip` here.
async fn strip(from: &Path, to: &Path) -> io::Result<()> {
    let mut strip = command("strip", &["--strip-debug", "-o"]);
    strip.arg(to).arg(from);
    if quiet(strip, "strip", BUILD_MAX).await.is_err() {
        std::fs::copy(from, to)?;
    }
    Ok(())
}

/// Where the host's programs would not run in a container, the builder is asked every time: it has its own cache.
async fn fleet_from_source(progress: &dyn Progress) -> Result<(), TestbedError> {
    let root = binaries::checkout().ok_or_else(|| TestbedError::Missing {
        what: "the checkout of the sources".to_owned(),
        remedy: "run this from a checkout: programs of this host do not run in its containers".to_owned(),
    })?;
    progress.note("building the programs inside a container: those of this host would not run in one");
    let mut docker =
        command("docker", &["build", "-f", "compose/Dockerfile", "--target", "fleet", "-t", FLEET, "."]);
    docker.current_dir(root).env("DOCKER_BUILDKIT", "1");
    run(docker, FLEET, BUILD_FROM_SOURCE_MAX, |line| progress.step(line, 0, 0)).await.map(drop)
}

// ---- the stores

async fn stores(docker: &Docker, images: &[&str], progress: &dyn Progress) -> Result<(), TestbedError> {
    let mut absent = Vec::new();
    for store in STORES.into_iter().filter(|store| images.contains(&store.image)) {
        if !is_current(docker, &store).await {
            absent.push(store);
        }
    }
    let Some(first) = absent.first() else { return Ok(()) };
    if upstream_reachable(docker, absent.iter().map(upstream)).await {
        let pulled = try_join_all(absent.iter().map(|store| from_upstream(docker, store, progress))).await;
        match pulled {
            Ok(_) => return Ok(()),
            Err(error) => progress.note(&format!("pulling images failed: {error}")),
        }
    } else {
        progress.note(&format!(
            "no image registry can be reached for {}: building images from this machine's packages instead (once)",
            upstream(first)
        ));
    }
    base::ensure(docker, progress).await?;
    try_join_all(absent.iter().map(|store| from_packages(store, progress))).await.map(drop)
}

/// Current is what was taken from upstream under today's reference, or built from today's files.
async fn is_current(docker: &Docker, store: &Store) -> bool {
    let Ok(image) = docker.inspect_image(store.image).await else { return false };
    if image.repo_tags.unwrap_or_default().iter().any(|tag| tag == upstream(store)) {
        return true;
    }
    labelled(docker, store.image).await == Some(package_hash(store))
}

/// The upstream image of a store, as `compose/Dockerfile` names it.
fn upstream(store: &Store) -> &'static str {
    let mut froms = DOCKERFILE.lines().filter_map(|line| line.strip_prefix("FROM ")?.split_once(" AS "));
    froms
        .find(|(_, stage)| *stage == store.stage)
        .map(|(image, _)| image)
        .expect("compose/Dockerfile has this stage")
}

/// The engine is asked, not the network: it may have a mirror, a proxy, or the images already.
async fn upstream_reachable<'i>(docker: &Docker, images: impl IntoIterator<Item = &'i str>) -> bool {
    let ask = async {
        for image in images {
            if docker.inspect_image(image).await.is_err() {
                docker.inspect_registry_image(image, None).await?;
            }
        }
        Ok::<_, bollard::errors::Error>(())
    };
    matches!(timeout(REGISTRY_MAX, ask).await, Ok(Ok(())))
}

async fn from_upstream(docker: &Docker, store: &Store, progress: &dyn Progress) -> Result<(), TestbedError> {
    let image = upstream(store);
    pull(docker, image, progress).await?;
    quiet(command("docker", &["tag", image, store.image]), store.image, PULL_MAX).await.map(drop)
}

async fn pull(docker: &Docker, image: &str, progress: &dyn Progress) -> Result<(), TestbedError> {
    if docker.inspect_image(image).await.is_err() {
        progress.step(&format!("pulling {image}"), 0, 0);
        quiet(command("docker", &["pull", "--quiet", image]), image, PULL_MAX).await?;
    }
    Ok(())
}

fn package_hash(store: &Store) -> String {
    let hash = ContentHash::default().bytes("Dockerfile", store.dockerfile.as_bytes());
    store.files.iter().fold(hash, |hash, (name, content)| hash.bytes(name, content.as_bytes())).finish()
}

async fn from_packages(store: &Store, progress: &dyn Progress) -> Result<(), TestbedError> {
    let io = |source| TestbedError::Io { doing: format!("laying out {}", store.image), source };
    progress.step(&format!("building the image {} from packages", store.image), 0, 0);
    let folder = tempfile::tempdir().map_err(io)?;
    let context = folder.path().join("context");
    std::fs::create_dir(&context).map_err(io)?;
    for (name, content) in store.files {
        std::fs::write(context.join(name), content).map_err(io)?;
    }
    build(store.image, store.dockerfile, &package_hash(store), folder.path(), progress).await
}

/// Builds `folder/context`. Nothing but the oldest features are used, so that any builder will do.
async fn build(
    image: &str,
    dockerfile: &str,
    hash: &str,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<(), TestbedError> {
    let file = folder.join("Dockerfile");
    std::fs::write(&file, dockerfile)
        .map_err(|source| TestbedError::Io { doing: format!("laying out {image}"), source })?;
    let mut docker = command("docker", &["build", "-t", image, "--label", &format!("{INPUTS}={hash}"), "-f"]);
    docker.arg(file).arg(folder.join("context"));
    run(docker, image, BUILD_MAX, |line| tracing::debug!(image, line, "build")).await?;
    progress.step(&format!("built the image {image}"), 0, 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the references of upstream images stand in one place, the Dockerfile, and are found there.
    #[test]
    fn finds_upstream_images_in_the_dockerfile() {
        let [redis, postgres, prometheus] = STORES.map(|store| upstream(&store));
        assert!(redis.starts_with("redis:"), "{redis}");
        assert!(postgres.starts_with("postgres:"), "{postgres}");
        assert!(prometheus.starts_with("prom/prometheus:v"), "{prometheus}");
    }

    /// Goal: each store's image has a hash of its own, so that a change of one does not rebuild the other.
    #[test]
    fn hashes_each_store_apart() {
        let [redis, postgres, prometheus] = STORES.map(|store| package_hash(&store));
        assert!(redis != postgres && postgres != prometheus && prometheus != redis);
    }

    /// Goal: no Dockerfile asks for a frontend from a registry, which would fail where there is none.
    #[test]
    fn asks_for_no_frontend() {
        let files = STORES.map(|store| store.dockerfile);
        assert!(files.iter().chain(&[DOCKERFILE, FLEET_DOCKERFILE]).all(|file| !file.contains("# syntax")));
    }
}
