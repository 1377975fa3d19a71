//! The port of a relay, and its connections.

use super::Hits;
use super::pipe::Pipe;
use super::rule::Rule;
use super::talk::{Side, Talk};
use herd_wire::v1;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tracing::debug;

/// Connections at once; a further one is reset.
const CONNECTIONS_MAX: usize = 256;

/// How long connecting to the peer may take.
const DIAL_MAX: Duration = Duration::from_secs(1);

/// How long a client may take to say something on a connection that is reset: whether a call was behind it.
const FIRST_WORDS_MAX: Duration = Duration::from_millis(50);

/// After a failure to accept (such as: out of descriptors), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A port on loopback that passes everything on to one peer, as well as the link's rule lets it.
#[derive(Debug)]
pub(super) struct Relay {
    address: SocketAddr,
    rule: watch::Sender<Rule>,
    hits: Hits,
    accepting: AbortHandle,
}

impl Relay {
    /// `peer` says which protocol is spoken.
    pub(super) async fn start(peer: v1::Peer, at: (String, u16), hits: Hits) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (rule, rules) = watch::channel(Rule::Good);
        let line = Line { peer, at: Arc::new(at), rules, hits: hits.clone() };
        let accepting = tokio::spawn(accept(listener, line)).abort_handle();
        Ok(Self { address, rule, hits, accepting })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn rule(&self) -> Rule {
        *self.rule.borrow()
    }

    pub(super) fn hits(&self) -> u64 {
        self.hits.count()
    }

    /// Sets the rule. If it makes the link bad, or bad in another way, what was hit is counted anew.
    pub(super) fn set(&self, rule: Rule) {
        if rule != Rule::Good && rule != self.rule() {
            self.hits.reset();
        }
        self.rule.send_if_modified(|was| std::mem::replace(was, rule) != rule);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What every connection of a relay knows.
#[derive(Clone)]
struct Line {
    peer: v1::Peer,
    at: Arc<(String, u16)>,
    rules: watch::Receiver<Rule>,
    hits: Hits,
}

/// Owns the connections: they end with it.
async fn accept(listener: TcpListener, line: Line) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => match places.clone().try_acquire_owned() {
                    Ok(place) => {
                        let line = line.clone();
                        connections.spawn(async move {
                            line.carry(client).await;
                            drop(place);
                        });
                    }
                    Err(_) => reset(&client),
                },
                Err(error) => {
                    debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

impl Line {
    /// From the first byte to the last. Ends as it ended between the two: closed in order, or reset.
    async fn carry(self, mut client: TcpStream) {
        let talk = Arc::new(Mutex::new(Talk::with(self.peer)));
        let mut up = Pipe::new(Side::Client, talk.clone(), self.hits.clone());
        let _ = client.set_nodelay(true);
        let peer = tokio::select! {
            dialled = self.dial(&client, &mut up) => dialled,
            () = self.clone().reset() => {
                first_words(&client, &mut up, &talk).await;
                self.hit_if_asked(&talk);
                None
            }
        };
        let Some(mut peer) = peer else { return reset(&client) };
        let _ = peer.set_nodelay(true);
        let ended = {
            let down = Pipe::new(Side::Peer, talk.clone(), self.hits.clone());
            let ((client_says, client_hears), (peer_says, peer_hears)) = (client.split(), peer.split());
            tokio::select! {
                ended = async {
                    tokio::try_join!(
                        up.run(client_says, peer_hears, self.rules.clone()),
                        down.run(peer_says, client_hears, self.rules.clone()),
                    )
                } => ended.is_ok(),
                () = self.clone().reset() => {
                    self.hit_if_asked(&talk);
                    false
                }
            }
        };
        if !ended {
            reset(&client);
            reset(&peer);
        }
    }

    /// A reset hits a call that waits for its answer, and nobody on a connection that only stands there.
    fn hit_if_asked(&self, talk: &Mutex<Talk>) {
        if is_asked(talk) {
            self.hits.add();
        }
    }

    /// Returns when the link's rule is to reset.
    async fn reset(mut self) {
        if self.rules.wait_for(|rule| *rule == Rule::Reset).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Connects to the peer as soon as the link lets through, and reads meanwhile what the client says. `None`: the client
    /// left first, or the peer is away.
    async fn dial(&self, client: &TcpStream, up: &mut Pipe) -> Option<TcpStream> {
        let mut rules = self.rules.clone();
        let mut rule = *rules.borrow_and_update();
        while rule == Rule::BlackHole {
            tokio::select! {
                changed = rules.changed() => {
                    changed.ok()?;
                    rule = *rules.borrow_and_update();
                }
                read = up.read(client, rule) => {
                    read.ok()?;
                    if up.closed() {
                        return None;
                    }
                }
            }
        }
        let (host, port) = (self.at.0.as_str(), self.at.1);
        tokio::time::timeout(DIAL_MAX, TcpStream::connect((host, port))).await.ok()?.ok()
    }
}

/// Waits for the call behind a connection, if there is one.
async fn first_words(client: &TcpStream, up: &mut Pipe, talk: &Mutex<Talk>) {
    let said = async {
        while !up.closed() && !is_asked(talk) {
            if up.read(client, Rule::Reset).await.is_err() {
                return;
            }
        }
    };
    // Who says nothing for so long makes no call.
    let _ = tokio::time::timeout(FIRST_WORDS_MAX, said).await;
}

fn is_asked(talk: &Mutex<Talk>) -> bool {
    talk.lock().expect("nothing panics while it holds the talk").is_asked()
}

/// The other side sees a reset instead of an orderly end, once the socket is dropped.
fn reset(socket: &TcpStream) {
    let _ = socket.set_zero_linger();
}
