//! The Docker engine: finding it, asking it, and the compose plugin of its command-line client.

use crate::command::{command, quiet};
use bollard::{Docker, query_parameters::ListContainersOptionsBuilder};
use herd_experiment::testbed::TestbedError;
use std::{collections::HashMap, env, time::Duration};
use tokio::time::timeout;

/// How long the engine may take to answer whether it is there.
const PING_MAX: Duration = Duration::from_secs(5);
/// Requests to the engine that take longer than this have failed, seconds.
const REQUEST_MAX_S: u64 = 60;

/// A container of a compose project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) id: String,
    /// The service of the compose file.
    pub(crate) service: String,
    /// Counts from 1 within the service.
    pub(crate) number: u32,
    /// `running`, `paused`, `exited`, `restarting`, ...
    pub(crate) state: String,
    /// The engine's words for a person ("Exited (1) 2 seconds ago").
    pub(crate) status: String,
    /// Address in the project's network, while it runs.
    pub(crate) address: Option<String>,
    /// Published ports: inside, outside.
    pub(crate) ports: Vec<(u16, u16)>,
}

impl Container {
    /// Its process is over.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state.as_str(), "exited" | "restarting" | "dead")
    }
}

/// What the engine says of one container now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// `running`, `paused`, `exited`, ...
    pub(crate) state: String,
    /// Its process by the host's count, while it runs.
    pub(crate) pid: Option<u32>,
}

impl Seen {
    /// Its process is over.
    pub(crate) fn has_ended(&self) -> bool {
        !matches!(self.state.as_str(), "running" | "paused")
    }
}

/// Looks at one container.
///
/// # Errors
/// There is no such container, or the engine does not answer.
pub(crate) async fn look(docker: &Docker, id: &str) -> Result<Seen, TestbedError> {
    let found = docker.inspect_container(id, None).await.map_err(failed("looking at a container"))?;
    let state = found.state.unwrap_or_default();
    let pid = state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
    Ok(Seen { state: state.status.map(|status| status.to_string()).unwrap_or_default(), pid })
}

/// Connects to the engine that the `docker` command uses, and asks whether it is there.
///
/// # Errors
/// No engine answers within some seconds.
pub(crate) async fn connect() -> Result<Docker, TestbedError> {
    let host = host().await;
    let missing = |why: String| TestbedError::Missing {
        what: "a Docker engine".to_owned(),
        remedy: format!("start Docker ({why}), or run without containers: --backend processes"),
    };
    let docker = match &host {
        Some(host) => Docker::connect_with_host(host),
        None => Docker::connect_with_local_defaults(),
    };
    let docker =
        docker.map_err(|error| missing(error.to_string()))?.with_timeout(Duration::from_secs(REQUEST_MAX_S));
    let asked = timeout(PING_MAX, async {
        docker.ping().await?;
        docker.negotiate_version().await
    });
    match asked.await {
        Ok(Ok(docker)) => Ok(docker),
        Ok(Err(error)) => Err(missing(error.to_string())),
        Err(_) => Err(missing(format!("no answer within {} s", PING_MAX.as_secs()))),
    }
}

/// Where the `docker` command would connect to: its environment first, then its current context.
async fn host() -> Option<String> {
    if let Ok(host) = env::var("DOCKER_HOST") {
        return Some(host).filter(|host| !host.is_empty());
    }
    let ask = command("docker", &["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]);
    let answer = quiet(ask, "asking for the Docker context", PING_MAX).await.ok()?;
    Some(answer.trim().to_owned()).filter(|host| !host.is_empty())
}

/// All containers that carry a label, also those that do not run, in the order of service and number.
pub(crate) async fn containers(docker: &Docker, label: &str) -> Result<Vec<Container>, TestbedError> {
    let filters = HashMap::from([("label", vec![label])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let found = docker.list_containers(Some(options)).await.map_err(failed("listing containers"))?;
    let mut containers: Vec<Container> = found
        .into_iter()
        .filter_map(|summary| {
            let labels = summary.labels.unwrap_or_default();
            let networks =
                summary.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
            let ports = summary.ports.unwrap_or_default();
            Some(Container {
                id: summary.id?,
                service: labels.get("com.docker.compose.service")?.clone(),
                number: labels.get("com.docker.compose.container-number")?.parse().ok()?,
                state: summary.state.map(|state| state.to_string()).unwrap_or_default(),
                status: summary.status.unwrap_or_default(),
                address: networks.into_values().find_map(|at| at.ip_address).filter(|at| !at.is_empty()),
                ports: ports
                    .into_iter()
                    .filter_map(|port| Some((port.private_port, port.public_port?)))
                    .collect(),
            })
        })
        .collect();
    containers.sort_by(|a, b| (&a.service, a.number).cmp(&(&b.service, b.number)));
    Ok(containers)
}

/// Names what the engine was asked for beside its refusal.
pub(crate) fn failed(doing: &str) -> impl FnOnce(bollard::errors::Error) -> TestbedError {
    let doing = doing.to_owned();
    move |error| TestbedError::Other { doing, why: error.to_string() }
}
