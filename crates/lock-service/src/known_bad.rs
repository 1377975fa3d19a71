//! Known-bad strategies: mistakes that real lock services make, kept so that a judge can be seen to catch them. Nothing
//! happens here unless a request asks for it by name, and nothing of the service depends on it.
//!
//! - *Volatile tokens* (`AcquireRequest.volatile_token`): the fencing token is counted by `INCR` in Redis's memory.
//!   Restarted empty, Redis hands out tokens again that earlier holders still carry, and whoever compares tokens alone
//!   takes an old holder for the newest. The rest of the grant, its epoch included, is as ever.
//! - *Unconditional release* (`ReleaseRequest.unconditional`): the lease is freed without asking who holds it, as a plain
//!   `DEL` of the lock's key does. A holder that outlived its lease frees the next one's, and a third begins beside it.

use crate::counters::Counters;
use crate::locks::{Answer, Locks, LocksError};
use crate::redis_store::{RedisStore, lease_key};
use herd_lease::arbiter::Reply;
use herd_lease::store::StoreError;
use herd_lease::{HolderEnd, LeaseStore, Token, id};
use redis::Script;
use std::future::Future;
use std::sync::LazyLock;

/// The key of the counter of volatile tokens.
pub const VOLATILE_TOKEN_KEY: &str = "herd:known-bad:token";

static VOLATILE_TOKEN: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/known_bad/volatile_token.lua")));
static FREE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/known_bad/free.lua")));

/// What a lease store must offer for the mistakes to be made.
pub trait KnownBad: LeaseStore {
    /// Puts a token counted in memory in the place of the one that `owner` was `granted`, once a grant.
    fn volatile_token(
        &self,
        name: &str,
        owner: &str,
        granted: Token,
    ) -> impl Future<Output = Result<Token, StoreError>> + Send;

    /// Frees a lease whoever holds it; says whether anybody did.
    fn free(&self, name: &str) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

impl KnownBad for RedisStore {
    async fn volatile_token(&self, name: &str, owner: &str, granted: Token) -> Result<Token, StoreError> {
        let (lease, granted) = (lease_key(name), granted.to_string());
        self.run(&VOLATILE_TOKEN, &[&lease, VOLATILE_TOKEN_KEY], &[owner, &granted]).await.map(Token)
    }

    async fn free(&self, name: &str) -> Result<bool, StoreError> {
        self.run(&FREE, &[&lease_key(name)], &[]).await
    }
}

impl<S: KnownBad, C: Counters> Locks<S, C> {
    /// Known-bad: replaces the token of a new grant by a volatile one. A caller that hangs up meanwhile may leave the
    /// lease to its expiry.
    ///
    /// # Errors
    /// The store is away.
    pub async fn with_volatile_token(
        &self,
        name: &str,
        owner: &str,
        mut answer: Answer,
    ) -> Result<Answer, LocksError> {
        if let Reply::Granted(grant) = &mut answer.reply
            && !grant.repeated
        {
            let token = self.store().volatile_token(name, owner, grant.token).await;
            grant.token = token.map_err(|error| self.store_failure(&error))?;
        }
        Ok(answer)
    }

    /// Known-bad: [`release`](Self::release) that frees the lease whoever holds it. Those who wait are told as ever.
    ///
    /// # Errors
    /// The request is malformed, or the store is away.
    pub async fn release_unconditionally(&self, name: &str, end: HolderEnd) -> Result<bool, LocksError> {
        id::check_name(name)?;
        let (locks, freed) = (self.clone(), name.to_owned());
        self.free_by(name, None, end, async move { locks.store().free(&freed).await }).await
    }
}
