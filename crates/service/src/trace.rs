//! W3C trace context, and spans that cost nothing unless they are exported.
//!
//! Every request has a trace id, with or without an exporter: it is the reference id that clients get. Whether spans of it are
//! *kept* is decided so:
//!
//! - **Rebuilds, always.** A rebuild is a trace of its own, begun where its flight begins ([`root`]); its context is
//!   marked as sampled, and lock service and origin, which only follow their callers ([`server`]), keep theirs.
//!   Fills on command (pre-warm, background fill) are no herd and would be most of all rebuilds: by ratio, or if it turns out
//!   at their end that they are worth it ([`Span::decide`]); of those, other processes were not asked to keep anything.
//! - **Requests that are no plain hit, always**: those that led, waited, were served stale, failed, were shed or were given up.
//!   Nobody knows that when a request arrives. So a request begins as a [`Pending`], which is two clock readings and two random
//!   numbers, and its span is made when it is over, with the ids that were passed on. Edge and node come to the same
//!   conclusion without a word more on the wire, as the answer itself says how it was served: trees stay whole.
//! - **Plain hits, by ratio** ([`Sampling`]), by the trace id as `TraceIdRatioBased` does it, decided where the trace
//!   begins and passed on in `traceparent`: who is asked to sample (flag 01) keeps its span, whatever the ratio. A caller that
//!   says no (flag 00) is heeded for hits, not for the rest.
//!
//! Spans are plain data until they end; then they go to a bounded queue ([`crate::telemetry`]), and what does not fit is
//! dropped and counted.
//!
//! - `call`: [`Call`], a request under way.
//! - [`conventions`]: the names that OpenTelemetry gives to calls over gRPC.
//! - `held`: the spans of a trace that is not decided yet.
//! - `span`: [`Span`], [`Pending`].
//! - `sampling`: [`Sampling`].

mod call;
pub mod conventions;
mod held;
mod sampling;
mod span;

pub use call::{Call, Name};
pub use sampling::Sampling;
pub use span::{IntoValue, Kind, Pending, Span, part, root, server};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use tonic::metadata::{MetadataMap, MetadataValue};

/// Name of the header and metadata key that carries a [`TraceContext`].
pub const TRACEPARENT: &str = "traceparent";

/// Bytes of a formatted `traceparent`, version 00.
const FORMATTED: usize = 55;

static EXPORTING: AtomicBool = AtomicBool::new(false);
static RECORDER: OnceLock<Recorder> = OnceLock::new();

/// Where ended spans go, and which hits are kept.
pub(crate) struct Recorder {
    pub(crate) queue: crate::telemetry::Queue,
    pub(crate) sampling: Sampling,
}

/// Whether spans are exported by this process. Ask before doing work that only a span needs.
#[must_use]
pub fn enabled() -> bool {
    EXPORTING.load(Ordering::Relaxed)
}

/// Begins to keep spans. The first recorder of a process is its only one.
pub(crate) fn record_with(recorder: Recorder) {
    if RECORDER.set(recorder).is_ok() {
        EXPORTING.store(true, Ordering::Relaxed);
    }
}

/// No more spans are begun; those under way still end.
pub(crate) fn stop_recording() {
    EXPORTING.store(false, Ordering::Relaxed);
}

/// A position in a trace: which trace, which span of it, and whether it is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    sampled: bool,
}

impl TraceContext {
    /// A new trace, with random ids; not sampled, as nobody has decided to keep it.
    #[must_use]
    pub fn root() -> Self {
        Self { trace: rand::random::<u128>().max(1), span: rand::random::<u64>().max(1), sampled: false }
    }

    /// The same trace one span further down.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span: rand::random::<u64>().max(1), ..*self }
    }

    /// A context in the trace of these 16 bytes, as kept beside a stored value; the span id is random. None if all are zero.
    #[must_use]
    pub fn from_trace_bytes(bytes: [u8; 16]) -> Option<Self> {
        let trace = u128::from_be_bytes(bytes);
        (trace != 0).then(|| Self { trace, span: rand::random::<u64>().max(1), sampled: false })
    }

    /// The trace id in network order.
    #[must_use]
    pub const fn trace_bytes(&self) -> [u8; 16] {
        self.trace.to_be_bytes()
    }

    /// The trace id as 32 hexadecimal digits: the reference id of a request.
    #[must_use]
    pub fn trace_id(&self) -> String {
        let mut text = [0; 32];
        hex(&self.trace.to_be_bytes(), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Whether someone upstream decided to record this trace.
    #[must_use]
    pub const fn sampled(&self) -> bool {
        self.sampled
    }

    /// The same position with another sampling decision.
    #[must_use]
    pub const fn with_sampled(self, sampled: bool) -> Self {
        Self { sampled, ..self }
    }

    /// Reads a `traceparent`: `00-<32 hex>-<16 hex>-<2 hex>`; later versions may append fields. None if it is malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let separated =
            bytes.len() >= FORMATTED && bytes[2] == b'-' && bytes[35] == b'-' && bytes[52] == b'-';
        if !separated {
            return None;
        }
        let version = unhex(&bytes[..2])?;
        let tail_fits = if version == 0 {
            bytes.len() == FORMATTED
        } else {
            *bytes.get(FORMATTED).unwrap_or(&b'-') == b'-'
        };
        let trace = unhex(&bytes[3..35])?;
        let span = u64::try_from(unhex(&bytes[36..52])?).ok()?;
        let flags = unhex(&bytes[53..55])?;
        (version != 0xff && tail_fits && trace != 0 && span != 0).then_some(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }

    /// The context as a `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> String {
        String::from_utf8_lossy(&self.formatted()).into_owned()
    }

    /// Reads the caller's context from gRPC metadata.
    #[must_use]
    pub fn extract(metadata: &MetadataMap) -> Option<Self> {
        Self::parse(metadata.get(TRACEPARENT)?.to_str().ok()?)
    }

    /// Reads the caller's context from HTTP headers.
    #[must_use]
    pub fn extract_http(headers: &http::HeaderMap) -> Option<Self> {
        Self::parse(headers.get(TRACEPARENT)?.to_str().ok()?)
    }

    /// Passes the context on with a gRPC call.
    pub fn inject(&self, metadata: &mut MetadataMap) {
        if let Ok(mut value) = MetadataValue::try_from(&self.formatted()[..]) {
            // Never twice the same: kept out of the connection's header table, where it would only push others out.
            value.set_sensitive(true);
            metadata.insert(TRACEPARENT, value);
        }
    }

    /// Passes the context on with an HTTP request.
    pub fn inject_http(&self, headers: &mut http::HeaderMap) {
        if let Ok(value) = http::HeaderValue::from_bytes(&self.formatted()) {
            headers.insert(TRACEPARENT, value);
        }
    }

    fn formatted(&self) -> [u8; FORMATTED] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex(&self.trace.to_be_bytes(), &mut text[3..35]);
        hex(&self.span.to_be_bytes(), &mut text[36..52]);
        text[54] = if self.sampled { b'1' } else { b'0' };
        text
    }

    fn to_otel(self) -> SpanContext {
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let (trace, span) =
            (TraceId::from_bytes(self.trace.to_be_bytes()), SpanId::from_bytes(self.span.to_be_bytes()));
        SpanContext::new(trace, span, flags, false, TraceState::default())
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traceparent())
    }
}

fn hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

fn unhex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// What is formatted is what was parsed, and what the standard calls malformed is refused.
    #[test]
    fn traceparent_round_trip() {
        let context = TraceContext::parse(SAMPLE).unwrap();
        assert_eq!(context.traceparent(), SAMPLE);
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(
            TraceContext::parse(&TraceContext::root().traceparent()).map(|c| c.sampled()),
            Some(false)
        );
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-é",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
        assert!(
            TraceContext::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").is_some()
        );
    }

    /// A context survives gRPC metadata and HTTP headers; a child stays in its trace.
    #[test]
    fn carried_over_both_protocols() {
        let context = TraceContext::parse(SAMPLE).unwrap().child();
        let mut metadata = MetadataMap::new();
        context.inject(&mut metadata);
        assert_eq!(TraceContext::extract(&metadata), Some(context));
        let mut headers = http::HeaderMap::new();
        context.inject_http(&mut headers);
        assert_eq!(TraceContext::extract_http(&headers), Some(context));
        assert!(context.traceparent().starts_with(&SAMPLE[..36]));
        assert_eq!(
            TraceContext::from_trace_bytes(context.trace_bytes()).map(|c| c.trace_id()),
            Some(context.trace_id())
        );
    }

    /// Without an exporter a request still has a trace, its caller's or a new one, and no span.
    #[test]
    fn without_exporter() {
        let parent = TraceContext::parse(SAMPLE).unwrap();
        let pending = Pending::begin(Some(parent));
        assert_eq!(pending.context().trace_id(), parent.trace_id());
        assert_ne!(pending.context(), parent);
        assert!(!pending.end(true, "nothing", Kind::Server).is_recording());
        assert_ne!(Pending::begin(None).context().trace_id(), parent.trace_id());
        let (span, context) = root("nothing", Kind::Internal, true);
        assert!(!span.is_recording() && !context.sampled());
        assert!(!server("nothing", Some(parent)).is_recording());
    }
}
