//! The port that a lease store implements, and its messages.
//!
//! A store holds at most one live lease a name, the epoch it lives in, and the largest token it ever granted. Each
//! call is one atomic step of the store. Expiry is by the store's own clock.

use crate::id::{Epoch, Token};
use std::future::Future;

/// Asks for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquire<'a> {
    /// what to lead
    pub name: &'a str,
    /// who asks; unique to one attempt to lead
    pub owner: &'a str,
    /// the token of the grant, should there be a new one
    pub token: Token,
    /// the largest epoch that the caller knows of
    pub known_epoch: Epoch,
    /// how long the lease shall last, milliseconds
    pub expiry_ms: u32,
}

/// What a store answers to [`Acquire`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// The caller holds the lease.
    Granted(Grant),
    /// Somebody else holds it.
    Held(LeaseView),
    /// The store lost its data: nothing is granted until an epoch is opened.
    EpochMissing,
    /// The store came back with older data, from the epoch `found`: nothing is granted until a new epoch is opened.
    EpochOlder {
        /// the epoch that the store is in
        found: Epoch,
    },
    /// A token at least as large was granted already, by another instance of the service: ask again with a larger one.
    TokenOld {
        /// the largest token granted so far
        highest: Token,
    },
    /// The store was restarted. Its data may be whole, or a moment old, so that it may not know the last tokens it
    /// granted: nothing is granted until [`LeaseStore::resume`].
    Restarted,
}

/// A lease as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// the fencing token
    pub token: Token,
    /// the epoch of the grant
    pub epoch: Epoch,
    /// what is left of the lease, milliseconds
    pub expires_in_ms: u32,
    /// the owner already held it: nothing was changed
    pub repeated: bool,
}

/// A live lease as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// who holds it
    pub owner: String,
    /// its fencing token
    pub token: Token,
    /// the epoch of its grant
    pub epoch: Epoch,
    /// what is left of it, milliseconds
    pub expires_in_ms: u32,
}

/// Opens an epoch in a store that has none, or an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenEpoch {
    /// the new epoch; never used before, and sent to the store once, so that a lost one cannot be revived
    pub epoch: Epoch,
    /// the epoch that the store was found in, none if it had lost its data; if it is in another one by now, somebody
    /// else was faster
    pub found: Option<Epoch>,
    /// tokens up to here count as granted
    pub floor: Token,
}

/// Why a store gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It could not be reached; the call was not applied.
    #[error("the lease store is away: {0}")]
    Away(String),
    /// It did not answer in time, or the connection broke: the call may have been applied, or may yet be.
    #[error("the lease store did not answer: {0}")]
    Unknown(String),
    /// It is at its limit.
    #[error("the lease store is full: {0}")]
    Full(String),
    /// It answered something that makes no sense, or refused the command.
    #[error("the lease store failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// Whether the call may have been applied although no answer came.
    #[must_use]
    pub const fn may_be_applied(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

/// What a store of leases does. Every call is atomic, and safe to repeat.
///
/// A lease whose epoch is not the store's is not held by anybody.
pub trait LeaseStore: Send + Sync + 'static {
    /// Grants the lease if nobody holds it. The holder asking again gets its own grant back, unchanged.
    fn acquire(&self, acquire: Acquire<'_>) -> impl Future<Output = Result<Acquired, StoreError>> + Send;

    /// Sets the lease's remaining time to `expiry_ms` if `owner` holds it under `token`; says whether it did.
    fn renew(
        &self,
        name: &str,
        owner: &str,
        token: Token,
        expiry_ms: u32,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Frees the lease if `owner` holds it; says whether it did.
    fn release(&self, name: &str, owner: &str) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Takes back an acquire whose outcome is unknown or unwanted: frees the lease if `owner` holds it under `token`,
    /// and counts `token` as granted, so that an acquire still on its way is refused. Says whether it freed one.
    fn revoke(
        &self,
        name: &str,
        owner: &str,
        token: Token,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Who holds a lease now.
    fn inspect(&self, name: &str) -> impl Future<Output = Result<Option<LeaseView>, StoreError>> + Send;

    /// Opens an epoch if the store is still in the one that it was found in. Answers the epoch that it is in now.
    fn open_epoch(&self, open: OpenEpoch) -> impl Future<Output = Result<Option<Epoch>, StoreError>> + Send;

    /// Ends [`Acquired::Restarted`]: from now on tokens up to `floor` count as granted. The floor must be at least
    /// every token granted before the restart, so it comes from a block reserved after the restart was noticed.
    fn resume(&self, floor: Token) -> impl Future<Output = Result<(), StoreError>> + Send;
}
