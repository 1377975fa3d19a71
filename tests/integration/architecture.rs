//! Dependencies point one way, and the pure crates stay pure.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each crate may import of ours. A crate that is missing here fails the test: say first where it belongs.
const ARROWS: [(&str, &[&str]); 16] = [
    ("policy", &[]),
    ("lease", &[]),
    ("scenario", &[]),
    ("history", &[]),
    ("judge", &["history", "scenario"]),
    ("report", &["history", "judge", "scenario"]),
    ("spans", &[]),
    ("wire", &[]),
    ("service", &["wire", "policy"]),
    ("edge", &["wire", "service", "policy"]),
    ("cache-node", &["wire", "service", "policy"]),
    ("lock-service", &["wire", "service", "lease"]),
    ("origin", &["wire", "service"]),
    ("experiment", &["wire", "scenario", "history", "policy"]),
    ("cluster", &["experiment", "scenario"]),
    ("lab", &["*"]),
];

/// The crates that know neither clock nor entropy nor runtime.
const PURE: [&str; 6] = ["policy", "lease", "scenario", "history", "judge", "report"];

/// Where the packages that reach the world may stand.
const CONFINED: [(&str, &[&str]); 5] = [
    ("redis", &["cache-node", "lock-service"]),
    ("sqlx", &["origin", "lock-service"]),
    ("bollard", &["cluster"]),
    ("prost", &["wire"]),
    ("moka", &["lab", "cache-node"]),
];

/// Goal: an import against the direction that the architecture gives is a failing test, not a review comment.
#[test]
fn dependencies_point_one_way() {
    let metadata = metadata();
    let allowed: BTreeMap<_, _> = ARROWS.into_iter().collect();
    let mut wrong = Vec::new();
    for package in ours(&metadata) {
        let name = short(package);
        let Some(may) = allowed.get(name) else {
            wrong.push(format!("crates/{name} has no place in the list of arrows"));
            continue;
        };
        for dependency in normal_dependencies(package) {
            if let Some(target) = dependency.strip_prefix("herd-")
                && !may.contains(&"*")
                && !may.contains(&target)
            {
                wrong.push(format!("{name} -> {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows against the architecture: {wrong:#?}");
}

/// Goal: each package that reaches the world stands only where the architecture puts it.
#[test]
fn outside_packages_stay_where_they_belong() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in ours(&metadata) {
        let name = short(package);
        let dependencies = normal_dependencies(package);
        for (outside, places) in CONFINED {
            if dependencies.contains(outside) && !places.contains(&name) {
                wrong.push(format!("{name} -> {outside}"));
            }
        }
        if PURE.contains(&name) {
            for runtime in ["tokio", "tonic", "redis", "sqlx", "opentelemetry", "tracing", "axum"] {
                if dependencies.contains(runtime) {
                    wrong.push(format!("{name} is pure, yet -> {runtime}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "packages out of place: {wrong:#?}");
}

/// Goal: a pure crate that asks a clock or an entropy source is found by name, though the compiler lets it.
#[test]
fn pure_crates_take_time_and_chance_as_arguments() {
    let forbidden = [
        "Instant::now",
        "SystemTime::now",
        "rand::rng(",
        "thread_rng",
        "from_os_rng",
        "SysRng",
        "thread::sleep",
    ];
    let mut wrong = Vec::new();
    for name in PURE {
        for file in rust_files(&root().join("crates").join(name).join("src")) {
            let text = fs::read_to_string(&file).expect("a source file is readable");
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if let Some(found) = forbidden.iter().find(|word| code.contains(**word)) {
                    wrong.push(format!("{}:{}: {found}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "clocks or entropy in pure crates: {wrong:#?}");
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the root").to_path_buf()
}

/// Every Rust file below a folder, in a fixed order.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a source folder is readable") {
            let path = entry.expect("a folder entry is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata reads the workspace")
}

fn ours(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    metadata.packages.iter().filter(|package| package.name.as_str() != "herd-tests")
}

fn short(package: &Package) -> &str {
    package.name.as_str().strip_prefix("herd-").expect("our packages are named herd-*")
}

fn normal_dependencies(package: &Package) -> BTreeSet<&str> {
    let normal = package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
    normal.map(|dependency| dependency.name.as_str()).collect()
}
