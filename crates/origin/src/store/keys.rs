//! The keys of all rows, a part at a time; and rows deleted by how their keys begin.

use super::{ANSWER_MAX, Connection, Link, StoreError, within};
use tokio::time::Instant;

/// Keys in one part: well below the size limit of one gRPC message.
pub const KEYS_MAX: u32 = 10_000;

/// Walks along the index, so each part costs the same, and nothing is held between two of them.
const KEYS: &str = "SELECT key FROM items WHERE key > $1 ORDER BY key LIMIT $2";

/// Keys are compared by their bytes: those that begin alike stand together.
const DELETE: &str = "DELETE FROM items WHERE key >= $1 AND key < $2";

/// Stands behind every byte of the key alphabet.
const BEHIND: char = '\u{7f}';

impl Connection {
    /// The keys behind `after`, in the order of their bytes, at most [`KEYS_MAX`]: fewer say that there are no more.
    ///
    /// # Errors
    /// The database failed, or did not answer in time before `deadline`.
    pub async fn keys_after(&mut self, after: &str, deadline: Instant) -> Result<Vec<String>, StoreError> {
        self.querying = true;
        let keys = match self.link() {
            Link::Sqlite(to) => {
                let keys = sqlx::query_scalar(KEYS).bind(after).bind(i64::from(KEYS_MAX));
                within(deadline, ANSWER_MAX, keys.fetch_all(&mut **to)).await?
            }
            Link::Postgres(to) => {
                let keys = sqlx::query_scalar(KEYS).bind(after).bind(i64::from(KEYS_MAX));
                within(deadline, ANSWER_MAX, keys.fetch_all(&mut **to)).await?
            }
        };
        self.querying = false;
        Ok(keys)
    }
    /// Deletes the rows whose keys begin like this, and says how many there were.
    ///
    /// # Errors
    /// The database failed, or did not answer in time before `deadline`: then they may have been deleted.
    pub async fn delete_beginning(&mut self, beginning: &str, deadline: Instant) -> Result<u64, StoreError> {
        self.querying = true;
        let behind = format!("{beginning}{BEHIND}");
        let rows = match self.link() {
            Link::Sqlite(to) => {
                let delete = sqlx::query(DELETE).bind(beginning).bind(behind);
                within(deadline, ANSWER_MAX, delete.execute(&mut **to)).await?.rows_affected()
            }
            Link::Postgres(to) => {
                let delete = sqlx::query(DELETE).bind(beginning).bind(behind);
                within(deadline, ANSWER_MAX, delete.execute(&mut **to)).await?.rows_affected()
            }
        };
        self.querying = false;
        Ok(rows)
    }
}
