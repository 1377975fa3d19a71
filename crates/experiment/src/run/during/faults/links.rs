//! The bad links of the fleet: several faults may make some bad at once.

use crate::control::ControlPlane;
use herd_scenario::{LinkRule, Peer};
use herd_wire::v1::{self, bad_link::Rule};
use std::sync::Mutex;

/// Which links are bad, by the turn of a fault that made them so.
#[derive(Debug, Default)]
pub(super) struct BadLinks(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    turns: u64,
    bad: Vec<(u64, v1::BadLink)>,
    /// The newest version that was told.
    version: u64,
}

impl BadLinks {
    /// Room for the links of one turn.
    pub(super) fn begin(&self) -> u64 {
        let mut state = self.lock();
        state.turns += 1;
        state.turns
    }

    /// Makes the links of these nodes to one peer bad; the version of the state that says so.
    pub(super) fn spoil(
        &self,
        turn: u64,
        nodes: &[String],
        (to, rule): (Peer, LinkRule),
        control: &ControlPlane,
    ) -> u64 {
        let mut state = self.lock();
        state.bad.extend(nodes.iter().map(|node| (turn, bad_link(node, to, rule))));
        state.tell(control)
    }

    /// Mends the links of one turn.
    pub(super) fn mend(&self, turn: u64, control: &ControlPlane) {
        let mut state = self.lock();
        state.bad.retain(|(of, _)| *of != turn);
        state.tell(control);
    }

    /// The newest version that was told.
    pub(super) fn version(&self) -> u64 {
        self.lock().version
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it holds the links")
    }
}

impl State {
    fn tell(&mut self, control: &ControlPlane) -> u64 {
        self.version = control.set_links(self.bad.iter().map(|(_, link)| link.clone()).collect());
        self.version
    }
}

/// The far end of a link, on the wire.
pub(super) fn wire_peer(to: Peer) -> v1::Peer {
    match to {
        Peer::Redis => v1::Peer::Redis,
        Peer::LockService => v1::Peer::LockService,
        Peer::Origin => v1::Peer::Origin,
    }
}

fn bad_link(node: &str, to: Peer, rule: LinkRule) -> v1::BadLink {
    let rule = match rule {
        LinkRule::BlackHole => Rule::BlackHole(true),
        LinkRule::Reset => Rule::Reset(true),
        LinkRule::Delay { delay_ms, jitter_ms } => Rule::Delay(v1::LinkDelay { delay_ms, jitter_ms }),
        LinkRule::Loss { share } => Rule::Loss(share),
    };
    v1::BadLink { instance: node.to_owned(), peer: wire_peer(to).into(), rule: Some(rule) }
}
