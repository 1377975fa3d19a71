//! Remembering that a row does not exist: a sentinel in the value's place, with a short TTL of its own.
//!
//! Bounds the queries for a missing key to one a sentinel's TTL (with the layers that coalesce its rebuild). It bounds
//! nothing for distinct keys that do not exist: see [`key_filter`](super::key_filter). A sentinel is written under the same
//! guard as a value: one whose origin was asked before the row was inserted is refused, since the insert moved the
//! generation.

use std::time::Duration;

use crate::action::HolderEnd;
use crate::config::Config;
use crate::outcome::HolderFailure;

/// The life of the sentinel to write for a row that does not exist; `None`: nothing is remembered.
pub(crate) fn sentinel_ttl(config: &Config) -> Option<Duration> {
    config.negative.map(|negative| negative.ttl)
}

/// What others who wait for the lease are told by a holder whose origin knows no such row. Where the sentinel was taken
/// they read: should the row be inserted before they are told, the store knows. Otherwise they share the answer, for
/// each asking the origin in its turn would be a serial herd; but only those who saw nothing newer than `generation`, which
/// the holder had seen when it asked.
pub(crate) fn holder_end(sentinel_taken: bool, generation: u64) -> HolderEnd {
    if sentinel_taken {
        HolderEnd::ValueWritten
    } else {
        HolderEnd::Failed(HolderFailure::NoSuchRow { generation })
    }
}
