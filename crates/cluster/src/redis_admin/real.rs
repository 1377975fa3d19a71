//! The mark, on a real Redis: it tells what was kept from what was lost, which the number of keys cannot.

use super::*;
use crate::redis_server;
use herd_experiment::testbed::Silent;
use std::{net::Ipv4Addr, path::Path, process::Stdio};
use tokio::process::{Child, Command};

const START_MAX: Duration = Duration::from_secs(10);

struct Server {
    at: String,
    folder: tempfile::TempDir,
    child: Child,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|held| held.local_addr());
        let at = free.expect("a free port").to_string();
        let child = launch(&at, folder.path()).await;
        Self { at, folder, child }
    }

    /// Kills it, does something to its folder, and starts it again.
    async fn restart(&mut self, between: impl FnOnce(&Path)) {
        self.child.kill().await.expect("killed");
        between(self.folder.path());
        self.child = launch(&self.at, self.folder.path()).await;
    }

    async fn fill(&self, keys: u32) {
        // At once: each command is a connection of its own.
        let pairs: String = (0..keys).map(|key| format!(" filler:{key} x")).collect();
        tell(&self.at, &format!("MSET{pairs}")).await.expect("written");
    }

    async fn info(&self) -> RedisInfo {
        info(&self.at).await.expect("it answers")
    }
}

async fn launch(at: &str, folder: &Path) -> Child {
    let (_, port) = at.split_once(':').expect("an address");
    let child = Command::new(redis_server::program(&Silent).await.expect("there is a Redis to run"))
        .args(["--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", "no", "--dir"])
        .arg(folder)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server starts");
    let deadline = Instant::now() + START_MAX;
    assert!(answers(at, deadline).await, "Redis does not answer");
    while info(at).await.is_err() {
        assert!(look_again(deadline).await, "Redis does not load its data");
    }
    child
}

/// Goal: a Redis that was killed and kept its file comes back with the mark, one whose file is gone without, however many keys either has.
#[tokio::test]
async fn the_mark_tells_kept_from_lost() {
    let mut server = Server::start().await;
    mark(&server.at, 7).await.expect("marked");
    let info = server.info().await;
    assert_eq!((info.keys, info.mark), (0, Some(7)), "the mark is not one of its keys");
    server.fill(20).await;
    mark(&server.at, 8).await.expect("marked again");
    server.restart(|_| {}).await;
    let kept = server.info().await;
    assert_eq!((kept.keys, kept.mark), (20, Some(8)));

    // The same number of keys as before: only the mark tells that these are others.
    let wipe = |folder: &Path| {
        std::fs::remove_dir_all(folder).and_then(|()| std::fs::create_dir(folder)).expect("emptied");
    };
    server.restart(wipe).await;
    server.fill(20).await;
    let lost = server.info().await;
    assert_eq!((lost.keys, lost.mark), (20, None));

    mark(&server.at, 9).await.expect("marked");
    flush(&server.at).await.expect("flushed");
    assert_eq!(server.info().await.mark, None);
}

/// Goal: a replica that was cut off before the mark does not have it.
#[tokio::test]
async fn a_replica_that_was_kept_behind_lacks_the_mark() {
    let (primary, replica) = (Server::start().await, Server::start().await);
    let (host, port) = primary.at.split_once(':').expect("an address");
    let deadline = Instant::now() + START_MAX;
    mark(&primary.at, 1).await.expect("marked");
    follow(&replica.at, host, port.parse().expect("a port")).await.expect("it follows");
    assert!(in_step(&replica.at, deadline).await, "it does not catch up");
    detach(&replica.at, &primary.at, deadline).await.expect("detached");
    mark(&primary.at, 2).await.expect("marked");
    assert_eq!((primary.info().await.mark, replica.info().await.mark), (Some(2), Some(1)));
}

/// Goal: what a replica was sent at once outlives a kill of it as soon as it is in step.
#[tokio::test]
async fn a_replica_in_step_has_it_in_its_file() {
    let (primary, mut replica) = (Server::start().await, Server::start().await);
    let (host, port) = primary.at.split_once(':').expect("an address");
    let deadline = Instant::now() + START_MAX;
    primary.fill(1_000).await;
    mark(&primary.at, 1).await.expect("marked");
    follow(&replica.at, host, port.parse().expect("a port")).await.expect("it follows");
    assert!(in_step(&replica.at, deadline).await, "it does not catch up");
    replica.restart(|_| {}).await;
    let kept = replica.info().await;
    assert_eq!((kept.keys, kept.mark), (1_000, Some(1)));
}
