//! The clock by which leases end, which can be made to run at another rate than the holders'.
//!
//! Leases end by the store's clock. A store whose clock runs at twice the rate ends a lease of 10 s after 5 s of everybody
//! else's time; so does a right clock for a lease of 5 s whose holder believes in 10. The latter is what is done here, for
//! grants and renewals: the clock of a real Redis cannot be set for it alone. What the service says of the time left stays
//! true. A lease keeps the end that it was given: another rate counts from the next grant or renewal on.

use std::sync::atomic::{AtomicU64, Ordering};

/// The largest rate.
pub const RATE_MAX: f64 = 100.0;

/// A rate that is none.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("the clock's rate is {0}: it must be above 0 and at most {RATE_MAX}")]
pub struct BadRate(
    /// what was asked for
    pub f64,
);

/// A rate, 1 at first.
#[derive(Debug)]
pub struct Clock(AtomicU64);

impl Default for Clock {
    fn default() -> Self {
        Self(AtomicU64::new(1_f64.to_bits()))
    }
}

impl Clock {
    /// Sets the rate.
    ///
    /// # Errors
    /// It is not above 0, or above [`RATE_MAX`]; then it stays as it was.
    pub fn set(&self, rate: f64) -> Result<(), BadRate> {
        if !(rate > 0.0 && rate <= RATE_MAX) {
            return Err(BadRate(rate));
        }
        self.0.store(rate.to_bits(), Ordering::Relaxed);
        Ok(())
    }

    /// The rate in force.
    #[must_use]
    pub fn rate(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// How long a lease of `expiry_ms` lasts by a right clock, at least 1 ms.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast to an integer saturates"
    )]
    pub fn by_store(&self, expiry_ms: u32) -> u32 {
        (f64::from(expiry_ms) / self.rate()).round().max(1.0) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leases last as many times shorter as the clock runs faster, and never no time; what is no rate changes nothing.
    #[test]
    fn rates() {
        let clock = Clock::default();
        assert_eq!(clock.by_store(10_000), 10_000);
        for (rate, lasts_ms) in [(2.0, 5_000), (0.5, 20_000), (100.0, 100), (1e-9, u32::MAX)] {
            clock.set(rate).unwrap();
            assert_eq!(clock.by_store(10_000), lasts_ms, "{rate}");
        }
        clock.set(4.0).unwrap();
        assert_eq!(clock.by_store(1), 1);
        for bad in [0.0, -1.0, 100.1, f64::NAN, f64::INFINITY] {
            assert!(clock.set(bad).is_err(), "{bad}");
        }
        assert!((clock.rate() - 4.0).abs() < f64::EPSILON);
    }
}
