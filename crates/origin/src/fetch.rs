//! One fetch from arrival to answer: ledger, gate, pool, query, latency, ledger.
//!
//! - `rebuild`: what stands in the ledger of it.

mod rebuild;

use crate::failures::{BadShare, FailureModel};
use crate::latency::{BadLatency, LatencyModel};
use crate::ledger::{Ledger, LedgerError};
use crate::metrics::OriginMetrics;
use crate::store::{Connection, Row, SELECT, Store, StoreError, VALUE_BYTES_MAX};
use crate::stuck::{BadStuck, StuckQueries};
use herd_service::gate::{BadLimits, Gate, Limits, NotAdmitted, Refused};
use herd_service::trace::conventions::rpc_server;
use herd_service::trace::{Kind, Span, TraceContext};
use herd_wire::key::{KeyError, check_key};
use herd_wire::v1::{Failures, FetchOutcome, FetchRequest, Latency, OriginGate, Stuck};
use rebuild::{Rebuild, Wait};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

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
    /// The gate let it in neither at once nor in time.
    #[error("the origin is overloaded: {0}")]
    Overloaded(Refused),
    /// There is no such row.
    #[error("no such row")]
    NoSuchRow,
    /// The database is away or failed.
    #[error("the origin's database is away")]
    Database(#[source] StoreError),
    /// It fails on command.
    #[error("the origin fails, as it was told to")]
    OnCommand,
    /// The rebuild cannot be recorded, so it is not done; or a text of the request is too long to be.
    #[error("the rebuild cannot be recorded: {0}")]
    Ledger(LedgerError),
    /// The caller's deadline passed.
    #[error("the caller's deadline passed")]
    DeadlinePassed,
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> Self {
        if error.is_away() { Self::Database(error) } else { Self::DeadlinePassed }
    }
}

/// The origin: rows behind a latency model, a gate and a pool, with a ledger of every fetch.
pub struct Fetcher {
    store: Store,
    ledger: Arc<Ledger>,
    latency: Mutex<LatencyModel>,
    failures: Mutex<FailureModel>,
    stuck: StuckQueries,
    gate: Gate,
    metrics: OriginMetrics,
    /// The last answer of the database was a failure. Said in the log once each way, not once a fetch.
    database_away: AtomicBool,
}

impl Fetcher {
    /// Puts the parts together. Nothing fails on command, and the gate has these limits, until others are set.
    #[must_use]
    pub fn new(
        store: Store,
        ledger: Arc<Ledger>,
        latency: LatencyModel,
        failures: FailureModel,
        limits: Limits,
        metrics: OriginMetrics,
    ) -> Self {
        let (latency, failures) = (Mutex::new(latency), Mutex::new(failures));
        let gate = Gate::new(limits, metrics.gate.clone());
        Self {
            store,
            ledger,
            latency,
            failures,
            stuck: StuckQueries::default(),
            gate,
            metrics,
            database_away: AtomicBool::new(false),
        }
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
        // The ledger names the caller's trace: the rebuild's.
        let span = fetch_span(&request, caller);
        self.recorded(request, caller, deadline, &span).await
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
        let mut rebuild = Rebuild::new(self, number, started, span);
        rebuild.gate = Wait::Waiting(started);
        let admitted = self.gate.enter(deadline.into_std()).await;
        rebuild.gate.stop();
        let _place = match admitted {
            Ok(place) => place,
            Err(NotAdmitted::Refused(refused)) => {
                rebuild.end(FetchOutcome::Rejected, 0)?;
                return Err(FetchError::Overloaded(refused));
            }
            Err(NotAdmitted::DeadlinePassed) => {
                rebuild.end(FetchOutcome::Cancelled, 0)?;
                return Err(FetchError::DeadlinePassed);
            }
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
            Ok(Err(error)) if !matches!(error, FetchError::DeadlinePassed) => {
                rebuild.end(FetchOutcome::Failed, 0)?;
                Err(error)
            }
            Ok(Err(_)) | Err(_) => {
                rebuild.end(FetchOutcome::Cancelled, 0)?;
                Err(FetchError::DeadlinePassed)
            }
        }
    }

    /// The slow part: a connection, the query, the model's delay.
    ///
    /// The row is read first and answered late, as by a query that is slow: what is written meanwhile is not in its answer.
    async fn work(
        &self,
        key: &str,
        rebuild: &mut Rebuild<'_>,
        deadline: Instant,
    ) -> Result<Option<Row>, FetchError> {
        let delay = self.model().draw(Instant::now().into_std());
        rebuild.queue = Wait::Waiting(Instant::now());
        let acquired = self.store.acquire(deadline).await;
        self.metrics.observe_pool_wait(rebuild.queue.stop());
        let mut connection = self.heed(acquired)?;
        let row = self.read(&mut connection, key, deadline, rebuild.span()).await;
        let connection = self.stuck.pass(connection).await;
        // Held until the delay is over, or given back before.
        let _held = delay.holds_connection.then_some(connection);
        sleep_exactly(delay.time).await;
        row
    }

    /// The query, or the failure in its place.
    async fn read(
        &self,
        connection: &mut Connection,
        key: &str,
        deadline: Instant,
        span: &Span,
    ) -> Result<Option<Row>, FetchError> {
        if self.failures().draw(Instant::now().into_std()) {
            return Err(FetchError::OnCommand);
        }
        let query = span
            .child("SELECT items", Kind::Client)
            .with("db.system.name", self.store.system_name())
            .with("db.operation.name", "SELECT")
            .with("db.collection.name", "items")
            .with("db.query.text", SELECT);
        self.metrics.db_query.inc();
        let row = connection.select(key, deadline).await;
        if let Err(error) = &row {
            query.fail("database", error.to_string());
        }
        drop(query);
        Ok(self.heed(row)?)
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

    /// Deletes the rows whose keys begin like this, and says how many there were.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn delete_rows(&self, beginning: &str, deadline: Instant) -> Result<u64, FetchError> {
        check_key(beginning)?;
        let deleted = timeout_at(deadline, async {
            let mut connection = self.store.acquire(deadline).await?;
            connection.delete_beginning(beginning, deadline).await
        });
        Ok(self.heed(deleted.await.map_err(|_| FetchError::DeadlinePassed)?)?)
    }

    /// The keys of rows behind `after`, in order: a part, and all that are left if it is shorter than
    /// [`KEYS_MAX`](crate::store::KEYS_MAX).
    ///
    /// # Errors
    /// The database is away, or the deadline passed.
    pub async fn keys_after(&self, after: &str, deadline: Instant) -> Result<Vec<String>, FetchError> {
        // A database that is given no time is not away.
        if Instant::now() >= deadline {
            return Err(FetchError::DeadlinePassed);
        }
        let keys = timeout_at(deadline, async {
            let mut connection = self.store.acquire(deadline).await?;
            connection.keys_after(after, deadline).await
        });
        Ok(self.heed(keys.await.map_err(|_| FetchError::DeadlinePassed)?)?)
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

    /// Puts other limits of the gate in force. Fetches inside end under the old ones; those in the queue stay there.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn set_gate(&self, gate: OriginGate) -> Result<(), BadLimits> {
        self.gate.set(Limits::try_from(gate)?);
        Ok(())
    }

    /// Has fetches fail on command from now on. Returns what is in force.
    ///
    /// # Errors
    /// The share is no share.
    pub fn set_failures(&self, settings: Failures) -> Result<Failures, BadShare> {
        let now = Instant::now().into_std();
        let mut failures = self.failures();
        failures.set(settings, now)?;
        Ok(failures.get(now))
    }

    /// Makes the next queries hang with their connections, or lets go those that do. Returns what is in force.
    ///
    /// # Errors
    /// Out of the limits.
    pub fn set_stuck(&self, wanted: Stuck) -> Result<Stuck, BadStuck> {
        self.stuck.set(wanted)
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

    /// The gate.
    #[must_use]
    pub const fn gate(&self) -> &Gate {
        &self.gate
    }

    fn failures(&self) -> MutexGuard<'_, FailureModel> {
        self.failures.lock().expect("nothing panics while it holds the failures")
    }

    fn model(&self) -> MutexGuard<'_, LatencyModel> {
        self.latency.lock().expect("nothing panics while it holds the latency model")
    }

    /// Notices when the database goes away and when it is back.
    fn heed<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        let away = match &answer {
            Err(error) if !error.is_away() => return answer,
            answer => answer.is_err(),
        };
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

fn fetch_span(request: &FetchRequest, caller: Option<TraceContext>) -> Span {
    let span = rpc_server("herd.v1.Origin/Fetch", caller);
    if span.is_recording() {
        span.set("herd.key", request.key.as_str());
        span.set("herd.cache_key", request.cache_key.as_str());
        span.set("herd.generation", request.generation);
        let reason = request.reason().as_str_name();
        span.set("herd.rebuild.reason", reason.strip_prefix("REASON_").unwrap_or(reason).to_lowercase());
        if request.token > 0 {
            span.set("herd.fencing_token", request.token);
            span.set("herd.epoch", request.epoch);
        }
        span.set("herd.node", request.node.as_str());
        span.set("herd.config.version", request.config_version);
    }
    span
}
