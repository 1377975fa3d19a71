//! The reads of a rung: the workload's own stream, and those that bursts and floods add to it while they are held.
//!
//! What is added comes from streams of its own. So the workload's reads are the same with and without it, in time and in key, and the
//! sum of independent Poisson streams is a Poisson stream of the summed rate.

use super::stream::Stream;
use super::{AbsentIds, AbsentReads, Arrival, KeyId, Popularity, Workload};
use crate::fault::{Fault, FaultAction};
use crate::model::Scenario;

/// The reads of one rung, in order of their intended times. Made by [`Workload::arrivals`] and [`Scenario::arrivals`]; never ends.
#[derive(Debug)]
pub struct Arrivals {
    own: Stream,
    /// The workload's next read.
    next_own: (f64, KeyId),
    added: Vec<Added>,
    next_seq: u64,
}

/// Reads that a fault adds while it is held.
#[derive(Debug)]
struct Added {
    /// Its clock runs only while the fault is held.
    stream: Stream,
    /// Begin and length of each hold, microseconds, in order.
    holds_us: Vec<(f64, f64)>,
    /// The next read; `None` after the last hold.
    next: Option<(f64, KeyId)>,
}

impl Scenario {
    /// The endless sequence of reads of a rung: those of the workload, with what bursts and floods add to them there.
    #[must_use]
    pub fn arrivals(&self, rung: &str) -> Arrivals {
        Arrivals::new(&self.workload, self.seed, self.faults_of(rung))
    }

    /// How many reads are expected of a rung within a window of this many seconds.
    #[must_use]
    pub fn reads_expected(&self, rung: &str, window_s: f64) -> f64 {
        let added = self.faults_of(rung).filter_map(|fault| {
            let held_s = |(begins_ms, ends_ms): (u64, u64)| {
                let until_s = (ends_ms as f64 / 1e3).min(window_s);
                (until_s - begins_ms as f64 / 1e3).max(0.0)
            };
            Some(added_per_s(&self.workload, fault)? * fault.holds_ms().map(held_s).sum::<f64>())
        });
        f64::from(self.workload.rate_per_s) * window_s + added.sum::<f64>()
    }
}

/// How many reads per second a fault adds while it is held; `None` if it is not about the load.
fn added_per_s(workload: &Workload, fault: &Fault) -> Option<f64> {
    match fault.action {
        FaultAction::Burst { factor } => Some(f64::from(workload.rate_per_s) * (factor - 1.0)),
        FaultAction::Flood { rate_per_s } => Some(f64::from(rate_per_s)),
        _ => None,
    }
}

impl Arrivals {
    pub(super) fn new<'f>(workload: &Workload, seed: u64, faults: impl Iterator<Item = &'f Fault>) -> Self {
        let mut own = Stream::new(workload, f64::from(workload.rate_per_s), seed);
        let next_own = drawn(&mut own);
        let added = faults.filter_map(|fault| Added::new(workload, seed, fault)).collect();
        Self { own, next_own, added, next_seq: 0 }
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let at_us = |added: &Added| added.next.map_or(f64::INFINITY, |(at_us, _)| at_us);
        let first = self.added.iter_mut().min_by(|one, other| at_us(one).total_cmp(&at_us(other)));
        let (at_us, key) = match first.filter(|first| at_us(first) < self.next_own.0) {
            Some(first) => first.step()?,
            None => std::mem::replace(&mut self.next_own, drawn(&mut self.own)),
        };
        let arrival = Arrival { seq: self.next_seq, at_us: at_us as u64, key };
        self.next_seq += 1;
        Some(arrival)
    }
}

impl Added {
    fn new(workload: &Workload, seed: u64, fault: &Fault) -> Option<Self> {
        let rate_per_s = added_per_s(workload, fault)?;
        // By its name, so that what one fault adds does not change with the others.
        let seed = seed ^ fingerprint(&fault.name);
        let stream = if let FaultAction::Flood { .. } = fault.action {
            let nobodys = AbsentReads { share: 1.0, ids: AbsentIds::Random };
            let reads = Workload { popularity: Popularity::One, absent: Some(nobodys), ..workload.clone() };
            Stream::new(&reads, rate_per_s, seed)
        } else {
            Stream::new(workload, rate_per_s, seed)
        };
        let us = |ms: u64| ms as f64 * 1e3;
        let holds_us = fault.holds_ms().map(|(from, until)| (us(from), us(until - from))).collect();
        let mut added = Self { stream, holds_us, next: None };
        added.step();
        Some(added)
    }

    /// Takes the next read and draws the one after it.
    fn step(&mut self) -> Option<(f64, KeyId)> {
        let (held_us, key) = drawn(&mut self.stream);
        let mut left_us = held_us;
        let hold = self.holds_us.iter().find(|(_, length_us)| {
            let is_in = left_us < *length_us;
            if !is_in {
                left_us -= length_us;
            }
            is_in
        });
        let next = hold.map(|(begins_us, _)| (begins_us + left_us, key));
        std::mem::replace(&mut self.next, next)
    }
}

fn drawn(stream: &mut Stream) -> (f64, KeyId) {
    // The stream never ends.
    stream.next().unwrap_or((f64::INFINITY, KeyId::Row(0)))
}

/// FNV-1a, 64 bits (Fowler, Noll and Vo): a number for a name that is the same everywhere.
fn fingerprint(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
