//! Writing a row for a client: the origin first, then the caches.

use super::{Node, NotConfigured};
use crate::errors::{note_failure, store_failure};
use crate::peers::{Call, surely_not_applied};
use crate::store::{Place, StoreError, redis_span};
use herd_service::rpc::Deadline;
use herd_service::trace::conventions::rpc;
use herd_service::trace::{self, Kind, TraceContext};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tonic::Status;

/// The writer is answered this much before its deadline: it must hear that its row is written even though the caches are not
/// cleared, rather than that its time is up.
const ANSWER_TAKES: Duration = Duration::from_millis(20);

/// Between two attempts to clear the caches.
const RETRY: Duration = Duration::from_millis(20);

/// How long the caches are still tried to be cleared where the row may have been written and its writer has no more time.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// Rows that are written at once, clearing the caches included; more are refused. A write goes on without its writer, so that
/// hang-ups do not make room before it ends, which it does in [`AFTERWARDS`].
pub(super) const AT_ONCE_MAX: usize = 1_024;

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
    /// So many are being written that no more are begun.
    #[error("{AT_ONCE_MAX} rows are being written at once")]
    Overloaded,
    /// The task for it was lost: the row may have been written.
    #[error("the write was lost")]
    Lost,
}

impl Node {
    /// Writes a row at the origin, then deletes its cached value, a remembered absence included; done when both are.
    ///
    /// Cleared are the current prefix and the [other](crate::config::NodeConfig::other_prefix) one, as they are when the
    /// origin has written the row. So no fill brings an old value back that begins after every node was told of its
    /// prefix: one that looked at the store before this row was cleared is refused by the generation that clearing opens;
    /// one that looked later asks an origin that has the row. A write that began before its node was told, and reads the
    /// prefixes before that, has written the row before the fill began. While members switch, some read one prefix and some
    /// the other: each of their writes clears both. Once
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
        // Without a prefix no cache could be cleared.
        self.lock().config()?;
        let permit = self.puts.clone().try_acquire_owned().map_err(|_| PutError::Overloaded)?;
        let (node, key) = (self.clone(), key.to_owned());
        let limit = deadline.remaining().saturating_sub(ANSWER_TAKES);
        let writing = async move { node.write_through(permit, &key, value, limit, trace).await };
        tokio::spawn(writing).await.unwrap_or(Err(PutError::Lost))
    }

    /// Deletes the cached value of a row, under both prefixes. Returns the generation that the deletion opened under the
    /// current one.
    ///
    /// # Errors
    /// [`NotConfigured`], or what the store said.
    pub async fn invalidate(
        &self,
        key: &str,
        trace: TraceContext,
    ) -> Result<Result<u64, StoreError>, NotConfigured> {
        let places = self.places(key, trace)?;
        Ok(self.clear(&places).await)
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
        permit: OwnedSemaphorePermit,
        key: &str,
        value: Vec<u8>,
        limit: Duration,
        trace: TraceContext,
    ) -> Result<Put, PutError> {
        let deadline = Deadline::after(limit);
        // The request's own span is made when it is over: this is a part of it all the same.
        let span = rpc(trace::part("herd.v1.Origin/Put", &trace, Kind::Client), "herd.v1.Origin/Put");
        let call = Call { remaining: limit, trace: span.context().unwrap_or(trace), span };
        let version = match self.origin.put(key, value, call).await {
            Ok(version) => version,
            Err(status) => {
                if !surely_not_applied(&status) {
                    self.exists(key);
                    self.clear_afterwards(self.places(key, trace)?, permit);
                }
                return Err(PutError::Origin(Box::new(status)));
            }
        };
        self.exists(key);
        // Only now: the prefixes that are in use after the row was written.
        let places = self.places(key, trace)?;
        match self.clear_until(&places, deadline).await {
            Ok(generation) => Ok(Put { version, generation }),
            Err(why) => {
                self.clear_afterwards(places, permit);
                Err(PutError::NotCleared { version, why })
            }
        }
    }

    /// Nobody is promised anything any more; but no old value should stay behind a row that is, or may be, new.
    fn clear_afterwards(self: &Arc<Self>, places: OwnPlaces, permit: OwnedSemaphorePermit) {
        let node = self.clone();
        tokio::spawn(async move {
            let cleared = node.clear_until(&places, Deadline::after(AFTERWARDS)).await;
            if let Err(error) = cleared {
                let (key, error) = (&*places.current.1, &error as &dyn std::error::Error);
                tracing::warn!(
                    key,
                    error,
                    "the caches may hold an old value behind a new row until it expires"
                );
            }
            drop(permit);
        });
    }

    /// Tries until the deadline.
    async fn clear_until(&self, places: &OwnPlaces, deadline: Deadline) -> Result<u64, StoreError> {
        loop {
            let error = match timeout(deadline.remaining(), self.clear(places)).await {
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

    async fn clear(&self, places: &OwnPlaces) -> Result<u64, StoreError> {
        if let Some(other) = &places.other {
            self.clear_one(other, &places.of).await?;
        }
        self.clear_one(&places.current, &places.of).await
    }

    async fn clear_one(&self, (prefix, cache_key): &OwnPlace, of: &TraceContext) -> Result<u64, StoreError> {
        let span = redis_span(trace::part("EVALSHA guarded_write", of, Kind::Client), "EVALSHA")
            .with("db.stored_procedure.name", "guarded_write");
        let cleared = self.store.invalidate(Place { prefix, cache_key }).await;
        if let Err(error) = &cleared {
            note_failure(&span, &store_failure(error));
        }
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

    fn places(&self, key: &str, trace: TraceContext) -> Result<OwnPlaces, NotConfigured> {
        let state = self.lock();
        let of = |prefix: &Arc<str>| (prefix.clone(), format!("{prefix}{key}").into());
        let other = state.other_prefix.as_ref().map(of);
        Ok(OwnPlaces { current: of(&state.config()?.key_prefix), other, of: trace })
    }
}

/// Where a row's value is cleared.
struct OwnPlaces {
    current: OwnPlace,
    other: Option<OwnPlace>,
    /// The request that has it cleared.
    of: TraceContext,
}

/// Key prefix and cache key of a [`Place`].
type OwnPlace = (Arc<str>, Arc<str>);
