//! The pacing thread: sleeps to each intended time and hands the arrival over.

use super::Live;
use herd_scenario::{Arrival, Arrivals};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// The longest sleep before the pacer looks whether it shall stop.
const SLEEP_MAX: Duration = Duration::from_millis(50);

pub(super) struct Pacer {
    pub(super) arrivals: Arrivals,
    pub(super) window_us: u64,
    pub(super) start: Instant,
    pub(super) in_flight_max: usize,
    pub(super) shots: mpsc::Sender<Arrival>,
    pub(super) live: Arc<Live>,
    pub(super) stop: Arc<AtomicBool>,
}

/// What the seed drew and what of it could not be handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offered {
    pub(super) offered: u64,
    pub(super) unsent: u64,
}

impl Pacer {
    /// Hands over every arrival of the window at its time. Dropping the channel afterwards tells the sender that this was
    /// all.
    pub(super) fn run(self) -> Offered {
        let mut offered = Offered::default();
        let window_us = self.window_us;
        for arrival in self.arrivals.take_while(|arrival| arrival.at_us < window_us) {
            if !sleep_until(self.start + Duration::from_micros(arrival.at_us), &self.stop) {
                break;
            }
            offered.offered += 1;
            let room = self.live.in_flight.fetch_add(1, Ordering::Relaxed) < self.in_flight_max;
            if !room || self.shots.try_send(arrival).is_err() {
                self.live.in_flight.fetch_sub(1, Ordering::Relaxed);
                self.live.unsent.fetch_add(1, Ordering::Relaxed);
                offered.unsent += 1;
            }
        }
        // The window lasts to its end, also when the last arrivals came before it.
        sleep_until(self.start + Duration::from_micros(window_us), &self.stop);
        offered
    }
}

/// Whether the time was reached before the stop.
fn sleep_until(at: Instant, stop: &AtomicBool) -> bool {
    loop {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(SLEEP_MAX));
    }
}
