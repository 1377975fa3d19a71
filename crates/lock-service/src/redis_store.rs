//! Leases in Redis: each call is one script, so it is atomic, and expiry is by Redis's own clock.
//!
//! Keys: `herd:lease:<name>` is a hash of owner, token and epoch with the lease's expiry; `herd:epoch` is the epoch;
//! `herd:token` is the largest token granted. The last two never expire.
//!
//! A Redis that restarted has an empty script cache, whatever data it loaded. The acquire script is therefore sent by
//! its hash only: a NOSCRIPT answer says that Redis may have forgotten its last moments (an append-only file loses up
//! to a second), so nothing is granted until the floor of tokens was raised above everything ever reserved. Only then
//! is the script loaded again.
//!
//! One Redis, not a cluster: a script touches keys of several slots.

use herd_lease::store::{Acquire, Acquired, Grant, LeaseStore, LeaseView, OpenEpoch, StoreError};
use herd_lease::{Epoch, Token};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{
    Client, Cmd, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo as _, RedisError, Script,
};
use redis::{ServerErrorKind, Value};
use std::sync::Arc;
use std::time::Duration;

/// The key of the current epoch, which the guarded write of cache nodes reads.
pub const EPOCH_KEY: &str = "herd:epoch";
/// The key of the largest token granted.
pub const TOKEN_KEY: &str = "herd:token";
/// What stands before a lease's name in its key.
pub const LEASE_PREFIX: &str = "herd:lease:";

/// How long things may take before Redis counts as away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOuts {
    /// one command, or one attempt to connect
    pub command: Duration,
    /// a call of the store, whatever the client inside does
    pub call: Duration,
}

impl Default for TimeOuts {
    fn default() -> Self {
        Self { command: Duration::from_millis(250), call: Duration::from_millis(400) }
    }
}

/// A lease store over one Redis. Cloning shares the connection.
#[derive(Clone)]
pub struct RedisStore {
    connection: ConnectionManager,
    scripts: Arc<Scripts>,
    call_max: Duration,
}

struct Scripts {
    acquire: Script,
    renew: Script,
    release: Script,
    revoke: Script,
    inspect: Script,
    open_epoch: Script,
    raise: Script,
}

impl RedisStore {
    /// A store that connects when it is first used, and again whenever the connection broke. Must be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub fn connect_lazily(info: ConnectionInfo, time_outs: TimeOuts) -> Result<Self, RedisError> {
        let nodelay = TcpSettings::default().set_nodelay(true);
        let client = Client::open(info.set_tcp_settings(nodelay))?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(time_outs.command))
            .set_response_timeout(Some(time_outs.command))
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(Duration::from_millis(200))
            .set_pipeline_buffer_size(1_000);
        let connection = ConnectionManager::new_lazy_with_config(client, config)?;
        Ok(Self { connection, scripts: Arc::new(Scripts::new()), call_max: time_outs.call })
    }

    /// The same, by URL: `redis://HOST:PORT[/DATABASE]`.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub fn of_url(url: &str, time_outs: TimeOuts) -> Result<Self, RedisError> {
        Self::connect_lazily(url.into_connection_info()?, time_outs)
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisFailure> {
        let mut connection = self.connection.clone();
        match tokio::time::timeout(self.call_max, command.query_async(&mut connection)).await {
            Ok(answer) => answer.map_err(RedisFailure::Answered),
            Err(_) => Err(RedisFailure::Silent),
        }
    }

    /// Runs a script that may be loaded whenever it is missing: all but acquire.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&str],
    ) -> Result<T, StoreError> {
        match self.query(&evalsha(script, keys, args)).await {
            Err(failure) if failure.no_script() => {
                self.load(script).await?;
                self.query(&evalsha(script, keys, args)).await.map_err(StoreError::from)
            }
            answer => answer.map_err(StoreError::from),
        }
    }

    async fn load(&self, script: &Script) -> Result<(), StoreError> {
        let mut connection = self.connection.clone();
        let loaded = tokio::time::timeout(self.call_max, script.load_async(&mut connection)).await;
        let answer = loaded.map_err(|_| RedisFailure::Silent).and_then(|l| l.map_err(RedisFailure::Answered));
        answer.map_err(StoreError::from).map(drop)
    }
}

impl LeaseStore for RedisStore {
    async fn acquire(&self, acquire: Acquire<'_>) -> Result<Acquired, StoreError> {
        let lease = lease_key(acquire.name);
        let (token, known) = (acquire.token.to_string(), acquire.known_epoch.to_string());
        let expiry_ms = acquire.expiry_ms.to_string();
        let keys = [lease.as_str(), EPOCH_KEY, TOKEN_KEY];
        let args = [acquire.owner, &token, &known, &expiry_ms];
        match self.query::<Vec<Value>>(&evalsha(&self.scripts.acquire, &keys, &args)).await {
            Ok(answer) => read_acquired(&answer).ok_or_else(|| senseless(&answer)),
            Err(failure) if failure.no_script() => Ok(Acquired::Restarted),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn renew(&self, name: &str, owner: &str, token: Token, expiry_ms: u32) -> Result<bool, StoreError> {
        let (token, expiry_ms) = (token.to_string(), expiry_ms.to_string());
        self.run(&self.scripts.renew, &[&lease_key(name), EPOCH_KEY], &[owner, &token, &expiry_ms]).await
    }

    async fn release(&self, name: &str, owner: &str) -> Result<bool, StoreError> {
        self.run(&self.scripts.release, &[&lease_key(name), EPOCH_KEY], &[owner]).await
    }

    async fn revoke(&self, name: &str, owner: &str, token: Token) -> Result<bool, StoreError> {
        let keys = [&lease_key(name), EPOCH_KEY, TOKEN_KEY];
        self.run(&self.scripts.revoke, &keys, &[owner, &token.to_string()]).await
    }

    async fn inspect(&self, name: &str) -> Result<Option<LeaseView>, StoreError> {
        let answer: Vec<Value> = self.run(&self.scripts.inspect, &[&lease_key(name), EPOCH_KEY], &[]).await?;
        match answer.as_slice() {
            [] => Ok(None),
            [owner, token, epoch, left] => {
                read_view(owner, token, epoch, left).map(Some).ok_or_else(|| senseless(&answer))
            }
            _ => Err(senseless(&answer)),
        }
    }

    async fn open_epoch(&self, open: OpenEpoch) -> Result<Option<Epoch>, StoreError> {
        let found = open.found.map(|epoch| epoch.to_string()).unwrap_or_default();
        let args = [&open.epoch.to_string(), &found, &*open.floor.to_string()];
        let now: Option<u64> = self.run(&self.scripts.open_epoch, &[EPOCH_KEY, TOKEN_KEY], &args).await?;
        Ok(now.map(Epoch))
    }

    async fn resume(&self, floor: Token) -> Result<(), StoreError> {
        // In this order: whoever finds the acquire script loaded may rely on the floor.
        let _: Value = self.run(&self.scripts.raise, &[TOKEN_KEY], &[&floor.to_string()]).await?;
        self.load(&self.scripts.acquire).await
    }
}

impl Scripts {
    fn new() -> Self {
        Self {
            acquire: Script::new(include_str!("scripts/acquire.lua")),
            renew: Script::new(include_str!("scripts/renew.lua")),
            release: Script::new(include_str!("scripts/release.lua")),
            revoke: Script::new(include_str!("scripts/revoke.lua")),
            inspect: Script::new(include_str!("scripts/inspect.lua")),
            open_epoch: Script::new(include_str!("scripts/open_epoch.lua")),
            raise: Script::new(include_str!("scripts/raise.lua")),
        }
    }
}

enum RedisFailure {
    Answered(RedisError),
    Silent,
}

impl RedisFailure {
    fn no_script(&self) -> bool {
        matches!(self, Self::Answered(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
    }
}

impl From<RedisFailure> for StoreError {
    fn from(failure: RedisFailure) -> Self {
        let RedisFailure::Answered(error) = failure else {
            return Self::Unknown("no answer in time".to_owned());
        };
        match error.kind() {
            _ if error.is_connection_refusal() => Self::Away(error.to_string()),
            ErrorKind::Io => Self::Unknown(error.to_string()),
            ErrorKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::TryAgain) => {
                Self::Away(error.to_string())
            }
            _ if error.code() == Some("OOM") => Self::Full(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

pub(crate) fn lease_key(name: &str) -> String {
    format!("{LEASE_PREFIX}{name}")
}

fn evalsha(script: &Script, keys: &[&str], args: &[&str]) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(script.get_hash()).arg(keys.len()).arg(keys).arg(args);
    command
}

fn senseless(answer: &[Value]) -> StoreError {
    StoreError::Failed(format!("a script answered {answer:?}"))
}

fn read_acquired(answer: &[Value]) -> Option<Acquired> {
    let word: String = read(answer.first()?)?;
    let grant = |repeated| {
        let [_, token, epoch, left] = answer else { return None };
        let (token, epoch) = (Token(read(token)?), Epoch(read(epoch)?));
        Some(Acquired::Granted(Grant { token, epoch, expires_in_ms: read_left(left)?, repeated }))
    };
    match (word.as_str(), &answer[1..]) {
        ("granted", _) => grant(false),
        ("repeated", _) => grant(true),
        ("held", [token, epoch, left, owner]) => Some(Acquired::Held(read_view(owner, token, epoch, left)?)),
        ("epoch_missing", []) => Some(Acquired::EpochMissing),
        ("epoch_older", [found]) => Some(Acquired::EpochOlder { found: Epoch(read(found)?) }),
        ("token_old", [highest]) => Some(Acquired::TokenOld { highest: Token(read(highest)?) }),
        _ => None,
    }
}

fn read_view(owner: &Value, token: &Value, epoch: &Value, left: &Value) -> Option<LeaseView> {
    let (token, epoch) = (Token(read(token)?), Epoch(read(epoch)?));
    Some(LeaseView { owner: read(owner)?, token, epoch, expires_in_ms: read_left(left)? })
}

fn read<T: FromRedisValue>(value: &Value) -> Option<T> {
    T::from_redis_value(value.clone()).ok()
}

/// A lease in its last millisecond has 0 left; negative answers do not occur inside a script that saw the lease.
fn read_left(value: &Value) -> Option<u32> {
    read::<i64>(value).and_then(|left| u32::try_from(left).ok())
}
