//! Which node gets a request: the arithmetic of routing, without any I/O.
//!
//! - *Spread*: two nodes are drawn, and the one with fewer requests in flight is taken (Mitzenmacher, "The power of two
//!   choices in randomized load balancing", 2001). Near-even, without a shared counter over all nodes.
//! - *Random*: one node is drawn.
//! - *Owner*: rendezvous hashing (Thaler and Ravishankar, 1996). Every edge gives a key to the same node, and losing a node
//!   moves only that node's keys.

use herd_wire::v1::Routing;

/// What routing needs to know of a node.
pub trait Candidate {
    /// The hash of its name; see [`hash_name`].
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
        (_, Routing::Owner) => owner(nodes, hash_name(key)),
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

fn owner<C: Candidate>(nodes: &[C], key_hash: u64) -> Option<usize> {
    let weight = |node: &C| mix(node.name_hash() ^ key_hash);
    (0..nodes.len()).max_by_key(|at| weight(&nodes[*at]))
}

/// Maps a uniform 32-bit number to `0..count` without division (Lemire's multiply-shift; the bias is below 2^-20 for
/// fleets of up to 4,096).
fn scale(random: u32, count: usize) -> usize {
    ((u64::from(random) * count as u64) >> 32) as usize
}

/// A 64-bit hash of a name or key: FNV-1a, then [`mix`], because FNV alone spreads its high bits badly.
#[must_use]
pub fn hash_name(name: &str) -> u64 {
    let fnv = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(fnv)
}

/// The finaliser of splitmix64 (Stafford's variant 13): every input bit changes every output bit with a chance near one half.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
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
        (0..size).map(|n| Fake { hash: hash_name(&format!("cache-node-{n}")), load: 0 }).collect()
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

    /// Losing a node moves its keys and no other; they spread over those that are left.
    #[test]
    fn owner_moves_only_the_lost_nodes_keys() {
        let before = fleet(50);
        let lost = 17;
        let after: Vec<Fake> =
            fleet(50).into_iter().enumerate().filter(|(n, _)| *n != lost).map(|(_, f)| f).collect();
        let mut heirs = std::collections::BTreeSet::new();
        let mut owned = 0;
        for n in 0..20_000 {
            let key = format!("item-{n}");
            let old = pick(Routing::Owner, &before, &key, 0).unwrap();
            let new = pick(Routing::Owner, &after, &key, 0).unwrap();
            if old == lost {
                owned += 1;
                heirs.insert(new);
            } else {
                assert_eq!(before[old].hash, after[new].hash, "{key} moved though its owner stayed");
            }
        }
        assert!((300..500).contains(&owned), "a fiftieth of 20,000 keys is 400; the lost node had {owned}");
        assert!(heirs.len() >= 45, "the lost keys went to {} nodes only", heirs.len());
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
