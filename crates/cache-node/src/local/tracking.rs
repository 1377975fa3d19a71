//! Keeps the tier coherent: listens to Redis for as long as the tier is wanted, and closes it while it cannot.

use super::Local;
use crate::metrics::NodeMetrics;
use crate::store::changes::{Change, Following};
use crate::store::{CALL_MS_MAX, Store, StoreError};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;
use tracing::{info, warn};

/// How often the connection is asked for a sign of life, milliseconds.
const SIGN_OF_LIFE_MS: u64 = 200;

/// How long a connection can be silently cut before it is noticed and the tier closed, milliseconds.
pub const UNNOTICED_MS_MAX: u64 = SIGN_OF_LIFE_MS + CALL_MS_MAX;

/// Between two attempts to listen, milliseconds.
const RETRY_MS: u64 = 100;

/// Listens, and listens again whenever the connection broke. Runs as long as the tier is wanted.
pub async fn listen(local: Arc<Local>, store: Store, metrics: NodeMetrics) {
    let mut said = false;
    loop {
        match begin(&local, &store, &metrics).await {
            Ok(session) => {
                info!(prefix = &*local.prefix, "the tier in the process is open");
                said = false;
                session.hold(&local, &metrics).await;
                warn!("no word of changed values from Redis; the tier in the process is closed and empty");
            }
            // Once, not at every attempt.
            Err(error) if !said => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot listen for changed values; trying again"
                );
                said = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
    }
}

/// One connection, from when it began to tell until it is lost.
struct Session {
    number: u64,
    following: Following,
    lost: Arc<Notify>,
}

async fn begin(local: &Arc<Local>, store: &Store, metrics: &NodeMetrics) -> Result<Session, StoreError> {
    let lost = Arc::new(Notify::new());
    // The session has a number only when it is open. A connection that is lost before that is noticed right after.
    let number = Arc::new(OnceLock::new());
    let (told, tell_lost, opened, counted) = (local.clone(), lost.clone(), number.clone(), metrics.clone());
    let following = store
        .follow(&local.prefix, move |change| match change {
            Change::Value(cache_key) => {
                counted.local_changes.inc();
                told.forget(cache_key);
            }
            Change::Everything => {
                if let Some(number) = opened.get() {
                    close(&told, *number, &counted);
                }
                tell_lost.notify_one();
            }
        })
        .await?;
    let number = *number.get_or_init(|| local.open());
    Ok(Session { number, following, lost })
}

impl Session {
    /// Returns when the connection is lost, with the tier closed.
    async fn hold(mut self, local: &Local, metrics: &NodeMetrics) {
        loop {
            tokio::select! {
                () = self.lost.notified() => break,
                () = tokio::time::sleep(Duration::from_millis(SIGN_OF_LIFE_MS)) => {}
            }
            if !self.following.lives().await {
                break;
            }
        }
        close(local, self.number, metrics);
    }
}

fn close(local: &Local, session: u64, metrics: &NodeMetrics) {
    if local.close(session) {
        metrics.local_flushes.inc();
    }
}
