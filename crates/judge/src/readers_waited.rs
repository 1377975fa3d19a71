//! Property: how many reads waited for a rebuild.
//!
//! Where stale values are served while they are refreshed, nobody waits who reads a key that is safe for it and of which there is a
//! value within its grace. A read counts if there surely was one when it was sent and for 100 ms more, in which a busy node has
//! looked: the store had taken a value (by its record, or by the end of the rebuild and some time for the write), the shortest TTL
//! and the grace were not yet over, and no deletion came between. Reads of cold keys and of values past their grace wait by right.
//!
//! How a read was answered is the node's own word. Part of it is held against the store's record: an answer that is said to be
//! stale, of a value whose shortest TTL was not over when it was given, came out of the rebuild that made that value, and its
//! reader waited.
//!
//! Another part is held against the time that it took: see [`SlowHits`]. Where answers that no rebuild can have held up are slow, too, the
//! machine is, and the time says nothing; nor do deadlines that passed while the generator lagged.
//!
//! In a rung without that layer every read of a row that exists counts, and theory bounds none of them.

use std::collections::BTreeMap;

use herd_history::{FetchOutcome, OperationRecord, Outcome as Ended, Served};
use herd_scenario::{Claim, Layer};

use crate::Case;
use crate::assumptions::lagged;
use crate::boundary::{own_rows, prefix_of, prefix_of_answer};
use crate::limit::Limit;
use crate::lives::{Lives, Place};
use crate::readers::CLOCK_SLACK_US;
use crate::verdict::Verdict;
use crate::witness::Witness;

/// How long after it was sent a request's first look may come.
const LOOK_SLACK_US: u64 = 100_000;

pub(crate) fn check(case: &Case<'_>, claim: &Claim) -> Verdict {
    let serves_stale = case.rung.has(Layer::StaleWhileRevalidate);
    let limit = Limit::of_some(claim, || {
        serves_stale.then(|| Limit::exactly(0, "0 while a value is within its grace"))
    });
    let Some(mut limit) = limit else {
        return Verdict::unknown(case.rung, claim, "no layer of the rung keeps readers from waiting");
    };
    let lives = serves_stale.then(|| Lives::of(case.history));
    let counts = |row: &&OperationRecord| match &lives {
        Some(lives) => is_servable(case, lives, row),
        None => case.rows.is_row(&row.key),
    };
    let reads: Vec<&OperationRecord> = case.operations_of(claim).filter(counts).collect();
    let surely = |row: &OperationRecord| {
        has_waited(row) || lives.as_ref().is_some_and(|lives| is_fresh_though_stale(case, lives, row))
    };
    let slow = SlowHits::of(case);
    let waited = |row: &OperationRecord| surely(row) || slow.has_waited(row);
    let timeless = |row: &&&OperationRecord| surely(row) && row.outcome != Ended::DeadlineExceeded;
    if reads.iter().filter(timeless).count() as u64 <= limit.at_most {
        limit.broken_premise = slow.broken_premise().or_else(|| lagged(case));
    }
    let who_waited: Vec<(&OperationRecord, String)> =
        reads.iter().filter(|row| waited(row)).map(|row| (*row, told(row))).collect();
    let others = case.operations_of(claim).filter(|row| waited(row)).count() - who_waited.len();
    let observed = who_waited.len() as u64;
    let why =
        format!("{observed} of {} reads that count waited for a rebuild, and {others} others", reads.len());
    let stale = reads.iter().filter(|row| row.served == Served::Stale).count();
    let missing = if reads.is_empty() {
        Some("no read counts".to_owned())
    } else {
        (serves_stale && stale == 0).then(|| "no value was read after its expiry".to_owned())
    };
    let witness = (!who_waited.is_empty())
        .then(|| Witness::of_operations("reads that waited for a rebuild".to_owned(), observed, &who_waited));
    Verdict::counted(case, claim, &limit, observed, why, witness).unless(missing)
}

/// Whether the request waited for a rebuild, its own or another's, in vain or not.
pub(crate) fn has_waited(row: &OperationRecord) -> bool {
    match row.outcome {
        Ended::Answered | Ended::NotFound => matches!(
            row.served,
            Served::Led | Served::Waited | Served::WaitedFleet | Served::SecondLook | Served::Uncoordinated
        ),
        Ended::DeadlineExceeded => true,
        _ => false,
    }
}

/// End and start of a rebuild, Unix microseconds, and the generation that it made, if it made one.
type Rebuild = (u64, u64, Option<u64>);

/// How much rarer slow answers must be where no rebuild can have held them up than where one can.
const RARER: u64 = 10;

/// The rebuilds of each key, to hold the time of an answer that is said to be none of them against.
pub(crate) struct SlowHits<'c, 'a> {
    case: &'c Case<'a>,
    /// In order of their ends.
    keys: BTreeMap<Place<'a>, Vec<Rebuild>>,
}

/// An answer that is said to be a hit, or stale, by what may have held it up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hit {
    /// No rebuild of its key ran while it was under way.
    Beside { slow: bool },
    /// One did; whether the answer went through its end, and took so long, that it must have waited for it.
    Through { waited: bool },
}

impl<'c, 'a> SlowHits<'c, 'a> {
    pub(crate) fn of(case: &'c Case<'a>) -> Self {
        let mut keys: BTreeMap<Place<'a>, Vec<Rebuild>> = BTreeMap::new();
        let history = case.history;
        for row in own_rows(history) {
            let made = (row.outcome == Some(FetchOutcome::Fetched)).then(|| row.generation.saturating_add(1));
            let of_key = keys.entry((prefix_of(row), &row.key)).or_default();
            of_key.push((row.end_us.unwrap_or(u64::MAX), row.start_us, made));
        }
        keys.values_mut().for_each(|rebuilds| rebuilds.sort_unstable());
        Self { case, keys }
    }

    /// Whether an answer that is said to be a hit, or stale, waited all the same: from when it was sent it took longer than half of D,
    /// through the end of a rebuild of its key that had been under way for so long; a hit was given what that made. A process that a
    /// fault holds up, or a queue at a gate, makes others wait: they do not count.
    pub(crate) fn has_waited(&self, row: &OperationRecord) -> bool {
        self.hit(row) == Some(Hit::Through { waited: true })
    }

    /// Why slowness shows no wait in this run: among answers that no rebuild can have held up slow ones were not much rarer.
    pub(crate) fn broken_premise(&self) -> Option<String> {
        let (mut beside, mut slow, mut through, mut waited) = (0_u64, 0_u64, 0_u64, 0_u64);
        for hit in self.case.history.operations.iter().filter_map(|row| self.hit(row)) {
            match hit {
                Hit::Beside { slow: is_slow } => (beside, slow) = (beside + 1, slow + u64::from(is_slow)),
                Hit::Through { waited: has } => (through, waited) = (through + 1, waited + u64::from(has)),
            }
        }
        // slow / beside >= waited / through / RARER, without a division by nothing.
        let as_usual = u128::from(slow) * u128::from(through) * u128::from(RARER);
        (slow > 0 && as_usual >= u128::from(waited) * u128::from(beside)).then(|| {
            format!(
                "time tells waits from hits only where hits are quick, and of {beside} that no rebuild can have held up {slow} took \
                 longer than half of D as well"
            )
        })
    }

    /// The longest that an answer took that no rebuild can have held up, milliseconds: what the machine alone adds to any wait.
    pub(crate) fn slowest_beside_ms(&self) -> u64 {
        let beside = |row: &&OperationRecord| matches!(self.hit(row), Some(Hit::Beside { .. }));
        let took_us = |row: &OperationRecord| row.done_us.saturating_sub(row.sent_us);
        self.case.history.operations.iter().filter(beside).map(took_us).max().unwrap_or(0).div_ceil(1_000)
    }

    fn hit(&self, row: &OperationRecord) -> Option<Hit> {
        let half_us = u64::from(self.case.scenario.origin.model.typical_ms()) * 500;
        let is_hit = matches!(row.served, Served::Hit | Served::HitLocal | Served::Stale);
        if row.outcome != Ended::Answered || !is_hit || row.attempts > 1 {
            return None;
        }
        let held_up = self.case.turns.iter().any(|turn| turn.overlaps(row.sent_us, row.done_us));
        let queued = self.case.rung.shed.and_then(|shed| shed.edge).is_some_and(|gate| gate.queue_max > 0);
        if held_up || queued {
            return None;
        }
        let slow = row.done_us.saturating_sub(row.sent_us) > half_us;
        let place = (prefix_of_answer(self.case.history, row), row.key.as_str());
        let all = self.keys.get(&place).map_or(&[][..], Vec::as_slice);
        let first = all.partition_point(|(end_us, ..)| end_us.saturating_add(CLOCK_SLACK_US) < row.sent_us);
        let until_us = row.done_us.saturating_add(CLOCK_SLACK_US);
        let meanwhile = || all[first..].iter().filter(|(_, start_us, _)| *start_us <= until_us);
        if meanwhile().next().is_none() {
            return Some(Hit::Beside { slow });
        }
        let held = |(end_us, start_us, made): &Rebuild| {
            let shared_us = end_us.saturating_sub((*start_us).max(row.sent_us));
            let is_its_own = made.is_some_and(|made| row.served == Served::Stale || made == row.generation);
            *end_us <= until_us && shared_us > half_us && is_its_own
        };
        Some(Hit::Through { waited: slow && meanwhile().any(held) })
    }
}

/// Whether the answer is said to be stale, of a value that cannot have expired by then.
fn is_fresh_though_stale(case: &Case<'_>, lives: &Lives<'_>, row: &OperationRecord) -> bool {
    if row.outcome != Ended::Answered || row.served != Served::Stale {
        return false;
    }
    let place = (prefix_of_answer(case.history, row), row.key.as_str());
    lives.of_value(place, row.generation).is_some_and(|life| {
        let expires_us = life.first_us.saturating_add((shortest_ttl_ms(case) * 1e3) as u64);
        row.done_us.saturating_add(CLOCK_SLACK_US) < expires_us
    })
}

fn shortest_ttl_ms(case: &Case<'_>) -> f64 {
    f64::from(case.scenario.policy.ttl_ms) * (1.0 - case.rung.jitter.unwrap_or(0.0))
}

/// Whether a value that may be served was there all the time.
fn is_servable(case: &Case<'_>, lives: &Lives<'_>, row: &OperationRecord) -> bool {
    let Some(stale) = case.rung.stale.as_ref().filter(|stale| stale.is_safe(&row.key)) else { return false };
    let Some(of_key) = lives.of_key((prefix_of_answer(case.history, row), &row.key)) else { return false };
    let servable_us = (shortest_ttl_ms(case) * 1e3) as u64 + u64::from(stale.grace_ms) * 1_000;
    of_key.newest_at(row.sent_us).is_some_and(|life| {
        let until_us = life.first_us.saturating_add(servable_us).saturating_sub(CLOCK_SLACK_US);
        let from_us = life.first_us.saturating_sub(CLOCK_SLACK_US);
        row.sent_us.saturating_add(LOOK_SLACK_US) <= until_us
            && !of_key.is_deleted_between(from_us, row.done_us.saturating_add(CLOCK_SLACK_US))
            && !case.stores.lost_between(from_us, row.done_us.saturating_add(CLOCK_SLACK_US))
    })
}

fn told(row: &OperationRecord) -> String {
    format!("{:?} after {:.1} ms", row.served, row.done_us.saturating_sub(row.sent_us) as f64 / 1e3)
}
