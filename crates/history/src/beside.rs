//! The rows of what happens beside the requests and rebuilds of a rung: how its keys began, what changed meanwhile, which rows
//! were inserted, what the store decided.

use serde::{Deserialize, Serialize};

use crate::record::{Outcome, is_zero};

/// How a rung's keys began.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "start")]
pub enum StartRecord {
    /// Every key was read once before the window.
    #[default]
    Warm,
    /// Nothing was cached.
    Cold,
    /// The most read keys of an access log were filled, and a gate decided whether traffic might come.
    Prewarmed {
        /// Keys replayed.
        keys: u64,
        /// Keys that were in the cache when the gate looked.
        filled: u64,
        /// The hit rate that the gate measured over the log's own reads, 0 to 1.
        hit_rate: f64,
        /// The hit rate that it asks for, 0 to 1.
        wanted: f64,
        /// Whether it opened.
        opened: bool,
        /// Why, in words.
        why: String,
        /// From the first key to the gate's word, milliseconds.
        took_ms: u64,
    },
}

/// One change of the membership that the scenario asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipRecord {
    /// When the control plane told the edges, Unix microseconds.
    pub at_us: u64,
    /// The node.
    pub node: String,
    /// Whether it left (it goes on running) or came back.
    pub left: bool,
}

/// A change of the key prefix in the middle of a rung. Times are the lab's clock, Unix microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeployRecord {
    /// `bump` or `versioned`.
    pub strategy: String,
    /// The prefix that was switched to.
    pub prefix: String,
    /// The configuration version that announced the new prefix, still under the old one; 0 without an announcement.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub announced_version: u64,
    /// The configuration version with the new prefix.
    pub config_version: u64,
    /// When the background fill began; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill_began_us: Option<u64>,
    /// When the new prefix was published; absent if the deploy was stopped before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched_us: Option<u64>,
    /// When the old keys were retired; absent if they were left to expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_us: Option<u64>,
    /// Keys that the fill was to bring.
    pub fill_keys: u64,
    /// Keys that it brought.
    pub filled: u64,
    /// How often the fill paused because the origin was busy.
    pub pauses: u64,
    /// How it went, in words.
    pub why: String,
}

/// One row that the generator inserted or changed. Times are the lab's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsertRecord {
    /// Its number in the rung, from 0, unique.
    #[serde(rename = "n")]
    pub seq: u64,
    /// The row's key, without prefix.
    #[serde(rename = "k")]
    pub key: String,
    /// When it was sent, Unix microseconds.
    #[serde(rename = "s")]
    pub sent_us: u64,
    /// When it was acknowledged or had failed, Unix microseconds.
    #[serde(rename = "d")]
    pub done_us: u64,
    /// How it ended: [`Outcome::Answered`] is the acknowledgement.
    #[serde(rename = "o")]
    pub outcome: Outcome,
    /// The row's new version; 0 with an error.
    #[serde(rename = "r", default, skip_serializing_if = "is_zero")]
    pub version: u64,
    /// What an error said, cut to 200 characters.
    #[serde(rename = "e", default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// One write as the store itself recorded it, in the order of its decisions. Times are the store's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreWriteRecord {
    /// Unix microseconds.
    #[serde(rename = "u")]
    pub at_us: u64,
    /// The row's key, without prefix.
    #[serde(rename = "k")]
    pub key: String,
    /// The prefix under which it was written.
    #[serde(rename = "px")]
    pub prefix: String,
    /// The generation that the value became, or would have become.
    #[serde(rename = "g")]
    pub generation: u64,
    /// Fencing token; 0 without a lease.
    #[serde(rename = "t", default, skip_serializing_if = "is_zero")]
    pub token: u64,
    /// Epoch of the lease; 0 without one.
    #[serde(rename = "p", default, skip_serializing_if = "is_zero")]
    pub epoch: u64,
    /// The row's version as the writer had fetched it; 0 for a deletion or an absence.
    #[serde(rename = "r", default, skip_serializing_if = "is_zero")]
    pub version: u64,
    /// Trace of the rebuild.
    #[serde(rename = "x", default, skip_serializing_if = "String::is_empty")]
    pub trace: String,
    /// Who wrote.
    #[serde(rename = "h")]
    pub node: String,
    /// What was written.
    #[serde(rename = "w")]
    pub kind: StoreWriteKind,
    /// What the store decided.
    #[serde(rename = "o")]
    pub verdict: StoreWriteVerdict,
}

/// A fetch as the origin's own span told it to whoever kept the run's traces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedRecord {
    /// Its number in the ledger.
    #[serde(rename = "n")]
    pub rebuild: u64,
    /// The trace in which it took place.
    #[serde(rename = "x")]
    pub trace: String,
    /// When it ended, Unix microseconds.
    #[serde(rename = "d")]
    pub done_us: u64,
}

/// What a write was of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreWriteKind {
    /// A rebuilt value.
    Value,
    /// The sentinel of a row that does not exist.
    Absence,
    /// A deletion.
    Deletion,
}

/// What the store decided about a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreWriteVerdict {
    /// Taken.
    Accepted,
    /// Refused: the store lost its data, and no epoch is set yet.
    EpochMissing,
    /// Refused: granted before the store lost its data.
    EpochOld,
    /// Refused: somebody wrote or deleted the key meanwhile.
    GenerationMoved,
    /// Refused: a later holder already wrote.
    TokenOld,
}
