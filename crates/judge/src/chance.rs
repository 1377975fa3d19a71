//! Chance: how large a count or a mean may become by luck alone. Every statement here has its confidence with it.

use statrs::distribution::{
    Binomial, ContinuousCDF, DiscreteCDF, NegativeBinomial, Normal, Poisson as PoissonLaw,
};

/// Chance that a bound on the worst of many counts is exceeded by luck: one run in a thousand.
pub(crate) const LUCK: f64 = 0.001;

/// How the confidence that belongs to [`LUCK`] is told.
pub(crate) const CONFIDENCE: &str = "99.9 %";

/// Chance that the sum of many counts lies on one given side of its interval by luck.
const SUM_LUCK: f64 = 0.005;

/// How the confidence of that interval is told, both sides together.
pub(crate) const SUM_CONFIDENCE: &str = "99 %";

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

/// Between which counts the sum of so many independent geometric variables (1, 2, 3, ..) of this mean lies, both included, but for
/// half a percent of runs on either side. What the sum has above the least possible is negative binomial: the law is exact, and needs
/// neither many variables nor their variance.
pub(crate) fn geometric_sum_within(number: u64, mean: f64) -> (u64, u64) {
    let law = NegativeBinomial::new(number as f64, (1.0 / mean).min(1.0)).ok();
    let Some(law) = law.filter(|_| mean > 1.0 && number > 0) else { return (number, number) };
    let around = (number as f64 * (mean - 1.0)) as u64;
    let most = least(around, |above| law.sf(above) <= SUM_LUCK);
    let fewest = least(around, |above| law.cdf(above) > SUM_LUCK);
    (number + fewest, number + most)
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

    /// Chance with a seed: splitmix64, uniform in (0, 1].
    fn uniform(state: &mut u64) -> f64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) as f64 + 1.0) / (1_u64 << 53) as f64
    }

    /// Goal: the interval holds what it says for the few lives that a run has and for their skew: 99 % of simulated sums lie within,
    /// and no side has more than its half of the rest. The sums are drawn variable by variable, not by the law that is tested.
    #[test]
    fn geometric_sums_are_covered() {
        const TRIALS: u32 = 20_000;
        let mut state = 11;
        // Four standard deviations of a share of 0.005.
        let most = f64::from(TRIALS) * SUM_LUCK + 4.0 * (f64::from(TRIALS) * SUM_LUCK).sqrt();
        for beta in [0.5_f64, 1.0, 2.0] {
            let mean = (1.0 / beta).exp();
            for number in [5, 30, 78] {
                let (low, high) = geometric_sum_within(number, mean);
                let one =
                    |state: &mut u64| (uniform(state).ln() / (1.0 - 1.0 / mean).ln()).floor() as u64 + 1;
                let (mut below, mut above) = (0_u32, 0_u32);
                for _ in 0..TRIALS {
                    let sum: u64 = (0..number).map(|_| one(&mut state)).sum();
                    below += u32::from(sum < low);
                    above += u32::from(sum > high);
                }
                assert!(
                    f64::from(below) <= most && f64::from(above) <= most,
                    "{mean} {number}: {below} {above}"
                );
                // Not wider than it must be, either: one count less is exceeded too often.
                let law = NegativeBinomial::new(number as f64, 1.0 / mean).unwrap();
                assert!(law.sf(high - number - 1) > SUM_LUCK && law.cdf(low - number) > SUM_LUCK);
            }
        }
        assert_eq!(geometric_sum_within(7, 1.0), (7, 7));
        assert_eq!(geometric_sum_within(7, 0.5), (7, 7));
        assert_eq!(geometric_sum_within(0, 2.0), (0, 0));
    }
}
