//! Models of the store and of the lock service that keeps its leases there: what the real ones promise, in a few lines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use herd_policy::{
    Cause, Failure, Lease, LeaseOutcome, Life, Owner, ReadOutcome, Refusal, RenewOutcome, Time, WriteGuard,
    WriteOutcome,
};

pub(crate) type Key = Arc<str>;
/// A node's number and its owner's name.
pub(crate) type Who = (usize, Owner);

/// What goes wrong with one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It is not applied, and the caller is told so.
    Refused,
    /// It is applied, and the answer is lost: the caller learns of a time-out.
    Unanswered,
    /// Its task vanishes.
    Lost,
}

pub(crate) fn failure() -> Failure {
    Failure::retryable(Cause::Unavailable, "drawn")
}

/// Values, fences and leases.
#[derive(Default)]
pub(crate) struct Store {
    rows: BTreeMap<Key, Row>,
    holders: BTreeMap<Key, Holder>,
    /// What the lock service wrote into the store last; gone when the store lost its data.
    epoch: Option<u64>,
    epochs: u64,
    tokens: u64,
    /// Key, generation replaced, and lease of each write that was taken.
    pub(crate) accepted: Vec<(Key, u64, Option<Lease>)>,
    pub(crate) refused: Vec<Refusal>,
    /// The lives of the values that were taken, in order.
    pub(crate) lives: Vec<Duration>,
    /// The keys that every node's filter knows; `None`: there is no filter.
    pub(crate) filter: Option<BTreeSet<Key>>,
    /// Its data were lost at least once.
    pub(crate) lost: bool,
}

#[derive(Default)]
struct Row {
    entry: Option<Entry>,
    generation: u64,
    token: u64,
}

struct Entry {
    /// `None`: the sentinel.
    value: Option<u64>,
    written: Time,
    ttl: Duration,
    rebuild_took: Duration,
}

struct Holder {
    who: Who,
    expires: Time,
}

/// What a writer asks for.
pub(crate) struct Write<'a> {
    pub(crate) key: &'a Key,
    pub(crate) value: Option<u64>,
    pub(crate) now: Time,
    pub(crate) ttl: Duration,
    pub(crate) rebuild_took: Duration,
    pub(crate) guard: WriteGuard,
    pub(crate) observed: u64,
    pub(crate) lease: Option<Lease>,
}

impl Store {
    /// The value of `key` turns stale now.
    pub(crate) fn expire(&mut self, key: &str, now: Time) {
        if let Some(entry) = self.rows.get_mut(key).and_then(|row| row.entry.as_mut()) {
            entry.ttl = entry.ttl.min(now.since(entry.written));
        }
    }

    /// Deletes the value of `key`: a tombstone of the next generation.
    pub(crate) fn invalidate(&mut self, key: &str) {
        let row = self.rows.entry(key.into()).or_default();
        row.entry = None;
        row.generation += 1;
    }

    /// Restarts with nothing on disk.
    pub(crate) fn lose(&mut self) {
        self.rows.clear();
        self.holders.clear();
        self.epoch = None;
        self.lost = true;
    }

    pub(crate) fn pass(&mut self, now: Time) {
        self.holders.retain(|_, holder| holder.expires > now);
    }

    pub(crate) fn next_expiry(&self) -> Option<Time> {
        self.holders.values().map(|holder| holder.expires).min()
    }

    pub(crate) fn read(&self, key: &Key, now: Time, fault: Fault) -> ReadOutcome<u64> {
        if fault != Fault::None {
            return ReadOutcome::Failed(failure());
        }
        let may_exist = self.filter.as_ref().is_none_or(|known| known.contains(key));
        let Some(Row { entry, generation, .. }) = self.rows.get(key) else {
            return ReadOutcome::Absent { generation: 0, may_exist };
        };
        let generation = *generation;
        let Some(entry) = entry else { return ReadOutcome::Absent { generation, may_exist } };
        let age = now.since(entry.written);
        let life = Life { age, ttl: entry.ttl, rebuild_took: entry.rebuild_took };
        match entry.value {
            Some(value) if age < entry.ttl => ReadOutcome::Fresh { value, generation, life },
            Some(value) => ReadOutcome::Expired { value, generation, life },
            None if age < entry.ttl => ReadOutcome::Negative { generation },
            None => ReadOutcome::Absent { generation, may_exist },
        }
    }

    pub(crate) fn write(&mut self, write: &Write<'_>, fault: Fault) -> WriteOutcome {
        match fault {
            Fault::Refused => return WriteOutcome::Uncacheable,
            Fault::Lost => return WriteOutcome::Failed(failure()),
            Fault::None | Fault::Unanswered => {}
        }
        let epoch = self.epoch;
        let row = self.rows.entry(Arc::clone(write.key)).or_default();
        let refusal = match (write.guard, write.lease) {
            (WriteGuard::Unguarded, _) => None,
            (_, Some(_)) if epoch.is_none() => Some(Refusal::EpochMissing),
            (_, Some(lease)) if epoch != Some(lease.epoch) => Some(Refusal::EpochOld),
            _ if row.generation != write.observed => Some(Refusal::GenerationMoved),
            (_, Some(lease)) if lease.token <= row.token => Some(Refusal::TokenOld),
            _ => None,
        };
        if let Some(refusal) = refusal {
            self.refused.push(refusal);
            return WriteOutcome::Refused(refusal);
        }
        row.token = write.lease.map_or(row.token, |lease| lease.token);
        row.generation = row.generation.max(write.observed + 1);
        let &Write { value, now: written, ttl, rebuild_took, .. } = write;
        row.entry = Some(Entry { value, written, ttl, rebuild_took });
        let generation = row.generation;
        self.accepted.push((Arc::clone(write.key), write.observed, write.lease));
        self.lives.extend(value.map(|_| ttl));
        match fault {
            Fault::None => WriteOutcome::Written { generation },
            _ => WriteOutcome::Failed(failure()),
        }
    }

    /// `None`: the caller waits on. `patient`: its wait is not over.
    pub(crate) fn acquire(
        &mut self,
        who: Who,
        key: &Key,
        expires: Time,
        patient: bool,
        fault: Fault,
    ) -> Option<LeaseOutcome> {
        if fault == Fault::Refused {
            return Some(LeaseOutcome::Unavailable(failure()));
        }
        let held_by_other = self.holders.get(key).is_some_and(|holder| holder.who != who);
        let outcome = if held_by_other {
            if patient && fault == Fault::None {
                return None;
            }
            LeaseOutcome::WaitTimeout
        } else {
            if self.epoch.is_none() {
                self.epochs += 1;
                self.epoch = Some(self.epochs);
            }
            self.tokens += 1;
            self.holders.insert(Arc::clone(key), Holder { who, expires });
            LeaseOutcome::Granted(Lease { token: self.tokens, epoch: self.epochs })
        };
        Some(if fault == Fault::None { outcome } else { LeaseOutcome::Unknown(failure()) })
    }

    pub(crate) fn renew(&mut self, who: Who, key: &Key, expires: Time, fault: Fault) -> RenewOutcome {
        let holder = self.holders.get_mut(key).filter(|holder| holder.who == who);
        match (holder, fault) {
            (Some(holder), Fault::None) => {
                holder.expires = expires;
                RenewOutcome::Held
            }
            (None, Fault::None) => RenewOutcome::Lost,
            _ => RenewOutcome::Unavailable,
        }
    }

    /// Whether it was this owner's to release. `unconditional`: it is freed whoever holds it.
    pub(crate) fn release(&mut self, who: Who, key: &Key, unconditional: bool) -> bool {
        let held = self.holders.get(key).is_some_and(|holder| holder.who == who);
        if held || unconditional {
            self.holders.remove(key);
        }
        held
    }
}
