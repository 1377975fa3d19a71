//! Finds the programs of the fleet, and builds them first where this runs from a checkout.
//!
//! From a checkout, cargo is always asked (it does nothing in half a second when nothing changed), in the profile of
//! the running program, so that a test never runs yesterday's processes. An installed lab looks beside itself.
//! Where the environment variable `HERD_BIN_DIR` names a folder, the programs are taken from there and nothing is built.

use crate::command;
use herd_experiment::testbed::{Progress, TestbedError};
use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::OnceCell;

/// Names of the programs: the four processes and the lab.
pub const PROGRAMS: [&str; 5] = ["herd-edge", "herd-cache-node", "herd-lock-service", "herd-origin", "herd"];
/// What cargo leaves in a target folder: its tag, if it made the folder, and what it knows of the compiler.
const MARKS: [&str; 2] = ["CACHEDIR.TAG", ".rustc_info.json"];
/// Names a folder with the programs.
const BIN_DIR: &str = "HERD_BIN_DIR";
/// Longest build, from nothing and on a slow machine.
const BUILD_MAX: Duration = Duration::from_secs(45 * 60);

/// Where the programs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    paths: BTreeMap<&'static str, PathBuf>,
}

impl Binaries {
    /// The path of one of [`PROGRAMS`].
    ///
    /// # Panics
    /// `program` is none of them.
    #[must_use]
    pub fn path(&self, program: &str) -> &Path {
        self.paths.get(program).expect("one of PROGRAMS")
    }

    /// All of them with their names, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.paths.iter().map(|(name, path)| (*name, path.as_path()))
    }
}

/// Builds the programs when this runs from a checkout, else finds them beside the running program. Done once in a
/// process.
///
/// # Errors
/// They do not build, or there are none.
pub async fn find_or_build(progress: &dyn Progress) -> Result<Binaries, TestbedError> {
    static ONCE: OnceCell<Binaries> = OnceCell::const_new();
    ONCE.get_or_try_init(|| async {
        if let Some(folder) = env::var_os(BIN_DIR).filter(|folder| !folder.is_empty()) {
            return beside(Path::new(&folder));
        }
        let folder = own_folder()?;
        match target_dir(&folder) {
            Some(target) if checkout().is_some() => build(&target, is_test()?, progress).await,
            _ => beside(&folder),
        }
    })
    .await
    .cloned()
}

/// The root of the checkout that this program was built from, if it is still there.
#[must_use]
pub fn checkout() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.parent()?;
    root.join("crates/cluster/Cargo.toml").is_file().then(|| root.to_owned())
}

/// The folder of the running program; for a test or an example, the folder of programs beside it.
fn own_folder() -> Result<PathBuf, TestbedError> {
    Ok(program_folder(&own_path()?))
}

fn own_path() -> Result<PathBuf, TestbedError> {
    env::current_exe()
        .map_err(|source| TestbedError::Io { doing: "finding the running program".to_owned(), source })
}

/// Is this one of cargo's tests?
fn is_test() -> Result<bool, TestbedError> {
    Ok(own_path()?.parent().is_some_and(|folder| folder.ends_with("deps")))
}

fn program_folder(own: &Path) -> PathBuf {
    let folder = own.parent().unwrap_or(Path::new("."));
    let inner = folder.file_name().is_some_and(|name| name == "deps" || name == "examples");
    if inner { folder.parent().unwrap_or(folder) } else { folder }.to_owned()
}

/// Cargo's target folder, when `folder` is `<target>/<triple>/<profile>` or `<target>/<profile>`.
fn target_dir(folder: &Path) -> Option<PathBuf> {
    folder.join("deps").is_dir().then_some(())?;
    // Cargo tags the triple's folder as well as the target folder: the outer one counts, else everything is built anew. A
    // folder that was there before, as a mounted one is, it does not tag; what it knows of the compiler it leaves in either.
    let marked = |above: &&Path| MARKS.iter().any(|mark| above.join(mark).is_file());
    folder.ancestors().skip(1).take(2).filter(marked).last().map(Path::to_owned)
}

/// Features of dependencies are decided over everything that is built together. So this asks for the whole workspace, as
/// the alias `cargo herd` does, and a test for what `cargo test --workspace` built: only the programs are left to
/// link, and no dependency is compiled once more.
async fn build(target: &Path, for_test: bool, progress: &dyn Progress) -> Result<Binaries, TestbedError> {
    let root = checkout().expect("asked for by the caller");
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut cargo =
        command::command(&cargo, &["build", "--bins", "--message-format=json-render-diagnostics"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    cargo.arg("--workspace");
    if for_test {
        cargo.arg("--tests");
    }
    cargo.current_dir(root).env("CARGO_TARGET_DIR", target);
    progress.step("building the programs", 0, 0);
    let mut compiled: u64 = 0;
    let output = command::run(cargo, "the programs", BUILD_MAX, |line| {
        let line = line.trim_start();
        if line.starts_with("Blocking") {
            progress.step("building the programs: waiting for another cargo", compiled, 0);
        }
        if let Some(what) = line.strip_prefix("Compiling ") {
            // The folder of a crate of ours is of no interest.
            let what = what.split(" (").next().unwrap_or(what);
            compiled += 1;
            progress.step(&format!("building the programs: {what}"), compiled, 0);
        }
    })
    .await?;
    let paths = executables(&output);
    if paths.len() < PROGRAMS.len() {
        let output = format!("cargo made only {:?}", paths.keys().collect::<Vec<_>>());
        return Err(TestbedError::Build { what: "the programs".to_owned(), output });
    }
    Ok(Binaries { paths })
}

/// The programs named in cargo's messages, one JSON object a line.
fn executables(messages: &str) -> BTreeMap<&'static str, PathBuf> {
    messages
        .lines()
        .filter_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            // A program's own unit tests bear its name, too.
            if message.pointer("/profile/test").is_some_and(|test| *test == true) {
                return None;
            }
            let name = message.pointer("/target/name")?.as_str()?;
            let path = message.get("executable")?.as_str()?;
            let name = PROGRAMS.into_iter().find(|program| *program == name)?;
            Some((name, PathBuf::from(path)))
        })
        .collect()
}

fn beside(folder: &Path) -> Result<Binaries, TestbedError> {
    let (found, absent): (Vec<_>, Vec<_>) =
        PROGRAMS.into_iter().map(|name| (name, folder.join(name))).partition(|(_, path)| path.is_file());
    if absent.is_empty() {
        return Ok(Binaries { paths: found.into_iter().collect() });
    }
    let absent: Vec<&str> = absent.into_iter().map(|(name, _)| name).collect();
    Err(TestbedError::Missing {
        what: absent.join(", "),
        remedy: format!(
            "put it into {}, name its folder in {BIN_DIR}, or run `cargo herd` in a checkout",
            folder.display()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a test's and an example's own folders lead to the folder of programs.
    #[test]
    fn finds_the_folder_of_programs() {
        let folder = Path::new("/t/x86/debug");
        assert_eq!(program_folder(Path::new("/t/x86/debug/herd")), folder);
        assert_eq!(program_folder(Path::new("/t/x86/debug/deps/cluster-0123")), folder);
        assert_eq!(program_folder(Path::new("/t/x86/debug/examples/up")), folder);
    }

    /// Goal: this very test is recognised as running from cargo's target folder of this checkout.
    #[test]
    fn knows_that_a_test_runs_from_a_checkout() {
        assert!(checkout().is_some());
        assert!(target_dir(&own_folder().expect("a folder")).is_some());
        assert_eq!(target_dir(Path::new("/usr/bin")), None);
    }

    /// Goal: a target folder that cargo did not make is cargo's all the same, and any other folder with `deps` is not.
    #[test]
    fn knows_a_target_folder_that_was_there_before() {
        let above = tempfile::tempdir().expect("a folder");
        let profile = above.path().join("x86/debug");
        std::fs::create_dir_all(profile.join("deps")).expect("made");
        assert_eq!(target_dir(&profile), None);
        std::fs::write(above.path().join(".rustc_info.json"), "{}").expect("written");
        assert_eq!(target_dir(&profile).as_deref(), Some(above.path()));
        std::fs::write(above.path().join("x86/CACHEDIR.TAG"), "").expect("written");
        assert_eq!(target_dir(&profile).as_deref(), Some(above.path()), "the outer one counts");
    }

    /// Goal: only our programs are taken from cargo's messages, whatever else it says.
    #[test]
    fn reads_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"herd"},"executable":"/t/herd"}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"herd-edge"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"build-script-build"},"executable":"/t/b"}"#,
        );
        let found = executables(messages);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("herd", PathBuf::from("/t/herd"))]);
    }

    /// Goal: an installed lab without its programs says which are missing and where they belong.
    #[test]
    fn names_absent_programs() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("herd"), "").expect("written");
        let error = beside(folder.path()).expect_err("four are absent").to_string();
        assert!(error.contains("herd-edge, herd-cache-node") && !error.contains("herd,"), "{error}");
    }
}
