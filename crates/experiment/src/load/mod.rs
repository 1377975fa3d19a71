//! The open-loop load generator.
//!
//! Arrivals come from the scenario's seed and do not wait for answers. A thread of its own paces them with the
//! system's fine sleeps (a tokio timer ticks once a millisecond, which would be the generator's own lag); another
//! thread runs the connections. Latency counts from the *intended* send time, so that neither a slow fleet nor a slow
//! generator can hide (coordinated omission). What could not be sent because [`LoadSpec::in_flight_max`] requests were
//! already under way is counted, and the generator's lag is measured on every request.
//!
//! Clients may send a request again ([`Workload::retry`]). Each attempt has the whole deadline of the request; latency
//! counts from the first intended time to the last attempt's end, and the request is under way until then, pauses
//! included. When others arrive is not moved by it.
//!
//! Clients may be told to hang up ([`Live::hang_up`]): requests under way are then dropped, which cancels them, and are not
//! sent again.

pub(crate) mod ending;
mod hang_up;
mod live;
mod operations;
mod pacer;
mod retry;
mod sender;

pub use live::{Live, LiveNow};
pub use operations::Operations;

use hdrhistogram::Histogram;
use herd_history::LoadRecord;
use herd_scenario::{Arrivals, Workload};
use std::{
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::{mpsc, oneshot};

/// The most arrivals that one call may draw and keep; more would not fit into memory comfortably.
pub const OFFERED_MAX: u64 = 20_000_000;
/// The longest latency that is told apart, microseconds (5 minutes).
const LATENCY_US_MAX: u64 = 300_000_000;

/// What to send, where to and for how long.
#[derive(Clone, Debug)]
pub struct LoadSpec {
    /// `http://host:port` of the edge's gRPC.
    pub edge: String,
    /// Rate, arrivals, keys and deadline.
    pub workload: Workload,
    /// Fixes arrivals and keys.
    pub seed: u64,
    /// No arrival is intended later than this after the start.
    pub window: Duration,
    /// HTTP/2 connections to the edge, 1 to 64; requests take turns.
    pub connections: usize,
    /// Requests under way at most, 1 or more; an arrival beyond that is counted as unsent.
    pub in_flight_max: usize,
    /// Whether the outcome holds every request. Without them memory does not grow with the load, and [`OFFERED_MAX`] does
    /// not bind.
    pub keep_operations: bool,
}

impl LoadSpec {
    /// A specification with four connections, 20,000 requests in flight at most and every request kept.
    #[must_use]
    pub const fn new(edge: String, workload: Workload, seed: u64, window: Duration) -> Self {
        Self { edge, workload, seed, window, connections: 4, in_flight_max: 20_000, keep_operations: true }
    }
}

/// What the generator did and saw.
#[derive(Debug)]
pub struct LoadOutcome {
    /// Intended time of arrival offset 0, Unix microseconds.
    pub window_start_us: u64,
    /// End of the window, Unix microseconds.
    pub window_end_us: u64,
    /// Counts, rates and the generator's lag.
    pub record: LoadRecord,
    /// Latency from the intended send time, microseconds, of every request that was sent.
    pub latency_us: Histogram<u64>,
    /// Every request that was sent; none without [`LoadSpec::keep_operations`].
    pub operations: Operations,
}

/// Why no load could be driven.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The address is not one.
    #[error("{edge} is not an address of an edge")]
    Address {
        /// the address given
        edge: String,
        /// what is wrong with it
        #[source]
        source: tonic::transport::Error,
    },
    /// The edge does not answer.
    #[error("cannot connect to the edge at {edge}")]
    Connect {
        /// the address tried
        edge: String,
        /// why not
        #[source]
        source: tonic::transport::Error,
    },
    /// The window and rate ask for more requests than can be recorded.
    #[error("{offered} requests were asked for; at most {OFFERED_MAX} can be recorded")]
    TooMany {
        /// rate times window
        offered: u64,
    },
    /// The system gave no thread or runtime.
    #[error("the load generator could not start")]
    System(#[source] std::io::Error),
    /// The generator's thread ended before its work was done.
    #[error("the load generator ended early")]
    Ended,
}

/// Drives the load and returns when every request has ended (each has a deadline). `live` shows how it goes. Dropping
/// the future stops the generator.
///
/// # Errors
/// The edge cannot be reached when the load begins, or the request is impossible. What happens to single requests
/// later is recorded, not an error.
pub async fn drive(spec: LoadSpec, live: Arc<Live>) -> Result<LoadOutcome, LoadError> {
    let arrivals = spec.workload.arrivals(spec.seed);
    let expected = u64::from(spec.workload.rate_per_s).saturating_mul(spec.window.as_secs() + 1);
    drive_arrivals(spec, arrivals, expected, live).await
}

/// As [`drive`], with other arrivals than those of the workload: about `offered` of them are expected.
///
/// # Errors
/// As [`drive`].
pub async fn drive_arrivals(
    spec: LoadSpec,
    arrivals: Arrivals,
    offered: u64,
    live: Arc<Live>,
) -> Result<LoadOutcome, LoadError> {
    if spec.keep_operations && offered > OFFERED_MAX {
        return Err(LoadError::TooMany { offered });
    }
    let (done, outcome) = oneshot::channel();
    let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
    let stopped = Arc::clone(&stop.0);
    thread::Builder::new()
        .name("load-sender".to_owned())
        .spawn(move || {
            // The receiver is gone if the caller gave up: nobody wants the outcome then.
            let _ = done.send(generate(&spec, arrivals, &live, &stopped));
        })
        .map_err(LoadError::System)?;
    outcome.await.map_err(|_| LoadError::Ended)?
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn generate(
    spec: &LoadSpec,
    arrivals: Arrivals,
    live: &Arc<Live>,
    stop: &Arc<AtomicBool>,
) -> Result<LoadOutcome, LoadError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LoadError::System)?;
    let clients = runtime.block_on(sender::connect(spec))?;
    let start = WindowStart::soon();
    live.begin(start);
    // The channel holds what the pacer has counted as in flight, so it is never full.
    let (shots, queue) = mpsc::channel(spec.in_flight_max.max(1));
    let pacer = {
        let pacer = pacer::Pacer {
            arrivals,
            window_us: u64::try_from(spec.window.as_micros()).unwrap_or(u64::MAX),
            start: start.at,
            in_flight_max: spec.in_flight_max.max(1),
            shots,
            live: Arc::clone(live),
            stop: Arc::clone(stop),
        };
        thread::Builder::new().name("load-pacer".to_owned()).spawn(move || pacer.run())
    }
    .map_err(LoadError::System)?;
    let seen = runtime.block_on(sender::send_all(spec, &clients, queue, start.at, Arc::clone(live), stop));
    let offered = pacer.join().map_err(|_| LoadError::Ended)?;
    Ok(seen.into_outcome(spec, &start, &offered))
}

/// The moment at which a load's window begins: that of arrival offset 0, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowStart {
    /// By the clock that never goes back.
    pub at: Instant,
    /// Unix microseconds.
    pub unix_us: u64,
}

impl WindowStart {
    fn soon() -> Self {
        // A little ahead, so that the first arrivals are not late already.
        let ahead = Duration::from_millis(20);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + ahead;
        Self { at: Instant::now() + ahead, unix_us: u64::try_from(unix.as_micros()).unwrap_or(u64::MAX) }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)
        .expect("the bounds are constants that hdrhistogram accepts")
}
