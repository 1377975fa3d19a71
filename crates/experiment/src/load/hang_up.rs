//! Clients that hang up: which requests are under way, and the word that ends some of them.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Told to the generator: let this share of the clients hang up, and say how many did.
#[derive(Debug)]
pub(super) struct HangUp {
    /// Of the requests under way, above 0 to 1.
    pub(super) share: f64,
    /// Draws which.
    pub(super) seed: u64,
    pub(super) answer: oneshot::Sender<u64>,
}

/// The requests under way by their number, and the way to end each.
#[derive(Debug, Default)]
pub(super) struct Lines(BTreeMap<u64, oneshot::Sender<()>>);

impl Lines {
    /// A request that is under way from now on; it hears its client hang up.
    pub(super) fn open(&mut self, seq: u64) -> oneshot::Receiver<()> {
        let (line, hears) = oneshot::channel();
        self.0.insert(seq, line);
        hears
    }

    /// A request that has ended.
    pub(super) fn close(&mut self, seq: u64) {
        self.0.remove(&seq);
    }

    /// Ends the drawn share, rounded up, and answers how many those were.
    pub(super) fn hang_up(&mut self, HangUp { share, seed, answer }: HangUp) {
        let mut open: Vec<u64> = self.0.keys().copied().collect();
        let wanted = ((open.len() as f64 * share).ceil() as usize).min(open.len());
        let mut draw = StdRng::seed_from_u64(seed);
        let mut ended = 0;
        for place in 0..wanted {
            let other = draw.random_range(place..open.len());
            open.swap(place, other);
            let line = self.0.remove(&open[place]);
            ended += u64::from(line.is_some_and(|line| line.send(()).is_ok()));
        }
        // Who asked may have gone.
        let _ = answer.send(ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &mut Lines, share: f64, seed: u64) -> u64 {
        let (answer, mut told) = oneshot::channel();
        lines.hang_up(HangUp { share, seed, answer });
        told.try_recv().unwrap()
    }

    fn drawn(seed: u64) -> Vec<u64> {
        let mut lines = Lines::default();
        let mut hears: Vec<_> = (0..10).map(|seq| (seq, lines.open(seq))).collect();
        assert_eq!(told(&mut lines, 0.25, seed), 3, "a quarter of ten, rounded up");
        hears.iter_mut().filter_map(|(seq, hears)| hears.try_recv().is_ok().then_some(*seq)).collect()
    }

    /// The share is rounded up, drawn from the seed, and counts only requests that are still under way.
    #[test]
    fn a_share_of_those_under_way_hangs_up() {
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        let mut lines = Lines::default();
        let ended = lines.open(1);
        let _under_way = lines.open(2);
        drop(ended);
        assert_eq!(told(&mut lines, 1.0, 1), 1);
        lines.close(2);
        assert_eq!(told(&mut lines, 1.0, 1), 0);
    }
}
