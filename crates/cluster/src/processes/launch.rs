//! What is started, with which flags and where: the plan of a fleet of local processes.

use super::{
    DRAIN, io_error, ports, postgres,
    redis::{Pair, REPLICA},
};
use crate::binaries::Binaries;
use herd_experiment::testbed::{Endpoints, FleetSpec, Part, TestbedError};
use nix::sys::signal::Signal;
use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Most nodes in a fleet, as the port of testbeds promises.
const NODES_MAX: u32 = 1_000;

/// One process to start.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) part: Part,
    pub(super) index: u32,
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(String, String)>,
    pub(super) log: PathBuf,
    /// Its admin port, if it has one.
    pub(super) admin: Option<SocketAddr>,
    /// What asks it to end gently.
    pub(super) ends_on: Signal,
    /// As whom it runs, user and group, if not as whoever runs the lab.
    pub(super) owner: Option<(u32, u32)>,
    /// Where it runs, if not where the lab does.
    pub(super) folder: Option<PathBuf>,
}

impl Launch {
    /// `cache-node-07`; parts that exist once have no number. Our own programs join the control plane under it.
    pub(super) fn name(&self) -> String {
        instance(self.part, self.index)
    }
}

/// A whole fleet to start.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) launches: Vec<Launch>,
    pub(super) redis: Pair,
    /// Where a Postgres is to be, in a fleet that has one; its launch is not among these yet.
    pub(super) postgres: Option<SocketAddr>,
    pub(super) endpoints: Endpoints,
}

/// Lays out a fleet.
pub(super) fn plan(
    spec: &FleetSpec,
    control_port: u16,
    programs: &Binaries,
    redis_server: &Path,
    data: &Path,
) -> Result<Plan, TestbedError> {
    if spec.nodes == 0 || spec.nodes > NODES_MAX {
        return Err(TestbedError::Unsupported(format!("{} nodes: a fleet has 1 to {NODES_MAX}", spec.nodes)));
    }
    let mut free =
        ports::pick(10 + 2 * spec.nodes as usize).map_err(io_error("finding free ports"))?.into_iter();
    let mut next = || free.next().expect("as many as were asked for");
    let [redis, replica, postgres, origin, origin_admin, lock, lock_admin, edge, edge_admin, edge_http] =
        std::array::from_fn(|_| next());
    let control = format!("http://127.0.0.1:{control_port}");
    let redis_url = format!("redis://{redis}");
    let file = |name: &str| data.join(name).display().to_string();

    let ours = |part: Part, index: u32, grpc: SocketAddr, admin: SocketAddr, flags: &[(&str, String)]| {
        let (name, program) = (instance(part, index), format!("herd-{part}"));
        let common = [
            ("--listen", grpc.to_string()),
            ("--admin", admin.to_string()),
            ("--instance", name.clone()),
            ("--drain-ms", DRAIN.as_millis().to_string()),
        ];
        let args = common
            .iter()
            .chain(flags)
            .flat_map(|(flag, value)| [OsString::from(flag), value.into()])
            .collect();
        let log = spec.log_dir.join(format!("{name}.log"));
        let program = programs.path(&program).to_owned();
        let (env, admin) = (spec.env.clone(), Some(admin));
        let ends_on = Signal::SIGTERM;
        Launch { part, index, program, args, env, log, admin, ends_on, owner: None, folder: None }
    };
    let replica = spec.redis_replica.then_some(replica);
    let postgres = spec.postgres.then_some(postgres);
    let rows = postgres.map_or_else(|| format!("sqlite:{}", file("origin.db")), postgres::url);
    let pair = Pair::lay_out(redis_server, redis, replica, data, &spec.log_dir)
        .map_err(io_error("making a folder for Redis"))?;
    let mut launches = pair.launches();
    launches.extend([
        ours(
            Part::Origin,
            0,
            origin,
            origin_admin,
            &[
                ("--database-url", rows),
                ("--rows", spec.origin_rows.to_string()),
                ("--pool-size", spec.origin_pool.to_string()),
                ("--ledger", file("ledger")),
            ],
        ),
        ours(
            Part::LockService,
            0,
            lock,
            lock_admin,
            &[
                ("--redis-url", redis_url.clone()),
                ("--database-url", format!("sqlite:{}", file("tokens.db"))),
            ],
        ),
        ours(
            Part::Edge,
            0,
            edge,
            edge_admin,
            &[("--control-url", control.clone()), ("--http", edge_http.to_string())],
        ),
    ]);
    for index in 0..spec.nodes {
        launches.push(ours(
            Part::CacheNode,
            index,
            next(),
            next(),
            &[
                ("--redis-url", redis_url.clone()),
                ("--lock-url", format!("http://{lock}")),
                ("--origin-url", format!("http://{origin}")),
                ("--control-url", control.clone()),
            ],
        ));
    }
    let metrics = [("edge", edge_admin), ("origin", origin_admin), ("lock-service", lock_admin)];
    let endpoints = Endpoints {
        edge_grpc: format!("http://{edge}"),
        edge_http: format!("http://{edge_http}"),
        origin_grpc: format!("http://{origin}"),
        lock_grpc: format!("http://{lock}"),
        redis_url: Some(redis_url),
        consoles: metrics
            .map(|(name, at)| (format!("{name} metrics"), format!("http://{at}/metrics")))
            .to_vec(),
    };
    Ok(Plan { launches, redis: pair, postgres, endpoints })
}

fn instance(part: Part, index: u32) -> String {
    match (part, index) {
        (Part::CacheNode, _) => format!("{part}-{index:02}"),
        REPLICA => "redis-replica".to_owned(),
        _ => part.to_string(),
    }
}
