//! What members are told, and which of it one of them has not heard.

use herd_wire::v1::{ControlUpdate, FleetConfig, Links, Membership, Role};
use std::sync::Arc;

/// What members are told. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Latest {
    pub(super) config: Option<Arc<FleetConfig>>,
    pub(super) members: Arc<Membership>,
    pub(super) links: Arc<Links>,
}

/// The versions that one session has passed on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    config: u64,
    members: u64,
    links: u64,
}

/// The part of the latest news that one member has not heard: edges hear the membership, cache nodes the state of links.
pub(super) fn news_for(role: Role, latest: &Latest, heard: &mut Heard) -> Option<ControlUpdate> {
    let config = latest.config.as_ref().filter(|config| config.version > heard.config);
    let members = (role == Role::Edge && latest.members.version > heard.members).then_some(&latest.members);
    let links = (role == Role::CacheNode && latest.links.version > heard.links).then_some(&latest.links);
    if config.is_none() && members.is_none() && links.is_none() {
        return None;
    }
    heard.config = config.map_or(heard.config, |config| config.version);
    heard.members = members.map_or(heard.members, |members| members.version);
    heard.links = links.map_or(heard.links, |links| links.version);
    Some(ControlUpdate {
        config: config.map(|config| config.as_ref().clone()),
        members: members.map(|members| members.as_ref().clone()),
        links: links.map(|links| links.as_ref().clone()),
    })
}
