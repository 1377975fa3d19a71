//! The programs of Postgres for local processes: in the folder that `HERD_POSTGRES_BIN` names, on PATH, or where Debian's
//! packages keep them, each release in a folder of its own.

use std::path::{Path, PathBuf};

/// Names the folder to take them from; no other is looked at then.
pub const FOLDER: &str = "HERD_POSTGRES_BIN";
/// Where Debian and Ubuntu keep them: `15/bin` and so on below it.
const PACKAGES: &str = "/usr/lib/postgresql";

/// What a Postgres is made and run with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Programs {
    /// The server.
    pub(crate) postgres: PathBuf,
    /// Lays out an empty database.
    pub(crate) initdb: PathBuf,
}

/// Whether there is a Postgres that local processes can run.
#[must_use]
pub fn is_there() -> bool {
    programs().is_some()
}

/// The programs, if both are there.
pub(crate) fn programs() -> Option<Programs> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return within(Path::new(&folder));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).find_map(|folder| within(&folder)).or_else(|| newest(Path::new(PACKAGES)))
}

fn within(folder: &Path) -> Option<Programs> {
    let programs = Programs { postgres: folder.join("postgres"), initdb: folder.join("initdb") };
    (programs.postgres.is_file() && programs.initdb.is_file()).then_some(programs)
}

/// Of several releases the newest; one that has only clients does not count.
fn newest(packages: &Path) -> Option<Programs> {
    let releases = std::fs::read_dir(packages).ok()?.filter_map(|entry| {
        let entry = entry.ok()?;
        let release: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((release, within(&entry.path().join("bin"))?))
    });
    releases.max_by_key(|(release, _)| *release).map(|(_, programs)| programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: of the releases that are there whole, the newest is taken, by number and not by name.
    #[test]
    fn the_newest_whole_release_is_taken() {
        let packages = tempfile::tempdir().expect("a folder");
        assert_eq!(newest(packages.path()), None);
        for (release, programs) in
            [("9", &["postgres", "initdb"][..]), ("15", &["postgres", "initdb"]), ("17", &["psql"])]
        {
            let folder = packages.path().join(release).join("bin");
            std::fs::create_dir_all(&folder).expect("made");
            for program in programs {
                std::fs::write(folder.join(program), "").expect("written");
            }
        }
        let found = newest(packages.path()).expect("there are two");
        assert_eq!(found.postgres, packages.path().join("15/bin/postgres"));
        assert_eq!(newest(Path::new("/nowhere")), None);
    }
}
