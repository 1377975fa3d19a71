//! A fleet of local processes: `redis-server`, SQLite files (or a Postgres, where faults hurt the origin's database), and our own
//! programs, all on loopback.
//!
//! Every address is picked before anything starts, so that all parts start at once and a part that is started again
//! keeps its address (and its data). Nothing outlives the lab, see [`spawner`].

mod children;
mod launch;
mod part;
mod ports;
mod postgres;
mod redis;
mod spawner;
mod sweep;
mod targets;

pub use sweep::{orphans, sweep};

use self::{
    launch::Launch,
    part::{Process, Ready},
    spawner::Spawner,
    targets::Targets,
};
use crate::{
    binaries, redis_admin,
    state::{FleetRecord, StateFile},
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use herd_experiment::able::NO_POSTGRES;
use herd_experiment::testbed::{
    Backend, Endpoints, FleetSpec, Part, PartFailure, PartState, Progress, RedisFault, RedisInfo, Signal,
    Testbed, TestbedError,
};
use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{Instant, timeout_at};

/// How long the processes may take to finish what is under way when they are asked to end.
const DRAIN: Duration = Duration::from_millis(2_000);
/// Longest time from start to ready, with the database seeded and fifty programs on two cores.
const READY_MAX: Duration = Duration::from_secs(90);

/// What is said to whoever wants consoles beside local processes.
const WITHOUT_CONSOLES: &str = "left out: Prometheus, Jaeger and Grafana, which come up beside containers only \
    (--backend compose). Instead: let a Prometheus of your own find the processes (dashboards/README.md), and read traces \
    with `herd trace`";

/// The testbed of local processes.
#[derive(Debug, Default)]
pub struct ProcessTestbed {
    fleet: Option<Fleet>,
}

#[derive(Debug)]
struct Fleet {
    // Declared before `data`: the processes end before their files are removed.
    processes: BTreeMap<(Part, u32), Process>,
    spawner: Spawner,
    redis: redis::Pair,
    state: StateFile,
    targets: Option<Targets>,
    data: TempDir,
    endpoints: Option<Endpoints>,
}

impl ProcessTestbed {
    /// A testbed with nothing up.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn fleet_with(&mut self, part: Part, index: u32) -> Result<&mut Fleet, TestbedError> {
        self.fleet.as_mut().ok_or(TestbedError::NoSuchPart { part, index })
    }

    async fn bring_up(
        &mut self,
        spec: &FleetSpec,
        control_port: u16,
        progress: &dyn Progress,
    ) -> Result<Endpoints, TestbedError> {
        if self.fleet.is_some() {
            return Err(TestbedError::Unsupported("this testbed is up already".to_owned()));
        }
        if spec.observe {
            progress.note(WITHOUT_CONSOLES);
        }
        let redis_server = crate::redis_server::program(progress).await?;
        let postgres =
            if spec.postgres { Some(crate::postgres::programs().ok_or_else(no_postgres)?) } else { None };
        let programs = binaries::find_or_build(progress).await?;
        for line in sweep::orphans(&spec.state_dir).await? {
            progress.note(&line);
        }
        let data = tempfile::Builder::new()
            .prefix(sweep::DATA_PREFIX)
            .tempdir()
            .map_err(io_error("making a folder"))?;
        std::fs::create_dir_all(&spec.log_dir).map_err(io_error("making the folder of logs"))?;
        let mut plan = launch::plan(spec, control_port, &programs, &redis_server, data.path())?;
        if let (Some(programs), Some(at)) = (&postgres, plan.postgres) {
            plan.launches.insert(0, postgres::lay_out(programs, at, data.path(), &spec.log_dir).await?);
        }
        let state =
            StateFile::new(&spec.state_dir, sweep::BACKEND).map_err(io_error("making the state folder"))?;
        let targets = spec.discovery.as_ref().map(Targets::new).transpose();
        let targets = targets.map_err(io_error("making the folder of scrape targets"))?;
        let spawner = Spawner::new().map_err(io_error("starting a thread"))?;
        // From here on `down` knows what there is, also when this future is dropped on its way.
        let fleet = self.fleet.insert(Fleet {
            processes: BTreeMap::new(),
            spawner,
            redis: plan.redis.clone(),
            state,
            targets,
            data,
            endpoints: None,
        });
        fleet.note_state()?;
        fleet.start_all(&plan, progress).await?;
        fleet.endpoints = Some(plan.endpoints.clone());
        Ok(plan.endpoints)
    }
}

impl Fleet {
    /// Redis first (the others look for it at once, and it takes milliseconds), then everything together.
    async fn start_all(&mut self, plan: &launch::Plan, progress: &dyn Progress) -> Result<(), TestbedError> {
        let deadline = Instant::now() + READY_MAX;
        let total = plan.launches.len() as u64;
        let mut waiting = FuturesUnordered::new();
        let mut started = 0;
        for stage in [true, false] {
            for launch in plan.launches.iter().filter(|launch| (launch.part == Part::Redis) == stage) {
                let ready = self.start(launch.clone()).await?;
                started += 1;
                progress.step("starting processes", started, total);
                if launch.admin.is_some() {
                    let key = (launch.part, launch.index);
                    waiting.push(async move { (key, timeout_at(deadline, ready).await) });
                }
            }
            self.note_state()?;
            if stage {
                self.redis_ready(deadline).await?;
            }
        }
        let (mut ready, own) = (0, waiting.len() as u64);
        while let Some((key, answer)) = waiting.next().await {
            match answer {
                Ok(Ok(line)) => tracing::debug!(part = %key.0, index = key.1, grpc = %line.grpc, "ready"),
                Ok(Err(_)) => return Err(self.not_ready(key, "it ended while starting").await),
                // A node that is slow is the business of whoever counts the nodes that joined.
                Err(_) if key.0 == Part::CacheNode => {
                    tracing::warn!(index = key.1, "a node is not ready in time");
                }
                Err(_) => return Err(self.not_ready(key, "it is not ready in time").await),
            }
            ready += 1;
            progress.step("waiting for the processes to be ready", ready, own);
        }
        Ok(())
    }

    async fn start(&mut self, launch: Launch) -> Result<Ready, TestbedError> {
        let key = (launch.part, launch.index);
        let (process, ready) = Process::start(launch, &self.spawner).await?;
        self.processes.insert(key, process);
        Ok(ready)
    }

    /// Why a part is not ready, with its exit status if it has one.
    async fn not_ready(&mut self, key: (Part, u32), how: &str) -> TestbedError {
        let Some(process) = self.processes.get_mut(&key) else {
            return TestbedError::NoSuchPart { part: key.0, index: key.1 };
        };
        let status = process.ended_within(Duration::from_secs(1)).await;
        let how = status.map_or_else(|| how.to_owned(), |status| format!("{how} ({status})"));
        TestbedError::NotReady { part: key.0, index: key.1, how, log_tail: process.log_tail() }
    }

    /// Names the processes of a part; an error if any of them is not there.
    fn keys(&self, part: Part, indices: &[u32]) -> Result<Vec<(Part, u32)>, TestbedError> {
        let known = |key: &(Part, u32)| *key != redis::REPLICA && self.processes.contains_key(key);
        let key = |index: &u32| {
            let key = (part, *index);
            known(&key).then_some(key).ok_or(TestbedError::NoSuchPart { part, index: *index })
        };
        indices.iter().map(key).collect()
    }

    /// To all at once; the first error, after all had their turn.
    async fn signal(&mut self, part: Part, indices: &[u32], signal: Signal) -> Result<(), TestbedError> {
        let keys = self.keys(part, indices)?;
        let mut done = Ok(());
        if signal == Signal::Start {
            for key in keys {
                done = done.and(self.start_again(key).await);
            }
        } else {
            let wanted = self.processes.iter_mut().filter(|(key, _)| keys.contains(key));
            let signals = wanted.map(|(_, process)| process.signal(signal));
            done = futures::future::join_all(signals).await.into_iter().collect();
        }
        // Also after a pause: what a part has started outlives it while it is frozen, and a crash of the lab must not leave it behind.
        done.and(self.note_state())
    }

    async fn start_again(&mut self, key: (Part, u32)) -> Result<(), TestbedError> {
        let (part, index) = key;
        let process = self.processes.get_mut(&key).ok_or(TestbedError::NoSuchPart { part, index })?;
        if process.is_running() {
            return Err(TestbedError::Unsupported(format!("{} runs already", process.name())));
        }
        let launch = process.launch().clone();
        self.start(launch).await.map(drop)
    }

    /// Asks all to end at once, then ends the rest by force.
    async fn end_all(&mut self) -> Vec<String> {
        let ends = self.processes.values_mut().map(|process| async move {
            let name = process.name();
            process.stop().await.err().map(|error| format!("{name}: {error}"))
        });
        futures::future::join_all(ends).await.into_iter().flatten().collect()
    }

    fn note_state(&self) -> Result<(), TestbedError> {
        let processes = self
            .processes
            .values()
            .flat_map(|process| process.family().into_iter().map(|identity| (process.name(), identity)))
            .collect();
        let targets = self.targets.as_ref().map(|targets| targets.file().to_owned());
        self.state
            .write(FleetRecord::Processes { processes, data_dir: self.data.path().to_owned(), targets })
            .map_err(io_error("noting what was started"))?;
        let Some(targets) = &self.targets else { return Ok(()) };
        targets.write(self.processes.values()).map_err(io_error("writing the scrape targets"))
    }
}

impl Testbed for ProcessTestbed {
    fn backend(&self) -> Backend {
        Backend::Processes
    }

    fn control_listen(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }

    fn lab_host(&self) -> &'static str {
        "127.0.0.1"
    }

    fn up<'a>(
        &'a mut self,
        spec: &'a FleetSpec,
        control_port: u16,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<Endpoints, TestbedError>> {
        self.bring_up(spec, control_port, progress).boxed()
    }

    fn endpoints(&self) -> Option<Endpoints> {
        self.fleet.as_ref()?.endpoints.clone()
    }

    fn signal<'a>(
        &'a mut self,
        part: Part,
        index: u32,
        signal: Signal,
    ) -> BoxFuture<'a, Result<(), TestbedError>> {
        async move { self.fleet_with(part, index)?.signal(part, &[index], signal).await }.boxed()
    }

    fn signal_all<'a>(
        &'a mut self,
        part: Part,
        indices: &'a [u32],
        signal: Signal,
    ) -> BoxFuture<'a, Result<(), TestbedError>> {
        async move { self.fleet_with(part, 0)?.signal(part, indices, signal).await }.boxed()
    }

    fn state(&mut self, part: Part, index: u32) -> BoxFuture<'_, Result<PartState, TestbedError>> {
        let state = self.fleet_with(part, index).and_then(|fleet| {
            let key = fleet.keys(part, &[index])?;
            let processes = &mut fleet.processes;
            let process = key.first().and_then(|key| processes.get_mut(key));
            process.map(Process::state).ok_or(TestbedError::NoSuchPart { part, index })
        });
        async move { state }.boxed()
    }

    fn instance(&self, part: Part, index: u32) -> Option<String> {
        let fleet = self.fleet.as_ref()?;
        let key = *fleet.keys(part, &[index]).ok()?.first()?;
        fleet.processes.get(&key).map(Process::name)
    }

    fn redis(&mut self, what: RedisFault) -> BoxFuture<'_, Result<(), TestbedError>> {
        async move { self.fleet_with(Part::Redis, 0)?.redis(what).await }.boxed()
    }

    fn redis_info(&mut self) -> BoxFuture<'_, Result<RedisInfo, TestbedError>> {
        let at = self.fleet_with(Part::Redis, 0).map(|fleet| fleet.redis.address.to_string());
        async move { redis_admin::info(&at?).await }.boxed()
    }

    fn note_faults(&mut self, in_force: &[String]) -> Result<(), TestbedError> {
        let Some(fleet) = self.fleet.as_mut() else { return Ok(()) };
        fleet.state.faults = in_force.to_vec();
        fleet.note_state()
    }

    fn resident_memory(&mut self, part: Part) -> BoxFuture<'_, Result<Vec<u64>, TestbedError>> {
        let processes = self.fleet.iter().flat_map(|fleet| &fleet.processes);
        let pids = processes
            .filter(|(key, _)| key.0 == part && **key != redis::REPLICA)
            .filter_map(|(_, process)| process.pid());
        let memory = pids.filter_map(part::resident_memory).collect();
        async move { Ok(memory) }.boxed()
    }

    fn failures(&mut self) -> BoxFuture<'_, Vec<PartFailure>> {
        let processes = self.fleet.iter_mut().flat_map(|fleet| fleet.processes.values_mut());
        let failures = processes.filter_map(Process::failure).collect();
        async move { failures }.boxed()
    }

    fn down(&mut self) -> BoxFuture<'_, Result<(), TestbedError>> {
        async move {
            let Some(fleet) = self.fleet.as_mut() else { return Ok(()) };
            let left = fleet.end_all().await;
            let Some(fleet) = self.fleet.take() else { return Ok(()) };
            // Ends the thread that started the processes: the kernel kills whatever is left.
            drop(fleet.spawner);
            drop(fleet.processes);
            let targets = fleet.targets.map_or(Ok(()), |targets| targets::remove(targets.file()));
            targets.map_err(io_error("removing the scrape targets"))?;
            fleet.data.close().map_err(io_error("removing the data of the fleet"))?;
            fleet.state.remove().map_err(io_error("removing the state file"))?;
            if left.is_empty() {
                return Ok(());
            }
            Err(TestbedError::Other { doing: "taking the fleet down".to_owned(), why: left.join("; ") })
        }
        .boxed()
    }
}

fn no_postgres() -> TestbedError {
    TestbedError::Unsupported(NO_POSTGRES.to_owned())
}

fn io_error(doing: &str) -> impl FnOnce(io::Error) -> TestbedError {
    let doing = doing.to_owned();
    move |source| TestbedError::Io { doing, source }
}
