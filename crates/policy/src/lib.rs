//! What a cache node does with each lookup: a sans-I/O core of stampede guards.

mod action;
mod config;
mod core;
mod error;
mod ids;
mod outcome;
mod time;

pub use crate::action::{Action, Answer, Ending, Reason, Serve, Served, Summary};
pub use crate::config::{Coalescing, Config, Limits, LockConfig, OnUnavailable, OnWaitTimeout, WriteGuard};
pub use crate::core::Core;
pub use crate::error::{Error, Limit, Part};
pub use crate::ids::{Lease, LookupId, OpId, Owner, RebuildId};
pub use crate::outcome::{
    Cause, Failure, FetchOutcome, LeaseOutcome, ReadOutcome, Refusal, RenewOutcome, WriteOutcome,
};
pub use crate::time::Time;
