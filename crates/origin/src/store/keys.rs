//! The keys of all rows, a part at a time.

use super::{ANSWER_MAX, Connection, Link, StoreError, within};
use tokio::time::Instant;

/// Keys in one part: well below the size limit of one gRPC message.
pub const KEYS_MAX: u32 = 10_000;

/// Walks along the index, so each part costs the same, and nothing is held between two of them.
const KEYS: &str = "SELECT key FROM items WHERE key > $1 ORDER BY key LIMIT $2";

impl Connection<'_> {
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
}
