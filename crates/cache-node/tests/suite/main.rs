//! The node's store and driver against a real Redis, with small fakes in the place of lock service and origin.

mod absences;
mod driver;
mod fakes;
mod harness;
mod layers;
mod life;
mod local_tier;
mod parts_away;
mod puts;
mod record;
mod redis_server;
mod store;
mod traces;
mod warm;
