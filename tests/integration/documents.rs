//! Documents name only what exists.

use crate::architecture::{root, rust_files};
use std::fs;
use std::path::Path;

/// Goal: a path in a document that no longer exists fails here instead of misleading a reader.
#[test]
fn documents_name_only_paths_that_exist() {
    let root = root();
    let mut wrong = Vec::new();
    for document in ["README.md", "chaos/README.md"] {
        let text =
            fs::read_to_string(root.join(document)).unwrap_or_else(|_| panic!("{document} is readable"));
        for path in named_paths(&text) {
            if !root.join(&path).exists() {
                wrong.push(format!("{document}: {path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "documents name paths that do not exist: {wrong:#?}");
}

/// Goal: every crate opens with a page that says what it is.
#[test]
fn every_crate_opens_with_its_page() {
    for entry in fs::read_dir(root().join("crates")).expect("crates/ is readable") {
        let page = entry.expect("a folder entry is readable").path().join("src/lib.rs");
        if !page.exists() {
            continue; // a program without a library
        }
        let text = fs::read_to_string(&page).expect("a crate page is readable");
        let lines = text.lines().take_while(|line| line.starts_with("//!")).count();
        assert!(
            lines >= 5,
            "{} says too little: what it is, what it never does, its modules",
            page.display()
        );
    }
}

/// Goal: modules stay small enough to be read in one sitting.
#[test]
fn modules_stay_small() {
    let mut large = Vec::new();
    for file in rust_files(&root().join("crates")) {
        let bytes = fs::metadata(&file).expect("a source file has a size").len();
        if bytes > 20_000 {
            large.push(format!("{} {bytes}", file.display()));
        }
    }
    assert!(large.is_empty(), "modules over 20 kB, each perhaps two rooms in one: {large:#?}");
}

/// Words in backticks or link targets that look like paths of this repository.
fn named_paths(text: &str) -> Vec<String> {
    let tops = ["crates/", "proto/", "compose/", "chaos/", "dashboards/", "tests/", ".ci/", ".cargo/"];
    let words = text.split(|c: char| c.is_whitespace() || "`()[]<>\"',;│|".contains(c));
    let paths = words.filter(|word| tops.iter().any(|top| word.starts_with(top)));
    paths
        .map(|word| word.trim_end_matches(['.', ':', '/']).to_owned())
        .filter(|word| !word.contains(['*', '{', '$']) && Path::new(word).is_relative())
        .collect()
}
