//! Recomputing before expiry (XFetch): each reader of a fresh value decides alone, with a probability that grows towards
//! the expiry, so that one of them is likely to begin in time and few are likely to follow.
//!
//! A. Vattani, F. Chierichetti, K. Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015: recompute when
//! now - Δ*beta*ln(U) >= expiry, Δ being how long the last recompute took. Readers at rate r with r*beta*Δ >> 1, each of
//! whom recomputes alone, start e^(1/beta) recomputes a window, whatever r. If the origin slows down from Δ to D the count
//! becomes e^(D/(beta*Δ)), up to r*D: a slow origin defeats it, and only a flight or a lock bounds the herd then.

use crate::chance::Chance;
use crate::config::EarlyConfig;
use crate::outcome::Life;

/// Whether the reader of a fresh value is to recompute it. Nothing is drawn where it is unknown how long that takes.
pub(crate) fn is_due(early: EarlyConfig, life: Life, chance: &mut Chance) -> bool {
    if life.rebuild_took.is_zero() {
        return false;
    }
    let ahead_s = -life.rebuild_took.as_secs_f64() * early.beta * chance.share().ln();
    life.age.as_secs_f64() + ahead_s >= life.ttl.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Goal: at distance x before the expiry the share of readers that recompute is e^(-x/(beta*Δ)).
    #[test]
    fn the_gap_decides_how_many_recompute() {
        const READERS: u32 = 100_000;
        let mut chance = Chance::seeded(7);
        for (beta, gap_ms, expected) in
            [(1.0, 0, 1.0), (1.0, 100, 0.3679), (2.0, 100, 0.6065), (0.5, 100, 0.1353), (1.0, 300, 0.0498)]
        {
            let ttl = Duration::from_secs(10);
            let age = ttl - Duration::from_millis(gap_ms);
            let life = Life { age, ttl, rebuild_took: Duration::from_millis(100) };
            let due = (0..READERS).filter(|_| is_due(EarlyConfig { beta }, life, &mut chance)).count();
            let share = due as f64 / f64::from(READERS);
            let error = (expected * (1.0 - expected) / f64::from(READERS)).sqrt();
            assert!((share - expected).abs() <= 4.0 * error + 1e-4, "beta {beta}, {gap_ms} ms: {share}");
        }
    }

    /// Goal: a value that does not say how long its rebuild took is left alone.
    #[test]
    fn an_unknown_rebuild_time_recomputes_nothing() {
        let life = Life { age: Duration::from_secs(9), ttl: Duration::from_secs(10), ..Life::default() };
        assert!(!is_due(EarlyConfig { beta: 10.0 }, life, &mut Chance::seeded(1)));
    }
}
