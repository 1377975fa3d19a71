//! Testbeds of real parts: local processes and containers.

pub mod binaries;
mod command;
mod hash;
pub mod probe;
pub mod processes;
pub mod ready;
mod state;
