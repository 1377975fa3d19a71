//! The cache nodes this edge knows: membership, routing, ejection and return.
//!
//! A node is ejected when it cannot be reached, when its connection breaks under a request, or when a request times out and
//! nothing else came back from it meanwhile. It is let back by one probe (a gRPC health check), so that no client's request is
//! risked on it. A slow origin must not eject healthy nodes: hence the condition on silence, and hence the first probe of a
//! silent node runs at once. The fleet never ejects everybody: if all are ejected, the least recently ejected one serves.

use crate::metrics::{EdgeMetrics, EjectionReason};
use crate::node::{Node, spell};
use crate::routing;
use herd_service::control::ControlHandle;
use herd_service::gate::{Gate, Limits};
use herd_service::kit::Readiness;
use herd_service::rpc;
use herd_wire::v1::{Membership, Routing};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{error, info, warn};

/// How long a probe may take.
const PROBE_MAX: Duration = Duration::from_millis(500);

/// `/readyz` says so until the first configuration came.
const NO_CONFIGURATION: &str = "no configuration from the control plane";

/// What requests are routed by; replaced as a whole.
#[derive(Clone, Default)]
pub(crate) struct View {
    pub(crate) routing: Routing,
    pub(crate) config_version: u64,
    pub(crate) members_version: u64,
    /// Every member, ordered by instance.
    pub(crate) nodes: Vec<Arc<Node>>,
    /// The members that requests may go to, in the same order.
    pub(crate) eligible: Vec<Arc<Node>>,
}

pub(crate) struct Fleet {
    view: RwLock<Arc<View>>,
    metrics: Arc<EdgeMetrics>,
    origin: Instant,
}

impl Fleet {
    pub(crate) fn new(metrics: Arc<EdgeMetrics>) -> Arc<Self> {
        Arc::new(Self { view: RwLock::default(), metrics, origin: Instant::now() })
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The node for a key; `except` is a node that was just found unreachable. None: there is no (other) node.
    pub(crate) fn pick(&self, key: &str, except: Option<&Arc<Node>>) -> Option<Arc<Node>> {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let random = rand::random();
        let Some(except) = except else {
            return routing::pick(view.routing, &view.eligible, key, random)
                .map(|at| view.eligible[at].clone());
        };
        let others: Vec<_> =
            view.eligible.iter().filter(|node| !Arc::ptr_eq(node, except)).cloned().collect();
        routing::pick(view.routing, &others, key, random).map(|at| others[at].clone())
    }

    /// Takes a membership: channels of nodes that stay are kept; those of dropped nodes end with their last request.
    pub(crate) fn set_members(&self, members: &Membership) {
        self.change(|view| {
            let old = std::mem::take(&mut view.nodes);
            view.members_version = members.version;
            view.nodes = members
                .nodes
                .iter()
                .filter_map(|member| {
                    if let Some(kept) = old.iter().find(|node| node.member == *member) {
                        return Some(kept.clone());
                    }
                    match Node::new(member.clone(), self.origin) {
                        Ok(node) => Some(Arc::new(node)),
                        Err(error) => {
                            warn!(node = member.instance, "left out: {error}");
                            None
                        }
                    }
                })
                .collect();
            view.nodes.sort_by(|a, b| a.member.instance.cmp(&b.member.instance));
        });
        info!(version = members.version, nodes = members.nodes.len(), "membership applied");
    }

    pub(crate) fn set_routing(&self, routing: Routing, config_version: u64) {
        self.change(|view| (view.routing, view.config_version) = (routing, config_version));
    }

    /// Ejects a node and has it probed until it can be let back.
    pub(crate) fn eject(self: &Arc<Self>, node: &Arc<Node>, reason: EjectionReason) {
        let Some(strikes) = node.eject(Instant::now()) else { return };
        self.metrics.ejected(reason);
        warn!(node = node.member.instance, reason = reason.label(), strikes, "ejected");
        self.change(|_| {});
        let first_wait = match reason {
            // Doubt favours a node that is slow for the first time.
            EjectionReason::Silent if strikes == 0 => Duration::ZERO,
            _ => spell(strikes),
        };
        tokio::spawn(probe(Arc::downgrade(self), Arc::downgrade(node), first_wait));
    }

    fn let_back(&self, node: &Node) {
        node.let_back();
        self.metrics.returns.inc();
        info!(node = node.member.instance, "let back");
        self.change(|_| {});
    }

    /// Replaces the view by a changed one, with the eligible nodes worked out anew.
    fn change(&self, change: impl FnOnce(&mut View)) {
        let mut current = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let mut view = View::clone(&current);
        change(&mut view);
        view.eligible = view.nodes.iter().filter(|node| !node.is_ejected()).cloned().collect();
        if view.eligible.is_empty() {
            let now = Instant::now();
            view.eligible.extend(view.nodes.iter().max_by_key(|node| node.ejected_for(now)).cloned());
        }
        let ejected = view.nodes.iter().filter(|node| node.is_ejected()).count();
        self.metrics.members.set(i64::try_from(view.nodes.len()).unwrap_or(i64::MAX));
        self.metrics.members_ejected.set(i64::try_from(ejected).unwrap_or(i64::MAX));
        *current = Arc::new(view);
    }
}

/// Probes an ejected node, with growing pauses, until it serves or has left the fleet.
async fn probe(fleet: Weak<Fleet>, node: Weak<Node>, first_wait: Duration) {
    let mut wait = first_wait;
    loop {
        tokio::time::sleep(wait).await;
        let (Some(fleet), Some(node)) = (fleet.upgrade(), node.upgrade()) else { return };
        if rpc::is_serving(node.channel(), PROBE_MAX).await {
            fleet.let_back(&node);
            return;
        }
        // A probe at once is part of the ejection it followed.
        wait = if wait.is_zero() { spell(0) } else { spell(node.strike()) };
    }
}

/// Applies what the control plane says, and acknowledges it, until the process ends. A configuration whose gate cannot be
/// applied is refused as a whole: the edge keeps the last good one and does not acknowledge.
pub(crate) async fn follow(fleet: Arc<Fleet>, gate: Gate, mut control: ControlHandle, readiness: Readiness) {
    readiness.hold(NO_CONFIGURATION);
    // What the edge was started with: in force where a configuration says nothing of it.
    let own = gate.limits();
    let (mut config, mut members) = (Arc::default(), Arc::default());
    loop {
        if is_new(&mut config, &mut control.config) && config.version > 0 {
            match config.edge_gate.map_or(Ok(own), Limits::try_from) {
                Ok(limits) => {
                    gate.set(limits);
                    fleet.set_routing(config.routing(), config.version);
                    control.ack_config(config.version);
                    readiness.allow(NO_CONFIGURATION);
                }
                Err(bad) => {
                    error!(version = config.version, "edge_gate: {bad}; keeping the last configuration");
                }
            }
        }
        if is_new(&mut members, &mut control.members) && members.version > 0 {
            fleet.set_members(&members);
            control.ack_members(members.version);
        }
        let changed = tokio::select! {
            changed = control.config.changed() => changed,
            changed = control.members.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Takes the newest; says whether it is another one. A control plane that was started anew may use a number again, so
/// numbers are not compared.
fn is_new<T>(current: &mut Arc<T>, newest: &mut watch::Receiver<Arc<T>>) -> bool {
    let newest = newest.borrow_and_update().clone();
    let new = !Arc::ptr_eq(current, &newest);
    *current = newest;
    new
}
