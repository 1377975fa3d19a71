//! The rows that a rung asks for: which exist, since when, and what is a good answer to who asks for one.

use std::collections::BTreeMap;

use herd_history::{OperationRecord, Outcome as Ended, RungHistory};
use herd_scenario::{AbsentIds, Fault, FaultAction, Scenario};

/// What is known of the origin's rows, from the scenario and from what the generator inserted.
pub(crate) struct Rows<'a> {
    keys: u64,
    absent: Option<AbsentIds>,
    /// Whether a fault asks for rows that do not exist.
    flooded: bool,
    inserted: BTreeMap<&'a str, Inserted>,
}

/// The insertion of one row. Times are the lab's clock.
struct Inserted {
    /// First time that it was asked for.
    sent_us: u64,
    /// First time that it was acknowledged.
    acknowledged_us: Option<u64>,
}

impl<'a> Rows<'a> {
    pub(crate) fn of(scenario: &Scenario, history: &'a RungHistory) -> Self {
        let mut inserted: BTreeMap<&str, Inserted> = BTreeMap::new();
        for insert in &history.inserts {
            let fresh = Inserted { sent_us: insert.sent_us, acknowledged_us: None };
            let row = inserted.entry(insert.key.as_str()).or_insert(fresh);
            row.sent_us = row.sent_us.min(insert.sent_us);
            if insert.outcome == Ended::Answered {
                let first = row.acknowledged_us.map_or(insert.done_us, |us| us.min(insert.done_us));
                row.acknowledged_us = Some(first);
            }
        }
        let floods = |fault: &Fault| matches!(fault.action, FaultAction::Flood { .. });
        let flooded = scenario.faults.iter().any(floods);
        let absent = scenario.workload.absent.map(|reads| reads.ids);
        Self { keys: u64::from(scenario.workload.keys), absent, flooded, inserted }
    }

    /// Whether the row is there from the beginning: `item-1` to `item-<keys>`.
    pub(crate) fn is_row(&self, key: &str) -> bool {
        numbered(key, "item-").is_some_and(|number| (1..=self.keys).contains(&number))
    }

    /// Whether the rung has business with this key.
    pub(crate) fn is_known(&self, key: &str) -> bool {
        let is_asked_for = match self.absent {
            None => false,
            Some(AbsentIds::Fixed { count }) => {
                numbered(key, "absent-").is_some_and(|number| (1..=u64::from(count)).contains(&number))
            }
            Some(AbsentIds::Random) => key.starts_with("random-"),
        };
        let of_flood = self.flooded && (key.starts_with("flood-") || key.starts_with("random-"));
        self.is_row(key) || is_asked_for || of_flood || self.inserted.contains_key(key)
    }

    /// When the row was there for sure: its insertion was acknowledged. None for one that was never inserted.
    pub(crate) fn acknowledged_us(&self, key: &str) -> Option<u64> {
        self.inserted.get(key).and_then(|row| row.acknowledged_us)
    }

    /// Keys whose insertion was acknowledged, and when, in order of their names.
    pub(crate) fn acknowledged(&self) -> impl Iterator<Item = (&'a str, u64)> + '_ {
        self.inserted.iter().filter_map(|(key, row)| Some((*key, row.acknowledged_us?)))
    }

    /// Whether "there is no such row" can be right for a request sent then.
    pub(crate) fn may_be_absent(&self, key: &str, sent_us: u64) -> bool {
        !self.is_row(key) && self.acknowledged_us(key).is_none_or(|us| us >= sent_us)
    }

    /// Whether a value can be right in an answer given then.
    pub(crate) fn may_exist(&self, key: &str, done_us: u64) -> bool {
        self.is_row(key) || self.inserted.get(key).is_some_and(|row| row.sent_us <= done_us)
    }

    /// Whether the request got what it should get: a value of a row that exists, or that it does not.
    pub(crate) fn is_good(&self, row: &OperationRecord) -> bool {
        match row.outcome {
            Ended::Answered => self.may_exist(&row.key, row.done_us),
            Ended::NotFound => self.may_be_absent(&row.key, row.sent_us),
            _ => false,
        }
    }
}

/// The number in `item-12`, written as the generator writes it.
fn numbered(key: &str, beginning: &str) -> Option<u64> {
    let digits = key.strip_prefix(beginning)?;
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}
