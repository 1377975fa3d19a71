//! Rows in SQL: Postgres or SQLite by URL, behind a bounded pool that really queues.
//!
//! A caller first waits for its turn, first come first served, for as long as it likes: that is the queue. With a turn
//! in hand a connection is free or may be opened, so waiting longer than a moment means that the database is away. Then
//! everybody in the queue is told at once.
//!
//! - `seed`: migrations and the first rows.
//! - `keys`: the keys of all rows, a part at a time.

mod keys;
mod seed;

pub use keys::KEYS_MAX;

use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, PgPool, Postgres, Sqlite, SqlitePool};
use std::future::Future;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// The longest value of a row, in bytes: 1 MiB.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// The largest number of rows that can be seeded.
pub const ROWS_MAX: u64 = 10_000_000;

/// The largest pool.
pub const POOL_SIZE_MAX: u32 = 1_000;

/// The query that a fetch waits for.
pub const SELECT: &str = "SELECT version, value FROM items WHERE key = $1";

const PUT: &str = "INSERT INTO items (key, version, value) VALUES ($1, 1, $2)
    ON CONFLICT (key) DO UPDATE SET version = items.version + 1, value = excluded.value RETURNING version";

/// A database that gives no connection for this long is away. A caller with less time left hears it before its deadline.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// A query that is not answered for this long never will be.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// A database found away is not tried again for this long: a crowd that queues for it would fail one by one, too late.
const AWAY_PAUSE: Duration = Duration::from_millis(100);

/// Whoever waited for less than this in vain has found out nothing about the database: under overload most callers reach their
/// turn with a few milliseconds left.
const TELLING: Duration = Duration::from_millis(50);

/// How long closing the pool may take.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// Pauses between attempts to reach the database at start-up.
const START_PAUSE: Duration = Duration::from_millis(200);

/// Which database, by the shape of its URL.
#[derive(Clone, Debug)]
pub enum Database {
    /// `sqlite:PATH`
    Sqlite(Box<SqliteConnectOptions>),
    /// `postgres://...`
    Postgres(Box<PgConnectOptions>),
}

impl FromStr for Database {
    type Err = String;

    /// Reads a URL. The error says what is wrong with it, without repeating it: it may hold a password.
    fn from_str(url: &str) -> Result<Self, Self::Err> {
        match url.split_once(':') {
            Some(("sqlite", path)) if path.is_empty() || path.contains(":memory:") || path.contains("mode=memory") => {
                Err("a SQLite origin needs a file (sqlite:PATH): each connection would see a database of its own".into())
            }
            Some(("sqlite", _)) => {
                let options = SqliteConnectOptions::from_str(url).map_err(|error| error.to_string())?;
                let options = options
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Normal)
                    .busy_timeout(ANSWER_MAX)
                    .disable_statement_logging();
                Ok(Self::Sqlite(Box::new(options)))
            }
            Some(("postgres" | "postgresql", _)) => {
                let options = PgConnectOptions::from_str(url).map_err(|error| error.to_string())?;
                let options = options.application_name("herd-origin").disable_statement_logging();
                Ok(Self::Postgres(Box::new(options)))
            }
            _ => Err("the database must be sqlite:PATH or postgres://USER@HOST/NAME".into()),
        }
    }
}

impl Database {
    /// The name that the semantic conventions of OpenTelemetry give the system.
    #[must_use]
    pub const fn system_name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgresql",
        }
    }
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Which database.
    pub database: Database,
    /// Rows `item-1` to `item-<rows>` exist after opening; at most [`ROWS_MAX`].
    pub rows: u64,
    /// Connections, 1 to [`POOL_SIZE_MAX`].
    pub pool_size: u32,
    /// How long to try to reach the database.
    pub start_wait_max: Duration,
}

/// Why the database did not do what it was asked. All of it is the database's fault: bad keys never come this far.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It refused or broke off.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// Its tables cannot be brought up to date.
    #[error("the database's tables cannot be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// It did not answer.
    #[error("the database did not answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// The caller had too little time left to tell a database that is away from one that is asked too late.
    #[error("the caller had no time left for the database")]
    NoTime,
    /// Someone else just found it away.
    #[error("the database is away")]
    Away,
}

impl StoreError {
    /// Whether it says something about the database, and not about its caller alone.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        !matches!(self, Self::NoTime)
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// 1, 2, 3, ...: counts the values it had.
    pub version: u64,
    /// About 200 bytes of JSON, if nobody put something else there.
    pub value: Vec<u8>,
}

enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// The rows and the pool of connections to them.
pub struct Store {
    pool: Pool,
    turns: Arc<Semaphore>,
    /// Until when nobody tries again.
    away_until: Mutex<Option<Instant>>,
    /// Tells the queue that the database is away.
    away: Notify,
    system_name: &'static str,
}

impl Store {
    /// Reaches the database, brings its tables up to date and makes the rows that are missing.
    ///
    /// # Errors
    /// The database was not reached in time, or its tables cannot be used.
    pub async fn open(options: &StoreOptions) -> Result<Self, StoreError> {
        let give_up = Instant::now() + options.start_wait_max;
        let pool = match &options.database {
            Database::Sqlite(to) => {
                Pool::Sqlite(pool_options(options, false).connect_lazy_with((**to).clone()))
            }
            Database::Postgres(to) => {
                Pool::Postgres(pool_options(options, true).connect_lazy_with((**to).clone()))
            }
        };
        let rows = i64::try_from(options.rows.min(ROWS_MAX)).expect("the limit fits");
        loop {
            let prepared = match &pool {
                Pool::Sqlite(pool) => seed::sqlite(pool, rows).await,
                Pool::Postgres(pool) => seed::postgres(pool, rows).await,
            };
            match prepared {
                Ok(0) => break,
                Ok(made) => {
                    tracing::info!(made, "rows made");
                    break;
                }
                Err(StoreError::Database(error)) if Instant::now() + START_PAUSE < give_up => {
                    tracing::warn!(%error, "the database is not there yet");
                    tokio::time::sleep(START_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        let turns = Arc::new(Semaphore::new(options.pool_size as usize));
        let (away_until, away) = (Mutex::new(None), Notify::new());
        Ok(Self { pool, turns, away_until, away, system_name: options.database.system_name() })
    }

    /// The name that the semantic conventions of OpenTelemetry give the database's system.
    #[must_use]
    pub const fn system_name(&self) -> &'static str {
        self.system_name
    }

    /// Waits for a turn, however long, and takes a connection. The caller bounds the wait by its own deadline.
    ///
    /// # Errors
    /// The database is away. Whoever finds that out is told before `deadline`, and everybody in the queue with it.
    pub async fn acquire(&self, deadline: Instant) -> Result<Connection, StoreError> {
        let turn = tokio::select! {
            biased;
            () = self.away.notified() => return Err(StoreError::Away),
            turn = Arc::clone(&self.turns).acquire_owned() => turn.expect("the turns are never closed"),
        };
        if self.away_until().is_some_and(|until| Instant::now() < until) {
            return Err(StoreError::Away);
        }
        let link = match &self.pool {
            Pool::Sqlite(pool) => within(deadline, CONNECT_MAX, pool.acquire()).await.map(Link::Sqlite),
            Pool::Postgres(pool) => within(deadline, CONNECT_MAX, pool.acquire()).await.map(Link::Postgres),
        };
        let link = link.inspect_err(|error| {
            if error.is_away() {
                *self.away_until() = Some(Instant::now() + AWAY_PAUSE);
                self.away.notify_waiters();
            }
        })?;
        Ok(Connection { link: Some(link), querying: false, _turn: turn })
    }

    fn away_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.away_until.lock().expect("nothing panics while it holds an instant")
    }

    /// Closes the pool's connections, for 2 s at most.
    pub async fn close(&self) {
        let closed = match &self.pool {
            Pool::Sqlite(pool) => timeout(CLOSE_MAX, pool.close()).await,
            Pool::Postgres(pool) => timeout(CLOSE_MAX, pool.close()).await,
        };
        if closed.is_err() {
            tracing::warn!("the database did not let go of its connections in time");
        }
    }
}

fn pool_options<DB: sqlx::Database>(options: &StoreOptions, remote: bool) -> PoolOptions<DB> {
    PoolOptions::new()
        .max_connections(options.pool_size)
        .min_connections(0)
        .acquire_timeout(CONNECT_MAX)
        // A connection that a restart of the database left dead is found before a fetch pays for it.
        .test_before_acquire(remote)
}

/// Waits for the database for as long as a present one may take, and ends a little before `deadline`.
async fn within<T>(
    deadline: Instant,
    at_most: Duration,
    call: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    let left = deadline.saturating_duration_since(Instant::now());
    let limit = at_most.min(left - (left / 10).min(Duration::from_millis(50)));
    match timeout(limit, call).await {
        Ok(done) => Ok(done?),
        Err(_) if limit < TELLING => Err(StoreError::NoTime),
        Err(_) => Err(StoreError::Silent(limit)),
    }
}

enum Link {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

/// A connection of the pool, and the turn that it takes. Dropping it gives both back.
pub struct Connection {
    link: Option<Link>,
    /// A query was sent and its answer not read to the end.
    querying: bool,
    _turn: OwnedSemaphorePermit,
}

impl Connection {
    /// Reads a row: the query that a rebuild is about.
    ///
    /// # Errors
    /// The database failed, or did not answer in time before `deadline`.
    pub async fn select(&mut self, key: &str, deadline: Instant) -> Result<Option<Row>, StoreError> {
        self.querying = true;
        let row: Option<(i64, Vec<u8>)> = match self.link() {
            Link::Sqlite(to) => {
                within(deadline, ANSWER_MAX, sqlx::query_as(SELECT).bind(key).fetch_optional(&mut **to))
                    .await?
            }
            Link::Postgres(to) => {
                within(deadline, ANSWER_MAX, sqlx::query_as(SELECT).bind(key).fetch_optional(&mut **to))
                    .await?
            }
        };
        self.querying = false;
        Ok(row.map(|(version, value)| Row { version: version.unsigned_abs(), value }))
    }

    /// Writes a row's value; makes the row if it is absent. Returns its new version.
    ///
    /// # Errors
    /// The database failed, or did not answer in time before `deadline`: then the row may have been written.
    pub async fn put(&mut self, key: &str, value: &[u8], deadline: Instant) -> Result<u64, StoreError> {
        self.querying = true;
        let version: i64 = match self.link() {
            Link::Sqlite(to) => {
                within(
                    deadline,
                    ANSWER_MAX,
                    sqlx::query_scalar(PUT).bind(key).bind(value).fetch_one(&mut **to),
                )
                .await?
            }
            Link::Postgres(to) => {
                within(
                    deadline,
                    ANSWER_MAX,
                    sqlx::query_scalar(PUT).bind(key).bind(value).fetch_one(&mut **to),
                )
                .await?
            }
        };
        self.querying = false;
        Ok(version.unsigned_abs())
    }

    fn link(&mut self) -> &mut Link {
        self.link.as_mut().expect("a connection is taken out only when it is dropped")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.querying {
            return;
        }
        // Its state is unknown and it may hang: it must not go back into the pool, and must not keep its place there.
        match self.link.take() {
            Some(Link::Sqlite(link)) => drop(link.detach()),
            Some(Link::Postgres(link)) => drop(link.detach()),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what cannot work is refused with the reason, and no password is repeated.
    #[test]
    fn urls() {
        assert!(matches!("sqlite:/tmp/x.db".parse(), Ok(Database::Sqlite(_))));
        assert!(matches!("postgres://u:p@h/db".parse(), Ok(Database::Postgres(_))));
        for bad in ["", "mysql://h", "sqlite::memory:", "sqlite:", "postgres://u:secret@h:99999/db"] {
            let error = bad.parse::<Database>().expect_err(bad);
            assert!(!error.contains("secret"), "{error}");
        }
    }

    /// Goal: under overload a caller that reaches its turn with no time left fails alone; it does not declare the database away and
    /// fail everybody in the queue with it.
    #[tokio::test]
    async fn no_time_left_says_nothing_about_the_database() {
        let hangs = || std::future::pending::<Result<(), sqlx::Error>>();
        let late = within(Instant::now() + Duration::from_millis(5), CONNECT_MAX, hangs()).await.unwrap_err();
        assert!(!late.is_away(), "{late}");
        let silent = within(Instant::now() + Duration::from_secs(5), TELLING, hangs()).await.unwrap_err();
        assert!(silent.is_away(), "{silent}");
    }
}
