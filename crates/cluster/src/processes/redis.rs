//! The Redis of a fleet of local processes, and the replica that may take its place.
//!
//! The replica is a process like any other, with a port and a folder of its own. When it is promoted it moves to the
//! port of the primary, which has ended, so that nobody needs to be told a new address; from then on it *is* the fleet's
//! Redis, also when it is killed and started again. A fresh replica then begins in the emptied folder of the one that
//! ended, at the port that has become free, and follows the promoted one: the next promotion finds things as the first
//! one did.

use super::{Fleet, io_error, launch::Launch};
use crate::redis_admin as admin;
use herd_experiment::testbed::{Part, RedisFault, TestbedError};
use nix::sys::signal::Signal;
use std::{
    ffi::OsString,
    io,
    mem::swap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::Instant;

/// The fleet's Redis among the processes.
pub(super) const PRIMARY: (Part, u32) = (Part::Redis, 0);
/// Its replica. Nobody outside can name it: faults are done to the fleet's Redis.
pub(super) const REPLICA: (Part, u32) = (Part::Redis, 1);
/// Room for data, as a Redis is started.
const MAXMEMORY: &str = "256mb";
/// Longest time until a replica that was started has what the primary has, or one that moved is found.
const SETTLE_MAX: Duration = Duration::from_secs(10);

/// Where a Redis lives on disk.
#[derive(Clone, Debug)]
pub(super) struct Home {
    data: PathBuf,
    log: PathBuf,
}

impl Home {
    fn make(name: &str, data: &Path, log_dir: &Path) -> io::Result<Self> {
        let home = Self { data: data.join(name), log: log_dir.join(format!("{name}.log")) };
        std::fs::create_dir_all(&home.data)?;
        Ok(home)
    }

    /// Removes all data.
    fn wipe(&self) -> Result<(), TestbedError> {
        let wiped = std::fs::remove_dir_all(&self.data).and_then(|()| std::fs::create_dir(&self.data));
        wiped.map_err(io_error("removing the data of Redis"))
    }
}

/// The fleet's Redis and its replica.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    program: PathBuf,
    /// Where the fleet finds its Redis, for good.
    pub(super) address: SocketAddr,
    home: Home,
    /// Where the replica is, in a fleet that has one.
    replica: Option<(SocketAddr, Home)>,
}

impl Pair {
    /// Lays both out and makes their folders.
    pub(super) fn lay_out(
        program: &Path,
        address: SocketAddr,
        replica: Option<SocketAddr>,
        data: &Path,
        log_dir: &Path,
    ) -> io::Result<Self> {
        let replica = match replica {
            Some(at) => Some((at, Home::make("redis-replica", data, log_dir)?)),
            None => None,
        };
        Ok(Self { program: program.to_owned(), address, home: Home::make("redis", data, log_dir)?, replica })
    }

    /// What is to be started.
    pub(super) fn launches(&self) -> Vec<Launch> {
        let replica = self.replica.iter().map(|(at, home)| self.launch(REPLICA, *at, home));
        [self.launch(PRIMARY, self.address, &self.home)].into_iter().chain(replica).collect()
    }

    /// With an append-only file that takes each write before it is acknowledged: what was acknowledged survives a kill, so that
    /// losing data is a fault somebody injects and not an accident. With `everysec` it would be acknowledged, on a slow disk,
    /// up to two seconds before the file has it. Whom a replica follows it is told once it runs.
    fn launch(&self, (part, index): (Part, u32), at: SocketAddr, home: &Home) -> Launch {
        let args = [
            "--bind",
            "127.0.0.1",
            "--port",
            &at.port().to_string(),
            "--dir",
            &home.data.display().to_string(),
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "no",
            "--maxmemory",
            MAXMEMORY,
            "--maxmemory-policy",
            "noeviction",
            // A replica is sent what it lacks at once; the default waits five seconds for others to come.
            "--repl-diskless-sync-delay",
            "0",
        ]
        .map(OsString::from)
        .to_vec();
        let (program, log) = (self.program.clone(), home.log.clone());
        Launch {
            part,
            index,
            program,
            args,
            env: Vec::new(),
            log,
            admin: None,
            owner: None,
            folder: None,
            ends_on: Signal::SIGTERM,
        }
    }

    fn replica(&self) -> Result<String, TestbedError> {
        let replica = self.replica.as_ref().map(|(at, _)| at.to_string());
        replica.ok_or_else(|| TestbedError::Unsupported("this fleet has no replica of Redis".to_owned()))
    }

    /// The folders change places; the addresses stay.
    fn swap_homes(&mut self) {
        if let Some((_, home)) = &mut self.replica {
            swap(&mut self.home, home);
        }
    }
}

impl Fleet {
    /// Waits until Redis answers and the replica, if there is one, has caught up with it.
    pub(super) async fn redis_ready(&mut self, deadline: Instant) -> Result<(), TestbedError> {
        if !admin::answers(&self.redis.address.to_string(), deadline).await {
            return Err(self.not_ready(PRIMARY, "it does not answer").await);
        }
        if self.redis.replica.is_none() {
            return Ok(());
        }
        self.follow(deadline).await?;
        if admin::in_step(&self.redis.replica()?, deadline).await {
            return Ok(());
        }
        Err(self.not_ready(REPLICA, "it does not catch up with the primary").await)
    }

    /// Does something to Redis that no signal can do.
    pub(super) async fn redis(&mut self, what: RedisFault) -> Result<(), TestbedError> {
        let at = self.redis.address.to_string();
        match what {
            RedisFault::Wipe => {
                self.primary_has_ended("removing the data of Redis")?;
                self.redis.home.wipe()
            }
            RedisFault::Mark { mark } => admin::mark(&at, mark).await,
            RedisFault::Flush => admin::flush(&at).await,
            RedisFault::Limit { room } => admin::limit(&at, room).await,
            RedisFault::Unlimit => admin::unlimit(&at, MAXMEMORY).await,
            RedisFault::Detach => {
                admin::detach(&self.redis.replica()?, &at, Instant::now() + SETTLE_MAX).await
            }
            RedisFault::Promote => self.promote().await,
        }
    }

    async fn promote(&mut self) -> Result<(), TestbedError> {
        let replica = self.redis.replica()?;
        self.primary_has_ended("promoting the replica of Redis")?;
        admin::unfollow(&replica).await?;
        admin::move_to(&replica, self.redis.address.port()).await?;
        if !admin::answers(&self.redis.address.to_string(), Instant::now() + SETTLE_MAX).await {
            return Err(self.not_ready(REPLICA, "it does not answer at the primary's address").await);
        }
        let Some(mut promoted) = self.processes.remove(&REPLICA) else {
            return Err(TestbedError::NoSuchPart { part: REPLICA.0, index: REPLICA.1 });
        };
        self.redis.swap_homes();
        let mut launches = self.redis.launches().into_iter();
        if let Some(launch) = launches.next() {
            promoted.becomes(launch);
        }
        // The one that ended goes with this.
        self.processes.insert(PRIMARY, promoted);
        if let Some((_, home)) = &self.redis.replica {
            home.wipe()?;
        }
        for launch in launches {
            drop(self.start(launch).await?);
        }
        self.follow(Instant::now() + SETTLE_MAX).await?;
        self.note_state()
    }

    /// Has the replica follow the primary.
    async fn follow(&mut self, deadline: Instant) -> Result<(), TestbedError> {
        let replica = self.redis.replica()?;
        if !admin::answers(&replica, deadline).await {
            return Err(self.not_ready(REPLICA, "it does not answer").await);
        }
        let primary = self.redis.address;
        admin::follow(&replica, &primary.ip().to_string(), primary.port()).await
    }

    fn primary_has_ended(&mut self, doing: &str) -> Result<(), TestbedError> {
        if self.processes.get_mut(&PRIMARY).is_some_and(|process| process.is_running()) {
            let why = "it runs, and has to be ended first".to_owned();
            return Err(TestbedError::Other { doing: doing.to_owned(), why });
        }
        Ok(())
    }
}
