//! One fetch from arrival to answer: ledger, gate, latency, pool, query, ledger.

use crate::latency::{BadLatency, LatencyModel};
use crate::ledger::{Ledger, LedgerError};
use crate::metrics::{self, OriginMetrics};
use crate::store::{Row, SELECT, Store, StoreError, VALUE_BYTES_MAX};
use herd_service::trace::TraceContext;
use herd_service::{span, trace};
use herd_wire::key::{KeyError, check_key};
use herd_wire::v1::{FetchOutcome, FetchRequest, Latency, RebuildEnded};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{Instrument as _, Span, field::Empty};

/// What a fetch brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The row.
    pub row: Row,
    /// From arrival to answer.
    pub took: Duration,
}

/// Why a fetch or a write brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The key breaks a rule.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The value to write is too long.
    #[error("the value has {bytes} bytes: at most {VALUE_BYTES_MAX} are allowed")]
    ValueTooLong {
        /// its length
        bytes: usize,
    },
    /// The gate is closed: as many fetches as allowed are under way.
    #[error("{max} fetches are in flight: the origin takes no more")]
    Overloaded {
        /// the limit
        max: usize,
    },
    /// There is no such row.
    #[error("no such row")]
    NoSuchRow,
    /// The database is away or failed.
    #[error("the origin's database is away")]
    Database(#[from] StoreError),
    /// The rebuild cannot be recorded, so it is not done; or a text of the request is too long to be.
    #[error("the rebuild cannot be recorded: {0}")]
    Ledger(LedgerError),
    /// The caller's deadline passed.
    #[error("the caller's deadline passed")]
    DeadlinePassed,
}

/// The origin: rows behind a latency model, a gate and a pool, with a ledger of every fetch.
pub struct Fetcher {
    store: Store,
    ledger: Arc<Ledger>,
    latency: Mutex<LatencyModel>,
    gate: Semaphore,
    max_in_flight: usize,
    metrics: OriginMetrics,
    /// The last answer of the database was a failure. Said in the log once each way, not once a fetch.
    database_away: AtomicBool,
}

impl Fetcher {
    /// Puts the parts together. At most `max_in_flight` fetches are under way at once.
    #[must_use]
    pub fn new(
        store: Store,
        ledger: Arc<Ledger>,
        latency: LatencyModel,
        max_in_flight: usize,
        metrics: OriginMetrics,
    ) -> Self {
        let max_in_flight = max_in_flight.clamp(1, Semaphore::MAX_PERMITS);
        let (latency, gate) = (Mutex::new(latency), Semaphore::new(max_in_flight));
        Self { store, ledger, latency, gate, max_in_flight, metrics, database_away: AtomicBool::new(false) }
    }

    /// Fetches a row for a rebuild, as slowly as the model says. `caller` is the trace context that came with the call.
    ///
    /// Two events in the ledger, always: one at arrival, one at the end, also if this future is dropped on the way.
    ///
    /// # Errors
    /// See [`FetchError`]. A request with a malformed key is not recorded: it is nobody's rebuild.
    pub async fn fetch(
        &self,
        request: FetchRequest,
        caller: Option<TraceContext>,
        deadline: Instant,
    ) -> Result<Fetched, FetchError> {
        check_key(&request.key)?;
        let span = fetch_span(&request);
        // The ledger names the caller's trace: the rebuild's. The context that begins here is only for spans below.
        let _ = trace::begin(&span, caller);
        self.recorded(request, caller, deadline, &span).instrument(span.clone()).await
    }

    async fn recorded(
        &self,
        request: FetchRequest,
        caller: Option<TraceContext>,
        deadline: Instant,
        span: &Span,
    ) -> Result<Fetched, FetchError> {
        let started = Instant::now();
        let key = request.key.clone();
        let trace = caller.map(|caller| caller.trace_id()).unwrap_or_default();
        let number = self.ledger.start(request, trace).map_err(FetchError::Ledger)?;
        let mut rebuild =
            Rebuild { fetcher: self, number, started, queue: PoolQueue::NotYet, span, ended: false };
        let Ok(_admitted) = self.admit() else {
            rebuild.end(FetchOutcome::Rejected, 0)?;
            return Err(FetchError::Overloaded { max: self.max_in_flight });
        };
        match timeout_at(deadline, self.work(&key, &mut rebuild, deadline)).await {
            Ok(Ok(Some(row))) => {
                rebuild.end(FetchOutcome::Fetched, row.version)?;
                Ok(Fetched { row, took: started.elapsed() })
            }
            Ok(Ok(None)) => {
                rebuild.end(FetchOutcome::NoSuchRow, 0)?;
                Err(FetchError::NoSuchRow)
            }
            Ok(Err(error)) => {
                rebuild.end(FetchOutcome::Failed, 0)?;
                Err(FetchError::Database(error))
            }
            Err(_) => {
                rebuild.end(FetchOutcome::Cancelled, 0)?;
                Err(FetchError::DeadlinePassed)
            }
        }
    }

    /// The slow part: the model's delay, a connection, the query.
    async fn work(
        &self,
        key: &str,
        rebuild: &mut Rebuild<'_>,
        deadline: Instant,
    ) -> Result<Option<Row>, StoreError> {
        let delay = self.model().draw(Instant::now().into_std());
        if !delay.holds_connection {
            sleep_exactly(delay.time).await;
        }
        rebuild.queue = PoolQueue::Waiting(Instant::now());
        let acquired = self.store.acquire(deadline).await;
        self.metrics.observe_pool_wait(rebuild.queue.stop());
        let mut connection = self.heed(acquired)?;
        if delay.holds_connection {
            sleep_exactly(delay.time).await;
        }
        let query = span!(
            "SELECT items",
            otel.kind = "client",
            db.system.name = self.store.system_name(),
            db.operation.name = "SELECT",
            db.collection.name = "items",
            db.query.text = SELECT,
        );
        self.metrics.db_query.inc();
        let row = connection.select(key, deadline).instrument(query).await;
        self.heed(row)
    }

    /// Writes a row, with none of the model's delay. Returns its new version.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn put(&self, key: &str, value: &[u8], deadline: Instant) -> Result<u64, FetchError> {
        check_key(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(FetchError::ValueTooLong { bytes: value.len() });
        }
        let written = timeout_at(deadline, async {
            let mut connection = self.store.acquire(deadline).await?;
            connection.put(key, value, deadline).await
        });
        let version = self.heed(written.await.map_err(|_| FetchError::DeadlinePassed)?)?;
        Ok(version)
    }

    /// Puts another latency model in force, for fetches that arrive from now on. Returns it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn set_latency(&self, settings: Latency) -> Result<Latency, BadLatency> {
        let now = Instant::now().into_std();
        let mut model = self.model();
        model.set(settings, now)?;
        Ok(model.get(now))
    }

    /// The latency model in force.
    #[must_use]
    pub fn latency(&self) -> Latency {
        self.model().get(Instant::now().into_std())
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The rows.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Fetches that were admitted and have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.max_in_flight - self.gate.available_permits()
    }

    fn admit(&self) -> Result<Admitted<'_>, tokio::sync::TryAcquireError> {
        let permit = self.gate.try_acquire()?;
        self.metrics.in_flight.inc();
        Ok(Admitted { fetcher: self, _permit: permit })
    }

    fn model(&self) -> MutexGuard<'_, LatencyModel> {
        self.latency.lock().expect("nothing panics while it holds the latency model")
    }

    /// Notices when the database goes away and when it is back.
    fn heed<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        let away = answer.is_err();
        if self.database_away.load(Ordering::Relaxed) != away {
            self.database_away.store(away, Ordering::Relaxed);
            match &answer {
                Err(error) => {
                    let cause = std::error::Error::source(error).map(ToString::to_string);
                    tracing::warn!(%error, cause, "the database is away: fetches fail until it is back");
                }
                Ok(_) => tracing::info!("the database is back"),
            }
        }
        answer
    }
}

/// A delay of nothing is not even a turn of the runtime.
async fn sleep_exactly(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

fn fetch_span(request: &FetchRequest) -> Span {
    span!(
        "origin.fetch",
        otel.kind = "server",
        herd.key = %request.key,
        herd.generation = request.generation,
        herd.reason = request.reason().as_str_name(),
        herd.token = request.token,
        herd.node = %request.node,
        herd.rebuild = Empty,
        herd.outcome = Empty,
        herd.queued_us = Empty,
        otel.status_code = Empty,
    )
}

struct Admitted<'a> {
    fetcher: &'a Fetcher,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.fetcher.metrics.in_flight.dec();
    }
}

#[derive(Clone, Copy)]
enum PoolQueue {
    NotYet,
    Waiting(Instant),
    Waited(Duration),
}

impl PoolQueue {
    fn stop(&mut self) -> Duration {
        *self = Self::Waited(self.so_far());
        self.so_far()
    }

    fn so_far(self) -> Duration {
        match self {
            Self::NotYet => Duration::ZERO,
            Self::Waiting(since) => since.elapsed(),
            Self::Waited(time) => time,
        }
    }
}

/// A rebuild whose start stands in the ledger. It ends exactly once, at the latest when it is dropped.
struct Rebuild<'a> {
    fetcher: &'a Fetcher,
    number: u64,
    started: Instant,
    queue: PoolQueue,
    span: &'a Span,
    ended: bool,
}

impl Rebuild<'_> {
    fn end(&mut self, outcome: FetchOutcome, version: u64) -> Result<(), FetchError> {
        self.ended = true;
        let queued_us = microseconds(self.queue.so_far());
        let worked_us = microseconds(self.started.elapsed());
        self.fetcher.metrics.count_end(outcome);
        if !self.span.is_disabled() {
            self.span.record("herd.rebuild", self.number);
            self.span.record("herd.outcome", metrics::name(outcome));
            self.span.record("herd.queued_us", queued_us);
            if matches!(outcome, FetchOutcome::Failed | FetchOutcome::Rejected) {
                self.span.record("otel.status_code", "ERROR");
            }
        }
        let ended = RebuildEnded { outcome: outcome.into(), version, queued_us, worked_us, gate_us: 0 };
        self.fetcher.ledger.end(self.number, ended).map(drop).map_err(FetchError::Ledger)
    }
}

impl Drop for Rebuild<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let outcome =
                if std::thread::panicking() { FetchOutcome::Failed } else { FetchOutcome::Cancelled };
            // A ledger that is closed or broken has said so; to its readers this rebuild was cut off.
            let _ = self.end(outcome, 0);
        }
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
