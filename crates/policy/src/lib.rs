//! What a cache node does with each lookup: a sans-I/O core of stampede guards.
//!
//! [`Core`] decides, for every lookup of one process, whether to serve what the cache holds, to lead a rebuild, to wait
//! for one, or to turn the caller away. It never reads a clock, draws a number, opens a socket, spawns a task or blocks:
//! a driver tells it what happened (`handle_*`, each with the time), does what it asks for ([`Core::poll_action`]) and
//! comes back when it says ([`Core::poll_timeout`]). So the same decisions run under tokio, under virtual time and in a
//! model checker. quinn-proto is the model for the shape.
//!
//! What this crate never does: it keeps no values (the driver's store does), talks to no lock service and no origin, and
//! knows nothing of requests but their key, deadline and cancellation. It has no dependencies.
//!
//! Four layers are not decisions about one lookup, so that [`Core`] knows nothing of them. They are modules of their own, just as pure, for
//! whoever sees what they decide about: [`admission`] (load shedding), [`owner`] (routing), [`prewarm`] (the gate before a cut-over) and
//! [`local`] (a tier in the process).
//!
//! # The way of a lookup
//! 1. First look: one [`Action::Read`]. Fresh: served as a hit, and no other state was touched.
//! 2. What the cache holds may be an answer, too: a sentinel ([`ReadOutcome::Negative`]), a key that the filter rules out,
//!    an expired value within its grace. None of them is a miss, and none waits. The last, and a fresh value that is due
//!    to be recomputed early, sets off a *background flight*: one like those below, for which nobody waits at first.
//! 3. Otherwise the configuration's layers decide. *Uncoordinated*: a rebuild of its own. *Single-flight*: joins the
//!    key's live flight, or leads a new one: second look, then the origin. *Fleet lock*: the leader also gets the lock of
//!    the key, looks again after the grant, and reads rather than rebuilds when another holder was done.
//! 4. Who waits does so until its deadline, or until its own patience runs out: then it leaves with an error, with the
//!    expired value that it saw, or for the origin in a flight of its own. The flight that it leaves goes on.
//! 5. The rebuilt value is written, guarded by the generation that was seen and by the lease's token and epoch; so is the
//!    sentinel of a row that does not exist. With [`WriteGuard::Fenced`] the readers get it when the store has taken it;
//!    refused, they get what the store holds, or the value marked as not cached. With [`WriteGuard::Unguarded`], and
//!    uncoordinated, they get a value before the write.
//! 6. The lease is given back, whatever became of the write; then the flight ends. An error goes to everybody who waits,
//!    once; with stale-if-error who saw an expired value gets that in its place.
//!
//! # The layers, what each bounds and what breaks it
//! N processes, r reads of one key a second, D the rebuild's time, E the lock's expiry, W a wait, T the TTL, G the grace.
//!
//! | layer | switched on by | bounds, for a key and TTL boundary | broken by |
//! | --- | --- | --- | --- |
//! | none | [`Coalescing::Uncoordinated`] | nothing: about r*D rebuilds | |
//! | single-flight | [`Coalescing::SingleFlight`] | one rebuild at once a process, N in the fleet | no [`flight_second_look`](Config::flight_second_look); [`FlightUntil::Fetched`] |
//! | fleet lock | [`Config::lock`] | one rebuild in the fleet | E < D without [`renew`](LockConfig::renew): exactly ceil(D/E); no [`second_look`](LockConfig::second_look); fail-open while it is away: N |
//! | fence | [`WriteGuard::Fenced`] | one accepted write a generation | it bounds writes, not rebuilds |
//! | patience | [`Config::waiter`] | the wait, W | [`OnWaitTimeout::Origin`]: about r*(D - W) more rebuilds |
//! | stale-while-revalidate | [`Config::stale`] | the wait: none; staleness, T + G. N refreshes, 1 with the lock | rows that are not marked safe; a rebuild longer than G |
//! | stale-if-error | [`Config::stale`] | the errors | as above |
//! | shared errors | [`OnOriginError::Share`] | calls to a failing origin: one each D and process | [`OnOriginError::SerialRetry`]: one for each who waits |
//! | jitter | [`Config::jitter`] | the highest peak of many keys filled at one moment | one hot key |
//! | negative caching | [`Config::negative`] | queries for a missing row: one a sentinel's TTL | distinct missing ids |
//! | key filter | [`Config::key_filter`] | queries for distinct missing ids | a filter that knows them |
//! | early recomputation | [`Config::early`] | misses at the expiry of a hot key; alone e^(1/beta) recomputes | an origin slower than the last time; a cold key |
//! | load shedding | [`admission`] | what is at work at once: the gate's places | clients that come again at once |
//! | owner routing | [`owner`] | one rebuild in the fleet, without a lock | a membership that changes during a rebuild: one more each time |
//! | pre-warm gate | [`prewarm`] | misses of a cut-over: 1 - h | a log of yesterday's keys |
//! | tier in the process | [`local`] | nothing; it takes reads off the cache | a word of a change that does not come |
//!
//! Background flights obey the layers: with single-flight one a key and process, and a reader who misses meanwhile joins
//! it; with the lock they take the lock first; uncoordinated there are as many as reads set off. One that failed is
//! followed by the next only after [`Limits::refresh_pause`], for nobody's wait would slow the next one down.
//!
//! # What holds always
//! - At most one live shared flight a key; it lives until its write ended, so that a later leader's second look sees it.
//! - A flight belongs to the core, not to its leader: whoever cancels, runs out of time or patience leaves alone, the
//!   oldest waiter leads, and with none left the rebuild still runs to its own deadline. Nobody left is no
//!   reason to ask the origin without the lease, though: such a flight ends with its wait for the lock.
//! - Each lookup is served once, or was cancelled. Errors are shared once with everybody waiting, and never cached; that
//!   a row does not exist is remembered only by a guarded sentinel.
//! - Nobody is shown a value older than the generation that its own look saw, nor told of an absence that is older: who
//!   joined a flight with newer knowledge than it brings back waits on, and the flight starts over for it. That holds for
//!   another process's word, too: an absence that a lease's holder shares carries the generation that it had seen.
//! - What is not in the cache has no generation (0): a value whose write was refused may be older or newer than what is.
//! - A stale value is the one that its reader's own look saw, of a row that is marked safe, and at most T + G old.
//! - A lease that was granted, or may have been, is given back before its flight ends.
//! - Every queue, wait and retry has a limit ([`Limits`]); every flight ends.
//!
//! The settings that are called known-bad give one of these up on purpose: they are here to be caught.
//!
//! # What a driver owes
//! - Exactly one answer for each action with an `op`, by its deadline (later ones are taken for lost), a clock that never
//!   goes back, and draining [`Core::poll_action`] after every `handle_*` call.
//! - A call of [`Core::handle_timeout`] when [`Core::poll_timeout`] says so; patience, deadlines and renewals live there.
//! - [`Core::handle_cancel`] for a caller that went away, and nothing else: the operations go on.
//! - The full cache key, prefix included: a new prefix is a new key. The [`Config::key_prefix`] that it begins with tells
//!   the row's key apart.
//! - A seed for [`Core::new`] that differs between processes: equal ones draw the same jitter and recompute together.
//! - From the store: a *generation* for each key that grows with every write and deletion, and that outlives the value.
//!   Whoever inserts, changes or deletes a row at the origin deletes its key in the store afterwards, which opens a new
//!   generation; that refuses every write (values and sentinels) that was rebuilt from before it.
//! - With a value, its [`Life`], by the store's own clock: its age, the TTL that its [`Write`](Action::Write) named (jitter
//!   makes it differ from value to value) and the `rebuild_took` that it named. The value stays readable for the grace
//!   after its TTL. A driver that keeps no life passes [`Life::default`]: its fresh values are never recomputed early,
//!   and its expired ones count as expired just now, so that the grace is then for the driver to bound.
//! - A `Write` without a value is the sentinel: until its TTL is over the key reads as [`ReadOutcome::Negative`], then as
//!   [`ReadOutcome::Absent`]. Its generation counts like a value's.
//! - With an absence, `may_exist`: false if a filter of existing keys (a Bloom filter, say) that may know too much, but
//!   never too little at the time it was built, does not know the row. Without a filter it is always true. Rows inserted
//!   later are covered by the generation that the insert leaves in the store.
//!
//! # Embedded
//! `examples/axum_service.rs` is a whole service in one file, to be read and copied from: an in-memory store, a slow
//! origin, and a tokio driver of some 150 lines. It can ask itself, to show the difference:
//! ```text
//! $ cargo run -p herd-policy --example axum_service -- --demo
//!               uncoordinated: 200 answers, of them stale: 0, calls to the origin: 200
//!               single-flight: 200 answers, of them stale: 0, calls to the origin: 1
//! single-flight, just expired: 200 answers, of them stale: 200, calls to the origin: 1
//! ```
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
//! `core` the state machine: `lookups` (first look, join, cancel), `waiters` (patience, leaving), `background` (refresh and
//! early flights) and `pauses` between them, `flight` (its state and operations), `steps` (from leadership to the origin),
//! `writes` (from its answer to the store), `leases` (acquire, renew, release), `answers` (who gets what). `layer` the
//! decisions in which layers differ, one file each. `action`, `outcome`, `error`, `config`, `ids`, `time` the vocabulary;
//! `chance` the numbers drawn from the seed; `slab` the tables.

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
pub use crate::layer::{admission, local, owner, prewarm};
pub use crate::outcome::{
    Cause, Failure, FetchOutcome, HolderFailure, LeaseOutcome, Life, ReadOutcome, Refusal, RenewOutcome,
    WriteOutcome,
};
pub use crate::time::Time;
