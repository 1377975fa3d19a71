//! What a cache node does with each lookup: a sans-I/O core of stampede guards.
//!
//! [`Core`] decides, for every lookup of one process, whether to serve what the cache holds, to lead a rebuild, to wait
//! for one, or to turn the caller away. It never reads a clock, draws a number, opens a socket, spawns a task or blocks:
//! a driver tells it what happened (`handle_*`, each with the time), does what it asks for ([`Core::poll_action`]) and
//! comes back when it says ([`Core::poll_timeout`]). So the same decisions run under tokio, under virtual time and in a
//! model checker. quinn-proto is the model for the shape.
//!
//! # The way of a lookup
//! 1. First look: one [`Action::Read`]. Fresh: served as a hit, and no other state was touched.
//! 2. Otherwise the configuration's layers decide. *Uncoordinated*: a rebuild of its own. *Single-flight*: joins the
//!    key's live flight, or leads a new one: second look, then the origin. *Fleet lock*: the leader also gets the lock of
//!    the key, looks again after the grant, and reads rather than rebuilds when another holder was done.
//! 3. The rebuilt value is written, guarded by the generation that was seen expired and by the lease's token and epoch.
//!    With [`WriteGuard::Fenced`] the readers get it when the store has taken it; refused, they get what the store holds,
//!    or the value marked as not cached. With [`WriteGuard::Unguarded`], and uncoordinated, they get it before the write.
//! 4. The lease is given back, whatever became of the write; then the flight ends.
//!
//! # What holds always
//! - At most one live shared flight a key; it lives until its write ended, so that a later leader's second look sees it.
//! - A flight belongs to the core, not to its leader: whoever cancels or runs out of time leaves alone, the oldest waiter
//!   leads, and with none left the rebuild still runs to its own deadline.
//! - Each lookup is served once, or was cancelled. Errors are shared once with everybody waiting, and never cached.
//! - Nobody is shown a value older than the generation that its own look saw.
//! - Every queue, wait and retry has a limit ([`Limits`]).
//!
//! # What a driver owes
//! Exactly one answer for each action with an `op`, by its deadline (later ones are taken for lost), a clock that never
//! goes back, and draining [`Core::poll_action`] after every `handle_*` call. The key is the full cache key, prefix
//! included: a new prefix is a new key.
//!
//! # Driven by hand
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use herd_policy::{Action, Config, Core, FetchOutcome, Life, Limits, ReadOutcome, Reason, Served, Time, WriteOutcome};
//!
//! let config = Config { version: 1, flight_second_look: false, ..Config::default() };
//! let mut core: Core<&str> = Core::new(Arc::new(config), Limits::default(), 1);
//! let now = Time::ZERO;
//! let deadline = now + Duration::from_secs(1);
//!
//! // Two requests for one key; the first look of both finds generation 7 expired.
//! let mut looks = Vec::new();
//! for _ in 0..2 {
//!     core.handle_lookup(now, Arc::from("p:item-1"), deadline);
//!     let Some(Action::Read { op, .. }) = core.poll_action() else { panic!("the first look") };
//!     looks.push(op);
//! }
//! for op in looks {
//!     core.handle_read(now, op, ReadOutcome::Expired { value: "old", generation: 7, life: Life::default() });
//! }
//! assert_eq!((core.waiting(), core.flights()), (2, 1));
//!
//! // One of them leads: one call to the origin, naming the generation that expired.
//! let Some(Action::Fetch { op, generation: 7, reason: Reason::FlightLeader, .. }) = core.poll_action() else {
//!     panic!("the rebuild")
//! };
//! assert!(core.poll_action().is_none());
//! core.handle_fetched(now, op, FetchOutcome::Fetched("new"));
//! let Some(Action::Write { op, value: Some("new"), .. }) = core.poll_action() else { panic!("the guarded write") };
//! core.handle_written(now, op, WriteOutcome::Written { generation: 8 });
//!
//! // Both are served, and the flight ends.
//! for served in [Served::Led, Served::Waited] {
//!     let Some(Action::Serve(answered)) = core.poll_action() else { panic!("the answers") };
//!     let answer = answered.result.expect("a value");
//!     assert_eq!((answer.value, answer.generation, answer.served), ("new", 8, served));
//! }
//! assert!(matches!(core.poll_action(), Some(Action::Ended(summary)) if summary.fetches == 1));
//! assert_eq!((core.lookups(), core.flights(), core.poll_timeout()), (0, 0, None));
//! ```
//!
//! # Map
//! `core` the state machine: `lookups` (first look, join, cancel), `flight` (its state and operations), `steps` (from
//! leadership to the end), `leases` (acquire, renew, release), `answers` (who gets what). `layer` the decisions in which
//! layers differ, one file each. `action`, `outcome`, `error`, `config`, `ids`, `time` the vocabulary; `slab` the tables.

mod action;
mod chance;
mod config;
mod core;
mod error;
mod ids;
mod layer;
mod outcome;
mod slab;
mod time;

pub use crate::action::{Action, Answer, Ending, HolderEnd, Reason, Serve, Served, Summary};
pub use crate::config::{
    Coalescing, Config, EarlyConfig, FlightUntil, Limits, LockConfig, NegativeConfig, OnOriginError,
    OnUnavailable, OnWaitTimeout, StaleConfig, WaiterConfig, WriteGuard,
};
pub use crate::core::Core;
pub use crate::error::{AbsentBy, Error, Limit, Part};
pub use crate::ids::{Lease, LookupId, OpId, Owner, RebuildId};
pub use crate::outcome::{
    Cause, Failure, FetchOutcome, HolderFailure, LeaseOutcome, Life, ReadOutcome, Refusal, RenewOutcome,
    WriteOutcome,
};
pub use crate::time::Time;
