//! How an error crosses a process: a gRPC status plus whose fault it is and whether a retry makes sense.

use std::fmt;
use std::time::Duration;
use tonic::{Code, Status, metadata::MetadataValue};

/// Metadata key: whose fault an error is.
pub const SOURCE_HEADER: &str = "herd-source";
/// Metadata key: `true` if the same call may succeed when repeated.
pub const RETRYABLE_HEADER: &str = "herd-retryable";
/// Metadata key: how long whoever was refused for load should wait before a retry, milliseconds, decimal (the name is
/// gRPC's own, of its retry design).
pub const PUSHBACK_HEADER: &str = "grpc-retry-pushback-ms";

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorSource {
    /// The caller sent something wrong, or its own deadline passed.
    Client,
    /// A process of the tier itself: a node away, over a limit, or draining.
    Peer,
    /// The lock service.
    Lock,
    /// The origin or its database.
    Origin,
    /// Redis, as the store of values.
    Cache,
}

impl ErrorSource {
    /// The name that stands in metadata, JSON and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Peer => "peer",
            Self::Lock => "lock",
            Self::Origin => "origin",
            Self::Cache => "cache",
        }
    }

    /// Reads the source that a status carries, if it carries one.
    #[must_use]
    pub fn of(status: &Status) -> Option<Self> {
        let name = status.metadata().get(SOURCE_HEADER)?.to_str().ok()?;
        [Self::Client, Self::Peer, Self::Lock, Self::Origin, Self::Cache]
            .into_iter()
            .find(|source| source.as_str() == name)
    }
}

impl fmt::Display for ErrorSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Makes a status that says whose fault it is. Whether a retry makes sense follows from the code.
#[must_use]
pub fn status(code: Code, source: ErrorSource, message: impl Into<String>) -> Status {
    let mut status = Status::new(code, message);
    let metadata = status.metadata_mut();
    metadata.insert(SOURCE_HEADER, MetadataValue::from_static(source.as_str()));
    let retryable = if is_retryable_code(code) { "true" } else { "false" };
    metadata.insert(RETRYABLE_HEADER, MetadataValue::from_static(retryable));
    status
}

/// Whether repeating the call may help: what the status says, or, if it is silent, what its code suggests.
#[must_use]
pub fn is_retryable(status: &Status) -> bool {
    match status.metadata().get(RETRYABLE_HEADER).and_then(|v| v.to_str().ok()) {
        Some(said) => said == "true",
        None => is_retryable_code(status.code()),
    }
}

/// Says when a call that was refused for load may be tried again; at most 4,294,967,295 ms from now.
pub fn set_pushback(status: &mut Status, wait: Duration) {
    let millis = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
    status.metadata_mut().insert(PUSHBACK_HEADER, millis.into());
}

/// When a refused call may be tried again, if the status says so. gRPC's negative "never" reads as silence.
#[must_use]
pub fn pushback(status: &Status) -> Option<Duration> {
    let millis = status.metadata().get(PUSHBACK_HEADER)?.to_str().ok()?.parse::<u32>().ok()?;
    Some(Duration::from_millis(millis.into()))
}

const fn is_retryable_code(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Aborted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one process says about an error is what the next one reads.
    #[test]
    fn source_and_retryability_survive() {
        for source in [
            ErrorSource::Client,
            ErrorSource::Peer,
            ErrorSource::Lock,
            ErrorSource::Origin,
            ErrorSource::Cache,
        ] {
            let away = status(Code::Unavailable, source, "away");
            assert_eq!(ErrorSource::of(&away), Some(source));
            assert!(is_retryable(&away));
        }
        assert!(!is_retryable(&status(Code::NotFound, ErrorSource::Origin, "no such row")));
        assert_eq!(ErrorSource::of(&Status::unavailable("from elsewhere")), None);
    }

    /// Who is refused hears when to come back; silence, nonsense and "never" are no time to wait.
    #[test]
    fn pushback_survives() {
        let mut refused = status(Code::ResourceExhausted, ErrorSource::Origin, "too many");
        assert_eq!(pushback(&refused), None);
        for (wait, read) in [
            (Duration::from_millis(250), Duration::from_millis(250)),
            (Duration::MAX, Duration::from_millis(u32::MAX.into())),
        ] {
            set_pushback(&mut refused, wait);
            assert_eq!(pushback(&refused), Some(read));
        }
        for nonsense in ["-1", "soon", ""] {
            refused.metadata_mut().insert(PUSHBACK_HEADER, nonsense.parse().unwrap());
            assert_eq!(pushback(&refused), None, "{nonsense}");
        }
    }
}
