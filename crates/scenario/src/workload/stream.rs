//! One endless stream of reads at a steady rate, drawn from a seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{AbsentIds, AbsentReads, ArrivalProcess, KeyId, Popularity, Workload};

/// Reads in order of their times; never ends.
#[derive(Debug)]
pub(super) struct Stream {
    gaps: StdRng,
    picks: StdRng,
    absences: StdRng,
    process: ArrivalProcess,
    mean_gap_us: f64,
    cumulative: Vec<f64>,
    absent: Option<AbsentReads>,
    /// Where the sequence of random ids begins; each draws the next.
    next_random: u64,
    clock_us: f64,
}

impl Stream {
    /// The reads of a workload, at another rate than its own.
    pub(super) fn new(workload: &Workload, rate_per_s: f64, seed: u64) -> Self {
        // Streams of their own, so that neither the choice of keys nor that of absent ones moves the arrival times, and
        // a read that is not absent asks for the same row whether or not others are.
        let mut absences = StdRng::seed_from_u64(seed ^ 0x6162_7365_6e74_6964);
        Self {
            gaps: StdRng::seed_from_u64(seed),
            picks: StdRng::seed_from_u64(seed ^ 0x6b65_7973_6b65_7973),
            next_random: absences.random(),
            absences,
            process: workload.arrivals,
            mean_gap_us: 1e6 / rate_per_s,
            cumulative: cumulative(workload),
            absent: workload.absent,
            clock_us: 0.0,
        }
    }

    fn gap_us(&mut self) -> f64 {
        match self.process {
            ArrivalProcess::Uniform => self.mean_gap_us,
            ArrivalProcess::Poisson => {
                // 1 - u lies in (0, 1], so that the logarithm is finite.
                let u: f64 = self.gaps.random();
                -(1.0 - u).ln() * self.mean_gap_us
            }
        }
    }

    fn row(&mut self) -> KeyId {
        if self.cumulative.is_empty() {
            return KeyId::Row(0);
        }
        let u: f64 = self.picks.random();
        let index = self.cumulative.partition_point(|&sum| sum <= u);
        KeyId::Row(u32::try_from(index.min(self.cumulative.len() - 1)).expect("as many sums as keys"))
    }

    /// The absent key that this read asks for, if it asks for one.
    fn absence(&mut self) -> Option<KeyId> {
        let absent = self.absent?;
        if self.absences.random::<f64>() >= absent.share {
            return None;
        }
        Some(match absent.ids {
            AbsentIds::Fixed { count } => KeyId::Absent(self.absences.random_range(0..count.max(1))),
            AbsentIds::Random => {
                self.next_random = self.next_random.wrapping_add(1);
                KeyId::Random(scattered(self.next_random))
            }
        })
    }
}

impl Iterator for Stream {
    /// When, microseconds, and of what.
    type Item = (f64, KeyId);

    fn next(&mut self) -> Option<Self::Item> {
        self.clock_us += self.gap_us();
        let row = self.row();
        Some((self.clock_us, self.absence().unwrap_or(row)))
    }
}

/// Running sums of the rows' shares of the reads that ask for a row; empty when there is nothing to choose.
fn cumulative(workload: &Workload) -> Vec<f64> {
    let keys = workload.keys;
    match workload.popularity {
        Popularity::One => Vec::new(),
        Popularity::Uniform | Popularity::Hot { .. } if keys == 1 => Vec::new(),
        Popularity::Hot { share } => {
            let others = f64::from(keys - 1);
            (0..keys).map(|k| share + (1.0 - share) * f64::from(k) / others).collect()
        }
        Popularity::Uniform => (1..=keys).map(|k| f64::from(k) / f64::from(keys)).collect(),
        Popularity::Zipf { exponent } => {
            let mut sum = 0.0;
            let mut sums: Vec<f64> = (1..=keys)
                .map(|k| {
                    sum += f64::from(k).powf(-exponent);
                    sum
                })
                .collect();
            sums.iter_mut().for_each(|value| *value /= sum);
            sums
        }
    }
}

/// Scatters consecutive numbers over all of 64 bits, no two to the same place: the finalizer of `SplitMix64` (Steele, Lea and
/// Flood, 2014), of which each step can be undone.
fn scattered(number: u64) -> u64 {
    let mut bits = number;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
