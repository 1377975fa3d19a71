//! The spread of the values' lives: keys that were filled at one moment do not expire at one moment.
//!
//! K keys with a TTL drawn uniformly from T*(1 - j) to T*(1 + j) expire at K/(2jT) a second over a span of 2jT. (Formulas
//! of the form 1 + j*(rand - 0.5) give half that spread.) It does nothing for one hot key.

use std::time::Duration;

use crate::chance::Chance;

/// The shortest life that is drawn: a TTL near 0 must not become one of exactly 0.
const DRAWN_MIN: Duration = Duration::from_millis(1);

/// A TTL for one value. Without a spread nothing is drawn.
pub(crate) fn draw(ttl: Duration, spread: f64, chance: &mut Chance) -> Duration {
    if spread <= 0.0 {
        return ttl;
    }
    let factor = 1.0 + spread * (2.0 * chance.share() - 1.0);
    ttl.mul_f64(factor.max(0.0)).max(DRAWN_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: without jitter a TTL is what was configured, 0 included; with it never 0.
    #[test]
    fn tiny_lives() {
        let mut chance = Chance::seeded(1);
        assert_eq!(draw(Duration::ZERO, 0.0, &mut chance), Duration::ZERO);
        for _ in 0..1_000 {
            assert_eq!(draw(Duration::ZERO, 0.9, &mut chance), DRAWN_MIN);
            assert!(draw(Duration::from_millis(2), 0.9, &mut chance) >= DRAWN_MIN);
        }
    }
}
