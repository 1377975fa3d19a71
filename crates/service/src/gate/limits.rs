//! What a gate lets in, as the control plane and the laboratory say it.

use herd_wire::v1;
use std::ops::RangeInclusive;
use std::time::Duration;

const IN_FLIGHT_MAX: RangeInclusive<u32> = 1..=100_000;
const QUEUE_MAX: RangeInclusive<u32> = 0..=100_000;
const QUEUE_WAIT_MS: RangeInclusive<u32> = 0..=60_000;
const RETRY_AFTER_MS: RangeInclusive<u32> = 1..=60_000;

/// What a gate lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// at work at once, at least 1
    pub in_flight_max: u32,
    /// waiting for a place at once; 0: there is no queue
    pub queue_max: u32,
    /// the longest wait for a place; zero: there is no queue
    pub queue_wait: Duration,
    /// what who is refused is told, milliseconds
    pub retry_after_ms: u32,
}

/// Everything that is wrong with the limits of a gate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct BadLimits(
    /// one sentence a mistake
    pub Vec<String>,
);

impl Limits {
    /// At most this many at work, nobody waits, and who is refused may try again after a second.
    #[must_use]
    pub const fn without_queue(in_flight_max: u32) -> Self {
        Self { in_flight_max, queue_max: 0, queue_wait: Duration::ZERO, retry_after_ms: 1_000 }
    }

    fn checked(
        in_flight_max: u32,
        queue_max: u32,
        queue_wait_ms: u32,
        retry_after_ms: u32,
    ) -> Result<Self, BadLimits> {
        let fields = [
            ("in_flight_max", in_flight_max, IN_FLIGHT_MAX),
            ("queue_max", queue_max, QUEUE_MAX),
            ("queue_wait_ms", queue_wait_ms, QUEUE_WAIT_MS),
            ("retry_after_ms", retry_after_ms, RETRY_AFTER_MS),
        ];
        let wrong = fields.into_iter().filter(|(_, value, range)| !range.contains(value));
        let wrong: Vec<String> = wrong
            .map(|(name, value, range)| {
                format!("{name} is {value}: it must be in {} to {}", range.start(), range.end())
            })
            .collect();
        if !wrong.is_empty() {
            return Err(BadLimits(wrong));
        }
        let queue_wait = Duration::from_millis(queue_wait_ms.into());
        Ok(Self { in_flight_max, queue_max, queue_wait, retry_after_ms })
    }

    pub(super) const fn waiting_max(&self) -> u32 {
        if self.queue_wait.is_zero() { 0 } else { self.queue_max }
    }
}

impl TryFrom<v1::Gate> for Limits {
    type Error = BadLimits;

    fn try_from(gate: v1::Gate) -> Result<Self, BadLimits> {
        Self::checked(gate.in_flight_max, gate.queue_max, gate.queue_wait_ms, gate.retry_after_ms)
    }
}

impl TryFrom<v1::OriginGate> for Limits {
    type Error = BadLimits;

    fn try_from(gate: v1::OriginGate) -> Result<Self, BadLimits> {
        Self::checked(gate.in_flight_max, gate.queue_max, gate.queue_wait_ms, gate.retry_after_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every limit out of its range is named.
    #[test]
    fn bad_limits() {
        let Err(BadLimits(wrong)) =
            Limits::try_from(v1::Gate { queue_wait_ms: 60_001, ..v1::Gate::default() })
        else {
            panic!("must be refused")
        };
        let named = ["in_flight_max", "queue_wait_ms", "retry_after_ms"];
        assert!(wrong.iter().zip(named).all(|(said, name)| said.starts_with(name)), "{wrong:?}");
        let good = v1::OriginGate { in_flight_max: 1, queue_max: 0, queue_wait_ms: 9, retry_after_ms: 1 };
        assert_eq!(Limits::try_from(good).map(|limits| limits.waiting_max()), Ok(0));
    }
}
