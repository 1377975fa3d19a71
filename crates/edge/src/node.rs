//! One cache node as this edge sees it: its channel, its load, and whether it is ejected.

use crate::routing::Candidate;
use herd_service::rpc::{InvalidUrl, PeerUrl};
use herd_wire::v1::Member;
use herd_wire::v1::cache_node_client::CacheNodeClient;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// The first ejection of a node that cannot be reached lasts this long.
pub(crate) const EJECTION_MIN: Duration = Duration::from_secs(1);

/// No ejection lasts longer before the node is probed again.
pub(crate) const EJECTION_MAX: Duration = Duration::from_secs(30);

/// Marks a node that is not ejected.
const NOT_EJECTED: u64 = u64::MAX;

pub(crate) struct Node {
    pub(crate) member: Member,
    name_hash: u64,
    channel: Channel,
    in_flight: AtomicU32,
    /// Times are microseconds since this instant, which all nodes share.
    origin: Instant,
    last_answer_us: AtomicU64,
    ejected_at_us: AtomicU64,
    /// Ejections and failed probes since the node last answered a request.
    strikes: AtomicU32,
}

impl Node {
    pub(crate) fn new(member: Member, origin: Instant) -> Result<Self, InvalidUrl> {
        Ok(Self {
            name_hash: herd_policy::owner::hash_name(&member.instance),
            channel: PeerUrl::of_address(&member.address)?.channel(),
            member,
            in_flight: AtomicU32::new(0),
            origin,
            last_answer_us: AtomicU64::new(0),
            ejected_at_us: AtomicU64::new(NOT_EJECTED),
            strikes: AtomicU32::new(0),
        })
    }

    pub(crate) const fn channel(&self) -> &Channel {
        &self.channel
    }

    pub(crate) fn client(&self) -> CacheNodeClient<Channel> {
        CacheNodeClient::new(self.channel.clone())
    }

    /// Counts a request as in flight until the guard is dropped, however the request ends.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Notes that the node answered, whatever it said: it is alive.
    pub(crate) fn answered(&self, now: Instant) {
        self.last_answer_us.store(self.micros(now), Ordering::Relaxed);
        if self.strikes.load(Ordering::Relaxed) != 0 && !self.is_ejected() {
            self.strikes.store(0, Ordering::Relaxed);
        }
    }

    /// Whether nothing came back from the node since `sent`.
    pub(crate) fn silent_since(&self, sent: Instant) -> bool {
        self.last_answer_us.load(Ordering::Relaxed) < self.micros(sent)
    }

    pub(crate) fn is_ejected(&self) -> bool {
        self.ejected_at_us.load(Ordering::Relaxed) != NOT_EJECTED
    }

    /// How long it has been ejected; None if it is not.
    pub(crate) fn ejected_for(&self, now: Instant) -> Option<Duration> {
        match self.ejected_at_us.load(Ordering::Relaxed) {
            NOT_EJECTED => None,
            at => Some(Duration::from_micros(self.micros(now).saturating_sub(at))),
        }
    }

    /// Ejects the node. Gives the number of strikes before this one, or None if it is ejected already: requests that were
    /// under way when it was ejected fail one after the other and say nothing new.
    pub(crate) fn eject(&self, now: Instant) -> Option<u32> {
        let at = self.micros(now);
        self.ejected_at_us.compare_exchange(NOT_EJECTED, at, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        Some(self.strikes.fetch_add(1, Ordering::Relaxed))
    }

    /// Notes a failed probe; gives the number of strikes before it.
    pub(crate) fn strike(&self) -> u32 {
        self.strikes.fetch_add(1, Ordering::Relaxed)
    }

    /// Ends the ejection. The strikes stay until the node answers a request: one that only answers probes is soon out again,
    /// for longer.
    pub(crate) fn let_back(&self) {
        self.ejected_at_us.store(NOT_EJECTED, Ordering::Relaxed);
    }

    fn micros(&self, at: Instant) -> u64 {
        // Saturates after 584,000 years.
        u64::try_from(at.saturating_duration_since(self.origin).as_micros()).unwrap_or(NOT_EJECTED - 1)
    }
}

impl Candidate for Arc<Node> {
    fn name_hash(&self) -> u64 {
        self.name_hash
    }

    fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// A request in flight to a node.
pub(crate) struct InFlight(Arc<Node>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long after the ejection with this many earlier strikes the node is probed: 1 s, doubling to 30 s.
pub(crate) fn spell(strikes_before: u32) -> Duration {
    EJECTION_MIN.saturating_mul(1 << strikes_before.min(10)).min(EJECTION_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        let member = Member { instance: "n".to_owned(), address: "127.0.0.1:1".to_owned() };
        Node::new(member, Instant::now()).unwrap()
    }

    /// Spells double from one second to thirty and stay there.
    #[test]
    fn spells() {
        let seconds: Vec<u64> = (0..8).map(|strikes| spell(strikes).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(spell(u32::MAX), EJECTION_MAX);
    }

    /// A crowd of failures is one ejection; strikes last until a request is answered, and an answer that was on its way when
    /// the node was ejected does not forgive them.
    #[tokio::test]
    async fn strikes() {
        let node = node();
        let now = Instant::now();
        assert_eq!(node.eject(now), Some(0));
        assert_eq!(node.eject(now), None);
        node.answered(now);
        assert_eq!(node.strike(), 1);
        node.let_back();
        assert_eq!(node.eject(now), Some(2));
        node.let_back();
        node.answered(now);
        assert_eq!(node.eject(now), Some(0));
    }

    /// Silence counts from the moment a request was sent.
    #[tokio::test]
    async fn silence() {
        let node = node();
        let sent = Instant::now() + Duration::from_millis(5);
        assert!(node.silent_since(sent));
        node.answered(sent + Duration::from_millis(1));
        assert!(!node.silent_since(sent));
    }
}
