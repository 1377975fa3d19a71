//! The spans of a run: received over OTLP, kept in its folder as OTLP JSON, and read again.
//!
//! ```text
//! spans-<rung>.json   {"resourceSpans":[ .. ]}, one line for what one process sent at once; Jaeger's upload reads it
//! spans.kept.json     what is in them and what is not ([`Kept`])
//! traced.jsonl        the fetches that the origin's spans tell of ([`FETCHES_FILE`])
//! ```
//!
//! A file that a crash cut off lacks its last line and is read all the same. All files of a run together stay below
//! [`BYTES_MAX`], and none is larger than [`FILE_BYTES_MAX`], which a browser can load: each rung has its share of what is
//! left. Where a share becomes scarce, new trees of requests are left out before rebuilds are, and what is left out is
//! counted.
//!
//! It knows OTLP and nothing of caches but which service's spans are requests. It never judges: the history does that.
//!
//! - [`json`]: spans in OTLP's JSON encoding, as far as ours need it.
//! - `keep`: [`Keeper`], the files being written.
//! - `receive`: [`Receiver`], the server that processes export to.
//! - `read`: [`Spans`], the files read again.
//! - `tree`: [`Tree`], one trace of them.

pub mod json;
mod keep;
mod read;
mod receive;
mod tree;

pub use keep::{BYTES_MAX, FETCHES_FILE, FILE_BYTES_MAX, Keeper, Kept, KeptFile, SUMMARY_FILE};
pub use read::{Found, Meant, PREFIX_MIN, ReadError, Spans};
pub use receive::Receiver;
pub use tree::{Node, Tree};
