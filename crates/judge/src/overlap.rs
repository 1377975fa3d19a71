//! Rebuilds under way at the same instant.

use herd_history::LedgerRow;

/// How long before its recorded end the place of a fetch at the origin may be free, microseconds.
const STAMP_SLACK_US: u64 = 1_000;

/// The largest number of these rebuilds that were under way at once, and the instant (Unix microseconds) at which that number was
/// first reached. A rebuild is under way from its start until just before its end: one that starts when another ends does
/// not overlap it. One without an end lasts for ever. Zero for no rows.
#[must_use]
pub fn peak_overlap<'a>(rows: impl IntoIterator<Item = &'a LedgerRow>) -> (u64, u64) {
    let (mut now, mut peak, mut at_us) = (0_i64, 0_i64, 0);
    for (step_us, change) in steps(rows) {
        now += change;
        if now > peak {
            (peak, at_us) = (now, step_us);
        }
    }
    (peak.unsigned_abs(), at_us)
}

/// Starts as 1 and ends as -1, in order of time.
fn steps<'a>(rows: impl IntoIterator<Item = &'a LedgerRow>) -> Vec<(u64, i64)> {
    let mut steps: Vec<(u64, i64)> = Vec::new();
    for row in rows {
        steps.push((row.start_us, 1));
        if let Some(end_us) = row.end_us {
            // A rebuild shorter than the clock's tick was still under way at its start.
            steps.push((end_us.max(row.start_us.saturating_add(1)), -1));
        }
    }
    // Ends before starts of the same instant.
    steps.sort_unstable();
    steps
}

/// All sets of these rebuilds that were under way at once and to which none can be added, in order of time. The largest need not be the
/// worst: what was away meanwhile may allow for it, and for none of a smaller one.
pub(crate) fn overlaps<'a>(rows: &[&'a LedgerRow]) -> Vec<Vec<&'a LedgerRow>> {
    let steps = steps(rows.iter().copied());
    let is_last_start = |at: &usize| steps[*at].1 > 0 && steps.get(at + 1).is_none_or(|next| next.1 < 0);
    (0..steps.len()).filter(is_last_start).map(|at| under_way_at(rows, steps[at].0)).collect()
}

/// The same fetch without its wait at the origin's gate.
pub(crate) fn at_work(row: &LedgerRow) -> LedgerRow {
    let start_us = row.start_us.saturating_add(row.gate_us);
    let end_us = row.end_us.map(|end_us| end_us.saturating_sub(STAMP_SLACK_US).max(start_us));
    LedgerRow { start_us, end_us, ..row.clone() }
}

/// The rows that were under way at this instant.
pub(crate) fn under_way_at<'a>(rows: &[&'a LedgerRow], at_us: u64) -> Vec<&'a LedgerRow> {
    let spans = |row: &&&LedgerRow| {
        row.start_us <= at_us
            && row.end_us.is_none_or(|end_us| end_us.max(row.start_us.saturating_add(1)) > at_us)
    };
    rows.iter().filter(spans).copied().collect()
}
