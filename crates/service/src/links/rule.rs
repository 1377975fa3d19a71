//! What can be wrong with a link, and what that does to a piece of what is sent over it.

use herd_wire::v1::bad_link;
use std::time::Duration;

/// The longest delay each way, milliseconds; the longest jitter, too.
pub const DELAY_MS_MAX: u32 = 60_000;

/// The largest share of pieces that can be lost.
pub const LOSS_MAX: f64 = 0.9;

/// TCP's shortest time-out before it sends again, as Linux has it; it doubles each further time.
const RESEND_AFTER: Duration = Duration::from_millis(200);

/// So often a piece is lost in a row at most: after 12.6 s it is there, however bad the luck.
const LOST_IN_A_ROW_MAX: u32 = 6;

/// The state of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Rule {
    /// Everything passes.
    #[default]
    Good,
    /// Connections stay open and nothing passes. What was sent waits, as TCP would send it again and again, and arrives when
    /// the link is mended: all at once, where TCP might take as long again. New connections are accepted and wait, too; those
    /// whose client gives up before the link is mended never reached the peer.
    BlackHole,
    /// Connections are reset, and new ones as soon as their client makes a call on them, 50 ms after they were made at the latest.
    Reset,
    /// Pieces arrive later, in order.
    Delay {
        /// each way
        delay: Duration,
        /// up to so much more, drawn for each piece
        jitter: Duration,
    },
    /// Pieces are lost and sent again: later, and everything behind them, too.
    Loss {
        /// of the pieces, above 0 to [`LOSS_MAX`]
        share: f64,
    },
}

/// Why something on the wire is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    /// The rule is not set, or is `false`.
    #[error("no rule is given")]
    None,
    /// Out of limits.
    #[error("a delay is from 1 to {DELAY_MS_MAX} ms, its jitter at most {DELAY_MS_MAX} ms")]
    Delay,
    /// Out of limits.
    #[error("a loss is above 0 and at most {LOSS_MAX}")]
    Loss,
}

impl Rule {
    /// Reads a rule and checks its limits.
    ///
    /// # Errors
    /// See [`BadRule`].
    pub fn of_wire(rule: Option<&bad_link::Rule>) -> Result<Self, BadRule> {
        match rule {
            Some(bad_link::Rule::BlackHole(true)) => Ok(Self::BlackHole),
            Some(bad_link::Rule::Reset(true)) => Ok(Self::Reset),
            Some(bad_link::Rule::Delay(delay)) => {
                if delay.delay_ms == 0 || delay.delay_ms.max(delay.jitter_ms) > DELAY_MS_MAX {
                    return Err(BadRule::Delay);
                }
                let millis = |ms: u32| Duration::from_millis(ms.into());
                Ok(Self::Delay { delay: millis(delay.delay_ms), jitter: millis(delay.jitter_ms) })
            }
            Some(bad_link::Rule::Loss(share)) if *share > 0.0 && *share <= LOSS_MAX => {
                Ok(Self::Loss { share: *share })
            }
            Some(bad_link::Rule::Loss(_)) => Err(BadRule::Loss),
            Some(bad_link::Rule::BlackHole(false) | bad_link::Rule::Reset(false)) | None => {
                Err(BadRule::None)
            }
        }
    }

    /// How much later than over a good link the next piece arrives, if it arrives at all while the rule holds.
    /// `draw` gives numbers from 0 to below 1.
    #[must_use]
    pub fn late(self, mut draw: impl FnMut() -> f64) -> Duration {
        match self {
            Self::Good | Self::BlackHole | Self::Reset => Duration::ZERO,
            Self::Delay { delay, jitter } => delay + jitter.mul_f64(draw()),
            Self::Loss { share } => {
                let lost = (0..LOST_IN_A_ROW_MAX).take_while(|_| draw() < share).count();
                // 1 + 2 + 4 ... times the first time-out.
                RESEND_AFTER * ((1 << lost) - 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herd_wire::v1::LinkDelay;

    /// Rules out of their limits are refused, those at their limits taken.
    #[test]
    fn limits() {
        let delay = |delay_ms, jitter_ms| bad_link::Rule::Delay(LinkDelay { delay_ms, jitter_ms });
        for good in [
            bad_link::Rule::BlackHole(true),
            bad_link::Rule::Reset(true),
            delay(1, 0),
            delay(60_000, 60_000),
            bad_link::Rule::Loss(0.9),
        ] {
            assert!(Rule::of_wire(Some(&good)).is_ok_and(|rule| rule != Rule::Good), "{good:?}");
        }
        for (bad, why) in [
            (Some(bad_link::Rule::BlackHole(false)), BadRule::None),
            (None, BadRule::None),
            (Some(delay(0, 5)), BadRule::Delay),
            (Some(delay(60_001, 0)), BadRule::Delay),
            (Some(delay(1, 60_001)), BadRule::Delay),
            (Some(bad_link::Rule::Loss(0.0)), BadRule::Loss),
            (Some(bad_link::Rule::Loss(0.91)), BadRule::Loss),
            (Some(bad_link::Rule::Loss(f64::NAN)), BadRule::Loss),
        ] {
            assert_eq!(Rule::of_wire(bad.as_ref()), Err(why));
        }
    }

    /// Jitter adds up to its limit; a lost piece waits 200 ms, doubled each further time, with an end.
    #[test]
    fn lateness() {
        let ms = Duration::from_millis;
        let delayed = Rule::Delay { delay: ms(10), jitter: ms(20) };
        assert_eq!((delayed.late(|| 0.0), delayed.late(|| 0.5)), (ms(10), ms(20)));
        let losing = Rule::Loss { share: 0.5 };
        for (lost, late_ms) in [(0, 0), (1, 200), (2, 600), (3, 1_400), (9, 12_600)] {
            let mut draws = (0..).map(|n| if n < lost { 0.4 } else { 0.5 });
            assert_eq!(losing.late(|| draws.next().unwrap()), ms(late_ms), "lost {lost} times");
        }
    }
}
