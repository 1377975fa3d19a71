//! The fleet as the control plane sees it.

use herd_wire::v1::{LinkHits, Member, Membership, Peer, Role};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Who is joined and what each member has applied. Members are ordered by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The newest configuration published; 0: none yet.
    pub config_version: u64,
    /// Grows whenever a cache node joins or leaves, is hidden or shown.
    pub members_version: u64,
    /// How often a cache node joined or left by itself: hiding and showing do not count.
    pub nodes_moved: u64,
    /// The newest state of the nodes' links; 0: none yet, every link is good.
    pub links_version: u64,
    hidden: BTreeSet<String>,
    edges: BTreeMap<String, MemberView>,
    nodes: BTreeMap<String, MemberView>,
}

/// One member, as it introduced itself and by its latest acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// What it is.
    pub role: Role,
    /// Its name, unique in its role.
    pub instance: String,
    /// `host:port` of its gRPC, as other members reach it.
    pub address: String,
    /// `host:port` of its admin port.
    pub admin_address: String,
    /// Its process id, in its own namespace.
    pub pid: u32,
    /// The newest configuration that it applied; 0: none yet.
    pub config_version: u64,
    /// Edges: the newest membership that it applied.
    pub members_version: u64,
    /// Cache nodes: the newest state of links that it applied.
    pub links_version: u64,
    /// Cache nodes: what each of its links hit since it was last made bad.
    pub links_hit: Vec<LinkHits>,
    /// Grows with every member that joins: another number is another life.
    pub session: u64,
}

impl MemberView {
    /// What its link to this peer hit since it was last made bad: pieces of calls, never what only keeps a connection alive.
    #[must_use]
    pub fn hits_of(&self, peer: Peer) -> u64 {
        self.links_hit.iter().filter(|hits| hits.peer() == peer).map(|hits| hits.hit).sum()
    }
}

impl View {
    /// The edges, ordered by name.
    pub fn edges(&self) -> impl ExactSizeIterator<Item = &MemberView> {
        self.edges.values()
    }

    /// The cache nodes, ordered by name.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &MemberView> {
        self.nodes.values()
    }

    /// How many cache nodes are joined.
    #[must_use]
    pub fn nodes_joined(&self) -> u32 {
        u32::try_from(self.nodes.len()).expect("members are bounded by MEMBERS_MAX")
    }

    /// How many edges are joined.
    #[must_use]
    pub fn edges_joined(&self) -> u32 {
        u32::try_from(self.edges.len()).expect("members are bounded by MEMBERS_MAX")
    }

    /// Whether at least `nodes` nodes and one edge are joined, everybody applied configuration `version`, and every
    /// edge knows the present membership.
    #[must_use]
    pub fn is_applied(&self, version: u64, nodes: u32) -> bool {
        self.nodes_joined() >= nodes
            && self.edges_joined() >= 1
            && self.nodes().chain(self.edges()).all(|member| member.config_version == version)
            && self.is_membership_applied()
    }

    /// Whether every edge knows the present membership.
    #[must_use]
    pub fn is_membership_applied(&self) -> bool {
        self.edges().all(|edge| edge.members_version == self.members_version)
    }

    /// A cache node that is joined.
    #[must_use]
    pub fn node(&self, instance: &str) -> Option<&MemberView> {
        self.nodes.get(instance)
    }

    /// Whether a node is joined, has applied the present configuration, and every edge knows of it.
    #[must_use]
    pub fn is_node_ready(&self, instance: &str) -> bool {
        self.node(instance).is_some_and(|node| node.config_version == self.config_version)
            && self.is_membership_applied()
    }

    /// Whether an edge is joined, and all edges have applied the present configuration and membership.
    #[must_use]
    pub fn is_edge_ready(&self) -> bool {
        self.edges_joined() >= 1
            && self.edges().all(|edge| edge.config_version == self.config_version)
            && self.is_membership_applied()
    }

    pub(super) fn members_count(&self) -> usize {
        self.edges.len() + self.nodes.len()
    }

    pub(super) fn membership(&self) -> Membership {
        let nodes = self
            .nodes()
            .filter(|node| !self.hidden.contains(&node.instance) && self.is_configured(node))
            .map(|node| Member { instance: node.instance.clone(), address: node.address.clone() })
            .collect();
        Membership { version: self.members_version, nodes }
    }

    /// Whether a node can serve: it knows a configuration, if there is one to be known. An edge that heard of it before would
    /// send it requests that it can only refuse.
    pub(super) fn is_configured(&self, node: &MemberView) -> bool {
        node.config_version > 0 || self.config_version == 0
    }

    /// Whether that changed anything. A node need not be joined to be hidden.
    pub(super) fn set_hidden(&mut self, instance: &str, hidden: bool) -> bool {
        if hidden { self.hidden.insert(instance.to_owned()) } else { self.hidden.remove(instance) }
    }

    pub(super) fn insert(&mut self, member: MemberView) {
        self.of_mut(member.role).insert(member.instance.clone(), member);
    }

    pub(super) fn member_mut(&mut self, role: Role, instance: &str) -> Option<&mut MemberView> {
        self.of_mut(role).get_mut(instance)
    }

    /// Whether a member left: nothing happens if its name was taken over by a later session.
    pub(super) fn remove(&mut self, role: Role, instance: &str, session: u64) -> bool {
        let members = self.of_mut(role);
        let is_current = members.get(instance).is_some_and(|member| member.session == session);
        is_current && members.remove(instance).is_some()
    }

    fn of_mut(&mut self, role: Role) -> &mut BTreeMap<String, MemberView> {
        match role {
            Role::Edge => &mut self.edges,
            Role::CacheNode | Role::Unspecified => &mut self.nodes,
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nodes, edges) = (self.nodes_joined(), self.edges_joined());
        let (version, applied) =
            (self.config_version, |m: &&MemberView| m.config_version == self.config_version);
        write!(f, "{nodes} nodes and {edges} edges are joined")?;
        if version > 0 {
            let (nodes, edges) = (self.nodes().filter(applied).count(), self.edges().filter(applied).count());
            write!(f, ", {nodes} and {edges} of them applied configuration {version}")?;
        }
        Ok(())
    }
}
