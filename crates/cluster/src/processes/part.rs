//! One process of the fleet: started, hurt, ended, and watched for an end that nobody asked for.

use super::{DRAIN, children, io_error, launch::Launch, spawner::Spawner};
use crate::{
    ready::{READY_LINE_MAX, ReadyLine},
    state::{self, Identity},
};
use herd_experiment::testbed::{PartFailure, PartState, Signal, TestbedError};
use nix::{
    sys::signal::{Signal as Unix, kill},
    unistd::Pid,
};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

/// What a process gets on top of its drain time before it is ended by force.
const DRAIN_SLACK: Duration = Duration::from_millis(1_500);
/// Longest wait for the end of a process that was killed.
const KILLED_MAX: Duration = Duration::from_secs(5);
/// Longest wait for a process to be frozen before what it has started is counted.
const FROZEN_MAX: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How much of a log is shown with a failure, bytes.
const LOG_TAIL: u64 = 4096;

/// Resolves to the ready line, or to an error when the process ends without one.
pub(super) type Ready = oneshot::Receiver<ReadyLine>;

/// A process that was started at least once.
#[derive(Debug)]
pub(super) struct Process {
    launch: Launch,
    child: Child,
    /// Somebody asked it to end, or killed it.
    end_expected: bool,
    /// Somebody asked it to end.
    asked_to_end: bool,
}

impl Process {
    /// Starts it. Its log is appended to, so that a restart keeps what came before.
    pub(super) async fn start(launch: Launch, spawner: &Spawner) -> Result<(Self, Ready), TestbedError> {
        let name = launch.name();
        let log = OpenOptions::new().create(true).append(true).open(&launch.log);
        let log = log.map_err(io_error(&format!("opening the log of {name}")))?;
        let mut command = Command::new(&launch.program);
        command.args(&launch.args).envs(launch.env.iter().map(|(name, value)| (name, value)));
        if let Some((user, group)) = launch.owner {
            command.uid(user).gid(group);
        }
        if let Some(folder) = &launch.folder {
            command.current_dir(folder);
        }
        if launch.admin.is_none() {
            // Not one of ours: it says nothing when it is ready.
            let also = log.try_clone().map_err(io_error(&format!("opening the log of {name}")))?;
            command.stdout(also);
        } else {
            command.stdout(Stdio::piped());
        }
        command.stderr(log);
        let mut child = spawner.spawn(command).await.map_err(io_error(&format!("starting {name}")))?;
        let (found, ready) = oneshot::channel();
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(read_ready_line(stdout, found));
        }
        Ok((Self { launch, child, end_expected: false, asked_to_end: false }, ready))
    }

    /// Its number, while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// `cache-node-07`; parts that exist once have no number.
    pub(super) fn name(&self) -> String {
        self.launch.name()
    }

    /// How it was started.
    pub(super) fn launch(&self) -> &Launch {
        &self.launch
    }

    /// It stands for another part from now on, and is started anew as that.
    pub(super) fn becomes(&mut self, launch: Launch) {
        self.launch = launch;
    }

    /// What it is doing, by the system's own word.
    pub(super) fn state(&mut self) -> PartState {
        // Looked at first: the number of a process that was waited for may already be another's.
        let pid = if self.is_running() { self.pid() } else { None };
        match pid.and_then(|pid| Some((pid, state::is_frozen(pid)?))) {
            Some((_, true)) if self.children().iter().all(children::does_nothing) => PartState::Paused,
            Some((pid, _)) => PartState::Running { pid },
            None => PartState::Ended,
        }
    }

    /// What it has started itself, which takes every signal with it: Postgres works in several processes, and Redis now and then.
    fn children(&self) -> Vec<Identity> {
        self.pid().map(children::of).unwrap_or_default()
    }

    /// All that would be left behind if nobody ended it.
    pub(super) fn family(&self) -> Vec<Identity> {
        let own = self.pid().and_then(Identity::of);
        own.into_iter().chain(self.children()).collect()
    }

    /// Has it not ended yet? A paused process runs, too.
    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Was it asked to end, so that nobody should miss it?
    pub(super) fn was_asked_to_end(&self) -> bool {
        self.asked_to_end
    }

    /// Its end from now on is no failure.
    fn expect_end(&mut self) {
        self.end_expected = true;
    }

    /// Does what a signal does to a process that is there; it is not for this to start one.
    pub(super) async fn signal(&mut self, signal: Signal) -> Result<(), TestbedError> {
        match signal {
            Signal::Pause => self.freeze().await,
            Signal::Resume => {
                children::send(&self.children(), Unix::SIGCONT);
                self.send(Unix::SIGCONT)
            }
            Signal::Kill => self.kill().await,
            Signal::Stop => self.stop().await,
            Signal::Start => Err(TestbedError::Unsupported(format!("{} runs already", self.name()))),
        }
    }

    /// Itself first: what is frozen starts no more children.
    async fn freeze(&mut self) -> Result<(), TestbedError> {
        self.send(Unix::SIGSTOP)?;
        let deadline = Instant::now() + FROZEN_MAX;
        while self.pid().and_then(state::is_frozen) == Some(false) && Instant::now() < deadline {
            sleep(LOOK_EVERY).await;
        }
        children::send(&self.children(), Unix::SIGSTOP);
        Ok(())
    }

    /// Ends it by force, and whatever it has started.
    async fn kill(&mut self) -> Result<(), TestbedError> {
        self.freeze().await?;
        let children = self.children();
        self.send(Unix::SIGKILL)?;
        self.expect_end();
        children::send(&children, Unix::SIGKILL);
        let deadline = Instant::now() + KILLED_MAX;
        if self.ended_within(KILLED_MAX).await.is_none() {
            return Err(self.lives_on());
        }
        // They belong to the system now: it alone knows when they are gone.
        while children.iter().any(Identity::is_alive) {
            if Instant::now() >= deadline {
                return Err(self.lives_on());
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Sends a signal.
    fn send(&mut self, signal: Unix) -> Result<(), TestbedError> {
        let name = self.name();
        let doing = || format!("sending {signal} to {name}");
        // Looked at first: the number of a process that was waited for may already be another's.
        if !self.is_running() {
            return Err(TestbedError::Other { doing: doing(), why: "it does not run".to_owned() });
        }
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        let Some(pid) = pid else {
            return Err(TestbedError::Other { doing: doing(), why: "it does not run".to_owned() });
        };
        kill(pid, signal).map_err(|error| io_error(&doing())(error.into()))
    }

    /// Asks it to end, waits for that, then ends it by force. No error if it has ended already.
    pub(super) async fn stop(&mut self) -> Result<(), TestbedError> {
        self.asked_to_end = true;
        if !self.is_running() {
            return Ok(());
        }
        self.expect_end();
        // A paused process hears nothing but SIGCONT and SIGKILL.
        children::send(&self.children(), Unix::SIGCONT);
        let asked = self.send(self.launch.ends_on).and_then(|()| self.send(Unix::SIGCONT));
        if asked.is_ok() && self.ended_within(DRAIN + DRAIN_SLACK).await.is_some() {
            return Ok(());
        }
        if self.is_running() { self.kill().await } else { Ok(()) }
    }

    fn lives_on(&self) -> TestbedError {
        TestbedError::Other { doing: format!("ending {}", self.name()), why: "it lives on".to_owned() }
    }

    /// Its exit status, if it ends within `limit`.
    pub(super) async fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        timeout(limit, self.child.wait()).await.ok()?.ok()
    }

    /// Says so if it ended although nobody asked it to.
    pub(super) fn failure(&mut self) -> Option<PartFailure> {
        if self.end_expected {
            return None;
        }
        let status = self.child.try_wait().ok()??;
        let Launch { part, index, .. } = self.launch;
        Some(PartFailure { part, index, how: status.to_string(), log_tail: self.log_tail() })
    }

    /// The end of its log.
    pub(super) fn log_tail(&self) -> String {
        tail(&self.launch.log).unwrap_or_default()
    }
}

/// Hands over the ready line, then keeps the pipe empty: a process must never block on its own output.
async fn read_ready_line(stdout: ChildStdout, found: oneshot::Sender<ReadyLine>) {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut stdout).take(READY_LINE_MAX as u64).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if let Some(ready) = ReadyLine::parse(&String::from_utf8_lossy(&line)) {
            let _ = found.send(ready);
            break;
        }
    }
    let _ = tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await;
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Resident memory of a process, bytes; `None` when it does not run.
#[cfg(target_os = "linux")]
pub(super) fn resident_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Resident memory of a process, bytes; `None` when it does not run.
#[cfg(not(target_os = "linux"))]
pub(super) fn resident_memory(pid: u32) -> Option<u64> {
    let output =
        std::process::Command::new("ps").args(["-o", "rss=", "-p", &pid.to_string()]).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: this process occupies a plausible amount of memory, and one that does not exist none.
    #[test]
    fn measures_resident_memory() {
        let own = resident_memory(std::process::id()).expect("this process runs");
        assert!((1 << 20..1 << 34).contains(&own), "{own}");
        assert_eq!(resident_memory(u32::MAX), None);
    }

    /// Goal: of a long log only the end is shown.
    #[test]
    fn shows_the_end_of_a_log() {
        let log = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(log.path(), format!("{}the end", "x".repeat(10_000))).expect("written");
        let shown = tail(log.path()).expect("readable");
        assert_eq!(shown.len() as u64, LOG_TAIL);
        assert!(shown.ends_with("the end"));
    }
}
