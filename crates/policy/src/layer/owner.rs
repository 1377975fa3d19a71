//! Owner routing: all reads of a key go to one process, so that its flight is the fleet's, without any lock.
//!
//! Rendezvous hashing (Thaler and Ravishankar, "A name-based mapping scheme for rendezvous", 1996): of all processes the one whose
//! name, hashed with the key, weighs most. Whoever routes gives a key to the same process, and losing one moves only that one's keys.
//! It bounds the rebuilds of a key at 1 while the membership stands still; each change during a rebuild may add one.

/// The owner of a key, as an index into the processes whose names have these hashes ([`hash_name`]). None: there are no processes.
pub fn of(key: &str, name_hashes: impl IntoIterator<Item = u64>) -> Option<usize> {
    let key_hash = hash_name(key);
    let weights = name_hashes.into_iter().map(|name_hash| mix(name_hash ^ key_hash));
    weights.enumerate().max_by_key(|(_, weight)| *weight).map(|(at, _)| at)
}

/// A 64-bit hash of a name or key: FNV-1a, then splitmix64's finaliser, because FNV alone spreads its high bits badly. Compute
/// that of a name once.
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

    /// Goal: losing a process moves its keys and no other; they spread over those that are left.
    #[test]
    fn only_the_lost_ones_keys_move() {
        let before: Vec<u64> = (0..50).map(|n| hash_name(&format!("cache-node-{n}"))).collect();
        let lost = 17;
        let mut after = before.clone();
        after.remove(lost);
        let mut heirs = std::collections::BTreeSet::new();
        let mut owned = 0;
        for n in 0..20_000 {
            let key = format!("item-{n}");
            let old = of(&key, before.iter().copied()).unwrap();
            let new = of(&key, after.iter().copied()).unwrap();
            if old == lost {
                owned += 1;
                heirs.insert(new);
            } else {
                assert_eq!(before[old], after[new], "{key} moved though its owner stayed");
            }
        }
        assert!((300..500).contains(&owned), "a fiftieth of 20,000 keys is 400; the lost one had {owned}");
        assert!(heirs.len() >= 45, "the lost keys went to {} processes only", heirs.len());
        assert_eq!(of("k", []), None);
    }
}
