//! The failure of a holder that outlived its lease.

use super::{Arbiter, Reply};
use crate::ending::HolderFailure;
use crate::id::Time;
use crate::store::LeaseView;
use std::sync::Arc;

impl Arbiter {
    /// A release that freed nothing told a failure, and the store was asked afterwards: `holding` leads now. Whoever waits
    /// shares the failure of `owner`, once; the lease stays with its holder, whose work goes on.
    ///
    /// Why share it at all: where a rebuild takes longer than a lease, every release comes late. Those who wait would ask in
    /// their turn, one lease after the other, for what a holder just learnt is not to be had.
    ///
    /// Why that is safe: a failure of the origin says as much to a waiter as it would have said in time. An absence
    /// may be older than an insert that was acknowledged since, as it may be in time; it carries the generation of its
    /// holder, and who saw a newer one looks again instead of sharing it. Generations compare only while the store
    /// keeps its data. Therefore the failure counts only if `owner` was seen holding the lease in the epoch in which
    /// `holding` holds it: the store lost nothing between. Nobody's word but a holder's is shared, and a
    /// release that is repeated says nothing new.
    ///
    /// The holder itself, asking again, is left to learn that it holds the lease. A grant that is under way to a waiter
    /// is taken back.
    pub fn handle_outlived(
        &mut self,
        now: Time,
        name: &str,
        owner: &str,
        holding: &LeaseView,
        failure: &HolderFailure,
    ) {
        let Some((name, state)) = self.names.get_key_value(name) else { return };
        let name = Arc::clone(name);
        let waiting = state.queue.iter().filter(|waiter| ***waiter != *holding.owner).cloned().collect();
        let Some(state) = self.names.get_mut(&name) else { return };
        if !state.forget_holder(owner, holding.epoch) || holding.owner == owner {
            return;
        }
        self.tell_waiting(now, &name, waiting, &Reply::HolderFailed(failure.clone()));
        self.advance(now, &name);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::World;
    use super::super::{Action, CallId};
    use super::*;
    use crate::ending::HolderEnd;
    use crate::id::Epoch;

    const ABSENT: HolderFailure = HolderFailure::NoSuchRow { generation: 7 };

    /// `slow` outlived its lease, `next` holds it, twenty wait.
    fn outlived() -> (World, Vec<CallId>) {
        let mut world = World::new();
        let slow = world.acquire("k", "slow", 100, 0);
        world.perform_all();
        world.arbiter.handle_delivered(world.now, slow);
        let next = world.acquire("k", "next", 60_000, 60_000);
        world.perform_all();
        let waiters = (0..20).map(|n| world.acquire("k", &format!("w{n}"), 10_000, 50_000)).collect();
        world.perform_all();
        world.advance_ms(101);
        assert!(world.token_of(next).is_some());
        world.arbiter.handle_delivered(world.now, next);
        world.collect();
        world.perform_all();
        (world, waiters)
    }

    /// Everybody who waits shares the failure as it was told, its generation too; the next holder keeps the lease, and
    /// nobody asks the store.
    #[test]
    fn a_late_failure_is_shared_with_everybody_who_waits() {
        for failure in [ABSENT, HolderFailure::failed(true, "away".to_owned())] {
            let (mut world, waiters) = outlived();
            assert!(!world.release("k", "slow", &HolderEnd::Failed(failure.clone())));
            let told = Reply::HolderFailed(failure);
            assert!(waiters.iter().all(|call| world.replies.get(call) == Some(&told)), "{:?}", world.replies);
            assert_eq!(world.pending, [], "nobody asks for the lease");
            assert_eq!(world.table.inspect(world.now, "k").map(|view| view.owner), Some("next".to_owned()));
            assert!(world.arbiter.is_idle());
        }
    }

    /// Nobody shares the word of a stranger, a repeated release, or a holder that just left.
    #[test]
    fn only_a_holder_is_listened_to_and_once() {
        let (mut world, waiters) = outlived();
        world.release("k", "stranger", &HolderEnd::Failed(ABSENT));
        world.release("k", "slow", &HolderEnd::Abandoned);
        assert!(waiters.iter().all(|call| !world.replies.contains_key(call)));
        // One that waits for something else keeps the name remembered while the others are told.
        let again = world.acquire("k", "next", 60_000, 50_000);
        world.release("k", "slow", &HolderEnd::Failed(ABSENT));
        assert!(waiters.iter().all(|call| world.replies.contains_key(call)));
        assert_eq!(world.replies.get(&again), None, "it is the holder");
        let later = world.acquire("k", "later", 10_000, 50_000);
        world.release("k", "slow", &HolderEnd::Failed(ABSENT));
        world.perform_all();
        assert!(world.token_of(again).is_some());
        assert_eq!(world.replies.get(&later), None, "a repeated release");
    }

    /// Generations from before the store lost its data say nothing.
    #[test]
    fn a_failure_from_an_older_epoch_is_not_shared() {
        let (mut world, waiters) = outlived();
        let mut view = world.table.inspect(world.now, "k").unwrap();
        view.epoch = Epoch(2);
        world.arbiter.handle_outlived(world.now, "k", "slow", &view, &ABSENT);
        world.collect();
        assert!(waiters.iter().all(|call| !world.replies.contains_key(call)));
    }

    /// A waiter is told while its try is under way, and is granted the lease all the same: that is taken back.
    #[test]
    fn a_grant_under_way_to_somebody_who_was_told_is_taken_back() {
        let (mut world, waiters) = outlived();
        let view = world.table.inspect(world.now, "k").unwrap();
        assert!(world.release("k", "next", &HolderEnd::Abandoned));
        let [Action::Try { .. }] = &world.pending[..] else { panic!("{:?}", world.pending) };
        world.arbiter.handle_outlived(world.now, "k", "slow", &view, &ABSENT);
        world.collect();
        assert_eq!(world.replies.get(&waiters[0]), Some(&Reply::HolderFailed(ABSENT)));
        world.perform_all();
        assert_eq!(world.table.inspect(world.now, "k"), None, "an orphan lease");
        assert!(world.arbiter.is_idle());
    }
}
