//! Writing a row for a client: the origin first, then the caches.

use super::{Node, NotConfigured};
use crate::peers::{Call, surely_not_applied};
use crate::store::{Place, StoreError};
use herd_service::rpc::Deadline;
use herd_service::trace::TraceContext;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tonic::Status;

/// The writer is answered this much before its deadline: it must hear that its row is written even though the caches are not
/// cleared, rather than that its time is up.
const ANSWER_TAKES: Duration = Duration::from_millis(20);

/// Between two attempts to clear the caches.
const RETRY: Duration = Duration::from_millis(20);

/// How long the caches are still tried to be cleared where the row may have been written and its writer has no more time.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// A row was written, and no cache holds what was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// The row's new version.
    pub version: u64,
    /// The generation that clearing the caches opened.
    pub generation: u64,
}

/// Why a row was not written, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The node has no configuration.
    #[error(transparent)]
    NotConfigured(#[from] NotConfigured),
    /// The origin did not say that the row is written.
    #[error("the origin did not write the row")]
    Origin(#[source] Box<Status>),
    /// The row is written; the caches could not be cleared in time.
    #[error(
        "the row is written as version {version}, but the caches may go on to serve what was there before, until it expires"
    )]
    NotCleared {
        /// the row's new version
        version: u64,
        /// why not
        #[source]
        why: StoreError,
    },
    /// The task for it was lost: the row may have been written.
    #[error("the write was lost")]
    Lost,
}

impl Node {
    /// Writes a row at the origin, then deletes its cached value, a remembered absence included; done when both are. Once
    /// begun it goes on to its end, also if the future is dropped: a row that is written is not to be left behind an old
    /// value because its writer hung up.
    ///
    /// # Errors
    /// [`PutError`].
    pub async fn put(
        self: &Arc<Self>,
        key: &str,
        value: Vec<u8>,
        deadline: Deadline,
        trace: TraceContext,
    ) -> Result<Put, PutError> {
        let place = self.place(key)?;
        let (node, key) = (self.clone(), key.to_owned());
        let limit = deadline.remaining().saturating_sub(ANSWER_TAKES);
        let writing = async move { node.write_through(place, &key, value, limit, trace).await };
        tokio::spawn(writing).await.unwrap_or(Err(PutError::Lost))
    }

    /// Deletes the cached value of a row. Returns the generation that the deletion opened.
    ///
    /// # Errors
    /// [`NotConfigured`], or what the store said.
    pub async fn invalidate(&self, key: &str) -> Result<Result<u64, StoreError>, NotConfigured> {
        let place = self.place(key)?;
        Ok(self.clear(&place).await)
    }

    /// What the process itself holds under a cache key is worthless.
    pub(super) fn forget(&self, cache_key: &str) {
        let (local, _) = self.lock().tiers.for_lookups();
        if let Some(local) = local {
            local.forget(cache_key);
        }
    }

    async fn write_through(
        self: &Arc<Self>,
        place: OwnPlace,
        key: &str,
        value: Vec<u8>,
        limit: Duration,
        trace: TraceContext,
    ) -> Result<Put, PutError> {
        let deadline = Deadline::after(limit);
        let version = match self.origin.put(key, value, Call { remaining: limit, trace }).await {
            Ok(version) => version,
            Err(status) => {
                if !surely_not_applied(&status) {
                    self.exists(key);
                    self.clear_afterwards(place);
                }
                return Err(PutError::Origin(Box::new(status)));
            }
        };
        self.exists(key);
        match self.clear_until(&place, deadline).await {
            Ok(generation) => Ok(Put { version, generation }),
            Err(why) => {
                self.clear_afterwards(place);
                Err(PutError::NotCleared { version, why })
            }
        }
    }

    /// Nobody is promised anything any more; but no old value should stay behind a row that is, or may be, new.
    fn clear_afterwards(self: &Arc<Self>, place: OwnPlace) {
        let node = self.clone();
        tokio::spawn(async move {
            let cleared = node.clear_until(&place, Deadline::after(AFTERWARDS)).await;
            if let Err(error) = cleared {
                let (key, error) = (&*place.1, &error as &dyn std::error::Error);
                tracing::warn!(
                    key,
                    error,
                    "the caches may hold an old value behind a new row until it expires"
                );
            }
        });
    }

    /// Tries until the deadline.
    async fn clear_until(&self, place: &OwnPlace, deadline: Deadline) -> Result<u64, StoreError> {
        loop {
            let error = match timeout(deadline.remaining(), self.clear(place)).await {
                Ok(Ok(generation)) => return Ok(generation),
                Ok(Err(error)) => error,
                Err(_) => return Err(StoreError::TimedOut),
            };
            if deadline.remaining() <= RETRY {
                return Err(error);
            }
            tracing::debug!(error = &error as &dyn std::error::Error, "the caches are not cleared yet");
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn clear(&self, (prefix, cache_key): &OwnPlace) -> Result<u64, StoreError> {
        let cleared = self.store.invalidate(Place { prefix, cache_key }).await;
        // Whatever Redis said: it may have done it.
        self.forget(cache_key);
        cleared
    }

    /// The filter of existing keys knows the row at once, rather than after its next load.
    fn exists(&self, key: &str) {
        let (_, filter) = self.lock().tiers.for_lookups();
        if let Some(filter) = filter {
            filter.add(key);
        }
    }

    fn place(&self, key: &str) -> Result<OwnPlace, NotConfigured> {
        let mut state = self.lock();
        let cache_key = state.cache_key(key)?;
        Ok((state.core.config().key_prefix.clone(), cache_key))
    }
}

/// Key prefix and cache key of a [`Place`].
type OwnPlace = (Arc<str>, Arc<str>);
