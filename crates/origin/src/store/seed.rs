//! Migrations and the first rows: each made once, by one statement, whatever is restarted in between.

use super::StoreError;
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, PgPool, SqlitePool};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// Another service may keep its own migrations in the same database.
const MIGRATIONS_TABLE: &str = "_origin_migrations";

// About 200 bytes a row, the same for each number on both databases. `$1` rows exist already, `$2` are wanted.
const SEED_SQLITE: &str = "
    WITH RECURSIVE numbers(n) AS (SELECT $1 + 1 WHERE $1 < $2 UNION ALL SELECT n + 1 FROM numbers WHERE n < $2)
    INSERT INTO items (key, version, value)
    SELECT 'item-' || n, 1, CAST(
        '{\"id\":' || n || ',\"name\":\"Item ' || n || '\",\"price_cents\":' || (100 + n * 7919 % 99900)
        || ',\"in_stock\":' || (n * 31 % 500)
        || ',\"description\":\"One row of the catalogue that every cache node rebuilds its values from, padded to the size'
        || ' of a small record.\"}' AS BLOB)
    FROM numbers WHERE true
    ON CONFLICT (key) DO NOTHING";

const SEED_POSTGRES: &str = "
    INSERT INTO items (key, version, value)
    SELECT 'item-' || n, 1, convert_to(
        '{\"id\":' || n || ',\"name\":\"Item ' || n || '\",\"price_cents\":' || (100 + n * 7919 % 99900)
        || ',\"in_stock\":' || (n * 31 % 500)
        || ',\"description\":\"One row of the catalogue that every cache node rebuilds its values from, padded to the size'
        || ' of a small record.\"}', 'UTF8')
    FROM generate_series($1::bigint + 1, $2::bigint) AS n
    ON CONFLICT (key) DO NOTHING";

const RAISE: &str = "UPDATE seeding SET rows = $1 WHERE id = 1 AND rows < $1";

/// Brings a SQLite database up to date. Returns how many rows were asked for that were not there.
pub(super) async fn sqlite(pool: &SqlitePool, rows: i64) -> Result<i64, StoreError> {
    let mut connection = pool.acquire().await?;
    migrator(&SQLITE).run(&mut *connection).await?;
    let mut work = connection.begin().await?;
    let present: i64 =
        sqlx::query_scalar("SELECT rows FROM seeding WHERE id = 1").fetch_one(&mut *work).await?;
    if present < rows {
        sqlx::query(SEED_SQLITE).bind(present).bind(rows).execute(&mut *work).await?;
        sqlx::query(RAISE).bind(rows).execute(&mut *work).await?;
    }
    work.commit().await?;
    Ok((rows - present).max(0))
}

/// The same for Postgres. Origins that start together take turns.
pub(super) async fn postgres(pool: &PgPool, rows: i64) -> Result<i64, StoreError> {
    let mut connection = pool.acquire().await?;
    migrator(&POSTGRES).run(&mut *connection).await?;
    let mut work = connection.begin().await?;
    let present: i64 =
        sqlx::query_scalar("SELECT rows FROM seeding WHERE id = 1 FOR UPDATE").fetch_one(&mut *work).await?;
    if present < rows {
        sqlx::query(SEED_POSTGRES).bind(present).bind(rows).execute(&mut *work).await?;
        sqlx::query(RAISE).bind(rows).execute(&mut *work).await?;
    }
    work.commit().await?;
    Ok((rows - present).max(0))
}

fn migrator(embedded: &'static Migrator) -> Migrator {
    let mut migrator = Migrator { migrations: embedded.migrations.clone(), ..Migrator::DEFAULT };
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    migrator
}
