use herd_judge::Outcome;
use herd_report::{Tracked, track_record, track_record_markdown};

use crate::made;

/// Two that were caught, one of them by no count; one that was not, one of which nothing can be said, one that failed before it was judged.
fn record() -> Vec<Tracked> {
    let first = ("rebuilds_per_boundary", "fleet");
    let (mut caught, _) = made::run([20, 6, 1]);
    (caught.expect, caught.as_expected) = ("invalid", Some(true));
    let (mut missed, _) = made::run([20, 4, 1]);
    (missed.expect, missed.as_expected) = ("invalid", Some(false));
    let mut open = missed.clone();
    open.as_expected = None;
    for verdict in &mut open.verdicts {
        verdict.outcome = Outcome::Unknown;
        verdict.why = "not confirmed: 40 of 1,000 arrivals were not sent".to_owned();
    }
    let mut by_order = caught.clone();
    for verdict in by_order.verdicts.iter_mut().filter(|verdict| verdict.outcome == Outcome::Invalid) {
        verdict.observed = verdict.bound;
        verdict.why = "request 7 was kept waiting through 3 rebuilds, one after the other".to_owned();
    }
    vec![
        Tracked::new("serial-error-retry", "each waiter asks in its turn", &by_order, first, 52),
        Tracked::new("flight-ends-before-write", "a flight is over before its write", &caught, first, 41),
        Tracked::new("lock-without-fence", "writes that nobody compares", &missed, first, 38),
        Tracked::new("waiter-goes-to-origin", "readers who are tired of waiting", &open, first, 52),
        Tracked::failed(
            "no-jitter",
            "keys that expire together",
            "Redis is missing: install redis-server",
            0,
        ),
    ]
}

/// Goal: the track record says at a glance what was caught by which claim, and what was not and why.
#[test]
fn track_records() {
    insta::assert_snapshot!("track_record_of_100", track_record(&record(), Some(100)));
    insta::assert_snapshot!("track_record_as_markdown", track_record_markdown(&record()));
}
