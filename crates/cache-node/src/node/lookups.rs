//! A request's own way through the node: its first look, then its answer.

use super::seats::Answered;
use super::{Node, NotConfigured, State};
use crate::filter::KeyFilter;
use crate::local::{Known, Local};
use crate::store::header::Header;
use crate::store::{Look, Store, StoreError};
use crate::value::Value;
use herd_policy::{Action, Config, Life, LookupId, OpId, ReadOutcome, Time};
use herd_service::rpc::Deadline;
use herd_service::trace;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// An answer that comes too late is none: the core gives up this much before the caller does, so that the caller hears why.
const ANSWER_TAKES: Duration = Duration::from_millis(3);

impl Node {
    /// Gets a row's value. `key` was checked. Dropping the future gives the lookup up and nothing else.
    ///
    /// # Errors
    /// [`NotConfigured`]; every other failure is in the answer.
    pub async fn lookup(self: &Arc<Self>, key: &str, deadline: Deadline) -> Result<Answered, NotConfigured> {
        let began = self.begin(deadline, |state, now, deadline| {
            let cache_key = state.cache_key(key)?;
            let (local, filter) = state.tiers.for_lookups();
            Ok((state.core.handle_lookup(now, cache_key, deadline), local, filter))
        })?;
        let answered = self.see_through(key, deadline, began, false).await;
        // A reader's miss. What is filled on command is none: nobody was to find it, and the hit rate stays what readers see.
        if answered.serve.missed {
            self.metrics.six.cache_miss.inc();
        }
        Ok(answered)
    }

    /// Has a row in the cache under `prefix`, which may be another than that of the configuration (`None`): by a rebuild for
    /// which nobody waits, if need be. Both were checked. What the process itself holds does not count.
    ///
    /// # Errors
    /// As [`Node::lookup`].
    pub async fn warm(
        self: &Arc<Self>,
        key: &str,
        prefix: Option<&str>,
        deadline: Deadline,
    ) -> Result<Answered, NotConfigured> {
        let began = self.begin(deadline, |state, now, deadline| {
            let mut config = state.config()?.clone();
            if let Some(prefix) = prefix.filter(|prefix| **prefix != *config.key_prefix) {
                config = Arc::new(Config { key_prefix: prefix.into(), ..Config::clone(&config) });
            }
            let cache_key = format!("{}{key}", config.key_prefix).into();
            let filter = state.tiers.for_lookups().1;
            Ok((state.core.handle_warm(now, cache_key, config, deadline), None, filter))
        })?;
        Ok(self.see_through(key, deadline, began, true).await)
    }

    async fn see_through(
        self: &Arc<Self>,
        key: &str,
        deadline: Deadline,
        (mut waiting, look): (Waiting<'_>, Option<OwnLook>),
        fills: bool,
    ) -> Answered {
        if let Some(look) = look {
            let began = trace::enabled().then(Instant::now);
            waiting.cache_key = began.map(|_| look.cache_key.clone());
            let (found, local) = look.at(&self.store, time_left(deadline)).await;
            waiting.looked = began.filter(|_| !local).map(|began| (began, Instant::now()));
            waiting.seen = found.as_ref().map_or(0, Look::generation);
            let outcome = read_outcome(found, || look.filter.is_none_or(|filter| filter.may_exist(key)));
            if let Some(mut answered) = self.tell_of_look(&waiting, look.op, outcome, fills) {
                answered.local = local;
                return waiting.done(answered);
            }
        }
        let answered = poll_fn(|context| waiting.poll(context)).await;
        waiting.done(answered)
    }

    /// Begins a lookup; its first look, if the core wants one, is the request's own work.
    fn begin(
        self: &Arc<Self>,
        deadline: Deadline,
        handle: impl FnOnce(&mut State, Time, Time) -> Result<Begun, NotConfigured>,
    ) -> Result<(Waiting<'_>, Option<OwnLook>), NotConfigured> {
        let now = self.now();
        let deadline = now + time_left(deadline);
        let mut state = self.lock();
        let (lookup, local, filter) = handle(&mut state, now, deadline)?;
        let mut read = None;
        let jobs = self.drain(&mut state, |action| match action {
            Action::Read { op, key, rebuild: None, .. } if read.is_none() => {
                read = Some((op, key));
                None
            }
            other => Some(other),
        });
        drop(state);
        self.start(jobs);
        let look = read.map(|(op, cache_key)| OwnLook { op, cache_key, local, filter });
        Ok((Waiting { node: self, lookup, seen: 0, looked: None, cache_key: None, served: false }, look))
    }

    /// Tells the core what a request's own look found. The hit path: the answer comes straight back, no seat is taken.
    fn tell_of_look(
        self: &Arc<Self>,
        waiting: &Waiting<'_>,
        op: OpId,
        outcome: ReadOutcome<Value>,
        fills: bool,
    ) -> Option<Answered> {
        let now = self.now();
        let mut state = self.lock();
        state.flights.filling = fills.then_some(waiting.lookup);
        state.core.handle_read(now, op, outcome);
        let mut mine = None;
        let jobs = self.drain(&mut state, |action| match action {
            Action::Serve(serve) if serve.lookup == waiting.lookup => {
                mine = Some(serve);
                None
            }
            other => Some(other),
        });
        state.flights.filling = None;
        let mine = mine.map(|serve| self.answered(&mut state, serve));
        drop(state);
        self.start(jobs);
        mine
    }
}

/// A lookup that the core knows, and what may answer its first look beside Redis.
type Begun = (LookupId, Option<Arc<Local>>, Option<Arc<KeyFilter>>);

/// A look at the cache that the request does itself.
struct OwnLook {
    op: OpId,
    cache_key: Arc<str>,
    local: Option<Arc<Local>>,
    filter: Option<Arc<KeyFilter>>,
}

impl OwnLook {
    /// Looks, and says whether the process itself had the value.
    async fn at(&self, store: &Store, limit: Duration) -> (Result<Look, StoreError>, bool) {
        let Some(local) = &self.local else {
            return (store.look_within(&self.cache_key, limit).await, false);
        };
        let ticket = match local.look(&self.cache_key, Instant::now()) {
            Known::Fresh(look) => return (Ok(look), true),
            Known::Ask(ticket) => Some(ticket),
            Known::Bypassed => None,
        };
        let found = store.look_within(&self.cache_key, limit).await;
        if let (Some(ticket), Ok(look)) = (ticket, &found) {
            local.offer(ticket, &self.cache_key, look);
        }
        (found, false)
    }
}

/// A request that waits for its answer; dropped before it has one, it gives the lookup up.
struct Waiting<'a> {
    node: &'a Arc<Node>,
    lookup: LookupId,
    /// The newest generation that its own look saw.
    seen: u64,
    /// When its own look at Redis began and ended.
    looked: Option<(Instant, Instant)>,
    /// What that looked for, where spans are exported.
    cache_key: Option<Arc<str>>,
    served: bool,
}

impl Waiting<'_> {
    fn poll(&self, context: &Context<'_>) -> Poll<Answered> {
        self.node.lock().seats.poll(self.lookup, context)
    }

    fn done(mut self, mut answered: Answered) -> Answered {
        self.served = true;
        (answered.seen, answered.looked) = (self.seen, self.looked);
        answered.cache_key = self.cache_key.take();
        answered
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.served {
            return;
        }
        let lookup = self.lookup;
        self.node.lock().seats.leave(lookup);
        self.node.tell(|core, now| core.handle_cancel(now, lookup));
    }
}

fn time_left(deadline: Deadline) -> Duration {
    deadline.remaining().saturating_sub(ANSWER_TAKES)
}

/// What the core is told about a look at the store. Whether the key may exist is asked only where nothing was found.
pub(super) fn read_outcome(
    found: Result<Look, StoreError>,
    may_exist: impl FnOnce() -> bool,
) -> ReadOutcome<Value> {
    match found {
        Ok(Look::Fresh { stored, age_ms }) => ReadOutcome::Fresh {
            generation: stored.header.generation,
            life: life(&stored.header, age_ms),
            value: Value::stored(stored, age_ms),
        },
        Ok(Look::Expired { stored, age_ms }) => ReadOutcome::Expired {
            generation: stored.header.generation,
            life: life(&stored.header, age_ms),
            value: Value::stored(stored, age_ms),
        },
        Ok(Look::Negative { generation }) => ReadOutcome::Negative { generation },
        Ok(Look::Absent { generation }) => ReadOutcome::Absent { generation, may_exist: may_exist() },
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "a look at the cache failed");
            ReadOutcome::Failed(crate::errors::store_failure(&error))
        }
    }
}

/// By Redis's clock, but for what the process held it itself.
fn life(header: &Header, age_ms: u64) -> Life {
    Life {
        age: Duration::from_millis(age_ms),
        ttl: Duration::from_millis(header.ttl_ms.into()),
        rebuild_took: Duration::from_micros(header.rebuild_took_us.into()),
    }
}
