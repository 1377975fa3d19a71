//! The bounds that are functions of the readers who came: rows 1, 8 and 10.

use std::collections::BTreeSet;

use herd_history::{LedgerRow, OperationRecord, Outcome as Ended};
use herd_scenario::{Layer, OnWaitTimeout, Scope};

use super::{ABOUT_AT_LEAST, crowd, longest_ms, node_of, reads_per_s, senders, starts_us};
use crate::Case;
use crate::chance::{CONFIDENCE, LUCK, geometric_at_most};
use crate::limit::Limit;
use crate::readers::CLOCK_SLACK_US;

/// How long before its rebuild reaches the origin a reader may have had its answer, who gets the old value and recomputes behind it: what
/// busy machines need.
const LEAD_US: u64 = 100_000;

/// Row 1: every reader that arrives before the first write starts a rebuild, and none starts two. r*D says how many readers
/// come on average; how many came this time is what the clients recorded, whatever the origin's ledger says. With stale values
/// served meanwhile it is each reader of one who starts a refresh.
pub(super) fn uncoordinated(case: &Case<'_>, key: &str, rows: &[&LedgerRow], scope: Scope) -> Limit {
    let node = node_of(rows, scope);
    let readers = times_sent(readers_then(case, key, rows, node));
    let expected = crowd(case, key) / node.map_or(1.0, |_| senders(case));
    let at_least = if node.is_none() { about_at_least(case, expected) } else { 0.0 };
    let text = format!("about r*D = {expected:.0} (readers then: {readers})");
    Limit { at_most: readers, at_least, text, broken_premise: unrecorded(case) }
}

/// Row 10: the first reader who recomputes early comes when one such reader is expected, and until the rebuild is done their rate
/// grows by e^(1/beta), or e^(D/(beta*Delta)) if it takes D and not the usual Delta: the count is geometric with that mean. Who
/// missed all the same rebuilds as in row 1. Beyond one rebuild for each read of the key then, hit or miss, about r*D, there is none.
/// Where the origin is so slow that the premise breaks, what an origin that was not slow explains is still explained.
pub(super) fn early(case: &Case<'_>, key: &str, rows: &[&LedgerRow], scope: Scope) -> Limit {
    let beta = case.rung.early_beta.unwrap_or(1.0);
    let typical_ms = f64::from(case.scenario.origin.model.typical_ms());
    let slow = slow(case, rows);
    let took_ms = if slow.is_some() { typical_ms } else { longest_ms(case, rows) as f64 };
    let mean = (took_ms / typical_ms / beta).exp();
    let most = geometric_at_most(mean, LUCK / case.boundaries.len().max(1) as f64);
    let missed = uncoordinated(case, key, rows, scope);
    let readers = all_readers(case, key, rows, node_of(rows, scope));
    let text = format!(
        "e^(D/(beta*Delta)) = {mean:.2} on average, {most} at {CONFIDENCE} of {} lives, and who missed: {}; at most the {readers} reads then",
        case.boundaries.len(),
        missed.at_most
    );
    let at_most = most.saturating_add(missed.at_most).min(readers);
    Limit { at_most, at_least: 0.0, text, broken_premise: missed.broken_premise.or(slow) }
}

/// Times that the key was read, hit or miss, from [`LEAD_US`] before the first of these starts to the last.
fn all_readers(case: &Case<'_>, key: &str, rows: &[&LedgerRow], node: Option<&str>) -> u64 {
    let (first_us, last_us) = starts_us(rows);
    let of_key = case.readers.all_between(key, first_us.saturating_sub(LEAD_US), last_us);
    times_sent(of_key.filter(|row| node.is_none_or(|node| row.node == node || !tells_its_node(row))))
}

/// Row 10's premise: the origin takes as long as it took when the value was made.
fn slow(case: &Case<'_>, rows: &[&LedgerRow]) -> Option<String> {
    let typical_ms = u64::from(case.scenario.origin.model.typical_ms());
    let measured_ms = longest_ms(case, rows);
    (2 * measured_ms > 3 * typical_ms)
        .then(|| format!("a rebuild took up to {measured_ms} ms, not {typical_ms} ms: early recomputation knows only the last one"))
}

/// Row 7 for a lock without single-flight that some nodes cannot reach: each of their readers goes alone, beside the lock's holder.
pub(super) fn cut_off(
    case: &Case<'_>,
    key: &str,
    rows: &[&LedgerRow],
    scope: Scope,
    nodes: &BTreeSet<String>,
) -> Limit {
    let then = readers_then(case, key, rows, node_of(rows, scope));
    let readers = times_sent(then.filter(|row| nodes.contains(&row.node) || !tells_its_node(row)));
    let text = format!(
        "1 + {readers} readers of {} nodes that could not reach the lock, and fail open",
        nodes.len()
    );
    Limit { broken_premise: unrecorded(case), ..Limit::exactly(1 + readers, text) }
}

/// Row 8: on top of the rest a reader whose patience with a flight ends before it does asks the origin itself, once for each time
/// it was sent. r*(D-W) says how many on average; how many waited that long is what the clients recorded.
pub(super) fn impatient(
    case: &Case<'_>,
    key: &str,
    rows: &[&LedgerRow],
    scope: Scope,
    limit: Limit,
) -> Limit {
    let Some(waiter) = case.rung.waiter.filter(|waiter| waiter.then == OnWaitTimeout::Origin) else {
        return limit;
    };
    if longest_ms(case, rows) <= u64::from(waiter.wait_ms) {
        return limit;
    }
    let node = node_of(rows, scope);
    let patience_us = (u64::from(waiter.wait_ms) * 1_000).saturating_sub(CLOCK_SLACK_US);
    let waited = |row: &&OperationRecord| row.done_us.saturating_sub(row.sent_us) >= patience_us;
    let readers = times_sent(readers_then(case, key, rows, node).filter(waited));
    let typical_ms = f64::from(case.scenario.origin.model.typical_ms());
    let rate = reads_per_s(case, key) / node.map_or(1.0, |_| senders(case));
    let waits = if readers_wait(case, key) { 1.0 } else { 0.0 };
    let expected = waits * rate * (typical_ms - f64::from(waiter.wait_ms)).max(0.0) / 1e3;
    let least = if node.is_none() { about_at_least(case, expected) } else { 0.0 };
    Limit {
        at_most: limit.at_most.saturating_add(readers),
        at_least: limit.at_least.max(least),
        text: format!("{}, plus about r*(D-W) = {expected:.0} (such readers then: {readers})", limit.text),
        broken_premise: limit.broken_premise.or_else(|| unrecorded(case)),
    }
}

fn readers_then<'c>(
    case: &'c Case<'c>,
    key: &str,
    rows: &[&LedgerRow],
    node: Option<&'c str>,
) -> impl Iterator<Item = &'c OperationRecord> {
    let first_us = rows.iter().map(|row| row.start_us).min().unwrap_or(0);
    let last_us = rows.iter().map(|row| row.start_us).max().unwrap_or(0);
    case.readers
        .between(key, first_us, last_us)
        .filter(move |row| node.is_none_or(|node| row.node == node || !tells_its_node(row)))
}

/// Where a request failed, or was sent more than once, who worked on it is not known.
fn tells_its_node(row: &OperationRecord) -> bool {
    matches!(row.outcome, Ended::Answered | Ended::NotFound) && !row.node.is_empty() && row.attempts <= 1
}

/// How many rebuilds must come on average where so many are expected, if anything is to be shown: about half, and six standard
/// deviations less. Nothing where a gate refuses readers and fetches.
fn about_at_least(case: &Case<'_>, expected: f64) -> f64 {
    if case.rung.has(Layer::Shed) {
        return 0.0;
    }
    (ABOUT_AT_LEAST * expected - 6.0 * expected.sqrt()).max(0.0)
}

/// Whether readers of this key wait for its rebuild: not where they get a stale value, or one that is recomputed early.
fn readers_wait(case: &Case<'_>, key: &str) -> bool {
    let is_safe = case.rung.stale.as_ref().is_some_and(|stale| stale.is_safe(key));
    !(case.rung.has(Layer::Early) || case.rung.has(Layer::StaleWhileRevalidate) && is_safe)
}

/// A request that was sent again may have started a rebuild each time.
fn times_sent<'c>(readers: impl Iterator<Item = &'c OperationRecord>) -> u64 {
    readers.map(|row| u64::from(row.attempts.max(1))).sum()
}

fn unrecorded(case: &Case<'_>) -> Option<String> {
    let missing = case.history.record.load.sent.saturating_sub(case.history.operations.len() as u64);
    (missing > 0).then(|| format!("{missing} requests have no record"))
}
