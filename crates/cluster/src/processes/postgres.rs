//! The Postgres of a fleet of local processes whose faults hurt the origin's database. Other fleets keep their rows in a
//! SQLite file, which is there at once and takes no processor of its own.
//!
//! Postgres refuses to run as root. A lab that is root starts it as the user `postgres`, as whom packages install it, or
//! else as `nobody`.

use super::{io_error, launch::Launch};
use crate::{command, postgres::Programs};
use herd_experiment::testbed::{Part, TestbedError};
use nix::{
    sys::signal::Signal,
    unistd::{Uid, User},
};
use std::{
    ffi::OsString,
    fs::Permissions,
    io,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    time::Duration,
};

/// Longest time to lay out an empty database.
const LAY_OUT_MAX: Duration = Duration::from_secs(60);
/// As in the fleet of containers: room, so that checkpoints do not fall into a run, and nothing that nobody uses.
const SETTINGS: [&str; 8] = [
    "shared_buffers=128MB",
    "max_wal_size=2GB",
    "checkpoint_timeout=30min",
    "wal_level=minimal",
    "max_wal_senders=0",
    "jit=off",
    "max_connections=200",
    "unix_socket_directories=",
];

/// Where the origin finds it.
pub(super) fn url(at: SocketAddr) -> String {
    format!("postgres://herd@{at}/postgres")
}

/// Lays out an empty database below `data`, and says how it is started.
///
/// # Errors
/// The folder cannot be made, or `initdb` fails; its words are in the error.
pub(super) async fn lay_out(
    programs: &Programs,
    at: SocketAddr,
    data: &Path,
    log_dir: &Path,
) -> Result<Launch, TestbedError> {
    let home = data.join("postgres");
    let owner = owner();
    make_home(data, &home, owner).map_err(io_error("making a folder for Postgres"))?;
    let folder = home.display().to_string();
    let arguments = [
        "-D",
        &folder,
        "-U",
        "herd",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale",
        "C",
        "--no-sync",
        "--no-instructions",
    ];
    let mut initdb = command::command(&programs.initdb.display().to_string(), &arguments);
    initdb.current_dir(&home);
    if let Some((user, group)) = owner {
        initdb.uid(user).gid(group);
    }
    command::quiet(initdb, "an empty Postgres database", LAY_OUT_MAX).await?;
    let (host, port) = (at.ip().to_string(), at.port().to_string());
    let place = ["-D", &folder, "-h", &host, "-p", &port];
    let settings = SETTINGS.iter().flat_map(|setting| ["-c", setting]);
    let args = place.into_iter().chain(settings).map(OsString::from).collect();
    Ok(Launch {
        part: Part::Database,
        index: 0,
        program: programs.postgres.clone(),
        args,
        env: Vec::new(),
        log: log_dir.join("postgres.log"),
        admin: None,
        // Told to terminate, it waits for its clients to leave first.
        ends_on: Signal::SIGINT,
        owner,
        folder: Some(home),
    })
}

/// As whom it runs, if not as whoever runs the lab: user and group.
fn owner() -> Option<(u32, u32)> {
    if !Uid::effective().is_root() {
        return None;
    }
    let named = |name| User::from_name(name).ok().flatten();
    let user = named("postgres").or_else(|| named("nobody"))?;
    Some((user.uid.as_raw(), user.gid.as_raw()))
}

/// Its folder, which belongs to its user, who must be able to walk there through the fleet's.
fn make_home(data: &Path, home: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    std::fs::create_dir(home)?;
    std::fs::set_permissions(home, Permissions::from_mode(0o700))?;
    let Some((user, group)) = owner else { return Ok(()) };
    std::fs::set_permissions(data, Permissions::from_mode(0o711))?;
    chown(home, Some(user), Some(group))
}
