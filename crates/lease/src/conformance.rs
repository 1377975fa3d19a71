//! The suite that every lease store passes: the same assertions over the table in memory and over a real store.
//!
//! [`run`] asserts, and names the case that failed. It needs a store of its own: it empties and restarts it.

use crate::id::{Epoch, Token};
use crate::store::{Acquire, Acquired, Grant, LeaseStore, OpenEpoch};
use std::future::Future;

/// A store, and what the suite does to it from outside.
pub trait Subject: Sync {
    /// The store under test.
    type Store: LeaseStore;
    /// The store.
    fn store(&self) -> &Self::Store;
    /// Lets `ms` milliseconds pass by the store's own clock.
    fn pass_ms(&self, ms: u32) -> impl Future<Output = ()> + Send;
    /// Empties the store while it runs.
    fn lose_data(&self) -> impl Future<Output = ()> + Send;
    /// Restarts the store with the data that it had, and waits until it answers again.
    fn restart_with_data(&self) -> impl Future<Output = ()> + Send;
}

const LONG_MS: u32 = 60_000;

/// Runs every case.
///
/// # Panics
/// When the store breaks a rule.
pub async fn run<S: Subject>(subject: &S) {
    let mut suite = Suite { subject, token: 0, epoch: 0 };
    suite.a_new_store_grants_nothing_before_it_is_opened().await;
    suite.a_lease_is_granted_once_and_repeated_to_its_owner().await;
    suite.tokens_at_or_below_the_highest_are_refused().await;
    suite.only_the_owner_releases_and_renews().await;
    suite.a_lease_expires_by_the_stores_clock().await;
    suite.a_renewed_lease_lives_on().await;
    suite.a_revoked_acquire_cannot_be_applied_late().await;
    suite.an_emptied_store_wants_a_new_epoch().await;
    suite.an_older_store_wants_a_new_epoch().await;
    suite.the_faster_of_two_opens_the_epoch().await;
    suite.a_restarted_store_keeps_leases_and_wants_a_floor().await;
}

struct Suite<'a, S> {
    subject: &'a S,
    token: u64,
    epoch: u64,
}

impl<S: Subject> Suite<'_, S> {
    fn next_token(&mut self) -> Token {
        self.token += 1;
        Token(self.token)
    }

    async fn ask(&self, name: &str, owner: &str, token: Token, expiry_ms: u32) -> Acquired {
        let known_epoch = Epoch(self.epoch);
        let acquire = Acquire { name, owner, token, known_epoch, expiry_ms };
        self.subject.store().acquire(acquire).await.expect("the store answers an acquire")
    }

    async fn grant(&mut self, name: &str, owner: &str, expiry_ms: u32) -> Grant {
        let token = self.next_token();
        match self.ask(name, owner, token, expiry_ms).await {
            Acquired::Granted(grant) => grant,
            other => panic!("{owner} should be granted {name}, but: {other:?}"),
        }
    }

    async fn open_next_epoch(&mut self, found: Option<Epoch>) {
        self.epoch += 1;
        let open = OpenEpoch { epoch: Epoch(self.epoch), found, floor: Token(self.token) };
        let opened = self.subject.store().open_epoch(open).await;
        assert_eq!(opened, Ok(Some(Epoch(self.epoch))), "the epoch that was opened is the store's");
    }

    async fn a_new_store_grants_nothing_before_it_is_opened(&mut self) {
        let store = self.subject.store();
        let token = self.next_token();
        assert_eq!(self.ask("new", "a", token, LONG_MS).await, Acquired::Restarted);
        store.resume(Token::ZERO).await.expect("the store resumes");
        assert_eq!(self.ask("new", "a", token, LONG_MS).await, Acquired::EpochMissing);
        assert_eq!(store.inspect("new").await, Ok(None));
        self.open_next_epoch(None).await;
        let grant = self.grant("new", "a", LONG_MS).await;
        assert_eq!((grant.epoch, grant.repeated), (Epoch(1), false));
    }

    async fn a_lease_is_granted_once_and_repeated_to_its_owner(&mut self) {
        let first = self.grant("once", "a", LONG_MS).await;
        let again = self.grant("once", "a", LONG_MS).await;
        assert_eq!(
            (again.token, again.repeated),
            (first.token, true),
            "a repeated acquire has the same token"
        );
        assert!((1..=LONG_MS).contains(&again.expires_in_ms), "{again:?}");
        let token = self.next_token();
        let Acquired::Held(held) = self.ask("once", "b", token, LONG_MS).await else {
            panic!("a lease is not granted twice");
        };
        assert_eq!((held.owner.as_str(), held.token, held.epoch), ("a", first.token, Epoch(self.epoch)));
        assert!((1..=LONG_MS).contains(&held.expires_in_ms), "{held:?}");
        assert_eq!(
            self.subject.store().inspect("once").await.map(|view| view.map(|v| v.token)),
            Ok(Some(first.token))
        );
        let other = self.grant("once-other", "b", LONG_MS).await;
        assert!(other.token > first.token, "names do not share a lease, but they share the order of tokens");
    }

    async fn tokens_at_or_below_the_highest_are_refused(&mut self) {
        let grant = self.grant("order-1", "a", LONG_MS).await;
        let highest = grant.token;
        for token in [highest, Token(highest.0 - 1), Token(1)] {
            assert_eq!(self.ask("order-2", "b", token, LONG_MS).await, Acquired::TokenOld { highest });
        }
        assert_eq!(self.subject.store().inspect("order-2").await, Ok(None), "a refusal leaves no lease");
    }

    async fn only_the_owner_releases_and_renews(&mut self) {
        let store = self.subject.store();
        let grant = self.grant("owned", "a", LONG_MS).await;
        let other = Token(grant.token.0 + 1);
        assert_eq!(store.release("owned", "b").await, Ok(false), "a stranger frees nothing");
        assert_eq!(store.renew("owned", "b", grant.token, LONG_MS).await, Ok(false));
        assert_eq!(store.renew("owned", "a", other, LONG_MS).await, Ok(false));
        assert_eq!(store.revoke("owned", "b", Token(1)).await, Ok(false));
        assert_eq!(store.renew("owned", "a", grant.token, 5_000).await, Ok(true));
        let view = store.inspect("owned").await.expect("the store answers").expect("the lease is held");
        assert!(view.owner == "a" && view.expires_in_ms <= 5_000, "{view:?}");
        assert_eq!(store.release("owned", "a").await, Ok(true));
        assert_eq!(store.release("owned", "a").await, Ok(false), "a repeated release is no error");
        assert_eq!(store.inspect("owned").await, Ok(None));
        self.grant("owned", "b", LONG_MS).await;
        assert_eq!(store.release("owned", "a").await, Ok(false), "a late release frees nothing");
        assert!(store.inspect("owned").await.is_ok_and(|view| view.is_some_and(|v| v.owner == "b")));
    }

    async fn a_lease_expires_by_the_stores_clock(&mut self) {
        let store = self.subject.store();
        let first = self.grant("expires", "a", 50).await;
        self.subject.pass_ms(60).await;
        assert_eq!(store.inspect("expires").await, Ok(None));
        assert_eq!(
            store.renew("expires", "a", first.token, LONG_MS).await,
            Ok(false),
            "what is lost stays lost"
        );
        let second = self.grant("expires", "b", LONG_MS).await;
        assert!(second.token > first.token);
        assert_eq!(store.release("expires", "a").await, Ok(false));
    }

    async fn a_renewed_lease_lives_on(&mut self) {
        let store = self.subject.store();
        let grant = self.grant("renewed", "a", 400).await;
        assert_eq!(store.renew("renewed", "a", grant.token, LONG_MS).await, Ok(true));
        self.subject.pass_ms(410).await;
        assert!(store.inspect("renewed").await.is_ok_and(|view| view.is_some_and(|v| v.owner == "a")));
    }

    async fn a_revoked_acquire_cannot_be_applied_late(&mut self) {
        let store = self.subject.store();
        let granted = self.grant("revoked", "a", LONG_MS).await;
        assert_eq!(store.revoke("revoked", "a", granted.token).await, Ok(true));
        assert_eq!(store.inspect("revoked").await, Ok(None));
        let on_its_way = self.next_token();
        assert_eq!(store.revoke("revoked", "a", on_its_way).await, Ok(false));
        let late = self.ask("revoked", "a", on_its_way, LONG_MS).await;
        assert_eq!(late, Acquired::TokenOld { highest: on_its_way }, "it leaves no orphan lease");
    }

    async fn an_emptied_store_wants_a_new_epoch(&mut self) {
        let before = self.grant("emptied", "a", LONG_MS).await;
        self.subject.lose_data().await;
        let store = self.subject.store();
        let token = self.next_token();
        assert_eq!(self.ask("emptied", "b", token, LONG_MS).await, Acquired::EpochMissing);
        assert_eq!(store.renew("emptied", "a", before.token, LONG_MS).await, Ok(false));
        assert_eq!(store.release("emptied", "a").await, Ok(false));
        self.open_next_epoch(None).await;
        let old = self.ask("emptied", "b", before.token, LONG_MS).await;
        assert!(matches!(old, Acquired::TokenOld { .. }), "an emptied store takes no old token: {old:?}");
        let after = self.grant("emptied", "b", LONG_MS).await;
        assert!(after.token > before.token && after.epoch > before.epoch, "{after:?} after {before:?}");
    }

    async fn an_older_store_wants_a_new_epoch(&mut self) {
        let before = self.grant("older", "a", LONG_MS).await;
        let found = Epoch(self.epoch);
        self.epoch += 5;
        let token = self.next_token();
        assert_eq!(self.ask("older", "b", token, LONG_MS).await, Acquired::EpochOlder { found });
        self.open_next_epoch(Some(found)).await;
        let store = self.subject.store();
        assert_eq!(store.inspect("older").await, Ok(None), "a lease of an older epoch is not held");
        assert_eq!(store.renew("older", "a", before.token, LONG_MS).await, Ok(false));
        assert_eq!(store.release("older", "a").await, Ok(false));
        let after = self.grant("older", "b", LONG_MS).await;
        assert!(after.epoch > before.epoch && !after.repeated);
    }

    async fn the_faster_of_two_opens_the_epoch(&mut self) {
        self.subject.lose_data().await;
        let known = self.epoch;
        self.open_next_epoch(None).await;
        let newest = Some(Epoch(self.epoch));
        let slower = OpenEpoch { epoch: Epoch(self.epoch + 1), found: None, floor: Token(self.token) };
        assert_eq!(self.subject.store().open_epoch(slower).await, Ok(newest));
        let slower = OpenEpoch { found: Some(Epoch(known)), ..slower };
        assert_eq!(self.subject.store().open_epoch(slower).await, Ok(newest));
        let grant = self.grant("faster", "a", LONG_MS).await;
        assert_eq!(Some(grant.epoch), newest);
        // Who knows an older epoch is still served, and learns the new one.
        let newest = std::mem::replace(&mut self.epoch, known);
        assert_eq!(self.grant("faster-2", "b", LONG_MS).await.epoch, Epoch(newest));
        self.epoch = newest;
        // An epoch is not opened over data that was lost meanwhile.
        self.subject.lose_data().await;
        let late =
            OpenEpoch { epoch: Epoch(newest + 1), found: Some(Epoch(known)), floor: Token(self.token) };
        assert_eq!(self.subject.store().open_epoch(late).await, Ok(None));
        self.open_next_epoch(None).await;
    }

    async fn a_restarted_store_keeps_leases_and_wants_a_floor(&mut self) {
        let before = self.grant("restarted", "a", LONG_MS).await;
        self.subject.restart_with_data().await;
        let store = self.subject.store();
        let view = store.inspect("restarted").await.expect("the store answers");
        assert_eq!(view.map(|v| (v.owner, v.token)), Some(("a".to_owned(), before.token)));
        let token = self.next_token();
        assert_eq!(self.ask("restarted-2", "b", token, LONG_MS).await, Acquired::Restarted);
        // A snapshot may be a moment old: the floor stands for what it forgot.
        let floor = Token(token.0 + 10);
        store.resume(floor).await.expect("the store resumes");
        assert_eq!(self.ask("restarted-2", "b", token, LONG_MS).await, Acquired::TokenOld { highest: floor });
        self.token = floor.0;
        let after = self.grant("restarted-2", "b", LONG_MS).await;
        assert_eq!(after.epoch, before.epoch, "a restart with data is no new epoch");
        let token = self.next_token();
        assert!(matches!(self.ask("restarted", "b", token, LONG_MS).await, Acquired::Held(_)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    impl Subject for MemoryStore {
        type Store = Self;
        fn store(&self) -> &Self {
            self
        }
        async fn pass_ms(&self, ms: u32) {
            self.advance_ms(ms.into());
        }
        async fn lose_data(&self) {
            Self::lose_data(self);
        }
        async fn restart_with_data(&self) {
            self.restart();
        }
    }

    /// The table in memory obeys the same suite as a real store.
    #[test]
    fn the_memory_store_conforms() {
        let store = MemoryStore::new();
        let mut suite = pin!(run(&store));
        let polled = suite.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(()), "a store in memory never waits");
    }
}
