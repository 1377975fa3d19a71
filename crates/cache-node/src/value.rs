//! The value that the policy core carries for this node, and the rebuild that made it.

use crate::store::Stored;
use bytes::Bytes;
use herd_service::trace::TraceContext;

/// A row's value, from the store or fresh from the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// What clients get. Cloning shares it.
    pub body: Bytes,
    /// The row's version in the origin.
    pub version: u64,
    /// Milliseconds since it was written to the cache when it was read; 0 from the origin.
    pub age_ms: u64,
    /// The rebuild that made it.
    pub maker: Maker,
}

impl Value {
    /// A value as it was read from the store.
    #[must_use]
    pub fn stored(stored: Stored, age_ms: u64) -> Self {
        let header = stored.header;
        let maker = Maker { trace: header.rebuild_trace, span: header.rebuild_span };
        Self { maker, version: header.version, body: stored.body, age_ms }
    }
}

/// The trace and span of a rebuild, as they travel with the value; zeros if nobody said.
///
/// The span goes along so that whoever waited for the rebuild in another process links to the very span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maker {
    /// The trace, network order.
    pub trace: [u8; 16],
    /// The span, network order.
    pub span: [u8; 8],
}

impl Maker {
    /// The rebuild whose context this is.
    #[must_use]
    pub fn of(context: &TraceContext) -> Self {
        // `00-<32 digits of trace>-<16 digits of span>-<flags>`
        let text = context.traceparent();
        let span = text.get(36..52).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0);
        Self { trace: context.trace_bytes(), span: span.to_be_bytes() }
    }

    /// Its context, to link to.
    #[must_use]
    pub fn context(&self) -> Option<TraceContext> {
        let (trace, span) = (u128::from_be_bytes(self.trace), u64::from_be_bytes(self.span));
        TraceContext::parse(&format!("00-{trace:032x}-{span:016x}-00"))
    }

    /// Its trace as 32 hexadecimal digits; empty if nobody said.
    #[must_use]
    pub fn trace_id(&self) -> String {
        match u128::from_be_bytes(self.trace) {
            0 => String::new(),
            trace => format!("{trace:032x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rebuild's context survives being kept beside the value, span included.
    #[test]
    fn the_maker_is_the_rebuilds_own_span() {
        let rebuild = TraceContext::root();
        let maker = Maker::of(&rebuild);
        assert_eq!(maker.context(), Some(rebuild));
        assert_eq!(maker.trace_id(), rebuild.trace_id());
        assert_eq!(Maker::default().context(), None);
        assert_eq!(Maker::default().trace_id(), "");
    }
}
