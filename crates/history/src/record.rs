//! The rows of a history. JSON field names of the two long files are short: a run has hundreds of thousands of lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::beside::{DeployRecord, MembershipRecord, StartRecord};

/// The format that this build writes. A reader refuses a larger one.
pub const FORMAT_VERSION: u32 = 2;

/// What was run. Written first, before anything is driven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// Version of the build that wrote it.
    pub herd_version: String,
    /// The scenario's name.
    pub name: String,
    /// The scenario file as the user named it, for messages.
    pub scenario_file: String,
    /// The scenario's TOML, whole: a run can be judged again without its file.
    pub scenario_text: String,
    /// The seed that was used, after overrides.
    pub seed: u64,
    /// `processes`, `compose` or `simulation`.
    pub backend: String,
    /// Cache nodes that the run asked for, after overrides.
    pub nodes: u32,
    /// Names of the rungs that were to be driven, in order, after overrides.
    pub rungs: Vec<String>,
    /// When the run began, Unix microseconds.
    pub started_us: u64,
    /// Every other drawn or chosen option, by name.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// One stage of the run. Written when the stage is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RungRecord {
    /// The rung's name in the scenario.
    pub name: String,
    /// Its layers by name, from the inside out.
    pub layers: Vec<String>,
    /// The key prefix of this rung: no rung sees the values of another.
    pub prefix: String,
    /// The configuration version that was in force.
    pub config_version: u64,
    /// Start of the window: the intended time of arrival offset 0, Unix microseconds.
    pub window_start_us: u64,
    /// End of the window: no request was intended later, Unix microseconds.
    pub window_end_us: u64,
    /// Cache nodes that the scenario asks for.
    pub nodes_expected: u32,
    /// Cache nodes that were joined when the window began.
    pub nodes_joined: u32,
    /// Cache nodes (of the joined ones) that had acknowledged the configuration when the window began.
    pub nodes_acknowledged: u32,
    /// Cache nodes that were joined when the load had ended; absent in runs of builds that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_joined_end: Option<u32>,
    /// Whether any member came or went while the load ran, even if it came back; absent in runs of builds that did
    /// not record it, which noted such a change in `notes` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership_changed: Option<bool>,
    /// How the rung's keys began.
    #[serde(default)]
    pub start: StartRecord,
    /// Changes of the membership that the scenario asked for, in order of time: the nodes went on running.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub membership: Vec<MembershipRecord>,
    /// Every node that joined or left by itself, in order of time: restarted, killed, or not heard of for too long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved: Vec<MembershipRecord>,
    /// The change of the key prefix in the middle of the rung, if the scenario asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<DeployRecord>,
    /// Whether `writes-<rung>.jsonl` holds every write that the store decided under this rung's prefixes.
    #[serde(default)]
    pub writes_complete: bool,
    /// The load.
    pub load: LoadRecord,
    /// Which part of the ledger `ledger-<rung>.jsonl` holds.
    pub ledger: LedgerSpan,
    /// Anything that a reader of the report should know.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl RungRecord {
    /// How the note of a membership that changed begins.
    pub const MEMBERSHIP_NOTE: &'static str = "the membership changed while the load ran";

    /// Whether the membership was recorded to have changed while the load ran.
    #[must_use]
    pub fn has_changed_membership(&self) -> bool {
        self.membership_changed == Some(true)
            || self.nodes_joined_end.is_some_and(|end| end != self.nodes_joined)
            || self.notes.iter().any(|note| note.starts_with(Self::MEMBERSHIP_NOTE))
    }
}

/// What the generator did in a rung.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadRecord {
    /// Arrivals that the seed drew for the window.
    pub offered: u64,
    /// Arrivals that were sent. Each has one line in `operations-<rung>.jsonl`.
    pub sent: u64,
    /// Arrivals that could not be sent (a limit of the generator).
    pub unsent: u64,
    /// `offered` per second of the window.
    pub offered_per_s: f64,
    /// `sent` per second of the window.
    pub sent_per_s: f64,
    /// Send time minus intended time, median, microseconds.
    pub lag_p50_us: u64,
    /// The same, 99th percentile.
    pub lag_p99_us: u64,
    /// The same, largest.
    pub lag_max_us: u64,
}

/// Which part of the origin's ledger a rung's file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerSpan {
    /// First sequence number asked for; 0 if the span is empty.
    pub first_seq: u64,
    /// Last sequence number received; `first_seq - 1` if there was none.
    pub last_seq: u64,
    /// Sequence numbers of end events whose start lies before the span (bounded: the first 1,000).
    #[serde(default)]
    pub foreign_ends: Vec<u64>,
}

/// One request that the generator sent. Times are the lab's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationRecord {
    /// The arrival's number in the rung, from 0, unique.
    #[serde(rename = "n")]
    pub seq: u64,
    /// The row's key, without prefix.
    #[serde(rename = "k")]
    pub key: String,
    /// When the seed wanted it sent, Unix microseconds. Latency counts from here.
    #[serde(rename = "i")]
    pub intended_us: u64,
    /// When it was sent, Unix microseconds.
    #[serde(rename = "s")]
    pub sent_us: u64,
    /// When the answer or the error was there, Unix microseconds.
    #[serde(rename = "d")]
    pub done_us: u64,
    /// How it ended.
    #[serde(rename = "o")]
    pub outcome: Outcome,
    /// How an answer came about.
    #[serde(rename = "v", default, skip_serializing_if = "Served::is_unknown")]
    pub served: Served,
    /// Generation of the value; 0 with an error.
    #[serde(rename = "g", default, skip_serializing_if = "is_zero")]
    pub generation: u64,
    /// The row's version in the origin; 0 with an error.
    #[serde(rename = "r", default, skip_serializing_if = "is_zero")]
    pub version: u64,
    /// Age of the value when served, milliseconds.
    #[serde(rename = "a", default, skip_serializing_if = "is_zero")]
    pub age_ms: u64,
    /// The configuration under which the node served it.
    #[serde(rename = "c", default, skip_serializing_if = "is_zero")]
    pub config_version: u64,
    /// The node that answered.
    #[serde(rename = "h", default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// The request's reference (trace id); may be left out for plain hits.
    #[serde(rename = "t", default, skip_serializing_if = "String::is_empty")]
    pub reference: String,
    /// Trace of the rebuild that it led or waited for.
    #[serde(rename = "b", default, skip_serializing_if = "String::is_empty")]
    pub rebuild_trace: String,
    /// What an error said, cut to 200 characters.
    #[serde(rename = "e", default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Times it was sent, retries included, from 1.
    #[serde(rename = "y", default = "one", skip_serializing_if = "is_one")]
    pub attempts: u32,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A value.
    Answered,
    /// The row does not exist.
    NotFound,
    /// The request was refused as malformed.
    InvalidArgument,
    /// A part was away.
    Unavailable,
    /// The deadline passed.
    DeadlineExceeded,
    /// Over a limit.
    ResourceExhausted,
    /// Cancelled on the way.
    Cancelled,
    /// Any other error.
    Failed,
    /// The client hung up because the scenario told it to: no error of the fleet.
    HungUp,
}

/// How an answer came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Served {
    /// Not said.
    #[default]
    Unknown,
    /// Fresh at the first look.
    Hit,
    /// This request's flight rebuilt it.
    Led,
    /// Joined a flight in its own process.
    Waited,
    /// Waited for another process's rebuild, then read it.
    WaitedFleet,
    /// Won leadership or a lease, looked again, found it fresh.
    SecondLook,
    /// Rebuilt alone.
    Uncoordinated,
    /// An expired value within its grace.
    Stale,
    /// The remembered absence of a row; stands with [`Outcome::NotFound`].
    Negative,
    /// The filter of existing keys does not know the key; stands with [`Outcome::NotFound`].
    Filtered,
    /// Fresh in the process's own tier.
    HitLocal,
}

impl Served {
    fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }

    /// Whether the first look found something to serve: everything else counts as a miss.
    #[must_use]
    pub fn is_hit(self) -> bool {
        matches!(self, Self::Hit | Self::HitLocal | Self::Stale | Self::Negative | Self::Filtered)
    }
}

/// One rebuild as the origin recorded it: start and end events joined. Times are the origin's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// Sequence number of the start event; names the rebuild.
    #[serde(rename = "n")]
    pub rebuild: u64,
    /// Sequence number of the end event; absent if the rebuild never ended.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub end_seq: Option<u64>,
    /// The row's key, without prefix.
    #[serde(rename = "k")]
    pub key: String,
    /// The full key in the cache: prefix and key.
    #[serde(rename = "ck")]
    pub cache_key: String,
    /// The generation that the caller saw expire; 0 where there was none.
    #[serde(rename = "g")]
    pub generation: u64,
    /// The node that asked.
    #[serde(rename = "h")]
    pub node: String,
    /// Why it asked.
    #[serde(rename = "w")]
    pub reason: Reason,
    /// Fencing token; 0 without a lease.
    #[serde(rename = "t", default, skip_serializing_if = "is_zero")]
    pub token: u64,
    /// Epoch of the lease; 0 without one.
    #[serde(rename = "p", default, skip_serializing_if = "is_zero")]
    pub epoch: u64,
    /// The configuration under which the node asked.
    #[serde(rename = "c", default, skip_serializing_if = "is_zero")]
    pub config_version: u64,
    /// The rebuild's trace, 32 hexadecimal digits; empty if the caller sent none.
    #[serde(rename = "x", default, skip_serializing_if = "String::is_empty")]
    pub trace: String,
    /// Start, Unix microseconds.
    #[serde(rename = "s")]
    pub start_us: u64,
    /// End, Unix microseconds.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub end_us: Option<u64>,
    /// How it ended.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<FetchOutcome>,
    /// The row's version that was fetched.
    #[serde(rename = "r", default, skip_serializing_if = "is_zero")]
    pub version: u64,
    /// Waited for a connection of the pool, microseconds.
    #[serde(rename = "q", default, skip_serializing_if = "is_zero")]
    pub queued_us: u64,
    /// From start to end, microseconds.
    #[serde(rename = "l", default, skip_serializing_if = "is_zero")]
    pub worked_us: u64,
    /// Of that, waited at the origin's gate, microseconds.
    #[serde(rename = "f", default, skip_serializing_if = "is_zero")]
    pub gate_us: u64,
}

/// Why a node asked the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Not said.
    #[default]
    Unknown,
    /// No layer stood between the miss and the origin.
    Uncoordinated,
    /// Leads its process, no fleet lock configured.
    FlightLeader,
    /// Leads the fleet.
    LeaseHolder,
    /// The lock service was away.
    FailOpen,
    /// Gave up waiting for the holder.
    WaitTimeout,
    /// A second attempt after a failed one in the same flight.
    Retry,
    /// Background refresh of a stale value.
    Refresh,
    /// Early expiration.
    Early,
    /// Pre-warm or fill.
    Warm,
}

impl Reason {
    /// The name as it stands in reports: `lease_holder`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Uncoordinated => "uncoordinated",
            Self::FlightLeader => "flight_leader",
            Self::LeaseHolder => "lease_holder",
            Self::FailOpen => "fail_open",
            Self::WaitTimeout => "wait_timeout",
            Self::Retry => "retry",
            Self::Refresh => "refresh",
            Self::Early => "early",
            Self::Warm => "warm",
        }
    }
}

/// How a rebuild ended at the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FetchOutcome {
    /// The row was returned.
    Fetched,
    /// There is no such row.
    NoSuchRow,
    /// The query failed.
    Failed,
    /// The caller hung up or its deadline passed.
    Cancelled,
    /// Refused at the gate: no origin work was done.
    Rejected,
}

/// One step of a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// Unix microseconds.
    pub at_us: u64,
    /// The rung during which it happened.
    pub rung: String,
    /// The fault's name in the scenario.
    pub fault: String,
    /// Its kind, such as `pause`; empty in runs of builds that did not record it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Counts the fault's repetitions, from 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub turn: u64,
    /// What it was done to: a part, for a cache node its instance as in `node` elsewhere, for several `all`. One step for each.
    pub target: String,
    /// Which step.
    pub phase: FaultPhase,
    /// How many it hit, where that counts: requests that were hung up, queries that hang, connections of a link.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hit: u64,
    /// What was seen.
    #[serde(default)]
    pub note: String,
}

/// The steps of a fault, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultPhase {
    /// Was set off.
    Injected,
    /// Was seen to have taken effect.
    Confirmed,
    /// Could not be seen to have taken effect: the run is unknown.
    Unconfirmed,
    /// Was undone.
    Repaired,
    /// The fleet was seen to work again.
    Recovered,
    /// Could not be undone, or the fleet was not seen to work again in time: the run is unknown.
    Unrecovered,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_one(value: &u32) -> bool {
    *value == 1
}

pub(crate) fn is_zero(value: &u64) -> bool {
    *value == 0
}
