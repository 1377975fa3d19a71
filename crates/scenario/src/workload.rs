//! The load: arrival times and keys, drawn from the seed as endless iterators.
//!
//! The same seed draws the same load for every rung, on every machine: before and after are measured under identical
//! load. Times are offsets from the start of a rung's window; nothing here knows a clock.

use std::fmt;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::model::{Named, named};

/// The load of an experiment. Open loop: arrivals do not wait for answers, and clients do not retry.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Number of distinct keys, 1 to 100,000: the origin's rows `item-1` to `item-<keys>`.
    pub keys: u32,
    /// Which key an arrival reads.
    pub popularity: Popularity,
    /// Reads per second over all keys, 1 to 100,000.
    pub rate_per_s: u32,
    /// How arrivals are spaced.
    pub arrivals: ArrivalProcess,
    /// Complete boundaries that each rung must have counted, 1 to 1,000.
    pub boundaries: u32,
    /// Deadline of each request, milliseconds, 1 to 60,000.
    pub request_deadline_ms: u32,
}

/// Which key an arrival reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Popularity {
    /// Always the first: one hot key.
    One,
    /// Each key alike.
    Uniform,
    /// Zipf's law: key k has weight 1 / k^exponent.
    Zipf {
        /// Above 0 to 3.
        exponent: f64,
    },
}

/// How arrivals are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArrivalProcess {
    /// Independent readers: exponential gaps.
    #[default]
    Poisson,
    /// Equal gaps.
    Uniform,
}

named!(ArrivalProcess { "poisson" => Poisson, "uniform" => Uniform });

/// One read that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Counts from 0.
    pub seq: u64,
    /// Intended send time, microseconds after the start of the rung's window; never decreases.
    pub at_us: u64,
    /// Which key, from 0; its name is [`Workload::key_name`].
    pub key: u32,
}

impl Workload {
    /// The endless sequence of reads that this seed draws. The caller stops at the end of its window.
    #[must_use]
    pub fn arrivals(&self, seed: u64) -> Arrivals {
        Arrivals {
            gaps: StdRng::seed_from_u64(seed),
            // A stream of its own, so that the choice of keys does not move the arrival times.
            picks: StdRng::seed_from_u64(seed ^ 0x6b65_7973_6b65_7973),
            process: self.arrivals,
            mean_gap_us: 1e6 / f64::from(self.rate_per_s),
            cumulative: self.cumulative(),
            next_seq: 0,
            clock_us: 0.0,
        }
    }

    /// The row's name of a key that an [`Arrival`] names: `item-1` for key 0.
    #[must_use]
    pub fn key_name(&self, key: u32) -> String {
        format!("item-{}", key + 1)
    }

    /// How the reads spread over the keys.
    #[must_use]
    pub fn shares(&self) -> Shares {
        let total = match self.popularity {
            Popularity::One => 1.0,
            Popularity::Uniform => f64::from(self.keys),
            Popularity::Zipf { exponent } => (1..=self.keys).map(|k| f64::from(k).powf(-exponent)).sum(),
        };
        Shares { keys: self.keys, popularity: self.popularity, total }
    }

    /// Running sums of the keys' shares; empty when there is nothing to choose.
    fn cumulative(&self) -> Vec<f64> {
        let Popularity::Zipf { exponent } = self.popularity else {
            return match self.popularity {
                Popularity::Uniform if self.keys > 1 => {
                    (1..=self.keys).map(|k| f64::from(k) / f64::from(self.keys)).collect()
                }
                _ => Vec::new(),
            };
        };
        let mut sum = 0.0;
        let mut sums: Vec<f64> = (1..=self.keys)
            .map(|k| {
                sum += f64::from(k).powf(-exponent);
                sum
            })
            .collect();
        for value in &mut sums {
            *value /= sum;
        }
        sums
    }
}

/// How the reads of a workload spread over its keys. Made by [`Workload::shares`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    keys: u32,
    popularity: Popularity,
    /// Sum of the keys' weights.
    total: f64,
}

impl Shares {
    /// The share of all reads, 0 to 1, that go to the key with this row name; 0 for names that are not drawn.
    #[must_use]
    pub fn of(&self, key_name: &str) -> f64 {
        let number = key_name.strip_prefix("item-").and_then(|number| number.parse::<u32>().ok());
        let Some(number) = number.filter(|number| (1..=self.keys).contains(number)) else {
            return 0.0;
        };
        let weight = match self.popularity {
            Popularity::One => f64::from(u8::from(number == 1)),
            Popularity::Uniform => 1.0,
            Popularity::Zipf { exponent } => f64::from(number).powf(-exponent),
        };
        weight / self.total
    }
}

/// The reads of one rung, in order of their intended times. Made by [`Workload::arrivals`]; never ends.
#[derive(Debug)]
pub struct Arrivals {
    gaps: StdRng,
    picks: StdRng,
    process: ArrivalProcess,
    mean_gap_us: f64,
    cumulative: Vec<f64>,
    next_seq: u64,
    clock_us: f64,
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let gap_us = match self.process {
            ArrivalProcess::Uniform => self.mean_gap_us,
            ArrivalProcess::Poisson => {
                // 1 - u lies in (0, 1], so that the logarithm is finite.
                let u: f64 = self.gaps.random();
                -(1.0 - u).ln() * self.mean_gap_us
            }
        };
        self.clock_us += gap_us;
        let key = if self.cumulative.is_empty() {
            0
        } else {
            let u: f64 = self.picks.random();
            let index = self.cumulative.partition_point(|&sum| sum <= u);
            index.min(self.cumulative.len() - 1) as u32
        };
        let arrival = Arrival { seq: self.next_seq, at_us: self.clock_us as u64, key };
        self.next_seq += 1;
        Some(arrival)
    }
}
