//! The `redis-server` program for local processes: the one on PATH, else one taken out of the Redis image.
//!
//! The second way is for checkouts on Linux with Docker: whoever has just cloned this runs every test without installing
//! Redis. The program and the libraries it needs are copied out once, and run by their own loader, so that pauses and
//! signals meet a plain local process.

use crate::{binaries, command, images};
use herd_experiment::testbed::{Progress, Silent, TestbedError};
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Copying a few megabytes out of an image.
const COPY_MAX: Duration = Duration::from_secs(60);

/// Copies the program, its libraries and their loader to /out, for whoever asked.
const COPY_OUT: &str = r#"set -e
program=$(readlink -f "$(command -v redis-server)")
cp -L "$program" /out/redis-server.bin
for library in $(ldd "$program" | grep -o '/[^ )]*'); do cp -L "$library" /out/; done
chown -R "$OWNER" /out"#;

const LAUNCHER: &str = r#"#!/bin/sh
here=$(dirname "$0")
for loader in "$here"/ld-*; do
    exec "$loader" --library-path "$here" "$here/redis-server.bin" "$@"
done
"#;

/// Where `redis-server` is.
///
/// # Errors
/// It is not on PATH and there is no image to take it from: says which package to install.
pub async fn program(progress: &dyn Progress) -> Result<PathBuf, TestbedError> {
    if let Some(program) = on_path() {
        return Ok(program);
    }
    match binaries::checkout() {
        Some(root) if cfg!(target_os = "linux") => {
            from_image(&root.join("target/redis-server"), progress).await.map_err(|error| {
                progress.note(&format!("redis-server could not be taken out of its image: {error}"));
                missing()
            })
        }
        _ => Err(missing()),
    }
}

/// As [`program`], for tests that start a Redis of their own outside an asynchronous function.
///
/// # Errors
/// As [`program`].
///
/// # Panics
/// No runtime can be made.
pub fn program_blocking() -> Result<PathBuf, TestbedError> {
    // On a thread of its own: the caller may be inside a runtime, which must not be blocked on.
    let asked = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be made").block_on(program(&Silent))
    });
    asked.join().expect("looking for a program does not panic")
}

fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers of this kind where only root's PATH may lead.
    let folders =
        std::env::split_paths(&path).chain(["/usr/bin".into(), "/usr/sbin".into(), "/usr/local/bin".into()]);
    folders.map(|folder| folder.join("redis-server")).find(|program| program.is_file())
}

fn missing() -> TestbedError {
    TestbedError::Missing {
        what: "redis-server".to_owned(),
        remedy: "install the package redis-server (Debian, Ubuntu) or redis (Fedora, Homebrew), \
                 or use containers: --backend compose"
            .to_owned(),
    }
}

async fn from_image(folder: &Path, progress: &dyn Progress) -> Result<PathBuf, TestbedError> {
    let io = |source| TestbedError::Io { doing: format!("making {}", folder.display()), source };
    let launcher = folder.join("redis-server");
    let _turn = images::turn("redis-server").await?;
    if launcher.is_file() {
        return Ok(launcher);
    }
    images::ensure(&[images::REDIS], progress).await?;
    progress.note("no redis-server on PATH: taking it out of the image");
    std::fs::create_dir_all(folder).map_err(io)?;
    let made_by_us = std::fs::metadata(folder).map_err(io)?;
    let owner = format!("OWNER={}:{}", made_by_us.uid(), made_by_us.gid());
    let out = format!("{}:/out", folder.display());
    let arguments =
        ["run", "--rm", "--user", "0", "-e", &owner, "-v", &out, "--entrypoint", "sh", images::REDIS, "-c"];
    let mut docker = command::command("docker", &arguments);
    docker.arg(COPY_OUT);
    command::quiet(docker, "redis-server", COPY_MAX).await?;
    // The launcher comes last: once it is there, everything is.
    let made = folder.join("launcher.new");
    std::fs::write(&made, LAUNCHER).map_err(io)?;
    std::fs::set_permissions(&made, Permissions::from_mode(0o755)).map_err(io)?;
    std::fs::rename(&made, &launcher).map_err(io)?;
    Ok(launcher)
}
