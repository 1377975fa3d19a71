//! Which node gets a request: the arithmetic of routing, without any I/O.
//!
//! - *Spread*: two nodes are drawn, and the one with fewer requests in flight is taken (Mitzenmacher, "The power of two
//!   choices in randomized load balancing", 2001). Near-even, without a shared counter over all nodes.
//! - *Random*: one node is drawn.
//! - *Owner*: rendezvous hashing, which is a layer of the policy: [`herd_policy::owner`].

use herd_policy::owner;
use herd_wire::v1::Routing;

/// What routing needs to know of a node.
pub trait Candidate {
    /// The hash of its name; see [`owner::hash_name`].
    fn name_hash(&self) -> u64;
    /// Requests in flight to it from this edge.
    fn in_flight(&self) -> u32;
}

/// Picks the node for a key, as an index into `nodes`. `random` is a fresh random number. None: there are no nodes.
///
/// A routing that this edge does not know is taken as *spread*.
pub fn pick<C: Candidate>(routing: Routing, nodes: &[C], key: &str, random: u64) -> Option<usize> {
    match (nodes.len(), routing) {
        (0, _) => None,
        (1, _) => Some(0),
        (count, Routing::Random) => Some(scale(random as u32, count)),
        (_, Routing::Owner) => owner::of(key, nodes.iter().map(Candidate::name_hash)),
        (_, Routing::Spread | Routing::Unspecified) => Some(less_loaded(nodes, random)),
    }
}

fn less_loaded<C: Candidate>(nodes: &[C], random: u64) -> usize {
    let first = scale(random as u32, nodes.len());
    // Drawn from the others, so that the two always differ.
    let second = scale((random >> 32) as u32, nodes.len() - 1);
    let second = if second >= first { second + 1 } else { second };
    if nodes[second].in_flight() < nodes[first].in_flight() { second } else { first }
}

/// Maps a uniform 32-bit number to `0..count` without division (Lemire's multiply-shift; the bias is below 2^-20 for
/// fleets of up to 4,096).
fn scale(random: u32, count: usize) -> usize {
    ((u64::from(random) * count as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt as _, SeedableRng as _};

    struct Fake {
        hash: u64,
        load: u32,
    }

    impl Candidate for Fake {
        fn name_hash(&self) -> u64 {
            self.hash
        }
        fn in_flight(&self) -> u32 {
            self.load
        }
    }

    fn fleet(size: usize) -> Vec<Fake> {
        (0..size).map(|n| Fake { hash: owner::hash_name(&format!("cache-node-{n}")), load: 0 }).collect()
    }

    /// With requests that stay in flight, two choices keep 50 nodes far closer together than one draw does.
    #[test]
    fn spread_is_even() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(7);
        let mut peak_of = |routing| {
            let mut nodes = fleet(50);
            for _ in 0..5_000 {
                let at = pick(routing, &nodes, "hot", rng.random()).unwrap();
                nodes[at].load += 1;
            }
            nodes.iter().map(|node| node.load).max().unwrap()
        };
        let (spread, random) = (peak_of(Routing::Spread), peak_of(Routing::Random));
        assert!(spread <= 105, "the mean is 100, two choices reached {spread}");
        assert!(random > spread, "one draw reached {random}, two choices {spread}");
    }

    /// Routing has an answer for fleets of none and of one, whatever the routing.
    #[test]
    fn tiny_fleets() {
        for routing in [Routing::Unspecified, Routing::Spread, Routing::Random, Routing::Owner] {
            assert_eq!(pick(routing, &fleet(0), "k", u64::MAX), None);
            assert_eq!(pick(routing, &fleet(1), "k", u64::MAX), Some(0));
            assert!(pick(routing, &fleet(2), "k", u64::MAX).unwrap() < 2);
        }
    }
}
