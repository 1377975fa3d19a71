//! The port to a fleet: what the run loop asks of whatever brings processes up. `herd-cluster` implements it over
//! local processes and over containers.
//!
//! A testbed starts and stops parts. It never decides whether enough nodes joined: that is read from the control
//! plane, whose word the run loop takes.

use futures::future::BoxFuture;
use herd_scenario::Scenario;
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

/// A fleet that can be brought up, hurt and taken down.
///
/// Dropping a testbed that is still up takes it down as well as a destructor can (kills what it started, without
/// waiting), so that a panic or an early return leaves nothing behind.
pub trait Testbed: Send {
    /// What it is made of.
    fn backend(&self) -> Backend;

    /// The address on which the control plane has to listen so that the fleet can reach it: loopback for local
    /// processes, all addresses (or the bridge's) for containers. The port is the control plane's choice.
    fn control_listen(&self) -> IpAddr;

    /// The name by which the fleet reaches this host, and so whatever the lab serves on [`Testbed::control_listen`].
    fn lab_host(&self) -> &'static str;

    /// Brings the fleet up: builds what is missing (binaries, images), starts Redis, database, origin, lock service,
    /// edge and `spec.nodes` cache nodes, all of them told to join the control plane at `control_port`.
    /// Returns when Redis, origin, lock service and edge are ready and every node has been *started*; the caller
    /// waits for nodes to join. Cancelling the future (Ctrl-C) must leave `down` able to clean up.
    ///
    /// # Errors
    /// What could not be built or started, with the part's last words. The caller calls `down` in this case too.
    fn up<'a>(
        &'a mut self,
        spec: &'a FleetSpec,
        control_port: u16,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<Endpoints, TestbedError>>;

    /// Where the parts are now; `None` before `up` and after `down`. A part that was stopped and started again may
    /// have moved.
    fn endpoints(&self) -> Option<Endpoints>;

    /// Does something to one part. `index` counts from 0 within the part; parts that exist once take 0.
    /// Returns when the signal has been delivered, for `Start` when the part has been started (not: is ready).
    ///
    /// # Errors
    /// There is no such part, or the system refused.
    fn signal<'a>(
        &'a mut self,
        part: Part,
        index: u32,
        signal: Signal,
    ) -> BoxFuture<'a, Result<(), TestbedError>>;

    /// The same to several of one part, for whom it is over sooner than one after the other. All have their turn, also
    /// when some fail.
    ///
    /// # Errors
    /// As [`Testbed::signal`], the first one.
    fn signal_all<'a>(
        &'a mut self,
        part: Part,
        indices: &'a [u32],
        signal: Signal,
    ) -> BoxFuture<'a, Result<(), TestbedError>> {
        Box::pin(async move {
            let mut done = Ok(());
            for index in indices {
                done = done.and(self.signal(part, *index, signal).await);
            }
            done
        })
    }

    /// What a part is doing, by the system's own word: the witness of a signal.
    ///
    /// # Errors
    /// There is no such part, or the system cannot tell.
    fn state(&mut self, part: Part, index: u32) -> BoxFuture<'_, Result<PartState, TestbedError>>;

    /// The name under which an instance of a part joins the control plane and stands in records; `None` if there is no such part.
    fn instance(&self, part: Part, index: u32) -> Option<String>;

    /// Does something to Redis that no signal can do.
    ///
    /// # Errors
    /// Redis is not in the state that this needs, or did not answer.
    fn redis(&mut self, what: RedisFault) -> BoxFuture<'_, Result<(), TestbedError>>;

    /// What Redis says of itself; the witness of a [`RedisFault`].
    ///
    /// # Errors
    /// It does not answer within a second.
    fn redis_info(&mut self) -> BoxFuture<'_, Result<RedisInfo, TestbedError>>;

    /// Notes on disk which faults are in force, in words, so that whoever sweeps up after a crash of the lab can tell what it
    /// undid.
    ///
    /// # Errors
    /// The note cannot be written.
    fn note_faults(&mut self, in_force: &[String]) -> Result<(), TestbedError>;

    /// Resident memory, bytes, of each instance of a part, ordered by index; instances that do not run are left out.
    ///
    /// # Errors
    /// The system cannot tell.
    fn resident_memory(&mut self, part: Part) -> BoxFuture<'_, Result<Vec<u64>, TestbedError>>;

    /// Parts that ended although nobody asked them to, with the end of their logs. Empty while all is well.
    fn failures(&mut self) -> BoxFuture<'_, Vec<PartFailure>>;

    /// Takes everything down: gracefully first, then by force, within about ten seconds. Idempotent.
    ///
    /// # Errors
    /// Something could not be removed; the message names it.
    fn down(&mut self) -> BoxFuture<'_, Result<(), TestbedError>>;
}

/// What a testbed is made of. The name stands in results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Local processes.
    Processes,
    /// Containers of one compose project.
    Compose,
}

impl Backend {
    /// `processes` or `compose`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Compose => "compose",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The fleet that an experiment asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetSpec {
    /// Cache nodes, 1 to 1,000.
    pub nodes: u32,
    /// Rows seeded in the origin, keys `item-1` to `item-<rows>`.
    pub origin_rows: u32,
    /// Connections of the origin's pool.
    pub origin_pool: u32,
    /// A folder, made if absent, where the testbed notes what it has started (process ids with their start times, or
    /// the compose project), so that `herd down` can take it down after a crash of the lab. `herd-cluster` offers
    /// `processes::sweep(&Path)` and `compose::sweep(&Path)` for that: `async fn -> Result<Vec<String>, TestbedError>`,
    /// the lines to print.
    pub state_dir: PathBuf,
    /// Where logs of the parts go, one file a part, made if absent.
    pub log_dir: PathBuf,
    /// A second Redis that follows the first, for [`RedisFault::Promote`].
    pub redis_replica: bool,
    /// The origin's database as a process that can be hurt, also where a file would do.
    pub postgres: bool,
    /// Prometheus, Jaeger and Grafana beside the fleet, as far as they can be had; a line says which were left out. No fleet
    /// fails for want of them.
    pub observe: bool,
    /// Environment for every process, such as `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub env: Vec<(String, String)>,
    /// Where a Prometheus is told whom to scrape; without it nobody is told. Containers are found by DNS: their testbed writes no such
    /// file, and tells the Prometheus among them of the lab alone.
    pub discovery: Option<Discovery>,
}

impl FleetSpec {
    /// The same fleet with what the faults of a scenario need: a second Redis, a database to hurt, nodes whose links can go bad.
    #[must_use]
    pub fn with_faults_of(mut self, scenario: &Scenario) -> Self {
        self.redis_replica = scenario.needs_redis_replica();
        self.postgres = scenario.hurts_database();
        if scenario.has_link_faults() {
            self.env.push(("HERD_LINK_FAULTS".to_owned(), "true".to_owned()));
        }
        self
    }
}

/// A file in Prometheus' form for service discovery (`file_sd_configs`): one entry for each process with an admin port,
/// labelled `role` and `instance`. It is replaced as a whole whenever a process is started or asked to end, and removed when
/// the fleet goes down. Who is killed or frozen stays in it: that its `up` is 0 is what an operator must see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// The file, absolute; its folder is made if absent.
    pub file: PathBuf,
    /// Where the lab shows what it does to the fleet, if it does; an entry of its own, with the role `lab`. Containers reach it by the
    /// host's name and this port.
    pub lab: Option<SocketAddr>,
}

/// Where the parts of a fleet are, as the lab reaches them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// `http://host:port` of the edge's gRPC.
    pub edge_grpc: String,
    /// `http://host:port` of the edge's HTTP/JSON.
    pub edge_http: String,
    /// `http://host:port` of the origin's gRPC (both services).
    pub origin_grpc: String,
    /// `http://host:port` of the lock service's gRPC.
    pub lock_grpc: String,
    /// `redis://host:port`, where the lab can reach it.
    pub redis_url: Option<String>,
    /// Consoles a person may want: name and URL (Prometheus, Jaeger, Grafana where they are), and admin ports.
    pub consoles: Vec<(String, String)>,
}

/// A part of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The edge.
    Edge,
    /// A cache node.
    CacheNode,
    /// The lock service.
    LockService,
    /// The origin's process.
    Origin,
    /// Redis.
    Redis,
    /// The origin's database, where it is a process of its own.
    Database,
}

impl Part {
    /// `edge`, `cache-node`, `lock-service`, `origin`, `redis` or `database`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::CacheNode => "cache-node",
            Self::LockService => "lock-service",
            Self::Origin => "origin",
            Self::Redis => "redis",
            Self::Database => "database",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What can be done to a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Freeze it (SIGSTOP, `docker pause`).
    Pause,
    /// Let it go on.
    Resume,
    /// End it at once (SIGKILL).
    Kill,
    /// Ask it to end (SIGTERM) and wait for that, by force after its drain time.
    Stop,
    /// Start it again after `Kill` or `Stop`.
    Start,
}

/// What a part is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartState {
    /// It runs, as process `pid` where the testbed knows it.
    Running {
        /// By the host's count; 0: not known.
        pid: u32,
    },
    /// It is frozen.
    Paused,
    /// It has ended.
    Ended,
}

/// What is done to Redis beside signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RedisFault {
    /// Removes what it keeps on disk. It must have ended: the next start begins with nothing.
    Wipe,
    /// Writes the lab's own key with this value, and returns once it is on its way to the disk too, where Redis keeps a file. Whoever has it
    /// later has lost nothing since; whoever has not, has.
    Mark {
        /// Another one each time.
        mark: u64,
    },
    /// Everything is forgotten at once (`FLUSHALL`).
    Flush,
    /// At most so many bytes more than it uses now, any key may be evicted for others (`allkeys-lru`).
    Limit {
        /// Bytes beyond what it uses now.
        room: u64,
    },
    /// As it was started: no eviction.
    Unlimit,
    /// The replica stops hearing the primary, and keeps what it has.
    Detach,
    /// The replica takes the place and the address of the primary, which must have ended.
    Promote,
}

/// What Redis says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedisInfo {
    /// Keys that it holds, without the lab's own.
    pub keys: u64,
    /// The last [`RedisFault::Mark`] that it holds.
    pub mark: Option<u64>,
    /// Keys that it evicted for room since it started.
    pub evicted: u64,
    /// Its process, by its own count or by the host's; another one after a restart.
    pub pid: u32,
    /// How long it has been up, seconds.
    pub uptime_s: u64,
}

/// A part that ended unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartFailure {
    /// Which part.
    pub part: Part,
    /// Which one of them.
    pub index: u32,
    /// How it ended, for a person ("exit status 64").
    pub how: String,
    /// The end of its log, at most about 4 KB.
    pub log_tail: String,
}

/// Hears what a testbed is doing. Calls are cheap and may come from any task.
pub trait Progress: Send + Sync {
    /// Something worth one line that stays ("no image registry can be reached: building images from packages").
    fn note(&self, line: &str);
    /// The current step, replaced by the next ("starting cache nodes 12/50"); `done` of `total` where it counts.
    fn step(&self, what: &str, done: u64, total: u64);
    /// A rung begins: what is done to the fleet from now on is done for it.
    fn begins(&self, _rung: &str) {}
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn note(&self, _line: &str) {}
    fn step(&self, _what: &str, _done: u64, _total: u64) {}
}

/// Why a testbed could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TestbedError {
    /// Something that has to be on this machine is missing; the message says what to install.
    #[error("{what} is missing: {remedy}")]
    Missing {
        /// the program or service
        what: String,
        /// what a person does about it
        remedy: String,
    },
    /// A program or image could not be built.
    #[error("building {what} failed:\n{output}")]
    Build {
        /// what was built
        what: String,
        /// the end of the builder's output
        output: String,
    },
    /// A part did not start, or ended while starting.
    #[error("{part} {index} did not become ready: {how}\n{log_tail}")]
    NotReady {
        /// which part
        part: Part,
        /// which one of them
        index: u32,
        /// what happened instead
        how: String,
        /// the end of its log
        log_tail: String,
    },
    /// There is no such part in this fleet.
    #[error("this fleet has no {part} {index}")]
    NoSuchPart {
        /// which part
        part: Part,
        /// which one of them
        index: u32,
    },
    /// This testbed cannot do that.
    #[error("{0}")]
    Unsupported(String),
    /// The system refused; `doing` is what was tried.
    #[error("{doing} failed")]
    Io {
        /// what was tried
        doing: String,
        /// the system's words
        #[source]
        source: std::io::Error,
    },
    /// Anything else.
    #[error("{doing} failed: {why}")]
    Other {
        /// what was tried
        doing: String,
        /// what was seen
        why: String,
    },
}
