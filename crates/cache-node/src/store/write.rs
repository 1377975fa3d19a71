//! Writes that the store itself may refuse, and deletions. Each decision goes into the store's [record](super::record).
//!
//! Every guard but [`Guard::Unguarded`] also keeps a value from overwriting one of a newer version of the row. Generation and
//! token cannot see to that after Redis lost its newest writes but not its epoch (a replica behind its primary was promoted):
//! both count on from where they were before, so a writer from then may fit what was written since. The version comes from the
//! origin, where it only grows; a row that is deleted there and made anew begins again, and has to be invalidated in between.

use super::header::Header;
use super::{CALL_MAX, InRedis, Place, Store, StoreError, record};
use crate::value::Maker;
use herd_wire::v1::StoreWriteKind;
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
    /// The generation that the writer observed is still the newest, and no newer version of the row stands there.
    Generation,
    /// Both, and the epoch is this Redis's own, and the token is above any accepted before.
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
    /// Somebody wrote or deleted the key since the writer looked, or the value there is of a newer version of the row.
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

/// What to write in the place of the generation that the writer observed.
#[derive(Clone, Copy, Debug)]
pub struct NewValue<'a> {
    /// The generation that the writer saw; the value becomes the next one.
    pub observed: u64,
    /// How long the value is fresh, or the absence believed; milliseconds.
    pub ttl_ms: u32,
    /// How long after that the value may still be served, milliseconds: so long it is kept.
    pub grace_ms: u32,
    /// The row's version in the origin; 0 for an absence, which is compared with none.
    pub version: u64,
    /// The trace of the rebuild; zeros if it has none.
    pub rebuild_trace: [u8; 16],
    /// The rebuild's span in that trace; zeros likewise.
    pub rebuild_span: [u8; 8],
    /// How long the rebuild took, microseconds; 0 if that is unknown.
    pub rebuild_took_us: u32,
    /// The value; `None`: the row does not exist, which is to be remembered.
    pub body: Option<&'a [u8]>,
}

impl Store {
    /// Writes the value, or the absence, as generation `observed + 1`, if the guard lets it in.
    ///
    /// # Errors
    /// Redis is away or did not answer in time; in the latter case the write may still have been applied.
    pub async fn write(
        &self,
        place: Place<'_>,
        value: NewValue<'_>,
        guard: Guard,
    ) -> Result<Result<u64, Refusal>, StoreError> {
        let (token, epoch) = match guard {
            Guard::Token { token, epoch } => (token, epoch),
            Guard::Unguarded | Guard::Generation => (0, 0),
        };
        let header = Header {
            tombstone: false,
            negative: value.body.is_none(),
            ttl_ms: value.ttl_ms,
            generation: value.observed + 1,
            epoch,
            token,
            version: value.version,
            rebuild_trace: value.rebuild_trace,
            rebuild_span: value.rebuild_span,
            rebuild_took_us: value.rebuild_took_us,
            retention_ms: Header::retention_of(value.ttl_ms, value.grace_ms),
        };
        self.put(place, value.observed, header, value.body.unwrap_or_default(), guard).await
    }

    /// Deletes the value by writing a tombstone over it, so that a rebuild under way cannot bring the old value back.
    /// Returns the generation that the deletion opened.
    ///
    /// # Errors
    /// As [`Store::write`]; [`StoreError::Contended`] if rebuilds won the next generation many times in a row.
    pub async fn invalidate(&self, place: Place<'_>) -> Result<u64, StoreError> {
        for _ in 0..INVALIDATE_ATTEMPTS_MAX {
            let observed = self.look(place.cache_key).await?.generation();
            let header = Header {
                tombstone: true,
                generation: observed + 1,
                retention_ms: Header::retention_of(0, 0),
                ..Header::default()
            };
            if let Ok(generation) = self.put(place, observed, header, &[], Guard::Generation).await? {
                return Ok(generation);
            }
        }
        Err(StoreError::Contended { attempts: INVALIDATE_ATTEMPTS_MAX })
    }

    async fn put(
        &self,
        place: Place<'_>,
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
        let maker = Maker { trace: header.rebuild_trace, span: header.rebuild_span };
        let mut invocation = GUARDED_WRITE.prepare_invoke();
        invocation.key(InRedis("v:", place.cache_key)).key(InRedis("f:", place.cache_key));
        invocation.key(EPOCH_KEY).key(InRedis("w:", place.prefix));
        invocation.arg(guard_name).arg(observed).arg(&observed.to_be_bytes()[..]).arg(header.generation);
        invocation.arg(header.token).arg(header.epoch).arg(header.encode(body));
        invocation.arg(header.kept_ms()).arg(header.kept_ms() + SLOT_KEPT_MS);
        invocation.arg(record::KEPT).arg(record::KEPT_MS);
        invocation.arg(place.row()).arg(header.version).arg(maker.trace_id());
        invocation.arg(self.node()).arg(kind_of(&header) as i32);
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

fn kind_of(header: &Header) -> StoreWriteKind {
    match header {
        Header { tombstone: true, .. } => StoreWriteKind::Deletion,
        Header { negative: true, .. } => StoreWriteKind::Absence,
        _ => StoreWriteKind::Value,
    }
}
