//! What confirmed faults take from a herd. Each allowance needs a fault that overlaps the very rebuilds that it is for.

use std::collections::BTreeSet;

use herd_history::{FetchOutcome, LedgerRow, Outcome as Ended, StoreWriteRecord, StoreWriteVerdict};
use herd_scenario::{FaultAction, FaultPart, Layer, LinkRule, OnWaitTimeout, OriginModel, Peer};

use super::starts_us;
use crate::Case;
use crate::lives::WRITE_SLACK_US;
use crate::readers::CLOCK_SLACK_US;
use crate::turns::Turn;

/// How long after a part came back a node may still act on that it was away: a call's deadline, and a reconnection.
const REACH_SLACK_US: u64 = 1_000_000;

/// How a rebuild is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Its end, or the end of its lease: another process may begin.
    Anything,
    /// Its end alone: its process has no flight any more.
    ItsEnd,
}

/// Rebuilds that a fault took away, of those that `counts`: each lets another one start, later than itself and than the fault.
pub(super) fn lost(case: &Case<'_>, rows: &[&LedgerRow], counts: impl Fn(&LedgerRow) -> bool, by: By) -> u64 {
    let last = rows.iter().max_by_key(|row| (row.start_us, row.rebuild));
    let Some((last_us, last)) = last.map(|row| (row.start_us, row.rebuild)) else { return 0 };
    let is_lost = |row: &&&LedgerRow| {
        counts(row)
            && row.rebuild != last
            && case.turns.iter().any(|turn| {
                turn.injected_us.is_some_and(|us| us <= last_us.saturating_add(CLOCK_SLACK_US))
                    && (explains_failure(turn, row)
                        || ended_holder(turn, row)
                        || (by == By::Anything && outlasted_lease(case, turn, row)))
            })
    };
    rows.iter().filter(is_lost).count() as u64
}

/// Whether a rebuild brought nothing.
pub(super) fn has_failed(row: &LedgerRow) -> bool {
    !matches!(row.outcome, Some(FetchOutcome::Fetched | FetchOutcome::NoSuchRow | FetchOutcome::Rejected))
}

/// Whether a fault explains that the origin never noted the rebuild's end: it ended, or its database did.
pub(crate) fn explains_loss(case: &Case<'_>, row: &LedgerRow) -> bool {
    case.turns.iter().any(|turn| {
        let ends = matches!(turn.planned, Some(FaultAction::Kill(_) | FaultAction::Stop(_)));
        let origin = turn.is_of(FaultPart::Origin) || turn.is_of(FaultPart::Database);
        ends && origin && turn.overlaps(row.start_us, u64::MAX)
    })
}

/// Whether a fault explains that a rebuild failed, was cut off, or never ended.
fn explains_failure(turn: &Turn<'_>, row: &LedgerRow) -> bool {
    if !has_failed(row) || !turn.overlaps(row.start_us, row.end_us.unwrap_or(u64::MAX)) {
        return false;
    }
    if turn.name == "origin.failing" {
        return row.outcome == Some(FetchOutcome::Failed);
    }
    let of_origin = turn.is_of(FaultPart::Origin) || turn.is_of(FaultPart::Database);
    let stuck = matches!(turn.planned, Some(FaultAction::StuckQuery { .. })) || turn.name == "origin.slow";
    let of_caller = turn.is_of(FaultPart::Edge)
        || (turn.is_of(FaultPart::CacheNode) || turn.is_link_to(Peer::Origin)) && turn.hits_node(&row.node);
    of_origin || stuck || (of_caller && row.outcome != Some(FetchOutcome::Failed))
}

/// Whether the holder ended after its fetch had begun and before it can have written.
fn ended_holder(turn: &Turn<'_>, row: &LedgerRow) -> bool {
    let ends = matches!(
        turn.planned,
        Some(FaultAction::Kill(_) | FaultAction::Stop(_) | FaultAction::RollingRestart)
    );
    let (Some(from_us), true) = (turn.injected_us, turn.is_of(FaultPart::CacheNode)) else { return false };
    let last_us = row.end_us.unwrap_or(u64::MAX).saturating_add(WRITE_SLACK_US);
    // A turn over many nodes tells only when it began and ended.
    let until_us = if turn.target == row.node { from_us } else { turn.over_us().unwrap_or(u64::MAX) };
    let in_time = from_us <= last_us && until_us.saturating_add(CLOCK_SLACK_US) >= row.start_us;
    ends && turn.confirmed_us.is_some() && turn.hits_node(&row.node) && in_time
}

/// Row 5: whether the holder was paused, or cut off from the lock, until its lease had ended: E after the fault, or after the grant
/// where nothing renews it.
fn outlasted_lease(case: &Case<'_>, turn: &Turn<'_>, row: &LedgerRow) -> bool {
    stalled_us(case, turn, row).is_some_and(|(stalled_us, expiry_us)| stalled_us > expiry_us)
}

/// Row 5's premise: a stall of less than E may still have met a lease that had been renewed some time before.
pub(super) fn near_lease(case: &Case<'_>, rows: &[&LedgerRow]) -> bool {
    let renews = case.rung.lock.as_ref().is_some_and(|lock| lock.renew);
    let is_near = |turn: &Turn<'_>, row: &LedgerRow| {
        stalled_us(case, turn, row)
            .is_some_and(|(stalled_us, expiry_us)| (expiry_us / 2 + 1..=expiry_us).contains(&stalled_us))
    };
    renews && rows.iter().any(|row| case.turns.iter().any(|turn| is_near(turn, row)))
}

/// For how long the holder could not renew, and E, microseconds; `None` for who was not stalled during its rebuild.
fn stalled_us(case: &Case<'_>, turn: &Turn<'_>, row: &LedgerRow) -> Option<(u64, u64)> {
    let lock = case.rung.lock.as_ref().filter(|_| row.token > 0)?;
    let paused = matches!(turn.planned, Some(FaultAction::Pause(_))) && turn.is_of(FaultPart::CacheNode);
    if !(paused || turn.is_link_to(Peer::LockService)) || !turn.hits_node(&row.node) {
        return None;
    }
    let written_us = row.end_us.unwrap_or(u64::MAX).saturating_add(WRITE_SLACK_US);
    if !turn.overlaps(row.start_us, written_us) {
        return None;
    }
    let from_us = turn.injected_us?;
    let until_us = turn.over_us().unwrap_or(u64::MAX);
    let from_us = if lock.renew { from_us.max(row.start_us) } else { row.start_us };
    Some((until_us.saturating_sub(from_us), u64::from(lock.expiry_ms) * 1_000))
}

/// Flights that clients may have ended who hung up during the herd. A flight belongs to its process, which has one: each time that
/// clients hung up ended at most one in each of the herd's processes, and no more than requests of this key were hung up.
pub(super) fn hung_up(case: &Case<'_>, key: &str, rows: &[&LedgerRow]) -> u64 {
    if !case.rung.has(Layer::SingleFlight) {
        return hung_up_by(case, key, rows, u64::MAX);
    }
    let nodes: BTreeSet<&str> = rows.iter().map(|row| row.node.as_str()).collect();
    hung_up_by(case, key, rows, nodes.len() as u64)
}

/// The same with the lock: one process holds it. Where the lock was away, or waiters give up on it, its processes are on their own.
pub(super) fn hung_up_holders(case: &Case<'_>, key: &str, rows: &[&LedgerRow]) -> u64 {
    let cut_off = cut_off(case, rows);
    let rebuild_ms = case.scenario.origin.model.longest_ms();
    let gives_up = case
        .rung
        .lock
        .as_ref()
        .is_some_and(|lock| lock.on_wait_timeout == OnWaitTimeout::Origin && lock.wait_ms < rebuild_ms);
    if gives_up || cut_off.everyone || !cut_off.nodes.is_empty() {
        return hung_up(case, key, rows);
    }
    hung_up_by(case, key, rows, 1)
}

/// At most so many for each time that clients hung up, and no more than it says that it hit.
fn hung_up_by(case: &Case<'_>, key: &str, rows: &[&LedgerRow], each: u64) -> u64 {
    let (first_us, last_us) = starts_us(rows);
    let hits = |turn: &&Turn<'_>| {
        matches!(turn.planned, Some(FaultAction::HangUp { .. }))
            && turn.overlaps(first_us.saturating_sub(CLOCK_SLACK_US), last_us.saturating_add(CLOCK_SLACK_US))
    };
    let ended = case.turns.iter().filter(hits).map(|turn| turn.hit.min(each)).fold(0, u64::saturating_add);
    if ended == 0 {
        return 0;
    }
    let of_key = case.readers.between(key, first_us, last_us);
    ended.min(of_key.filter(|row| row.outcome == Ended::HungUp).count() as u64)
}

/// Row 6: losses of the lock's store between the first and the last start.
pub(super) fn store_losses(case: &Case<'_>, rows: &[&LedgerRow]) -> u64 {
    let (first_us, last_us) = starts_us(rows);
    let during = first_us..=last_us;
    let loses = |turn: &&Turn<'_>| {
        let came = turn.injected_us.is_some_and(|us| during.contains(&us));
        turn.loses_store() && turn.confirmed_us.is_some() && came
    };
    let at_once = case.turns.iter().filter(|turn| turn.kind != "redis-evict" && loses(turn)).count() as u64;
    let evicted: u64 = case.turns.iter().filter(|turn| turn.kind == "redis-evict").map(|turn| turn.hit).sum();
    at_once + evicted.min(begun_beside(case, rows) + lost_epochs(case, rows))
}

/// Whether a store evicted at some time from `from_us` to `until_us`.
fn evicts(case: &Case<'_>, from_us: u64, until_us: u64) -> bool {
    case.turns.iter().any(|turn| turn.kind == "redis-evict" && turn.overlaps(from_us, until_us))
}

/// How many of these found their write refused for its epoch while a store evicted, before another began: with the epoch their lease was
/// evicted, and the value that it guarded was not made.
fn lost_epochs(case: &Case<'_>, rows: &[&LedgerRow]) -> u64 {
    let refused = |row: &&&LedgerRow| {
        let of_epoch = |write: &StoreWriteRecord| {
            write.trace == row.trace
                && matches!(write.verdict, StoreWriteVerdict::EpochOld | StoreWriteVerdict::EpochMissing)
        };
        let end_us = row.end_us.unwrap_or(u64::MAX);
        let has_next = rows.iter().any(|next| next.start_us >= end_us);
        has_next && evicts(case, row.start_us, end_us) && case.history.writes.iter().any(of_epoch)
    };
    rows.iter().filter(refused).count() as u64
}

/// How many of these began while a store evicted and one before them still ran: its lease may have been evicted.
fn begun_beside(case: &Case<'_>, rows: &[&LedgerRow]) -> u64 {
    let mut ends_us = 0;
    let beside = rows.iter().filter(|row| {
        let runs = row.start_us < ends_us;
        ends_us = ends_us.max(row.end_us.unwrap_or(u64::MAX));
        runs && evicts(case, row.start_us, row.start_us)
    });
    beside.count() as u64
}

/// Who could not reach the lock.
#[derive(Debug, Default)]
pub(super) struct CutOff {
    /// The lock or its store was away for all.
    pub(super) everyone: bool,
    /// Nodes whose link was bad.
    pub(super) nodes: BTreeSet<String>,
    /// From when to when nobody of them can have reached it for sure, Unix microseconds.
    sure_us: Vec<(Option<String>, u64, u64)>,
}

impl CutOff {
    /// Whether it surely kept this rebuild's node from the lock when it began.
    pub(super) fn surely(&self, row: &LedgerRow) -> bool {
        self.sure_us.iter().any(|(node, from_us, until_us)| {
            node.as_ref().is_none_or(|node| *node == row.node)
                && (*from_us..=*until_us).contains(&row.start_us)
        })
    }
}

/// Who could not reach the lock at some time during these starts.
pub(super) fn cut_off(case: &Case<'_>, rows: &[&LedgerRow]) -> CutOff {
    let (first_us, last_us) = starts_us(rows);
    let mut cut_off = CutOff::default();
    let near = |turn: &&Turn<'_>| turn.overlaps(first_us.saturating_sub(REACH_SLACK_US), last_us);
    for turn in case.turns.iter().filter(near) {
        let is_link = turn.is_link_to(Peer::LockService);
        if !is_link && !takes_lock_away(turn) {
            continue;
        }
        let node = (is_link && turn.target != "all").then(|| turn.target.to_owned());
        match &node {
            Some(node) => drop(cut_off.nodes.insert(node.clone())),
            None => cut_off.everyone = true,
        }
        let slowed = matches!(
            turn.planned,
            Some(FaultAction::Link { rule: LinkRule::Delay { .. } | LinkRule::Loss { .. }, .. })
        );
        if let (Some(from_us), false) = (turn.confirmed_us, slowed) {
            cut_off.sure_us.push((node, from_us, turn.over_us().unwrap_or(u64::MAX)));
        }
    }
    cut_off
}

/// Whether a confirmed fault kept this rebuild's node from the lock, or may have when it began.
pub(crate) fn could_not_reach_lock(case: &Case<'_>, row: &LedgerRow) -> bool {
    let cut_off = cut_off(case, &[row]);
    cut_off.everyone || cut_off.nodes.contains(&row.node)
}

/// Whether it takes the lock service away, or the store in which it keeps its leases.
fn takes_lock_away(turn: &Turn<'_>) -> bool {
    turn.takes_away(FaultPart::LockService) || turn.takes_away(FaultPart::Redis)
}

/// How many times as fast the clock ran by which leases end, at most, during these starts; 1 for a clock that is right or slow.
pub(super) fn lock_clock_rate(case: &Case<'_>, rows: &[&LedgerRow]) -> f64 {
    let (first_us, last_us) = starts_us(rows);
    let rates = case.turns.iter().filter(|turn| turn.overlaps(first_us, last_us));
    let rates = rates.filter_map(|turn| match turn.planned {
        Some(FaultAction::LockClock { rate }) => Some(*rate),
        _ => None,
    });
    rates.fold(1.0, f64::max)
}

/// What slow links of these rebuilds' nodes add to a rebuild as its holder sees it, milliseconds: each link once, at its slowest.
pub(super) fn link_delay_ms(case: &Case<'_>, rows: &[&LedgerRow]) -> u64 {
    let to = |row: &LedgerRow, peer| {
        let until_us = row.end_us.unwrap_or(u64::MAX).saturating_add(WRITE_SLACK_US);
        let slow = case.turns.iter().filter(|turn| {
            turn.is_link_to(peer) && turn.hits_node(&row.node) && turn.overlaps(row.start_us, until_us)
        });
        slow.map(round_trip_ms).max().unwrap_or(0)
    };
    let to_slowest = |peer| rows.iter().map(|row| to(row, peer)).max().unwrap_or(0);
    to_slowest(Peer::Origin) + to_slowest(Peer::Redis)
}

/// What a slow link adds to a call and its answer, at most, milliseconds.
fn round_trip_ms(turn: &Turn<'_>) -> u64 {
    match turn.planned {
        Some(FaultAction::Link { rule: LinkRule::Delay { delay_ms, jitter_ms }, .. }) => {
            2 * (u64::from(*delay_ms) + u64::from(*jitter_ms))
        }
        _ => 0,
    }
}

/// Whether a fault may have held up rebuilds between their grant and their start, some more than others. The pace of the lock's clock
/// is not the origin's.
pub(super) fn holds_up_starts(case: &Case<'_>, rows: &[&LedgerRow]) -> bool {
    let (first_us, last_us) = starts_us(rows);
    let other = |turn: &&Turn<'_>| !matches!(turn.planned, Some(FaultAction::LockClock { .. }));
    let near = |turn: &Turn<'_>| turn.overlaps(first_us.saturating_sub(REACH_SLACK_US), last_us);
    case.turns.iter().filter(other).any(near)
}

/// Whether a link to the store lets things pass at all: late, or at the second or third try.
fn passes(turn: &Turn<'_>) -> bool {
    let Some(FaultAction::Link { rule, .. }) = turn.planned else { return false };
    matches!(rule, LinkRule::Delay { .. } | LinkRule::Loss { .. })
}

/// A broken premise: a link by which a value passes was so bad that a call to the store may have reached its deadline.
pub(super) fn may_store_late(case: &Case<'_>, rows: &[&LedgerRow]) -> Option<String> {
    let is_bad = |turn: &Turn<'_>| {
        let loses = matches!(turn.planned, Some(FaultAction::Link { rule: LinkRule::Loss { .. }, .. }));
        turn.is_link_to(Peer::Redis) && (loses || round_trip_ms(turn) * 1_000 >= REACH_SLACK_US)
    };
    let meets = |turn: &Turn<'_>, row: &LedgerRow| {
        let until_us = row.end_us.unwrap_or(u64::MAX).saturating_add(WRITE_SLACK_US);
        is_bad(turn) && turn.hits_node(&row.node) && turn.overlaps(row.start_us, until_us)
    };
    rows.iter()
        .any(|row| case.turns.iter().any(|turn| meets(turn, row)))
        .then(|| "a node's link to the store was so bad that its value may have come too late".to_owned())
}

/// Who could not store a value.
pub(super) struct Blind {
    /// Redis was away for all.
    pub(super) everyone: bool,
    /// Nodes whose link was bad, of those that rebuilt.
    pub(super) nodes: u64,
    /// Rebuild times in the time for which that lasted, and one more.
    pub(super) rounds: u64,
}

/// Who of these rebuilds' nodes could not store a value between the first and the last start; `None` where all could.
pub(super) fn blind(case: &Case<'_>, rows: &[&LedgerRow]) -> Option<Blind> {
    let (first_us, last_us) = starts_us(rows);
    let away_us = |turn: &Turn<'_>| {
        let (from_us, until_us) = turn.effect_us()?;
        until_us.saturating_add(REACH_SLACK_US).min(last_us).checked_sub(from_us.max(first_us))
    };
    let (mut everyone, mut nodes, mut blind_us) = (false, BTreeSet::new(), 0_u64);
    for turn in &case.turns {
        let Some(us) = away_us(turn) else { continue };
        if turn.takes_away(FaultPart::Redis) {
            everyone = true;
        } else if turn.is_link_to(Peer::Redis) && !passes(turn) {
            let hit = rows.iter().map(|row| row.node.as_str()).filter(|node| turn.hits_node(node));
            nodes.extend(hit);
        } else {
            continue;
        }
        blind_us = blind_us.max(us);
    }
    let rounds = blind_us.div_ceil(quickest_ms(case, rows) * 1_000) + 1;
    (everyone || !nodes.is_empty()).then_some(Blind { everyone, nodes: nodes.len() as u64, rounds })
}

/// The quickest rebuild that the model draws, or the ledger saw among these, milliseconds: it sets the pace.
fn quickest_ms(case: &Case<'_>, rows: &[&LedgerRow]) -> u64 {
    match case.scenario.origin.model {
        OriginModel::Fixed { latency_ms } => u64::from(latency_ms),
        OriginModel::LogNormal { median_ms, .. } => {
            let took =
                rows.iter().filter_map(|row| row.end_us.map(|end_us| end_us.saturating_sub(row.start_us)));
            took.min().map_or(u64::from(median_ms), |us| us / 1_000).max(1)
        }
    }
}
