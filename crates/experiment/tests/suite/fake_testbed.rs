//! A testbed whose parts are tasks of this process: it does what it is told, keeps a record of it, and can be told not to.

use crate::fakes::{Fakes, member, serve};
use futures::{FutureExt, future::BoxFuture};
use herd_experiment::testbed::{
    Backend, Endpoints, FleetSpec, Part, PartFailure, PartState, Progress, RedisFault, RedisInfo, Signal,
    Testbed, TestbedError,
};
use herd_wire::v1::Role;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};
use tokio::task::{AbortHandle, JoinSet};

/// Who holds every lease, as the fake lock service tells it.
#[derive(Clone, Debug)]
pub(crate) struct FakeHolder {
    pub(crate) node: String,
    /// Looks after which the lease is a new one.
    pub(crate) new_after: u32,
    /// Looks after which nobody holds it.
    pub(crate) gone_after: Option<u32>,
    pub(crate) looks: u32,
    /// What it has left, at each look.
    pub(crate) expires_in_ms: u32,
}

/// A fleet of `members` nodes and one edge that live in this process.
pub(crate) struct FakeTestbed {
    members: u32,
    pub(crate) fakes: Fakes,
    tasks: JoinSet<()>,
    nodes: BTreeMap<u32, AbortHandle>,
    control_port: u16,
    pub(crate) downs: u32,
    /// What it was told, in order: `pause cache-node 1`, `Flush`.
    pub(crate) told: Vec<String>,
    /// Every note of what is in force.
    pub(crate) journal: Vec<Vec<String>>,
    /// Takes signals and does nothing.
    pub(crate) deaf: bool,
    /// Refuses this signal.
    pub(crate) refuses: Option<Signal>,
    states: BTreeMap<(Part, u32), PartState>,
    pub(crate) redis: RedisInfo,
    /// What is on Redis's disk stays there, whoever wipes it.
    pub(crate) keeps_data: bool,
    /// Redis has no disk.
    pub(crate) loses_data: bool,
}

impl FakeTestbed {
    pub(crate) fn new(members: u32) -> Self {
        Self {
            members,
            fakes: Fakes::default(),
            tasks: JoinSet::new(),
            nodes: BTreeMap::new(),
            control_port: 0,
            downs: 0,
            told: Vec::new(),
            journal: Vec::new(),
            deaf: false,
            refuses: None,
            states: BTreeMap::new(),
            redis: RedisInfo { keys: 100, mark: None, evicted: 0, pid: 1, uptime_s: 1_000 },
            keeps_data: false,
            loses_data: false,
        }
    }

    fn start_node(&mut self, index: u32) {
        // What a node hears is its own; its links are the fleet's.
        let fakes = Fakes::default();
        fakes.truth().links_hit.clone_from(&self.fakes.truth().links_hit);
        let node = member(self.control_port, Role::CacheNode, format!("node-{index}"), fakes);
        self.nodes.insert(index, self.tasks.spawn(node));
    }

    fn obey(&mut self, part: Part, index: u32, signal: Signal) {
        let state = match signal {
            Signal::Pause => PartState::Paused,
            Signal::Kill | Signal::Stop => PartState::Ended,
            Signal::Resume | Signal::Start => PartState::Running { pid: 1 },
        };
        self.states.insert((part, index), state);
        match (part, signal) {
            (Part::CacheNode, Signal::Kill | Signal::Stop) => {
                if let Some(node) = self.nodes.remove(&index) {
                    node.abort();
                }
            }
            (Part::CacheNode, Signal::Start) => self.start_node(index),
            (Part::Redis, Signal::Start) => {
                (self.redis.pid, self.redis.uptime_s) = (self.redis.pid + 1, 0);
                if self.loses_data {
                    self.redis.mark = None;
                }
            }
            _ => {}
        }
    }
}

impl Testbed for FakeTestbed {
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
        _spec: &'a FleetSpec,
        control_port: u16,
        _progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<Endpoints, TestbedError>> {
        async move {
            self.control_port = control_port;
            let at = serve(&self.fakes, &mut self.tasks).await;
            self.tasks.spawn(member(control_port, Role::Edge, "edge-0".to_owned(), self.fakes.clone()));
            (0..self.members).for_each(|index| self.start_node(index));
            Ok(Endpoints {
                edge_grpc: at.clone(),
                edge_http: String::new(),
                origin_grpc: at.clone(),
                lock_grpc: at,
                redis_url: None,
                consoles: Vec::new(),
            })
        }
        .boxed()
    }

    fn endpoints(&self) -> Option<Endpoints> {
        None
    }

    fn signal(&mut self, part: Part, index: u32, signal: Signal) -> BoxFuture<'_, Result<(), TestbedError>> {
        self.told.push(format!("{signal:?} {part} {index}"));
        if self.refuses == Some(signal) {
            return async move { Err(TestbedError::Unsupported("it refuses".to_owned())) }.boxed();
        }
        if !self.deaf {
            self.obey(part, index, signal);
        }
        async { Ok(()) }.boxed()
    }

    fn state(&mut self, part: Part, index: u32) -> BoxFuture<'_, Result<PartState, TestbedError>> {
        let state = self.states.get(&(part, index)).copied().unwrap_or(PartState::Running { pid: 1 });
        async move { Ok(state) }.boxed()
    }

    fn instance(&self, part: Part, index: u32) -> Option<String> {
        (part == Part::CacheNode && index < self.members).then(|| format!("node-{index}"))
    }

    fn redis(&mut self, what: RedisFault) -> BoxFuture<'_, Result<(), TestbedError>> {
        if let RedisFault::Mark { mark } = what {
            self.redis.mark = Some(mark);
            return async { Ok(()) }.boxed();
        }
        self.told.push(format!("{what:?}"));
        if !self.deaf {
            match what {
                RedisFault::Wipe if self.keeps_data => {}
                RedisFault::Wipe | RedisFault::Flush => (self.redis.keys, self.redis.mark) = (1, None),
                RedisFault::Limit { .. } => self.redis.evicted += 7,
                RedisFault::Promote => {
                    if !self.keeps_data {
                        self.redis.mark = None;
                    }
                    self.obey(Part::Redis, 0, Signal::Start);
                }
                // Some more, after the last look of whoever counts them.
                RedisFault::Unlimit => self.redis.evicted += 2,
                RedisFault::Mark { .. } | RedisFault::Detach => {}
            }
        }
        async { Ok(()) }.boxed()
    }

    fn redis_info(&mut self) -> BoxFuture<'_, Result<RedisInfo, TestbedError>> {
        let ended = self.states.get(&(Part::Redis, 0)) == Some(&PartState::Ended);
        let answer =
            if ended { Err(TestbedError::Unsupported("it has ended".to_owned())) } else { Ok(self.redis) };
        async move { answer }.boxed()
    }

    fn note_faults(&mut self, in_force: &[String]) -> Result<(), TestbedError> {
        self.journal.push(in_force.to_vec());
        Ok(())
    }

    fn resident_memory(&mut self, _: Part) -> BoxFuture<'_, Result<Vec<u64>, TestbedError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    /// Once nodes are missing, the missing ones have ended.
    fn failures(&mut self) -> BoxFuture<'_, Vec<PartFailure>> {
        let how = "exit status 64".to_owned();
        let failure =
            PartFailure { part: Part::CacheNode, index: 2, how, log_tail: "bad settings".to_owned() };
        async move { vec![failure] }.boxed()
    }

    fn down(&mut self) -> BoxFuture<'_, Result<(), TestbedError>> {
        self.tasks.abort_all();
        self.downs += 1;
        async { Ok(()) }.boxed()
    }
}
