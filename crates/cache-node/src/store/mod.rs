//! Values in Redis: look, write under a guard, delete, and the record of all that was written.
//!
//! A value lives under `v:{key}` with a header ([`header`]) in front of it; its fence slot under `f:{key}` holds the newest
//! generation and the highest token that was accepted. Freshness follows Redis's own clock (what is left of the key's
//! life), never this process's. Writes go through one script that compares and sets in a single step ([`write`]), and notes
//! what it decided ([`record`]). That a row does not exist is a value, too, with a flag for a body. Who holds values outside
//! Redis hears when they change ([`changes`]).

pub mod changes;
pub mod header;
pub mod record;
pub mod write;

use bytes::Bytes;
use header::{HEADER_BYTES, Header};
use herd_service::trace::Span;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{
    Client, ConnectionAddr, IntoConnectionInfo, Pipeline, RedisError, RedisWrite, ToRedisArgs,
    ToSingleRedisArg, Value,
};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// No call to Redis takes longer than this, connecting included. Milliseconds.
pub const CALL_MS_MAX: u64 = 400;

const CALL_MAX: Duration = Duration::from_millis(CALL_MS_MAX);

const CONNECT_MS_MAX: u64 = 250;
const RECONNECT_DELAY_MS_MIN: u64 = 20;
const RECONNECT_DELAY_MS_MAX: u64 = 200;
/// Commands that wait for the socket; callers beyond it wait for a place, within their time limit.
const QUEUED_COMMANDS_MAX: usize = 1_024;

/// What went wrong between this node and Redis.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address is none.
    #[error("the Redis address is not usable")]
    Address(#[source] RedisError),
    /// No connection, or the server refuses commands.
    #[error("Redis is away")]
    Away(#[source] RedisError),
    /// No answer in time. A write may have been applied.
    #[error("Redis did not answer in time")]
    TimedOut,
    /// The server answered something that cannot be.
    #[error("Redis answered something unexpected: {what}")]
    Protocol {
        /// which answer
        what: &'static str,
    },
    /// A deletion lost against concurrent writers every time.
    #[error("the key was rewritten {attempts} times while it was being deleted")]
    Contended {
        /// how often it was tried
        attempts: u32,
    },
}

/// A value as the store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// What is known about it.
    pub header: Header,
    /// The value itself.
    pub body: Bytes,
}

/// What a look at a key found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// A value whose age is below its time to live.
    Fresh {
        /// the value
        stored: Stored,
        /// its age, milliseconds
        age_ms: u64,
    },
    /// A value that has outlived its time.
    Expired {
        /// the value
        stored: Stored,
        /// its age, milliseconds
        age_ms: u64,
    },
    /// It is remembered that the row does not exist, and the time for that is not up.
    Negative {
        /// the sentinel's generation
        generation: u64,
    },
    /// Nothing, a deletion, or a remembered absence whose time is up. The generation is the newest that was ever written, 0 if there was none.
    Absent {
        /// the newest generation
        generation: u64,
    },
}

impl Look {
    /// The newest generation of the key that this look knows of.
    #[must_use]
    pub fn generation(&self) -> u64 {
        match self {
            Self::Fresh { stored, .. } | Self::Expired { stored, .. } => stored.header.generation,
            Self::Negative { generation } | Self::Absent { generation } => *generation,
        }
    }
}

/// Says that a span is about a command to Redis, as the semantic conventions have it.
pub(crate) fn redis_span(span: Span, command: &'static str) -> Span {
    span.with("db.system.name", "redis").with("db.operation.name", command)
}

/// Where the value of a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The configuration's key prefix, under which the store records what is written.
    pub prefix: &'a str,
    /// The prefix, and the row's key behind it.
    pub cache_key: &'a str,
}

impl<'a> Place<'a> {
    /// The row's key.
    #[must_use]
    pub fn row(&self) -> &'a str {
        self.cache_key.strip_prefix(self.prefix).unwrap_or(self.cache_key)
    }
}

/// One Redis, shared by everything in this process through one connection.
#[derive(Clone, Debug)]
pub struct Store {
    connection: ConnectionManager,
    client: Client,
    node: Arc<str>,
}

impl Store {
    /// Whether a text is an address of Redis.
    #[must_use]
    pub fn is_url(text: &str) -> bool {
        text.into_connection_info().is_ok()
    }

    /// Host and port of an address of Redis; `None` unless it is plain TCP.
    #[must_use]
    pub fn host_and_port(text: &str) -> Option<(String, u16)> {
        match text.into_connection_info().ok()?.addr() {
            ConnectionAddr::Tcp(host, port) => Some((host.clone(), *port)),
            _ => None,
        }
    }

    /// Makes a store that connects when it is first used, and again by itself whenever the connection broke. What it writes
    /// is recorded in the name of the node `node`.
    ///
    /// # Errors
    /// The URL is not one of Redis.
    pub fn new(url: &str, node: &str) -> Result<Self, StoreError> {
        let info = url.into_connection_info().map_err(StoreError::Address)?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(info).map_err(StoreError::Address)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(RECONNECT_DELAY_MS_MIN))
            .set_max_delay(Duration::from_millis(RECONNECT_DELAY_MS_MAX))
            .set_connection_timeout(Some(Duration::from_millis(CONNECT_MS_MAX)))
            // Each call has one limit, [`CALL_MS_MAX`].
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUED_COMMANDS_MAX);
        let connection =
            ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(StoreError::Address)?;
        Ok(Self { connection, client, node: node.into() })
    }

    fn node(&self) -> &str {
        &self.node
    }

    /// Looks at a key: the hit path. Anything but a fresh value or sentinel is looked at again in one transaction: a plain look can
    /// straddle a write and then see a new generation with the old one's age, and whoever goes on to name an expired
    /// generation to the origin must name one that really expired.
    ///
    /// # Errors
    /// Redis is away, or did not answer within [`CALL_MS_MAX`].
    pub async fn look(&self, cache_key: &str) -> Result<Look, StoreError> {
        self.look_within(cache_key, CALL_MAX).await
    }

    /// The same for a caller that may have less time left than [`CALL_MS_MAX`].
    ///
    /// # Errors
    /// As [`Store::look`].
    pub async fn look_within(&self, cache_key: &str, limit: Duration) -> Result<Look, StoreError> {
        timeout(limit.min(CALL_MAX), async {
            match self.glance(cache_key).await? {
                Some(known @ (Look::Fresh { .. } | Look::Negative { .. })) => Ok(known),
                // In a box of its own, so that a hit does not carry the room for it around.
                _ => Box::pin(self.scrutinise(cache_key)).await,
            }
        })
        .await
        .unwrap_or(Err(StoreError::TimedOut))
    }

    async fn glance(&self, cache_key: &str) -> Result<Option<Look>, StoreError> {
        let key = InRedis("v:", cache_key);
        let mut pipeline = Pipeline::with_capacity(2);
        // In this order: a value that is replaced in between looks older than it is, never younger.
        pipeline.cmd("PTTL").arg(key).cmd("GET").arg(key);
        let mut answers = self.run(&pipeline, 0, 2).await?.into_iter();
        match (answers.next(), answers.next()) {
            (Some(left), Some(value)) => judge(&left, value),
            _ => Err(StoreError::Protocol { what: "the number of answers to a look" }),
        }
    }

    async fn scrutinise(&self, cache_key: &str) -> Result<Look, StoreError> {
        let (key, slot) = (InRedis("v:", cache_key), InRedis("f:", cache_key));
        let mut pipeline = Pipeline::with_capacity(3);
        pipeline.atomic().cmd("PTTL").arg(key).cmd("GET").arg(key).cmd("HGET").arg(slot).arg("g");
        // Skipped: the answers to MULTI and to the three queued commands.
        let answers = self.run(&pipeline, 4, 1).await?;
        let Some(Value::Array(answers)) = answers.into_iter().next() else {
            return Err(StoreError::Protocol { what: "the answer to a transaction" });
        };
        let mut answers = answers.into_iter();
        let (Some(left), Some(value), Some(slot)) = (answers.next(), answers.next(), answers.next()) else {
            return Err(StoreError::Protocol { what: "the number of answers in a transaction" });
        };
        if let Some(look) = judge(&left, value)? {
            return Ok(look);
        }
        let generation = match slot {
            Value::Nil => 0,
            Value::BulkString(digits) => std::str::from_utf8(&digits)
                .ok()
                .and_then(|digits| digits.parse().ok())
                .ok_or(StoreError::Protocol { what: "a fence slot's generation" })?,
            _ => return Err(StoreError::Protocol { what: "a fence slot" }),
        };
        Ok(Look::Absent { generation })
    }

    /// Runs commands that only read, and so may be repeated: once more if the connection turns out to be a dead one.
    async fn run(&self, pipeline: &Pipeline, skip: usize, count: usize) -> Result<Vec<Value>, StoreError> {
        let mut connection = self.connection.clone();
        let mut retried = false;
        loop {
            match connection.send_packed_commands(pipeline, skip, count).await {
                Err(error) if error.is_connection_dropped() && !retried => retried = true,
                answers => return Ok(answers?),
            }
        }
    }
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() { Self::TimedOut } else { Self::Away(error) }
    }
}

/// What the two answers mean, or `None` if there is no value of ours.
fn judge(left: &Value, value: Value) -> Result<Option<Look>, StoreError> {
    let left_ms = match left {
        Value::Int(left_ms) => *left_ms,
        Value::ServerError(error) => return Err(StoreError::Away(error.clone().into())),
        _ => return Err(StoreError::Protocol { what: "a key's time left" }),
    };
    let stored = match value {
        Value::BulkString(stored) => stored,
        Value::Nil => return Ok(None),
        Value::ServerError(error) => return Err(StoreError::Away(error.into())),
        _ => return Err(StoreError::Protocol { what: "a value" }),
    };
    // Bytes that are not ours read as nothing there; the next rebuild writes over them.
    let Some(header) = Header::decode(&stored) else { return Ok(None) };
    if header.tombstone {
        return Ok(Some(Look::Absent { generation: header.generation }));
    }
    let age_ms = header.age_ms(left_ms);
    let fresh = age_ms < u64::from(header.ttl_ms);
    if header.negative {
        let generation = header.generation;
        return Ok(Some(if fresh { Look::Negative { generation } } else { Look::Absent { generation } }));
    }
    let body = Bytes::from(stored).slice(HEADER_BYTES..);
    let stored = Stored { header, body };
    Ok(Some(if fresh { Look::Fresh { stored, age_ms } } else { Look::Expired { stored, age_ms } }))
}

/// A key under its place in Redis: `v:` for the value of a cache key, `f:` for its fence slot, `w:` for the record of a prefix.
#[derive(Clone, Copy)]
struct InRedis<'a>(&'static str, &'a str);

impl ToRedisArgs for InRedis<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let mut argument = out.writer_for_next_arg();
        // Into memory: it cannot fail.
        let _ = argument.write_all(self.0.as_bytes());
        let _ = argument.write_all(self.1.as_bytes());
    }
}

impl ToSingleRedisArg for InRedis<'_> {}
