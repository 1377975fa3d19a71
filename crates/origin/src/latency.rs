//! How slow the origin is: a latency drawn for each fetch, and slow windows on command. Time and seed are arguments.

use herd_wire::v1::{Latency, latency::Model};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::time::{Duration, Instant};

/// The longest median, maximum and slow window, in milliseconds. No delay is longer, slow window or not.
pub const LATENCY_MS_MAX: u32 = 600_000;

/// The largest sigma of the log-normal model.
pub const SIGMA_MAX: f64 = 3.0;

/// The largest factor of a slow window.
pub const SLOW_FACTOR_MAX: f64 = 1_000.0;

/// Without a maximum of its own the log-normal model is cut at this many medians.
const CUT_MEDIANS: u32 = 10;

/// A setting of the latency model that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct BadLatency(
    /// Everything that is wrong with it.
    pub Vec<String>,
);

/// What one fetch must spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// How long.
    pub time: Duration,
    /// Whether a connection of the pool is held meanwhile.
    pub holds_connection: bool,
}

/// The model in force and its random numbers.
pub struct LatencyModel {
    settings: Latency,
    /// Until when the slow window lasts.
    slow_until: Option<Instant>,
    rng: StdRng,
}

impl LatencyModel {
    /// Every fetch takes `latency_ms`, at most [`LATENCY_MS_MAX`]. Later models draw from `seed`.
    #[must_use]
    pub fn fixed(latency_ms: u32, seed: u64) -> Self {
        let median_ms = latency_ms.min(LATENCY_MS_MAX);
        let settings = Latency { model: Model::Fixed.into(), median_ms, ..Latency::default() };
        Self { settings, slow_until: None, rng: StdRng::seed_from_u64(seed) }
    }

    /// Puts another model in force, and opens its slow window if it has one. The random numbers go on.
    ///
    /// # Errors
    /// Everything that is wrong with it; then the former model stays.
    pub fn set(&mut self, settings: Latency, now: Instant) -> Result<(), BadLatency> {
        check(&settings)?;
        let slow_for = Duration::from_millis(settings.slow_for_ms.into());
        self.slow_until = (!slow_for.is_zero()).then(|| now + slow_for);
        self.settings = settings;
        Ok(())
    }

    /// The model in force; `slow_for_ms` is what is left of the slow window, and without one its factor is 0.
    #[must_use]
    pub fn get(&self, now: Instant) -> Latency {
        let left = self.slow_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        // Rounded up: a window that is still open is never reported as closed.
        let slow_for_ms = u32::try_from(left.as_micros().div_ceil(1_000)).unwrap_or(u32::MAX);
        let slow_factor = if slow_for_ms == 0 { 0.0 } else { self.settings.slow_factor };
        Latency { slow_for_ms, slow_factor, ..self.settings }
    }

    /// Draws the delay of one fetch that arrives `now`.
    pub fn draw(&mut self, now: Instant) -> Delay {
        let median_ms = f64::from(self.settings.median_ms);
        let base_ms = match self.settings.model() {
            Model::LogNormal => {
                let cut_ms = match self.settings.max_ms {
                    0 => self.settings.median_ms.saturating_mul(CUT_MEDIANS),
                    max_ms => max_ms,
                };
                let sigma = self.settings.sigma;
                (median_ms * (sigma * self.standard_normal()).exp()).min(cut_ms.into())
            }
            Model::Fixed | Model::Unspecified => median_ms,
        };
        let slow = self.slow_until.is_some_and(|until| now < until);
        let factor = if slow { self.settings.slow_factor } else { 1.0 };
        let ms = (base_ms * factor).clamp(0.0, LATENCY_MS_MAX.into());
        Delay {
            time: Duration::from_secs_f64(ms / 1_000.0),
            holds_connection: self.settings.holds_connection,
        }
    }

    /// One number of the standard normal distribution (Box and Muller, 1958).
    fn standard_normal(&mut self) -> f64 {
        // In (0, 1]: the logarithm of 0 is not a number of milliseconds.
        let radius = 1.0 - self.rng.random::<f64>();
        let angle = std::f64::consts::TAU * self.rng.random::<f64>();
        (-2.0 * radius.ln()).sqrt() * angle.cos()
    }
}

fn check(settings: &Latency) -> Result<(), BadLatency> {
    let mut wrong = Vec::new();
    let model = settings.model();
    if model == Model::Unspecified {
        wrong.push("model must be FIXED or LOG_NORMAL".to_owned());
    }
    for (name, ms) in [
        ("median_ms", settings.median_ms),
        ("max_ms", settings.max_ms),
        ("slow_for_ms", settings.slow_for_ms),
    ] {
        if ms > LATENCY_MS_MAX {
            wrong.push(format!("{name} is {ms}: at most {LATENCY_MS_MAX} is allowed"));
        }
    }
    if !(0.0..=SIGMA_MAX).contains(&settings.sigma) {
        wrong.push(format!("sigma is {}: it must be in 0 to {SIGMA_MAX}", settings.sigma));
    }
    if model == Model::LogNormal && settings.max_ms != 0 && settings.max_ms < settings.median_ms {
        wrong.push(format!("max_ms {} is below median_ms {}", settings.max_ms, settings.median_ms));
    }
    let factor = settings.slow_factor;
    if settings.slow_for_ms > 0 && !(factor > 0.0 && factor <= SLOW_FACTOR_MAX) {
        wrong.push(format!(
            "slow_factor is {factor}: in a slow window it must be above 0, at most {SLOW_FACTOR_MAX}"
        ));
    }
    if wrong.is_empty() { Ok(()) } else { Err(BadLatency(wrong)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_normal(median_ms: u32, sigma: f64, max_ms: u32) -> Latency {
        Latency { model: Model::LogNormal.into(), median_ms, sigma, max_ms, ..Latency::default() }
    }

    /// 20,000 delays in milliseconds, in ascending order.
    fn draws(settings: Latency, seed: u64) -> Vec<f64> {
        let now = Instant::now();
        let mut model = LatencyModel::fixed(0, seed);
        model.set(settings, now).expect("a good model");
        let mut draws: Vec<f64> = (0..20_000).map(|_| model.draw(now).time.as_secs_f64() * 1_000.0).collect();
        draws.sort_by(f64::total_cmp);
        draws
    }

    /// Goal: median and spread of the log-normal model are those asked for, and the same seed gives the same numbers.
    #[test]
    fn log_normal_has_its_median_and_sigma() {
        let drawn = draws(log_normal(300, 0.5, 600_000), 7);
        let quantile = |q: f64| drawn[(q * 20_000.0) as usize];
        // Quantiles of 300 * exp(0.5 z) at z = 0, 1 and 2.
        for (q, expected) in [(0.5, 300.0), (0.8413, 494.6), (0.9772, 815.5)] {
            let ratio = quantile(q) / expected;
            assert!((0.95..1.05).contains(&ratio), "quantile {q}: {} instead of {expected}", quantile(q));
        }
        let logs: Vec<f64> = drawn.iter().map(|ms| (ms / 300.0).ln()).collect();
        let mean = logs.iter().sum::<f64>() / 20_000.0;
        let sigma = (logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / 20_000.0).sqrt();
        assert!(mean.abs() < 0.02 && (sigma - 0.5).abs() < 0.02, "mean {mean}, sigma {sigma}");
        assert_eq!(drawn, draws(log_normal(300, 0.5, 600_000), 7));
        assert_ne!(drawn, draws(log_normal(300, 0.5, 600_000), 8));
    }

    /// Goal: the tail is cut at the maximum, or at ten medians when none is named.
    #[test]
    fn the_tail_is_cut() {
        assert_eq!(draws(log_normal(100, 1.0, 250), 1).last(), Some(&250.0));
        assert_eq!(draws(log_normal(100, 3.0, 0), 1).last(), Some(&1_000.0));
        assert!(draws(log_normal(100, 0.0, 0), 1).iter().all(|ms| *ms == 100.0));
    }

    /// Goal: a slow window multiplies delays until it is over, and says how much of it is left.
    #[test]
    fn a_slow_window_opens_and_closes() {
        let now = Instant::now();
        let mut model = LatencyModel::fixed(200, 1);
        let mut slow = model.get(now);
        (slow.slow_for_ms, slow.slow_factor, slow.holds_connection) = (1_000, 2.5, true);
        model.set(slow, now).expect("a good model");
        let drawn = model.draw(now + Duration::from_millis(999));
        assert_eq!(drawn, Delay { time: Duration::from_millis(500), holds_connection: true });
        assert_eq!(model.get(now + Duration::from_millis(400)).slow_for_ms, 600);
        assert_eq!(model.draw(now + Duration::from_secs(1)).time, Duration::from_millis(200));
        let after = model.get(now + Duration::from_secs(1));
        assert_eq!((after.slow_for_ms, after.slow_factor), (0, 0.0));
    }

    /// Goal: no delay is longer than the limit, whatever the window's factor.
    #[test]
    fn slow_windows_have_a_limit() {
        let now = Instant::now();
        let mut model = LatencyModel::fixed(LATENCY_MS_MAX, 1);
        let slow = Latency { slow_for_ms: 10, slow_factor: SLOW_FACTOR_MAX, ..model.get(now) };
        model.set(slow, now).expect("a good model");
        assert_eq!(model.draw(now).time, Duration::from_millis(LATENCY_MS_MAX.into()));
    }

    /// Goal: everything wrong is said at once, and a refused model changes nothing.
    #[test]
    fn a_bad_model_is_refused_whole() {
        let now = Instant::now();
        let mut model = LatencyModel::fixed(300, 1);
        let bad = Latency {
            median_ms: LATENCY_MS_MAX + 1,
            sigma: f64::NAN,
            slow_for_ms: 1,
            slow_factor: 0.0,
            ..Latency::default()
        };
        let BadLatency(wrong) = model.set(bad, now).unwrap_err();
        assert_eq!(wrong.len(), 4, "{wrong:?}");
        assert!(model.set(log_normal(300, 0.5, 200), now).is_err());
        assert_eq!(model.get(now), LatencyModel::fixed(300, 1).get(now));
    }
}
