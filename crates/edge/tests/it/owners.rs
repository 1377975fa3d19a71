//! Owner routing: one node a key while the membership stands still, and what a change of it adds.

use crate::fake_control::PATIENCE;
use crate::fake_node::FakeNode;
use crate::testbed::{Testbed, fleet};
use herd_wire::v1::{GetRequest, Membership, Routing, WarmRequest};
use std::collections::BTreeMap;

async fn remove(testbed: &mut Testbed, version: u64, lost: usize, nodes: &[FakeNode]) {
    let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
    let update = fleet(version, Routing::Owner, &addresses);
    let mut members = update.members.unwrap();
    members.nodes.remove(lost);
    tell(testbed, Membership { version, ..members }).await;
}

async fn tell(testbed: &mut Testbed, members: Membership) {
    let version = members.version;
    testbed.control.update(herd_wire::v1::ControlUpdate {
        config: None,
        members: Some(members),
        links: None,
    });
    testbed.control.report(|report| report.members_version == version).await;
}

/// Which nodes each key was asked of, in order.
fn owners(nodes: &[FakeNode]) -> BTreeMap<String, Vec<usize>> {
    let mut owners = BTreeMap::<String, Vec<usize>>::new();
    for (at, node) in nodes.iter().enumerate() {
        for (key, _) in node.asked.lock().unwrap().iter() {
            owners.entry(key.clone()).or_default().push(at);
        }
    }
    owners
}

/// Reads, writes and warm-ups of a key go to its one owner. A node that leaves gives its keys, and only its keys, to others;
/// when it is back it has them again.
#[tokio::test]
async fn a_lost_owner_costs_its_keys_one_more_owner() {
    const KEYS: usize = 60;
    let nodes: Vec<FakeNode> = (0..4).map(|n| FakeNode::start(&format!("n{n}"))).collect();
    let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
    let mut testbed = Testbed::start(Routing::Owner, &addresses).await;
    let ask_all = async |testbed: &mut Testbed| {
        for n in 0..KEYS {
            let key = format!("item-{n}");
            testbed.grpc.get(GetRequest { key: key.clone() }).await.unwrap();
            testbed.grpc.warm(WarmRequest { key, key_prefix: "v2:".to_owned() }).await.unwrap();
        }
    };
    ask_all(&mut testbed).await;
    let before = owners(&nodes);
    assert!(before.values().all(|asked| asked.len() == 2 && asked[0] == asked[1]), "{before:?}");

    let lost = before["item-0"][0];
    remove(&mut testbed, 2, lost, &nodes).await;
    nodes.iter().for_each(|node| node.asked.lock().unwrap().clear());
    ask_all(&mut testbed).await;
    let without = owners(&nodes);
    assert!(nodes[lost].asked.lock().unwrap().is_empty(), "applied at once: it left");
    for (key, asked) in &without {
        let stayed = before[key][0] != lost;
        assert_eq!(asked[0] == before[key][0], stayed, "{key}: {:?}, then {asked:?}", before[key]);
    }

    nodes.iter().for_each(|node| node.asked.lock().unwrap().clear());
    tell(&mut testbed, Membership { version: 3, ..fleet(3, Routing::Owner, &addresses).members.unwrap() })
        .await;
    ask_all(&mut testbed).await;
    assert_eq!(owners(&nodes), before);
}

/// While an owner works on a key, each change of the membership that moves the key adds one node that works on it, and no
/// more: the reader that waits stays where it is, all who come later go to the new owner.
#[tokio::test]
async fn a_change_during_a_rebuild_adds_one_more() {
    let nodes: Vec<FakeNode> = (0..4).map(|n| FakeNode::start(&format!("n{n}"))).collect();
    let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
    let mut testbed = Testbed::start(Routing::Owner, &addresses).await;
    let mut readers = Vec::new();
    let mut read = async |testbed: &Testbed, entered: usize| {
        for _ in 0..5 {
            let mut client = testbed.grpc.clone();
            readers
                .push(tokio::spawn(async move { client.get(GetRequest { key: "slow".to_owned() }).await }));
        }
        let arrived = async {
            while nodes.iter().map(|node| node.slow_entered.available_permits()).sum::<usize>() < entered {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, arrived).await.expect("five more readers wait at a node");
    };
    let busy = || nodes.iter().filter(|node| node.slow_entered.available_permits() > 0).count();
    read(&testbed, 5).await;
    assert_eq!(busy(), 1, "one owner while the membership stands still");
    let owner = nodes.iter().position(|node| node.times_asked() > 0).unwrap();
    let bystander = (owner + 1) % nodes.len();
    remove(&mut testbed, 2, bystander, &nodes).await;
    read(&testbed, 10).await;
    assert_eq!(busy(), 1, "a node that does not own the key adds nothing");
    remove(&mut testbed, 3, owner, &nodes).await;
    read(&testbed, 15).await;
    assert_eq!(busy(), 2, "one change that moved the key, one more at work on it");
    assert_eq!(nodes[owner].times_asked(), 10, "those who waited there stay there");
    for node in &nodes {
        node.slow_allowed.add_permits(15);
    }
    for reader in readers {
        assert!(reader.await.unwrap().is_ok(), "nobody is cut off by a change of the membership");
    }
}
