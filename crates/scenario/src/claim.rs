//! What is claimed about the rungs of an experiment.

use std::fmt;

use crate::fault::Phase;
use crate::model::Expect;
use crate::named::{Named, named};

/// One statement that the judge holds against the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The rung it is about; every rung if absent.
    pub rung: Option<String>,
    /// What is counted.
    pub property: Property,
    /// Over what it is counted.
    pub scope: Scope,
    /// The part of the rung that counts; all of it if absent. Only for properties of which [`Property::has_phases`] says so.
    pub phase: Option<Phase>,
    /// The verdict that the author expects. `invalid` in a contrast: without the cure, the claim is refuted.
    pub expect: Expect,
    /// The bound.
    pub at_most: AtMost,
}

impl Claim {
    /// Whether it is about the time around faults, and so about nothing where none happens.
    pub(crate) fn needs_fault(&self) -> bool {
        self.phase.is_some() || matches!(self.property, Property::RecoveryMs | Property::TakeoverMs)
    }
}

/// What a claim counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// Rebuilds that the origin started for one boundary. Scopes `fleet` and `process`.
    RebuildsPerBoundary,
    /// Rebuilds of one key under way at the same instant, of cold keys and of rows that do not exist too. Scopes `fleet` and `process`.
    ConcurrentRebuilds,
    /// Answers older than one that was already given before the request was sent. Scope `fleet`.
    AnswersNeverGoBack,
    /// Requests without exactly one good answer. That a row does not exist is a good answer to who asked for one that does not. Scope
    /// `fleet`.
    EveryRequestAnswered,
    /// Writes that the store took for one generation of a key. Scope `fleet`.
    AcceptedWritesPerGeneration,
    /// Writes that the store took after one of a newer version or token. Scope `fleet`.
    StaleWrites,
    /// Answers older than the TTL, or than TTL and grace where they may be stale. Scope `fleet`.
    StaleBeyondBound,
    /// Reads that waited for a rebuild. Scope `wait`.
    ReadersWaited,
    /// The longest that a read waited, milliseconds. Scope `wait`.
    LongestWaitMs,
    /// Origin queries for one key that does not exist within one negative TTL. Scopes `negative` and `process`.
    NegativeQueries,
    /// Origin queries for keys that do not exist, all of the rung. Scope `negative`.
    AbsentKeyQueries,
    /// Answers that a row does not exist, to requests sent after its insertion was acknowledged. Scope `negative`.
    AbsenceOutlivesInsert,
    /// Keys that expired within one bucket of time; each counts once. Scope `keys`.
    HighestBucket,
    /// Early rebuilds of a hot key, on average over its lives, in hundredths. Scope `fleet`.
    EarlyRebuildsPerWindow,
    /// Fetches at work at the origin at once. Scope `overload`.
    OriginInFlight,
    /// Requests inside the edge's gate at once, those that can be proved. Scope `overload`.
    EdgeInFlight,
    /// Times sent for each hundred requests, retries included. Scope `overload`.
    SendsPerHundredRequests,
    /// The origin's query rate repeats with the TTL: how much of it does, in hundredths of a pure sawtooth. Scope `fleet`.
    Sawtooth,
    /// Rebuilds of a key of which nothing was cached; of a row that does not exist those under way at once. Scopes `fleet` and `process`.
    ColdFills,
    /// Origin queries in all. Scope `fleet`.
    OriginQueries,
    /// Rebuilds of a key by one process while the origin fails. Scopes `process` and `fleet`.
    RebuildsWhileFailing,
    /// Reads in a hundred that missed. Scope `keys`.
    MissPercent,
    /// Requests, rebuilds and writes that one record has and another lacks. Scope `fleet`.
    RecordsDisagree,
    /// Reads in a hundred, by intended time, that got no good answer within the request's deadline, rounded up. Scope `overload`.
    GoodputLostPercent,
    /// 99th percentile of the latency of all reads, milliseconds, rounded up; what failed counts with its time. Scope `wait`.
    LatencyP99Ms,
    /// From the last repair until goodput is, for good, at least nine tenths of what it was before the first injection,
    /// milliseconds. Scope `overload`.
    RecoveryMs,
    /// Fencing tokens under which two different rebuilds asked the origin. Scope `fleet`.
    RepeatedTokens,
    /// From the end of a lock holder that a fault killed or cut off until the next rebuild of its key starts, milliseconds, the
    /// longest. Scope `fleet`.
    TakeoverMs,
}

/// Over what a claim counts, which is the scope that a layer bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Within each process.
    Process,
    /// Over all processes.
    Fleet,
    /// Over waiters.
    Wait,
    /// Over distinct keys.
    Keys,
    /// Over keys that do not exist.
    Negative,
    /// Under more load than the origin carries.
    Overload,
}

/// The bound of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtMost {
    /// What theory gives for the rung's layers; the judge computes it.
    Theory,
    /// A number.
    Number(u64),
}

impl Property {
    /// The scopes over which this property can be counted.
    #[must_use]
    pub fn scopes(self) -> &'static [Scope] {
        match self {
            Self::RebuildsPerBoundary | Self::ConcurrentRebuilds => &[Scope::Fleet, Scope::Process],
            Self::ColdFills | Self::RebuildsWhileFailing => &[Scope::Fleet, Scope::Process],
            Self::AnswersNeverGoBack
            | Self::EveryRequestAnswered
            | Self::AcceptedWritesPerGeneration
            | Self::StaleWrites
            | Self::StaleBeyondBound
            | Self::EarlyRebuildsPerWindow
            | Self::Sawtooth
            | Self::OriginQueries
            | Self::RecordsDisagree
            | Self::RepeatedTokens
            | Self::TakeoverMs => &[Scope::Fleet],
            Self::ReadersWaited | Self::LongestWaitMs | Self::LatencyP99Ms => &[Scope::Wait],
            Self::NegativeQueries => &[Scope::Negative, Scope::Process],
            Self::AbsentKeyQueries | Self::AbsenceOutlivesInsert => &[Scope::Negative],
            Self::HighestBucket | Self::MissPercent => &[Scope::Keys],
            Self::OriginInFlight
            | Self::EdgeInFlight
            | Self::SendsPerHundredRequests
            | Self::GoodputLostPercent
            | Self::RecoveryMs => &[Scope::Overload],
        }
    }

    /// Whether theory bounds it by the rung's layers. Where it does not, a claim has to give a number.
    #[must_use]
    pub fn has_theory(self) -> bool {
        !matches!(self, Self::GoodputLostPercent | Self::LatencyP99Ms | Self::RecoveryMs)
    }

    /// Whether it can be counted before, during or after the faults alone.
    #[must_use]
    pub fn has_phases(self) -> bool {
        matches!(
            self,
            Self::RebuildsPerBoundary
                | Self::EveryRequestAnswered
                | Self::ReadersWaited
                | Self::LongestWaitMs
                | Self::OriginQueries
                | Self::MissPercent
                | Self::GoodputLostPercent
                | Self::LatencyP99Ms
        )
    }
}

named!(Property {
    "rebuilds_per_boundary" => RebuildsPerBoundary,
    "concurrent_rebuilds" => ConcurrentRebuilds,
    "answers_never_go_back" => AnswersNeverGoBack,
    "every_request_answered" => EveryRequestAnswered,
    "accepted_writes_per_generation" => AcceptedWritesPerGeneration,
    "stale_writes" => StaleWrites,
    "stale_beyond_bound" => StaleBeyondBound,
    "readers_waited" => ReadersWaited,
    "longest_wait_ms" => LongestWaitMs,
    "negative_queries" => NegativeQueries,
    "absent_key_queries" => AbsentKeyQueries,
    "absence_outlives_insert" => AbsenceOutlivesInsert,
    "highest_bucket" => HighestBucket,
    "early_rebuilds_per_window" => EarlyRebuildsPerWindow,
    "origin_in_flight" => OriginInFlight,
    "edge_in_flight" => EdgeInFlight,
    "sends_per_hundred_requests" => SendsPerHundredRequests,
    "sawtooth" => Sawtooth,
    "cold_fills" => ColdFills,
    "origin_queries" => OriginQueries,
    "rebuilds_while_failing" => RebuildsWhileFailing,
    "miss_percent" => MissPercent,
    "records_disagree" => RecordsDisagree,
    "goodput_lost_percent" => GoodputLostPercent,
    "latency_p99_ms" => LatencyP99Ms,
    "recovery_ms" => RecoveryMs,
    "repeated_tokens" => RepeatedTokens,
    "takeover_ms" => TakeoverMs,
});
named!(Scope {
    "process" => Process,
    "fleet" => Fleet,
    "wait" => Wait,
    "keys" => Keys,
    "negative" => Negative,
    "overload" => Overload,
});
