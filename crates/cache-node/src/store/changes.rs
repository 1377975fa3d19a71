//! Word of changed values, pushed by Redis as they change (client-side caching in broadcasting mode, RESP3).
//!
//! A connection of its own asks for the changes of all values under one prefix. Whatever changes a value is told: a write, a
//! deletion, its physical end, an eviction, another program. Redis sends the word in the same breath as its answer to the
//! writer; it arrives here a network's way later. A connection that is silently cut would tell nothing more, so whoever
//! follows asks it for a sign of life now and then.

use super::{CALL_MAX, CONNECT_MS_MAX, InRedis, Store, StoreError};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, Value};
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::timeout;

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The value of this cache key is another now, or gone.
    Value(&'a str),
    /// Any value may have changed, and nothing more will be told: the connection is lost, or Redis was emptied.
    Everything,
}

/// A connection that is told of changes; dropped, it ends.
#[derive(Debug)]
pub struct Following(MultiplexedConnection);

impl Store {
    /// Has `told` called with every change of a value under `prefix` that happens after this returned, until the first
    /// [`Change::Everything`]. It is called in the connection's own task and must not block.
    ///
    /// # Errors
    /// Redis is away, did not answer in time, or knows no tracking.
    pub async fn follow(
        &self,
        prefix: &str,
        told: impl Fn(Change<'_>) + Send + Sync + 'static,
    ) -> Result<Following, StoreError> {
        let info = self.client.get_connection_info().clone();
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings)).map_err(StoreError::Address)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_millis(CONNECT_MS_MAX)))
            .set_response_timeout(Some(CALL_MAX))
            .set_push_sender(move |push: PushInfo| {
                read(&push, &told);
                Ok::<(), Infallible>(())
            });
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut track = redis::cmd("CLIENT");
        track.arg("TRACKING").arg("ON").arg("BCAST").arg("PREFIX").arg(InRedis("v:", prefix));
        track.exec_async(&mut connection).await?;
        Ok(Following(connection))
    }
}

impl Following {
    /// Whether the connection still answers. All that was told before the answer was sent has been told when this returns.
    pub async fn lives(&mut self) -> bool {
        let ping = redis::cmd("PING");
        matches!(timeout(CALL_MAX, ping.exec_async(&mut self.0)).await, Ok(Ok(())))
    }
}

fn read(push: &PushInfo, told: &impl Fn(Change<'_>)) {
    let keys = match (&push.kind, push.data.as_slice()) {
        (PushKind::Invalidate, [Value::Array(keys)]) => keys,
        (PushKind::Invalidate | PushKind::Disconnection, _) => return told(Change::Everything),
        _ => return,
    };
    for key in keys {
        let Value::BulkString(key) = key else { return told(Change::Everything) };
        // Others are not under a prefix that was asked for.
        if let Some(cache_key) = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix("v:")) {
            told(Change::Value(cache_key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// What Redis pushes is told key by key; whatever is not understood reads as: anything may have changed.
    #[test]
    fn pushes() {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let changed = |key: &str| format!("{:?}", Change::Value(key));
        let everything = || format!("{:?}", Change::Everything);
        for (kind, data, expect) in [
            (
                PushKind::Invalidate,
                vec![Value::Array(vec![bulk("v:p:a"), bulk("v:p:b")])],
                vec![changed("p:a"), changed("p:b")],
            ),
            (PushKind::Invalidate, vec![Value::Nil], vec![everything()]),
            (PushKind::Invalidate, vec![Value::Array(vec![Value::Nil])], vec![everything()]),
            (PushKind::Disconnection, vec![], vec![everything()]),
            (PushKind::Message, vec![bulk("x")], vec![]),
        ] {
            let said = RefCell::new(Vec::new());
            read(&PushInfo { kind, data }, &|change| said.borrow_mut().push(format!("{change:?}")));
            assert_eq!(said.into_inner(), expect);
        }
    }
}
