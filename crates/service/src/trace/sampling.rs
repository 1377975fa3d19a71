//! Which plain hits are kept.

use super::TraceContext;

/// The share of plain hits whose spans are kept where nobody says otherwise.
const HITS_BY_DEFAULT: f64 = 0.01;

/// A share of traces, chosen by their ids alone: every process that is given the same share chooses the same traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Of the 2^63 values that the lower bits of a trace id can have, those below it.
    below: u64,
}

impl Sampling {
    /// Keeps this share of hits, cut to 0..=1.
    #[must_use]
    pub fn hits(share: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^63")]
        let below = (share.clamp(0.0, 1.0) * (1_u64 << 63) as f64) as u64;
        Self { below }
    }

    /// What `OTEL_TRACES_SAMPLER` and its argument mean for hits; `None` where everything is switched off, rebuilds too.
    #[must_use]
    pub fn named(name: &str, argument: Option<&str>) -> Option<Self> {
        let share = argument.and_then(|text| text.parse().ok()).unwrap_or(1.0);
        match name {
            "always_on" | "parentbased_always_on" => Some(Self::hits(1.0)),
            "always_off" | "parentbased_always_off" => None,
            "traceidratio" | "parentbased_traceidratio" => Some(Self::hits(share)),
            _ => Some(Self::hits(HITS_BY_DEFAULT)),
        }
    }

    /// Whether a hit of this trace is kept, if its caller did not decide.
    #[must_use]
    pub fn keeps(self, context: &TraceContext) -> bool {
        let [.., a, b, c, d, e, f, g, h] = context.trace_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1 < self.below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing, everything, and about the share in between; the same traces whoever decides.
    #[test]
    fn shares() {
        let traces: Vec<TraceContext> = (0..20_000).map(|_| TraceContext::root()).collect();
        let kept = |share| traces.iter().filter(|trace| Sampling::hits(share).keeps(trace)).count();
        assert_eq!((kept(0.0), kept(1.0), kept(7.0)), (0, 20_000, 20_000));
        let some = kept(0.1);
        assert!((1_700..2_300).contains(&some), "{some}");
        assert!(
            traces.iter().all(|t| !Sampling::hits(0.1).keeps(t) || Sampling::hits(0.2).keeps(&t.child()))
        );
    }

    /// The standard's sampler names are understood; anything else is the default.
    #[test]
    fn samplers() {
        assert_eq!(Sampling::named("always_on", None), Some(Sampling::hits(1.0)));
        assert_eq!(Sampling::named("parentbased_traceidratio", Some("0.25")), Some(Sampling::hits(0.25)));
        assert_eq!(Sampling::named("traceidratio", Some("7")), Some(Sampling::hits(1.0)));
        assert_eq!(Sampling::named("parentbased_always_off", None), None);
        assert_eq!(Sampling::named("", None), Some(Sampling::hits(HITS_BY_DEFAULT)));
    }
}
