//! Faults that a backend cannot do: told before anything is started.

use crate::{herd_with, text};

/// Goal: a fault in the database's process is refused where no Postgres is, by every command that would run it, and nothing
/// is started or written.
#[test]
fn a_fault_that_the_backend_cannot_do_is_64() {
    let folder = tempfile::tempdir().unwrap();
    let preset = herd_scenario::Preset::named("ladder-quick").unwrap();
    let faults = "\n[[fault]]\nname = \"frozen\"\nkind = \"pause\"\npart = \"database\"\nat_ms = 1000\nfor_ms = 500\n\
                  \n[[fault]]\nname = \"gone\"\nkind = \"kill\"\npart = \"database\"\nat_ms = 2000\nfor_ms = 500\n";
    std::fs::write(folder.path().join("database.toml"), format!("{}{faults}", preset.text)).unwrap();
    let bisect = ["bisect", "database.toml", "--over", "seed", "--from", "1", "--to", "9"];
    for args in [&["run", "database.toml"][..], &["explore", "database.toml"], &bisect] {
        let args: Vec<&str> = args.iter().copied().chain(["--backend", "processes"]).collect();
        let output = herd_with(&args, folder.path(), &[("HERD_POSTGRES_BIN", "/nowhere")]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {stderr}");
        for fault in ["\"frozen\" (pause database)", "\"gone\" (kill database)"] {
            let said = format!("database.toml: fault {fault} cannot be done: no Postgres was found");
            assert!(stderr.contains(&said), "{args:?}: {stderr}");
        }
    }
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["database.toml"]);
}
