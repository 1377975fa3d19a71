//! A fleet of containers: one compose project of `compose.yaml`, driven from the host.
//!
//! The lab plays the part of the service `herd` itself, so that service is scaled to none and the nodes are told to
//! join a control plane on the host. The project has a name of its own and lets the engine choose every published
//! port, so that several fleets and a `docker compose up` do not meet.

mod files;
mod network;
mod observe;
mod redis;
mod signals;
mod sweep;

pub use crate::plugin::ensure as ensure_plugin;
pub use sweep::{orphans, sweep};

use crate::{
    command::{self, command, quiet},
    engine::{self, Container},
    images, plugin,
    state::{FleetRecord, StateFile},
};
use bollard::{Docker, query_parameters::TopOptionsBuilder};
use futures::{FutureExt, future::BoxFuture, stream, stream::StreamExt};
use herd_experiment::testbed::{
    Backend, Endpoints, FleetSpec, Part, PartFailure, PartState, Progress, RedisFault, RedisInfo, Signal,
    Testbed, TestbedError,
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};
use tokio::time::{Instant, interval, sleep};

/// Longest time from `docker compose up` to all containers started.
const UP_MAX: Duration = Duration::from_secs(240);
/// Longest time until the parts that exist once are ready, once started.
const READY_MAX: Duration = Duration::from_secs(90);
/// Longest `docker compose down`.
const DOWN_MAX: Duration = Duration::from_secs(60);
/// Questions to the engine that are under way at once.
const ASKED_AT_ONCE: usize = 8;
/// A container's host name, by which our programs join the control plane: so much of its id.
const HOST_NAME: usize = 12;
/// Lines of each log that are kept.
const LOG_LINES: &str = "5000";

/// The testbed of containers.
#[derive(Debug, Default)]
pub struct ComposeTestbed {
    fleet: Option<Fleet>,
}

struct Fleet {
    docker: Docker,
    project: files::Project,
    state: StateFile,
    log_dir: PathBuf,
    endpoints: Option<Endpoints>,
    containers: Vec<Container>,
    route: network::Route,
    /// The two services of Redis have changed places.
    swapped: bool,
    /// Parts that somebody asked to end.
    ended: BTreeSet<(Part, u32)>,
    /// Nothing is left to remove.
    is_down: bool,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").field("project", &self.project.name).finish_non_exhaustive()
    }
}

impl ComposeTestbed {
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
        let io = |source| TestbedError::Io { doing: "laying out the compose project".to_owned(), source };
        let docker = engine::connect().await?;
        plugin::ensure(progress).await?;
        images::ensure(&[images::FLEET, images::REDIS, images::POSTGRES], progress).await?;
        let consoles = if spec.observe { observe::obtain(progress).await } else { Vec::new() };
        for line in sweep::orphans(&spec.state_dir).await? {
            progress.note(&line);
        }
        std::fs::create_dir_all(&spec.log_dir).map_err(io)?;
        let state = StateFile::new(&spec.state_dir, sweep::BACKEND).map_err(io)?;
        let project = files::Project::lay_out(spec, control_port, consoles).map_err(io)?;
        state.write(FleetRecord::Compose { project: project.name.clone() }).map_err(io)?;
        // From here on `down` knows what there is, also when this future is dropped on its way.
        let fleet = self.fleet.insert(Fleet {
            docker,
            project,
            state,
            log_dir: spec.log_dir.clone(),
            endpoints: None,
            containers: Vec::new(),
            route: network::Route::default(),
            swapped: false,
            ended: BTreeSet::new(),
            is_down: false,
        });
        fleet.start(spec.nodes, progress).await?;
        fleet.refresh().await?;
        fleet.wait_until_ready(progress).await?;
        fleet.route = network::route(&fleet.containers).await;
        fleet.redis_ready().await?;
        let endpoints = network::endpoints(&fleet.containers, fleet.route, None)?;
        fleet.endpoints = Some(endpoints.clone());
        Ok(endpoints)
    }
}

impl Fleet {
    async fn start(&self, nodes: u32, progress: &dyn Progress) -> Result<(), TestbedError> {
        let nodes = format!("cache-node={nodes}");
        let mut up = self.project.compose(&[
            "up",
            "--detach",
            "--no-build",
            "--pull",
            "never",
            "--scale",
            "herd=0",
            "--scale",
            &nodes,
        ]);
        up.env("COMPOSE_PARALLEL_LIMIT", "16");
        let mut up = std::pin::pin!(quiet(up, "the compose project", UP_MAX));
        let mut tick = interval(Duration::from_millis(400));
        loop {
            tokio::select! {
                ended = &mut up => return ended.map(drop),
                _ = tick.tick() => {
                    let Ok(containers) = self.list().await else { continue };
                    let running = containers.iter().filter(|container| container.state == "running").count();
                    progress.step("starting containers", running as u64, containers.len() as u64);
                }
            }
        }
    }

    /// All containers; after a promotion each of the two of Redis goes by the other's service.
    async fn list(&self) -> Result<Vec<Container>, TestbedError> {
        let mut containers = engine::containers(&self.docker, &self.project.label()).await?;
        for container in containers.iter_mut().filter(|_| self.swapped) {
            match container.service.as_str() {
                files::REDIS => files::REPLICA.clone_into(&mut container.service),
                files::REPLICA => files::REDIS.clone_into(&mut container.service),
                _ => {}
            }
        }
        Ok(containers)
    }

    /// Looks again where everything is.
    async fn relocate(&mut self) -> Result<(), TestbedError> {
        self.refresh().await?;
        let endpoints = network::endpoints(&self.containers, self.route, self.endpoints.as_ref())?;
        self.endpoints = Some(endpoints);
        Ok(())
    }

    fn of_service(&self, service: &str) -> Result<&Container, TestbedError> {
        let found = self.containers.iter().find(|container| container.service == service);
        found.ok_or(TestbedError::NoSuchPart { part: Part::Redis, index: 0 })
    }

    async fn refresh(&mut self) -> Result<(), TestbedError> {
        self.containers = self.list().await?;
        Ok(())
    }

    /// Polls the parts that exist once: an engine of this age tells nobody when a container becomes ready.
    async fn wait_until_ready(&mut self, progress: &dyn Progress) -> Result<(), TestbedError> {
        let deadline = Instant::now() + READY_MAX;
        for (done, part) in (0..).zip(network::SERVED) {
            progress.step(&format!("waiting for {part} to be ready"), done, network::SERVED.len() as u64);
            loop {
                let seen = match self.container(part, 0) {
                    Ok(container) => network::ready(container).await,
                    Err(error) => Err(error.to_string()),
                };
                let Err(how) = seen else { break };
                // What has ended does not come back by itself.
                let ended = self.container(part, 0).is_ok_and(|container| container.has_ended());
                if ended || Instant::now() >= deadline {
                    let log_tail = self.log_tail(part, 0).await;
                    return Err(TestbedError::NotReady { part, index: 0, how, log_tail });
                }
                sleep(Duration::from_millis(100)).await;
                self.refresh().await?;
            }
        }
        Ok(())
    }

    fn container(&self, part: Part, index: u32) -> Result<&Container, TestbedError> {
        let service = files::service(part);
        let mut found = self.containers.iter().filter(|container| container.service == service);
        found.nth(index as usize).ok_or(TestbedError::NoSuchPart { part, index })
    }

    /// As the host of the engine sees it, so that it is the same number as for a local process.
    async fn resident_memory(&self, part: Part) -> Result<Vec<u64>, TestbedError> {
        let service = files::service(part);
        let mut ids = Vec::new();
        for container in &self.containers {
            if container.service == service {
                ids.push(container.id.clone());
            }
        }
        let answers: Vec<Option<u64>> = stream::iter(ids)
            .map(|id| async move {
                let options = TopOptionsBuilder::default().ps_args("-eo pid,rss").build();
                let top = self.docker.top_processes(&id, Some(options)).await.ok()?;
                let kibibytes =
                    top.processes?.iter().filter_map(|row| row.get(1)?.parse::<u64>().ok()).sum::<u64>();
                Some(kibibytes * 1024)
            })
            .buffered(ASKED_AT_ONCE)
            .collect()
            .await;
        Ok(answers.into_iter().flatten().collect())
    }

    async fn failures(&mut self) -> Vec<PartFailure> {
        if self.refresh().await.is_err() {
            return Vec::new();
        }
        let mut failures = Vec::new();
        for container in &self.containers {
            let (part, index) = match files::part(&container.service) {
                Some(part) => (part, container.number.saturating_sub(1)),
                // The other one of two.
                None if container.service == files::REPLICA => (Part::Redis, 1),
                None => continue,
            };
            if container.has_ended() && !self.ended.contains(&(part, index)) {
                let log_tail = self.log_of(container).await;
                failures.push(PartFailure { part, index, how: container.status.clone(), log_tail });
            }
        }
        failures
    }

    async fn log_tail(&self, part: Part, index: u32) -> String {
        match self.container(part, index) {
            Ok(container) => self.log_of(container).await,
            Err(_) => String::new(),
        }
    }

    async fn log_of(&self, container: &Container) -> String {
        let script = r#"docker logs --tail 30 "$1" 2>&1 | tail -c 4096"#;
        let logs = command("sh", &["-c", script, "sh", &container.id]);
        quiet(logs, "reading a log", DOWN_MAX).await.unwrap_or_default()
    }

    /// One file a service; the engine's own files go with the containers.
    async fn save_logs(&self) {
        let saves = self.project.services().map(|service| async move {
            let args = ["logs", "--no-color", "--timestamps", "--tail", LOG_LINES, service];
            let Ok(log) = quiet(self.project.compose(&args), "saving a log", DOWN_MAX).await else { return };
            if let Err(error) = std::fs::write(self.log_dir.join(format!("{service}.log")), log) {
                tracing::warn!(service, %error, "a log is not saved");
            }
        });
        futures::future::join_all(saves).await;
    }
}

impl Testbed for ComposeTestbed {
    fn backend(&self) -> Backend {
        Backend::Compose
    }

    fn control_listen(&self) -> IpAddr {
        // Where the containers' gateway to the host leads differs between engines.
        Ipv4Addr::UNSPECIFIED.into()
    }

    fn lab_host(&self) -> &'static str {
        files::HOST
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
        async move { self.fleet_with(part, index)?.state_of(part, index).await }.boxed()
    }

    fn instance(&self, part: Part, index: u32) -> Option<String> {
        let id = &self.fleet.as_ref()?.container(part, index).ok()?.id;
        // What joins nobody goes by the part's name.
        let joins = matches!(part, Part::Edge | Part::CacheNode | Part::LockService | Part::Origin);
        if joins { id.get(..HOST_NAME).map(ToOwned::to_owned) } else { Some(part.to_string()) }
    }

    fn redis(&mut self, what: RedisFault) -> BoxFuture<'_, Result<(), TestbedError>> {
        async move { self.fleet_with(Part::Redis, 0)?.redis(what).await }.boxed()
    }

    fn redis_info(&mut self) -> BoxFuture<'_, Result<RedisInfo, TestbedError>> {
        async move { self.fleet_with(Part::Redis, 0)?.redis_info().await }.boxed()
    }

    fn note_faults(&mut self, in_force: &[String]) -> Result<(), TestbedError> {
        let Some(fleet) = self.fleet.as_mut() else { return Ok(()) };
        fleet.state.faults = in_force.to_vec();
        let noted = fleet.state.write(FleetRecord::Compose { project: fleet.project.name.clone() });
        noted.map_err(|source| TestbedError::Io { doing: "noting the faults in force".to_owned(), source })
    }

    fn resident_memory(&mut self, part: Part) -> BoxFuture<'_, Result<Vec<u64>, TestbedError>> {
        async move {
            let Some(fleet) = &self.fleet else { return Ok(Vec::new()) };
            fleet.resident_memory(part).await
        }
        .boxed()
    }

    fn failures(&mut self) -> BoxFuture<'_, Vec<PartFailure>> {
        async move {
            let Some(fleet) = &mut self.fleet else { return Vec::new() };
            fleet.failures().await
        }
        .boxed()
    }

    fn down(&mut self) -> BoxFuture<'_, Result<(), TestbedError>> {
        async move {
            let Some(fleet) = &mut self.fleet else { return Ok(()) };
            fleet.save_logs().await;
            sweep::remove(&fleet.docker, &fleet.project.name).await?;
            fleet.is_down = true;
            let removed = fleet.state.remove();
            self.fleet = None;
            removed.map_err(|source| TestbedError::Io { doing: "removing the state file".to_owned(), source })
        }
        .boxed()
    }
}

impl Drop for Fleet {
    /// Leaves the removal to a process of its own; what it does not manage, the state file names for a later sweep.
    fn drop(&mut self) {
        if self.is_down {
            return;
        }
        let mut kill =
            command::command("sh", &["-c", sweep::REMOVE_NOW, "sh", &self.project.label()]).into_std();
        kill.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut kill, 0);
        if let Err(error) = kill.spawn() {
            tracing::warn!(project = self.project.name, %error, "containers are left behind");
        }
    }
}
