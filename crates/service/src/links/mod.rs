//! Links to peers that can be made bad: partitions, resets, delay and loss, in user space and so the same on every backend.
//!
//! A process that is started for link faults reaches each peer through a [relay](Links::relay) of its own: a port on loopback
//! that passes everything on to the peer. The control plane says which links are bad ([`Links::follow`]); a rule holds at once,
//! for open connections too, and its end lets pass at once what waited.
//!
//! What a relay cannot imitate: its client connects to *it*, so a peer that is away shows as a connection that is reset right
//! after it was made, not as one that is refused.
//!
//! - [`rule`]: what can be wrong with a link, and what it does to a piece.
//! - `relay`: the port, and its connections.
//! - `pipe`: one direction of one connection.
//! - `talk`: what is said, as far as it tells calls from what keeps a connection alive.

mod pipe;
mod relay;
pub mod rule;
mod talk;

use crate::control::ControlHandle;
use crate::rpc::PeerUrl;
use herd_wire::v1::{self, Peer};
use relay::Relay;
use rule::{BadRule, Rule};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tracing::{error, info, warn};

/// Between two reports of how much the bad links hit.
const HITS_EVERY: Duration = Duration::from_millis(100);

/// The links of one process. Dropping them ends their relays with every connection.
#[derive(Debug)]
pub struct Links {
    instance: Arc<str>,
    /// Told whenever a bad link hits something.
    hit: Arc<Notify>,
    relays: BTreeMap<Peer, Relay>,
}

/// Why a state of the links is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLinks {
    /// A rule that is none.
    #[error("the link to {peer:?} cannot be made bad: {why}")]
    Rule {
        /// the far end
        peer: Peer,
        /// what is wrong
        why: BadRule,
    },
    /// There is no relay on the way to this peer.
    #[error("the link to {0:?} cannot be made bad: this process was not started for link faults")]
    NoRelay(Peer),
}

impl Links {
    /// Links of this instance; none yet.
    #[must_use]
    pub fn new(instance: Arc<str>) -> Self {
        Self { instance, hit: Arc::default(), relays: BTreeMap::new() }
    }

    /// Puts a relay on the way to a peer, and returns where it listens. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// No port on loopback can be had.
    pub async fn relay(&mut self, peer: Peer, host: &str, port: u16) -> std::io::Result<SocketAddr> {
        let relay = Relay::start(peer, (host.to_owned(), port), Hits::telling(&self.hit)).await?;
        let address = relay.address();
        info!(?peer, host, port, relay = %address, "reached through a relay that can be made bad");
        self.relays.insert(peer, relay);
        Ok(address)
    }

    /// The same for a peer with a URL.
    ///
    /// # Errors
    /// As [`Links::relay`].
    pub async fn relay_url(&mut self, peer: Peer, url: &PeerUrl) -> std::io::Result<PeerUrl> {
        let address = self.relay(peer, url.host(), url.port()).await?;
        PeerUrl::of_address(&address.to_string()).map_err(std::io::Error::other)
    }

    /// Brings the links into this state. What a link that becomes bad hits is counted anew.
    ///
    /// # Errors
    /// A rule for this instance cannot be applied; then nothing has changed.
    pub fn apply(&self, links: &v1::Links) -> Result<(), BadLinks> {
        let rules = self.rules(links)?;
        for (peer, relay) in &self.relays {
            relay.set(rules.get(peer).copied().unwrap_or_default());
        }
        Ok(())
    }

    /// What the link to each peer hit since it last became bad: pieces of calls that were held up, and calls that were cut off. What
    /// only keeps connections alive does not count.
    #[must_use]
    pub fn hits(&self) -> Vec<v1::LinkHits> {
        let of = |(peer, relay): (&Peer, &Relay)| v1::LinkHits { peer: (*peer).into(), hit: relay.hits() };
        self.relays.iter().map(of).collect()
    }

    /// Applies each state that the control plane sends and acknowledges it; reports what was hit, every 100 ms at most. A
    /// state that cannot be applied is not acknowledged. Ends with the session, for good.
    pub async fn follow(self, mut control: ControlHandle) {
        let mut rest = Box::pin(tokio::time::sleep(Duration::ZERO));
        loop {
            let links = control.links.borrow_and_update().clone();
            match self.apply(&links) {
                Ok(()) => control.ack_links(links.version, self.hits()),
                Err(error) => error!(version = links.version, "{error}; the links stay as they are"),
            }
            loop {
                tokio::select! {
                    changed = control.links.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    () = async { rest.as_mut().await; self.hit.notified().await } => {
                        control.report_links_hit(self.hits());
                        rest.as_mut().reset(tokio::time::Instant::now() + HITS_EVERY);
                    }
                }
            }
        }
    }

    /// The rules of this instance; of several for one peer the last.
    fn rules(&self, links: &v1::Links) -> Result<BTreeMap<Peer, Rule>, BadLinks> {
        let mut rules = BTreeMap::new();
        for bad in links.bad.iter().filter(|bad| *bad.instance == *self.instance) {
            let peer = bad.peer();
            let rule = Rule::of_wire(bad.rule.as_ref()).map_err(|why| BadLinks::Rule { peer, why })?;
            if !self.relays.contains_key(&peer) {
                return Err(BadLinks::NoRelay(peer));
            }
            rules.insert(peer, rule);
        }
        if !rules.is_empty() {
            warn!(version = links.version, ?rules, "links are bad");
        }
        Ok(rules)
    }
}

/// Counts what the bad rules of one link did; cloning shares it.
#[derive(Clone, Debug)]
struct Hits {
    count: Arc<AtomicU64>,
    told: Arc<Notify>,
}

impl Hits {
    fn telling(told: &Arc<Notify>) -> Self {
        Self { count: Arc::default(), told: told.clone() }
    }

    fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.told.notify_one();
    }

    fn reset(&self) {
        self.count.store(0, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
