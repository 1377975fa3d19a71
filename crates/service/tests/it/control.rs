//! The session with the control plane.

use crate::fake_control::{FakeControl, PATIENCE};
use herd_service::control::{self, ControlArgs};
use herd_service::kit::{Role, Service, ServiceArgs};
use herd_wire::v1::{ControlUpdate, FleetConfig, Member, Membership};

const ROLE: Role = Role { name: "cache-node", about: "", grpc_port: 0, admin_port: 0 };

fn update(config_version: u64, key_prefix: &str, members_version: u64) -> ControlUpdate {
    let node = Member { instance: "n1".to_owned(), address: "127.0.0.1:1".to_owned() };
    ControlUpdate {
        config: Some(FleetConfig {
            version: config_version,
            key_prefix: key_prefix.to_owned(),
            ..FleetConfig::default()
        }),
        members: Some(Membership { version: members_version, nodes: vec![node] }),
        links: None,
    }
}

/// A member introduces itself, keeps the last state while the control plane is away, joins the next one by itself, and
/// takes its state even though that one counts from 1 again.
#[tokio::test]
async fn survives_the_control_planes_restart() {
    let mut first = FakeControl::start(None, update(7, "a:", 4));
    let service = Service::start(ROLE, &ServiceArgs::ephemeral("n1")).await.unwrap();
    let args = ControlArgs { control_url: first.url().parse().unwrap(), advertise: None };
    let mut joined = control::join(&service, herd_wire::v1::Role::CacheNode, &args);

    let introduced = first.report(|_| true).await;
    assert_eq!(introduced.role(), herd_wire::v1::Role::CacheNode);
    assert_eq!(introduced.instance, "n1");
    assert_eq!(introduced.address, service.grpc_address().to_string());
    assert_eq!(introduced.admin_address, service.admin_address().to_string());
    let seen = tokio::time::timeout(PATIENCE, joined.config.wait_for(|config| config.version == 7)).await;
    assert_eq!(seen.unwrap().unwrap().key_prefix, "a:");
    assert!(service.metrics().encode().contains("\nherd_config_version 0\n"), "none is applied yet");
    joined.ack_config(7);
    assert!(service.metrics().encode().contains("\nherd_config_version 7\n"));
    joined.ack_members(4);
    first.report(|report| report.config_version == 7 && report.members_version == 4).await;

    let at = first.address;
    drop(first);
    let mut second = FakeControl::start(Some(at), update(1, "b:", 1));
    let again = second.report(|_| true).await;
    assert_eq!((again.instance.as_str(), again.config_version), ("n1", 7), "it says what it still runs on");
    let seen = tokio::time::timeout(PATIENCE, joined.config.wait_for(|config| config.version == 1)).await;
    assert_eq!(seen.unwrap().unwrap().key_prefix, "b:");
    let members =
        tokio::time::timeout(PATIENCE, joined.members.wait_for(|members| members.version == 1)).await;
    assert_eq!(members.unwrap().unwrap().nodes.len(), 1);
}

/// A member that starts before the control plane joins as soon as there is one, under the address it was told to give.
#[tokio::test]
async fn starts_before_the_control_plane() {
    let at = FakeControl::start(None, ControlUpdate::default()).address;
    let service = Service::start(ROLE, &ServiceArgs::ephemeral("n2")).await.unwrap();
    let url = format!("http://{at}").parse().unwrap();
    let args = ControlArgs { control_url: url, advertise: Some("node-2.fleet".parse().unwrap()) };
    let joined = control::join(&service, herd_wire::v1::Role::CacheNode, &args);
    assert_eq!(joined.config.borrow().version, 0);
    let mut late = FakeControl::start(Some(at), update(1, "", 1));
    let introduced = late.report(|_| true).await;
    assert_eq!(introduced.address, format!("node-2.fleet:{}", service.grpc_address().port()));
}

/// An address given to others must be one.
#[test]
fn advertised_addresses() {
    for good in ["node", "node:7201", "10.0.0.7", "[::1]:7"] {
        assert!(good.parse::<control::Advertise>().is_ok(), "{good}");
    }
    for bad in ["", "node:", "node:0", "node:port", "a@b", "http://node"] {
        assert!(bad.parse::<control::Advertise>().is_err(), "{bad}");
    }
}
