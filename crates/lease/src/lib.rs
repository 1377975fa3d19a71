//! Leases, fencing tokens and epochs, without I/O: what a lock service decides, as plain data.
//!
//! A *lease* is the right to lead one name until it expires. Each grant carries a *fencing token* that is larger than
//! every token granted before, of any name; the store of values refuses a writer whose token is not larger than the
//! last one it accepted (Kleppmann, "How to do distributed locking", 2016). Tokens come from blocks that are reserved
//! in durable storage before any token of them is used, so a counter that restarts cannot hand out old ones. An
//! *epoch* numbers the lives of the lease store: it grows whenever the store came back without its data, so that a
//! writer from before is refused even though the slot that would have told on it is gone.
//!
//! This crate never does I/O, reads no clock and draws no randomness: time is an argument. It imports no other crate
//! of ours. Every table and queue has a limit.
//!
//! - [`id`]: tokens, epochs, time, and what names and owners may look like.
//! - [`store`]: [`LeaseStore`], the port that a lease store implements, and its messages.
//! - [`table`]: [`LeaseTable`], the rules of a lease store as a pure table.
//! - [`memory`]: [`MemoryStore`], the table behind the port, with a clock that a test turns by hand.
//! - [`tokens`]: [`TokenAllocator`], which hands out tokens from reserved blocks and says when it needs the next.
//! - [`fence`]: the rule that guards writes, and a store of values in memory that obeys it.
//! - [`arbiter`]: [`Arbiter`], who is granted next, who is told to read, who gives up: bounded waiting, sans-I/O.
//! - [`ending`]: [`HolderEnd`], how a holder ended.
//! - `conformance` (feature of the same name): the suite that every lease store passes.

pub mod arbiter;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod ending;
pub mod fence;
pub mod id;
pub mod memory;
pub mod store;
pub mod table;
pub mod tokens;

pub use arbiter::Arbiter;
pub use ending::{HolderEnd, HolderFailure};
pub use id::{Epoch, Time, Token};
pub use memory::MemoryStore;
pub use store::{Acquire, Acquired, Grant, LeaseStore, LeaseView, StoreError};
pub use table::LeaseTable;
pub use tokens::{Block, TokenAllocator};
