//! The pre-warm gate: processes that start cold take no traffic until reads like yesterday's would hit.
//!
//! Fill the keys that an access log names most, then look up a sample of the log's reads, each key once since a look fills what was
//! missing, and tell the gate what each found. It opens at a hit rate. It bounds the misses of the cut-over at 1 - h, for as long as no
//! filled value has expired and the log tells today's reads.

/// The hit rate at which a gate opens where nobody says otherwise.
pub const HIT_RATE: f64 = 0.7;

/// What the sampled reads found so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gate {
    wanted: f64,
    hits: u64,
    reads: u64,
}

impl Gate {
    /// Nothing was read yet. It opens at this share of hits, 0 to 1.
    #[must_use]
    pub const fn new(wanted: f64) -> Self {
        Self { wanted, hits: 0, reads: 0 }
    }

    /// A look at a key that stands for so many reads of the log, and whether it hit. A look that failed is none that hit.
    pub const fn looked(&mut self, reads: u64, hit: bool) {
        self.reads = self.reads.saturating_add(reads);
        if hit {
            self.hits = self.hits.saturating_add(reads);
        }
    }

    /// Reads that were looked up, as the log counts them.
    #[must_use]
    pub const fn reads(&self) -> u64 {
        self.reads
    }

    /// The share of them that hit, 0 to 1; 0 before the first.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        if self.reads == 0 { 0.0 } else { self.hits as f64 / self.reads as f64 }
    }

    /// Whether traffic may come. A gate that saw nothing stays shut, whatever is asked of it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.reads > 0 && self.hit_rate() >= self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: it opens at the hit rate and not below, by reads and not by keys, and never on nothing.
    #[test]
    fn opens_at_the_hit_rate() {
        let mut gate = Gate::new(HIT_RATE);
        assert!(!gate.is_open() && !Gate::new(0.0).is_open());
        gate.looked(69, true);
        gate.looked(30, false);
        assert!(!gate.is_open(), "{gate:?}");
        gate.looked(1, true);
        assert!(gate.is_open(), "{gate:?}");
        assert_eq!((gate.reads(), gate.hit_rate()), (100, 0.7));
    }
}
