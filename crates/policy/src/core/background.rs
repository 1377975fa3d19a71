//! Flights that a reader sets off and does not wait for: the refresh of an expired value, the early recompute of a fresh
//! one. They are flights like all others; who misses meanwhile joins them.

use std::sync::Arc;

use super::Core;
use super::flight::{Flight, FlightKey, Purpose};
use crate::action::Ending;
use crate::ids::{LookupId, RebuildId};
use crate::layer::{self, Admission, early};
use crate::outcome::Life;
use crate::time::Time;

/// What a reader set off who is served from what the cache holds.
#[derive(Clone, Copy, Default)]
pub(super) struct SetOff {
    /// The flight that makes the value new: one that it set off, or one that was live.
    pub(super) rebuild: Option<RebuildId>,
    /// The one that is yet to take its first step.
    pub(super) departs: Option<FlightKey>,
}

impl<V: Clone> Core<V> {
    /// Sets off the recompute of a fresh value, if chance says so.
    pub(super) fn recompute_early(&mut self, now: Time, id: LookupId, generation: u64, life: Life) -> SetOff {
        let lookup = self.lookups.get(id.0).expect("checked by the caller");
        let Some(early) = lookup.config.early.filter(|_| !lookup.warm) else { return SetOff::default() };
        if early::is_due(early, life, &mut self.chance) {
            self.set_off(now, id, generation, Purpose::Early)
        } else {
            SetOff::default()
        }
    }

    /// Makes sure that a flight for the lookup's key is live; uncoordinated, begins one in any case. At the limit of
    /// flights, or while the key pauses, there is none: the reader is served all the same.
    pub(super) fn set_off(&mut self, now: Time, id: LookupId, seen: u64, purpose: Purpose) -> SetOff {
        let lookup = self.lookups.get(id.0).expect("checked by the caller");
        let (key, config) = (Arc::clone(&lookup.key), Arc::clone(&lookup.config));
        let layer = layer::of(&config);
        if layer.admission() == Admission::Shared {
            if let Some(live) = self.by_key.get(&key) {
                return SetOff { rebuild: Some(self.flight(*live).rebuild), departs: None };
            }
            if self.pauses.holds(now, &key) {
                return SetOff::default();
            }
        }
        if self.flights.len() >= self.limits.flights {
            return SetOff::default();
        }
        let flight = self.begin_flight(now, key, config, layer, seen, purpose);
        SetOff { rebuild: Some(self.flight(flight).rebuild), departs: Some(flight) }
    }

    /// Lets the next one of the same key wait a little, if this one came to nothing.
    pub(super) fn pause_after(&mut self, now: Time, flight: &Flight<V>, ending: Ending) {
        let in_vain = matches!(ending, Ending::Failed | Ending::Uncached);
        if flight.shared && flight.purpose.is_background() && in_vain {
            let until = now + self.limits.refresh_pause;
            self.pauses.begin(now, Arc::clone(&flight.key), until, self.limits.flights);
        }
    }
}
