//! The compose project as files: `compose.yaml` as it stands in the repository, and beside it what differs for a lab
//! that runs on the host.

use super::observe::{self, Console, JAEGER};
use crate::command::command;
use herd_experiment::testbed::{FleetSpec, Part};
use serde_json::{Map, Value, json};
use std::{
    hash::{BuildHasher, RandomState},
    io,
};
use tempfile::TempDir;
use tokio::process::Command;

const COMPOSE_FILE: &str = include_str!("../../../../compose.yaml");
/// How the names of projects begin.
pub(super) const NAME_PREFIX: &str = "herdproof-lab-";

/// The parts and their services.
pub(super) const PARTS: [(Part, &str); 6] = [
    (Part::Edge, "edge"),
    (Part::CacheNode, "cache-node"),
    (Part::LockService, "lock-service"),
    (Part::Origin, "origin"),
    (Part::Redis, REDIS),
    (Part::Database, "postgres"),
];
/// The service of Redis.
pub(super) const REDIS: &str = "redis";
/// The service of its replica, which is no part of its own.
pub(super) const REPLICA: &str = "redis-replica";
/// The services that run our own programs.
const OURS: [&str; 4] = ["edge", "cache-node", "lock-service", "origin"];
/// Published ports that the engine is to choose.
const PORTS: [&str; 14] = [
    "HERD_REDIS_PORT",
    "HERD_REDIS_REPLICA_PORT",
    "HERD_LOCK_GRPC_PORT",
    "HERD_LOCK_ADMIN_PORT",
    "HERD_ORIGIN_GRPC_PORT",
    "HERD_ORIGIN_ADMIN_PORT",
    "HERD_EDGE_GRPC_PORT",
    "HERD_EDGE_HTTP_PORT",
    "HERD_EDGE_ADMIN_PORT",
    "HERD_REPORT_PORT",
    "HERD_JAEGER_PORT",
    "HERD_JAEGER_OTLP_PORT",
    "HERD_PROMETHEUS_PORT",
    "HERD_GRAFANA_PORT",
];

/// The service of a part.
pub(super) fn service(part: Part) -> &'static str {
    PARTS
        .iter()
        .find(|(which, _)| *which == part)
        .map(|(_, service)| *service)
        .expect("every part has a service")
}

/// The part of a service; the lab's own service is none.
pub(super) fn part(service: &str) -> Option<Part> {
    PARTS.iter().find(|(_, which)| *which == service).map(|(part, _)| *part)
}

/// The host's name in a container, as the compose file gives it.
pub(super) const HOST: &str = "host.docker.internal";

/// A project with its files.
#[derive(Debug)]
pub(super) struct Project {
    /// Unique on this engine.
    pub(super) name: String,
    /// Whether a second Redis is part of it.
    pub(super) has_replica: bool,
    consoles: Vec<&'static Console>,
    folder: TempDir,
    env: Vec<(String, String)>,
}

impl Project {
    /// Writes the files of a new project with these consoles beside the fleet.
    pub(super) fn lay_out(
        spec: &FleetSpec,
        control_port: u16,
        consoles: Vec<&'static Console>,
    ) -> io::Result<Self> {
        let unique = RandomState::new().hash_one(control_port);
        let name = format!("{NAME_PREFIX}{}-{:08x}", std::process::id(), unique & 0xffff_ffff);
        let folder = tempfile::Builder::new().prefix("herdproof-compose-").tempdir()?;
        std::fs::write(folder.path().join("compose.yaml"), COMPOSE_FILE)?;
        // JSON is YAML.
        std::fs::write(folder.path().join("lab.yaml"), overrides(spec).to_string())?;
        let mut env: Vec<(String, String)> = PORTS.map(|name| (name.to_owned(), String::new())).to_vec();
        env.extend([
            ("HERD_CONTROL_URL".to_owned(), format!("http://{HOST}:{control_port}")),
            // There is no service `herd`; a lab that keeps spans says where, in the experiment's environment.
            ("HERD_SPANS_URL".to_owned(), String::new()),
            ("HERD_NODES".to_owned(), spec.nodes.to_string()),
            ("HERD_ROWS".to_owned(), spec.origin_rows.to_string()),
            ("HERD_POOL_SIZE".to_owned(), spec.origin_pool.to_string()),
            // The lab asks for readiness itself; checks during a run would be measured with it.
            ("HERD_HEALTH_INTERVAL".to_owned(), "1h".to_owned()),
        ]);
        if !consoles.contains(&&JAEGER) {
            // Nothing to look up.
            env.push(("HERD_COLLECTOR".to_owned(), String::new()));
        }
        if !consoles.is_empty() {
            observe::lay_out(folder.path(), spec.discovery.as_ref().and_then(|discovery| discovery.lab))?;
        }
        let profiles: Vec<&str> = spec
            .redis_replica
            .then_some("replica")
            .into_iter()
            .chain(consoles.iter().map(|console| console.service))
            .collect();
        env.push(("COMPOSE_PROFILES".to_owned(), profiles.join(",")));
        Ok(Self { name, has_replica: spec.redis_replica, consoles, folder, env })
    }

    /// `docker compose <args>` for this project.
    pub(super) fn compose(&self, args: &[&str]) -> Command {
        let mut compose = command(
            "docker",
            &["compose", "--ansi", "never", "--progress", "plain", "--project-name", &self.name],
        );
        for file in ["compose.yaml", "lab.yaml"] {
            compose.arg("--file").arg(self.folder.path().join(file));
        }
        compose.args(args).current_dir(self.folder.path());
        compose.env_remove("COMPOSE_FILE").env_remove("COMPOSE_PROFILES");
        compose.envs(self.env.iter().map(|(name, value)| (name, value)));
        compose
    }

    /// Its services.
    pub(super) fn services(&self) -> impl Iterator<Item = &'static str> {
        let consoles = self.consoles.iter().map(|console| console.service);
        PARTS.iter().map(|(_, service)| *service).chain(self.has_replica.then_some(REPLICA)).chain(consoles)
    }

    /// The label of everything that belongs to this project.
    pub(super) fn label(&self) -> String {
        label(&self.name)
    }
}

/// The label that compose gives to everything of a project.
pub(super) fn label(project: &str) -> String {
    format!("com.docker.compose.project={project}")
}

/// What differs from `compose.yaml`: the experiment's environment for our programs.
fn overrides(spec: &FleetSpec) -> Value {
    // A dollar sign would start a variable of the compose file.
    let values = spec.env.iter().map(|(name, value)| (name.clone(), Value::from(value.replace('$', "$$"))));
    let environment: Map<String, Value> = values.collect();
    let services = OURS.map(|service| (service.to_owned(), json!({ "environment": environment.clone() })));
    json!({ "services": services.into_iter().collect::<Map<_, _>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, path::PathBuf};

    fn spec() -> FleetSpec {
        FleetSpec {
            nodes: 3,
            origin_rows: 10,
            origin_pool: 4,
            state_dir: PathBuf::new(),
            log_dir: PathBuf::new(),
            redis_replica: false,
            postgres: false,
            observe: false,
            env: vec![("A".to_owned(), "$b".to_owned())],
            discovery: None,
        }
    }

    /// Goal: every part is a service of the compose file, and every port it publishes is left to the engine.
    #[test]
    fn knows_the_compose_file() {
        for (part, name) in PARTS {
            assert!(COMPOSE_FILE.contains(&format!("\n  {name}:")), "{name}");
            assert_eq!(super::part(service(part)), Some(part));
        }
        assert!(COMPOSE_FILE.contains(&format!("\n  {REPLICA}:\n")));
        assert!(COMPOSE_FILE.contains(&format!("--maxmemory, {},", crate::compose::redis::MAXMEMORY)));
        for line in COMPOSE_FILE.lines().filter(|line| line.contains("127.0.0.1:${")) {
            assert!(PORTS.iter().any(|port| line.contains(&format!("${{{port}-"))), "{line}");
        }
        for image in [crate::images::FLEET, crate::images::REDIS, crate::images::POSTGRES] {
            assert!(COMPOSE_FILE.contains(&format!("image: {image}\n")), "{image}");
        }
        for Console { service, image, port, .. } in &observe::CONSOLES {
            let begin = format!("\n  {service}:\n    image: {image}\n");
            assert!(COMPOSE_FILE.contains(&begin), "{service}");
            assert!(COMPOSE_FILE.contains(&format!("profiles: [observe, {service}]\n")), "{service}");
            assert!(COMPOSE_FILE.contains(&format!(":{port}\"")), "{service} serves {port}");
        }
    }

    /// Goal: no two services want the same port of the host, and the README says which port each of them is.
    #[test]
    fn publishes_each_port_once_and_says_so() {
        let readme = include_str!("../../../../README.md");
        let mut taken = BTreeSet::new();
        for name in PORTS {
            let (_, after) = COMPOSE_FILE.split_once(&format!("127.0.0.1:${{{name}-")).expect("published");
            let (port, _) = after.split_once('}').expect("the variable ends");
            assert!(port.parse::<u16>().is_ok_and(|port| taken.insert(port)), "{name}: {port} twice");
            assert!(readme.contains(&format!("`{name}` {port}")), "the README says nothing of {name} {port}");
        }
    }

    /// Goal: only the consoles that can be had are asked for, with what they read; nobody looks for a Jaeger that is not
    /// there.
    #[test]
    fn lays_out_the_consoles_that_there_are() {
        let [prometheus, jaeger, _] = &observe::CONSOLES;
        let value = |project: &Project, wanted: &str| {
            project.env.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
        };
        let none = Project::lay_out(&spec(), 1, vec![]).expect("laid out");
        assert_eq!(value(&none, "COMPOSE_PROFILES").as_deref(), Some(""));
        assert_eq!(value(&none, "HERD_COLLECTOR").as_deref(), Some(""));
        assert!(!none.folder.path().join("dashboards").exists());
        let two = Project::lay_out(&spec(), 1, vec![prometheus, jaeger]).expect("laid out");
        assert_eq!(value(&two, "COMPOSE_PROFILES").as_deref(), Some("prometheus,jaeger"));
        assert_eq!(value(&two, "HERD_COLLECTOR"), None);
        assert!(two.folder.path().join("dashboards/prometheus/rules.yml").is_file());
        assert!(two.services().any(|service| service == "jaeger"));
    }

    /// Goal: the experiment's environment reaches our programs literally, and no two projects share a name.
    #[test]
    fn lays_out_a_project_of_its_own() {
        let first = Project::lay_out(&spec(), 1, vec![]).expect("laid out");
        let second = Project::lay_out(&spec(), 1, vec![]).expect("laid out");
        assert_ne!(first.name, second.name);
        let written = std::fs::read_to_string(first.folder.path().join("lab.yaml")).expect("written");
        let written: Value = serde_json::from_str(&written).expect("JSON");
        assert_eq!(written.pointer("/services/edge/environment/A"), Some(&Value::from("$$b")));
        assert_eq!(written.pointer("/services/redis"), None);
    }
}
