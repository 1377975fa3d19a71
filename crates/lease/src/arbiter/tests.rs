//! The arbiter over the pure lease table, case by case.

use super::*;
use crate::id::Epoch;
use crate::store::{Acquire, Acquired, OpenEpoch};
use crate::table::LeaseTable;

/// An arbiter, a table, and operations between them that arrive when the test says so.
pub(super) struct World {
    pub(super) now: Time,
    pub(super) arbiter: Arbiter,
    pub(super) table: LeaseTable,
    last_token: u64,
    pub(super) pending: Vec<Action>,
    /// acquires whose answer was given up, but that may still be applied
    pub(super) late: Vec<(Arc<str>, Arc<str>, Token, u32)>,
    pub(super) replies: BTreeMap<CallId, Reply>,
}

impl World {
    pub(super) fn new() -> Self {
        let mut table = LeaseTable::new(100);
        table.resume(Token::ZERO);
        table.open_epoch(OpenEpoch { epoch: Epoch(1), found: None, floor: Token::ZERO });
        let arbiter = Arbiter::new(Settings::default());
        let (pending, late) = (Vec::new(), Vec::new());
        Self { now: Time(0), arbiter, table, last_token: 0, pending, late, replies: BTreeMap::new() }
    }

    pub(super) fn acquire(&mut self, name: &str, owner: &str, expiry_ms: u32, wait_ms: u32) -> CallId {
        let call = self.arbiter.handle_acquire(self.now, name, owner, expiry_ms, wait_ms).unwrap();
        self.collect();
        call
    }

    pub(super) fn release(&mut self, name: &str, owner: &str, end: &HolderEnd) -> bool {
        let freed = self.table.release(self.now, name, owner);
        self.arbiter.handle_released(self.now, name, freed, end);
        if let (false, HolderEnd::Failed(failure)) = (freed, end)
            && let Some(holding) = self.table.inspect(self.now, name)
        {
            self.arbiter.handle_outlived(self.now, name, owner, &holding, failure);
        }
        self.collect();
        freed
    }

    pub(super) fn cancel(&mut self, call: CallId) {
        self.arbiter.handle_cancel(self.now, call);
        self.collect();
    }

    pub(super) fn collect(&mut self) {
        while let Some(action) = self.arbiter.poll_action() {
            if let Action::Reply { call, reply, .. } = action {
                assert!(self.replies.insert(call, reply).is_none(), "a call is answered once");
            } else {
                self.pending.push(action);
            }
        }
    }

    /// The store performs one operation, and its answer arrives.
    pub(super) fn perform(&mut self, index: usize) {
        match self.pending.remove(index) {
            Action::Try { op, name, owner, expiry_ms, token } => {
                let tried = self.try_at_store(&name, &owner, expiry_ms, token);
                self.arbiter.handle_tried(self.now, op, tried);
            }
            Action::Look { op, name } => {
                let view = self.table.inspect(self.now, &name);
                self.arbiter.handle_looked(self.now, op, Ok(view));
            }
            Action::Undo { op, name, owner, token } => {
                self.table.revoke(self.now, &name, &owner, token);
                self.arbiter.handle_undone(self.now, op, true);
            }
            Action::Reply { .. } => unreachable!("replies are collected"),
        }
        self.collect();
    }

    fn try_at_store(&mut self, name: &str, owner: &str, expiry_ms: u32, token: Option<Token>) -> Tried {
        let mut token = token;
        loop {
            let token = token.take().unwrap_or_else(|| self.next_token());
            let acquire = Acquire { name, owner, token, known_epoch: Epoch(1), expiry_ms };
            match self.table.acquire(self.now, acquire).unwrap() {
                Acquired::Granted(grant) => return Tried::Granted(grant),
                Acquired::Held(view) => return Tried::Held(view),
                Acquired::TokenOld { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn next_token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }

    /// The store does not answer. A try may have been applied, or may be applied later.
    pub(super) fn fail(&mut self, index: usize, applied: bool) {
        let away = || Failure::StoreAway("away".to_owned());
        match self.pending.remove(index) {
            Action::Try { op, name, owner, expiry_ms, token } => {
                let token = token.unwrap_or_else(|| self.next_token());
                self.late.push((name, owner, token, expiry_ms));
                if applied {
                    self.apply_late(self.late.len() - 1);
                }
                self.arbiter.handle_tried(
                    self.now,
                    op,
                    Tried::Failed { failure: away(), doubt: Some(token) },
                );
            }
            Action::Look { op, .. } => self.arbiter.handle_looked(self.now, op, Err(away())),
            Action::Undo { op, .. } => self.arbiter.handle_undone(self.now, op, false),
            Action::Reply { .. } => unreachable!("replies are collected"),
        }
        self.collect();
    }

    pub(super) fn apply_late(&mut self, index: usize) {
        let (name, owner, token, expiry_ms) = self.late.remove(index);
        let acquire = Acquire { name: &name, owner: &owner, token, known_epoch: Epoch(1), expiry_ms };
        self.table.acquire(self.now, acquire).unwrap();
    }

    pub(super) fn perform_all(&mut self) {
        while !self.pending.is_empty() {
            self.perform(0);
        }
    }

    pub(super) fn advance_ms(&mut self, ms: u64) {
        let until = self.now.plus_ms(ms);
        while let Some(at) = self.arbiter.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.arbiter.handle_timeout(self.now);
            self.collect();
            self.perform_all();
        }
        self.now = until;
    }

    pub(super) fn token_of(&self, call: CallId) -> Option<Token> {
        match self.replies.get(&call) {
            Some(Reply::Granted(grant)) => Some(grant.token),
            _ => None,
        }
    }
}

/// Failure mode 12: a release with a value written wakes every waiter to read, and none asks the store again.
#[test]
fn a_written_value_wakes_everybody_and_grants_nobody() {
    let mut world = World::new();
    world.acquire("k", "leader", 10_000, 0);
    world.perform_all();
    let waiters: Vec<_> = (0..20).map(|n| world.acquire("k", &format!("w{n}"), 10_000, 5_000)).collect();
    world.perform_all();
    assert!(world.release("k", "leader", &HolderEnd::ValueWritten));
    assert!(waiters.iter().all(|call| world.replies.get(call) == Some(&Reply::HolderDone)));
    assert_eq!(world.pending, [], "nobody asks for the lease");
}

/// A release without a value grants the oldest waiter, and only that one asks the store.
#[test]
fn a_release_without_a_value_grants_the_oldest() {
    let mut world = World::new();
    world.acquire("k", "leader", 10_000, 0);
    world.perform_all();
    let waiters: Vec<_> = (0..20).map(|n| world.acquire("k", &format!("w{n}"), 10_000, 5_000)).collect();
    world.perform_all();
    world.release("k", "leader", &HolderEnd::Abandoned);
    assert_eq!(world.pending.len(), 1, "one waiter asks: {:?}", world.pending);
    world.perform_all();
    assert!(world.token_of(waiters[0]).is_some());
    assert!(waiters[1..].iter().all(|call| !world.replies.contains_key(call)));
}

/// A holder that failed fails everybody who waits, once, so that an error does not send the queue to the origin one by
/// one. It is remembered by nobody: who comes later is granted the lease.
#[test]
fn a_failure_is_shared_once_with_everybody_who_waits() {
    let away = HolderFailure::failed(true, "away".to_owned());
    for failure in [HolderFailure::NoSuchRow { generation: 7 }, away] {
        let mut world = World::new();
        let leader = world.acquire("k", "leader", 10_000, 0);
        world.perform_all();
        world.arbiter.handle_delivered(world.now, leader);
        let waiters: Vec<_> = (0..39).map(|n| world.acquire("k", &format!("w{n}"), 10_000, 5_000)).collect();
        world.perform_all();
        assert!(world.release("k", "leader", &HolderEnd::Failed(failure.clone())));
        let told = Reply::HolderFailed(failure);
        assert!(waiters.iter().all(|call| world.replies.get(call) == Some(&told)), "{:?}", world.replies);
        assert_eq!(world.pending, [], "nobody asks for the lease");
        assert!(world.arbiter.is_idle());
        let later = world.acquire("k", "w0", 10_000, 0);
        world.perform_all();
        assert!(world.token_of(later).is_some());
    }
}

/// The head asks again when the holder fails: it is told as well, and if the store granted it the lease meanwhile, that
/// is taken back for those who come later.
#[test]
fn a_failure_is_shared_with_the_one_that_tries() {
    for granted in [false, true] {
        let mut world = World::new();
        world.acquire("k", "leader", 60_000, 0);
        world.perform_all();
        let waiter = world.acquire("k", "waiter", 60_000, 60_000);
        let Action::Try { op, name, owner, expiry_ms, token } = world.pending.remove(0) else {
            panic!("a try")
        };
        let mut tried = (!granted).then(|| world.try_at_store(&name, &owner, expiry_ms, token));
        world.release("k", "leader", &HolderEnd::Failed(HolderFailure::NoSuchRow { generation: 7 }));
        assert_eq!(
            world.replies.get(&waiter),
            Some(&Reply::HolderFailed(HolderFailure::NoSuchRow { generation: 7 }))
        );
        let tried = tried.take().unwrap_or_else(|| world.try_at_store(&name, &owner, expiry_ms, token));
        world.arbiter.handle_tried(world.now, op, tried);
        world.collect();
        let later = world.acquire("k", "later", 60_000, 1_000);
        world.perform_all();
        assert!(world.token_of(later).is_some(), "no orphan lease stands in the way: {:?}", world.replies);
    }
}

/// The holder's lease ended before it wrote: whoever waits for the next holder reads now, and nothing is freed.
#[test]
fn a_late_release_with_a_value_wakes_everybody_to_read() {
    let mut world = World::new();
    world.acquire("k", "slow", 100, 0);
    world.perform_all();
    let next = world.acquire("k", "next", 60_000, 60_000);
    world.perform_all();
    world.advance_ms(101);
    assert!(world.token_of(next).is_some());
    let waiters: Vec<_> = (0..20).map(|n| world.acquire("k", &format!("w{n}"), 10_000, 5_000)).collect();
    world.perform_all();
    assert!(!world.release("k", "slow", &HolderEnd::Abandoned));
    assert!(waiters.iter().all(|call| !world.replies.contains_key(call)));
    assert!(!world.release("k", "slow", &HolderEnd::ValueWritten));
    assert!(waiters.iter().all(|call| world.replies.get(call) == Some(&Reply::HolderDone)));
    assert_eq!(world.pending, [], "nobody asks for the lease");
    assert_eq!(world.table.inspect(world.now, "k").map(|view| view.owner), Some("next".to_owned()));
}

/// Failure mode 6: the holder died; the next waiter is granted when the lease ends, not later.
#[test]
fn a_dead_holder_costs_no_more_than_its_lease() {
    let mut world = World::new();
    world.acquire("k", "dead", 200, 0);
    world.perform_all();
    let waiter = world.acquire("k", "waiter", 1_000, 60_000);
    world.perform_all();
    world.advance_ms(199);
    assert_eq!(world.token_of(waiter), None);
    world.advance_ms(2);
    assert!(world.token_of(waiter).is_some(), "{:?}", world.replies);
}

/// A lease that ends earlier than was seen (a release through another instance, an emptied store) is noticed at the
/// next look.
#[test]
fn a_silent_end_of_the_lease_is_noticed() {
    let mut world = World::new();
    world.acquire("k", "other-instance", 60_000, 0);
    world.perform_all();
    let waiter = world.acquire("k", "waiter", 1_000, 30_000);
    world.perform_all();
    world.table.release(world.now, "k", "other-instance");
    world.advance_ms(u64::from(Settings::default().recheck_ms));
    assert!(world.token_of(waiter).is_some());
}

/// Failure mode 9: a caller hangs up while its try is under way; the grant is taken back, and the next is granted.
#[test]
fn a_grant_to_nobody_is_taken_back() {
    let mut world = World::new();
    let gone = world.acquire("k", "gone", 60_000, 1_000);
    let next = world.acquire("k", "next", 60_000, 1_000);
    world.cancel(gone);
    world.perform_all();
    assert!(world.token_of(next).is_some(), "no orphan lease stands in the way: {:?}", world.replies);
    assert_eq!(world.table.inspect(world.now, "k").map(|view| view.owner), Some("next".to_owned()));
}

/// Failure mode 9: the caller of a repeated acquire hangs up; what its owner holds already stays held.
#[test]
fn a_repeated_acquire_that_hangs_up_frees_nothing() {
    let mut world = World::new();
    let first = world.acquire("k", "owner", 60_000, 0);
    world.perform_all();
    world.arbiter.handle_delivered(world.now, first);
    let again = world.acquire("k", "owner", 60_000, 0);
    world.cancel(again);
    world.perform_all();
    assert!(world.table.inspect(world.now, "k").is_some());
    assert!(world.arbiter.is_idle());
}

/// Failure mode 9: the first call hung up, the owner's second call got the same grant: it is not taken back.
#[test]
fn a_grant_that_a_second_call_took_is_kept() {
    let mut world = World::new();
    let first = world.acquire("k", "owner", 60_000, 0);
    world.perform_all();
    let second = world.acquire("k", "owner", 60_000, 0);
    world.perform_all();
    assert_eq!(world.token_of(first), world.token_of(second));
    world.arbiter.handle_delivered(world.now, second);
    world.cancel(first);
    world.perform_all();
    assert_eq!(world.table.inspect(world.now, "k").map(|view| view.owner), Some("owner".to_owned()));
}

/// Failure mode 9: the store's answer is lost and the acquire is applied after it was taken back: it is refused.
#[test]
fn an_acquire_that_is_applied_late_leaves_no_orphan() {
    let mut world = World::new();
    let call = world.acquire("k", "owner", 60_000, 0);
    world.fail(0, false);
    assert!(matches!(world.replies[&call], Reply::Failed(_)), "a newcomer is told at once");
    world.perform_all();
    world.apply_late(0);
    assert_eq!(world.table.inspect(world.now, "k"), None);
    assert!(world.arbiter.is_idle());
}

/// Failure mode 9: two answers of the store are lost in a row, and the first acquire was applied. The tries count as
/// one acquire, so taking one back takes back both.
#[test]
fn several_lost_answers_are_one_acquire() {
    let mut world = World::new();
    world.acquire("k", "leader", 60_000, 0);
    world.perform_all();
    let waiter = world.acquire("k", "waiter", 60_000, 60_000);
    world.perform_all();
    world.release("k", "leader", &HolderEnd::Abandoned);
    world.fail(0, true);
    world.now = world.arbiter.poll_timeout().unwrap();
    world.arbiter.handle_timeout(world.now);
    world.collect();
    world.fail(0, false);
    world.cancel(waiter);
    world.perform_all();
    assert_eq!(world.table.inspect(world.now, "k"), None, "an orphan lease");
}

/// Failure mode 9: a holder that asks again is answered at once, however many wait for its lease.
#[test]
fn a_repeated_acquire_does_not_queue() {
    let mut world = World::new();
    let first = world.acquire("k", "owner", 60_000, 0);
    world.acquire("k", "waiter", 60_000, 60_000);
    world.perform_all();
    let again = world.acquire("k", "owner", 60_000, 60_000);
    world.perform_all();
    assert_eq!(world.token_of(again), world.token_of(first));
    assert!(matches!(world.replies[&again], Reply::Granted(grant) if grant.repeated));
}

/// Who will not wait is told as soon as anybody is seen holding the lease, although it saw the lease free itself.
#[test]
fn a_call_that_will_not_wait_is_not_kept() {
    for elsewhere in [false, true] {
        let mut world = World::new();
        world.acquire("k", "first", 60_000, 60_000);
        let hasty = world.acquire("k", "hasty", 60_000, 0);
        world.perform(1);
        assert!(!world.replies.contains_key(&hasty), "free, and the first will take it");
        if elsewhere {
            world.try_at_store("k", "other-instance", 60_000, None);
        }
        world.perform(0);
        assert!(matches!(world.replies[&hasty], Reply::WaitTimeout { .. }), "{:?}", world.replies);
    }
}

/// A release overtakes the store's answer to the head: that answer is from before, so the head asks again at once.
#[test]
fn a_release_during_a_try_is_not_lost() {
    let mut world = World::new();
    world.acquire("k", "leader", 60_000, 0);
    world.perform_all();
    let waiter = world.acquire("k", "waiter", 60_000, 60_000);
    let Action::Try { op, name, owner, expiry_ms, token } = world.pending.remove(0) else { panic!("a try") };
    let from_before = world.try_at_store(&name, &owner, expiry_ms, token);
    world.release("k", "leader", &HolderEnd::Abandoned);
    world.arbiter.handle_tried(world.now, op, from_before);
    world.collect();
    world.perform_all();
    assert!(world.token_of(waiter).is_some(), "{:?}", world.replies);
}

/// A store away for a moment does not make a crowd of the waiters; one away for longer fails them.
#[test]
fn waiters_ride_out_a_short_absence() {
    let mut world = World::new();
    world.acquire("k", "leader", 100, 0);
    world.perform_all();
    let waiter = world.acquire("k", "waiter", 1_000, 60_000);
    let second = world.acquire("k", "second", 1_000, 60_000);
    world.perform_all();
    let away_from = world.now.plus_ms(100);
    while world.now < away_from.plus_ms(1_000) {
        world.now = world.arbiter.poll_timeout().unwrap();
        world.arbiter.handle_timeout(world.now);
        world.collect();
        while !world.pending.is_empty() {
            world.fail(0, false);
        }
    }
    assert!(!world.replies.contains_key(&waiter));
    world.advance_ms(100);
    assert!(world.token_of(waiter).is_some());
    assert!(!world.replies.contains_key(&second));
}

/// Limits refuse, and name what is full; a draining service answers everybody.
#[test]
fn limits_and_drain() {
    let settings = Settings {
        names_max: 1,
        waiters_max: 2,
        calls_max: 3,
        calls_per_owner_max: 1,
        ..Settings::default()
    };
    let mut arbiter = Arbiter::new(settings);
    arbiter.handle_acquire(Time(0), "k", "a", 1_000, 1_000).unwrap();
    let mut ask = |name: &str, owner: &str| arbiter.handle_acquire(Time(0), name, owner, 1_000, 1_000);
    assert_eq!(ask("k", "a"), Err(Overloaded::CallsPerOwner(1)));
    assert_eq!(ask("l", "a"), Err(Overloaded::Names(1)));
    ask("k", "b").unwrap();
    assert_eq!(ask("k", "c"), Err(Overloaded::Waiters(2)));
    arbiter.handle_drain(Time(0));
    let replies = std::iter::from_fn(|| arbiter.poll_action())
        .filter(|action| matches!(action, Action::Reply { reply: Reply::Failed(Failure::Draining), .. }));
    assert_eq!(replies.count(), 2);
    assert_eq!(arbiter.waiters("k"), 0);
}
