use herd_history::{Ended, FetchOutcome, LedgerJoiner, LedgerSpan};

use crate::row;

fn end(seq: u64, rebuild: u64) -> Ended {
    Ended {
        seq,
        rebuild,
        at_us: 100,
        outcome: FetchOutcome::Fetched,
        version: 4,
        queued_us: 1,
        worked_us: 95,
        gate_us: 2,
    }
}

/// Goal: starts and ends meet whatever lies between them, and what is left over is known.
#[test]
fn starts_and_ends_are_joined() {
    let mut joiner = LedgerJoiner::new(5);
    joiner.ended(end(5, 3));
    joiner.started(row(6));
    joiner.started(row(7));
    joiner.ended(end(8, 6));
    assert_eq!(joiner.open(), 1);
    let (rows, span) = joiner.finish();
    assert_eq!(span, LedgerSpan { first_seq: 5, last_seq: 8, foreign_ends: vec![5] });
    assert_eq!((rows[0].end_seq, rows[0].end_us, rows[0].version), (Some(8), Some(100), 4));
    assert_eq!((rows[0].queued_us, rows[0].worked_us, rows[0].gate_us), (1, 95, 2));
    assert_eq!((rows[1].rebuild, rows[1].end_seq), (7, None));
}

/// Goal: a span in which nothing happened is empty, not one event long.
#[test]
fn an_empty_span_is_empty() {
    let (rows, span) = LedgerJoiner::new(1).finish();
    assert!(rows.is_empty());
    assert_eq!((span.first_seq, span.last_seq), (1, 0));
}
