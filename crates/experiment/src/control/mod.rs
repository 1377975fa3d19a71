//! The control plane: who is in the fleet, and which configuration everybody has applied.
//!
//! Edges and cache nodes open a session and introduce themselves; each hears every new configuration, edges hear the
//! membership too, and all acknowledge. A member is in the fleet as long as its session lives: HTTP/2 keep-alive ends
//! the session of a member that is paused or cut off within about [`KEEP_ALIVE_INTERVAL`] + [`KEEP_ALIVE_TIMEOUT`].
//! Waiting is always for a predicate over the whole [`View`] with a deadline, never for a bare change.

mod activity;
mod moves;
mod news;
mod session;
mod view;

pub use activity::{Activity, Observer};
pub use moves::Move;
pub use view::{MemberView, View};

use herd_wire::v1::{BadLink, FleetConfig, Links, MemberReport, Role, control_server::ControlServer};
use moves::Moves;
use news::Latest;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

/// How often the control plane asks a silent connection for a sign of life.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// How long it waits for the answer before the member counts as gone.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// The most members that may be joined at once; further sessions are refused.
pub const MEMBERS_MAX: usize = 4_096;
/// How long members are given to apply a configuration or a membership, where nobody asks for another time.
pub const APPLY_LIMIT: Duration = Duration::from_secs(20);

/// Why the control plane could not be started or did not reach what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The address cannot be listened on.
    #[error("the control plane cannot listen on {address}")]
    Listen {
        /// the address asked for
        address: SocketAddr,
        /// the system's words
        #[source]
        source: std::io::Error,
    },
    /// The deadline passed first.
    #[error("after {waited:?} still waiting for {what}: {view}")]
    Deadline {
        /// what was waited for
        what: String,
        /// how long
        waited: Duration,
        /// the fleet at that time, in one line
        view: String,
    },
}

/// A running control plane. Dropping it ends every session; members keep their last configuration.
#[derive(Debug)]
pub struct ControlPlane {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl ControlPlane {
    /// Starts to listen; port 0 takes any free port.
    ///
    /// # Errors
    /// [`ControlError::Listen`].
    pub async fn start(address: SocketAddr) -> Result<Self, ControlError> {
        let refused = |source| ControlError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let shared = Arc::new(Shared::new());
        let stop = CancellationToken::new();
        let service = ControlServer::new(session::Sessions::new(Arc::clone(&shared), stop.clone()));
        let stopped = stop.clone().cancelled_owned();
        let server = tokio::spawn(async move {
            let served = tonic::transport::Server::builder()
                .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
                .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
                .tcp_nodelay(true)
                .add_service(service)
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped)
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "the control plane ended");
            }
        });
        Ok(Self { shared, address, stop, server })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives the fleet a new configuration and returns its version, which is larger than any version that a member
    /// ever reported (a fleet may outlive its lab). The version that `config` carries is ignored.
    pub fn publish(&self, config: FleetConfig) -> u64 {
        self.shared.publish(config)
    }

    /// Takes a cache node out of the membership that edges hear, until [`ControlPlane::show`]; it stays a member otherwise
    /// and goes on hearing configurations, also after it joined again. Returns the new version of the membership, or nothing
    /// if the node is hidden already.
    pub fn hide(&self, instance: &str) -> Option<u64> {
        self.shared.set_hidden(instance, true)
    }

    /// Puts a hidden node back. Returns the new version of the membership, or nothing if the node was not hidden.
    pub fn show(&self, instance: &str) -> Option<u64> {
        self.shared.set_hidden(instance, false)
    }

    /// Tells the cache nodes which of their links are bad from now on (all others are good) and returns the version of that
    /// state. A node that joins later hears it at once.
    pub fn set_links(&self, bad: Vec<BadLink>) -> u64 {
        self.shared.set_links(bad)
    }

    /// Waits until these cache nodes have applied this version of the links, or a newer one.
    ///
    /// # Errors
    /// [`ControlError::Deadline`].
    pub async fn wait_links(
        &self,
        version: u64,
        instances: &[String],
        limit: Duration,
    ) -> Result<(), ControlError> {
        let what = format!("{} nodes to apply state {version} of their links", instances.len());
        self.wait_until(&what, limit, |view| {
            let applied =
                |instance: &String| view.node(instance).is_some_and(|node| node.links_version >= version);
            instances.iter().all(applied)
        })
        .await
    }

    /// The nodes that joined or left by themselves since the view with this [`View::nodes_moved`] was taken, in order of time,
    /// as far back as is remembered.
    #[must_use]
    pub fn moves_since(&self, nodes_moved: u64) -> Vec<Move> {
        self.shared.lock().moves.since(nodes_moved)
    }

    /// A copy of the fleet as it is now.
    #[must_use]
    pub fn view(&self) -> View {
        self.shared.lock().view.clone()
    }

    /// Waits until `predicate` holds for the fleet; `what` says in words what that is.
    ///
    /// # Errors
    /// [`ControlError::Deadline`] when `limit` passes first.
    pub async fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        mut predicate: impl FnMut(&View) -> bool,
    ) -> Result<(), ControlError> {
        let started = Instant::now();
        let mut changed = self.shared.changed.subscribe();
        let reached = async {
            // The plane owns the sender, so `changed` cannot fail while we borrow the plane.
            while !predicate(&self.shared.lock().view) && changed.changed().await.is_ok() {}
        };
        tokio::time::timeout(limit, reached).await.map_err(|_| ControlError::Deadline {
            what: what.to_owned(),
            waited: started.elapsed(),
            view: self.view().to_string(),
        })
    }

    /// Waits until every edge has applied the present membership.
    ///
    /// # Errors
    /// [`ControlError::Deadline`].
    pub async fn wait_membership(&self, limit: Duration) -> Result<(), ControlError> {
        self.wait_until("the edges to apply the membership", limit, View::is_membership_applied).await
    }

    /// Waits until at least `nodes` nodes and one edge are joined, all of them have applied configuration `version`,
    /// and every edge knows the present membership.
    ///
    /// # Errors
    /// [`ControlError::Deadline`].
    pub async fn wait_applied(&self, version: u64, nodes: u32, limit: Duration) -> Result<(), ControlError> {
        let what = format!("{nodes} nodes and the edge to apply configuration {version}");
        self.wait_until(&what, limit, |view| view.is_applied(version, nodes)).await
    }

    /// Ends every session and stops listening.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // Sessions end by the same token; a connection that lingers is not waited for.
        let _ = tokio::time::timeout(Duration::from_secs(1), &mut self.server).await;
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.stop.cancel();
        self.server.abort();
    }
}

/// What sessions and the plane share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Ticks whenever the view changed.
    changed: watch::Sender<()>,
    /// The newest configuration and membership, as sessions pass them on.
    latest: watch::Sender<Latest>,
    /// What the lab does.
    activity: activity::Shown,
}

#[derive(Debug, Default)]
struct State {
    view: View,
    moves: Moves,
    sessions: u64,
    highest_version_seen: u64,
}

impl State {
    fn moved(&mut self, node: &str, left: bool) {
        self.view.nodes_moved += 1;
        self.moves.push(node, left);
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            state: Mutex::default(),
            changed: watch::Sender::new(()),
            latest: watch::Sender::new(Latest::default()),
            activity: activity::Shown::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the fleet's state")
    }

    fn publish(&self, mut config: FleetConfig) -> u64 {
        let version = {
            let mut state = self.lock();
            let version = state.highest_version_seen.max(state.view.config_version) + 1;
            state.view.config_version = version;
            version
        };
        config.version = version;
        self.latest.send_modify(|latest| latest.config = Some(Arc::new(config)));
        self.changed.send_replace(());
        version
    }

    /// Takes a member in; a member of the same name is replaced, as it must have been restarted. Returns the number of
    /// the session, or nothing when the fleet is full.
    fn join(&self, member: MemberView) -> Option<u64> {
        let session = {
            let mut state = self.lock();
            if state.view.members_count() >= MEMBERS_MAX {
                return None;
            }
            state.sessions += 1;
            let session = state.sessions;
            state.highest_version_seen = state.highest_version_seen.max(member.config_version);
            // An edge that knows a membership of an earlier control plane must not seem to know this one's.
            let outdated = member.role == Role::Edge && member.members_version > state.view.members_version;
            if outdated {
                state.view.members_version = member.members_version;
            }
            // A node that outlived an earlier control plane must not seem to know this one's links, and keep that one's.
            if member.links_version > state.view.links_version {
                state.view.links_version = member.links_version;
                let bad = self.latest.borrow().links.bad.clone();
                self.links_changed(&mut state, bad);
            }
            let is_node = member.role == Role::CacheNode;
            if is_node {
                // Another life of a node whose session was not seen to end: it left all the same.
                if state.view.node(&member.instance).is_some() {
                    state.moved(&member.instance, true);
                }
                state.moved(&member.instance, false);
            }
            state.view.insert(MemberView { session, ..member });
            self.membership_changed(&mut state, is_node || outdated);
            session
        };
        self.changed.send_replace(());
        Some(session)
    }

    fn acknowledge(&self, role: Role, instance: &str, session: u64, report: &MemberReport) {
        {
            let mut state = self.lock();
            state.highest_version_seen = state.highest_version_seen.max(report.config_version);
            let mut serves = false;
            if let Some(member) = state.view.member_mut(role, instance).filter(|m| m.session == session) {
                serves = role == Role::CacheNode && member.config_version == 0 && report.config_version > 0;
                member.config_version = report.config_version;
                member.members_version = report.members_version;
                member.links_version = report.links_version;
                member.links_hit.clone_from(&report.links_hit);
            }
            // From its first configuration on the edges may send it requests.
            self.membership_changed(&mut state, serves);
        }
        self.changed.send_replace(());
    }

    fn leave(&self, role: Role, instance: &str, session: u64) {
        {
            let mut state = self.lock();
            if state.view.remove(role, instance, session) {
                let is_node = role == Role::CacheNode;
                if is_node {
                    state.moved(instance, true);
                }
                self.membership_changed(&mut state, is_node);
            }
        }
        self.changed.send_replace(());
    }

    fn set_links(&self, bad: Vec<BadLink>) -> u64 {
        let version = {
            let mut state = self.lock();
            self.links_changed(&mut state, bad)
        };
        self.changed.send_replace(());
        version
    }

    fn set_hidden(&self, instance: &str, hidden: bool) -> Option<u64> {
        let version = {
            let mut state = self.lock();
            if !state.view.set_hidden(instance, hidden) {
                return None;
            }
            self.membership_changed(&mut state, true);
            state.view.members_version
        };
        self.changed.send_replace(());
        Some(version)
    }

    /// Called with the state locked, so that versions reach sessions in order.
    fn links_changed(&self, state: &mut State, bad: Vec<BadLink>) -> u64 {
        state.view.links_version += 1;
        let version = state.view.links_version;
        self.latest.send_modify(|latest| latest.links = Arc::new(Links { version, bad }));
        version
    }

    /// Called with the state locked, so that membership versions reach sessions in order.
    fn membership_changed(&self, state: &mut State, changed: bool) {
        if !changed {
            return;
        }
        state.view.members_version += 1;
        let members = Arc::new(state.view.membership());
        self.latest.send_modify(|latest| latest.members = members);
    }
}
