//! The node's store and driver against a real Redis, with small fakes in the place of lock service and origin.

mod driver;
mod fakes;
mod harness;
mod life;
mod parts_away;
mod redis_server;
mod store;
mod traces;
