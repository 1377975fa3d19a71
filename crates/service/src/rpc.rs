//! Channels to peers, and the deadline that every call has.

use herd_wire::error::{ErrorSource, status};
use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::time::{Duration, Instant};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// Metadata key of the time a caller still has.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";

/// No call may take longer than this, whatever its caller says.
pub const DEADLINE_MAX: Duration = Duration::from_secs(600);

/// How long connecting to a peer may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How often an open connection is checked, and how long the peer may take to answer. Together they bound how long a paused
/// peer goes unnoticed; the answer's limit is generous because a false alarm ends every call on the connection.
pub(crate) const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(2);
pub(crate) const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(4);

/// Flow-control windows, bytes: of one call, and of all calls on a connection.
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 8 << 20;

/// A peer's address: `http://HOST:PORT`, checked when it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerUrl {
    uri: http::Uri,
    host: String,
    port: u16,
}

/// Why a text is not a [`PeerUrl`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not of the form http://HOST:PORT")]
pub struct InvalidUrl {
    text: String,
}

impl PeerUrl {
    /// The peer at `address`, which is `HOST:PORT`.
    ///
    /// # Errors
    /// The address has another form.
    pub fn of_address(address: &str) -> Result<Self, InvalidUrl> {
        format!("http://{address}").parse()
    }

    /// A channel that connects when it is first used, and again whenever the connection broke.
    ///
    /// Must be called inside a tokio runtime. Calls on a broken connection fail at once with UNAVAILABLE.
    #[must_use]
    pub fn channel(&self) -> Channel {
        Endpoint::from(self.uri.clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
            .keep_alive_timeout(KEEP_ALIVE_ANSWER)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            // A crowd of callers that hang up at once leaves that many reset streams behind.
            .http2_max_local_error_reset_streams(None)
            .buffer_size(16_384)
            .connect_lazy()
    }

    /// Host name or address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for PeerUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let invalid = || InvalidUrl { text: text.to_owned() };
        let uri: http::Uri = text.trim_end_matches('/').parse().map_err(|_| invalid())?;
        let plain =
            uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/") && uri.query().is_none();
        let authority = uri.authority().filter(|_| plain).ok_or_else(invalid)?;
        let port = authority.port_u16().filter(|port| *port != 0).ok_or_else(invalid)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(invalid());
        }
        Ok(Self { uri, host, port })
    }
}

impl fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.uri.to_string().trim_end_matches('/'))
    }
}

/// A lazily connecting channel to `http://HOST:PORT`; see [`PeerUrl::channel`].
///
/// # Errors
/// The URL has another form.
pub fn channel(url: &str) -> Result<Channel, InvalidUrl> {
    Ok(url.parse::<PeerUrl>()?.channel())
}

/// When a request must be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline `budget` from now, at most [`DEADLINE_MAX`].
    #[must_use]
    pub fn after(budget: Duration) -> Self {
        Self(Instant::now() + budget.min(DEADLINE_MAX))
    }

    /// The deadline that a caller's `grpc-timeout` sets, else `default` from now; at most [`DEADLINE_MAX`].
    #[must_use]
    pub fn from_metadata(metadata: &MetadataMap, default: Duration) -> Self {
        let said =
            metadata.get(GRPC_TIMEOUT).and_then(|value| value.to_str().ok()).and_then(parse_grpc_timeout);
        Self::after(said.unwrap_or(default))
    }

    /// The instant itself.
    #[must_use]
    pub const fn instant(&self) -> Instant {
        self.0
    }

    /// What is left; zero when it has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.remaining().is_zero()
    }

    /// Sets what is left as the `grpc-timeout` of a call.
    ///
    /// # Errors
    /// DEADLINE_EXCEEDED when nothing is left: the call is not worth making.
    pub fn apply<T>(&self, request: &mut tonic::Request<T>) -> Result<(), Box<Status>> {
        let remaining = self.remaining();
        if remaining.is_zero() {
            return Err(Box::new(deadline_exceeded()));
        }
        let text = grpc_timeout_text(remaining);
        let mut value = MetadataValue::try_from(text.as_str()).expect("digits and a unit are a header value");
        // Rarely twice the same: kept out of the connection's header table, where it would only push others out.
        value.set_sensitive(true);
        request.metadata_mut().insert(GRPC_TIMEOUT, value);
        Ok(())
    }

    /// Waits for a call, no longer than the deadline.
    ///
    /// [`Self::apply`] alone is not enough: a call that still waits for a connection has no timer yet.
    ///
    /// # Errors
    /// The call's own status, or DEADLINE_EXCEEDED.
    pub async fn within<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        tokio::time::timeout_at(self.0.into(), call).await.unwrap_or_else(|_| Err(deadline_exceeded()))
    }
}

/// The status of a request whose own deadline passed.
#[must_use]
pub fn deadline_exceeded() -> Status {
    status(Code::DeadlineExceeded, ErrorSource::Client, "the request's deadline passed")
}

/// What happened to a call that ended without a good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// The peer answered, with an error.
    Answered,
    /// No connection could be made: the peer never saw the request.
    Unreachable,
    /// The connection broke under the request: the peer may have acted on it.
    Broken,
    /// No answer in time: the peer may have acted on it.
    TimedOut,
}

impl CallFailure {
    /// Reads it from the status that a tonic client returned.
    #[must_use]
    pub fn of(error: &Status) -> Self {
        let mut cause = std::error::Error::source(error);
        if cause.is_none() {
            return Self::Answered;
        }
        while let Some(error) = cause {
            if error.is::<tonic::ConnectError>() {
                return Self::Unreachable;
            }
            if error.is::<tonic::TimeoutExpired>() {
                return Self::TimedOut;
            }
            cause = error.source();
        }
        Self::Broken
    }
}

/// Whether the peer on this channel says, within `limit`, that it serves (gRPC health checking).
pub async fn is_serving(channel: &Channel, limit: Duration) -> bool {
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    };
    let mut client = HealthClient::new(channel.clone());
    let check = client.check(HealthCheckRequest { service: String::new() });
    match tokio::time::timeout(limit, check).await {
        Ok(Ok(answer)) => answer.get_ref().status() == ServingStatus::Serving,
        _ => false,
    }
}

/// Makes what a call to a peer came back with fit to pass on: a time-out is DEADLINE_EXCEEDED (tonic calls it CANCELLED), a
/// broken connection is UNAVAILABLE, and a status that does not say whose fault it is gets `source`.
#[must_use]
pub fn peer_status(error: Status, source: ErrorSource) -> Status {
    if ErrorSource::of(&error).is_some() {
        return error;
    }
    match CallFailure::of(&error) {
        CallFailure::TimedOut => status(Code::DeadlineExceeded, source, "no answer before the deadline"),
        CallFailure::Unreachable => status(Code::Unavailable, source, "cannot be reached"),
        CallFailure::Broken => status(Code::Unavailable, source, "the connection broke"),
        // The peer's own timer: the same thing, seen from there.
        CallFailure::Answered if error.code() == Code::Cancelled && error.message() == "Timeout expired" => {
            status(Code::DeadlineExceeded, source, "no answer before the deadline")
        }
        CallFailure::Answered => status(error.code(), source, error.message()),
    }
}

/// Whole milliseconds, or microseconds below ten of them: short, and never more than what is left.
fn grpc_timeout_text(left: Duration) -> String {
    match left.as_millis() {
        0..10 => format!("{}u", left.as_micros()),
        millis => format!("{millis}m"),
    }
}

/// Reads the value of a `grpc-timeout`: up to 8 digits and a unit. None if it is malformed.
#[must_use]
pub fn parse_grpc_timeout(text: &str) -> Option<Duration> {
    let (unit_at, unit) = text.char_indices().next_back()?;
    let digits = &text[..unit_at];
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(amount * 3600)),
        'M' => Some(Duration::from_secs(amount * 60)),
        'S' => Some(Duration::from_secs(amount)),
        'm' => Some(Duration::from_millis(amount)),
        'u' => Some(Duration::from_micros(amount)),
        'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A URL is accepted only in the one form that a channel can use.
    #[test]
    fn peer_urls() {
        let url: PeerUrl = "http://node-1:7201/".parse().unwrap();
        assert_eq!(
            (url.host(), url.port(), url.to_string().as_str()),
            ("node-1", 7201, "http://node-1:7201")
        );
        assert_eq!("http://[::1]:80".parse::<PeerUrl>().unwrap().host(), "::1");
        for bad in [
            "",
            "node:1",
            "https://node:1",
            "http://node",
            "http://node:0",
            "http://node:1/path",
            "http://a@b:1",
        ] {
            assert!(bad.parse::<PeerUrl>().is_err(), "{bad}");
        }
    }

    /// A caller's time-out becomes the deadline; a malformed one is ignored; an endless one is cut.
    #[test]
    fn deadlines() {
        for (text, expect) in [
            ("250m", Some(Duration::from_millis(250))),
            ("3S", Some(Duration::from_secs(3))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("123456789m", None),
            ("m", None),
            ("+1m", None),
            ("5x", None),
        ] {
            assert_eq!(parse_grpc_timeout(text), expect, "{text}");
        }
        for left in [Duration::from_micros(7), Duration::from_millis(10), DEADLINE_MAX] {
            assert_eq!(parse_grpc_timeout(&grpc_timeout_text(left)), Some(left));
        }
        let mut metadata = MetadataMap::new();
        metadata.insert(GRPC_TIMEOUT, "99999999H".parse().unwrap());
        assert!(Deadline::from_metadata(&metadata, Duration::ZERO).remaining() <= DEADLINE_MAX);
        let gone = Deadline::after(Duration::ZERO);
        assert_eq!(gone.apply(&mut tonic::Request::new(())).unwrap_err().code(), Code::DeadlineExceeded);
    }
}
