use herd_experiment::control::{ControlError, ControlPlane, View};
use herd_wire::v1::{
    BadLink, ControlUpdate, FleetConfig, MemberReport, Peer, Role, bad_link, control_client::ControlClient,
};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Endpoint};

/// Longer than anything here takes, shorter than a person's patience.
const LIMIT: Duration = Duration::from_secs(20);

async fn plane() -> ControlPlane {
    ControlPlane::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap()
}

struct FakeMember {
    report: MemberReport,
    reports: mpsc::Sender<MemberReport>,
    updates: Streaming<ControlUpdate>,
}

impl FakeMember {
    async fn join(at: SocketAddr, role: Role, instance: &str) -> Self {
        let report = MemberReport {
            role: role.into(),
            instance: instance.to_owned(),
            address: "127.0.0.1:1".to_owned(),
            ..MemberReport::default()
        };
        Self::join_as(at, report).await
    }

    async fn join_as(at: SocketAddr, report: MemberReport) -> Self {
        let channel = Endpoint::from_shared(format!("http://{at}")).unwrap().connect().await.unwrap();
        let mut client = ControlClient::new(channel);
        let (reports, stream) = mpsc::channel(4);
        reports.send(report.clone()).await.unwrap();
        let updates = client.session(ReceiverStream::new(stream)).await.unwrap().into_inner();
        Self { report, reports, updates }
    }

    /// Takes one update and acknowledges what is in it.
    async fn obey(&mut self) -> ControlUpdate {
        let update = tokio::time::timeout(LIMIT, self.updates.message()).await.unwrap().unwrap().unwrap();
        if let Some(config) = &update.config {
            self.report.config_version = config.version;
        }
        if let Some(members) = &update.members {
            self.report.members_version = members.version;
        }
        if let Some(links) = &update.links {
            self.report.links_version = links.version;
        }
        self.reports.send(self.report.clone()).await.unwrap();
        update
    }
}

/// A configuration counts as applied when every node and edge said so, and the edge knows all nodes; not before.
#[tokio::test]
async fn applied_means_everybody() {
    let plane = plane().await;
    let mut node = FakeMember::join(plane.address(), Role::CacheNode, "node-0").await;
    plane.wait_until("the node", LIMIT, |view| view.nodes_joined() == 1).await.unwrap();
    let mut edge = FakeMember::join(plane.address(), Role::Edge, "edge-0").await;
    let members = edge.obey().await.members.expect("an edge hears who is there");
    assert_eq!(members.nodes[0].instance, "node-0");

    let config = FleetConfig { key_prefix: "p:".to_owned(), ..FleetConfig::default() };
    let version = plane.publish(config);
    assert_eq!(version, 1);
    assert!(edge.obey().await.config.is_some());
    let early = plane.wait_applied(version, 1, Duration::from_millis(50)).await.unwrap_err();
    assert!(early.to_string().contains("0 and 1 of them applied configuration 1"), "{early}");

    let told = node.obey().await;
    assert_eq!(told.config.map(|config| (config.version, config.key_prefix)), Some((1, "p:".to_owned())));
    assert!(told.members.is_none(), "nodes do not need the membership");
    assert_eq!(edge.obey().await.members.unwrap().nodes.len(), 1, "the node can serve now");
    plane.wait_applied(version, 1, LIMIT).await.unwrap();
    let few = plane.wait_applied(version, 2, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(few, ControlError::Deadline { .. }));
}

/// A member that hangs up is no longer in the fleet, and the edge hears of it; one that comes late hears the present state.
#[tokio::test]
async fn leaving_and_coming_late() {
    let plane = plane().await;
    let mut first = FakeMember::join(plane.address(), Role::CacheNode, "node-0").await;
    let mut second = FakeMember::join(plane.address(), Role::CacheNode, "node-1").await;
    plane.wait_until("two nodes", LIMIT, |view| view.nodes_joined() == 2).await.unwrap();
    plane.publish(FleetConfig::default());
    first.obey().await;
    second.obey().await;
    plane.wait_until("both configured", LIMIT, all_configured).await.unwrap();
    let mut edge = FakeMember::join(plane.address(), Role::Edge, "edge-0").await;
    let late = edge.obey().await;
    assert_eq!((late.config.unwrap().version, late.members.unwrap().nodes.len()), (1, 2));
    drop(first);
    plane.wait_until("one node", LIMIT, |view| view.nodes_joined() == 1).await.unwrap();
    assert_eq!(edge.obey().await.members.unwrap().nodes[0].instance, "node-1");
}

/// An edge hears of a node once it knows a configuration: what it was sent before, it could only refuse.
#[tokio::test]
async fn a_node_without_a_configuration_serves_nobody() {
    let plane = plane().await;
    plane.publish(FleetConfig::default());
    let mut edge = FakeMember::join(plane.address(), Role::Edge, "edge-0").await;
    let mut node = FakeMember::join(plane.address(), Role::CacheNode, "node-0").await;
    plane.wait_until("the node", LIMIT, |view| view.nodes_joined() == 1).await.unwrap();
    let heard = edge.obey().await.members.map_or(0, |members| members.nodes.len());
    assert_eq!(heard, 0, "it has joined, and knows nothing yet");
    node.obey().await;
    while edge.obey().await.members.is_none_or(|members| members.nodes.is_empty()) {}
}

fn all_configured(view: &View) -> bool {
    view.nodes().all(|node| node.config_version == view.config_version)
}

/// A hidden node is kept from the edges, also when it joins again, and stays a member in all else; shown, it is back.
#[tokio::test]
async fn hidden_from_the_edges() {
    let plane = plane().await;
    let mut first = FakeMember::join(plane.address(), Role::CacheNode, "node-0").await;
    let mut second = FakeMember::join(plane.address(), Role::CacheNode, "node-1").await;
    plane.wait_until("two nodes", LIMIT, |view| view.nodes_joined() == 2).await.unwrap();
    let mut edge = FakeMember::join(plane.address(), Role::Edge, "edge-0").await;
    assert_eq!(edge.obey().await.members.unwrap().nodes.len(), 2);
    let moved = plane.view().nodes_moved;

    let version = plane.hide("node-1").expect("it was there");
    assert_eq!(plane.hide("node-1"), None, "it is hidden already");
    let early = plane.wait_membership(Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(early, ControlError::Deadline { .. }), "the edge has not heard of it");
    let members = edge.obey().await.members.unwrap();
    assert_eq!((members.version, members.nodes.len()), (version, 1));
    assert_eq!(members.nodes[0].instance, "node-0");
    plane.wait_membership(LIMIT).await.unwrap();
    assert_eq!((plane.view().nodes_joined(), plane.view().nodes_moved), (2, moved));
    plane.publish(FleetConfig::default());
    assert!(second.obey().await.config.is_some(), "it goes on hearing configurations");
    first.obey().await;
    plane.wait_until("both configured", LIMIT, all_configured).await.unwrap();

    // Back after a restart, and still hidden: the edge hears of the others only.
    let mut again = FakeMember::join(plane.address(), Role::CacheNode, "node-1").await;
    plane.wait_until("the restart", LIMIT, |view| view.nodes_moved == moved + 2).await.unwrap();
    let log: Vec<(String, bool)> =
        plane.moves_since(moved).into_iter().map(|moved| (moved.node, moved.left)).collect();
    assert_eq!(log, [("node-1".to_owned(), true), ("node-1".to_owned(), false)], "its old life ended");
    again.obey().await;
    plane.wait_until("its configuration", LIMIT, all_configured).await.unwrap();
    drop(first);
    plane.wait_until("one node to leave", LIMIT, |view| view.nodes_joined() == 1).await.unwrap();
    let last = plane.show("node-1").expect("it was hidden");
    assert_eq!(plane.show("node-1"), None);
    let members = loop {
        let members = edge.obey().await.members.into_iter().find(|members| members.version == last);
        if let Some(members) = members {
            break members;
        }
    };
    assert_eq!(members.nodes.iter().map(|node| node.instance.as_str()).collect::<Vec<_>>(), ["node-1"]);
}

/// A member that was restarted replaces its earlier self, whose late end changes nothing.
#[tokio::test]
async fn a_restarted_member_is_one_member() {
    let plane = plane().await;
    let earlier = FakeMember::join(plane.address(), Role::CacheNode, "node-0").await;
    let mut report = earlier.report.clone();
    report.pid = 2;
    let _later = FakeMember::join_as(plane.address(), report).await;
    plane.wait_until("the later one", LIMIT, |view| view.nodes().any(|node| node.pid == 2)).await.unwrap();
    let before = plane.view().members_version;
    drop(earlier);
    // Something that happens after the earlier session's end, so that its end has been seen.
    let _other = FakeMember::join(plane.address(), Role::CacheNode, "node-1").await;
    plane.wait_until("both", LIMIT, |view| view.nodes_joined() == 2).await.unwrap();
    assert_eq!(plane.view().members_version, before + 1);
}

/// A fleet may outlive its lab: a new lab's versions are larger than any that a member has.
#[tokio::test]
async fn versions_go_on_after_a_new_start() {
    let plane = plane().await;
    let report = MemberReport {
        role: Role::Edge.into(),
        instance: "edge-0".to_owned(),
        address: "127.0.0.1:1".to_owned(),
        config_version: 7,
        members_version: 50,
        ..MemberReport::default()
    };
    let mut edge = FakeMember::join_as(plane.address(), report).await;
    assert_eq!(edge.obey().await.members.expect("its membership is outdated").version, 51);
    assert_eq!(plane.publish(FleetConfig::default()), 8);
}

/// Introductions that make no sense are refused and nobody joins.
#[tokio::test]
async fn nonsense_is_refused() {
    let plane = plane().await;
    let mut nobody = FakeMember::join(plane.address(), Role::Unspecified, "x").await;
    let refusal = tokio::time::timeout(LIMIT, nobody.updates.message()).await.unwrap().unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::InvalidArgument);
    assert_eq!((plane.view().nodes_joined(), plane.view().edges_joined()), (0, 0));
}

/// A paused process keeps its TCP connection and says nothing: keep-alive takes it out of the fleet.
#[tokio::test]
async fn a_frozen_member_leaves() {
    let plane = plane().await;
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, to) = (relay.local_addr().unwrap(), plane.address());
    let copying = tokio::spawn(async move {
        let (mut near, _) = relay.accept().await.unwrap();
        let mut far = TcpStream::connect(to).await.unwrap();
        let copied = tokio::io::copy_bidirectional(&mut near, &mut far);
        // Frozen when this task is told to end its copying: both sockets stay open.
        let freeze = FREEZE.notified();
        tokio::select! { _ = copied => {}, () = freeze => {} }
        THAW.notified().await;
        drop((near, far));
    });
    let _member = FakeMember::join(at, Role::CacheNode, "node-0").await;
    plane.wait_until("the node", LIMIT, |view| view.nodes_joined() == 1).await.unwrap();
    FREEZE.notify_one();
    plane.wait_until("the node to leave", LIMIT, |view| view.nodes_joined() == 0).await.unwrap();
    THAW.notify_one();
    copying.await.unwrap();
}

static FREEZE: tokio::sync::Notify = tokio::sync::Notify::const_new();
static THAW: tokio::sync::Notify = tokio::sync::Notify::const_new();

/// Cache nodes hear which of their links are bad, also those that join later; edges do not.
#[tokio::test]
async fn links_are_told_to_nodes_alone() {
    let plane = plane().await;
    let mut node = FakeMember::join(plane.address(), Role::CacheNode, "node-0").await;
    let bad = BadLink {
        instance: "node-1".to_owned(),
        peer: Peer::Redis.into(),
        rule: Some(bad_link::Rule::BlackHole(true)),
    };
    let version = plane.set_links(vec![bad.clone()]);
    let links = node.obey().await.links.unwrap();
    assert_eq!((links.version, &links.bad[..]), (version, &[bad][..]));
    plane.wait_links(version, &["node-0".to_owned()], LIMIT).await.unwrap();

    let mut late = FakeMember::join(plane.address(), Role::CacheNode, "node-1").await;
    let both = ["node-0".to_owned(), "node-1".to_owned()];
    let early = plane.wait_links(version, &both, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(early, ControlError::Deadline { .. }), "it has not acknowledged");
    assert_eq!(late.obey().await.links.unwrap().version, version);
    plane.wait_links(version, &both, LIMIT).await.unwrap();

    // One that knows the links of an earlier control plane is told these, under a version that is new to it too.
    let report = MemberReport {
        role: Role::CacheNode.into(),
        instance: "node-2".to_owned(),
        address: "127.0.0.1:1".to_owned(),
        links_version: 40,
        ..MemberReport::default()
    };
    let mut outlived = FakeMember::join_as(plane.address(), report).await;
    assert_eq!(outlived.obey().await.links.unwrap().version, 41);

    let mut edge = FakeMember::join(plane.address(), Role::Edge, "edge-0").await;
    let heard = edge.obey().await;
    assert!(heard.links.is_none() && heard.members.is_some());
}
