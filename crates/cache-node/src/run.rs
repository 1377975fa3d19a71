//! From settings to a serving node.

use crate::config;
use crate::grpc::CacheNodeService;
use crate::metrics::NodeMetrics;
use crate::node::Node;
use crate::peers::{Locks, Origin};
use crate::settings::NodeArgs;
use crate::store::Store;
use anyhow::Context as _;
use herd_service::control::{self, ControlHandle};
use herd_service::kit::Service;
use herd_service::links::Links;
use herd_wire::v1::cache_node_server::CacheNodeServer;
use herd_wire::v1::{Peer, Role};
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, info};

/// Runs a node until it is told to stop.
///
/// # Errors
/// The Redis address is none, or a server ended by itself.
pub async fn run(mut args: NodeArgs, mut service: Service) -> anyhow::Result<()> {
    let instance = service.instance();
    let metrics = NodeMetrics::register(service.metrics());
    // As the fleet knows them: a relay, where there is one, is no peer.
    let (lock_server, origin_server) = (args.lock_url.clone(), args.origin_url.clone());
    let links = relayed(&mut args, &instance).await.context("the relays of the links cannot be set up")?;
    let store =
        Store::new(args.redis_url.as_str(), &instance).context("the store of values cannot be set up")?;
    let locks = Locks::new(args.lock_url.channel(), &instance).named(lock_server);
    let origin = Origin::new(args.origin_url.channel(), &instance).named(origin_server);
    let node = Node::new(store, locks, origin, metrics.clone());

    tokio::spawn(node.clone().keep_time());
    let control = control::join(&service, Role::CacheNode, &args.control);
    tokio::spawn(links.follow(control.clone()));
    tokio::spawn(follow(node.clone(), control));

    let deadline = Duration::from_millis(args.request_deadline_ms);
    let answering = CacheNodeService::new(node, metrics, instance, deadline);
    service.add(CacheNodeServer::new(answering));
    Ok(service.serve().await?)
}

/// Puts relays between this node and its peers if it is to have link faults: the settings then name the relays. Without
/// them there is no link that could be made bad, and the node says so by not acknowledging.
async fn relayed(args: &mut NodeArgs, instance: &Arc<str>) -> anyhow::Result<Links> {
    let mut links = Links::new(instance.clone());
    if args.link_faults {
        let (host, port) = args.redis_url.host_and_port().context("Redis is not reached over TCP")?;
        args.redis_url = args.redis_url.at(links.relay(Peer::Redis, &host, port).await?);
        args.lock_url = links.relay_url(Peer::LockService, &args.lock_url).await?;
        args.origin_url = links.relay_url(Peer::Origin, &args.origin_url).await?;
    }
    Ok(links)
}

/// Applies each configuration that the control plane sends, and acknowledges it. One that cannot be applied is refused as a
/// whole: the node keeps the last good one and does not acknowledge.
pub async fn follow(node: Arc<Node>, mut control: ControlHandle) {
    loop {
        let fleet = control.config.borrow_and_update().clone();
        // Version 0 stands for none received yet.
        if fleet.version > 0 {
            match config::compile(&fleet) {
                Ok(config) => {
                    node.begin_record(&config).await;
                    node.configure(config);
                    control.ack_config(fleet.version);
                    info!(version = fleet.version, prefix = fleet.key_prefix, "configuration applied");
                }
                Err(mistakes) => error!(version = fleet.version, "{mistakes}; keeping the last one"),
            }
        }
        if control.config.changed().await.is_err() {
            // The session ended for good: the process drains, with the last configuration.
            return;
        }
    }
}
