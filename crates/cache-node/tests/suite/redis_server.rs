//! A Redis of the test's own: a process on a free port that keeps nothing on disk.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const READY_WITHIN: Duration = Duration::from_secs(5);
const START_ATTEMPTS_MAX: u32 = 5;

/// Killed when dropped.
pub(crate) struct RedisServer {
    port: u16,
    process: Child,
}

impl RedisServer {
    /// Starts one.
    ///
    /// # Panics
    /// This machine has none: a test that cannot run must not look as if it had passed.
    pub(crate) fn start() -> Self {
        for _ in 0..START_ATTEMPTS_MAX {
            let port = free_port();
            if let Some(process) = spawn(port) {
                return Self { port, process };
            }
        }
        panic!("redis-server did not start on {START_ATTEMPTS_MAX} ports");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Kills it. Its port stays known.
    pub(crate) fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again on its port, empty.
    pub(crate) fn restart_empty(&mut self) {
        self.stop();
        let end = Instant::now() + READY_WITHIN;
        while Instant::now() < end {
            if let Some(process) = spawn(self.port) {
                self.process = process;
                return;
            }
        }
        panic!("redis-server did not come back on port {}", self.port);
    }

    /// Stops the process without closing its connections, until [`RedisServer::resume`].
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.process.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill {signal} failed");
    }

    /// A plain connection, for what the tests set up behind the node's back.
    pub(crate) fn connect(&self) -> redis::Connection {
        redis::Client::open(self.url()).and_then(|client| client.get_connection()).expect("a running Redis")
    }

    /// What the lock service does when it finds a Redis without an epoch.
    pub(crate) fn set_epoch(&self, epoch: u64) {
        redis::cmd("SET").arg("herd:epoch").arg(epoch).exec(&mut self.connect()).expect("SET");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns the process once it answers, `None` if it ended first (somebody else took the port).
fn spawn(port: u16) -> Option<Child> {
    let mut process =
        Command::new(herd_cluster::redis_server::program_blocking().expect("there is a Redis to run"))
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server starts");
    let end = Instant::now() + READY_WITHIN;
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).expect("a valid address");
    while Instant::now() < end {
        if process.try_wait().expect("our own child").is_some() {
            return None;
        }
        let answers = client.get_connection().and_then(|mut redis| redis::cmd("PING").exec(&mut redis));
        if answers.is_ok() {
            return Some(process);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = process.kill();
    let _ = process.wait();
    None
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}
