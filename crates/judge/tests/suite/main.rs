//! The judge from outside: handmade histories in, verdicts out.

mod absent;
mod all_properties;
mod assumptions;
mod chaos;
mod claims;
mod counting;
mod emptied_stores;
mod freshness;
mod hang_ups;
mod keys;
mod layers;
mod made;
mod outcome;
mod overload;
mod phases;
mod series;
mod waiters;
mod writes;
