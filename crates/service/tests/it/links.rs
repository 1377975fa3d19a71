//! Links that are made bad, over real sockets.

use crate::fake_control::{FakeControl, PATIENCE};
use herd_service::control::{self, ControlArgs};
use herd_service::kit::{Role, Service, ServiceArgs};
use herd_service::links::{BadLinks, Links};
use herd_wire::v1::bad_link::Rule;
use herd_wire::v1::{self, BadLink, ControlUpdate, LinkDelay, Peer};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A peer that says back what it hears, at most so many bytes at once; and a way to it.
struct Line {
    links: Links,
    relay: SocketAddr,
    accepted: tokio::sync::mpsc::UnboundedReceiver<()>,
}

impl Line {
    async fn to_an_echo() -> Self {
        Self::to_an_echo_of(Peer::Redis).await
    }

    async fn to_an_echo_of(peer: Peer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, accepted) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = tell.send(());
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                    let _ = to.shutdown().await;
                });
            }
        });
        let mut links = Links::new("n1".into());
        let relay = links.relay(peer, "127.0.0.1", port).await.unwrap();
        Self { links, relay, accepted }
    }

    async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.relay)).await.unwrap()
    }

    /// Makes the link bad, or good.
    fn set(&self, rule: Option<Rule>) {
        self.links.apply(&state(1, rule)).unwrap();
    }

    /// What bad links hit so far.
    fn hit(&self) -> u64 {
        self.links.hits().iter().map(|hits| hits.hit).sum()
    }

    /// Waits until bad links hit so many.
    async fn hits(&self, at_least: u64) {
        within(async {
            while self.hit() < at_least {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

fn state(version: u64, rule: Option<Rule>) -> v1::Links {
    let bad = |rule| BadLink { instance: "n1".to_owned(), peer: Peer::Redis.into(), rule: Some(rule) };
    v1::Links { version, bad: rule.map(bad).into_iter().collect() }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it never happened")
}

async fn echoed(stream: &mut TcpStream, said: &[u8]) {
    stream.write_all(said).await.unwrap();
    heard(stream, said).await;
}

async fn heard(stream: &mut TcpStream, said: &[u8]) {
    let mut back = vec![0; said.len()];
    within(stream.read_exact(&mut back)).await.unwrap();
    assert!(back == said, "what came back is not what was said, in order");
}

/// A good link passes everything on, more than may wait at once, and an orderly end.
#[tokio::test]
async fn a_good_link_passes_everything() {
    let line = Line::to_an_echo().await;
    let mut stream = line.connect().await;
    echoed(&mut stream, b"hello").await;
    let long: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut from, mut to) = stream.into_split();
    let told = long.clone();
    tokio::spawn(async move { to.write_all(&told).await });
    let mut back = Vec::new();
    within(from.read_to_end(&mut back)).await.unwrap();
    assert!(back == long);
    assert_eq!(line.hit(), 0);
}

/// Through a black hole nothing passes on an open connection, and what was said arrives when the link is mended; a
/// connection that is made meanwhile reaches the peer only then, and not at all if its client has left.
#[tokio::test]
async fn a_black_hole_holds_and_lets_go() {
    let mut line = Line::to_an_echo().await;
    let mut open = line.connect().await;
    echoed(&mut open, b"before").await;
    line.accepted.recv().await.unwrap();

    line.set(Some(Rule::BlackHole(true)));
    open.write_all(b"during").await.unwrap();
    line.hits(1).await;
    let mut new = line.connect().await;
    new.write_all(b"new").await.unwrap();
    let left = line.connect().await;
    // What was said on each of them; a connection on which nothing was said is no call.
    line.hits(2).await;
    drop(left);
    let mut nothing = [0; 1];
    assert_eq!(open.try_read(&mut nothing).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert!(line.accepted.try_recv().is_err(), "the peer sees no connection");

    line.set(None);
    heard(&mut open, b"during").await;
    heard(&mut new, b"new").await;
    within(line.accepted.recv()).await.unwrap();
    echoed(&mut open, b"after").await;
}

/// Behind a black hole a sender is held back: its relay keeps no more than fits.
#[tokio::test]
async fn a_black_hole_is_bounded() {
    let line = Line::to_an_echo().await;
    line.set(Some(Rule::BlackHole(true)));
    let stream = line.connect().await;
    let said = [7; 64 * 1024];
    let mut sent = 0;
    // The system's buffers fill up behind the relay's; nothing moves once nothing was taken for a while.
    while let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(300), stream.writable()).await {
        if let Ok(bytes) = stream.try_write(&said) {
            sent += bytes;
        }
        assert!(sent < 64 << 20, "a black hole swallows without end");
    }
}

/// Resets hit open connections and new ones; a mended link takes connections again.
#[tokio::test]
async fn resets() {
    let line = Line::to_an_echo().await;
    let mut open = line.connect().await;
    echoed(&mut open, b"before").await;
    line.set(Some(Rule::Reset(true)));
    let broken = within(open.read(&mut [0; 1])).await;
    assert_eq!(broken.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let mut idle = line.connect().await;
    assert_eq!(within(idle.read(&mut [0; 1])).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(line.hit(), 0, "nobody waited for an answer on either");
    let mut new = line.connect().await;
    new.write_all(b"call").await.unwrap();
    assert_eq!(within(new.read(&mut [0; 1])).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    line.hits(1).await;
    line.set(None);
    echoed(&mut line.connect().await, b"after").await;
}

/// Each way takes its delay, order is kept, and the end of the rule lets through what was on its way.
#[tokio::test]
async fn delays() {
    let line = Line::to_an_echo().await;
    let mut open = line.connect().await;
    line.set(Some(Rule::Delay(LinkDelay { delay_ms: 30, jitter_ms: 20 })));
    let began = Instant::now();
    for n in 0..20_u8 {
        open.write_all(&[n]).await.unwrap();
    }
    heard(&mut open, &(0..20).collect::<Vec<u8>>()).await;
    assert!(began.elapsed() >= Duration::from_millis(60), "there and back take twice the delay");

    line.set(Some(Rule::Delay(LinkDelay { delay_ms: 60_000, jitter_ms: 0 })));
    open.write_all(b"late").await.unwrap();
    line.hits(1).await;
    line.set(None);
    heard(&mut open, b"late").await;
}

/// A lost piece arrives later, and nothing overtakes it.
#[tokio::test]
async fn losses() {
    let line = Line::to_an_echo().await;
    let mut open = line.connect().await;
    line.set(Some(Rule::Loss(0.5)));
    let mut slowest = Duration::ZERO;
    for n in 0..u8::MAX {
        let began = Instant::now();
        echoed(&mut open, &[n, n, n]).await;
        slowest = slowest.max(began.elapsed());
        if line.hit() > 0 {
            break;
        }
    }
    assert!(slowest >= Duration::from_millis(200), "the first lost piece took only {slowest:?}");
    line.set(None);
    let sent: Vec<u8> = (0..200).collect();
    echoed(&mut open, &sent).await;
}

/// A peer that is away shows as a reset connection, at once; its return is seen by the next one.
#[tokio::test]
async fn a_peer_that_is_away() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut links = Links::new("n1".into());
    let relay = links.relay(Peer::Origin, "127.0.0.1", port).await.unwrap();
    let mut stream = TcpStream::connect(relay).await.unwrap();
    assert!(within(stream.read(&mut [0; 1])).await.is_err());
}

/// Over an idle connection of HTTP/2 pings go to and fro, as late as the bad link makes them, and count for nothing; a call counts. Each link
/// counts for itself.
#[tokio::test]
async fn an_idle_link_hits_nobody() {
    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const CALL: &[u8] = &[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x82];
    let bad = |rule| v1::Links {
        version: 1,
        bad: vec![BadLink { instance: "n1".to_owned(), peer: Peer::Origin.into(), rule: Some(rule) }],
    };
    let mut line = Line::to_an_echo_of(Peer::Origin).await;
    line.links.relay(Peer::LockService, "127.0.0.1", 1).await.unwrap();
    let mut open = line.connect().await;
    echoed(&mut open, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    line.links.apply(&bad(Rule::Delay(LinkDelay { delay_ms: 1, jitter_ms: 0 }))).unwrap();
    for _ in 0..3 {
        echoed(&mut open, PING).await;
    }
    assert_eq!(line.hit(), 0);
    line.links.apply(&bad(Rule::BlackHole(true))).unwrap();
    open.write_all(PING).await.unwrap();
    line.links.apply(&v1::Links::default()).unwrap();
    heard(&mut open, PING).await;
    assert_eq!(line.hit(), 0);

    line.links.apply(&bad(Rule::Delay(LinkDelay { delay_ms: 1, jitter_ms: 0 }))).unwrap();
    echoed(&mut open, CALL).await;
    let hits: Vec<(Peer, bool)> = line.links.hits().iter().map(|hits| (hits.peer(), hits.hit > 0)).collect();
    assert_eq!(hits, [(Peer::LockService, false), (Peer::Origin, true)]);
    // A call that waits for its answer is cut off.
    line.links.apply(&bad(Rule::Reset(true))).unwrap();
    within(open.read(&mut [0; 1])).await.unwrap_err();
    line.hits(1).await;
}

/// More connections than a relay has places for are reset; a place is free again when one ends.
#[tokio::test]
async fn connections_are_bounded() {
    let line = Line::to_an_echo().await;
    let mut held = Vec::new();
    for _ in 0..256 {
        held.push(line.connect().await);
    }
    let mut over = line.connect().await;
    assert!(within(over.read(&mut [0; 1])).await.is_err());
    echoed(held.last_mut().unwrap(), b"held").await;
    drop(held);
    within(async {
        loop {
            let mut again = line.connect().await;
            let mut back = [0; 1];
            if again.write_all(b"x").await.is_ok() && again.read_exact(&mut back).await.is_ok() {
                break;
            }
        }
    })
    .await;
}

/// Links of others are none of ours; what cannot be applied is refused as a whole.
#[tokio::test]
async fn states() {
    let line = Line::to_an_echo().await;
    let mut other = state(1, Some(Rule::Reset(true)));
    other.bad[0].instance = "n2".to_owned();
    line.links.apply(&other).unwrap();
    echoed(&mut line.connect().await, b"good").await;

    let mut both = state(2, Some(Rule::Reset(true)));
    both.bad.push(BadLink { peer: Peer::Origin.into(), ..both.bad[0].clone() });
    assert_eq!(line.links.apply(&both), Err(BadLinks::NoRelay(Peer::Origin)));
    both.bad[1].peer = Peer::Redis.into();
    both.bad[1].rule = Some(Rule::Loss(2.0));
    assert!(matches!(line.links.apply(&both), Err(BadLinks::Rule { peer: Peer::Redis, .. })));
    echoed(&mut line.connect().await, b"still good").await;
}

/// The control plane makes links bad and learns that they are and what they hit. They stay so for a moment without it; one
/// that comes back and knows nothing of them mends them.
#[tokio::test]
async fn the_control_plane_rules() {
    let role = Role { name: "cache-node", about: "", grpc_port: 0, admin_port: 0 };
    let line = Line::to_an_echo().await;
    let mut open = line.connect().await;
    let mut first = FakeControl::start(None, ControlUpdate::default());
    let service = Service::start(role, &ServiceArgs::ephemeral("n1")).await.unwrap();
    let args = ControlArgs { control_url: first.url().parse().unwrap(), advertise: None };
    let joined = control::join(&service, v1::Role::CacheNode, &args);
    tokio::spawn(line.links.follow(joined));
    first.report(|_| true).await;

    let update = |links| ControlUpdate { links: Some(links), ..ControlUpdate::default() };
    first.update(update(state(3, Some(Rule::BlackHole(true)))));
    let bad = first.report(|report| report.links_version == 3).await;
    let hit = |report: &v1::MemberReport| report.links_hit.iter().map(|hits| hits.hit).sum::<u64>();
    assert_eq!(hit(&bad), 0, "nothing was said yet");
    open.write_all(b"held").await.unwrap();
    first.report(|report| report.links_version == 3 && hit(report) == 1).await;
    first.update(update(state(4, Some(Rule::Loss(1.0)))));
    first.update(update(state(5, Some(Rule::BlackHole(true)))));
    let again = first.report(|report| report.links_version != 3).await;
    assert_eq!(again.links_version, 5, "a state that cannot be is not acknowledged");

    let at = first.address;
    drop(first);
    let mut nothing = [0; 1];
    assert_eq!(open.try_read(&mut nothing).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    let mut second = FakeControl::start(Some(at), ControlUpdate::default());
    second.report(|report| report.links_version == 0).await;
    heard(&mut open, b"held").await;
}
