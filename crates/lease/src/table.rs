//! The rules of a lease store as a pure table: time comes in as an argument.

use crate::id::{Epoch, Time, Token};
use crate::store::{Acquire, Acquired, Grant, LeaseView, OpenEpoch};
use std::collections::BTreeMap;

/// A lease store without I/O: at most one live lease a name, tokens that only grow, one epoch.
///
/// [`lose_data`](Self::lose_data) and [`restart`](Self::restart) do to it what happens to a real store.
#[derive(Clone, Debug)]
pub struct LeaseTable {
    leases: BTreeMap<String, Lease>,
    leases_max: usize,
    epoch: Option<Epoch>,
    highest: Token,
    restarted: bool,
}

#[derive(Clone, Debug)]
struct Lease {
    owner: String,
    token: Token,
    epoch: Epoch,
    expires_at: Time,
}

/// The table holds as many live leases as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} leases are held, and no more are allowed")]
pub struct TableFull(pub usize);

impl LeaseTable {
    /// An empty table, as a store that was just started: it has no epoch and waits to be resumed.
    #[must_use]
    pub const fn new(leases_max: usize) -> Self {
        Self { leases: BTreeMap::new(), leases_max, epoch: None, highest: Token::ZERO, restarted: true }
    }

    /// Grants the lease if nobody holds it; see [`crate::LeaseStore::acquire`].
    ///
    /// # Errors
    /// [`TableFull`] if a new lease would exceed the limit.
    pub fn acquire(&mut self, now: Time, acquire: Acquire<'_>) -> Result<Acquired, TableFull> {
        if self.restarted {
            return Ok(Acquired::Restarted);
        }
        let Some(epoch) = self.epoch else { return Ok(Acquired::EpochMissing) };
        if epoch < acquire.known_epoch {
            return Ok(Acquired::EpochOlder { found: epoch });
        }
        if let Some(lease) = self.live(now, acquire.name) {
            let expires_in_ms = now.ms_until(lease.expires_at);
            if lease.owner == acquire.owner {
                let token = lease.token;
                return Ok(Acquired::Granted(Grant { token, epoch, expires_in_ms, repeated: true }));
            }
            return Ok(Acquired::Held(lease.view(now)));
        }
        if acquire.token <= self.highest {
            return Ok(Acquired::TokenOld { highest: self.highest });
        }
        self.make_room(now, acquire.name)?;
        let lease = Lease {
            owner: acquire.owner.to_owned(),
            token: acquire.token,
            epoch,
            expires_at: now.plus_ms(acquire.expiry_ms.into()),
        };
        self.leases.insert(acquire.name.to_owned(), lease);
        self.highest = acquire.token;
        let expires_in_ms = acquire.expiry_ms;
        Ok(Acquired::Granted(Grant { token: acquire.token, epoch, expires_in_ms, repeated: false }))
    }

    /// Sets the remaining time of a lease that `owner` holds under `token`; says whether it did.
    pub fn renew(&mut self, now: Time, name: &str, owner: &str, token: Token, expiry_ms: u32) -> bool {
        let held = self.live(now, name).is_some_and(|lease| lease.owner == owner && lease.token == token);
        if held && let Some(lease) = self.leases.get_mut(name) {
            lease.expires_at = now.plus_ms(expiry_ms.into());
        }
        held
    }

    /// Frees a lease that `owner` holds; says whether it did.
    pub fn release(&mut self, now: Time, name: &str, owner: &str) -> bool {
        let held = self.live(now, name).is_some_and(|lease| lease.owner == owner);
        if held {
            self.leases.remove(name);
        }
        held
    }

    /// Takes back an acquire; see [`crate::LeaseStore::revoke`].
    pub fn revoke(&mut self, now: Time, name: &str, owner: &str, token: Token) -> bool {
        let held = self.live(now, name).is_some_and(|lease| lease.owner == owner && lease.token == token);
        if held {
            self.leases.remove(name);
        }
        self.highest = self.highest.max(token);
        held
    }

    /// Who holds a lease now.
    #[must_use]
    pub fn inspect(&self, now: Time, name: &str) -> Option<LeaseView> {
        self.live(now, name).map(|lease| lease.view(now))
    }

    /// Opens an epoch if the table is still in the one that it was found in. Answers the epoch that it is in now.
    pub fn open_epoch(&mut self, open: OpenEpoch) -> Option<Epoch> {
        if self.epoch == open.found {
            self.epoch = Some(open.epoch);
            self.highest = self.highest.max(open.floor);
        }
        self.epoch
    }

    /// Counts tokens up to `floor` as granted, and ends [`Acquired::Restarted`].
    pub fn resume(&mut self, floor: Token) {
        self.highest = self.highest.max(floor);
        self.restarted = false;
    }

    /// The epoch that the table is in; none if it lost its data.
    #[must_use]
    pub const fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// The largest token that the table knows to be granted.
    #[must_use]
    pub const fn highest(&self) -> Token {
        self.highest
    }

    /// Forgets everything, as a store that was emptied does.
    pub fn lose_data(&mut self) {
        self.leases.clear();
        self.epoch = None;
        self.highest = Token::ZERO;
    }

    /// Restarts with what is in the table now.
    pub const fn restart(&mut self) {
        self.restarted = true;
    }

    fn live(&self, now: Time, name: &str) -> Option<&Lease> {
        self.leases.get(name).filter(|lease| lease.expires_at > now && Some(lease.epoch) == self.epoch)
    }

    fn make_room(&mut self, now: Time, name: &str) -> Result<(), TableFull> {
        if self.leases.len() < self.leases_max || self.leases.contains_key(name) {
            return Ok(());
        }
        let epoch = self.epoch;
        self.leases.retain(|_, lease| lease.expires_at > now && Some(lease.epoch) == epoch);
        if self.leases.len() < self.leases_max { Ok(()) } else { Err(TableFull(self.leases_max)) }
    }
}

impl Lease {
    fn view(&self, now: Time) -> LeaseView {
        LeaseView {
            owner: self.owner.clone(),
            token: self.token,
            epoch: self.epoch,
            expires_in_ms: now.ms_until(self.expires_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opened() -> LeaseTable {
        let mut table = LeaseTable::new(2);
        table.resume(Token::ZERO);
        table.open_epoch(OpenEpoch { epoch: Epoch(1), found: None, floor: Token::ZERO });
        table
    }

    fn ask<'a>(name: &'a str, owner: &'a str, token: u64) -> Acquire<'a> {
        Acquire { name, owner, token: Token(token), known_epoch: Epoch(1), expiry_ms: 10 }
    }

    /// The limit counts live leases only.
    #[test]
    fn a_full_table_makes_room_of_what_expired() {
        let mut table = opened();
        for (name, token) in [("a", 1), ("b", 2)] {
            assert!(matches!(table.acquire(Time(0), ask(name, "o", token)), Ok(Acquired::Granted(_))));
        }
        assert_eq!(table.acquire(Time(0), ask("c", "o", 3)), Err(TableFull(2)));
        let later = Time(0).plus_ms(10);
        assert!(matches!(table.acquire(later, ask("c", "o", 3)), Ok(Acquired::Granted(_))));
    }

    /// Failure mode 8: a release by someone who held the lease once does not free the one who holds it now.
    #[test]
    fn a_late_release_frees_nothing() {
        let mut table = opened();
        table.acquire(Time(0), ask("k", "slow", 1)).unwrap();
        let later = Time(0).plus_ms(11);
        table.acquire(later, ask("k", "next", 2)).unwrap();
        assert!(!table.release(later, "k", "slow"));
        assert_eq!(table.inspect(later, "k").map(|view| view.owner), Some("next".to_owned()));
    }

    /// What a correct caller does when the table refuses: what it knows of epochs and tokens is durable.
    fn acquire(
        table: &mut LeaseTable,
        now: Time,
        name: &str,
        owner: &str,
        durable: &mut (u64, u64),
    ) -> Grant {
        let (token, epoch) = durable;
        for _ in 0..5 {
            *token += 1;
            let request =
                Acquire { name, owner, token: Token(*token), known_epoch: Epoch(*epoch), expiry_ms: 20 };
            match table.acquire(now, request).unwrap() {
                Acquired::Granted(grant) => return grant,
                Acquired::Held(view) => {
                    let LeaseView { token, epoch, expires_in_ms, .. } = view;
                    return Grant { token, epoch, expires_in_ms, repeated: true };
                }
                Acquired::Restarted => table.resume(Token(*token)),
                lost @ (Acquired::EpochMissing | Acquired::EpochOlder { .. }) => {
                    let found = if let Acquired::EpochOlder { found } = lost { Some(found) } else { None };
                    *epoch += 1;
                    table.open_epoch(OpenEpoch { epoch: Epoch(*epoch), found, floor: Token(*token) });
                }
                Acquired::TokenOld { highest } => *token = highest.0,
            }
        }
        panic!("a caller who follows the rules is answered");
    }

    proptest! {
        /// Through expiry, releases, restarts, lost data and data gone back to an older snapshot, tokens of new grants
        /// only grow, and epochs never go back.
        #[test]
        fn tokens_only_grow(steps in prop::collection::vec((0_u8..10, 0_u8..4, 0_u64..15), 1..150)) {
            let mut table = LeaseTable::new(100);
            let mut snapshot = table.clone();
            let (mut now, mut durable) = (Time(0), (0, 0));
            let mut last = (Epoch::ZERO, Token::ZERO);
            for (step, who, ms) in steps {
                let (name, owner) = (["k", "l"][usize::from(who) % 2], ["a", "b", "c", "d"][usize::from(who)]);
                now = now.plus_ms(ms);
                match step {
                    0..=4 => {
                        let grant = acquire(&mut table, now, name, owner, &mut durable);
                        prop_assert!(grant.epoch >= last.0);
                        if !grant.repeated {
                            prop_assert!(grant.token > last.1, "{:?} after {:?}", grant, last);
                            last = (grant.epoch, grant.token);
                        }
                    }
                    5 => {
                        let held = table.inspect(now, name).is_some_and(|view| view.owner == owner);
                        prop_assert_eq!(table.release(now, name, owner), held);
                        prop_assert_eq!(table.inspect(now, name).is_some_and(|view| view.owner == owner), false);
                    }
                    6 => { table.revoke(now, name, owner, Token(durable.0)); }
                    7 => table.lose_data(),
                    8 => snapshot = table.clone(),
                    _ => {
                        table = snapshot.clone();
                        table.restart();
                    }
                }
            }
        }
    }
}
