//! The load: arrival times and keys, drawn from the seed as endless iterators, and how clients come again.
//!
//! The same seed draws the same load for every rung, on every machine: before and after are measured under identical
//! load. Times are offsets from the start of a rung's window; nothing here knows a clock.

mod arrivals;
mod retry;
mod stream;

use std::fmt;

use crate::named::{Named, named};

pub use arrivals::Arrivals;
pub use retry::{Retry, RetryBudget};

/// The load of an experiment. Open loop: arrivals do not wait for answers. Whether clients come again is their
/// [`Retry`].
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
    /// Complete boundaries that each rung must have counted, 0 to 1,000; 0 where none is waited for.
    pub boundaries: u32,
    /// How long the load runs, milliseconds, 100 to 3,600,000, where it does not follow from `boundaries`.
    pub window_ms: Option<u32>,
    /// Reads of rows that do not exist.
    pub absent: Option<AbsentReads>,
    /// Rows inserted while the load runs: the absent keys of [`AbsentIds::Fixed`], one after the other, one every so many milliseconds,
    /// 10 to 60,000.
    pub insert_every_ms: Option<u32>,
    /// The most read row changes at the origin, behind the back of every cache, once every so many milliseconds, 10 to 60,000: its
    /// version grows by one each time, so that an old value can be told from a new one.
    pub update_every_ms: Option<u32>,
    /// How clients behave when they are refused or get no answer.
    pub retry: Retry,
    /// Deadline of each request, milliseconds, 1 to 60,000.
    pub request_deadline_ms: u32,
}

/// Reads of rows that do not exist.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AbsentReads {
    /// Share of all reads, above 0 to 1.
    pub share: f64,
    /// Which ids they ask for.
    pub ids: AbsentIds,
}

/// Which absent ids are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbsentIds {
    /// The same few, each alike: rows `absent-1` to `absent-<count>`.
    Fixed {
        /// 1 to 10,000.
        count: u32,
    },
    /// Another one with every read, as in an attack: `random-<number>`.
    Random,
}

/// Which key an arrival reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Popularity {
    /// Always the first: one hot key.
    One,
    /// The first gets this share of the reads of existing rows, the others share the rest alike.
    Hot {
        /// Above 0, below 1.
        share: f64,
    },
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
    /// Which key; its name is [`Workload::key_name`].
    pub key: KeyId,
}

/// A row that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyId {
    /// One that exists, from 0.
    Row(u32),
    /// One of the few absent ones, from 0.
    Absent(u32),
    /// One that nobody asks for again.
    Random(u64),
}

impl Default for Workload {
    /// One hot key, 1,000 independent reads per second, five boundaries, 10 s for each request, nobody retries.
    fn default() -> Self {
        Self {
            keys: 1,
            popularity: Popularity::One,
            rate_per_s: 1_000,
            arrivals: ArrivalProcess::Poisson,
            boundaries: 5,
            window_ms: None,
            absent: None,
            insert_every_ms: None,
            update_every_ms: None,
            retry: Retry::Never,
            request_deadline_ms: 10_000,
        }
    }
}

impl Workload {
    /// The endless sequence of reads that this seed draws, without what faults add: [`Scenario::arrivals`](crate::Scenario::arrivals)
    /// has that too. The caller stops at the end of its window.
    #[must_use]
    pub fn arrivals(&self, seed: u64) -> Arrivals {
        Arrivals::new(self, seed, std::iter::empty())
    }

    /// The row's name of a key that an [`Arrival`] names: `item-1` for row 0, `absent-1` for the first absent one,
    /// `random-` and 16 hexadecimal digits.
    #[must_use]
    pub fn key_name(&self, key: KeyId) -> String {
        match key {
            KeyId::Row(row) => format!("item-{}", row + 1),
            KeyId::Absent(absent) => format!("absent-{}", absent + 1),
            KeyId::Random(number) => format!("random-{number:016x}"),
        }
    }

    /// How the reads spread over the keys.
    #[must_use]
    pub fn shares(&self) -> Shares {
        let total = match self.popularity {
            Popularity::One | Popularity::Hot { .. } => 1.0,
            Popularity::Uniform => f64::from(self.keys),
            Popularity::Zipf { exponent } => (1..=self.keys).map(|k| f64::from(k).powf(-exponent)).sum(),
        };
        Shares { keys: self.keys, popularity: self.popularity, total, absent: self.absent }
    }
}

/// How the reads of a workload spread over its keys. Made by [`Workload::shares`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    keys: u32,
    popularity: Popularity,
    /// Sum of the keys' weights.
    total: f64,
    absent: Option<AbsentReads>,
}

impl Shares {
    /// The share of all reads, 0 to 1, that go to the key with this row name; 0 for names that are not drawn, and for the
    /// random ones, of which each is drawn once.
    #[must_use]
    pub fn of(&self, key_name: &str) -> f64 {
        let absent_share = self.absent.map_or(0.0, |absent| absent.share);
        if let Some(AbsentReads { share, ids: AbsentIds::Fixed { count } }) = self.absent
            && numbered(key_name, "absent-", count).is_some()
        {
            return share / f64::from(count);
        }
        let Some(number) = numbered(key_name, "item-", self.keys) else { return 0.0 };
        let weight = match self.popularity {
            Popularity::One => f64::from(u8::from(number == 1)),
            Popularity::Hot { share } if number == 1 => share,
            Popularity::Hot { share } => (1.0 - share) / f64::from(self.keys - 1),
            Popularity::Uniform => 1.0,
            Popularity::Zipf { exponent } => f64::from(number).powf(-exponent),
        };
        (1.0 - absent_share) * weight / self.total
    }

    /// The share of all reads, 0 to 1, that go to the key that is read most. `item-1` in every popularity.
    #[must_use]
    pub fn of_most_read(&self) -> f64 {
        self.of("item-1")
    }
}

/// The number, 1 to `most`, after the beginning of a name. Names are written in one way only: no sign, no leading zero.
fn numbered(name: &str, beginning: &str, most: u32) -> Option<u32> {
    let digits = name.strip_prefix(beginning)?;
    let number = digits.parse::<u32>().ok().filter(|number| (1..=most).contains(number))?;
    (number.to_string() == digits).then_some(number)
}
