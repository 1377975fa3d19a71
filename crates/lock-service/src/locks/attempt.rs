//! One try for a lease: a token, the store's answer, and what the store may need first.
//!
//! A store that lost its data gets a new epoch, one that restarted gets a new floor of tokens. Such a repair is made
//! once, however many tries find the need for it, and goes on if they give up meanwhile.

use super::Locks;
use crate::counters::Counters;
use crate::tokens::chain;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use herd_lease::arbiter::{Failure, Tried};
use herd_lease::store::{Acquire, Acquired, Grant, OpenEpoch};
use herd_lease::{Epoch, LeaseStore, Token};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A repair is given up after this time.
const REPAIR_MAX: Duration = Duration::from_secs(10);

/// How often the store may ask for something else before it counts as out of its mind.
const STEPS_MAX: u32 = 8;

/// What a store needs before it grants anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// a floor of tokens: it restarted
    Floor,
    /// a new epoch: its data is lost (none found) or old
    Epoch(Option<Epoch>),
}

type Repair = Shared<BoxFuture<'static, Result<(), Failure>>>;

/// The repair that is under way, and how many were made.
#[derive(Default)]
pub(super) struct Repairs(Mutex<(u64, Option<Repair>)>);

impl Repairs {
    fn lock(&self) -> MutexGuard<'_, (u64, Option<Repair>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: LeaseStore, C: Counters> Locks<S, C> {
    /// Asks the store for a lease. `again` is the token of an earlier try whose outcome is unknown.
    pub(super) async fn try_acquire(
        &self,
        name: &str,
        owner: &str,
        expiry_ms: u32,
        mut again: Option<Token>,
    ) -> Tried {
        let deadline = Instant::now() + self.inner.try_max;
        let tokens = &self.inner.tokens;
        for _ in 0..STEPS_MAX {
            let repaired = self.inner.repairs.lock().0;
            let repeats = again.is_some();
            let token = match again.take() {
                Some(token) => token,
                None => match tokens.take(deadline).await {
                    Ok(token) => token,
                    Err(away) => return failed(Failure::TokensAway(away.to_string()), None),
                },
            };
            let expiry_ms = self.inner.clock.by_store(expiry_ms);
            let acquire = Acquire { name, owner, token, known_epoch: tokens.known_epoch(), expiry_ms };
            let answer = timeout_at(deadline, self.inner.store.acquire(acquire)).await;
            let need = match answer {
                Ok(Ok(Acquired::Granted(grant))) => return self.granted(grant, token),
                Ok(Ok(Acquired::Held(view))) => {
                    if !repeats {
                        tokens.put_back(token);
                    }
                    return Tried::Held(view);
                }
                Ok(Ok(Acquired::TokenOld { highest })) => {
                    tokens.raise(highest);
                    continue;
                }
                Ok(Ok(Acquired::Restarted)) => Need::Floor,
                Ok(Ok(Acquired::EpochMissing)) => Need::Epoch(None),
                Ok(Ok(Acquired::EpochOlder { found })) => Need::Epoch(Some(found)),
                Ok(Err(error)) => {
                    let doubt = error.may_be_applied().then_some(token);
                    return failed(self.store_failure(&error), doubt);
                }
                Err(_) => {
                    let failure = Failure::StoreAway("the lease store did not answer in time".to_owned());
                    return failed(failure, Some(token));
                }
            };
            if let Err(failure) = self.repair(repaired, need, deadline).await {
                return failed(failure, None);
            }
        }
        failed(Failure::StoreFailed("the lease store asks for ever new repairs".to_owned()), None)
    }

    fn granted(&self, grant: Grant, token: Token) -> Tried {
        self.inner.tokens.learn_epoch(grant.epoch);
        if grant.token != token {
            self.inner.tokens.put_back(token);
        }
        Tried::Granted(grant)
    }

    /// Repairs the store, or waits for the repair that is under way, or does nothing if one was made since `repaired`.
    async fn repair(&self, repaired: u64, need: Need, deadline: Instant) -> Result<(), Failure> {
        let repair = {
            let mut repairs = self.inner.repairs.lock();
            match &*repairs {
                (made, _) if *made != repaired => return Ok(()),
                (_, Some(under_way)) => under_way.clone(),
                (_, None) => {
                    let repair = self.begin_repair(need);
                    repairs.1 = Some(repair.clone());
                    repair
                }
            }
        };
        let too_long = |_| Err(Failure::StoreAway("the lease store is being repaired".to_owned()));
        timeout_at(deadline, repair).await.unwrap_or_else(too_long)
    }

    fn begin_repair(&self, need: Need) -> Repair {
        let locks = self.clone();
        let task = self.inner.tasks.spawn(async move {
            let result = tokio::time::timeout(REPAIR_MAX, locks.repair_now(need)).await;
            let result =
                result.unwrap_or_else(|_| Err(Failure::StoreAway("a repair took too long".to_owned())));
            let mut repairs = locks.inner.repairs.lock();
            repairs.0 += u64::from(result.is_ok());
            repairs.1 = None;
            result
        });
        async move { task.await.unwrap_or_else(|error| Err(Failure::StoreFailed(error.to_string()))) }
            .boxed()
            .shared()
    }

    async fn repair_now(&self, need: Need) -> Result<(), Failure> {
        let tokens = &self.inner.tokens;
        // Other instances may have granted tokens that the store has forgotten: only a block that is reserved from now
        // on is surely above them.
        let fresh = tokens.take_fresh(Instant::now() + REPAIR_MAX).await;
        let fresh = fresh.map_err(|away| Failure::TokensAway(away.to_string()))?;
        let floor = Token(fresh.0 - 1);
        match need {
            Need::Floor => {
                self.inner.store.resume(floor).await.map_err(|error| self.store_failure(&error))?;
                tracing::info!(%floor, "the lease store was started: tokens go on above what was reserved");
            }
            Need::Epoch(found) => self.open_epoch(found, floor).await?,
        }
        Ok(())
    }

    async fn open_epoch(&self, found: Option<Epoch>, floor: Token) -> Result<(), Failure> {
        let (tokens, counters) = (&self.inner.tokens, self.inner.tokens.counters());
        let epoch = counters.next_epoch(tokens.known_epoch()).await;
        let epoch = epoch.map_err(|error| Failure::TokensAway(chain(&error)))?;
        // It is sent once. If the answer is lost, the next try opens another one: this one may be lost with it.
        let opened = self.inner.store.open_epoch(OpenEpoch { epoch, found, floor }).await;
        let Some(current) = opened.map_err(|error| self.store_failure(&error))? else {
            return Ok(()); // it lost its data in between: the next step finds out
        };
        tokens.learn_epoch(current);
        if current == epoch {
            self.inner.metrics.count_epoch();
            tracing::warn!(%epoch, "the lease store had no data, or old data: a new epoch is open");
        }
        if let Err(error) = counters.note_published(current).await {
            tracing::warn!(error = %chain(&error), %epoch, "the epoch is open, but not noted as published");
        }
        Ok(())
    }
}

const fn failed(failure: Failure, doubt: Option<Token>) -> Tried {
    Tried::Failed { failure, doubt }
}
