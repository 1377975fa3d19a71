//! Names of things that the core and its driver speak about.

use std::fmt;

/// One lookup, from [`handle_lookup`](crate::Core::handle_lookup) to its [`Serve`](crate::Action::Serve) or its
/// cancellation. Never used twice within two thousand million lookups of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupId(pub(crate) u64);

impl LookupId {
    /// The slot of this lookup: small, dense, below [`Limits::lookups`](crate::Limits::lookups) + 1, and unique among
    /// live lookups *if* the driver drains [`poll_action`](crate::Core::poll_action) after every `handle_*` call. A
    /// driver may keep its reply channels in a `Vec` indexed by it, and so hash nothing on the hit path.
    pub const fn index(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }
}

/// One operation that the driver was asked for and answers exactly once. Answers with an id that the core does not
/// wait for any more are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(u64);

impl OpId {
    /// Set on the operations of flights. A lookup has one operation in its life, its first look, which goes by the
    /// lookup's own number: so that the hit path needs no second table.
    const FLIGHT: u64 = 1 << 63;

    pub(crate) const fn for_lookup(lookup: LookupId) -> Self {
        OpId(lookup.0)
    }

    pub(crate) const fn for_flight(slot: u64) -> Self {
        OpId(slot | Self::FLIGHT)
    }

    /// The lookup whose first look it is.
    pub(crate) fn of_lookup(self) -> Option<LookupId> {
        (self.0 & Self::FLIGHT == 0).then_some(LookupId(self.0))
    }

    /// The slot of a flight's operation.
    pub(crate) fn slot(self) -> Option<u64> {
        (self.0 & Self::FLIGHT != 0).then_some(self.0 & !Self::FLIGHT)
    }
}

/// One flight's rebuild: 1, 2, 3, ... over the life of a [`Core`](crate::Core). A driver keeps the rebuild's span
/// under it from the first action that names it until [`Ended`](crate::Action::Ended).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RebuildId(pub(crate) u64);

impl RebuildId {
    /// Its number, from 1.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// One attempt of one flight to get the fleet's lock. Unique in the life of a [`Core`](crate::Core), so that a late
/// release of one attempt can never free the lease of the next. It becomes unique in the fleet, and across restarts,
/// when the driver puts its instance name and a number drawn at start before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The flight.
    pub rebuild: RebuildId,
    /// Which attempt of that flight, from 1.
    pub attempt: u32,
}

impl fmt::Display for Owner {
    /// `<rebuild>.<attempt>`, for instance `17.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.rebuild.0, self.attempt)
    }
}

/// What a granted lease is proved by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease {
    /// The fencing token: larger than any granted before.
    pub token: u64,
    /// The epoch of the lease store: grows whenever the store came back without its data.
    pub epoch: u64,
}
