//! Picks free ports on loopback, so that a process that is restarted keeps its address.
//!
//! They lie below the range from which the system takes the ports of outgoing connections: a port of that range could
//! be taken by anybody's connection while its process is down.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

const FIRST: u16 = 12_000;
const LAST: u16 = 31_999;

/// `count` different free addresses. Nothing holds them once this returns; the start differs from call to call, so
/// that two fleets that start together hardly ever meet.
pub(super) fn pick(count: usize) -> io::Result<Vec<SocketAddr>> {
    let span = usize::from(LAST - FIRST) + 1;
    let too_few =
        || io::Error::new(io::ErrorKind::AddrInUse, format!("{count} free ports are not to be had"));
    // Told at once: to find out would take every port, and every file descriptor, from whoever else needs one.
    if count > span {
        return Err(too_few());
    }
    let start = usize::try_from(seed() % span as u64).unwrap_or_default();
    // Bound all at once, so that no port is given out twice.
    let mut held = Vec::with_capacity(count);
    for step in 0..span {
        if held.len() == count {
            break;
        }
        let port = FIRST + u16::try_from((start + step) % span).expect("the span fits a port");
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push(listener);
        }
    }
    if held.len() < count {
        return Err(too_few());
    }
    held.iter().map(TcpListener::local_addr).collect()
}

/// Differs between processes and calls; no more is asked of it.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Goal: addresses are distinct, free, and outside the range of outgoing connections.
    #[test]
    fn gives_distinct_free_ports() {
        let picked = pick(120).expect("free ports");
        assert_eq!(picked.iter().collect::<BTreeSet<_>>().len(), 120);
        assert!(picked.iter().all(|at| (FIRST..=LAST).contains(&at.port())));
    }

    /// Goal: an impossible wish is refused rather than half granted.
    #[test]
    fn refuses_more_than_there_are() {
        assert!(pick(100_000).is_err());
    }
}
