//! The durable counters: how far tokens are reserved, and which epochs there were. In Postgres or SQLite by URL.
//!
//! Each step is one statement, so instances of the service that share a database never reserve the same token nor open
//! the same epoch. The database is reached, and its table made, when it is first needed.

use herd_lease::{Block, Epoch, Token};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, PgPool, SqlitePool};
use std::future::Future;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;

/// How long one step may take.
pub const STEP_MAX: Duration = Duration::from_secs(2);

/// Another service may keep its own migrations in the same database.
const MIGRATIONS_TABLE: &str = "_lock_service_migrations";

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

const RESERVE: &str = "UPDATE lock_counters SET token = (CASE WHEN token < $1 THEN $1 ELSE token END) + $2
    WHERE id = 1 RETURNING token, published";
const NEXT_EPOCH: &str = "UPDATE lock_counters SET epoch = (CASE WHEN epoch < $1 THEN $1 ELSE epoch END) + 1
    WHERE id = 1 RETURNING epoch";
const PUBLISHED: &str = "UPDATE lock_counters SET published = $1 WHERE id = 1 AND published < $1";

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
            Some(("sqlite", path))
                if path.is_empty() || path.contains(":memory:") || path.contains("mode=memory") =>
            {
                Err("tokens must outlive the process: a SQLite database needs a file (sqlite:PATH)".into())
            }
            Some(("sqlite", _)) => {
                let options = SqliteConnectOptions::from_str(url).map_err(|error| error.to_string())?;
                let options = options
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    // A reservation must survive a power cut, or tokens would be handed out twice.
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(STEP_MAX)
                    .disable_statement_logging();
                Ok(Self::Sqlite(Box::new(options)))
            }
            Some(("postgres" | "postgresql", _)) => {
                let options = PgConnectOptions::from_str(url).map_err(|error| error.to_string())?;
                let options = options.application_name("herd-lock-service").disable_statement_logging();
                Ok(Self::Postgres(Box::new(options)))
            }
            _ => Err("the database must be sqlite:PATH or postgres://USER@HOST/NAME".into()),
        }
    }
}

/// Why the counters gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CountersError {
    /// The database refused or broke off.
    #[error("the database of tokens failed")]
    Database(#[from] sqlx::Error),
    /// Its table cannot be brought up to date.
    #[error("the table of tokens cannot be brought up to date")]
    Migration(#[from] MigrateError),
    /// It did not answer.
    #[error("the database of tokens did not answer within {} ms", STEP_MAX.as_millis())]
    Silent,
    /// Tokens or epochs are used up, or the row is damaged.
    #[error("the counters are out of range")]
    OutOfRange,
    /// Switched off by a test.
    #[error("the counters are away")]
    Away,
}

/// Counters that survive whatever happens to the service and to the lease store.
pub trait Counters: Send + Sync + 'static {
    /// Reserves `size` tokens above `floor` and above every token reserved before. Durable when it returns. Also
    /// answers the newest epoch that was noted as published.
    fn reserve(
        &self,
        size: u32,
        floor: Token,
    ) -> impl Future<Output = Result<(Block, Epoch), CountersError>> + Send;

    /// Opens an epoch above `floor` and above every epoch opened before. Durable when it returns.
    fn next_epoch(&self, floor: Epoch) -> impl Future<Output = Result<Epoch, CountersError>> + Send;

    /// Notes that the lease store is in this epoch: a store in an older one has gone back. One that was opened and
    /// never published says nothing about the store.
    fn note_published(&self, epoch: Epoch) -> impl Future<Output = Result<(), CountersError>> + Send;
}

/// Counters in SQL.
pub struct SqlCounters {
    pool: Pool,
    migrated: OnceCell<()>,
}

enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl SqlCounters {
    /// Counters that connect when they are first used. Must be called inside a tokio runtime.
    #[must_use]
    pub fn connect_lazily(database: &Database) -> Self {
        let pool = match database {
            Database::Sqlite(to) => Pool::Sqlite(pool_options(false).connect_lazy_with((**to).clone())),
            Database::Postgres(to) => Pool::Postgres(pool_options(true).connect_lazy_with((**to).clone())),
        };
        Self { pool, migrated: OnceCell::new() }
    }

    async fn migrate(&self) -> Result<(), CountersError> {
        let migrate = || async {
            match &self.pool {
                Pool::Sqlite(pool) => migrator(&SQLITE).run(pool).await,
                Pool::Postgres(pool) => migrator(&POSTGRES).run(pool).await,
            }
        };
        self.migrated.get_or_try_init(migrate).await?;
        Ok(())
    }

    /// Closes the connections, for a moment at most.
    pub async fn close(&self) {
        let closed = async {
            match &self.pool {
                Pool::Sqlite(pool) => pool.close().await,
                Pool::Postgres(pool) => pool.close().await,
            }
        };
        if tokio::time::timeout(STEP_MAX, closed).await.is_err() {
            tracing::warn!("the database of tokens did not let go of its connections in time");
        }
    }
}

impl Counters for SqlCounters {
    async fn reserve(&self, size: u32, floor: Token) -> Result<(Block, Epoch), CountersError> {
        let floor = to_sql(floor.0)?;
        let step = async {
            self.migrate().await?;
            let size = i64::from(size);
            let row: (i64, i64) = match &self.pool {
                Pool::Sqlite(pool) => sqlx::query_as(RESERVE).bind(floor).bind(size).fetch_one(pool).await?,
                Pool::Postgres(pool) => {
                    sqlx::query_as(RESERVE).bind(floor).bind(size).fetch_one(pool).await?
                }
            };
            Ok(row)
        };
        let (last, epoch) = within(step).await?;
        let block = Block::ending_at(Token(from_sql(last)?), size).ok_or(CountersError::OutOfRange)?;
        Ok((block, Epoch(from_sql(epoch)?)))
    }

    async fn next_epoch(&self, floor: Epoch) -> Result<Epoch, CountersError> {
        let floor = to_sql(floor.0)?;
        let step = async {
            self.migrate().await?;
            let epoch: i64 = match &self.pool {
                Pool::Sqlite(pool) => sqlx::query_scalar(NEXT_EPOCH).bind(floor).fetch_one(pool).await?,
                Pool::Postgres(pool) => sqlx::query_scalar(NEXT_EPOCH).bind(floor).fetch_one(pool).await?,
            };
            Ok(epoch)
        };
        let epoch = Epoch(from_sql(within(step).await?)?);
        if epoch <= Epoch::MAX { Ok(epoch) } else { Err(CountersError::OutOfRange) }
    }

    async fn note_published(&self, epoch: Epoch) -> Result<(), CountersError> {
        let epoch = to_sql(epoch.0)?;
        let step = async {
            self.migrate().await?;
            match &self.pool {
                Pool::Sqlite(pool) => sqlx::query(PUBLISHED).bind(epoch).execute(pool).await.map(|_| ())?,
                Pool::Postgres(pool) => sqlx::query(PUBLISHED).bind(epoch).execute(pool).await.map(|_| ())?,
            }
            Ok(())
        };
        within(step).await
    }
}

fn pool_options<DB: sqlx::Database>(remote: bool) -> PoolOptions<DB> {
    PoolOptions::new()
        .max_connections(2)
        .min_connections(0)
        .acquire_timeout(STEP_MAX)
        // A connection that a restart of the database left dead is found before a step pays for it.
        .test_before_acquire(remote)
}

fn migrator(embedded: &'static Migrator) -> Migrator {
    let mut migrator = Migrator { migrations: embedded.migrations.clone(), ..Migrator::DEFAULT };
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    migrator
}

async fn within<T>(step: impl Future<Output = Result<T, CountersError>>) -> Result<T, CountersError> {
    tokio::time::timeout(STEP_MAX, step).await.unwrap_or(Err(CountersError::Silent))
}

fn to_sql(number: u64) -> Result<i64, CountersError> {
    i64::try_from(number).map_err(|_| CountersError::OutOfRange)
}

fn from_sql(number: i64) -> Result<u64, CountersError> {
    u64::try_from(number).map_err(|_| CountersError::OutOfRange)
}

/// Counters in memory, for tests: they survive what the service that uses them does not.
#[derive(Clone, Debug, Default)]
pub struct MemoryCounters {
    inner: Arc<Mutex<MemoryInner>>,
}

#[derive(Debug, Default)]
struct MemoryInner {
    token: u64,
    epoch: u64,
    published: u64,
    reserved: u32,
    away: bool,
}

impl MemoryCounters {
    /// Whether calls fail as if the database could not be reached.
    pub fn set_away(&self, away: bool) {
        self.with(|inner| inner.away = away);
    }

    /// How many blocks were reserved.
    #[must_use]
    pub fn blocks_reserved(&self) -> u32 {
        self.with(|inner| inner.reserved)
    }

    fn with<T>(&self, f: impl FnOnce(&mut MemoryInner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Counters for MemoryCounters {
    async fn reserve(&self, size: u32, floor: Token) -> Result<(Block, Epoch), CountersError> {
        self.with(|inner| {
            if inner.away {
                return Err(CountersError::Away);
            }
            inner.token = inner.token.max(floor.0) + u64::from(size);
            inner.reserved += 1;
            let block = Block::ending_at(Token(inner.token), size).ok_or(CountersError::OutOfRange)?;
            Ok((block, Epoch(inner.published)))
        })
    }

    async fn next_epoch(&self, floor: Epoch) -> Result<Epoch, CountersError> {
        self.with(|inner| {
            if inner.away {
                return Err(CountersError::Away);
            }
            inner.epoch = inner.epoch.max(floor.0) + 1;
            Ok(Epoch(inner.epoch))
        })
    }

    async fn note_published(&self, epoch: Epoch) -> Result<(), CountersError> {
        self.with(|inner| {
            if inner.away {
                return Err(CountersError::Away);
            }
            inner.published = inner.published.max(epoch.0);
            Ok(())
        })
    }
}
