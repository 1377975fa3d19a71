//! The ways in which early recomputation is known to break, one test each. How many recompute is in `xfetch`.

use std::time::Duration;

use herd_policy::{
    Cause, Coalescing, Config, EarlyConfig, Ending, Failure, FetchOutcome, LeaseOutcome, Life, LockConfig,
    NegativeConfig, ReadOutcome, Reason, Refusal, Served, WriteOutcome,
};

use crate::node::{Node, absent, direct, expired, flight, fresh, locked};

const SECOND: Duration = Duration::from_secs(1);

fn early(config: Config) -> Config {
    Config { early: Some(EarlyConfig { beta: 10.0 }), ..config }
}

/// So near its expiry, and so slow to rebuild, that every reader recomputes.
fn due(value: u64, generation: u64) -> ReadOutcome<u64> {
    let life =
        Life { age: SECOND * 10 - Duration::from_micros(1), ttl: SECOND * 10, rebuild_took: SECOND * 900 };
    ReadOutcome::Fresh { value, generation, life }
}

/// Goal: the reader of a value about to expire is served it as a hit, and sets off one recompute that names the
/// generation that is still fresh; others who would recompute meanwhile are told of that one.
#[test]
fn a_recompute_keeps_nobody_waiting() {
    let mut node = Node::new(early(flight()));
    let (first, second) = (node.find(due(10, 1)), node.find(due(10, 1)));
    assert_eq!((node.value_of(first), node.value_of(second)), ((10, Served::Hit), (10, Served::Hit)));
    assert_eq!((node.core.flights(), node.core.waiting()), (1, 0));
    let look = node.read().expect("it looks first");
    node.answer_read(look, due(10, 1));
    let fetch = node.fetch().expect("the very same value is no news: it is recomputed");
    assert_eq!((fetch.reason, fetch.generation), (Reason::Early, 1));
    node.pass(SECOND);
    node.answer_fetch(fetch.op, FetchOutcome::Fetched(11));
    let write = node.write().expect("the write");
    assert_eq!((write.generation, write.rebuild_took), (1, SECOND));
    node.answer_write(write.op, WriteOutcome::Written { generation: 2 });
    let rebuild = node.ended.last().expect("ended").rebuild;
    for reader in [first, second] {
        assert_eq!((node.served[&reader].rebuild, node.served[&reader].missed), (Some(rebuild), false));
    }
    node.assert_idle();
}

/// Goal: a value that somebody else renewed since is not recomputed once more.
#[test]
fn a_recompute_that_was_overtaken_ends() {
    let mut node = Node::new(early(flight()));
    node.find(due(10, 1));
    let look = node.read().expect("it looks first");
    node.answer_read(look, due(11, 2));
    assert_eq!((node.fetch(), node.ended.last().expect("ended").ending), (None, Ending::FoundFresh));
    node.assert_idle();
}

/// Goal: a recompute that the expiry overtakes is the flight that everybody joins who misses then: no second rebuild.
#[test]
fn an_expiry_during_the_recompute_starts_nothing_new() {
    let mut node = Node::new(early(flight()));
    node.find(due(10, 1));
    let look = node.read().expect("it looks first");
    let late = node.find(expired(1));
    node.answer_read(look, expired(1));
    let fetch = node.fetch().expect("the recompute");
    let later = node.find(expired(1));
    assert_eq!((node.fetch(), node.core.flights(), node.core.waiting()), (None, 1, 2));
    node.rebuild(fetch.op, 11, 2);
    assert_eq!((node.value_of(late), node.value_of(later)), ((11, Served::Led), (11, Served::Waited)));
    node.assert_idle();
}

/// Goal: a deletion during the recompute: the recomputed value is refused, and who saw the deletion gets a newer one.
#[test]
fn a_deletion_during_the_recompute_is_not_undone() {
    let mut node = Node::new(early(direct()));
    node.find(due(10, 1));
    let fetch = node.fetch().expect("the recompute");
    let after = node.find(absent(2));
    node.answer_fetch(fetch.op, FetchOutcome::Fetched(11));
    let write = node.write().expect("the write");
    node.answer_write(write.op, WriteOutcome::Refused(Refusal::GenerationMoved));
    let look = node.read().expect("what does the store hold?");
    node.answer_read(look, absent(2));
    assert!(!node.served.contains_key(&after));
    let fetch = node.fetch().expect("a rebuild of what was deleted");
    assert_eq!((fetch.generation, fetch.reason), (2, Reason::FlightLeader), "for who waits, now");
    node.rebuild(fetch.op, 12, 3);
    assert_eq!(node.value_of(after), (12, Served::Led));
    node.assert_idle();
}

/// Goal: with the lock it is one recompute in the fleet: whoever else wanted to reads the new value and ends; when the
/// holder left the old one, the next asks for the lock, and that is bounded.
#[test]
fn a_recompute_takes_the_lock() {
    let mut node = Node::new(early(locked(LockConfig::default())));
    node.find(due(10, 1));
    let (acquire, _) = node.acquire().expect("the lock first");
    node.answer_lease(acquire, LeaseOutcome::HolderDone);
    let look = node.read().expect("it reads");
    node.answer_read(look, due(10, 1));
    let (acquire, _) = node.acquire().expect("nothing new there");
    node.answer_lease(acquire, LeaseOutcome::HolderDone);
    let look = node.read().expect("it reads");
    node.answer_read(look, fresh(11, 2));
    assert_eq!(node.fetch(), None);
    node.assert_idle();

    node.find(due(11, 2));
    let (acquire, _) = node.acquire().expect("the lock first");
    node.answer_lease(acquire, LeaseOutcome::Granted(crate::node::lease(6)));
    let look = node.read().expect("the look after the grant");
    node.answer_read(look, due(11, 2));
    let fetch = node.fetch().expect("the recompute");
    assert_eq!((fetch.reason, fetch.lease), (Reason::Early, Some(crate::node::lease(6))));
}

/// Goal: a recompute that failed is not repeated by every reader until the expiry.
#[test]
fn a_failed_recompute_pauses() {
    let mut node = Node::new(early(direct()));
    node.find(due(10, 1));
    let fetch = node.fetch().expect("the recompute");
    node.answer_fetch(fetch.op, FetchOutcome::Failed(Failure::retryable(Cause::Unavailable, "away")));
    let next = node.find(due(10, 1));
    assert_eq!((node.value_of(next), node.fetch()), ((10, Served::Hit), None));
    node.pass(SECOND);
    node.find(due(10, 1));
    assert!(node.fetch().is_some());
}

/// Goal: a recompute that learns that the row is gone puts the sentinel in the place of the value.
#[test]
fn a_recompute_can_find_the_row_gone() {
    let config = Config { negative: Some(NegativeConfig { ttl: SECOND }), ..early(direct()) };
    let mut node = Node::new(config);
    node.find(due(10, 1));
    let fetch = node.fetch().expect("the recompute");
    node.answer_fetch(fetch.op, FetchOutcome::NotFound);
    let write = node.write().expect("the sentinel");
    assert_eq!((write.value, write.generation), (None, 1));
    node.answer_write(write.op, WriteOutcome::Written { generation: 2 });
    node.assert_idle();
}

/// Goal: without any coordination every reader who decides so recomputes: what the published bound is about.
#[test]
fn uncoordinated_recomputes_are_as_many_as_decide_so() {
    let mut node = Node::new(Config { coalescing: Coalescing::Uncoordinated, ..early(direct()) });
    for _ in 0..5 {
        node.find(due(10, 1));
    }
    assert_eq!(std::iter::from_fn(|| node.fetch()).count(), 5);
}

/// Goal: a value without a rebuild time is left alone, and so is every value where the layer is off.
#[test]
fn nothing_is_recomputed_without_reason() {
    for (config, outcome) in [(early(direct()), fresh(10, 1)), (direct(), due(10, 1))] {
        let mut node = Node::new(config);
        let reader = node.find(outcome);
        assert_eq!((node.value_of(reader), node.served[&reader].rebuild), ((10, Served::Hit), None));
        node.assert_idle();
    }
}
