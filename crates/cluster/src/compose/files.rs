//! The compose project as files: `compose.yaml` as it stands in the repository, and beside it what differs for a lab
//! that runs on the host.

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
const PORTS: [&str; 10] = [
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
    folder: TempDir,
    env: Vec<(String, String)>,
}

impl Project {
    /// Writes the files of a new project.
    pub(super) fn lay_out(spec: &FleetSpec, control_port: u16) -> io::Result<Self> {
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
        if spec.redis_replica {
            env.push(("COMPOSE_PROFILES".to_owned(), "replica".to_owned()));
        }
        Ok(Self { name, has_replica: spec.redis_replica, folder, env })
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
        PARTS.iter().map(|(_, service)| *service).chain(self.has_replica.then_some(REPLICA))
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
    use std::path::PathBuf;

    fn spec() -> FleetSpec {
        FleetSpec {
            nodes: 3,
            origin_rows: 10,
            origin_pool: 4,
            state_dir: PathBuf::new(),
            log_dir: PathBuf::new(),
            redis_replica: false,
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
    }

    /// Goal: the experiment's environment reaches our programs literally, and no two projects share a name.
    #[test]
    fn lays_out_a_project_of_its_own() {
        let first = Project::lay_out(&spec(), 1).expect("laid out");
        let second = Project::lay_out(&spec(), 1).expect("laid out");
        assert_ne!(first.name, second.name);
        let written = std::fs::read_to_string(first.folder.path().join("lab.yaml")).expect("written");
        let written: Value = serde_json::from_str(&written).expect("JSON");
        assert_eq!(written.pointer("/services/edge/environment/A"), Some(&Value::from("$$b")));
        assert_eq!(written.pointer("/services/redis"), None);
    }
}
