//! Writes that the store itself may refuse, and deletions.

use super::header::Header;
use super::{CALL_MAX, InRedis, Store, StoreError};
use redis::Script;
use std::sync::LazyLock;
use tokio::time::timeout;

/// The epoch of this Redis. Only the lock service writes it: a Redis that lost its data has none.
pub(super) const EPOCH_KEY: &str = "herd:epoch";

/// A fence slot outlives its value by this: longer than any writer can be paused. Milliseconds.
const SLOT_KEPT_MS: u64 = 24 * 3_600 * 1_000;

/// A deletion competes with rebuilds for the next generation; after this many losses it is an error.
const INVALIDATE_ATTEMPTS_MAX: u32 = 16;

static GUARDED_WRITE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("guarded_write.lua")));

/// What must hold for a write to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing: a plain overwrite.
    Unguarded,
    /// The generation that the writer observed is still the newest.
    Generation,
    /// That, and the epoch is this Redis's own, and the token is above any accepted before.
    Token {
        /// the lease's fencing token
        token: u64,
        /// the lease's epoch
        epoch: u64,
    },
}

/// Why the store refused a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This Redis has no epoch: it came back empty and the lock service has not seen it yet.
    EpochMissing,
    /// The lease was granted before this Redis lost its data.
    EpochOld,
    /// Somebody wrote or deleted the key since the writer looked.
    GenerationMoved,
    /// A younger lease has written already.
    TokenOld,
}

impl Refusal {
    /// The name that stands in logs, spans and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EpochMissing => "epoch_missing",
            Self::EpochOld => "epoch_old",
            Self::GenerationMoved => "generation_moved",
            Self::TokenOld => "token_old",
        }
    }
}

/// A value to write in the place of the generation that the writer observed.
#[derive(Clone, Copy, Debug)]
pub struct NewValue<'a> {
    /// The generation that the writer saw; the value becomes the next one.
    pub observed: u64,
    /// How long the value is fresh, milliseconds.
    pub ttl_ms: u32,
    /// The row's version in the origin.
    pub version: u64,
    /// The trace of the rebuild; zeros if it has none.
    pub rebuild_trace: [u8; 16],
    /// The rebuild's span in that trace; zeros likewise.
    pub rebuild_span: [u8; 8],
    /// The value.
    pub body: &'a [u8],
}

impl Store {
    /// Writes the value as generation `observed + 1`, if the guard lets it in.
    ///
    /// # Errors
    /// Redis is away or did not answer in time; in the latter case the write may still have been applied.
    pub async fn write(
        &self,
        cache_key: &str,
        value: NewValue<'_>,
        guard: Guard,
    ) -> Result<Result<u64, Refusal>, StoreError> {
        let (token, epoch) = match guard {
            Guard::Token { token, epoch } => (token, epoch),
            Guard::Unguarded | Guard::Generation => (0, 0),
        };
        let header = Header {
            tombstone: false,
            ttl_ms: value.ttl_ms,
            generation: value.observed + 1,
            epoch,
            token,
            version: value.version,
            rebuild_trace: value.rebuild_trace,
            rebuild_span: value.rebuild_span,
        };
        self.put(cache_key, value.observed, header, value.body, guard).await
    }

    /// Deletes the value by writing a tombstone over it, so that a rebuild under way cannot bring the old value back.
    /// Returns the generation that the deletion opened.
    ///
    /// # Errors
    /// As [`Store::write`]; [`StoreError::Contended`] if rebuilds won the next generation many times in a row.
    pub async fn invalidate(&self, cache_key: &str) -> Result<u64, StoreError> {
        for _ in 0..INVALIDATE_ATTEMPTS_MAX {
            let observed = self.look(cache_key).await?.generation();
            let header = Header { tombstone: true, generation: observed + 1, ..Header::default() };
            if let Ok(generation) = self.put(cache_key, observed, header, &[], Guard::Generation).await? {
                return Ok(generation);
            }
        }
        Err(StoreError::Contended { attempts: INVALIDATE_ATTEMPTS_MAX })
    }

    async fn put(
        &self,
        cache_key: &str,
        observed: u64,
        header: Header,
        body: &[u8],
        guard: Guard,
    ) -> Result<Result<u64, Refusal>, StoreError> {
        let guard_name = match guard {
            Guard::Unguarded => "none",
            Guard::Generation => "generation",
            Guard::Token { .. } => "token",
        };
        let mut invocation = GUARDED_WRITE.prepare_invoke();
        invocation.key(InRedis("v:", cache_key)).key(InRedis("f:", cache_key)).key(EPOCH_KEY);
        invocation.arg(guard_name).arg(observed).arg(&observed.to_be_bytes()[..]).arg(header.generation);
        invocation.arg(header.token).arg(header.epoch).arg(header.encode(body));
        invocation.arg(header.kept_ms()).arg(header.kept_ms() + SLOT_KEPT_MS);
        let mut connection = self.connection.clone();
        // Once more if the connection turns out to be a dead one. Should the first try have been applied after all, then
        // the second is refused because the generation moved, and the caller reads its own value.
        let code: i64 = timeout(CALL_MAX, async {
            match invocation.invoke_async(&mut connection).await {
                Err(error) if error.is_connection_dropped() => {
                    Ok(invocation.invoke_async(&mut connection).await?)
                }
                answer => Ok(answer?),
            }
        })
        .await
        .unwrap_or(Err(StoreError::TimedOut))?;
        Ok(match code {
            0 => Ok(header.generation),
            1 => Err(Refusal::EpochMissing),
            2 => Err(Refusal::EpochOld),
            3 => Err(Refusal::GenerationMoved),
            4 => Err(Refusal::TokenOld),
            _ => return Err(StoreError::Protocol { what: "the write script's answer" }),
        })
    }
}
