//! What happened in a run: operations, ledger rows, faults; versioned on disk.
//!
//! A run's folder is written by [`Writer`] while the run goes on, under `NAME.partial`, and renamed to `NAME` when
//! it is whole; [`Reader`] reads either, so that a run cut off by a crash can still be looked at and judged (as far as it came).
//!
//! ```text
//! manifest.json             format version, scenario text, seed, overrides, versions     (Manifest)
//! rungs.json                windows, prefix, configuration, nodes, load                  ([RungRecord])
//! operations-<rung>.jsonl   one line a request that the generator sent                   (OperationRecord)
//! ledger-<rung>.jsonl       one line a rebuild that the origin started                   (LedgerRow)
//! writes-<rung>.jsonl       one line a write that the store decided, as it recorded it   (StoreWriteRecord)
//! inserts-<rung>.jsonl      one line a row that the generator inserted, if it did        (InsertRecord)
//! faults.jsonl              one line a step of a fault                                   (FaultRecord)
//! traced.jsonl              one line a fetch in the run's traces, if all were kept       (TracedRecord)
//! ```
//!
//! All times are Unix microseconds. Unknown fields are ignored and optional fields have defaults, so that a history of
//! the same format version stays readable; a newer format version is refused by name.
//!
//! What it never does: judge, read a clock, or know the wire protocol.
//!
//! Map: `record` the rows · `beside` those of what happens beside them · `join` start and end events to rebuilds · `write` the folder being written · `read` the
//! folder being read · `lines` bounded lines of JSON · `error` what can go wrong.

mod beside;
mod error;
mod join;
mod lines;
mod read;
mod record;
mod write;

pub use beside::{
    DeployRecord, InsertRecord, MembershipRecord, StartRecord, StoreWriteKind, StoreWriteRecord,
    StoreWriteVerdict, TracedRecord,
};
pub use error::HistoryError;
pub use join::{Ended, LedgerJoiner};
pub use lines::LINE_BYTES_MAX;
pub use read::{History, Reader, RungHistory};
pub use record::{
    FORMAT_VERSION, FaultPhase, FaultRecord, FetchOutcome, LedgerRow, LedgerSpan, LoadRecord, Manifest,
    OperationRecord, Outcome, Reason, RungRecord, Served,
};
pub use write::Writer;
