//! Failures on command: for a while, a share of the fetches fails in place of its query. Time and seed are arguments.

use herd_wire::v1::Failures;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::time::{Duration, Instant};

/// A share that is none.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("share is {0}: it must be in 0 to 1")]
pub struct BadShare(
    /// what was asked for
    pub f64,
);

/// Which fetches fail.
pub struct FailureModel {
    share: f64,
    until: Option<Instant>,
    rng: StdRng,
}

impl FailureModel {
    /// Nothing fails. Later failures are drawn from `seed`.
    #[must_use]
    pub fn none(seed: u64) -> Self {
        Self { share: 0.0, until: None, rng: StdRng::seed_from_u64(seed) }
    }

    /// Has fetches fail from `now` on, or no more.
    ///
    /// # Errors
    /// The share is no share; then everything stays as it was.
    pub fn set(&mut self, settings: Failures, now: Instant) -> Result<(), BadShare> {
        if !(0.0..=1.0).contains(&settings.share) {
            return Err(BadShare(settings.share));
        }
        self.share = settings.share;
        self.until = Some(now + Duration::from_millis(settings.for_ms.into()));
        Ok(())
    }

    /// What is in force: the share, and what is left of its time. Over, both are 0.
    #[must_use]
    pub fn get(&self, now: Instant) -> Failures {
        let left = self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        // Rounded up: failures that still happen are never reported as over.
        let for_ms = u32::try_from(left.as_micros().div_ceil(1_000)).unwrap_or(u32::MAX);
        Failures { share: if for_ms == 0 { 0.0 } else { self.share }, for_ms }
    }

    /// Draws whether a fetch fails that would ask the database `now`.
    pub fn draw(&mut self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until) && self.rng.random::<f64>() < self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the share fails while the time lasts, all of it at 1, and nothing before or after.
    #[test]
    fn a_share_fails_for_a_while() {
        let now = Instant::now();
        let mut model = FailureModel::none(7);
        assert!(!model.draw(now));
        model.set(Failures { share: 0.3, for_ms: 1_000 }, now).expect("a share");
        let failed = (0..10_000).filter(|_| model.draw(now + Duration::from_millis(999))).count();
        // 3,000 with a standard deviation of 46.
        assert!((2_800..3_200).contains(&failed), "{failed} of 10,000");
        assert_eq!(model.get(now + Duration::from_millis(400)), Failures { share: 0.3, for_ms: 600 });
        assert!(!model.draw(now + Duration::from_secs(1)));
        assert_eq!(model.get(now + Duration::from_secs(1)), Failures::default());
        model.set(Failures { share: 1.0, for_ms: 1 }, now).expect("a share");
        assert!((0..1_000).all(|_| model.draw(now)));
        model.set(Failures { share: 1.0, for_ms: 0 }, now).expect("a share");
        assert!(!model.draw(now), "0 ms is an end");
    }

    /// Goal: what is no share is refused, and changes nothing.
    #[test]
    fn shares_have_limits() {
        let now = Instant::now();
        let mut model = FailureModel::none(1);
        model.set(Failures { share: 1.0, for_ms: 10 }, now).expect("a share");
        for share in [-0.1, 1.1, f64::NAN] {
            assert!(model.set(Failures { share, for_ms: 0 }, now).is_err(), "{share}");
        }
        assert!(model.draw(now));
    }
}
