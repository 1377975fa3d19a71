//! The `herd` program as its users meet it: what it accepts, what it says, how it ends.

mod checks;
mod shown;
mod unable;

use clap::{CommandFactory, Parser};
use herd_lab::cli::Cli;
use std::{
    path::Path,
    process::{Command, Output},
};

fn herd(args: &[&str], dir: &Path) -> Output {
    herd_with(args, dir, &[])
}

fn herd_with(args: &[&str], dir: &Path, env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    // A state folder of its own: `down` must not see other fleets of this user.
    command.args(args).current_dir(dir).env("HERD_STATE_DIR", dir.join("state")).envs(env.iter().copied());
    command.output().expect("the program starts")
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// The command line is consistent, and every command of the design is accepted as it stands there.
#[test]
fn commands_are_as_designed() {
    Cli::command().debug_assert();
    for line in [
        "herd ladder",
        "herd ladder --backend processes --nodes 5 --quick --rungs none,lock --out runs/x --seed 7",
        "herd ladder --preset ladder-4000-50-1",
        "herd run chaos/ladder.toml",
        "herd ladder --explain",
        "herd ladder --quick --nodes 10 --explain lock",
        "herd run regression/lock-without-second-look --explain lock",
        "herd list",
        "herd zoo",
        "herd zoo --all --backend compose --out runs/zoo",
        "herd zoo lock-without-second-look regression/no-coalescing",
        "herd chaos",
        "herd chaos --all --backend processes --nodes 12 --out runs/chaos --until-failure",
        "herd chaos no-jitter lock-without-fence --keep-going",
        "herd bisect my.toml --over workload.rate_per_s --from 200 --to 2000",
        "herd bisect my.toml --over fault.x.factor --from 1.5 --to 9 --steps 5 --rung lock --claim 2 --seed 3 --nodes 9",
        "herd explore ladder-quick",
        "herd run retry-storm --explain",
        "herd explore leaders-hang-up",
        "herd explore my.toml --seed 100 --runs 50 --shrink-runs 9 --minutes 120 --out runs/explored",
        "herd repair",
        "herd trace 4bf92f3577b34da6a3ce929d0e0e4736",
        "herd trace 4bf92f35 --run runs/x --json",
        "herd trace --rebuilds",
        "herd trace --rebuilds --rung lock --generation 3 --run runs/x --json",
        "herd run chaos/ladder.toml --sample-hits 0.5",
        "herd ladder --quick --no-spans",
        "herd check runs/x",
        "herd check --no-write runs/x",
        "herd report runs/x",
        "herd up",
        "herd down",
        "herd load --rate 100 --seconds 5",
        "herd prewarm --edge http://127.0.0.1:7101 --log access.log --top 500 --hit-rate 0.7",
        "herd prewarm --log -",
        "herd attend --control 0.0.0.0:7000 --edge http://edge:7101 --origin http://origin:7401 \
         --lock http://lock-service:7301 --nodes 50 --report 0.0.0.0:8090 --out /runs",
        "herd bench --json",
        "herd probe http://127.0.0.1:9301/readyz",
    ] {
        let parsed = Cli::try_parse_from(line.split_whitespace());
        assert!(
            parsed.is_ok(),
            "{line}: {}",
            parsed.err().map(|error| error.to_string()).unwrap_or_default()
        );
    }
}

/// Wrong usage ends with 64 and says what is wrong, all of it, before anything is started or written.
#[test]
fn wrong_usage_is_64_and_told_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mistaken = folder.path().join("mistaken.toml");
    std::fs::write(&mistaken, "nmae = \"x\"\n[fleet]\nnodes = 0\n").unwrap();
    let cases: [(&[&str], &[&str]); 38] = [
        (&["bogus"], &["unrecognized subcommand"]),
        (&["trace"], &["<REF>"]),
        (&["trace", "4bf92f35", "--rebuilds"], &["cannot be used with"]),
        (&["trace", "4bf92f35", "--rung", "lock"], &["cannot be used with"]),
        (&["trace", "4bf92f35"], &["there is no run under runs"]),
        (&["trace", "4bf92f35", "--run", "nowhere"], &["--run nowhere", "no such folder"]),
        (&["trace", "4bf92f35", "--run", "."], &["holds no spans"]),
        (&["ladder", "--sample-hits", "2"], &["must be 0 to 1"]),
        (
            &["ladder", "--rungs", "nope", "--nodes", "0"],
            &["nodes: must be 1 to 500", "there is no rung \"nope\""],
        ),
        (
            &["ladder", "--explain", "lokc"],
            &["ladder has no rung \"lokc\"; did you mean \"lock\"?", "single-flight"],
        ),
        (&["ladder", "--preset", "lader"], &["did you mean \"ladder\"?"]),
        (
            &["zoo", "lock-without-second"],
            &["no known-bad strategy is called", "did you mean \"lock-without-second-look\"?"],
        ),
        (&["zoo", "lock-without-second-look", "--all"], &["cannot be used with"]),
        (&["chaos", "no-jitte", "nope"], &["did you mean \"no-jitter\"? or \"nope\"; there are"]),
        (&["chaos", "--keep-going", "--until-failure"], &["cannot be used with"]),
        (&["chaos", "no-jitter", "--nodes", "0"], &["no-jitter: ", "must be 1 to 500"]),
        (
            &["bisect", "ladder-quick", "--over", "workload.rate_per_z", "--from", "1", "--to", "9"],
            &["with workload.rate_per_z = 1: ", "did you mean \"rate_per_s\""],
        ),
        (
            &["bisect", "ladder-quick", "--over", "workload.rate_per_s", "--from", "0", "--to", "9"],
            &["with workload.rate_per_s = 0: ", "ladder-quick.toml"],
        ),
        (
            &["bisect", "ladder-quick", "--over", "seed", "--from", "x", "--to", "9"],
            &["\"x\" is not a number"],
        ),
        (
            &["bisect", "ladder-quick", "--over", "seed", "--from", "1", "--to", "9", "--claim", "900"],
            &["--claim 900: ladder-quick has claims 0 to"],
        ),
        (
            &["bisect", "retry-storm", "--over", "workload.rate_per_s", "--from", "0", "--to", "9"],
            &["with workload.rate_per_s = 0: ", "regression/retry-storm.toml"],
        ),
        (
            &["bisect", "retry-storm", "--over", "name", "--from", "1", "--to", "9"],
            &["--over name: it is \"retry-storm\" now, and no number that could be varied"],
        ),
        (&["run", "retry-strom"], &["retry-strom cannot be read", "did you mean \"retry-storm\"?"]),
        (&["explore", "lader-quick"], &["lader-quick cannot be read", "did you mean \"ladder-quick\"?"]),
        (&["explore", "ladder-quick", "--runs", "0"], &["0 is not in 1..=10000"]),
        (&["ladder", "--preset", "nope"], &["no scenario is shipped as \"nope\"", "ladder-quick"]),
        (
            &["run", "mistaken.toml"],
            &["mistaken.toml:1: nmae", "did you mean \"name\"", "mistaken.toml:3: fleet.nodes"],
        ),
        (&["run", "absent.toml"], &["absent.toml cannot be read"]),
        (&["check", "absent"], &["there is no run at absent"]),
        (&["ladder", "--out", "."], &["a folder with a name of its own"]),
        (&["ladder", "--out", "x.partial/"], &["end in .partial"]),
        (&["load", "--edge", "localhost:7101"], &["--edge must be http://HOST:PORT"]),
        (&["load", "--edge", "http://"], &["--edge must be http://HOST:PORT"]),
        (&["prewarm"], &["--log <FILE>"]),
        (&["prewarm", "--log", "absent.log"], &["--log absent.log cannot be read"]),
        (&["prewarm", "--log", "mistaken.toml", "--hit-rate", "70"], &["must be above 0 to 1"]),
        (&["prewarm", "--log", "mistaken.toml", "--edge", "localhost"], &["--edge must be http://HOST:PORT"]),
        (&["load", "--zipf", "9"], &["--zipf must be above 0 to 3"]),
    ];
    for (args, said) in cases {
        let output = herd(args, folder.path());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {stderr}");
        for part in said {
            assert!(stderr.contains(part), "{args:?} does not say {part:?}: {stderr}");
        }
    }
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["mistaken.toml"]);
}

/// An edge that is not there is not a gate that stays shut: 2, and the address is told.
#[test]
fn a_gate_without_an_edge_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("access.log"), "item-1\n").unwrap();
    // Nobody listens on a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let edge = format!("http://127.0.0.1:{port}");
    let output = herd(&["prewarm", "--log", "access.log", "--edge", &edge], folder.path());
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(&format!("the edge at {edge} cannot be reached")), "{stderr}");
}

/// Asking for help is no mistake.
#[test]
fn help_is_0() {
    let folder = tempfile::tempdir().unwrap();
    let output = herd(&["ladder", "--help"], folder.path());
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("--backend"));
}

/// A run that was cut off before its first rung, as `run.partial`.
fn cut_off() -> tempfile::TempDir {
    use herd_experiment::run::Plan;
    let folder = tempfile::tempdir().unwrap();
    let preset = herd_scenario::Preset::named("ladder-quick").unwrap();
    let scenario = herd_scenario::Scenario::parse(preset.file, preset.text).unwrap();
    let plan = Plan::new(scenario, preset.file, preset.text, "processes");
    drop(herd_history::Writer::create(&folder.path().join("run"), &plan.manifest()).unwrap());
    folder
}

/// A run is not written beside an earlier one of its name that was cut off: that is told before anything is started.
#[test]
fn a_partial_run_is_in_the_way() {
    let folder = cut_off();
    for name in ["run", "run/"] {
        let output = herd(&["ladder", "--quick", "--backend", "processes", "--out", name], folder.path());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{stderr}");
        assert!(stderr.contains("herd check run.partial"), "{stderr}");
    }
}

/// A reader that went away is nobody's fault: no panic, and the exit status is the outcome's. What cannot be written for
/// another reason is told, and is 2.
#[test]
fn what_cannot_be_written_ends_quietly_or_is_told() {
    let folder = cut_off();
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_herd")]).current_dir(folder.path());
        let output = command.env("HERD_STATE_DIR", folder.path().join("state")).output().unwrap();
        (text(&output.stdout), text(&output.stderr))
    };
    // The pipe's reader has ended before `herd` starts.
    let script = r#"mkfifo p; exec 4<>p 5>p 4<&-; "$1" check run >&5 2>&5; echo $? >&1"#;
    assert_eq!(shell(script), ("2\n".to_owned(), String::new()));
    // No file may grow, as on a full disk.
    let script = r#"trap '' XFSZ; ulimit -f 0; "$1" report run; echo $?"#;
    let (stdout, stderr) = shell(script);
    assert!(stdout.ends_with("2\n") && stderr.contains("cannot write"), "{stdout}{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    if Path::new("/dev/full").exists() {
        let (status, stderr) = shell(r#"{ "$1" check run >/dev/full; } 2>&1; echo $? >&2"#);
        assert!(status.contains("cannot write to stdout") && stderr == "2\n", "{status}{stderr}");
    }
}

/// Nothing of a crashed lab is there: that is said, and is well.
#[test]
fn nothing_to_repair_is_0() {
    let folder = tempfile::tempdir().unwrap();
    let output = herd(&["repair"], folder.path());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "nothing to repair\n");
}

/// The fleet of a lab that is gone is taken down, also what was frozen by a fault; that of a lab that lives is left alone.
#[cfg(target_os = "linux")]
#[test]
fn what_a_crashed_lab_left_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let mut frozen = Command::new("sleep").arg("600").spawn().unwrap();
    let signal = |name: &str, pid: u32| {
        assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
    };
    signal("-STOP", frozen.id());
    let started = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat[stat.rfind(')').unwrap() + 1..].split_whitespace().nth(19).unwrap().to_owned()
    };
    let identity = serde_json::json!({ "pid": frozen.id(), "started": started(frozen.id()) });
    let fleet = |owner: serde_json::Value| {
        let processes = [("cache-node-07", identity.clone())];
        let data = folder.path().join("no-data");
        let fleet = serde_json::json!({ "backend": "processes", "processes": processes, "data_dir": data });
        serde_json::json!({ "owner": owner, "fleet": fleet }).to_string()
    };
    let me = std::process::id();
    let alive = serde_json::json!({ "pid": me, "started": started(me) });
    let gone = serde_json::json!({ "pid": me, "started": "0" });
    let file = state.join("processes-1-0.json");
    std::fs::write(&file, fleet(alive)).unwrap();
    assert_eq!(text(&herd(&["repair"], folder.path()).stdout), "nothing to repair\n");
    assert!(frozen.try_wait().unwrap().is_none() && file.exists());

    std::fs::write(&file, fleet(gone)).unwrap();
    let output = herd(&["repair"], folder.path());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("took down a fleet of processes"), "{}", text(&output.stdout));
    assert!(!frozen.wait().unwrap().success() && !file.exists());
    assert_eq!(text(&herd(&["repair"], folder.path()).stdout), "nothing to repair\n");
}

/// A run that was cut off proves nothing: unknown, which is 2, by its folder's name or its partial form.
#[test]
fn a_partial_run_is_unknown() {
    let folder = cut_off();
    let reports = || {
        let names = ["results.json", "report.md", "report.html", "junit.xml"];
        let files = names.map(|name| folder.path().join("run.partial").join(name));
        let there = files.iter().filter(|file| file.is_file()).count();
        files.iter().for_each(|file| drop(std::fs::remove_file(file)));
        there
    };
    for name in ["run", "run.partial"] {
        for (args, written) in [(vec!["check", "--no-write", name], 0), (vec!["check", name], 4)] {
            let output = herd(&args, folder.path());
            assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
            assert!(text(&output.stdout).contains("outcome: unknown"));
            assert_eq!(reports(), written, "{args:?}");
        }
    }
    let output = herd(&["report", "run"], folder.path());
    assert_eq!((output.status.code(), reports()), (Some(0), 4), "{}", text(&output.stderr));
}
