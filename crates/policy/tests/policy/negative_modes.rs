//! The ways in which remembering absence is known to break, one test each.

use std::time::Duration;

use herd_policy::{
    AbsentBy, Cause, Coalescing, Config, Error, Failure, FetchOutcome, FlightUntil, HolderEnd, HolderFailure,
    LockConfig, NegativeConfig, ReadOutcome, Reason, Refusal, Served, WriteOutcome,
};

use crate::node::{Node, absent, direct, flight, fresh, lease, locked};

const SECOND: Duration = Duration::from_secs(1);

fn remembering(config: Config) -> Config {
    Config { negative: Some(NegativeConfig { ttl: SECOND * 2 }), jitter: 0.5, ..config }
}

fn no_row(by: AbsentBy) -> Error {
    Error::NotFound { by }
}

fn unknown(generation: u64) -> ReadOutcome<u64> {
    ReadOutcome::Absent { generation, may_exist: false }
}

/// Goal: the sentinel stands before anybody is told; it is guarded like a value and has a life of its own, without jitter.
#[test]
fn the_sentinel_stands_before_anybody_is_told() {
    let mut node = Node::new(remembering(locked(LockConfig::default())));
    let (leader, waiter) = (node.find(absent(3)), node.find(absent(3)));
    let (owner, fetch) = node.grant(5, 3);
    node.pass(SECOND);
    node.answer_fetch(fetch.op, FetchOutcome::NotFound);
    assert!(node.served.is_empty());
    let write = node.write().expect("the sentinel");
    assert_eq!((write.value, write.generation, write.lease), (None, 3, Some(lease(5))));
    assert_eq!((write.ttl, write.rebuild_took), (SECOND * 2, SECOND));
    node.answer_write(write.op, WriteOutcome::Written { generation: 4 });
    assert_eq!(node.error_of(leader), no_row(AbsentBy::Origin));
    assert_eq!(node.error_of(waiter), no_row(AbsentBy::Origin));
    let release = node.release().expect("given back");
    assert_eq!((release.owner, release.end), (owner, HolderEnd::ValueWritten), "others read it");
    node.assert_idle();
}

/// Goal: a sentinel that stands is an answer: no miss, no flight; found by a second look it ends the flight.
#[test]
fn a_sentinel_answers_without_the_origin() {
    let mut node = Node::new(remembering(flight()));
    let reader = node.find(ReadOutcome::Negative { generation: 4 });
    assert_eq!(node.error_of(reader), no_row(AbsentBy::Sentinel));
    assert!(!node.served[&reader].missed);
    node.assert_idle();

    let reader = node.find(absent(0));
    let look = node.read().expect("the second look");
    node.answer_read(look, ReadOutcome::Negative { generation: 1 });
    assert_eq!((node.error_of(reader), node.fetch()), (no_row(AbsentBy::Sentinel), None));
    node.assert_idle();
}

/// Goal: a sentinel that was refused because a row was inserted and read meanwhile: the readers get the row.
#[test]
fn a_refused_sentinel_serves_the_row_that_was_inserted() {
    let mut node = Node::new(remembering(direct()));
    let reader = node.find(absent(0));
    let fetch = node.fetch().expect("the rebuild");
    node.answer_fetch(fetch.op, FetchOutcome::NotFound);
    let write = node.write().expect("the sentinel");
    node.answer_write(write.op, WriteOutcome::Refused(Refusal::GenerationMoved));
    let look = node.read().expect("what does the store hold?");
    node.answer_read(look, fresh(11, 2));
    assert_eq!(node.value_of(reader), (11, Served::SecondLook));
    node.assert_idle();
}

/// Goal: a row inserted during the rebuild: who looked before it is told what the origin said then; who looked after it
/// is told nothing that is older, but waits for the origin's next word.
#[test]
fn an_insert_is_not_answered_with_the_absence_before_it() {
    for config in [remembering(direct()), direct()] {
        let remembers = config.negative.is_some();
        let mut node = Node::new(config);
        let before = node.find(absent(0));
        let fetch = node.fetch().expect("the rebuild");
        // The insert leaves generation 1 behind.
        let after = node.find(absent(1));
        node.answer_fetch(fetch.op, FetchOutcome::NotFound);
        if remembers {
            let write = node.write().expect("the sentinel");
            node.answer_write(write.op, WriteOutcome::Refused(Refusal::GenerationMoved));
            let look = node.read().expect("what does the store hold?");
            node.answer_read(look, absent(1));
        }
        assert_eq!(node.error_of(before), no_row(AbsentBy::Origin));
        assert!(!node.served.contains_key(&after));
        let fetch = node.fetch().expect("asked again, for it");
        assert_eq!(fetch.generation, 1);
        node.rebuild(fetch.op, 11, 2);
        assert_eq!(node.value_of(after), (11, Served::Led));
        node.assert_idle();
    }
}

/// Goal: a second look's sentinel that a reader has overtaken is not for that reader.
#[test]
fn a_sentinel_that_was_read_before_the_insert_is_not_for_later_readers() {
    let mut node = Node::new(remembering(flight()));
    let before = node.find(absent(0));
    let look = node.read().expect("the second look");
    let after = node.find(absent(2));
    node.answer_read(look, ReadOutcome::Negative { generation: 1 });
    assert_eq!(node.error_of(before), no_row(AbsentBy::Sentinel));
    let look = node.read().expect("looked at again, for it");
    node.answer_read(look, absent(2));
    let fetch = node.fetch().expect("the rebuild");
    node.rebuild(fetch.op, 11, 3);
    assert_eq!(node.value_of(after), (11, Served::Led));
    node.assert_idle();
}

/// Goal: in a store that lost its data generations start over: a waiter from before the loss believes a look that was
/// sent after its own, and nobody goes round in circles.
#[test]
fn who_waited_before_a_look_believes_it() {
    for (found, value) in [(fresh(11, 1), true), (ReadOutcome::Negative { generation: 1 }, false)] {
        let mut node = Node::new(remembering(flight()));
        let reader = node.find(absent(7));
        let look = node.read().expect("the second look");
        node.answer_read(look, found);
        assert_eq!(node.served[&reader].result.is_ok(), value);
        node.assert_idle();
    }
}

/// Goal: and so it believes a fetch that was sent after its own look: one call to the origin, not one a round.
#[test]
fn who_waited_before_a_fetch_believes_it() {
    let mut node = Node::new(flight());
    let reader = node.find(absent(7));
    let look = node.read().expect("the second look");
    node.answer_read(look, absent(0));
    let fetch = node.fetch().expect("the rebuild");
    node.answer_fetch(fetch.op, FetchOutcome::NotFound);
    assert_eq!((node.error_of(reader), node.read()), (no_row(AbsentBy::Origin), None));
    node.assert_idle();
}

/// Goal: a sentinel that the store did not take is told all the same, and not turned into a serial herd in the fleet.
#[test]
fn a_sentinel_that_is_not_taken_is_shared() {
    let away = Failure::retryable(Cause::Unavailable, "away");
    for outcome in [WriteOutcome::Failed(away), WriteOutcome::Uncacheable] {
        let mut node = Node::new(remembering(locked(LockConfig::default())));
        let reader = node.find(absent(0));
        let (_, fetch) = node.grant(5, 0);
        node.answer_fetch(fetch.op, FetchOutcome::NotFound);
        let write = node.write().expect("the sentinel");
        node.answer_write(write.op, outcome);
        assert_eq!(node.error_of(reader), no_row(AbsentBy::Origin));
        let end = node.release().expect("given back").end;
        assert_eq!(end, HolderEnd::Failed(HolderFailure::NoSuchRow { generation: 0 }));
        node.assert_idle();
    }
}

/// Goal: a holder that finds a sentinel tells the others to read.
#[test]
fn a_holder_that_finds_a_sentinel_hands_on_at_once() {
    let mut node = Node::new(remembering(locked(LockConfig::default())));
    let reader = node.find(absent(0));
    let (acquire, _) = node.acquire().expect("an acquire");
    node.answer_lease(acquire, herd_policy::LeaseOutcome::Granted(lease(5)));
    let look = node.read().expect("the look after the grant");
    node.answer_read(look, ReadOutcome::Negative { generation: 1 });
    assert_eq!(node.error_of(reader), no_row(AbsentBy::Sentinel));
    assert_eq!(node.release().expect("given back").end, HolderEnd::ValueWritten);
    node.assert_idle();
}

/// Goal: uncoordinated lookups remember, too; and a flight that lasts until the origin's answer tells before it writes.
#[test]
fn absence_is_remembered_by_every_kind_of_flight() {
    for (config, told_first) in [
        (Config { coalescing: Coalescing::Uncoordinated, ..direct() }, false),
        (Config { flight_until: FlightUntil::Fetched, ..direct() }, true),
    ] {
        let mut node = Node::new(remembering(config));
        let reader = node.find(absent(0));
        let fetch = node.fetch().expect("the rebuild");
        node.answer_fetch(fetch.op, FetchOutcome::NotFound);
        assert_eq!(node.served.contains_key(&reader), told_first);
        let write = node.write().expect("the sentinel");
        node.answer_write(write.op, WriteOutcome::Refused(Refusal::GenerationMoved));
        if !told_first {
            let look = node.read().expect("what does the store hold?");
            node.answer_read(look, absent(1));
        }
        assert_eq!(node.error_of(reader), no_row(AbsentBy::Origin));
        node.assert_idle();
    }
}

/// Goal: what the filter does not know is answered without a flight; but only where the store knows nothing either (an
/// insert leaves a generation there), and only where the filter is believed.
#[test]
fn the_filter_answers_for_what_never_was() {
    let believing = Config { key_filter: true, ..flight() };
    let mut node = Node::new(believing.clone());
    let reader = node.find(unknown(0));
    assert_eq!(node.error_of(reader), no_row(AbsentBy::Filter));
    assert!(!node.served[&reader].missed);
    node.assert_idle();

    for (config, outcome) in [(believing.clone(), unknown(1)), (believing, absent(0)), (flight(), unknown(0))]
    {
        let mut node = Node::new(config);
        let reader = node.find(outcome);
        assert!(!node.served.contains_key(&reader));
        let look = node.read().expect("the flight's look");
        node.answer_read(look, unknown(0));
        assert_eq!(node.fetch().expect("asked").reason, Reason::FlightLeader, "second looks ask no filter");
    }
}
