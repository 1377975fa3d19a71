//! Starts processes that cannot outlive the lab.
//!
//! On Linux each child asks the kernel to be killed when its parent dies (`PR_SET_PDEATHSIG`), which covers even a lab
//! that was itself killed. The kernel means the parent *thread*, so all children are started by one thread of their
//! own, which lives exactly as long as the fleet: dropping the [`Spawner`] ends the thread and with it every child.
//! Elsewhere the state file and `herd down` have to do.

use std::{io, process::Stdio, sync::mpsc, thread};
use tokio::{
    process::{Child, Command},
    sync::oneshot,
};

type Request = (Command, oneshot::Sender<io::Result<Child>>);

/// The thread that starts processes.
#[derive(Debug)]
pub(super) struct Spawner {
    requests: mpsc::Sender<Request>,
}

impl Spawner {
    /// Starts the thread. Needs to be called within a tokio runtime, to which the children's pipes belong.
    pub(super) fn new() -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Request>();
        let runtime = tokio::runtime::Handle::current();
        thread::Builder::new().name("herd-spawner".to_owned()).spawn(move || {
            let _inside = runtime.enter();
            for (mut command, reply) in inbox {
                // A caller who is gone drops the child, which kills it.
                let _ = reply.send(command.spawn());
            }
        })?;
        Ok(Self { requests })
    }

    /// Starts a process in a process group of its own, so that a Ctrl-C meant for the lab does not reach it.
    pub(super) async fn spawn(&self, mut command: Command) -> io::Result<Child> {
        command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        die_with_parent(&mut command);
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.requests.send((command, reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)] // the one place: there is no safe way to run code between fork and exec
fn die_with_parent(command: &mut Command) {
    let parent = nix::unistd::getpid();
    let before_exec = move || {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        // The parent may have died before the request took effect; then nobody would ever kill this child.
        if nix::unistd::getppid() == parent {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::NotConnected))
        }
    };
    // SAFETY: the closure runs in the child between fork and exec. It makes two system calls, which are
    // async-signal-safe, and neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(before_exec);
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Identity;

    /// Goal: whoever lets go of the fleet without a word (a panic, an early return) leaves no process behind.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn children_die_with_the_spawner() {
        let spawner = Spawner::new().expect("a thread");
        let mut command = Command::new("sleep");
        command.arg("600");
        let mut child = spawner.spawn(command).await.expect("started");
        let identity = Identity::of(child.id().expect("it runs")).expect("it runs");
        assert!(identity.is_alive());
        drop(spawner);
        let status = tokio::time::timeout(std::time::Duration::from_secs(20), child.wait()).await;
        assert!(!status.expect("it ended").expect("a status").success());
        assert!(!identity.is_alive());
    }
}
