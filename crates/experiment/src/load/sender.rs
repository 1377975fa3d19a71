//! The sending side: connections, one task a request, and the record of each.

use super::{
    Live, LoadError, LoadOutcome, LoadSpec, Operations, WindowStart,
    ending::Ending,
    hang_up::{HangUp, Lines},
    histogram,
    operations::Compact,
    pacer::Offered,
    retry::Clients,
};
use crate::edge;
use futures::{StreamExt, stream::FuturesUnordered};
use hdrhistogram::Histogram;
use herd_history::{LoadRecord, Outcome};
use herd_scenario::{Arrival, KeyId};
use herd_wire::v1::edge_client::EdgeClient;
use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};
use tonic::transport::{Channel, Endpoint};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const CONNECTIONS_MAX: usize = 64;
/// How often the sender looks whether it shall stop, while nothing else happens.
const STOP_LOOK: Duration = Duration::from_millis(100);

/// Opens the connections.
pub(super) async fn connect(spec: &LoadSpec) -> Result<Vec<EdgeClient<Channel>>, LoadError> {
    let edge = || spec.edge.clone();
    let endpoint = Endpoint::from_shared(edge())
        .map_err(|source| LoadError::Address { edge: edge(), source })?
        .connect_timeout(CONNECT_LIMIT)
        .tcp_nodelay(true)
        .buffer_size(spec.in_flight_max.clamp(1_024, 65_536));
    let mut clients = Vec::new();
    for _ in 0..spec.connections.clamp(1, CONNECTIONS_MAX) {
        let channel =
            endpoint.connect().await.map_err(|source| LoadError::Connect { edge: edge(), source })?;
        clients.push(EdgeClient::new(channel));
    }
    Ok(clients)
}

/// What the sender saw.
pub(super) struct Seen {
    sent: u64,
    keep_operations: bool,
    operations: Operations,
    latency_us: Histogram<u64>,
    lag_us: Histogram<u64>,
}

/// Sends what the queue brings until it is closed and every request has ended, or until `stop`.
pub(super) async fn send_all(
    spec: &LoadSpec,
    clients: &[EdgeClient<Channel>],
    mut queue: mpsc::Receiver<Arrival>,
    start: Instant,
    live: Arc<Live>,
    stop: &AtomicBool,
) -> Seen {
    let deadline = Duration::from_millis(u64::from(spec.workload.request_deadline_ms));
    let retries = Clients::new(spec.workload.retry, spec.seed);
    let way = Way { clients: &retries, live: &live, start, deadline };
    let mut seen = Seen {
        sent: 0,
        keep_operations: spec.keep_operations,
        operations: Operations::new(spec.workload.clone()),
        latency_us: histogram(),
        lag_us: histogram(),
    };
    let mut under_way = FuturesUnordered::new();
    let (mut lines, mut words) = (Lines::default(), live.hears());
    let mut look = tokio::time::interval(STOP_LOOK);
    let mut open = true;
    while open || !under_way.is_empty() {
        tokio::select! {
            shot = queue.recv(), if open => match shot {
                Some(arrival) => {
                    let client = clients[arrival.seq as usize % clients.len()].clone();
                    let key = seen.operations.key(arrival.key);
                    let hears = lines.open(arrival.seq);
                    under_way.push(way.until_hung_up(client, key, arrival, hears));
                    seen.sent += 1;
                    live.sent.fetch_add(1, Ordering::Relaxed);
                }
                None => open = false,
            },
            Some(ended) = under_way.next() => {
                live.in_flight.fetch_sub(1, Ordering::Relaxed);
                lines.close(ended.arrival.seq);
                seen.record(ended, &live);
            }
            Some(word) = next_word(&mut words) => lines.hang_up(word),
            _ = look.tick() => if stop.load(Ordering::Relaxed) { break },
        }
    }
    seen
}

/// The next word to the generator; never, if somebody else hears them.
async fn next_word(words: &mut Option<mpsc::Receiver<HangUp>>) -> Option<HangUp> {
    match words {
        Some(words) => words.recv().await,
        None => std::future::pending().await,
    }
}

/// One request that has ended.
struct Ended {
    arrival: Arrival,
    sent_us: u64,
    done_us: u64,
    attempts: u32,
    ending: Ending,
}

/// What all requests of a load share.
#[derive(Clone, Copy)]
struct Way<'a> {
    clients: &'a Clients,
    live: &'a Live,
    start: Instant,
    deadline: Duration,
}

impl Way<'_> {
    /// Sends one request, and again, until it ends or its client hangs up, which drops what is under way.
    async fn until_hung_up(
        self,
        client: EdgeClient<Channel>,
        key: String,
        arrival: Arrival,
        hears: oneshot::Receiver<()>,
    ) -> Ended {
        let (sent_us, attempts) = (self.since_start(), Cell::new(1));
        self.clients.sends();
        let (done_us, ending) = tokio::select! {
            biased;
            ended = self.one(client, key, arrival.seq, &attempts) => ended,
            Ok(()) = hears => (self.since_start(), Ending::HungUp),
        };
        Ended { arrival, sent_us, done_us, attempts: attempts.get(), ending }
    }

    fn since_start(self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Sends one request, and again as long as its client does not give up; when it ended, and how.
    async fn one(
        self,
        mut client: EdgeClient<Channel>,
        key: String,
        seq: u64,
        attempts: &Cell<u32>,
    ) -> (u64, Ending) {
        loop {
            let answer = edge::get(&mut client, key.clone(), self.deadline).await;
            let done_us = self.since_start();
            let pause =
                answer.as_ref().err().and_then(|ended| self.clients.again(seq, attempts.get(), ended));
            let Some(pause) = pause else {
                return (done_us, Ending::of(answer));
            };
            tokio::time::sleep(pause).await;
            self.live.again.fetch_add(1, Ordering::Relaxed);
            attempts.set(attempts.get() + 1);
        }
    }
}

impl Seen {
    fn record(&mut self, ended: Ended, live: &Live) {
        let Ended { arrival, sent_us, done_us, attempts, ending } = ended;
        let latency_us = done_us.saturating_sub(arrival.at_us);
        self.lag_us.saturating_record(sent_us.saturating_sub(arrival.at_us).max(1));
        let well = match ending.outcome() {
            Outcome::Answered => true,
            Outcome::NotFound => !matches!(arrival.key, KeyId::Row(_)),
            _ => false,
        };
        // Who hung up has seen neither an answer nor an error.
        if !matches!(ending, Ending::HungUp) {
            self.latency_us.saturating_record(latency_us.max(1));
            live.ended(latency_us, well, well && ending.served().is_hit());
        }
        if self.keep_operations {
            self.operations.push(Compact::new(arrival, sent_us, done_us, attempts), &ending);
        }
    }

    pub(super) fn into_outcome(self, spec: &LoadSpec, start: &WindowStart, offered: &Offered) -> LoadOutcome {
        let seconds = spec.window.as_secs_f64().max(f64::MIN_POSITIVE);
        let sent = self.sent;
        let record = LoadRecord {
            offered: offered.offered,
            sent,
            unsent: offered.unsent,
            offered_per_s: offered.offered as f64 / seconds,
            sent_per_s: sent as f64 / seconds,
            lag_p50_us: self.lag_us.value_at_quantile(0.5),
            lag_p99_us: self.lag_us.value_at_quantile(0.99),
            lag_max_us: self.lag_us.max(),
        };
        let window_us = u64::try_from(spec.window.as_micros()).unwrap_or(u64::MAX);
        let mut operations = self.operations;
        operations.starts_at(start.unix_us);
        LoadOutcome {
            window_start_us: start.unix_us,
            window_end_us: start.unix_us.saturating_add(window_us),
            record,
            latency_us: self.latency_us,
            operations,
        }
    }
}
