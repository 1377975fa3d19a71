//! Rebuilds under way at the same instant.

use herd_history::LedgerRow;

/// The largest number of these rebuilds that were under way at once, and the instant (Unix microseconds) at which that number was
/// first reached. A rebuild is under way from its start until just before its end: one that starts when another ends does
/// not overlap it. One without an end lasts for ever. Zero for no rows.
#[must_use]
pub fn peak_overlap<'a>(rows: impl IntoIterator<Item = &'a LedgerRow>) -> (u64, u64) {
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
    let (mut now, mut peak, mut at_us) = (0_i64, 0_i64, 0);
    for (step_us, change) in steps {
        now += change;
        if now > peak {
            (peak, at_us) = (now, step_us);
        }
    }
    (peak.unsigned_abs(), at_us)
}

/// The rows that were under way at this instant.
pub(crate) fn under_way_at<'a>(rows: &[&'a LedgerRow], at_us: u64) -> Vec<&'a LedgerRow> {
    let spans = |row: &&&LedgerRow| {
        row.start_us <= at_us
            && row.end_us.is_none_or(|end_us| end_us.max(row.start_us.saturating_add(1)) > at_us)
    };
    rows.iter().filter(spans).copied().collect()
}
