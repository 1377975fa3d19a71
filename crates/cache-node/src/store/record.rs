//! The store's own record of its writes: what the write script took and what it refused, in the order of its decisions.
//!
//! One stream for each key prefix, `w:{prefix}`, of about [`KEPT`] records at most; it goes an hour after the last write under
//! its prefix. Whoever judges a run reads it: no writer's own word is needed for what the store took.
//!
//! A record that misses something must be told from one that is whole. Its first entry is no write but a mark, made before a
//! node applies a configuration with the prefix: a record that began later than its reader's own beginning was lost in
//! between, with the rest of the store's data. What was dropped for its length, Redis counts ([`Extent`]).

use super::{CALL_MAX, InRedis, Store, StoreError};
use herd_wire::v1::{StoreWrite, StoreWriteVerdict};
use redis::{Pipeline, Script, Value};
use std::sync::LazyLock;
use tokio::time::timeout;

/// How many records of a prefix are kept, about: Redis drops the oldest in whole nodes of the stream.
pub const KEPT: u32 = 200_000;

/// How long a record outlives the last write of its prefix, milliseconds.
pub(super) const KEPT_MS: u32 = 3_600_000;

/// The most records that are read at once.
pub const CHUNK_MAX: usize = 1_000;

static BEGIN_RECORD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("begin_record.lua")));

/// How much a record holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// When it began, Unix time, microseconds, Redis's clock (which is known to the millisecond); 0: there is none.
    pub began_us: u64,
    /// Its oldest entries were dropped.
    pub trimmed: bool,
}

/// A record that is being read, from its beginning to what was its end when the reading began.
#[derive(Debug)]
pub struct Writes {
    store: Store,
    prefix: String,
    extent: Extent,
    /// The last record that was read, and the last that is to be read; `None` when that was read.
    range: Option<(Option<Vec<u8>>, Vec<u8>)>,
}

impl Store {
    /// Begins to read the record of writes under a key prefix.
    ///
    /// # Errors
    /// Redis is away, or did not answer in time.
    pub async fn writes(&self, prefix: &str) -> Result<Writes, StoreError> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("XREVRANGE").arg(InRedis("w:", prefix)).arg("+").arg("-").arg("COUNT").arg(1);
        let last = self.entries(&pipeline).await?.pop();
        let range = last.map(|(id, _)| (None, id));
        let extent = if range.is_some() { self.extent(prefix).await? } else { Extent::default() };
        Ok(Writes { store: self.clone(), prefix: prefix.to_owned(), extent, range })
    }

    /// Has the record of a prefix begin now, if there is none.
    ///
    /// # Errors
    /// As [`Store::writes`].
    pub async fn begin_record(&self, prefix: &str) -> Result<(), StoreError> {
        let mut invocation = BEGIN_RECORD.prepare_invoke();
        invocation.key(InRedis("w:", prefix)).arg(self.node()).arg(KEPT_MS);
        let mut connection = self.connection.clone();
        let call = invocation.invoke_async::<i64>(&mut connection);
        timeout(CALL_MAX, call).await.map_err(|_| StoreError::TimedOut)??;
        Ok(())
    }

    async fn extent(&self, prefix: &str) -> Result<Extent, StoreError> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("XINFO").arg("STREAM").arg(InRedis("w:", prefix));
        let answers =
            timeout(CALL_MAX, self.run(&pipeline, 0, 1)).await.unwrap_or(Err(StoreError::TimedOut))?;
        let Some(Value::Array(facts)) = answers.into_iter().next() else { return Err(odd()) };
        let (mut extent, mut length, mut added) = (Extent::default(), 0, None);
        for fact in facts.chunks_exact(2) {
            match fact {
                [Value::BulkString(name), Value::Int(count)] if name == b"length" => length = *count,
                [Value::BulkString(name), Value::Int(count)] if name == b"entries-added" => {
                    added = Some(*count);
                }
                [Value::BulkString(name), Value::Array(first)] if name == b"first-entry" => {
                    let Some(Value::BulkString(id)) = first.first() else { return Err(odd()) };
                    let id = std::str::from_utf8(id).map_err(|_| odd())?;
                    let (at_ms, _) = id.split_once('-').ok_or_else(odd)?;
                    extent.began_us = number::<u64>(at_ms)? * 1_000;
                }
                _ => {}
            }
        }
        // A Redis older than 7 does not count: one that is as long as it may get has probably been longer.
        extent.trimmed = added.map_or(length >= i64::from(KEPT), |added| added > length);
        Ok(extent)
    }

    async fn entries(&self, pipeline: &Pipeline) -> Result<Vec<(Vec<u8>, Value)>, StoreError> {
        let answers =
            timeout(CALL_MAX, self.run(pipeline, 0, 1)).await.unwrap_or(Err(StoreError::TimedOut))?;
        match answers.into_iter().next() {
            Some(Value::Array(entries)) => entries.into_iter().map(entry).collect(),
            Some(Value::ServerError(error)) => Err(StoreError::Away(error.into())),
            _ => Err(odd()),
        }
    }
}

impl Writes {
    /// How much the record holds.
    #[must_use]
    pub const fn extent(&self) -> Extent {
        self.extent
    }

    /// The next records, at most [`CHUNK_MAX`]; `None` after the last.
    ///
    /// # Errors
    /// As [`Store::writes`]. The next call begins where this one did.
    pub async fn next(&mut self) -> Result<Option<Vec<StoreWrite>>, StoreError> {
        let Some((after, until)) = &self.range else { return Ok(None) };
        let from = match after {
            // An open interval.
            Some(after) => [b"(", after.as_slice()].concat(),
            None => b"-".to_vec(),
        };
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("XRANGE").arg(InRedis("w:", &self.prefix)).arg(from).arg(until.as_slice());
        pipeline.arg("COUNT").arg(CHUNK_MAX);
        let entries = self.store.entries(&pipeline).await?;
        let Some((last, _)) = entries.last() else {
            self.range = None;
            return Ok(None);
        };
        let (last, until) = (last.clone(), until.clone());
        let writes = entries.into_iter().filter_map(|(_, fields)| parse(fields).transpose());
        let writes = writes.collect::<Result<_, _>>()?;
        self.range = (last != until).then_some((Some(last), until));
        Ok(Some(writes))
    }
}

fn entry(value: Value) -> Result<(Vec<u8>, Value), StoreError> {
    let Value::Array(parts) = value else { return Err(odd()) };
    match <[Value; 2]>::try_from(parts) {
        Ok([Value::BulkString(id), fields]) => Ok((id, fields)),
        _ => Err(odd()),
    }
}

/// `None`: the mark of the record's beginning.
fn parse(fields: Value) -> Result<Option<StoreWrite>, StoreError> {
    let Value::Array(fields) = fields else { return Err(odd()) };
    let mut write = StoreWrite::default();
    for field in fields.chunks_exact(2) {
        let [Value::BulkString(name), Value::BulkString(value)] = field else { return Err(odd()) };
        let value = std::str::from_utf8(value).map_err(|_| odd())?;
        match name.as_slice() {
            b"at" => write.at_us = number(value)?,
            b"key" => value.clone_into(&mut write.key),
            b"g" => write.generation = number(value)?,
            b"t" => write.token = number(value)?,
            b"e" => write.epoch = number(value)?,
            b"v" => write.version = number(value)?,
            b"trace" => value.clone_into(&mut write.rebuild_trace),
            b"node" => value.clone_into(&mut write.node),
            // As the script was told.
            b"kind" => write.kind = number(value)?,
            b"verdict" => write.set_verdict(verdict(value)?),
            b"begun" => return Ok(None),
            // Of a later build.
            _ => {}
        }
    }
    Ok(Some(write))
}

fn verdict(code: &str) -> Result<StoreWriteVerdict, StoreError> {
    Ok(match code {
        "0" => StoreWriteVerdict::Accepted,
        "1" => StoreWriteVerdict::EpochMissing,
        "2" => StoreWriteVerdict::EpochOld,
        "3" => StoreWriteVerdict::GenerationMoved,
        "4" => StoreWriteVerdict::TokenOld,
        _ => return Err(odd()),
    })
}

fn number<T: std::str::FromStr>(digits: &str) -> Result<T, StoreError> {
    digits.parse().map_err(|_| odd())
}

const fn odd() -> StoreError {
    StoreError::Protocol { what: "a record of a write" }
}
