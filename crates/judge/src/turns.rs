//! What was done to the fleet: each turn of each fault at each target, put together from its steps.

use std::collections::BTreeMap;

use herd_history::{FaultPhase, FaultRecord};
use herd_scenario::{Fault, FaultAction, FaultKind, FaultPart, Peer};

/// One turn of a fault at one target. Times are the lab's clock, Unix microseconds.
#[derive(Debug, Clone)]
pub(crate) struct Turn<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: &'a str,
    /// Counts the repetitions, from 0.
    pub(crate) turn: u64,
    pub(crate) target: &'a str,
    pub(crate) injected_us: Option<u64>,
    pub(crate) confirmed_us: Option<u64>,
    pub(crate) repaired_us: Option<u64>,
    pub(crate) recovered_us: Option<u64>,
    /// How many it hit, where that counts.
    pub(crate) hit: u64,
    /// What was planned; nothing for a fault that is no table of its own, such as a failing origin.
    pub(crate) planned: Option<&'a FaultAction>,
}

/// Every turn of these records, in order of injection. `planned` are the scenario's faults.
pub(crate) fn turns<'a>(planned: &'a [Fault], records: &[&'a FaultRecord]) -> Vec<Turn<'a>> {
    let mut turns: BTreeMap<(&str, u64, &str), Turn<'a>> = BTreeMap::new();
    for record in records {
        let place = (record.fault.as_str(), record.turn, record.target.as_str());
        let turn = turns.entry(place).or_insert_with(|| {
            let fault = planned.iter().find(|fault| fault.name == record.fault);
            let action = fault.map(|fault| &fault.action);
            Turn {
                name: &record.fault,
                kind: match action {
                    Some(action) => action.kind().name(),
                    None => record.kind.as_str(),
                },
                turn: record.turn,
                target: &record.target,
                injected_us: None,
                confirmed_us: None,
                repaired_us: None,
                recovered_us: None,
                hit: 0,
                planned: action,
            }
        });
        turn.hit = turn.hit.max(record.hit);
        // Of a step that was noted twice the first counts; the end is where the last one was.
        let step = match record.phase {
            FaultPhase::Injected => &mut turn.injected_us,
            FaultPhase::Confirmed => &mut turn.confirmed_us,
            FaultPhase::Repaired => &mut turn.repaired_us,
            FaultPhase::Recovered => &mut turn.recovered_us,
            FaultPhase::Unconfirmed | FaultPhase::Unrecovered => continue,
        };
        step.get_or_insert(record.at_us);
    }
    let mut turns: Vec<Turn<'a>> = turns.into_values().collect();
    turns.sort_by_key(|turn| (turn.injected_us, turn.name, turn.turn, turn.target));
    turns
}

impl Turn<'_> {
    /// When it was over: repaired, or confirmed where there is no repair. `None` while nothing says so.
    pub(crate) fn over_us(&self) -> Option<u64> {
        if FaultKind::name_has_repair(self.kind) {
            return self.repaired_us;
        }
        self.recovered_us.or(self.confirmed_us)
    }

    /// From its injection until the fleet was seen to work again, if it was seen to take effect: what happened then may be its work.
    pub(crate) fn effect_us(&self) -> Option<(u64, u64)> {
        let (from_us, _) = (self.injected_us?, self.confirmed_us?);
        // Who has to be seen to work again and was not is not known to.
        let is_over = self.planned.is_none() || !FaultKind::name_has_repair(self.kind);
        let until_us = self.recovered_us.or(self.over_us().filter(|_| is_over));
        Some((from_us, until_us.unwrap_or(u64::MAX)))
    }

    /// Whether it took effect at some time from `from_us` to `to_us`.
    pub(crate) fn overlaps(&self, from_us: u64, to_us: u64) -> bool {
        self.effect_us().is_some_and(|(first_us, last_us)| first_us <= to_us && last_us >= from_us)
    }

    /// Whether it is done to processes of this part, or to what stands for them.
    pub(crate) fn is_of(&self, part: FaultPart) -> bool {
        match self.planned {
            Some(FaultAction::Pause(target) | FaultAction::Kill(target) | FaultAction::Stop(target)) => {
                target.part == part
            }
            Some(FaultAction::RollingRestart | FaultAction::ScaleOut { .. }) => part == FaultPart::CacheNode,
            Some(_) => self.kind.starts_with("redis-") && part == FaultPart::Redis,
            // Runs that are judged without their scenario's faults name the part as the target.
            None => self.target == part.to_string(),
        }
    }

    /// Whether this part, there only once, does not answer while it lasts.
    pub(crate) fn takes_away(&self, part: FaultPart) -> bool {
        let restarts = matches!(
            self.planned,
            Some(FaultAction::RedisRestartEmpty | FaultAction::RedisRestartAof | FaultAction::RedisPromote)
        );
        let ends = !matches!(self.planned, Some(FaultAction::RedisFlush | FaultAction::RedisEvict { .. }));
        ends && self.is_of(part) && (restarts || !self.kind.starts_with("redis-"))
    }

    /// Whether it makes a link of cache nodes to this peer bad.
    pub(crate) fn is_link_to(&self, peer: Peer) -> bool {
        matches!(self.planned, Some(FaultAction::Link { to, .. }) if *to == peer)
    }

    /// Whether it may leave Redis without what it held: values, leases, or both.
    pub(crate) fn loses_store(&self) -> bool {
        let kills_redis = || match self.planned {
            Some(FaultAction::Kill(target) | FaultAction::Stop(target)) => target.part == FaultPart::Redis,
            _ => false,
        };
        // One that came back with its file was seen to have what it was told last: else it did not recover.
        let is_kept = self.planned == Some(&FaultAction::RedisRestartAof) && self.recovered_us.is_some();
        (self.kind.starts_with("redis-") && !is_kept) || kills_redis()
    }

    /// Whether it is done to this cache node.
    pub(crate) fn hits_node(&self, node: &str) -> bool {
        let of_all = matches!(self.target, "all" | "cache-node");
        self.target == node || (of_all && (self.is_of(FaultPart::CacheNode) || self.is_link()))
    }

    fn is_link(&self) -> bool {
        matches!(self.planned, Some(FaultAction::Link { .. }))
    }
}
