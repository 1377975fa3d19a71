//! Counting against brute force.

use herd_history::LedgerRow;
use herd_judge::{Clusters, boundaries, clusters, peak_overlap, percentile};
use proptest::prelude::*;

use crate::made::{FLIGHT, START_US, history, row, scenario};

fn rows() -> impl Strategy<Value = Vec<LedgerRow>> {
    let one = (0_u64..4, 0_usize..5, 0_u64..2_000, 0_u64..300, any::<bool>(), 0_u8..3);
    proptest::collection::vec(one, 0..60).prop_map(|all| {
        let numbered = all.into_iter().enumerate();
        numbered
            .map(|(index, (generation, node, start_ms, took_ms, ended, key))| {
                let mut row = row(index as u64 * 2 + 1, generation, node, start_ms);
                row.end_us = ended.then_some(row.start_us + took_ms * 1_000);
                row.key = format!("item-{key}");
                row.cache_key = format!("p:item-{key}");
                row
            })
            .collect()
    })
}

proptest! {
    /// Goal: the herd of each boundary is the number of rows that name its key and generation; nothing is lost or invented.
    #[test]
    fn herds_are_what_a_full_scan_counts(rows in rows()) {
        let scenario = scenario(FLIGHT, "property = \"rebuilds_per_boundary\"");
        let mut run = history(&[]).rungs.remove(0);
        run.ledger = rows.clone();
        let found = boundaries(&scenario, &run);
        for boundary in &found {
            let scanned = rows.iter().filter(|r| r.key == boundary.key && r.generation == boundary.generation);
            prop_assert_eq!(boundary.count(), scanned.count() as u64);
            let by_node: usize = boundary.by_node().values().map(Vec::len).sum();
            prop_assert_eq!(by_node as u64, boundary.count());
            prop_assert!(boundary.rebuilds.is_sorted_by_key(|row| row.start_us));
        }
        let counted: u64 = found.iter().map(herd_judge::Boundary::count).sum();
        prop_assert_eq!(counted, rows.iter().filter(|r| r.generation > 0).count() as u64);
    }

    /// Goal: the peak is the largest number of rows that any instant lies within.
    #[test]
    fn the_peak_is_what_a_full_scan_finds(rows in rows()) {
        let under_way = |at: u64| {
            rows.iter().filter(|r| r.start_us <= at && r.end_us.is_none_or(|end| end.max(r.start_us + 1) > at)).count()
        };
        // The number under way only grows at a start.
        let scanned = rows.iter().map(|row| under_way(row.start_us)).max().unwrap_or(0);
        let (peak, at_us) = peak_overlap(&rows);
        prop_assert_eq!(peak, scanned as u64);
        prop_assert!(rows.is_empty() || under_way(at_us) == scanned);
    }

    /// Goal: a percentile is a value that occurs, with that share of values at or below it.
    #[test]
    fn percentiles_are_nearest_ranks(mut values in proptest::collection::vec(0_u64..1_000, 1..100), share in 0.0_f64..=1.0) {
        values.sort_unstable();
        let found = percentile(&values, share);
        let at_or_below = values.iter().filter(|value| **value <= found).count() as f64;
        prop_assert!(values.contains(&found));
        prop_assert!(at_or_below >= share * values.len() as f64);
    }

    /// Goal: herds that really lie a TTL apart are told apart by time alone, whatever their size.
    #[test]
    fn time_finds_the_herds_that_generations_name(sizes in proptest::collection::vec(1_u64..40, 1..6)) {
        let scenario = scenario(FLIGHT, "property = \"rebuilds_per_boundary\"");
        let mut run = history(&[]).rungs.remove(0);
        run.ledger.clear();
        for (generation, size) in sizes.iter().enumerate() {
            for n in 0..*size {
                run.ledger.push(row(1 + n, generation as u64, 0, generation as u64 * 1_150 + n * 3));
            }
        }
        prop_assert_eq!(clusters(&scenario, &run), Clusters::Agree { herds: sizes.len() });
    }
}

/// Goal: a TTL that is short beside D cannot be cross-checked by time, and says so.
#[test]
fn a_short_ttl_cannot_be_told_apart_by_time() {
    let mut scenario = scenario(FLIGHT, "property = \"rebuilds_per_boundary\"");
    scenario.policy.ttl_ms = 150;
    assert_eq!(clusters(&scenario, &history(&[]).rungs[0]), Clusters::Indistinct);
}

/// Goal: a herd that was cut off by the end of the load is not complete, one that began before the window neither.
#[test]
fn cut_off_herds_are_not_complete() {
    let scenario = scenario(FLIGHT, "property = \"rebuilds_per_boundary\"");
    let mut run = history(&[]).rungs.remove(0);
    run.ledger = vec![row(1, 1, 0, 10), row(3, 2, 0, 2_000), row(5, 3, 0, 4_850)];
    let mut early = row(7, 9, 0, 0);
    early.start_us = START_US - 1;
    early.key = "item-2".to_owned();
    early.cache_key = "p:item-2".to_owned();
    run.ledger.push(early);
    let complete: Vec<(u64, bool)> =
        boundaries(&scenario, &run).iter().map(|boundary| (boundary.generation, boundary.complete)).collect();
    assert_eq!(complete, [(9, false), (1, true), (2, true), (3, false)]);
}
