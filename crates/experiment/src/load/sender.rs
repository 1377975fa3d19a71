//! The sending side: connections, one task a request, and the record of each.

use super::{
    Live, LoadError, LoadOutcome, LoadSpec, Operations, Start, histogram,
    operations::{Compact, Ending},
    pacer::Offered,
};
use futures::{StreamExt, stream::FuturesUnordered};
use hdrhistogram::Histogram;
use herd_history::LoadRecord;
use herd_scenario::Arrival;
use herd_wire::v1::{GetRequest, edge_client::EdgeClient};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const CONNECTIONS_MAX: usize = 64;
/// How much longer than the request's deadline the generator itself waits: the fleet shall have the first word.
const DEADLINE_GRACE: Duration = Duration::from_millis(500);
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
    let mut seen = Seen {
        sent: 0,
        keep_operations: spec.keep_operations,
        operations: Operations::new(spec.workload.clone()),
        latency_us: histogram(),
        lag_us: histogram(),
    };
    let mut under_way = FuturesUnordered::new();
    let mut look = tokio::time::interval(STOP_LOOK);
    let mut open = true;
    while open || !under_way.is_empty() {
        tokio::select! {
            shot = queue.recv(), if open => match shot {
                Some(arrival) => {
                    let client = clients[arrival.seq as usize % clients.len()].clone();
                    let key = seen.operations.key(arrival.key);
                    under_way.push(one(client, key, arrival, start, deadline));
                    live.sent.fetch_add(1, Ordering::Relaxed);
                }
                None => open = false,
            },
            Some(ended) = under_way.next() => {
                live.in_flight.fetch_sub(1, Ordering::Relaxed);
                seen.record(ended, &live);
            }
            _ = look.tick() => if stop.load(Ordering::Relaxed) { break },
        }
    }
    seen
}

/// One request that has ended.
struct Ended {
    arrival: Arrival,
    sent_us: u64,
    done_us: u64,
    answer: Result<herd_wire::v1::GetResponse, Status>,
}

async fn one(
    mut client: EdgeClient<Channel>,
    key: String,
    arrival: Arrival,
    start: Instant,
    deadline: Duration,
) -> Ended {
    let since_start = || u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    let mut request = Request::new(GetRequest { key });
    request.set_timeout(deadline);
    let sent_us = since_start();
    let deadline_us = u64::try_from(deadline.as_micros()).unwrap_or(u64::MAX);
    let answer = match tokio::time::timeout(deadline + DEADLINE_GRACE, client.get(request)).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        // tonic reports its own deadline as a cancellation.
        Ok(Err(status)) if status.code() == Code::Cancelled && since_start() - sent_us >= deadline_us => {
            Err(Status::deadline_exceeded(status.message()))
        }
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded("the generator gave up: no answer after the deadline")),
    };
    Ended { arrival, sent_us, done_us: since_start(), answer }
}

impl Seen {
    fn record(&mut self, ended: Ended, live: &Live) {
        let Ended { arrival, sent_us, done_us, answer } = ended;
        let latency_us = done_us.saturating_sub(arrival.at_us);
        self.latency_us.saturating_record(latency_us.max(1));
        self.lag_us.saturating_record(sent_us.saturating_sub(arrival.at_us).max(1));
        let ending = Ending::of(answer);
        live.ended(latency_us, ending.is_answered(), ending.is_hit());
        self.sent += 1;
        if self.keep_operations {
            self.operations.push(Compact::new(arrival, sent_us, done_us), ending);
        }
    }

    pub(super) fn into_outcome(self, spec: &LoadSpec, start: &Start, offered: &Offered) -> LoadOutcome {
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
