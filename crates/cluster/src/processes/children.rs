//! What a process has started. Postgres serves each connection in a process of its own, Redis rewrites its file in one, and all of
//! them go on when only the first is frozen.

use crate::state::{self, Identity};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The children of a process that live now.
pub(super) fn of(pid: u32) -> Vec<Identity> {
    numbers(pid).split_whitespace().filter_map(|number| Identity::of(number.parse().ok()?)).collect()
}

/// Sends a signal to those of these processes that still live. One that ends meanwhile has no need of it.
pub(super) fn send<'a>(processes: impl IntoIterator<Item = &'a Identity>, signal: Signal) {
    for process in processes.into_iter().filter(|process| process.is_alive()) {
        if let Ok(pid) = i32::try_from(process.pid) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// Is it frozen, or gone?
pub(super) fn does_nothing(child: &Identity) -> bool {
    state::is_frozen(child.pid) != Some(false)
}

/// The kernel keeps a list for each thread: this is that of the first, from which Postgres and Redis start theirs.
#[cfg(target_os = "linux")]
fn numbers(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
fn numbers(pid: u32) -> String {
    let output = std::process::Command::new("pgrep").args(["-P", &pid.to_string()]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// Goal: what a process has started is known, takes a signal and is seen to; nobody else is.
    #[test]
    fn children_are_found_and_take_signals() {
        let mut parent = Command::new("sh")
            .args(["-c", "sleep 600 & echo started; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut told = std::io::BufReader::new(parent.stdout.take().expect("a pipe"));
        std::io::BufRead::read_line(&mut told, &mut String::new()).expect("a line");
        let children = of(parent.id());
        assert_eq!(children.len(), 1, "{children:?}");
        assert!(children[0].is_alive() && !does_nothing(&children[0]));
        send(&children, Signal::SIGKILL);
        parent.wait().expect("ended");
        assert!(does_nothing(&children[0]) && !children[0].is_alive());
        assert!(of(parent.id()).is_empty());
    }
}
