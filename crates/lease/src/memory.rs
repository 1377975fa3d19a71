//! The lease table behind the port, in memory, with a clock that is turned by hand.

use crate::id::{Epoch, Time, Token};
use crate::store::{Acquire, Acquired, LeaseStore, LeaseView, OpenEpoch, StoreError};
use crate::table::LeaseTable;
use std::sync::{Arc, Mutex, MutexGuard};

/// The most live leases that a memory store holds.
pub const LEASES_MAX: usize = 100_000;

/// A lease store in memory. Clones share one table and one clock, which stands still until it is
/// [advanced](Self::advance_ms).
#[derive(Clone, Debug)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    table: LeaseTable,
    now: Time,
    away: bool,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store, just started.
    #[must_use]
    pub fn new() -> Self {
        let inner = Inner { table: LeaseTable::new(LEASES_MAX), now: Time(0), away: false };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Turns the clock forward.
    pub fn advance_ms(&self, ms: u64) {
        let mut inner = self.lock();
        inner.now = inner.now.plus_ms(ms);
    }

    /// Empties the store.
    pub fn lose_data(&self) {
        self.lock().table.lose_data();
    }

    /// Restarts the store with its data.
    pub fn restart(&self) {
        self.lock().table.restart();
    }

    /// Whether calls fail as if the store could not be reached.
    pub fn set_away(&self, away: bool) {
        self.lock().away = away;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock was held is a broken invariant of the table: there is nothing to save.
        self.inner.lock().expect("no panic while the table is locked")
    }

    fn with<T>(&self, f: impl FnOnce(&mut LeaseTable, Time) -> T) -> Result<T, StoreError> {
        let mut inner = self.lock();
        if inner.away {
            return Err(StoreError::Away("switched off".to_owned()));
        }
        let now = inner.now;
        Ok(f(&mut inner.table, now))
    }
}

impl LeaseStore for MemoryStore {
    async fn acquire(&self, acquire: Acquire<'_>) -> Result<Acquired, StoreError> {
        self.with(|table, now| table.acquire(now, acquire))?
            .map_err(|full| StoreError::Full(full.to_string()))
    }

    async fn renew(&self, name: &str, owner: &str, token: Token, expiry_ms: u32) -> Result<bool, StoreError> {
        self.with(|table, now| table.renew(now, name, owner, token, expiry_ms))
    }

    async fn release(&self, name: &str, owner: &str) -> Result<bool, StoreError> {
        self.with(|table, now| table.release(now, name, owner))
    }

    async fn revoke(&self, name: &str, owner: &str, token: Token) -> Result<bool, StoreError> {
        self.with(|table, now| table.revoke(now, name, owner, token))
    }

    async fn inspect(&self, name: &str) -> Result<Option<LeaseView>, StoreError> {
        self.with(|table, now| table.inspect(now, name))
    }

    async fn open_epoch(&self, open: OpenEpoch) -> Result<Option<Epoch>, StoreError> {
        self.with(|table, _| table.open_epoch(open))
    }

    async fn resume(&self, floor: Token) -> Result<(), StoreError> {
        self.with(|table, _| table.resume(floor))
    }
}
