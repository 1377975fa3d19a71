//! The numbers of a scenario and a rung, as the bounds need them.

use herd_scenario::{AbsentIds, Layer, OnWaitTimeout, Retry, Routing, Rung, Scenario};

use crate::words::count;

/// One rung of one scenario.
#[derive(Clone, Copy)]
pub(super) struct Numbers<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) rung: &'a Rung,
}

impl<'a> Numbers<'a> {
    /// N.
    pub(super) fn nodes(&self) -> u64 {
        self.scenario.fleet.nodes.into()
    }

    /// T, milliseconds.
    pub(super) fn ttl_ms(&self) -> u64 {
        self.scenario.policy.ttl_ms.into()
    }

    /// D, milliseconds: the typical rebuild.
    pub(super) fn rebuild_ms(&self) -> u64 {
        self.scenario.origin.model.typical_ms().into()
    }

    /// K.
    pub(super) fn keys(&self) -> u64 {
        self.scenario.workload.keys.into()
    }

    /// r: reads per second of the hottest key.
    pub(super) fn hot_rate(&self) -> f64 {
        self.rate() * self.scenario.workload.shares().of("item-1")
    }

    /// Reads per second over all keys.
    pub(super) fn rate(&self) -> f64 {
        self.scenario.workload.rate_per_s.into()
    }

    /// Share of the reads that ask for rows that do not exist.
    pub(super) fn absent_share(&self) -> f64 {
        self.scenario.workload.absent.map_or(0.0, |absent| absent.share)
    }

    /// Rows that do not exist and are asked for again and again; `None` where each read asks for another.
    pub(super) fn absent_count(&self) -> Option<u64> {
        match self.scenario.workload.absent?.ids {
            AbsentIds::Fixed { count } => Some(count.into()),
            AbsentIds::Random => None,
        }
    }

    /// r*D: readers that come while a rebuild runs.
    pub(super) fn crowd(&self) -> f64 {
        self.readers_within(self.rebuild_ms())
    }

    /// Readers of the hottest key that come within this time.
    pub(super) fn readers_within(&self, ms: u64) -> f64 {
        self.hot_rate() * ms as f64 / 1e3
    }

    /// `r*D = 1,500/s * 300 ms = 450`.
    pub(super) fn crowd_told(&self) -> String {
        let (rate, crowd) = (number(self.hot_rate()), number(self.crowd()));
        format!("r*D = {rate}/s * {} ms = {crowd}", count(self.rebuild_ms()))
    }

    /// Whether one process sees each key.
    pub(super) fn owned(&self) -> bool {
        self.rung.has(Layer::OwnerRouting) || self.scenario.fleet.routing == Routing::Owner
    }

    /// How many rebuilds of a key this rung's lock leaves to the fleet, and why; `None` without a lock. One only while its lease outlives the
    /// rebuild, and who waits for it has the patience.
    pub(super) fn locked(&self) -> Option<(u64, String)> {
        let lock = self.rung.lock.as_ref().filter(|_| self.rung.has(Layer::Lock))?;
        let (rebuild, expiry) = (self.rebuild_ms(), u64::from(lock.expiry_ms));
        if lock.on_wait_timeout == OnWaitTimeout::Origin && u64::from(lock.wait_ms) < rebuild {
            let (many, told) = self.unlocked();
            return Some((many, format!("{told} for the fleet (waiters give up the lock before D)")));
        }
        if lock.renew || expiry >= rebuild {
            return Some((1, "1 for the fleet (the lock)".to_owned()));
        }
        let leases = rebuild.div_ceil(expiry);
        let told = format!("ceil(D/E) = {} for the fleet (the lock's lease ends before D)", count(leases));
        Some((leases, told))
    }

    /// How many rebuilds of a key come where nobody holds the lock: one for each process, or for each reader.
    pub(super) fn unlocked(&self) -> (u64, String) {
        if self.rung.has(Layer::SingleFlight) {
            let nodes = self.nodes();
            return (nodes, format!("N = {}", count(nodes)));
        }
        (self.crowd().ceil() as u64, format!("about {}", self.crowd_told()))
    }

    /// How many rebuilds of a key the layers that coalesce leave to the fleet at once, as a part of a sentence.
    pub(super) fn coalesced(&self) -> String {
        if let Some((_, told)) = self.locked() {
            return told;
        }
        if !self.rung.has(Layer::SingleFlight) {
            return format!("about {}: one for each reader", self.crowd_told());
        }
        if self.owned() {
            return "1 for the fleet (owner routing)".to_owned();
        }
        format!("N = {} for the fleet, 1 in each process", count(self.nodes()))
    }

    /// T, or T*(1+j) where TTLs are drawn, milliseconds: the longest that a value is fresh.
    pub(super) fn fresh_ms_max(&self) -> u64 {
        (self.ttl_ms() as f64 * (1.0 + self.rung.jitter.unwrap_or(0.0))).round() as u64
    }

    /// G, milliseconds; 0 where nothing is served stale.
    pub(super) fn grace_ms(&self) -> u64 {
        self.rung.stale.as_ref().map_or(0, |stale| stale.grace_ms.into())
    }

    /// `T + G = 2,000 + 1,000 = 3,000 ms`: how old an answer may be.
    pub(super) fn oldest_told(&self) -> String {
        let (fresh, grace) = (self.fresh_ms_max(), self.grace_ms());
        format!("{} = {} + {} = {} ms", self.oldest_name(), count(fresh), count(grace), count(fresh + grace))
    }

    /// `T + G = 3,000 ms`.
    pub(super) fn oldest_short(&self) -> String {
        format!("{} = {} ms", self.oldest_name(), count(self.fresh_ms_max() + self.grace_ms()))
    }

    fn oldest_name(&self) -> &'static str {
        if self.rung.jitter.is_some() { "T*(1+j) + G" } else { "T + G" }
    }

    /// The rows that may be served stale.
    pub(super) fn safe_rows(&self) -> String {
        let keys = self.rung.stale.as_ref().map_or(&[][..], |stale| &stale.safe_keys);
        if keys.is_empty() { "none is named".to_owned() } else { keys.join(", ") }
    }

    /// Times that a request is sent at most: a.
    pub(super) fn attempts(&self) -> u64 {
        match self.retry() {
            Retry::Never => 1,
            Retry::Fixed { attempts, .. }
            | Retry::Exponential { attempts, .. }
            | Retry::Budget { attempts, .. } => attempts.into(),
        }
    }

    /// How the clients of this rung behave.
    pub(super) fn retry(&self) -> Retry {
        self.rung.retry.unwrap_or(self.scenario.workload.retry)
    }
}

/// A quantity in a sentence: whole from 10 on, else one or two digits.
pub(super) fn number(value: f64) -> String {
    if value >= 10.0 || value.fract() == 0.0 {
        count(value.round() as u64)
    } else if value >= 1.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
