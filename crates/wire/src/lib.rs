//! The protocol between Herdproof's processes: code generated from `proto/`, and the few rules that both ends share.
//!
//! It never does I/O, holds no policy and knows no process. It is the only crate that uses prost; others see tonic's
//! clients and servers and plain structs.
//!
//! - [`v1`]: the generated messages, clients and servers.
//! - [`key`]: what a key may look like.
//! - [`error`]: how an error crosses a process: status, source, and whether and when a retry makes sense.
//! - [`absent`]: what a NOT_FOUND says beside its message.
//! - [`served`]: which answers are plain hits.
//! - [`descriptors`]: the file descriptor set that gRPC reflection serves.

pub mod absent;
pub mod error;
pub mod key;
pub mod served;

/// Generated from `proto/herd/v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::large_futures, clippy::needless_pass_by_value)]
pub mod v1 {
    tonic::include_proto!("herd.v1");
}

/// The encoded file descriptor set of every service, for gRPC reflection.
#[must_use]
pub const fn descriptors() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/herd.fds"))
}
