//! Testbeds of real parts: the same fleet as local processes and as containers.
//!
//! Both implement [`herd_experiment::testbed::Testbed`]; [`choose`] picks one. A testbed builds what it needs (the
//! programs, and images where they are wanted), starts and stops parts, hurts them on request, and leaves nothing
//! behind: neither after an error, nor after Ctrl-C, nor after a crash of the lab.
//!
//! It never measures, never judges, never speaks the fleet's protocol, and never decides whether enough nodes joined.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`processes`] | the fleet of local processes |
//! | [`compose`] | the fleet of containers, one compose project |
//! | [`binaries`] | the programs: built in a checkout, found beside an installed lab |
//! | [`images`] | the images, with and without a registry |
//! | [`ready`] | the line a process prints when it serves |
//! | [`redis_server`], [`postgres`] | the Redis and the Postgres that local processes run |
//! | [`probe`] | the question whether it still does |

pub mod binaries;
mod choose;
mod command;
pub mod compose;
mod engine;
mod hash;
pub mod images;
mod packages;
mod plugin;
pub mod postgres;
pub mod probe;
pub mod processes;
pub mod ready;
mod redis_admin;
pub mod redis_server;
mod state;

pub use choose::{Choice, UnknownChoice, choose};
