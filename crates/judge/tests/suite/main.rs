//! The judge from outside: handmade histories in, verdicts out.

mod absent;
mod all_properties;
mod assumptions;
mod claims;
mod counting;
mod freshness;
mod keys;
mod layers;
mod made;
mod outcome;
mod overload;
mod series;
mod waiters;
mod writes;
