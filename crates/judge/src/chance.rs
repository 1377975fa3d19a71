//! Chance: how large a count or a mean may become by luck alone. Every statement here has its confidence with it.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal, Poisson as PoissonLaw, StudentsT};

/// Chance that a bound on the worst of many counts is exceeded by luck: one run in a thousand.
pub(crate) const LUCK: f64 = 0.001;

/// How the confidence that belongs to [`LUCK`] is told.
pub(crate) const CONFIDENCE: &str = "99.9 %";

/// Confidence of the interval around a mean.
pub(crate) const MEAN_CONFIDENCE: f64 = 0.99;

/// The smallest count that a Poisson variable of this mean exceeds with at most this chance, from the exact tail.
///
/// The sum of independent yes-or-no trials of any chances has no heavier tail above its mean (Hoeffding, "On the distribution
/// of the number of successes in independent trials", 1956), so that this bounds how many of many keys fall into one bucket.
pub(crate) fn poisson_at_most(mean: f64, chance: f64) -> u64 {
    let Ok(law) = PoissonLaw::new(mean) else { return 0 };
    least(mean as u64, |count| law.sf(count) <= chance)
}

/// The same for this many trials of one chance each.
pub(crate) fn binomial_at_most(trials: u64, each: f64, chance: f64) -> u64 {
    let Ok(law) = Binomial::new(each, trials) else { return trials };
    least((trials as f64 * each) as u64, |count| count >= trials || law.sf(count) <= chance)
}

/// The smallest count that a geometric variable (1, 2, 3, ..) of this mean exceeds with at most this chance.
pub(crate) fn geometric_at_most(mean: f64, chance: f64) -> u64 {
    if mean <= 1.0 {
        return 1;
    }
    ((chance.ln() / (1.0 - 1.0 / mean).ln()).ceil() as u64).max(1)
}

/// How many standard deviations a normal variable exceeds with this chance.
pub(crate) fn normal_at_most(chance: f64) -> f64 {
    Normal::standard().inverse_cdf(1.0 - chance)
}

/// A mean with its interval of confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mean {
    pub(crate) mean: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The mean of these counts, and Student's interval around it at [`MEAN_CONFIDENCE`] from their own variance. None for fewer
/// than two.
pub(crate) fn mean_of(counts: &[f64]) -> Option<Mean> {
    let number = counts.len() as f64;
    let law = StudentsT::new(0.0, 1.0, number - 1.0).ok().filter(|_| counts.len() >= 2)?;
    let mean = counts.iter().sum::<f64>() / number;
    let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / (number - 1.0);
    let reach = law.inverse_cdf(0.5 + MEAN_CONFIDENCE / 2.0) * (variance / number).sqrt();
    Some(Mean { mean, low: mean - reach, high: mean + reach })
}

/// The first count from `from` on for which this holds; it holds for every larger one.
fn least(from: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let mut step = 1;
    let mut too_small = from;
    if holds(from) {
        return (0..=from).rev().take_while(|count| holds(*count)).last().unwrap_or(from);
    }
    while !holds(too_small + step) {
        too_small += step;
        step *= 2;
    }
    let mut enough = too_small + step;
    while enough - too_small > 1 {
        let middle = too_small + (enough - too_small) / 2;
        if holds(middle) { enough = middle } else { too_small = middle }
    }
    enough
}

#[cfg(test)]
mod tests {
    use statrs::distribution::Discrete;

    use super::*;

    /// Goal: the exact tail, neither one count more nor one less: summed term by term.
    #[test]
    fn poisson_and_binomial_tails_are_exact() {
        for mean in [0.5, 4.0, 250.0] {
            let law = PoissonLaw::new(mean).unwrap();
            let beyond = |count: u64| 1.0 - (0..=count).map(|k| law.pmf(k)).sum::<f64>();
            let most = poisson_at_most(mean, 1e-4);
            assert!(beyond(most) <= 1e-4 + 1e-9 && beyond(most - 1) > 1e-4, "{mean}: {most}");
        }
        let law = Binomial::new(0.01, 5_000).unwrap();
        let beyond = |count: u64| 1.0 - (0..=count).map(|k| law.pmf(k)).sum::<f64>();
        let most = binomial_at_most(5_000, 0.01, 1e-6);
        assert!(beyond(most) <= 1e-6 + 1e-9 && beyond(most - 1) > 1e-6, "{most}");
        assert_eq!(binomial_at_most(3, 0.9, 1e-9), 3);
        assert_eq!(binomial_at_most(0, 0.01, 1e-6), 0);
    }

    /// Goal: the bound from the exact tail is near the asymptotic one of the literature, L + sqrt(2 L ln m).
    #[test]
    fn the_highest_of_many_buckets() {
        let (mean, buckets) = (250.0_f64, 20.0_f64);
        let asymptotic = mean + (2.0 * mean * buckets.ln()).sqrt();
        let most = poisson_at_most(mean, LUCK / buckets) as f64;
        assert!(most > asymptotic && most < asymptotic * 1.1, "{most} {asymptotic}");
    }

    /// Goal: the geometric bound is the smallest that holds.
    #[test]
    fn geometric_tails_are_exact() {
        let mean = 1.0_f64.exp();
        let most = geometric_at_most(mean, 1e-4);
        let beyond = |count: u64| (1.0 - 1.0 / mean).powi(count as i32);
        assert!(beyond(most) <= 1e-4 && beyond(most - 1) > 1e-4, "{most}");
        assert_eq!(geometric_at_most(1.0, 1e-4), 1);
    }

    /// Goal: Student's interval, by a table: t at 99 % and 9 degrees of freedom is 3.2498.
    #[test]
    fn intervals_are_students() {
        let counts: Vec<f64> = (1..=10).map(f64::from).collect();
        let found = mean_of(&counts).unwrap();
        let reach = 3.2498 * (9.1667_f64 / 10.0).sqrt();
        assert!((found.mean - 5.5).abs() < 1e-9 && (found.high - 5.5 - reach).abs() < 1e-3, "{found:?}");
        assert_eq!(mean_of(&[1.0]), None);
    }
}
