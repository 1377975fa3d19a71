//! A `redis-server` process from PATH, in a folder of its own.

use crate::conformance::{RedisUnderTest, soon};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

pub(super) struct RedisProcess {
    port: u16,
    folder: tempfile::TempDir,
    child: Mutex<Option<Child>>,
}

impl RedisProcess {
    pub(super) async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let redis = Self { port, folder: tempfile::tempdir().unwrap(), child: Mutex::new(None) };
        RedisUnderTest::start(&redis).await;
        redis
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &*self.child.lock().unwrap() {
            kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        }
    }

    async fn answers(&self) -> bool {
        let client = redis::Client::open(self.url()).unwrap();
        let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return false };
        redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()
    }
}

impl RedisUnderTest for RedisProcess {
    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn stop(&self) {
        // Told to end, it writes everything to disk first: what comes back is all of it.
        self.signal(Signal::SIGTERM);
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.wait().unwrap();
        }
    }

    async fn start(&self) {
        let child =
            Command::new(herd_cluster::redis_server::program_blocking().expect("there is a Redis to run"))
                .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""])
                .args(["--appendonly", "yes", "--appendfsync", "no", "--dir"])
                .arg(self.folder.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("redis-server starts");
        *self.child.lock().unwrap() = Some(child);
        let answers = async {
            while !self.answers().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon("redis-server answers", answers).await;
    }

    async fn erase(&self) {
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    async fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    async fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }
}

impl Drop for RedisProcess {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut()
            && let Some(child) = child
        {
            // A paused process dies of this, too.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
